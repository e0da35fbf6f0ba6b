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
}

/// The nodes of look-up go with the span too, once no reader is left on them.
fn the_nodes_of_lookup_are_with_the_system() {
    const SPAN: u64 = 1 << 18;
    let potad = Potad::new();
    let ram = Resource::new("ram").granule(4096).span(0..SPAN << 12);
    let ram = potad.register(ram).unwrap();
    let before = (ram.stats().lookup_bytes, resident());
    let mut hand = ram.hand();
    for _ in 0..SPAN {
        let raw = hand.alloc_raw(Order::ZERO, OwnerId(7)).unwrap();
        assert!(raw.base().0 < SPAN);
    }
    let full = (ram.stats().lookup_bytes, resident());
    // 8 bytes per granule.
    assert!(full.0 - before.0 >= 8 * SPAN && (full.1 - before.1) << 10 >= 8 * SPAN);
    let removal = ram.hot_remove(SPAN << 11..SPAN << 12).unwrap();
    for at in SPAN / 2..SPAN {
        let raw = ram.raw_at(Granule(at), Order::ZERO).unwrap();
        hand.free_raw(raw).unwrap();
    }
    removal.finish().unwrap();
    let mut after = full;
    for _ in 0..1000 {
        after = (ram.stats().lookup_bytes, resident());
        if after.0 <= full.0 - 4 * SPAN + (SPAN / 4) {
            break;
        }
        potad::pin().flush();
    }
    println!("lookup: bytes and resident KiB before {before:?}, full {full:?}, half {after:?}");
    assert!(after.0 <= full.0 - 4 * SPAN + SPAN / 4, "bytes");
    assert!((full.1 - after.1) << 10 >= 3 * SPAN, "resident");
    // What stays is found as ever; what comes back is published as ever.
    let guard = potad::pin();
    let owner_at = |at: u64| ram.find(at << 12, &guard).map(|found| found.owner());
    assert_eq!((owner_at(SPAN / 2 - 1), owner_at(SPAN / 2)), (Some(OwnerId(7)), None));
    ram.hot_add(SPAN << 11..SPAN << 12).unwrap();
    for _ in 0..SPAN / 2 {
        let raw = hand.alloc_raw(Order::ZERO, OwnerId(9)).unwrap();
        assert_eq!(owner_at(raw.base().0), Some(OwnerId(9)));
    }
    assert_eq!(ram.validate(), Ok(0));
}

#[test]
fn what_a_span_took_is_with_the_system_once_it_has_left() {
    the_tables_of_a_span_that_left_are_with_the_system();
    the_nodes_of_lookup_are_with_the_system();
}
