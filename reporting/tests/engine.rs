//! The engine against a bad driver, a bad source and a busy allocator.
//! After each story every block is back: free or in use, none isolated.

mod common;

use common::*;
use potad_reporting::backend::{Answer, Recording};
use potad_reporting::mock::MockSource;
use potad_reporting::*;
use std::sync::atomic::{AtomicU64, Ordering};

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
    let stats = reporter.stats();
    assert_eq!((stats.batches, stats.calls, stats.ranges, stats.ranged_blocks), (8, 8, 8, 256));
    assert_eq!(stats.range_bytes.total(), 8);
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
