//! When something is due, to the nanosecond, and what is counted of it.

mod common;

use common::*;
use potad_reporting::backend::{Answer, Recording};
use potad_reporting::mock::MockSource;
use potad_reporting::*;

#[test]
fn a_cancelled_pull_says_so_and_is_counted() {
    let source = MockSource::new(GRANULE, 4);
    let mut reporter = Reporter::new(&source, Recording::new(), policy().interval(NEVER)).unwrap();
    for cancels in 1..4 {
        reporter.control().cancel();
        let pulled = reporter.reclaim(0, GRANULE);
        assert_eq!((pulled.end, pulled.reported), (PulledEnd::Cancelled, 0));
        assert_eq!(reporter.stats().cancels, cancels);
    }
    let pulled = reporter.reclaim(0, 0);
    assert_eq!((pulled.end, pulled.reported), (PulledEnd::Enough, 0), "nothing was asked for");
    assert!(reporter.driver().calls().is_empty());
}

#[test]
fn a_pull_that_parks_the_reporter_says_so() {
    let source = MockSource::new(GRANULE, 4);
    let driver = Recording::answering(|_, _, _| Answer::Die);
    let mut reporter = Reporter::new(&source, driver, policy().interval(NEVER)).unwrap();
    let fault = Fault::Driver("told to die");
    for _ in 0..2 {
        let pulled = reporter.reclaim(0, 16 * GRANULE);
        assert_eq!((pulled.end, pulled.reported), (PulledEnd::Parked(fault), 0));
        assert_eq!(reporter.driver().calls().len(), 1, "it is asked once");
    }
    assert_eq!(source.isolated_bytes(), 0);
    assert_eq!(reporter.step(0), Next { at: NEVER, state: State::Parked(fault) });
}

#[test]
fn a_pull_goes_no_further_than_a_device_may_have() {
    let source = MockSource::new(GRANULE, 5);
    let driver = Recording::answering(|_, _, _| say(Outcome::Posted)).with_caps(Caps {
        posts: true,
        max_bytes: GRANULE,
        ..Caps::DEFAULT
    });
    let policy = policy().interval(NEVER).max_in_flight(8).batch(8);
    let mut reporter = Reporter::new(&source, driver, policy).unwrap();
    let pulled = reporter.reclaim(0, 32 * GRANULE);
    assert_eq!((pulled.end, pulled.posted), (PulledEnd::Later, 8 * GRANULE));
    assert_eq!(reporter.in_flight(), 8);
    for ticket in reporter.driver().posted().to_vec() {
        reporter.driver_mut().give_back(ticket, Outcome::Reported);
    }
    let pulled = reporter.reclaim(0, 4 * GRANULE);
    assert_eq!((pulled.end, pulled.posted), (PulledEnd::Enough, 4 * GRANULE));
    assert_eq!(source.reported_bytes(), 8 * GRANULE);
}

/// No interval stays none, whatever its spread and after a request.
#[test]
fn without_an_interval_no_pass_comes_due() {
    let source = MockSource::new(GRANULE, 3);
    let policy = policy().interval(NEVER).jitter(100, 7);
    let mut reporter = Reporter::new(&source, Recording::new(), policy).unwrap();
    // The first pass is due when it is asked for, and not before.
    let never = Next { at: NEVER, state: State::Idle };
    for now in 1..20 {
        reporter.control().request();
        assert_eq!(run(&mut reporter, now), never);
        assert_eq!(reporter.step(NEVER - 1), never);
        assert_eq!(reporter.clock(), NEVER - 1);
    }
}

/// A pass is due at its time, and not a nanosecond before.
#[test]
fn a_pass_is_due_at_its_time() {
    let source = MockSource::new(GRANULE, 3);
    let mut reporter = Reporter::new(&source, Recording::new(), policy()).unwrap();
    let next = run(&mut reporter, 5);
    assert_eq!((next.at, reporter.stats().passes), (5 + SECOND, 1));
    assert_eq!(reporter.step(4 + SECOND), Next { at: 5 + SECOND, state: State::Idle });
    assert_eq!(reporter.stats().passes, 1);
    assert_eq!(run(&mut reporter, 5 + SECOND).at, 5 + 2 * SECOND);
    assert_eq!(reporter.stats().passes, 2);
}

/// A volume that stays is looked at again at its time, and each look that begins a
/// pass is counted as one.
#[test]
fn a_volume_is_looked_at_again_at_its_time_and_counted() {
    let (source, _used) = comb(6);
    let rules = [Rule { min_bytes: 2 * GRANULE, every: 1 }];
    let policy = Policy::eager().rules(&rules).interval(1000 * SECOND).volume(GRANULE);
    let poll = policy.poll;
    let mut reporter = Reporter::new(&source, Recording::new(), policy).unwrap();
    // The pass that is due at first, and then one for the volume.
    run(&mut reporter, 0);
    assert_eq!(reporter.stats().passes, 1);
    let next = run(&mut reporter, poll);
    assert_eq!(reporter.stats().passes, 2);
    assert_eq!(next, Next { at: 1000 * SECOND, state: State::Idle });
    let again = poll + 1000 * SECOND;
    // The pass that is due in between changes nothing for the volume.
    run(&mut reporter, 1000 * SECOND);
    assert_eq!(reporter.stats().passes, 3);
    reporter.step(again - 1);
    assert_eq!(reporter.stats().passes, 3, "not yet");
    run(&mut reporter, again);
    assert_eq!(reporter.stats().passes, 4, "now");
}

/// As much as is allowed begins no pass; one granule more does.
#[test]
fn a_volume_is_what_may_be_free() {
    for (allowed, left) in [(64, 64), (63, 63), (1, 1)] {
        let source = MockSource::new(GRANULE, 6);
        let policy = Policy::never().max_piece(GRANULE).age(Age::Any).volume(allowed * GRANULE);
        let policy = policy.rules(&[Rule { min_bytes: 1, every: 1 }]);
        let mut reporter = Reporter::new(&source, Recording::new(), policy.clone()).unwrap();
        run(&mut reporter, policy.poll);
        assert_eq!(source.dirty_bytes(), left * GRANULE);
        assert_eq!(reporter.stats().passes, u64::from(allowed < 64));
    }
}

/// After a failure nothing is tried for as long as the policy says, and then at
/// once; each time for longer.
#[test]
fn a_back_off_ends_at_its_time_and_grows() {
    let source = MockSource::new(GRANULE, 2);
    let driver = Recording::answering(|_, _, _| say(Outcome::Failed));
    let policy = policy().interval(SECOND / 100).backoff(SECOND, 4 * SECOND).decline_ttl(1);
    let mut reporter = Reporter::new(&source, driver, policy).unwrap();
    let mut now = 0;
    for (count, wait) in [(1, 1), (2, 2), (3, 4), (4, 4)] {
        let next = run(&mut reporter, now);
        let until = now + wait * SECOND;
        assert_eq!(next, Next { at: until, state: State::BackingOff });
        let calls = reporter.driver().calls().len();
        assert_eq!(reporter.stats().backoffs, count);
        assert_eq!(reporter.step(until - 1), next);
        assert_eq!(reporter.reclaim(until - 1, GRANULE).end, PulledEnd::Later);
        assert_eq!(reporter.driver().calls().len(), calls, "nothing is tried");
        // What failed is left alone for as long again.
        now = until + wait * SECOND;
    }
}
