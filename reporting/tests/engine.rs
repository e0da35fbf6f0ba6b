//! The engine against a bad driver, a supplied clock and a busy allocator.
//! After each story every block is back: free or in use, none isolated.

use potad_reporting::backend::{Answer, Recording};
use potad_reporting::mock::MockSource;
use potad_reporting::*;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const GRANULE: u64 = 4096;
const SECOND: u64 = 1_000_000_000;

fn say(outcome: Outcome) -> Answer {
    Answer::Say(outcome)
}

/// Small blocks, so that there are many of them.
fn policy() -> Policy {
    Policy::eager().max_piece(GRANULE).interval(SECOND)
}

/// Every second granule in use, so that nothing coalesces.
fn comb(order: u32) -> (MockSource, Vec<potad_reporting::mock::UserBlock>) {
    let source = MockSource::new(GRANULE, order);
    let all: Vec<_> = (0..1 << order).map(|_| source.alloc(0).unwrap()).collect();
    let (used, free): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|block| block.address() / GRANULE % 2 == 1);
    free.into_iter().for_each(|block| source.free(block));
    (source, used)
}

/// Steps until nothing is due at `now`; returns the last answer.
fn run<S: ReportSource, D: Report>(reporter: &mut Reporter<S, D>, now: u64) -> Next {
    for _ in 0..100_000 {
        let next = reporter.step(now);
        if next.at > now {
            return next;
        }
    }
    panic!("the reporter does not come to rest");
}

/// Steps whenever the reporter asks for it, up to `end`.
fn run_until<S: ReportSource, D: Report>(reporter: &mut Reporter<S, D>, end: u64) {
    let mut now = reporter.clock();
    while now <= end {
        now = reporter.step(now).at;
    }
}

#[test]
fn a_pass_reports_everything_once() {
    let source = MockSource::new(GRANULE, 8);
    let mut reporter = Reporter::new(&source, Recording::new(), policy()).unwrap();
    let next = run(&mut reporter, 0);
    assert_eq!(next, Next { at: SECOND, state: State::Idle });
    assert_eq!(source.reported_bytes(), 256 * GRANULE);
    assert_eq!(source.isolated_bytes(), 0);
    // Eight batches of 32 adjacent blocks: one range each.
    assert_eq!(reporter.driver().calls().len(), 8);
    assert!(reporter.driver().calls().iter().all(|call| call.len() == 1));
    run_until(&mut reporter, 10 * SECOND);
    assert_eq!(reporter.driver().calls().len(), 8);
    assert_eq!(reporter.stats().ranged_blocks, 256);
}

#[test]
fn what_was_used_is_reported_again_and_nothing_else() {
    let source = MockSource::new(GRANULE, 6);
    let mut reporter = Reporter::new(&source, Recording::new(), policy()).unwrap();
    run(&mut reporter, 0);
    let user = source.alloc(2).unwrap();
    let address = user.address();
    source.free(user);
    run(&mut reporter, SECOND);
    let last = reporter.driver().calls().last().unwrap().clone();
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].at, ByteRange::new(address, 4 * GRANULE).unwrap());
}

#[test]
fn ranges_are_sorted_disjoint_and_within_the_caps() {
    let (source, _used) = comb(8);
    let caps = Caps { max_ranges: 5, max_bytes: 8 * GRANULE, align: GRANULE, ..Caps::DEFAULT };
    let driver = Recording::new().with_caps(caps);
    let mut reporter = Reporter::new(&source, driver, policy().batch(256)).unwrap();
    run(&mut reporter, 0);
    assert_eq!(source.reported_bytes(), 128 * GRANULE);
    for call in reporter.driver().calls() {
        assert!(call.len() <= 5);
        assert!(call.windows(2).all(|pair| pair[0].at.last() < pair[1].at.first()));
    }
    assert_eq!(reporter.stats().calls, reporter.driver().calls().len() as u64);

    let whole = MockSource::new(GRANULE, 8);
    let mut reporter =
        Reporter::new(&whole, Recording::new().with_caps(caps), policy().batch(256)).unwrap();
    run(&mut reporter, 0);
    let all = reporter.driver().calls().iter().flatten();
    assert!(all.clone().all(|range| range.at.bytes() == 8 * GRANULE));
    assert_eq!(all.count(), 32);
}

#[test]
fn partial_success_is_credited() {
    for bad in 0..32 {
        let (source, used) = comb(6);
        let driver = Recording::answering(move |index, _, _| match index {
            index if index == bad => say(Outcome::Failed),
            _ => say(Outcome::ReportedZeroed),
        });
        let mut reporter = Reporter::new(&source, driver, policy()).unwrap();
        run(&mut reporter, 0);
        assert_eq!(source.isolated_bytes(), 0);
        assert_eq!(source.reported_bytes(), 31 * GRANULE);
        assert_eq!(reporter.stats().outcome(Outcome::Failed).blocks, 1);
        used.into_iter().for_each(|block| source.free(block));
        assert_eq!(source.free_bytes(), 64 * GRANULE);
    }
}

#[test]
fn whatever_the_driver_does_no_block_is_lost() {
    let answers = [
        Answer::Forget,
        Answer::Cancel,
        Answer::Busy,
        Answer::Die,
        Answer::Panic,
        say(Outcome::Failed),
        say(Outcome::Declined),
        say(Outcome::NotTried),
    ];
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for answer in answers {
        for bad in 0..40 {
            let (source, used) = comb(7);
            let driver =
                Recording::answering(
                    move |index, _, _| {
                        if index == bad { answer } else { say(Outcome::Reported) }
                    },
                );
            let mut reporter = Reporter::new(&source, driver, policy()).unwrap();
            for now in 0..20 {
                reporter.step(now * SECOND);
                assert_eq!(source.isolated_bytes(), 0, "{answer:?} at {bad}");
                assert_eq!(source.free_bytes(), 64 * GRANULE);
            }
            // It goes on, or says that it cannot until it is revived.
            if let State::Parked(_) = reporter.state() {
                reporter.revive();
            }
            run_until(&mut reporter, 3600 * SECOND);
            assert_eq!(source.reported_bytes(), 64 * GRANULE, "{answer:?} at {bad}");
            drop(used);
        }
    }
    std::panic::set_hook(hook);
}

#[test]
fn a_panicking_driver_is_contained_and_not_credited() {
    let source = MockSource::new(GRANULE, 4);
    let driver = Recording::answering(|_, _, _| Answer::Panic);
    let mut reporter = Reporter::new(&source, driver, policy()).unwrap();
    let next = reporter.step(0);
    assert_eq!(next, Next { at: NEVER, state: State::Parked(Fault::Panicked) });
    assert_eq!(reporter.fault(), Some(Fault::Panicked));
    assert_eq!(reporter.step(100 * SECOND).state, State::Parked(Fault::Panicked));
    assert_eq!(reporter.driver().calls().len(), 1);
    assert_eq!((source.free_bytes(), source.reported_bytes()), (16 * GRANULE, 0));
    assert_eq!(reporter.stats().panics, 1);
    assert!(reporter.control().seen().stats.to_string().contains("panicked"));
}

#[test]
fn a_lazy_driver_cannot_vouch_for_zeros() {
    let source = MockSource::new(GRANULE, 4);
    let driver = Recording::answering(|_, _, _| say(Outcome::ReportedZeroed))
        .with_caps(Caps { lazy: true, ..Caps::DEFAULT });
    let mut reporter = Reporter::new(&source, driver, policy()).unwrap();
    run(&mut reporter, 0);
    assert!(!source.alloc(4).unwrap().was_zeroed());
    assert!(reporter.stats().lies > 0);
}

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

#[test]
fn a_cancel_in_the_middle_of_a_batch_keeps_what_was_done() {
    let (source, _used) = comb(6);
    let driver = Recording::answering(|index, _, control| {
        if index == 10 {
            control.cancel();
        }
        if control.should_stop() { Answer::Cancel } else { say(Outcome::Reported) }
    });
    let mut reporter = Reporter::new(&source, driver, policy()).unwrap();
    let next = reporter.step(0);
    assert_eq!(next, Next { at: SECOND, state: State::Idle });
    assert_eq!(source.reported_bytes(), 10 * GRANULE);
    assert_eq!(source.isolated_bytes(), 0);
    assert_eq!(reporter.stats().cancels, 1);
    run(&mut reporter, SECOND);
    assert_eq!(source.reported_bytes(), 32 * GRANULE);
}

#[test]
fn a_pause_in_the_middle_of_a_batch_goes_on_where_it_was() {
    let (source, _used) = comb(7);
    let pause: Arc<Mutex<Option<Pause>>> = Arc::default();
    let slot = pause.clone();
    let driver = Recording::answering(move |index, _, control| {
        if index == 40 {
            *slot.lock().unwrap() = Some(control.pause());
            return Answer::Cancel;
        }
        say(Outcome::Reported)
    });
    let policy = policy().interval(1000 * SECOND);
    let mut reporter = Reporter::new(&source, driver, policy).unwrap();
    run(&mut reporter, 0);
    assert_eq!(source.reported_bytes(), 40 * GRANULE);
    assert_eq!(source.isolated_bytes(), 0);
    let paused = reporter.step(100 * SECOND);
    assert_eq!(paused, Next { at: NEVER, state: State::Paused });
    pause.lock().unwrap().take();
    run(&mut reporter, 100 * SECOND);
    assert_eq!(source.reported_bytes(), 64 * GRANULE);
    assert_eq!(reporter.stats().passes, 1);
}

#[test]
fn a_request_is_a_pass_now_and_another_during_a_pass() {
    let source = MockSource::new(GRANULE, 7);
    let mut reporter = Reporter::new(
        &source,
        Recording::new(),
        Policy::never().max_piece(GRANULE).rules(&policy().rules),
    )
    .unwrap();
    assert_eq!(reporter.step(0), Next { at: NEVER, state: State::Idle });
    let control = reporter.control();
    control.request();
    // The age of `never` is `Seen`: one pass marks, the next takes.
    assert_eq!(reporter.step(0).state, State::Idle);
    control.request();
    let policy_batches = reporter.step(0);
    assert_eq!(policy_batches.state, State::Active);
    control.request();
    let mut states = Vec::new();
    while states.last() != Some(&State::Idle) {
        states.push(reporter.step(0).state);
    }
    assert!(states.contains(&State::Requested), "{states:?}");
    assert_eq!(reporter.stats().passes, 3);
    assert_eq!(source.reported_bytes(), 128 * GRANULE);
}

#[test]
fn a_stopped_reporter_does_nothing_more() {
    let source = MockSource::new(GRANULE, 4);
    let mut reporter = Reporter::new(&source, Recording::new(), policy()).unwrap();
    reporter.control().stop();
    assert_eq!(reporter.step(0), Next { at: NEVER, state: State::Stopped });
    assert_eq!(reporter.reclaim(0, 1).end, PulledEnd::Cancelled);
    assert!(reporter.driver().calls().is_empty());
}

#[test]
fn a_clock_that_goes_back_is_one_that_stands() {
    let source = MockSource::new(GRANULE, 4);
    let mut reporter = Reporter::new(&source, Recording::new(), policy()).unwrap();
    run(&mut reporter, 50 * SECOND);
    let user = source.alloc(0).unwrap();
    source.free(user);
    assert_eq!(reporter.step(0), Next { at: 51 * SECOND, state: State::Idle });
    run(&mut reporter, u64::MAX - 1);
    assert_eq!(source.dirty_bytes(), 0);
}

#[test]
fn contradictions_are_refused_with_their_numbers() {
    let source = MockSource::new(GRANULE, 4);
    let refuse = |caps: Caps, policy: Policy| {
        Reporter::new(&source, Recording::new().with_caps(caps), policy).unwrap_err()
    };
    let caps = Caps::DEFAULT;
    for bad in [
        Caps { max_ranges: 0, ..caps },
        Caps { max_ranges: 257, ..caps },
        Caps { min_bytes: 0, ..caps },
        Caps { min_bytes: 2, max_bytes: 1, ..caps },
        Caps { align: 3, ..caps },
        Caps { align: 0, ..caps },
    ] {
        assert_eq!(refuse(bad, policy()), ReportingError::Caps);
    }
    let huge = Caps { min_bytes: 2 << 20, ..caps };
    let none = ReportingError::NoOrder { min_bytes: 2 << 20, max_bytes: GRANULE };
    assert_eq!(refuse(huge, policy()), none);
    let tiny = Caps { max_bytes: 512, ..caps };
    assert!(matches!(refuse(tiny, policy()), ReportingError::NoOrder { max_bytes: 512, .. }));
    let empty = MockSource::new(0, 4);
    let refused = Reporter::new(&empty, Recording::new(), policy()).unwrap_err();
    assert_eq!(refused, ReportingError::NoGranule);
}

#[test]
fn a_cancel_between_two_calls_keeps_the_second_from_being_made() {
    let (source, _used) = comb(6);
    let driver = Recording::answering(|_, _, control| {
        control.cancel();
        say(Outcome::Reported)
    })
    .with_caps(Caps { max_ranges: 1, ..Caps::DEFAULT });
    let mut reporter = Reporter::new(&source, driver, policy()).unwrap();
    reporter.step(0);
    assert_eq!(reporter.driver().calls().len(), 1);
    assert_eq!(source.reported_bytes(), GRANULE);
}

/// Gives blocks out from the top down.
struct Reversed<'a>(&'a MockSource);

impl ReportSource for Reversed<'_> {
    type Block = potad_reporting::mock::MockBlock;

    fn isolate(
        &self,
        cursor: &mut Cursor,
        want: &Want,
        room: usize,
        out: &mut impl FnMut(Self::Block),
    ) -> Progress {
        let mut blocks = Vec::new();
        let progress = self.0.isolate(cursor, want, room, &mut |block| blocks.push(block));
        blocks.into_iter().rev().for_each(out);
        progress
    }

    fn put_back(&self, block: Self::Block, outcome: Outcome) {
        self.0.put_back(block, outcome);
    }

    fn dirty_bytes(&self) -> u64 {
        self.0.dirty_bytes()
    }

    fn reported_bytes(&self) -> u64 {
        self.0.reported_bytes()
    }

    fn granule_bytes(&self) -> u64 {
        self.0.granule_bytes()
    }
}

#[test]
fn blocks_in_any_order_make_sorted_ranges() {
    let source = MockSource::new(GRANULE, 5);
    let mut reporter = Reporter::new(Reversed(&source), Recording::new(), policy()).unwrap();
    run(&mut reporter, 0);
    let whole = ByteRange::new(0, 32 * GRANULE).unwrap();
    let calls = reporter.driver().calls();
    assert_eq!(calls.iter().flatten().map(|range| range.at).collect::<Vec<_>>(), [whole]);
}

/// Gives some blocks out and panics.
struct Panicking<'a>(&'a MockSource);

impl ReportSource for Panicking<'_> {
    type Block = potad_reporting::mock::MockBlock;

    fn isolate(
        &self,
        cursor: &mut Cursor,
        want: &Want,
        _: usize,
        out: &mut impl FnMut(Self::Block),
    ) -> Progress {
        self.0.isolate(cursor, want, 3, out);
        panic!("told to panic");
    }

    fn put_back(&self, block: Self::Block, outcome: Outcome) {
        self.0.put_back(block, outcome);
    }

    fn dirty_bytes(&self) -> u64 {
        self.0.dirty_bytes()
    }

    fn reported_bytes(&self) -> u64 {
        self.0.reported_bytes()
    }

    fn granule_bytes(&self) -> u64 {
        self.0.granule_bytes()
    }
}

#[test]
fn a_source_that_panics_gets_its_blocks_back() {
    let source = MockSource::new(GRANULE, 4);
    let mut reporter = Reporter::new(Panicking(&source), Recording::new(), policy()).unwrap();
    let step = std::panic::AssertUnwindSafe(|| reporter.step(0));
    assert!(std::panic::catch_unwind(step).is_err());
    assert_eq!((source.isolated_bytes(), source.free_bytes()), (0, 16 * GRANULE));
    // No batch runs any more, so nobody waits for ever.
    reporter.control().pause().wait_quiet();
}

#[test]
fn a_stopwatch_fills_the_histograms_of_times() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    // Each look is 100 later than the one before.
    fn stopwatch() -> u64 {
        NOW.fetch_add(100, Ordering::Relaxed)
    }
    let (source, _used) = comb(6);
    let reporter = Reporter::new(&source, Recording::new(), policy()).unwrap();
    let mut reporter = reporter.with_stopwatch(stopwatch);
    run(&mut reporter, 0);
    let stats = reporter.stats();
    assert_eq!((stats.isolate_ns.total(), stats.report_ns.total()), (stats.isolations, 1));
    assert_eq!(stats.isolate_ns.below(100), Some(128));
    // 32 ranges of a granule each.
    assert_eq!((stats.range_bytes.total(), stats.range_bytes.below(1)), (32, Some(2 * GRANULE)));
    assert!(stats.to_string().contains("report < 128 ns by half"), "{stats}");
}
