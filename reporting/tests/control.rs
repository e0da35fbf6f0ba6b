//! The engine's handle, and its clock: cancelled, paused, asked, stopped; between
//! two calls and in the midst of a batch.

mod common;

use common::*;
use potad_reporting::backend::{Answer, Recording};
use potad_reporting::mock::MockSource;
use potad_reporting::*;
use std::sync::{Arc, Mutex};

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
