//! When the engine asks, and for how much: what is left alone for a while,
//! back-offs, the rate, ages and rules, volumes, demand and the reserve.

mod common;

use common::*;
use potad_reporting::backend::Recording;
use potad_reporting::mock::MockSource;
use potad_reporting::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn a_declined_range_is_left_alone_for_its_time() {
    let source = MockSource::new(GRANULE, 0);
    let driver = Recording::answering(|_, _, _| say(Outcome::Declined));
    let policy = policy().decline_ttl(10 * SECOND);
    let mut reporter = Reporter::new(&source, driver, policy).unwrap();
    run_until(&mut reporter, 9 * SECOND);
    assert_eq!(reporter.driver().calls().len(), 1);
    assert_eq!(reporter.stats().skipped.blocks, 9);
    run_until(&mut reporter, 10 * SECOND);
    assert_eq!(reporter.driver().calls().len(), 2);
    // No error, so no back-off.
    assert_eq!((reporter.stats().backoffs, reporter.fault()), (0, None));
}

#[test]
fn failures_back_off_exponentially_and_a_success_ends_it() {
    let source = MockSource::new(GRANULE, 10);
    let works = Arc::new(AtomicU64::new(0));
    let switch = works.clone();
    let driver = Recording::answering(move |_, _, _| match switch.load(Ordering::Relaxed) {
        0 => say(Outcome::Failed),
        _ => say(Outcome::Reported),
    });
    let policy = policy().backoff(2 * SECOND, 60 * SECOND);
    let mut reporter = Reporter::new(&source, driver, policy).unwrap();
    let mut now = 0;
    let mut waits = Vec::new();
    while waits.len() < 7 {
        let next = reporter.step(now);
        if next.state == State::BackingOff {
            // Too early is no call.
            let calls = reporter.driver().calls().len();
            assert_eq!(reporter.step(next.at - 1).at, next.at);
            assert_eq!(reporter.driver().calls().len(), calls);
            waits.push((next.at - now) / SECOND);
        }
        now = next.at;
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
    works.store(1, Ordering::Relaxed);
    run_until(&mut reporter, now + 300 * SECOND);
    assert_eq!(source.reported_bytes(), 1024 * GRANULE);
    assert_eq!(reporter.state(), State::Idle);
    // The next failure begins anew.
    works.store(0, Ordering::Relaxed);
    let user = source.alloc(0).unwrap();
    source.free(user);
    let now = reporter.clock() + SECOND;
    assert_eq!(reporter.step(now), Next { at: now + 2 * SECOND, state: State::BackingOff });
}

#[test]
fn one_bad_block_does_not_keep_its_neighbours() {
    let source = MockSource::new(GRANULE, 5);
    let bad = ByteRange::new(7 * GRANULE, GRANULE).unwrap();
    let driver = Recording::answering(move |_, range, _| {
        if range.at.overlaps(bad) { say(Outcome::Failed) } else { say(Outcome::Reported) }
    });
    let mut reporter = Reporter::new(&source, driver, policy()).unwrap();
    // First all 32 as one range; then one by one.
    run_until(&mut reporter, 60 * SECOND);
    assert_eq!(source.reported_bytes(), 31 * GRANULE);
    assert_eq!(source.isolated_bytes(), 0);
}

#[test]
fn the_rate_is_kept_over_time() {
    let source = MockSource::new(GRANULE, 10);
    // 64 granules a second, 16 at once.
    let policy = policy().rate(64 * GRANULE, 16 * GRANULE);
    let mut reporter = Reporter::new(&source, Recording::new(), policy).unwrap();
    let mut now = 0;
    while source.reported_bytes() < 1024 * GRANULE {
        let next = reporter.step(now);
        let allowed = 64 * GRANULE * now / SECOND + 16 * GRANULE + GRANULE;
        assert!(reporter.stats().reported_bytes() <= allowed, "too fast at {now}");
        now = next.at;
    }
    // (1024 - 16) / 64 seconds, less than one granule's time off.
    assert!((15 * SECOND..16 * SECOND).contains(&now), "{now}");
}

#[test]
fn blocks_must_have_been_seen_by_an_earlier_pass() {
    let source = MockSource::new(GRANULE, 4);
    let policy = policy().age(Age::Seen);
    let mut reporter = Reporter::new(&source, Recording::new(), policy).unwrap();
    run(&mut reporter, 0);
    assert_eq!(source.reported_bytes(), 0);
    // Used and freed again in between: young again.
    let user = source.alloc(0).unwrap();
    source.free(user);
    run(&mut reporter, SECOND);
    assert_eq!(source.reported_bytes(), 15 * GRANULE);
    run(&mut reporter, 2 * SECOND);
    assert_eq!(source.reported_bytes(), 16 * GRANULE);
}

#[test]
fn small_blocks_wait_for_their_own_passes() {
    let source = MockSource::new(GRANULE, 5);
    let mut keep = vec![source.alloc(0).unwrap()];
    keep.push(source.alloc(4).unwrap());
    let rules = [Rule { min_bytes: 8 * GRANULE, every: 1 }, Rule { min_bytes: GRANULE, every: 4 }];
    let policy = Policy::eager().interval(SECOND).rules(&rules);
    let mut reporter = Reporter::new(&source, Recording::new(), policy).unwrap();
    for pass in 1..=3 {
        run(&mut reporter, (pass - 1) * SECOND);
        assert_eq!(source.reported_bytes(), 8 * GRANULE, "pass {pass}");
    }
    run(&mut reporter, 3 * SECOND);
    assert_eq!(source.reported_bytes(), 15 * GRANULE);
}

#[test]
fn too_much_unreported_begins_a_pass_early() {
    let source = MockSource::new(GRANULE, 8);
    let policy = policy().age(Age::Seen).interval(1000 * SECOND).volume(100 * GRANULE);
    let mut reporter = Reporter::new(&source, Recording::new(), policy.clone()).unwrap();
    // The first pass marks; the volume is looked at after it, asks no age, and
    // leaves what it allows.
    run(&mut reporter, 0);
    run(&mut reporter, policy.poll);
    assert_eq!(source.dirty_bytes(), 100 * GRANULE);
    run_until(&mut reporter, SECOND);
    assert_eq!(source.dirty_bytes(), 100 * GRANULE);
}

#[test]
fn a_volume_that_no_block_suits_is_looked_at_once_an_interval() {
    let (source, _used) = comb(6);
    let rules = [Rule { min_bytes: 2 * GRANULE, every: 1 }];
    let policy = Policy::eager().rules(&rules).interval(10 * SECOND).volume(GRANULE);
    let mut reporter = Reporter::new(&source, Recording::new(), policy).unwrap();
    run_until(&mut reporter, 100 * SECOND);
    assert!((10..=25).contains(&reporter.stats().passes), "{}", reporter.stats());
}

#[test]
fn what_the_reporter_takes_is_no_demand() {
    let source = MockSource::new(GRANULE, 8);
    let policy = policy().age(Age::Seen).demand_passes(3);
    let mut reporter = Reporter::new(&source, Recording::new(), policy).unwrap();
    run_until(&mut reporter, SECOND);
    assert_eq!(source.dirty_bytes(), 0);
    let user = source.alloc(4).unwrap();
    source.free(user);
    run_until(&mut reporter, 3 * SECOND);
    assert_eq!(source.dirty_bytes(), 0);
}

#[test]
fn what_the_last_peak_needed_stays() {
    let source = MockSource::new(GRANULE, 8);
    let policy = policy().age(Age::Seen).demand_passes(3);
    let mut reporter = Reporter::new(&source, Recording::new(), policy).unwrap();
    run(&mut reporter, 0);
    // A peak of 64 granules, seen by a step.
    let peak = source.alloc(6).unwrap();
    reporter.step(1);
    source.free(peak);
    run(&mut reporter, SECOND);
    // The same again, for the peak's own memory has no age yet.
    assert_eq!(source.dirty_bytes(), 2 * 64 * GRANULE);
    run(&mut reporter, 2 * SECOND);
    assert_eq!(source.dirty_bytes(), 64 * GRANULE);
    // Kept until two windows of three passes are over.
    run_until(&mut reporter, 4 * SECOND);
    assert_eq!(source.dirty_bytes(), 64 * GRANULE);
    run_until(&mut reporter, 7 * SECOND);
    assert_eq!(source.dirty_bytes(), 0);
}

/// What is spared is counted in bytes, piece by piece, whatever the pieces are.
#[test]
fn a_source_spares_the_first_bytes_of_a_pass_and_no_more() {
    let order = |order| memdesc::Order::new(order).unwrap();
    for spared in [0, 1, 16, 24, 100, 256] {
        let source = MockSource::new(GRANULE, 8);
        let want = Want {
            min_order: order(0),
            max_order: order(4),
            age: Age::Any,
            patient: false,
            max_bytes: u64::MAX,
            spare_bytes: spared * GRANULE,
            leave_bytes: 0,
        };
        let (mut cursor, mut taken) = (Cursor::default(), 0);
        let mut take = |block: mock::MockBlock| taken += block.range().bytes();
        while source.isolate(&mut cursor, &want, 32, &mut take) != Progress::EndOfPass {}
        assert_eq!((taken, cursor.spared), ((256 - spared) * GRANULE, spared * GRANULE));
    }
}

#[test]
fn the_reserve_ends_a_pass_under_pressure() {
    let source = MockSource::new(GRANULE, 6);
    let policy = policy().reserve(60 * GRANULE);
    let mut reporter = Reporter::new(&source, Recording::new(), policy).unwrap();
    for now in 0..64 {
        run(&mut reporter, now * SECOND);
    }
    // Four at a time are taken out, and the pass ends there.
    assert!(reporter.driver().calls().iter().flatten().all(|r| r.at.bytes() <= 4 * GRANULE));
    assert!(reporter.stats().pressures > 0);
    assert_eq!(source.reported_bytes(), 64 * GRANULE);
}

/// A pass for volume that came to nothing is not repeated at once.
#[test]
fn a_volume_that_stays_waits_for_its_time() {
    let (source, _used) = comb(6);
    let rules = [Rule { min_bytes: 2 * GRANULE, every: 1 }];
    let policy = Policy::eager().rules(&rules).interval(1000 * SECOND).volume(GRANULE);
    let mut reporter = Reporter::new(&source, Recording::new(), policy).unwrap();
    run(&mut reporter, 0);
    run(&mut reporter, SECOND);
    let passes = reporter.stats().passes;
    for now in 1..100 {
        reporter.step(SECOND + now);
    }
    assert_eq!(reporter.stats().passes, passes, "nothing has changed");
}

/// A pull takes pieces as large as what is asked allows, not one by one.
#[test]
fn a_pull_takes_large_pieces() {
    let source = MockSource::new(GRANULE, 8);
    let mut reporter =
        Reporter::new(&source, Recording::new(), Policy::eager().interval(u64::MAX)).unwrap();
    let pulled = reporter.reclaim(0, 64 * GRANULE);
    assert_eq!((pulled.reported, pulled.end), (64 * GRANULE, PulledEnd::Enough));
    let calls = reporter.driver().calls();
    assert_eq!((calls.len(), calls[0].len()), (1, 1), "{calls:?}");
}
