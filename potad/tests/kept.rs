//! The last block of each large order that a hand has freed stays in the hand: nobody
//! goes without for it, and nothing about it is lost.

use potad::memdesc::{self, FailureKind, Granule, Order};
use potad::{Error, Potad, Resource, Wanted, Zone};

fn ram(granules: u64) -> Zone {
    Potad::new().register(Resource::new("ram").granule(4096).span(0..granules * 4096)).unwrap()
}

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

#[test]
fn a_hand_takes_what_it_freed_last_of_each_order() {
    let ram = ram(1 << 20);
    let mut hand = ram.hand();
    for k in [6, 7, 8, 9, 12, 18] {
        let [first, second] = [(); 2].map(|()| hand.alloc_bare(order(k)).unwrap());
        let (first_at, second_at) = (first.base(), second.base());
        hand.free_bare(first).unwrap();
        hand.free_bare(second).unwrap();
        let again = hand.alloc_bare(order(k)).unwrap();
        assert_eq!(again.base(), second_at, "order {k}");
        assert_eq!(ram.adopt_bare(first_at.0 * 4096, order(k)).unwrap_err(), twice(first_at, k));
        hand.free_bare(again).unwrap();
        assert_eq!(ram.validate(), Ok(1 << 20));
    }
    drop(hand);
    assert_eq!(ram.stats().blocks[20], 1, "all of it has merged");
}

#[test]
fn blocks_smaller_than_a_region_are_given_when_the_hand_looks_for_one() {
    let ram = ram(1 << 7);
    let mut hand = ram.hand();
    let both = [(); 2].map(|()| hand.alloc_bare(order(6)).unwrap());
    both.into_iter().for_each(|block| hand.free_bare(block).unwrap());
    // One of them is kept, and what is left the hand claims.
    let single = hand.alloc_bare(order(0)).unwrap();
    assert!(ram.has_free(1), "the one that was kept is there for others");
    hand.free_bare(single).unwrap();
    drop(hand);
    assert_eq!((ram.stats().blocks[7], ram.validate()), (1, Ok(1 << 7)));
}

fn twice(at: Granule, k: u32) -> Error {
    let block = memdesc::Block::containing(at, order(k));
    Error::DoubleFree { asked: block.granules() }
}

#[test]
fn what_one_hand_keeps_another_gets_before_it_is_refused() {
    let ram = ram(1 << 9);
    let (mut one, mut other) = (ram.hand(), ram.hand());
    for k in [9, 8, 3, 0] {
        let all = one.alloc_bare(order(9)).unwrap();
        one.free_bare(all).unwrap();
        assert!(!ram.has_free(1), "it is kept");
        let block = other.alloc_bare(order(k)).unwrap();
        other.free_bare(block).unwrap();
        ram.flush_hands();
    }
    assert_eq!((ram.stats().blocks[9], ram.validate()), (1, Ok(1 << 9)));
}

#[test]
fn a_hand_breaks_what_it_keeps_itself() {
    let ram = ram(1 << 9);
    let mut hand = ram.hand();
    let all = hand.alloc_bare(order(9)).unwrap();
    hand.free_bare(all).unwrap();
    let some: Vec<_> = (0..16).map(|_| hand.alloc_bare(order(5)).unwrap()).collect();
    assert_eq!(hand.alloc_bare(order(5)), Err(Error::Exhausted { order: order(5) }));
    some.into_iter().for_each(|block| hand.free_bare(block).unwrap());
    let all = hand.alloc_bare(order(9)).unwrap();
    assert_eq!(all.base(), Granule(0), "and has it whole again");
    hand.free_bare(all).unwrap();
}

#[test]
fn a_second_free_of_what_is_kept_is_refused() {
    let ram = ram(1 << 12);
    let mut hand = ram.hand();
    let block = hand.alloc_bare(order(9)).unwrap();
    let at = block.base();
    hand.free_bare(block).unwrap();
    let again = ram.bare_at(at, order(9)).unwrap();
    assert_eq!(hand.free_bare(again).unwrap_err().why, twice(at, 9));
    // Of the block before it, which is free in its word by then.
    let [first, second] = [(); 2].map(|()| hand.alloc_bare(order(9)).unwrap());
    let at = first.base();
    hand.free_bare(first).unwrap();
    hand.free_bare(second).unwrap();
    let again = ram.bare_at(at, order(9)).unwrap();
    assert_eq!(hand.free_bare(again).unwrap_err().why, twice(at, 9));
    // By another hand, once it is free in its word.
    let mut other = ram.hand();
    let [block, beside] = [(); 2].map(|()| hand.alloc_bare(order(9)).unwrap());
    let at = block.base();
    hand.free_bare(block).unwrap();
    hand.flush();
    let again = ram.bare_at(at, order(9)).unwrap();
    assert_eq!(other.free_bare(again).unwrap_err().why, twice(at, 9));
    hand.free_bare(beside).unwrap();
    drop((hand, other));
    assert_eq!(ram.validate(), Ok(1 << 12));
}

#[test]
fn a_failure_in_what_is_kept_costs_one_granule() {
    let ram = ram(1 << 12);
    let mut hand = ram.hand();
    let block = hand.alloc_bare(order(9)).unwrap();
    let bad = Granule(block.base().0 + 77);
    hand.free_bare(block).unwrap();
    ram.report_failure(bad.0 * 4096, 12, FailureKind::Found).unwrap();
    let stats = ram.stats();
    assert_eq!((stats.quarantined, stats.pending, stats.free), (1, 0, (1 << 12) - 1));
    let mut out = Vec::new();
    while let Ok(one) = hand.alloc_bare(Order::ZERO) {
        assert_ne!(one.base(), bad);
        out.push(one);
    }
    assert_eq!(out.len(), (1 << 12) - 1);
    out.into_iter().for_each(|one| hand.free_bare(one).unwrap());
    assert_eq!(ram.validate(), Ok((1 << 12) - 1));
}

#[test]
fn a_reporter_sees_what_hands_keep_when_its_pass_begins() {
    let ram = ram(1 << 12);
    let mut hand = ram.hand();
    let early = hand.alloc_bare(order(10)).unwrap();
    hand.free_bare(early).unwrap();
    assert!(!ram.has_free(1 << 12), "it is kept");
    ram.attach_reporter(order(9)).unwrap();
    assert!(ram.has_free(1 << 12), "and let go of");
    let wanted = Wanted {
        min_order: order(9),
        max_order: order(12),
        seen_before: false,
        patient: false,
        spare: 0,
    };
    let pass = || {
        let (mut cursor, mut granules) = (Granule(0), 0);
        while cursor != Granule(u64::MAX) {
            if let Some(isolated) = ram.isolate(&mut cursor, &wanted) {
                granules += isolated.block().order().granules();
                ram.put_back(isolated, potad::HostSays::Reported).unwrap();
            }
        }
        granules
    };
    assert_eq!(pass(), 1 << 12);
    for k in [9, 10] {
        let used = hand.alloc_bare(order(k)).unwrap();
        hand.free_bare(used).unwrap();
        assert_eq!(ram.reported_granules(), (1 << 12) - (1 << k), "it was in use");
        assert_eq!(pass(), 1 << k, "what was freed since");
        assert_eq!(pass(), 0);
    }
    assert_eq!(ram.validate(), Ok(1 << 12));
}

#[test]
fn what_is_kept_is_counted_and_leaves_with_its_range() {
    let ram = ram(1 << 12);
    let mut hand = ram.hand();
    let block = hand.alloc_bare(order(10)).unwrap();
    let range = block.base().0 * 4096..(block.base().0 + (1 << 10)) * 4096;
    hand.free_bare(block).unwrap();
    assert_eq!((ram.stats().hidden, ram.stats().hidden), (1 << 10, 0), "stats flush hands");
    let block = hand.alloc_bare(order(10)).unwrap();
    hand.free_bare(block).unwrap();
    ram.hot_remove(range).unwrap().finish().unwrap();
    assert_eq!((ram.stats().free, ram.validate()), (3 << 10, Ok(3 << 10)));
}
