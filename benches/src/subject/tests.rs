//! Every subject hands out blocks that do not overlap and takes them back.

use super::{Hand, Reference, Shape, Subject, Visitor, ours, visit_others, visit_ours};
use memdesc::Order;

const SHAPE: Shape = Shape { granules: 1000, granule_bytes: 4096, hands: 1 };

/// A fixed stream of requests against a plain `Vec<bool>`.
struct Contract;

impl Visitor for Contract {
    fn visit<S: Subject>(&mut self) {
        let Ok(subject) = S::new(SHAPE) else {
            return;
        };
        let mut owned = vec![false; SHAPE.granules as usize];
        let mut live = Vec::new();
        let mut seed = 1_u64;
        let mut hand = subject.hand();
        for step in 0..20_000_usize {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let order = Order::new((seed >> 40 & 3) as u32).expect("small");
            if live.len() > 100 || (seed >> 50 & 1 == 1 && !live.is_empty()) {
                let (base, order): (u64, Order) = live.swap_remove(step % live.len());
                owned[base as usize..][..order.granules() as usize].fill(false);
                hand.free(base, order);
                continue;
            }
            let Some(base) = hand.alloc(order) else {
                continue;
            };
            let block = &mut owned[base as usize..][..order.granules() as usize];
            assert!(block.iter().all(|owned| !owned), "{} overlaps", S::NAME);
            assert!(!S::ALIGNS || base % order.granules() == 0, "{}", S::NAME);
            block.fill(true);
            live.push((base, order));
        }
        for (base, order) in live {
            hand.free(base, order);
        }
    }
}

#[test]
fn every_subject_keeps_the_contract() {
    Contract.visit::<Reference>();
    visit_ours(&mut Contract);
    Contract.visit::<ours::Classed>();
    visit_others(&mut Contract);
}

#[test]
fn the_reference_is_whole_after_pieces_came_back() {
    let subject = Reference::new(SHAPE).expect("any shape");
    let mut hand = subject.hand();
    let order = Order::new(6).expect("small");
    let base = hand.alloc(order).expect("free");
    for piece in base..base + order.granules() {
        hand.free(piece, Order::ZERO);
    }
    assert!(subject.is_whole());
}
