//! The memory of a span's metadata goes back to the system with the span. A
//! process of its own, for what the process has resident is looked at.

#![cfg(target_os = "linux")]

use potad::memdesc::{Granule, Order, OwnerId};
use potad::{Potad, Resource};

/// Anonymous memory of this process that is resident, in KiB.
fn resident() -> u64 {
    let smaps = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = smaps.lines().find(|line| line.starts_with("Anonymous:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_tables_of_a_span_that_left_are_with_the_system() {
    const SPAN: u64 = 1 << 22;
    let potad = Potad::new();
    let swap = potad.register(Resource::new("swap").span(0..SPAN)).unwrap();
    swap.hot_add(SPAN..2 * SPAN).unwrap();
    let least = swap.stats().forest_bytes;
    let mut hand = swap.hand();
    // Not one vector of handles: that is what would be seen.
    let mut first = u64::MAX;
    let before = resident();
    let taken = hand.alloc_many(Order::ZERO, 2 * SPAN as usize, |page| {
        first = first.min(page.base().0);
    });
    assert_eq!((taken.unwrap(), first), (2 * SPAN as usize, 0));
    // Every word is written: as long as it is all taken, none needs to be.
    let mut free = |parity: u64, range: core::ops::Range<u64>| {
        for at in range.filter(|at| at % 2 == parity) {
            let page = swap.bare_at(Granule(at), Order::ZERO).unwrap();
            hand.free_bare(page).unwrap();
        }
        hand.flush();
    };
    free(1, 0..2 * SPAN);
    // Everything is broken: 8 bytes per 64 granules, and the summaries.
    let broken = swap.stats().forest_bytes;
    let all = 2 * SPAN / 8;
    assert!((all..all + all / 8).contains(&(broken - least)), "{broken} bytes, {least} at first");
    let full = resident();
    assert!((full - before) << 10 >= all - all / 8, "{before} KiB, then {full}");

    let removal = swap.hot_remove(SPAN..2 * SPAN).unwrap();
    assert_eq!(removal.remaining_granules(), SPAN / 2);
    free(0, SPAN..2 * SPAN);
    removal.finish().unwrap();
    let stats = swap.stats();
    assert!(stats.forest_bytes < broken - all / 2 + all / 8, "{} bytes", stats.forest_bytes);
    let half = resident();
    println!("before {before} KiB, all broken {full} KiB, half of it removed {half} KiB");
    assert!((full - half) << 10 >= all / 2 - all / 8, "{full} KiB, then {half}");

    // It comes back as new, and the tables with it.
    free(0, 0..SPAN);
    for _ in 0..3 {
        swap.hot_add(SPAN..2 * SPAN).unwrap();
        assert_eq!(swap.stats().blocks[23], 1);
        let mut pages = Vec::new();
        hand.alloc_many(Order::ZERO, 1 << 16, |page| pages.push(page)).unwrap();
        assert_eq!(pages.len(), 1 << 16);
        assert_eq!(swap.validate(), Ok(2 * SPAN - (1 << 16)));
        pages.into_iter().for_each(|page| hand.free_bare(page).unwrap());
        assert_eq!(swap.validate(), Ok(2 * SPAN));
        swap.hot_remove(SPAN..2 * SPAN).unwrap().finish().unwrap();
        assert_eq!(swap.stats().forest_bytes, stats.forest_bytes);
    }
    swap.hot_add(SPAN..2 * SPAN).unwrap();
    let raw = swap.alloc_raw(Order::ZERO, OwnerId(1)).unwrap();
    swap.free_raw(raw).unwrap();
}
