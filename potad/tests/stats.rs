//! What a zone says of itself, every figure against what was done.

use potad::memdesc::{FailureKind, Order, OwnerId};
use potad::{Potad, Resource, Stats, Zone};

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

fn ram(granules: u64) -> Zone {
    Potad::new().register(Resource::new("ram").granule(4096).span(0..granules * 4096)).unwrap()
}

/// Figures of the free blocks, from the blocks.
fn agrees(ram: &Zone) -> Stats {
    let (stats, blocks) = (ram.stats(), ram.free_blocks());
    let mut per_order = [0; 64];
    let (mut runs, mut largest, mut run, mut next) = (0, 0, 0, None);
    for block in &blocks {
        per_order[block.order().get() as usize] += 1;
        let follows = next == Some(block.base().0);
        runs += u64::from(!follows);
        run = if follows { run } else { 0 } + block.order().granules();
        largest = largest.max(run);
        next = Some(block.last().0 + 1);
    }
    let free: u64 = blocks.iter().map(|block| block.order().granules()).sum();
    assert_eq!((stats.blocks, stats.free), (per_order, free));
    assert_eq!((stats.free_runs, stats.largest_run), (runs, largest));
    assert_eq!(ram.validate(), Ok(free));
    stats
}

#[test]
fn free_space_is_told_by_orders_and_by_runs() {
    let ram = ram(1000);
    let stats = agrees(&ram);
    assert_eq!((stats.granules, stats.free, stats.largest_run), (1000, 1000, 1000));
    // 512 + 256 + 128 + 64 + 32 + 8.
    let orders: Vec<_> = (0..64).filter(|&order| stats.blocks[order] != 0).collect();
    assert_eq!((orders, stats.free_runs), (vec![3, 5, 6, 7, 8, 9], 1));
    assert_eq!(stats.name, "ram");

    let mut kept = Vec::new();
    for (count, k) in [(30, 0), (20, 1), (10, 2), (5, 3), (3, 4), (2, 5), (1, 6)] {
        kept.extend((0..count).map(|_| ram.alloc_bare(order(k)).unwrap()));
        let stats = agrees(&ram);
        let taken: u64 = kept.iter().map(|block| block.order().granules()).sum();
        assert_eq!((stats.free, stats.granules), (1000 - taken, 1000));
    }
    // Every second one goes back.
    let mut left = Vec::new();
    for (at, block) in kept.into_iter().enumerate() {
        match at % 2 {
            0 => ram.free_bare(block).unwrap(),
            _ => left.push(block),
        }
        agrees(&ram);
    }
    left.into_iter().for_each(|block| ram.free_bare(block).unwrap());
    assert_eq!(agrees(&ram).free, 1000);
}

#[test]
fn what_hands_hold_is_free_and_hidden_until_somebody_looks() {
    let ram = ram(4096);
    let hands = ram.stats().hands;
    let mut hand = ram.hand();
    assert_eq!(ram.stats().hands, hands + 1);
    let one = hand.alloc_bare(Order::ZERO).unwrap();
    let stats = ram.stats();
    assert_eq!((stats.free, stats.hidden % 64), (4095, 63), "the rest of a word");
    assert_eq!(ram.stats().hidden, 0, "they have given it back");
    hand.free_bare(one).unwrap();
    assert_eq!((ram.stats().hidden, ram.stats().free), (1, 4096));
    drop(hand);
    assert_eq!((ram.stats().hands, ram.stats().hidden), (hands, 0));
}

#[test]
fn tables_are_counted_where_they_are() {
    let (small, large, grown) = (ram(64), ram(1 << 20), ram(64));
    grown.hot_add(1 << 18..1 << 32).unwrap();
    let (small, large, grown) = (small.stats(), large.stats(), grown.stats());
    for stats in [&small, &large, &grown] {
        assert!(stats.forest_bytes > 0 && stats.lookup_bytes > 0);
        assert_eq!((stats.isolated, stats.removing), (0, 0));
        assert_eq!((stats.quarantined, stats.pending, stats.kept_whole), (0, 0, 0));
        assert_eq!(stats.reported, 0);
    }
    // What was there from the start needs no tables; what is added may.
    assert_eq!((small.reserve_bytes, large.reserve_bytes), (0, 0));
    assert!(grown.reserve_bytes > 0 && grown.reserve_bytes.is_multiple_of(4096));
    assert!(small.forest_bytes < large.forest_bytes);
    // A descriptor's slots take nodes, which are lookup's.
    let ram = ram(1 << 20);
    let before = ram.stats();
    let raw = ram.alloc_raw(Order::ZERO, OwnerId(7)).unwrap();
    let after = ram.stats();
    assert!(after.lookup_bytes > before.lookup_bytes, "nodes were made");
    ram.free_raw(raw).unwrap();
}

#[test]
fn a_failed_granule_is_one_that_is_not_free() {
    let ram = ram(256);
    let held = ram.alloc_bare(order(2)).unwrap();
    let there = ram.address_of(held.base());
    ram.report_failure(there, 0, FailureKind::Injected).unwrap();
    let stats = agrees(&ram);
    assert_eq!((stats.pending, stats.quarantined, stats.free), (1, 0, 252));
    assert_eq!(ram.poisoned(), [(held.base(), false)]);
    let base = held.base();
    ram.free_bare(held).unwrap();
    let stats = agrees(&ram);
    assert_eq!((stats.pending, stats.quarantined, stats.free), (0, 1, 255));
    assert_eq!(ram.poisoned(), [(base, true)]);
    assert_eq!(stats.kept_whole, 0);
}
