//! Every workload leaves the resource as it found it.

use super::{
    Call, Churn, Filled, Random, Replaced, batches, bulk, pairs, plain_pairs, refills, together,
};
use crate::subject::{Reference, Shape, Subject};
use memdesc::Order;

const GRANULES: u64 = 1 << 14;

fn subject() -> Reference {
    let shape = Shape { granules: GRANULES, granule_bytes: 4096, hands: 2 };
    Reference::new(shape).expect("any shape")
}

#[test]
fn workloads_give_everything_back() {
    let subject = subject();
    let mut hand = subject.hand();
    let order = Order::new(9).expect("small");
    assert!(pairs(&mut hand, order, 100).is_some());
    assert!(batches(&mut hand, order, 1).is_some());
    assert!(batches(&mut hand, Order::ZERO, 10).is_some());
    assert!(refills(&mut hand, 10).is_some());
    for call in [Call::One, Call::Batch] {
        assert!(bulk(&mut hand, GRANULES / 2, call).is_some());
    }
    assert!(bulk(&mut hand, GRANULES + 1, Call::One).is_none());
}

#[test]
fn a_filled_resource_is_freed_and_filled_again() {
    let subject = subject();
    let mut hand = subject.hand();
    let mut filled = Filled::new(&mut hand, GRANULES).expect("all are free");
    filled.free_scattered(&mut hand, GRANULES / 4);
    assert!(filled.realloc(&mut hand).is_some());
    filled.drain(&mut hand);
    assert!(subject.is_whole());
}

#[test]
fn what_is_replaced_is_there_again() {
    let subject = subject();
    let mut hand = subject.hand();
    let order = Order::new(3).expect("small");
    assert!(Replaced::new(&mut hand, order, 1 << 12).is_none(), "more than there is");
    let subject = self::subject();
    let mut hand = subject.hand();
    let mut replaced = Replaced::new(&mut hand, order, 1 << 10).expect("all are free");
    assert!(replaced.run(&mut hand, 10_000).is_some());
    assert!(!subject.is_whole());
    replaced.drain(&mut hand);
    assert!(subject.is_whole());
}

/// A request may well find no block of order 9, as the threads happen to meet;
/// what must hold is that it is counted and that nothing else goes missing.
#[test]
fn churn_keeps_its_blocks_but_for_those_refused_on_two_threads() {
    let subject = subject();
    together(2, |number, meet| {
        let mut hand = subject.hand();
        let mut churn = Churn::new(&mut hand, GRANULES / 4, number as u64);
        let (begun, refused) = (churn.live() as u64, churn.failed());
        assert!(begun > 100, "{begun} blocks");
        meet();
        churn.run(&mut hand, 20_000);
        assert_eq!(churn.live() as u64 + churn.failed(), begun + refused);
        churn.drain(&mut hand);
    });
    assert!(subject.is_whole());
}

#[test]
fn churn_stays_near_its_target_by_itself() {
    let subject = subject();
    let mut hand = subject.hand();
    let mut churn = Churn::new(&mut hand, GRANULES / 4, 1);
    churn.run(&mut hand, 20_000);
    assert_eq!(churn.failed(), 0);
    churn.drain(&mut hand);
    assert!(subject.is_whole());
}

#[test]
fn the_generator_shuffles_and_stays_below() {
    let mut random = Random::new(3);
    assert!((0..1000).all(|bound| random.below(bound + 1) <= bound));
    let mut items: Vec<u32> = (0..100).collect();
    random.shuffle(&mut items);
    assert!(!items.is_sorted());
    items.sort_unstable();
    assert!(items.iter().copied().eq(0..100));
    plain_pairs(10);
}
