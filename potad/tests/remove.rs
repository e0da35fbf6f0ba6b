//! Hot-remove: what leaves is gone, what is cancelled is as before, and nothing
//! is lost on the way.

use potad::memdesc::{FailureKind, Granule, Granules, Order, OwnerId, descriptors};
use potad::{BareBlock, Error, Potad, Resource, Zone};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

struct Folio;
descriptors! { set Mm { Folio = 1 } }

const PAGE: u64 = 4096;

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

fn ram(granules: u64) -> (Potad, Zone) {
    let potad = Potad::new();
    let ram = Resource::new("ram").granule(PAGE).span(0..granules * PAGE);
    let zone = potad.register(ram).unwrap();
    (potad, zone)
}

fn granules(first: u64, last: u64) -> Granules {
    Granules::new(Granule(first), Granule(last)).unwrap()
}

#[test]
fn a_free_span_leaves_at_once_and_comes_back_as_it_was() {
    let (potad, ram) = ram(1 << 14);
    let before = ram.free_blocks();
    let removal = ram.hot_remove((1 << 12) * PAGE..(3 << 12) * PAGE).unwrap();
    assert_eq!((removal.remaining_granules(), removal.holders()), (0, vec![]));
    let stats = ram.stats();
    assert_eq!((stats.granules, stats.free, stats.removing), (1 << 14, 1 << 13, 1 << 13));
    removal.finish().unwrap();

    assert_eq!((ram.granules(), ram.spans().len(), ram.largest_order().get()), (1 << 13, 2, 12));
    assert_eq!(
        ram.alloc_bare(order(13)),
        Err(Error::OrderTooLarge { order: order(13), largest: order(12) })
    );
    let gone = (1 << 12) * PAGE;
    assert_eq!(
        potad.report_failure(gone, 0, FailureKind::Found),
        Err(Error::Outside { address: gone })
    );
    assert!(potad.zone_at(0, gone).is_none());
    assert!(ram.find(gone, &potad::pin()).is_none());
    let mut all = Vec::new();
    while let Ok(page) = ram.alloc_bare(Order::ZERO) {
        assert!(!(1 << 12..3 << 12).contains(&page.base().0), "{page:?} has left");
        all.push(page);
    }
    assert_eq!(all.len(), 1 << 13);
    all.into_iter().for_each(|page| ram.free_bare(page).unwrap());

    ram.hot_add(gone..(3 << 12) * PAGE).unwrap();
    assert_eq!(ram.validate(), Ok(1 << 14));
    assert_eq!((ram.spans().len(), ram.free_blocks()), (1, before));
}

#[test]
fn holders_are_named_and_their_handles_keep_working() {
    let (potad, ram) = ram(1 << 12);
    Mm::register(potad.kinds()).unwrap();
    let before = ram.free_blocks();
    let mut hand = ram.hand();
    let run = ram.alloc_at(0..3 * PAGE).unwrap();
    let bare =
        [ram.alloc_at(64 * PAGE..66 * PAGE).unwrap(), ram.alloc_at(66 * PAGE..67 * PAGE).unwrap()];
    let typed = ram.alloc(order(3), Folio).unwrap();
    let raw = ram.alloc_raw(order(1), OwnerId(7)).unwrap();
    let kept = hand.alloc_bare(order(2)).unwrap();
    let free = ram.stats().free;

    let removal = ram.hot_remove(0..(1 << 12) * PAGE).unwrap();
    assert_eq!(removal.remaining_granules(), (1 << 12) - free);
    let holders = removal.holders();
    let of = |kind: &str| holders.iter().filter(|holder| holder.kind == kind).collect::<Vec<_>>();
    assert_eq!(of("Folio")[0].block, Some(typed.block()));
    let mine = of("raw").into_iter().find(|holder| holder.owner == OwnerId(7)).unwrap();
    assert_eq!(mine.block, Some(raw.block()));
    assert_eq!((of("bare").len(), of("bare")[0].granules), (1, kept.granules()));
    let held: u64 = holders.iter().map(|holder| holder.granules.count()).sum();
    assert_eq!(held, removal.remaining_granules());

    // The handles work on: look-up, reference, failure, split, free.
    let address = typed.address();
    assert!(ram.get::<Folio>(address).is_some());
    let refused = removal.finish().unwrap_err();
    assert_eq!(refused.why, Error::StillHeld { granules: held });
    let removal = refused.given;
    drop(typed);
    assert!(ram.find(address, &potad::pin()).is_none());
    let (lower, upper) = ram.split_raw(raw).unwrap();
    ram.free_raw(lower).unwrap();
    ram.free_raw(upper).unwrap();
    hand.free_bare(kept).unwrap();
    ram.free_run(run).unwrap();
    assert_eq!(removal.sweep(), 3);
    assert_eq!(ram.alloc_bare(Order::ZERO), Err(Error::Exhausted { order: Order::ZERO }));
    for run in bare {
        ram.free_run(run).unwrap();
    }
    ram.validate().unwrap();
    removal.cancel();
    assert_eq!(ram.validate(), Ok(1 << 12));
    assert_eq!(ram.free_blocks(), before, "as before");
}

#[test]
fn what_a_hand_holds_is_claimed_and_what_is_freed_into_it_is_found() {
    let (_potad, ram) = ram(256);
    let mut hand = ram.hand();
    let page = hand.alloc_bare(Order::ZERO).unwrap();
    let other = hand.alloc_bare(Order::ZERO).unwrap();
    let removal = ram.hot_remove(0..256 * PAGE).unwrap();
    assert_eq!(removal.remaining_granules(), 2);
    hand.free_bare(page).unwrap();
    assert_eq!(removal.remaining_granules(), 1, "kept at once");
    assert!(hand.alloc_bare(Order::ZERO).is_err(), "and not handed out");
    let claimed = ram.adopt_bare(0, Order::ZERO);
    assert!(matches!(claimed, Err(Error::DoubleFree { .. })), "nor adopted: {claimed:?}");
    hand.free_bare(other).unwrap();
    assert!(removal.wait(|_| false));
    removal.finish().unwrap();
    assert_eq!((ram.granules(), ram.stats().free), (0, 0));
    assert_eq!(ram.alloc_bare(Order::ZERO), Err(Error::Exhausted { order: Order::ZERO }));
    ram.hot_add(0..256 * PAGE).unwrap();
    assert_eq!(hand.alloc_bare(order(8)).map(|block| hand.free_bare(block).unwrap()), Ok(()));
}

#[test]
fn a_block_across_the_end_is_kept_in_part() {
    for size in [1, 3, 6, 9, 12] {
        let (_potad, ram) = ram(1 << 13);
        let whole = ram.alloc_bare(order(size)).unwrap();
        let middle = (whole.base().0 + (1 << (size - 1))) * PAGE;
        let removal = ram.hot_remove(middle..(1 << 13) * PAGE).unwrap();
        assert_eq!(removal.remaining_granules(), 1 << (size - 1));
        assert_eq!(removal.holders()[0].kind, "bare");
        ram.free_bare(whole).unwrap();
        assert_eq!(removal.remaining_granules(), 0);
        removal.finish().unwrap();
        assert_eq!(ram.validate(), Ok(middle / PAGE));
        ram.hot_add(middle..(1 << 13) * PAGE).unwrap();
        assert_eq!(ram.validate(), Ok(1 << 13));
        assert_eq!(ram.stats().blocks[13], 1, "order {size}: whole again");
    }
}

#[test]
fn spans_that_overlap_or_are_not_there_are_refused() {
    let (_potad, ram) = ram(1024);
    let removal = ram.hot_remove(0..512 * PAGE).unwrap();
    let again = ram.hot_remove(511 * PAGE..600 * PAGE).unwrap_err();
    assert_eq!(
        again,
        Error::Removing {
            first: 511 * PAGE,
            last: 600 * PAGE - 1,
            with_first: 0,
            with_last: 512 * PAGE - 1,
        }
    );
    assert!(matches!(ram.hot_add(0..PAGE), Err(Error::Overlap { .. })));
    let beside = ram.hot_remove(512 * PAGE..600 * PAGE).unwrap();
    drop(beside);
    drop(removal);
    assert_eq!(ram.validate(), Ok(1024));
    let outside = ram.hot_remove(1000 * PAGE..1030 * PAGE).unwrap_err();
    assert_eq!(outside, Error::Outside { address: 1024 * PAGE });
    assert!(matches!(ram.hot_remove(3..9), Err(Error::MisalignedSpan { .. })));
    assert!(matches!(ram.hot_remove(0..0), Err(Error::EmptySpan { .. })));
    assert_eq!(ram.validate(), Ok(1024));
}

#[test]
fn two_removals_side_by_side_keep_what_is_theirs() {
    let (_potad, ram) = ram(1024);
    let whole = ram.alloc_bare(order(10)).unwrap();
    let lower = ram.hot_remove(100 * PAGE..300 * PAGE).unwrap();
    let upper = ram.hot_remove(700 * PAGE..900 * PAGE).unwrap();
    ram.free_bare(whole).unwrap();
    assert_eq!((lower.sweep(), upper.sweep(), ram.stats().removing), (0, 0, 400));
    assert_eq!(ram.validate(), Ok(624));
    lower.finish().unwrap();
    assert_eq!(ram.validate(), Ok(624));
    drop(upper);
    assert_eq!((ram.validate(), ram.granules()), (Ok(824), 824));
}

#[test]
fn failed_granules_leave_with_the_span_and_come_back_quarantined() {
    let (potad, ram) = ram(512);
    let held = ram.alloc_bare(Order::ZERO).unwrap();
    let held_at = held.base().0;
    let free_at = held_at ^ 0x80;
    potad.report_failure(free_at * PAGE, 0, FailureKind::Found).unwrap();
    let removal = ram.hot_remove(0..512 * PAGE).unwrap();
    assert_eq!(removal.remaining_granules(), 1, "quarantined counts as removed");
    // Fails while claimed, and while held.
    let claimed_at = held_at ^ 0x40;
    let report = potad.report_failure(claimed_at * PAGE, 0, FailureKind::Found).unwrap();
    assert_eq!((report.quarantined, removal.remaining_granules()), (1, 1));
    potad.report_failure(held_at * PAGE, 0, FailureKind::Found).unwrap();
    assert_eq!(removal.holders()[0].granules, granules(held_at, held_at));
    ram.free_bare(held).unwrap();
    assert_eq!((removal.remaining_granules(), removal.holders()), (0, vec![]));
    assert_eq!(ram.stats().quarantined, 3);
    removal.finish().unwrap();
    let stats = ram.stats();
    assert_eq!((stats.quarantined, stats.pending, stats.granules), (0, 0, 0));
    assert_eq!(ram.poisoned().len(), 3, "remembered");
    assert!(ram.find(free_at * PAGE, &potad::pin()).is_none());

    ram.hot_add(0..512 * PAGE).unwrap();
    let stats = ram.stats();
    assert_eq!((stats.free, stats.quarantined), (509, 3));
    assert_eq!(ram.find(free_at * PAGE, &potad::pin()).unwrap().kind_name(), "quarantine");
    assert_eq!(ram.validate(), Ok(509));
    // Cancelled, a failed granule stays out too.
    let removal = ram.hot_remove(0..512 * PAGE).unwrap();
    drop(removal);
    assert_eq!(ram.validate(), Ok(509));
}

/// The claimed range has tables for blocks as large as it was given, and none
/// below; those put by are for the zone, which has all of its own.
#[test]
fn a_granule_that_fails_in_a_large_block_that_is_claimed_costs_no_other() {
    for ends in [false, true] {
        let (potad, ram) = ram(1 << 14);
        // The zone's words are there, and so nothing is put by any more.
        ram.free_bare(ram.alloc_bare(Order::ZERO).unwrap()).unwrap();
        potad.report_failure(0, 0, FailureKind::Injected).unwrap();
        let removal = ram.hot_remove((1 << 13) * PAGE..(1 << 14) * PAGE).unwrap();
        let report = potad.report_failure(0x2fe1 * PAGE, 0, FailureKind::Found).unwrap();
        assert_eq!((report.first, report.quarantined), (1, 1));
        assert_eq!(ram.stats().quarantined, 2, "those that failed, and none beside");
        assert_eq!((removal.remaining_granules(), removal.holders()), (0, vec![]));
        match ends {
            false => removal.cancel(),
            true => {
                removal.finish().unwrap();
                ram.hot_add((1 << 13) * PAGE..(1 << 14) * PAGE).unwrap();
            }
        }
        assert_eq!(ram.validate(), Ok((1 << 14) - 2));
        assert_eq!(ram.stats().free, (1 << 14) - 2);
    }
}

#[test]
fn cycles_conserve_every_granule_and_add_no_metadata() {
    let (_potad, ram) = ram(1 << 12);
    let mut seed = 1u64;
    let mut random = move |bound: u64| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) % bound
    };
    let mut bytes = 0;
    let mut live: Vec<BareBlock> = Vec::new();
    for cycle in 0..300u64 {
        for _ in 0..40 {
            match ram.alloc_bare(order(random(7) as u32)) {
                Ok(block) if random(3) != 0 => live.push(block),
                Ok(block) => ram.free_bare(block).unwrap(),
                Err(_) => break,
            }
        }
        let first = random(1 << 12);
        let last = first + random((1 << 12) - first);
        let removal = ram.hot_remove(first * PAGE..=(last + 1) * PAGE - 1).unwrap();
        let held: u64 = live.iter().map(|block| block.order().granules()).sum();
        assert_eq!(ram.validate().unwrap() + ram.stats().removing + held, 1 << 12);
        let unnamed: u64 = removal.holders().iter().map(|holder| holder.granules.count()).sum();
        assert_eq!(removal.remaining_granules(), unnamed);
        while live.len() > 20 {
            ram.free_bare(live.swap_remove(random(live.len() as u64) as usize)).unwrap();
        }
        if random(3) == 0 {
            removal.cancel();
        } else {
            // In the way: freed now, and everything else stays.
            let span = granules(first, last);
            let (inside, outside) =
                live.drain(..).partition(|block: &BareBlock| block.granules().overlaps(span));
            live = outside;
            for block in inside as Vec<BareBlock> {
                ram.free_bare(block).unwrap();
            }
            removal.finish().unwrap();
            let held: u64 = live.iter().map(|block| block.order().granules()).sum();
            assert_eq!(ram.validate().unwrap() + held, (1 << 12) - span.count());
            assert_eq!(ram.granules(), (1 << 12) - span.count());
            ram.hot_add(first * PAGE..=(last + 1) * PAGE - 1).unwrap();
        }
        let held: u64 = live.iter().map(|block| block.order().granules()).sum();
        assert_eq!(ram.validate().unwrap() + held, 1 << 12);
        if cycle == 20 {
            bytes = ram.stats().forest_bytes;
        }
    }
    assert!(ram.stats().forest_bytes <= bytes, "{} > {bytes}", ram.stats().forest_bytes);
    live.into_iter().for_each(|block| ram.free_bare(block).unwrap());
    assert_eq!(ram.validate(), Ok(1 << 12));
}

#[test]
fn threads_that_allocate_and_free_all_along_lose_and_double_nothing() {
    const ALL: u64 = 4096;
    let (_potad, ram) = ram(ALL);
    let owner: Vec<AtomicU32> = (0..ALL).map(|_| AtomicU32::new(0)).collect();
    let removed = AtomicBool::new(false);
    let stop = AtomicBool::new(false);
    let worked = AtomicU64::new(0);
    // The range that comes and goes.
    let (first, last) = (1000u64, 2999u64);
    std::thread::scope(|scope| {
        for who in 1..=3u32 {
            let (ram, owner, stop, removed, worked) = (&ram, &owner, &stop, &removed, &worked);
            scope.spawn(move || {
                let mut hand = (who != 3).then(|| ram.hand());
                let mut live: Vec<BareBlock> = Vec::new();
                let mut seed = u64::from(who);
                while !stop.load(Ordering::Relaxed) {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                    let pick = seed >> 33;
                    if live.len() < 40 && pick.is_multiple_of(2) {
                        // Read before: gone throughout the call, if both say so.
                        let gone = removed.load(Ordering::SeqCst);
                        let wanted = order([0, 0, 1, 2, 3, 5, 6][(pick / 2 % 7) as usize]);
                        let block = match &mut hand {
                            Some(hand) => hand.alloc_bare(wanted),
                            None => ram.alloc_bare(wanted),
                        };
                        let Ok(block) = block else { continue };
                        let inside = block.granules().overlaps(granules(first, last));
                        let still = gone && removed.load(Ordering::SeqCst);
                        assert!(!(inside && still), "{block:?} was handed out after it left");
                        for at in block.base().0..=block.granules().last().0 {
                            assert_eq!(owner[at as usize].swap(who, Ordering::Relaxed), 0);
                        }
                        live.push(block);
                    } else if !live.is_empty() {
                        let block = live.swap_remove((pick / 2) as usize % live.len());
                        for at in block.base().0..=block.granules().last().0 {
                            assert_eq!(owner[at as usize].swap(0, Ordering::Relaxed), who);
                        }
                        match &mut hand {
                            Some(hand) => hand.free_bare(block).unwrap(),
                            None => ram.free_bare(block).unwrap(),
                        }
                    }
                    worked.fetch_add(1, Ordering::Relaxed);
                }
                for block in live {
                    for at in block.base().0..=block.granules().last().0 {
                        assert_eq!(owner[at as usize].swap(0, Ordering::Relaxed), who);
                    }
                    ram.free_bare(block).unwrap();
                }
            });
        }
        let (mut finished, mut cancelled) = (0, 0);
        for round in 0..400 {
            let removal = ram.hot_remove(first * PAGE..(last + 1) * PAGE).unwrap();
            let gone = removal.wait_for(Duration::from_millis(5));
            if round % 4 == 3 || !gone {
                cancelled += 1;
                continue;
            }
            removal.finish().unwrap();
            finished += 1;
            removed.store(true, Ordering::SeqCst);
            ram.validate().unwrap();
            let until = worked.load(Ordering::Relaxed) + 300;
            while worked.load(Ordering::Relaxed) < until {
                std::thread::yield_now();
            }
            removed.store(false, Ordering::SeqCst);
            ram.hot_add(first * PAGE..(last + 1) * PAGE).unwrap();
            ram.validate().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(finished > 20 && cancelled > 20, "{finished} finished, {cancelled} cancelled");
    });
    assert_eq!(ram.validate(), Ok(ALL));
    assert_eq!(ram.free_blocks(), granules(0, ALL - 1).cover().collect::<Vec<_>>());
}

#[test]
fn a_broken_span_closes_window_by_window_while_others_work() {
    const ALL: u64 = 1 << 17;
    let (_potad, ram) = ram(2 * ALL);
    let span = 5 * PAGE..(ALL + 77) * PAGE;
    let range = granules(5, ALL + 76);
    // Every third granule of all stays; some larger blocks among them.
    let mut hand = ram.hand();
    let mut kept: Vec<BareBlock> = Vec::new();
    for k in [7, 9, 13] {
        kept.extend((0..3).map(|_| ram.alloc_bare(order(k)).unwrap()));
    }
    let mut pages = Vec::new();
    hand.alloc_many(Order::ZERO, 2 * ALL as usize, |page| pages.push(page)).unwrap();
    for page in pages {
        match page.base().0 % 3 {
            0 => kept.push(page),
            _ => hand.free_bare(page).unwrap(),
        }
    }
    hand.flush();
    let free = ram.validate().unwrap();
    let stop = AtomicBool::new(false);
    let begun = AtomicBool::new(false);
    let worked = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for who in 0..2u64 {
            let (ram, stop, begun, worked) = (&ram, &stop, &begun, &worked);
            scope.spawn(move || {
                let mut hand = ram.hand();
                let mut live: Vec<BareBlock> = Vec::new();
                let mut seed = who + 1;
                while !stop.load(Ordering::Relaxed) {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                    let pick = seed >> 33;
                    if live.len() < 200 && !pick.is_multiple_of(3) {
                        let closed = begun.load(Ordering::SeqCst);
                        let Ok(block) = hand.alloc_bare(order((pick % 2) as u32)) else { continue };
                        let closed = closed && begun.load(Ordering::SeqCst);
                        assert!(!(closed && block.granules().overlaps(range)), "{block:?}");
                        live.push(block);
                    } else if !live.is_empty() {
                        let block = live.swap_remove(pick as usize % live.len());
                        hand.free_bare(block).unwrap();
                    }
                    worked.fetch_add(1, Ordering::Relaxed);
                }
                live.into_iter().for_each(|block| hand.free_bare(block).unwrap());
            });
        }
        for round in 0..5 {
            let removal = ram.hot_remove(span.clone()).unwrap();
            begun.store(true, Ordering::SeqCst);
            let until = worked.load(Ordering::Relaxed) + 500;
            while worked.load(Ordering::Relaxed) < until {
                std::thread::yield_now();
            }
            ram.validate().unwrap();
            let holders = removal.holders();
            let in_order = holders
                .windows(2)
                .all(|two| two[0].granules.last().0 + 1 < two[1].granules.first().0);
            assert!(in_order, "bare neighbours are one entry, also across parts");
            // Held back when they were listed, perhaps freed since.
            let held: u64 = holders
                .iter()
                .map(|holder| holder.granules.intersection(range).map_or(0, Granules::count))
                .sum();
            assert!(removal.remaining_granules() <= held, "round {round}");
            begun.store(false, Ordering::SeqCst);
            removal.cancel();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(ram.validate(), Ok(free));
    // What is in the way goes, and so does the span.
    let removal = ram.hot_remove(span.clone()).unwrap();
    let in_the_way = kept.iter().filter_map(|block| block.granules().intersection(range));
    assert_eq!(removal.sweep(), in_the_way.map(Granules::count).sum::<u64>());
    kept.into_iter().for_each(|block| hand.free_bare(block).unwrap());
    removal.finish().unwrap();
    hand.flush();
    assert_eq!(ram.validate(), Ok(2 * ALL - range.count()));
    ram.hot_add(span).unwrap();
    assert_eq!((ram.validate(), ram.free_blocks().len()), (Ok(2 * ALL), 1));
}

/// The listing goes by parts of 1024: holders are the same as in one.
#[test]
fn many_holders_are_named_once_each() {
    let (_potad, ram) = ram(1 << 14);
    // Bare, raw, free and free again, over and over.
    let taken: Vec<_> = (0..1 << 12)
        .map(|at| {
            let first = at * 4;
            let run = ram.alloc_at((first + 1) * PAGE..(first + 2) * PAGE).unwrap();
            let bare = ram.alloc_bare_by(
                Order::ZERO,
                &potad::Aim::lowest().within(first * PAGE..(first + 1) * PAGE),
            );
            (bare.unwrap(), run)
        })
        .collect();
    let removal = ram.hot_remove(0..(1 << 13) * PAGE).unwrap();
    assert_eq!(removal.remaining_granules(), 1 << 12);
    let said: Vec<_> = removal
        .holders()
        .into_iter()
        .map(|holder| (holder.granules, holder.block.is_some(), holder.kind))
        .collect();
    let expected: Vec<_> = (0..1 << 11)
        .flat_map(|at| {
            let one = |at| granules(at, at);
            [(one(4 * at), false, "bare"), (one(4 * at + 1), true, "raw")]
        })
        .collect();
    assert_eq!(said, expected);
    removal.cancel();
    for (bare, run) in taken {
        ram.free_bare(bare).unwrap();
        ram.free_run(run).unwrap();
    }
    assert_eq!(ram.validate(), Ok(1 << 14));
}

/// What tables take is counted without those of spans that have left.
#[test]
fn tables_of_what_has_left_are_not_counted() {
    let (_potad, ram) = ram(1 << 14);
    let before = ram.stats().forest_bytes;
    let far = 1 << 30;
    ram.hot_add(far * PAGE..(far + (1 << 20)) * PAGE).unwrap();
    let mut pages = Vec::new();
    while let Ok(page) = ram.alloc_bare(Order::ZERO) {
        pages.push(page);
    }
    let most = ram.stats().forest_bytes;
    assert!(most >= before + (1 << 20) / 8, "a bit for each granule: {before} and {most}");
    pages.into_iter().for_each(|page| ram.free_bare(page).unwrap());
    ram.hot_remove(far * PAGE..(far + (1 << 20)) * PAGE).unwrap().finish().unwrap();
    let after = ram.stats().forest_bytes;
    assert!(after < before + (most - before) / 2, "{before}, {most}, {after}");
}
