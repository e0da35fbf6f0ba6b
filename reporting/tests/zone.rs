//! The engine on a zone: what it learns from what is taken again.

use potad::memdesc::Order;
use potad::{BareBlock, Potad, Resource, Zone};
use potad_reporting::backend::{Answer, Recording};
use potad_reporting::{
    Age, ByteRange, Caps, Cursor, IsolatedBlock, Outcome, Policy, Progress, ReportSource, Reporter,
    Rule, State, Want, ZoneSource,
};

const GRANULE: u64 = 4096;
const SECOND: u64 = 1_000_000_000;
/// Of report granules of 64 KiB.
const GRANULES: u64 = 1 << 10;

fn policy() -> Policy {
    let rules = [Rule { min_bytes: 16 * GRANULE, every: 1 }];
    Policy::eager().rules(&rules).interval(SECOND)
}

fn reporter(policy: Policy) -> (Zone, Reporter<ZoneSource, Recording>) {
    let resource = Resource::new("ram").granule(GRANULE).span(0..GRANULES * GRANULE);
    let ram = Potad::new().register(resource).unwrap();
    let source = ZoneSource::attach(ram.clone(), Order::new(4).unwrap()).unwrap();
    (ram, Reporter::new(source, Recording::new(), policy).unwrap())
}

/// The pass that is due at `now`, all of it; returns the bytes that it reported.
fn pass(reporter: &mut Reporter<ZoneSource, Recording>, now: u64) -> u64 {
    let before = reporter.stats().reported_bytes();
    while reporter.step(now).state == State::Active {}
    reporter.stats().reported_bytes() - before
}

/// Takes 2 MiB and gives them back, past the hand.
fn use_again(ram: &Zone) {
    let block: BareBlock = ram.alloc_bare(Order::new(9).unwrap()).unwrap();
    ram.free_bare(block).unwrap();
    ram.free_blocks();
}

#[test]
fn what_was_reported_too_early_waits_until_a_report_lasts() {
    let (ram, mut reporter) = reporter(policy().patience(3));
    let huge = GRANULE << 9;
    // The first pass reports all.
    assert_eq!(pass(&mut reporter, 0), GRANULES * GRANULE);
    use_again(&ram);
    // Passes 2 to 6: every third takes what was reported too early.
    let told: Vec<u64> = (1..=4).map(|now| pass(&mut reporter, now * SECOND)).collect();
    assert_eq!(told, [0, huge, 0, 0]);
    assert_eq!((reporter.stats().refaulted, reporter.stats().premature), (huge, huge));
    // That report lasted, so the next is not put off.
    use_again(&ram);
    assert_eq!(pass(&mut reporter, 5 * SECOND), huge);
    assert_eq!((reporter.stats().refaulted, reporter.stats().premature), (2 * huge, huge));
}

#[test]
fn without_patience_every_pass_takes_everything() {
    let (ram, mut reporter) = reporter(policy());
    for now in 0..4 {
        let expected = if now == 0 { GRANULES * GRANULE } else { GRANULE << 9 };
        assert_eq!(pass(&mut reporter, now * SECOND), expected);
        use_again(&ram);
    }
    // A pull does not ask either.
    let (ram, mut reporter) = self::reporter(policy().patience(100).interval(u64::MAX));
    assert_eq!(reporter.reclaim(0, u64::MAX).reported, GRANULES * GRANULE);
    use_again(&ram);
    assert_eq!(reporter.reclaim(0, u64::MAX).reported, GRANULE << 9);
}

/// What reported blocks served counts as demand: the guard saw only the fall of
/// what was not reported, and took the peak of a busy guest for none.
#[test]
fn a_peak_served_from_reported_memory_is_demand() {
    let (ram, mut reporter) = reporter(policy().demand_passes(4));
    pass(&mut reporter, 0);
    assert_eq!(ram.reported_granules(), GRANULES);
    let peak = ram.alloc_bare(Order::new(9).unwrap()).unwrap();
    pass(&mut reporter, SECOND);
    ram.free_bare(peak).unwrap();
    ram.free_blocks();
    // Kept for the rest of this window and all of the next.
    for now in 2..=6 {
        assert_eq!((now, pass(&mut reporter, now * SECOND)), (now, 0));
    }
    assert_eq!(pass(&mut reporter, 7 * SECOND), GRANULE << 9);
}

/// Three resources of one potad, each with a reporter, a policy and a report
/// granule of its own: nobody is told of another's memory, and what one does to
/// its bits or takes out is nothing to the others.
#[test]
fn reporters_of_several_resources_keep_to_their_own() {
    let potad = Potad::new();
    let bytes = GRANULES * GRANULE;
    let first = |index: u64| index * 2 * bytes;
    let zones: Vec<Zone> = (0..3)
        .map(|index| {
            let resource = Resource::new(format!("ram{index}")).granule(GRANULE);
            potad.register(resource.span(first(index)..first(index) + bytes)).unwrap()
        })
        .collect();
    let mut reporters: Vec<_> = zones
        .iter()
        .zip([0, 4, 9])
        .map(|(zone, report)| {
            let source = ZoneSource::attach(zone.clone(), Order::new(report).unwrap()).unwrap();
            let rules = [Rule { min_bytes: GRANULE << report, every: 1 }];
            Reporter::new(source, Recording::new(), policy().rules(&rules)).unwrap()
        })
        .collect();
    // A second one of the same resource is refused, and changes nothing.
    assert!(ZoneSource::attach(zones[1].clone(), Order::new(4).unwrap()).is_err());

    // Only the second reports: the others' memory stays as it is.
    assert_eq!(pass(&mut reporters[1], 0), bytes);
    let known = |zones: &[Zone]| zones.iter().map(Zone::reported_granules).collect::<Vec<_>>();
    assert_eq!(known(&zones), [0, GRANULES, 0]);

    // One page is used in each; then all report, each in its own granules.
    let used: Vec<BareBlock> =
        zones.iter().map(|zone| zone.alloc_bare_telling(Order::ZERO).unwrap().0).collect();
    let told: Vec<u64> = reporters.iter_mut().map(|reporter| pass(reporter, SECOND)).collect();
    assert_eq!(told, [bytes - GRANULE, 0, bytes - (GRANULE << 9)]);
    assert_eq!(known(&zones), [GRANULES - 1, GRANULES - 16, GRANULES - 512]);
    let refaulted: Vec<u64> = zones.iter().map(Zone::refaulted_granules).collect();
    assert_eq!(refaulted, [0, 16, 0]);

    // What one holds is out of its own resource alone; and no other takes it back.
    let mut cursor = potad::memdesc::Granule(0);
    let any = Order::new(0).unwrap();
    let wanted = potad::Wanted {
        min_order: any,
        max_order: any,
        seen_before: false,
        patient: false,
        spare: 0,
    };
    for (zone, block) in zones.iter().zip(used) {
        zone.free_bare(block).unwrap();
        zone.free_blocks();
    }
    let isolated = zones[0].isolate(&mut cursor, &wanted).expect("the page");
    let free: Vec<u64> = zones.iter().map(|zone| zone.stats().free).collect();
    assert_eq!(free, [GRANULES - 1, GRANULES, GRANULES]);
    let refused = zones[2].put_back(isolated, potad::HostSays::Reported).unwrap_err();
    zones[0].put_back(refused.given, potad::HostSays::Nothing).unwrap();

    // Each driver heard of its own addresses, every byte as often as it was told.
    for (index, reporter) in (0..).zip(&reporters) {
        let ranges: Vec<_> = reporter.driver().calls().iter().flatten().collect();
        let (low, high) = (first(index), first(index) + bytes - 1);
        assert!(ranges.iter().all(|range| range.at.first() >= low && range.at.last() <= high));
        let heard: u64 = ranges.iter().map(|range| range.at.bytes()).sum();
        assert_eq!(heard, reporter.stats().reported_bytes());
    }
    for zone in &zones {
        assert_eq!(zone.validate(), Ok(GRANULES));
    }
}

/// Memory that nobody has touched yet need not be reported, and reads as zeros.
#[test]
fn what_was_never_there_is_not_reported() {
    let resource = Resource::new("ram").granule(GRANULE).span(0..GRANULES * GRANULE);
    let ram = Potad::new().register(resource).unwrap();
    let used = ram.alloc_bare(Order::new(6).unwrap()).unwrap();
    let source = ZoneSource::attach_absent(ram.clone(), Order::new(4).unwrap()).unwrap();
    assert_eq!(ram.reported_granules(), GRANULES - 64);
    let again = ZoneSource::attach_absent(ram.clone(), Order::ZERO);
    assert!(matches!(again, Err(potad::Error::ReporterAttached)));
    let mut reporter = Reporter::new(source, Recording::new(), policy()).unwrap();
    assert_eq!(pass(&mut reporter, 0), 0, "there is nothing to discard");
    ram.free_bare(used).unwrap();
    ram.flush_hands();
    assert_eq!(pass(&mut reporter, SECOND), 64 * GRANULE);

    // What is added is noted where it is; a range of no zone is nobody's.
    let (first, last) = (GRANULES * GRANULE, 2 * GRANULES * GRANULE - 1);
    ram.hot_add(first..=last).unwrap();
    ZoneSource::note_absent(&ram, first, u64::MAX);
    ZoneSource::note_absent(&ram, u64::MAX - 1, u64::MAX);
    assert_eq!(ram.reported_granules(), GRANULES);
    // The block that reaches further is left as it is: two halves are one block.
    ZoneSource::note_absent(&ram, first, first + (GRANULES / 2) * GRANULE - 1);
    assert_eq!(ram.reported_granules(), GRANULES);
    ZoneSource::note_absent(&ram, first, last);
    assert_eq!(ram.reported_granules(), 2 * GRANULES);
    // Of the first half the host has said nothing but that it has it.
    let both = [(); 2].map(|()| ram.alloc_bare_telling(Order::new(10).unwrap()).unwrap());
    let mut known =
        both.each_ref().map(|(block, content)| (ram.address_of(block.base()), *content));
    known.sort_by_key(|(at, _)| *at);
    assert_eq!(known, [(0, potad::Content::Unknown), (first, potad::Content::Zero)]);
    both.into_iter().for_each(|(block, _)| ram.free_bare(block).unwrap());
}

/// The last large block that a hand freed stays in the hand, but not from a reporter.
#[test]
fn what_a_hand_keeps_is_reported_by_the_next_pass() {
    let (ram, mut reporter) = reporter(policy());
    let mut hand = ram.hand();
    assert_eq!(pass(&mut reporter, 0), GRANULES * GRANULE);
    for turn in 1..4 {
        let block = hand.alloc_bare(Order::new(9).unwrap()).unwrap();
        hand.free_bare(block).unwrap();
        assert_eq!(pass(&mut reporter, turn * SECOND), 512 * GRANULE, "turn {turn}");
        assert_eq!(ram.reported_granules(), GRANULES);
    }
}

#[test]
fn free_ranges_are_joined_and_know_what_the_host_has() {
    let (ram, mut reporter) = reporter(policy());
    let first = ram.alloc_at(0..GRANULE).unwrap();
    let run = ram.alloc_at(64 * GRANULE..80 * GRANULE).unwrap();
    assert_eq!(pass(&mut reporter, 0), (GRANULES - 32) * GRANULE);
    let free = |order| -> Vec<_> {
        let ranges = reporter.source().free_ranges(Order::new(order).unwrap());
        let in_granules = |range: ByteRange| (range.first() / GRANULE, range.bytes() / GRANULE);
        ranges.map(|(range, known)| (in_granules(range), known)).collect()
    };
    // Blocks of one kind beside each other are one range; what is smaller than
    // asked is none.
    assert_eq!(free(4), [((16, 48), true), ((80, GRANULES - 80), true)]);
    assert_eq!(free(0), [((1, 15), false), ((16, 48), true), ((80, GRANULES - 80), true)]);
    // What was used again parts them, as far as its block goes.
    ram.free_run(run).unwrap();
    ram.flush_hands();
    let parted = [((16, 48), true), ((64, 64), false), ((128, GRANULES - 128), true)];
    assert_eq!(free(4), parted);
    assert_eq!(free(9), [((GRANULES / 2, GRANULES / 2), true)]);
    assert!(free(10).is_empty());
    ram.free_run(first).unwrap();
    ram.flush_hands();
    assert_eq!(free(10), [((0, GRANULES), false)], "not all of the one block is known");
}

/// The reserve of a zone is exact where nothing is in hands.
#[test]
fn a_zone_leaves_what_it_is_told_to_leave() {
    let (ram, reporter) = reporter(policy());
    let source = reporter.source();
    let want = |leave| Want {
        min_order: Order::new(4).unwrap(),
        max_order: Order::new(6).unwrap(),
        age: Age::Any,
        patient: false,
        max_bytes: u64::MAX,
        spare_bytes: 0,
        leave_bytes: leave * GRANULE,
    };
    let taken = |leave| {
        let mut out = Vec::new();
        let progress =
            source.isolate(&mut Cursor::default(), &want(leave), 32, &mut |block| out.push(block));
        let orders: Vec<_> = out.iter().map(|block| block.order().get()).collect();
        out.into_iter().for_each(|block| source.put_back(block, Outcome::NotTried));
        (progress, orders)
    };
    for leave in [GRANULES, GRANULES + 1, GRANULES - 1, GRANULES - 15] {
        assert_eq!(taken(leave), (Progress::Pressure, vec![]), "of {GRANULES} leave {leave}");
    }
    assert_eq!(taken(GRANULES - 16).1, [4]);
    assert_eq!(taken(GRANULES - 40).1, [5]);
    assert_eq!(taken(GRANULES - 64).1, [6]);
    assert_eq!(taken(0).1, [6; 16]);
    assert_eq!(ram.validate(), Ok(GRANULES));
}

/// A range leaves while a device has batches of it and look-ups run: what is in
/// flight keeps it, what returns is the removal's, and nothing is lost.
#[test]
fn a_range_leaves_while_batches_of_it_are_in_flight_and_lookups_run() {
    use potad::memdesc::OwnerId;
    use std::sync::atomic::{AtomicBool, Ordering};
    let resource = Resource::new("ram").granule(GRANULE).span(0..GRANULES * GRANULE);
    let ram = Potad::new().register(resource).unwrap();
    let source = ZoneSource::attach(ram.clone(), Order::new(4).unwrap()).unwrap();
    let driver = Recording::answering(|_, _, _| Answer::Say(Outcome::Posted));
    let driver = driver.with_caps(Caps { posts: true, max_bytes: 16 * GRANULE, ..Caps::DEFAULT });
    let policy = policy().max_piece(16 * GRANULE).max_in_flight(8).batch(8);
    let mut reporter = Reporter::new(source, driver, policy).unwrap();
    let there = ram.alloc_raw(Order::new(2).unwrap(), OwnerId(5)).unwrap();
    let at = ram.address_of(there.base());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut looks = 0_u64;
            while !done.load(Ordering::Relaxed) || looks == 0 {
                let guard = potad::pin();
                let found = ram.find(at, &guard).expect("a live block is found");
                assert_eq!(found.owner(), OwnerId(5));
                // Beside it something comes and goes.
                let _other = ram.find(at ^ (GRANULES / 2 * GRANULE), &guard);
                looks += 1;
            }
            looks
        });
        let free = ram.stats().free;
        reporter.step(0);
        let out = reporter.in_flight() as u64 * 16;
        assert!(out > 0 && ram.stats().free == free - out);
        let removal = ram.hot_remove(0..GRANULES * GRANULE).unwrap();
        assert_eq!(removal.remaining_granules(), out + 4);
        // In two halves: the first comes back before the second is asked about.
        let posted = reporter.driver().posted().to_vec();
        for (count, ticket) in (1..).zip(&posted) {
            reporter.driver_mut().give_back(*ticket, Outcome::Reported);
            reporter.step(count);
            removal.sweep();
            let left = out - 16 * count;
            assert_eq!(removal.remaining_granules(), left + 4);
            assert_eq!(reporter.source().dirty_bytes(), 0, "nothing of it is free");
        }
        assert_eq!((reporter.in_flight(), ram.stats().isolated), (0, 0));
        done.store(true, Ordering::Relaxed);
        assert!(looks.join().unwrap() > 0);
        ram.free_raw(there).unwrap();
        assert!(removal.wait(|_| false));
        removal.finish().unwrap();
    });
    assert_eq!((ram.granules(), ram.validate()), (0, Ok(0)));
    ram.hot_add(0..GRANULES * GRANULE).unwrap();
    assert_eq!(ram.validate(), Ok(GRANULES));
}
