//! Isolate and put back: reported bits survive splits and merges, and are gone
//! once their memory was handed out.

use potad::memdesc::{Granule, Order};
use potad::{Error, HostSays, Potad, Resource, Wanted, Zone};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

fn ram(granules: u64) -> Zone {
    Potad::new().register(Resource::new("ram").granule(4096).span(0..granules * 4096)).unwrap()
}

fn any(min: u32, max: u32) -> Wanted {
    Wanted {
        min_order: order(min),
        max_order: order(max),
        seen_before: false,
        patient: false,
        spare: 0,
    }
}

/// A whole pass: every block isolated is put back with `says`.
fn pass(ram: &Zone, wanted: &Wanted, says: HostSays) -> u64 {
    let mut cursor = Granule(0);
    let mut granules = 0;
    while cursor != Granule(u64::MAX) {
        if let Some(isolated) = ram.isolate(&mut cursor, wanted) {
            granules += isolated.block().order().granules();
            ram.put_back(isolated, says).unwrap();
        }
    }
    granules
}

#[test]
fn a_pass_meets_every_free_report_granule_once() {
    let ram = ram(1 << 14);
    ram.attach_reporter(order(9)).unwrap();
    assert_eq!(ram.attach_reporter(order(9)), Err(Error::ReporterAttached));
    let page = ram.alloc_bare(order(0)).unwrap();
    assert_eq!(pass(&ram, &any(9, 11), HostSays::Reported), (1 << 14) - 512);
    assert_eq!(ram.reported_granules(), (1 << 14) - 512);
    assert_eq!(pass(&ram, &any(9, 11), HostSays::Reported), 0, "nothing is reported twice");
    ram.free_bare(page).unwrap();
    drop(ram.hand());
    ram.stats();
    assert_eq!(pass(&ram, &any(9, 11), HostSays::Reported), 512, "only what was freed since");
    assert_eq!(ram.free_blocks().len(), 1, "reported or not, buddies merge");
    assert_eq!(ram.validate(), Ok(1 << 14));
}

/// Where no reporter looks they wait in the hand.
#[test]
fn what_could_be_reported_does_not_wait_in_a_hand() {
    let ram = ram(1 << 12);
    let waits = ram.alloc_bare(order(4)).unwrap();
    ram.free_bare(waits).unwrap();
    assert_eq!(ram.stats().hidden, 16);
    ram.attach_reporter(order(4)).unwrap();
    assert_eq!(pass(&ram, &any(4, 12), HostSays::Reported), 1 << 12);
    for order in [4, 5].map(order) {
        let block = ram.alloc_bare(order).unwrap();
        ram.free_bare(block).unwrap();
        assert_eq!(pass(&ram, &any(4, 12), HostSays::Reported), order.granules());
    }
    let small = ram.alloc_bare(order(3)).unwrap();
    ram.free_bare(small).unwrap();
    assert_eq!(pass(&ram, &any(4, 12), HostSays::Reported), 0, "less than a report granule");
    assert_eq!(ram.validate(), Ok(1 << 12));
}

#[test]
fn what_was_declined_comes_up_again() {
    let ram = ram(1 << 12);
    ram.attach_reporter(order(9)).unwrap();
    assert_eq!(pass(&ram, &any(9, 9), HostSays::Nothing), 1 << 12);
    assert_eq!(ram.reported_granules(), 0);
    assert_eq!(pass(&ram, &any(9, 9), HostSays::Zeroed), 1 << 12);
}

#[test]
fn the_first_of_what_would_be_taken_is_spared_and_no_more_than_asked_rounded_up() {
    // What is spared of blocks of 2^9 and of 2^11 granules, by a report granule of 512.
    for (max, spare, spared) in [(9, 0, 0), (9, 1, 512), (9, 1500, 1536), (11, 2048, 2048)] {
        let ram = ram(1 << 13);
        ram.attach_reporter(order(9)).unwrap();
        let (mut cursor, mut first) = (Granule(0), None);
        let wanted = Wanted { spare, ..any(9, max) };
        let put_by = ram.isolate_many(&mut cursor, &wanted, 1, u64::MAX, &mut |one| {
            first = Some(one.block().base());
            ram.put_back(one, HostSays::Nothing).unwrap();
        });
        assert_eq!((put_by, first), (spared, Some(Granule(spared))), "{spare} of 2^{max}");
        // All there is, and more.
        let wanted = Wanted { spare: 1 << 20, ..any(9, max) };
        let mut cursor = Granule(0);
        let put_by = ram.isolate_many(&mut cursor, &wanted, 1, u64::MAX, &mut |one| {
            panic!("{:?} was to be spared", one.block());
        });
        assert_eq!((put_by, cursor), (1 << 13, Granule(u64::MAX)));
    }
}

/// However little a call may take, it takes one block, so that a pass goes on.
#[test]
fn a_call_takes_no_more_than_it_may_but_for_its_first_block() {
    let ram = ram(1 << 14);
    ram.attach_reporter(order(9)).unwrap();
    // Behind it each free block is as large as all before it.
    let held = ram.alloc_at(0..512 * 4096).unwrap();
    let sizes = [512, 1024, 2048, 4096, 8192];
    for (from, most) in (0..sizes.len()).flat_map(|from| {
        let sums = sizes.map(|size| 2 * size - 512);
        sums.into_iter().flat_map(move |sum| [(from, sum - 1), (from, sum), (from, sum + 1)])
    }) {
        let (first, mut sum) = (sizes[from], 0);
        let mut fits = Vec::new();
        for &size in &sizes[from..] {
            if !fits.is_empty() && sum + size > most {
                break;
            }
            sum += size;
            fits.push(size);
            if sum >= most {
                break;
            }
        }
        for blocks in [1, 2, 9] {
            let (mut cursor, mut taken) = (Granule(first), Vec::new());
            let out = &mut |isolated| taken.push(isolated);
            let spared = ram.isolate_many(&mut cursor, &any(9, 13), blocks, most, out);
            let granules: Vec<_> =
                taken.iter().map(|block| block.block().order().granules()).collect();
            let fits = &fits[..blocks.min(fits.len())];
            assert_eq!((&granules[..], spared), (fits, 0), "{most} from {first}, {blocks} at most");
            let end = first + fits.iter().sum::<u64>();
            assert!(cursor == Granule(end) || cursor == Granule(u64::MAX), "{cursor:?}, not {end}");
            let back = taken.into_iter().map(|block| (block, HostSays::Nothing));
            assert_eq!(ram.put_back_many(back), 0);
        }
    }
    ram.free_run(held).unwrap();
    assert_eq!(ram.validate(), Ok(1 << 14));
}

#[test]
fn an_age_of_one_pass_leaves_what_it_sees_first() {
    let ram = ram(1 << 12);
    ram.attach_reporter(order(9)).unwrap();
    let wanted = Wanted { seen_before: true, ..any(9, 9) };
    assert_eq!(pass(&ram, &wanted, HostSays::Reported), 0);
    // Taken and freed in between: no longer old.
    let young = ram.alloc_bare(order(9)).unwrap();
    ram.free_bare(young).unwrap();
    assert_eq!(pass(&ram, &wanted, HostSays::Reported), (1 << 12) - 512);
    assert_eq!(pass(&ram, &wanted, HostSays::Reported), 512);
}

#[test]
fn allocations_prefer_what_was_not_reported_and_clear_what_they_take() {
    let ram = ram(1 << 12);
    ram.attach_reporter(order(9)).unwrap();
    // All but one report granule are reported.
    let kept = ram.alloc_at(5 * 512 * 4096..6 * 512 * 4096).unwrap();
    assert_eq!(pass(&ram, &any(9, 12), HostSays::Reported), 7 * 512);
    ram.free_run(kept).unwrap();
    let preferred = ram.alloc_bare(order(9)).unwrap();
    assert_eq!(preferred.base(), Granule(5 * 512));
    assert_eq!(ram.refaulted_granules(), 0);
    let next = ram.alloc_bare(order(9)).unwrap();
    assert_eq!((ram.refaulted_granules(), ram.reported_granules()), (512, 6 * 512));
    ram.free_bare(preferred).unwrap();
    ram.free_bare(next).unwrap();
    // The others are still known, though the block that held them was split.
    assert_eq!(pass(&ram, &any(9, 12), HostSays::Reported), 2 * 512);
}

#[test]
fn an_isolated_block_is_an_allocation_that_lookup_sees() {
    let ram = ram(1 << 10);
    ram.attach_reporter(order(9)).unwrap();
    let mut cursor = Granule(0);
    let isolated = ram.isolate(&mut cursor, &any(9, 9)).unwrap();
    let inside = ram.address_of(isolated.block().base()) + 12_345;
    let guard = potad::pin();
    assert_eq!(ram.find(inside, &guard).unwrap().kind_name(), "reporting");
    assert_eq!(ram.stats().isolated, 512);
    let mut seen = HashSet::new();
    while let Ok(page) = ram.alloc_bare(order(0)) {
        assert!(!isolated.block().contains(page.base()), "isolated and handed out");
        seen.insert(page.base());
    }
    assert_eq!(seen.len(), 512);
    ram.put_back(isolated, HostSays::Reported).unwrap();
    assert!(ram.find(inside, &guard).is_none());
    assert_eq!(ram.validate(), Ok(512));
}

#[test]
fn a_report_granule_that_fits_no_span_is_refused() {
    let ram = ram(64);
    assert!(matches!(ram.attach_reporter(order(9)), Err(Error::NoReportGranule { .. })));
    assert!(ram.isolate(&mut Granule(0), &any(0, 9)).is_none());
}

#[test]
fn reporters_race_allocations_and_lose_nothing() {
    let granules = 1 << 13;
    let ram = ram(granules);
    ram.attach_reporter(order(6)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..300 {
                pass(&ram, &any(6, 9), HostSays::Reported);
            }
            done.store(true, Ordering::Relaxed);
        });
        for who in 0..2u64 {
            let (ram, done) = (&ram, &done);
            scope.spawn(move || {
                let mut hand = ram.hand();
                let mut live = Vec::new();
                let mut round = who;
                while !done.load(Ordering::Relaxed) {
                    round += 1;
                    let k = order([0, 1, 4, 6, 7][(round % 5) as usize]);
                    if let Ok(block) = hand.alloc_bare(k) {
                        live.push(block);
                    }
                    if live.len() > 50 {
                        let at = (round * 7) as usize % live.len();
                        hand.free_bare(live.swap_remove(at)).unwrap();
                    }
                }
                live.into_iter().for_each(|block| hand.free_bare(block).unwrap());
            });
        }
    });
    assert_eq!(ram.validate(), Ok(granules));
    assert_eq!(ram.free_blocks().len(), 1);
    assert_eq!(ram.stats().isolated, 0);
}

#[test]
fn free_granules_are_counted_where_they_lie() {
    let ram = ram(1 << 14);
    assert_eq!(ram.free_granules(), 1 << 14);
    let mut hand = ram.hand();
    let pages: Vec<_> = (0..100).map(|_| hand.alloc_bare(order(0)).unwrap()).collect();
    hand.flush();
    assert_eq!(ram.free_granules(), (1 << 14) - 100);
    let huge = hand.alloc_bare(order(9)).unwrap();
    assert_eq!(ram.free_granules(), (1 << 14) - 612);
    pages.into_iter().chain([huge]).for_each(|block| hand.free_bare(block).unwrap());
    hand.flush();
    assert_eq!((ram.free_granules(), ram.free_granules_up_to(100)), (1 << 14, 100));
}

/// One flat table of report granules beside the zone: random allocations, frees,
/// splits and reports, and after each step every granule's bits are those of the
/// table.
#[test]
fn a_shadow_of_every_report_granule_agrees_with_the_bits() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Shadow {
        New,
        Reported,
        Zeroed,
    }
    const GRANULES: u64 = 1 << 12;
    let mut known_zero = 0;
    for report in [0u32, 3, 6, 9] {
        let ram = ram(GRANULES);
        ram.attach_reporter(order(report)).unwrap();
        let mut shadow = vec![Shadow::New; (GRANULES >> report) as usize];
        let mut live: Vec<potad::BareBlock> = Vec::new();
        let mut seed = u64::from(report) + 1;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let pieces = |block: potad::memdesc::Block| {
            (block.base().0 >> report) as usize..=(block.last().0 >> report) as usize
        };
        let mut cursor = Granule(0);
        let mut told = 0;
        for step in 0..3_000 {
            match random(8) {
                // A shared allocation says what it knew, and then nobody knows.
                0 | 1 => {
                    let asked = order([0, 1, 3, 4, 6, 7, 9][random(7) as usize]);
                    let free = ram.stats().free;
                    if let Ok((block, content)) = ram.alloc_bare_telling(asked) {
                        let mine = pieces(block.block());
                        let all_zero = shadow[mine.clone()].iter().all(|s| *s == Shadow::Zeroed);
                        // What came through a hand may have been forgotten.
                        let says_zero = content == potad::Content::Zero;
                        assert!(all_zero || !says_zero, "step {step}: {block:?} of {free} free");
                        known_zero += u64::from(says_zero);
                        shadow[mine].fill(Shadow::New);
                        live.push(block);
                    }
                }
                2 | 3 if !live.is_empty() => {
                    let at = random(live.len() as u64) as usize;
                    ram.free_bare(live.swap_remove(at)).unwrap();
                    // Past this thread's hand, so that all is in the forest.
                    ram.free_blocks();
                }
                4 if !live.is_empty() => {
                    let at = random(live.len() as u64) as usize;
                    let block = live.swap_remove(at);
                    if block.order().get() > 0 {
                        let (lower, upper) = ram.split_bare(block).unwrap();
                        live.extend([lower, upper]);
                    } else {
                        live.push(block);
                    }
                }
                _ => {
                    let wanted = any(report, report + random(4) as u32);
                    let says = [HostSays::Nothing, HostSays::Reported, HostSays::Zeroed];
                    let says = says[random(3) as usize];
                    match ram.isolate(&mut cursor, &wanted) {
                        None => cursor = Granule(0),
                        Some(isolated) => {
                            let block = isolated.block();
                            assert!(!live.iter().any(|live| live.block().overlaps(block)));
                            for piece in pieces(block) {
                                assert_eq!(shadow[piece], Shadow::New, "step {step}: twice");
                                shadow[piece] = match says {
                                    HostSays::Nothing => Shadow::New,
                                    HostSays::Reported => Shadow::Reported,
                                    HostSays::Zeroed => Shadow::Zeroed,
                                };
                            }
                            told += 1;
                            ram.put_back(isolated, says).unwrap();
                        }
                    }
                }
            }
            for (piece, shadow) in (0u64..).zip(&shadow) {
                let base = Granule(piece << report);
                let block = potad::memdesc::Block::new(base, order(report)).unwrap();
                let reported = ram.is_reported(block);
                assert_eq!(
                    reported,
                    *shadow != Shadow::New,
                    "order {report} step {step} {block:?}"
                );
            }
            let reported = shadow.iter().filter(|shadow| **shadow != Shadow::New).count() as u64;
            assert_eq!(ram.reported_granules(), reported << report);
        }
        assert!(told > 20, "order {report}: {told} reports");
        live.into_iter().for_each(|block| ram.free_bare(block).unwrap());
        assert_eq!(ram.validate(), Ok(GRANULES));
        assert_eq!(ram.free_blocks().len(), 1, "bits or not, buddies merge");
    }
    assert!(known_zero > 0, "somebody was spared the zeroing");
}

/// What is known of a report granule, beside the zone: whether it is reported,
/// whether that was in the running pass, and whether the last report of it was
/// too early.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct History {
    reported: bool,
    young: bool,
    hasty: bool,
}

/// The same for what the allocator remembers of reports: batches, allocations,
/// frees and new passes at random. After each step the counts are those of the
/// table, and a patient pass meets what it says, and nothing else.
#[test]
fn a_shadow_of_the_reports_agrees_with_what_was_too_early() {
    const GRANULES: u64 = 1 << 12;
    let blocks = |report: u32| (0..GRANULES >> report).map(move |index| Granule(index << report));
    for report in [0u32, 3, 6, 9] {
        let ram = ram(GRANULES);
        ram.attach_reporter(order(report)).unwrap();
        let mut shadow = vec![History::default(); (GRANULES >> report) as usize];
        let mut live: Vec<potad::BareBlock> = Vec::new();
        let (mut refaulted, mut premature, mut hasty_met) = (0, 0, 0);
        let mut seed = u64::from(report) + 7;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let pieces = |block: potad::memdesc::Block| {
            (block.base().0 >> report) as usize..=(block.last().0 >> report) as usize
        };
        let mut cursor = Granule(0);
        for step in 0..1_000 {
            match random(8) {
                0 | 1 => {
                    let asked = order([0, 1, 3, 4, 6, 7, 9][random(7) as usize]);
                    if let Ok((block, _)) = ram.alloc_bare_telling(asked) {
                        for known in &mut shadow[pieces(block.block())] {
                            if known.reported {
                                refaulted += 1;
                                premature += u64::from(known.young);
                                *known = History { hasty: known.young, ..History::default() };
                            }
                        }
                        live.push(block);
                    }
                }
                2..=4 if !live.is_empty() => {
                    let at = random(live.len() as u64) as usize;
                    ram.free_bare(live.swap_remove(at)).unwrap();
                    ram.free_blocks();
                }
                5 => {
                    ram.age_reports();
                    shadow.iter_mut().for_each(|known| known.young = false);
                }
                _ => {
                    let patient = random(2) == 0;
                    let wanted = Wanted { patient, ..any(report, report + random(4) as u32) };
                    let mut batch = Vec::new();
                    let most = 1 + random(40) as usize;
                    ram.isolate_many(&mut cursor, &wanted, most, u64::MAX, &mut |isolated| {
                        batch.push(isolated);
                    });
                    if batch.is_empty() {
                        cursor = Granule(0);
                    }
                    let says = [HostSays::Nothing, HostSays::Reported, HostSays::Zeroed];
                    let mut told = Vec::new();
                    for isolated in batch {
                        let says = says[random(3) as usize];
                        for known in &mut shadow[pieces(isolated.block())] {
                            assert!(!known.reported, "step {step}: twice");
                            assert!(!patient || !known.hasty, "step {step}: hasty");
                            if says != HostSays::Nothing {
                                (known.reported, known.young) = (true, true);
                            }
                        }
                        told.push((isolated, says));
                    }
                    assert_eq!(ram.put_back_many(told), 0);
                }
            }
            assert_eq!(ram.refaulted_granules(), refaulted << report, "step {step}");
            assert_eq!(ram.premature_granules(), premature << report, "step {step}");
            if step % 50 == 0 {
                let mut met = HashSet::new();
                let (mut at, wanted) =
                    (Granule(0), Wanted { patient: true, ..any(report, report) });
                while at != Granule(u64::MAX) {
                    if let Some(isolated) = ram.isolate(&mut at, &wanted) {
                        met.insert(isolated.block().base());
                        ram.put_back(isolated, HostSays::Nothing).unwrap();
                    }
                }
                let mut free = vec![true; shadow.len()];
                live.iter().for_each(|block| free[pieces(block.block())].fill(false));
                let expected: HashSet<_> = blocks(report)
                    .zip(free.iter().zip(&shadow))
                    .filter(|(_, (free, known))| **free && !known.reported && !known.hasty)
                    .map(|(base, _)| base)
                    .collect();
                hasty_met += shadow.iter().zip(&free).filter(|(s, free)| s.hasty && **free).count();
                assert_eq!(met, expected, "order {report} step {step}");
            }
        }
        // In granules of 2 MiB there are but eight to choose from.
        assert!(premature > 0 && refaulted >= premature, "order {report}: {refaulted} {premature}");
        assert!(hasty_met > 0, "order {report}: nothing hasty was ever free");
        live.into_iter().for_each(|block| ram.free_bare(block).unwrap());
        assert_eq!(ram.validate(), Ok(GRANULES));
    }
}

/// Found by random stories: near a granule that failed, what was put back went
/// to the hand, which handed it out with its bits set.
#[test]
fn what_is_reported_beside_a_failed_granule_is_forgotten_when_it_is_taken() {
    let ram = ram(512);
    ram.attach_reporter(order(0)).unwrap();
    ram.report_failure(5 * 4096, 0, potad::memdesc::FailureKind::Injected).unwrap();
    let reported = pass(&ram, &any(0, 3), HostSays::Zeroed);
    assert!(reported > 0 && ram.reported_granules() == 511);
    for _ in 0..511 {
        // By the hand that the reports went through: this thread's.
        let page = ram.alloc_bare(order(0)).unwrap();
        assert!(!ram.is_reported(page.block()), "{page:?} is in use");
    }
    assert_eq!(ram.reported_granules(), 0);
    assert_eq!(ram.refaulted_granules(), 511);
}
