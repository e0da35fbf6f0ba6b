//! Asynchronous devices, pulling, holding, and the worker.

use potad_reporting::backend::{Answer, Recording};
use potad_reporting::mock::MockSource;
use potad_reporting::*;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const GRANULE: u64 = 4096;
const SECOND: u64 = 1_000_000_000;

fn policy() -> Policy {
    Policy::eager().max_piece(GRANULE).interval(SECOND)
}

/// A device that keeps every range until it is told to give it back.
fn posting() -> Recording {
    Recording::answering(|_, _, _| Answer::Say(Outcome::Posted)).with_caps(Caps {
        posts: true,
        max_bytes: GRANULE,
        ..Caps::DEFAULT
    })
}

#[test]
fn posted_ranges_stay_isolated_until_they_return() {
    let source = MockSource::new(GRANULE, 5);
    let mut reporter = Reporter::new(&source, posting(), policy()).unwrap();
    let next = reporter.step(0);
    // Somebody has to ask for what comes back.
    assert_eq!(next.at, policy().poll);
    assert_eq!((reporter.in_flight(), source.isolated_bytes()), (32, 32 * GRANULE));
    assert!(source.alloc(0).is_none());
    let posted = reporter.driver().posted().to_vec();
    for (index, ticket) in posted.into_iter().enumerate() {
        let outcome = match index % 4 {
            0 => Outcome::ReportedZeroed,
            1 => Outcome::Reported,
            2 => Outcome::Declined,
            _ => Outcome::NotTried,
        };
        reporter.driver_mut().give_back(ticket, outcome);
        reporter.step(index as u64);
        assert_eq!(reporter.in_flight(), 31 - index);
    }
    assert_eq!(source.isolated_bytes(), 0);
    assert_eq!(source.reported_bytes(), 16 * GRANULE);
    assert_eq!(reporter.stats().outcome(Outcome::Posted).blocks, 32);
    assert_eq!(reporter.stats().in_flight, Tally::default());
}

#[test]
fn a_device_takes_no_more_than_it_may_have() {
    let source = MockSource::new(GRANULE, 8);
    let policy = policy().max_in_flight(10);
    let mut reporter = Reporter::new(&source, posting(), policy).unwrap();
    let mut now = 0;
    while source.reported_bytes() < 256 * GRANULE {
        now = reporter.step(now).at;
        assert!(reporter.in_flight() <= 10);
        assert!(now < 1000 * SECOND);
        if let Some(&ticket) = reporter.driver().posted().last() {
            reporter.driver_mut().give_back(ticket, Outcome::Reported);
        }
    }
    assert_eq!(reporter.stats().lies, 0);
}

#[test]
fn unknown_tickets_and_second_returns_are_lies_that_do_nothing() {
    let source = MockSource::new(GRANULE, 2);
    let mut reporter = Reporter::new(&source, posting(), policy()).unwrap();
    reporter.step(0);
    let ticket = reporter.driver().posted()[0];
    for (ticket, outcome) in [
        (Ticket(u64::MAX), Outcome::Reported),
        (ticket, Outcome::Posted),
        (ticket, Outcome::Reported),
        (ticket, Outcome::Reported),
    ] {
        reporter.driver_mut().give_back(ticket, outcome);
    }
    reporter.step(1);
    assert_eq!(reporter.stats().lies, 3);
    assert_eq!((reporter.in_flight(), source.isolated_bytes()), (3, 3 * GRANULE));
}

#[test]
fn a_driver_that_posts_without_saying_so_keeps_its_ranges() {
    let source = MockSource::new(GRANULE, 3);
    let driver = posting().with_caps(Caps::DEFAULT);
    let mut reporter = Reporter::new(&source, driver, policy()).unwrap();
    reporter.step(0);
    assert_eq!(source.isolated_bytes(), 8 * GRANULE);
    assert!(reporter.stats().lies > 0);
}

#[test]
fn after_a_panic_posted_ranges_stay_and_the_others_return() {
    let source = MockSource::new(GRANULE, 4);
    let driver = Recording::answering(|index, _, _| match index {
        0..5 => Answer::Say(Outcome::Posted),
        5..10 => Answer::Say(Outcome::Reported),
        _ => Answer::Panic,
    })
    .with_caps(Caps { max_bytes: GRANULE, posts: true, ..Caps::DEFAULT });
    let mut reporter = Reporter::new(&source, driver, policy()).unwrap();
    assert_eq!(reporter.step(0).state, State::Parked(Fault::Panicked));
    assert_eq!(source.isolated_bytes(), 5 * GRANULE);
    assert_eq!(source.reported_bytes(), 0);
    assert_eq!(reporter.reset(), Reset::Quiet);
    assert_eq!(source.isolated_bytes(), 0);
}

#[test]
fn a_dropped_reporter_resets_the_device_or_leaves_its_blocks_isolated() {
    for (reset, left) in [(Reset::Quiet, 0), (Reset::Unknown, 16 * GRANULE)] {
        let source = MockSource::new(GRANULE, 4);
        let driver = posting().with_reset(reset);
        let mut reporter = Reporter::new(&source, driver, policy()).unwrap();
        reporter.step(0);
        let control = reporter.control();
        drop(reporter);
        assert_eq!(source.isolated_bytes(), left);
        assert_eq!(control.seen().stats.lost.bytes, left);
        assert_eq!(control.seen().state, State::Stopped);
    }
}

#[test]
fn a_lazy_device_cannot_vouch_for_zeros_later_either() {
    let source = MockSource::new(GRANULE, 0);
    let driver = posting().with_caps(Caps { posts: true, lazy: true, ..Caps::DEFAULT });
    let mut reporter = Reporter::new(&source, driver, policy()).unwrap();
    reporter.step(0);
    let ticket = reporter.driver().posted()[0];
    reporter.driver_mut().give_back(ticket, Outcome::ReportedZeroed);
    reporter.step(1);
    assert_eq!(reporter.stats().outcome(Outcome::Reported).blocks, 1);
    assert!(!source.alloc(0).unwrap().was_zeroed());
}

#[test]
fn failures_of_a_device_back_off_too() {
    let source = MockSource::new(GRANULE, 0);
    let mut reporter = Reporter::new(&source, posting(), policy()).unwrap();
    reporter.step(0);
    let ticket = reporter.driver().posted()[0];
    reporter.driver_mut().give_back(ticket, Outcome::Failed);
    let next = reporter.step(0);
    assert_eq!((next.state, next.at), (State::BackingOff, 2 * SECOND));
    assert_eq!(source.free_bytes(), GRANULE);
}

#[test]
fn completions_are_taken_while_paused() {
    let source = MockSource::new(GRANULE, 3);
    let mut reporter = Reporter::new(&source, posting(), policy()).unwrap();
    reporter.step(0);
    let pause = reporter.control().pause();
    pause.wait_quiet();
    for ticket in reporter.driver().posted().to_vec() {
        reporter.driver_mut().give_back(ticket, Outcome::Reported);
    }
    assert_eq!(reporter.step(1).state, State::Paused);
    assert_eq!(source.isolated_bytes(), 0);
}

#[test]
fn reclaim_takes_what_is_asked_and_little_more() {
    let source = MockSource::new(GRANULE, 10);
    let rules = [Rule { min_bytes: GRANULE, every: 1 }];
    let policy = Policy::never().rules(&rules).max_piece(256 * GRANULE).rate(1, 1);
    let mut reporter = Reporter::new(&source, Recording::new(), policy).unwrap();
    let pulled = reporter.reclaim(0, 300 * GRANULE);
    assert_eq!(pulled.end, PulledEnd::Enough);
    assert!(pulled.reported == 300 * GRANULE, "{pulled:?}");
    let rest = reporter.reclaim(0, u64::MAX);
    assert_eq!(rest.end, PulledEnd::NothingLeft);
    assert_eq!(source.reported_bytes(), 1024 * GRANULE);
    assert_eq!(pulled.reported + rest.reported, 1024 * GRANULE);
}

#[test]
fn a_pull_says_why_it_got_less() {
    let source = MockSource::new(GRANULE, 5);
    let all = 1 << 40;
    let die = Recording::answering(|_, _, _| Answer::Die);
    let mut reporter = Reporter::new(&source, die, policy()).unwrap();
    let pulled = reporter.reclaim(0, all);
    assert!(matches!(pulled.end, PulledEnd::Parked(Fault::Driver(_))), "{pulled:?}");

    let fail = Recording::answering(|_, _, _| Answer::Say(Outcome::Failed));
    let mut reporter = Reporter::new(&source, fail, policy().batch(4)).unwrap();
    assert_eq!(reporter.reclaim(0, all).end, PulledEnd::Later);

    let mut reporter = Reporter::new(&source, posting(), policy().max_in_flight(8)).unwrap();
    let pulled = reporter.reclaim(0, all);
    assert_eq!((pulled.posted, pulled.end), (8 * GRANULE, PulledEnd::Later));
    drop(reporter);

    let policy = policy().reserve(20 * GRANULE);
    let mut reporter = Reporter::new(&source, Recording::new(), policy).unwrap();
    assert_eq!(reporter.reclaim(0, all).end, PulledEnd::Pressure);
    let pause = reporter.control().pause();
    assert_eq!(reporter.reclaim(0, all).end, PulledEnd::Cancelled);
    drop(pause);
    assert_eq!(source.isolated_bytes(), 0);
}

#[test]
fn a_balloon_holds_and_releases() {
    let source = MockSource::new(GRANULE, 6);
    let zero = Recording::answering(|_, _, _| Answer::Say(Outcome::ReportedZeroed));
    let mut reporter = Reporter::new(&source, zero, policy()).unwrap();
    let held = reporter.hold(0, 40 * GRANULE);
    assert_eq!((held.reported, held.end), (40 * GRANULE, PulledEnd::Enough));
    assert_eq!(source.isolated_bytes(), 40 * GRANULE);
    assert_eq!(reporter.stats().held.bytes, 40 * GRANULE);
    assert_eq!(reporter.release(10 * GRANULE), 10 * GRANULE);
    assert_eq!(source.isolated_bytes(), 30 * GRANULE);
    // They come back reported, and known to be zero.
    assert_eq!(source.reported_bytes(), 10 * GRANULE);
    drop(reporter);
    assert_eq!((source.isolated_bytes(), source.reported_bytes()), (0, 40 * GRANULE));
}

/// Waits for something that a worker does.
fn wait(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn all_who_wait_for_a_running_batch_are_told_when_it_ends() {
    for _ in 0..20 {
        let source = MockSource::new(GRANULE, 0);
        let (begun, has_begun) = mpsc::channel();
        let (end, may_end) = mpsc::channel();
        let slow = Recording::answering(move |_, _, _| {
            begun.send(()).unwrap();
            may_end.recv().unwrap();
            Answer::Say(Outcome::Reported)
        });
        let mut reporter = Reporter::new(&source, slow, policy()).unwrap();
        let control = reporter.control().clone();
        std::thread::scope(|scope| {
            scope.spawn(|| reporter.step(0));
            has_begun.recv().unwrap();
            let waiting = [control.pause(), control.pause(), control.pause()]
                .map(|pause| scope.spawn(move || pause.wait_quiet()));
            // Most of them sleep by then; whoever does not finds it quiet.
            std::thread::sleep(Duration::from_millis(2));
            assert!(waiting.iter().all(|waiter| !waiter.is_finished()), "it is running");
            end.send(()).unwrap();
            wait(|| waiting.iter().all(|waiter| waiter.is_finished()));
        });
        assert_eq!(source.isolated_bytes(), 0);
    }
}

#[test]
fn a_worker_reports_pauses_and_is_woken() {
    let source = Arc::new(MockSource::new(GRANULE, 8));
    let slow = policy().interval(3600 * SECOND);
    let reporter = Reporter::new(source.clone(), Recording::new(), slow).unwrap();
    let worker = Worker::spawn(reporter).unwrap();
    wait(|| source.reported_bytes() == 256 * GRANULE);
    let pause = worker.control().pause();
    pause.wait_quiet();
    let user = source.alloc(4).unwrap();
    source.free(user);
    worker.control().request();
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(source.reported_bytes(), 240 * GRANULE);
    drop(pause);
    wait(|| source.reported_bytes() == 256 * GRANULE);
    let reporter = worker.join().unwrap();
    assert_eq!(reporter.stats().reported_bytes(), 272 * GRANULE);
}

#[test]
fn a_joined_reporter_goes_on_where_it_was() {
    let source = Arc::new(MockSource::new(GRANULE, 8));
    let mut reporter = Reporter::new(source.clone(), Recording::new(), policy()).unwrap();
    for round in 0..50 {
        let worker = Worker::spawn(reporter).unwrap();
        if round % 2 == 0 {
            std::thread::yield_now();
        }
        reporter = worker.join().unwrap();
        assert_eq!(source.isolated_bytes(), 0);
        assert_eq!(source.free_bytes(), 256 * GRANULE);
    }
    let now = reporter.clock();
    while reporter.step(now + 2 * SECOND).state == State::Active {}
    assert_eq!(source.reported_bytes(), 256 * GRANULE);
}

#[test]
fn dropping_a_worker_cancels_a_driver_that_hangs() {
    let source = Arc::new(MockSource::new(GRANULE, 8));
    let hanging = Recording::answering(|_, _, control| {
        while !control.should_stop() {
            std::thread::yield_now();
        }
        Answer::Cancel
    });
    let worker = Worker::spawn(Reporter::new(source.clone(), hanging, policy()).unwrap()).unwrap();
    wait(|| source.isolated_bytes() != 0);
    drop(worker);
    assert_eq!((source.isolated_bytes(), source.free_bytes()), (0, 256 * GRANULE));
}

#[test]
fn a_worker_survives_its_drivers_panic() {
    let source = Arc::new(MockSource::new(GRANULE, 4));
    let driver = Recording::answering(|_, _, _| Answer::Panic);
    let worker = Worker::spawn(Reporter::new(source.clone(), driver, policy()).unwrap()).unwrap();
    wait(|| worker.control().seen().state == State::Parked(Fault::Panicked));
    assert_eq!(source.free_bytes(), 16 * GRANULE);
    let mut reporter = worker.join().unwrap();
    reporter.revive();
    assert_eq!(reporter.fault(), None);
}

/// A span leaves while a device has a part of it: the removal waits for the
/// device, says who holds the rest, and nothing of it is handed out meanwhile.
#[test]
fn a_span_that_leaves_waits_for_what_a_device_has() {
    use potad::memdesc::Order;
    let potad = potad::Potad::new();
    let resource = potad::Resource::new("ram").granule(GRANULE);
    let zone = potad.register(resource.span(0..256 * GRANULE).span(512 * GRANULE..768 * GRANULE));
    let zone = zone.unwrap();
    let source = ZoneSource::attach(zone.clone(), Order::ZERO).unwrap();
    let caps = Caps { posts: true, ..Caps::DEFAULT };
    let posting = Recording::answering(|_, _, _| Answer::Say(Outcome::Posted)).with_caps(caps);
    let policy = Policy::eager().max_piece(32 * GRANULE).batch(2).max_in_flight(2);
    let mut reporter = Reporter::new(source, posting, policy).unwrap();
    reporter.step(0);
    assert_eq!(zone.stats().isolated, 64);

    let pause = reporter.control().pause();
    pause.wait_quiet();
    let removal = zone.hot_remove(0..256 * GRANULE).unwrap();
    assert_eq!(removal.remaining_granules(), 64);
    assert_eq!(removal.holders().len(), 2, "two blocks, by their words");
    let removal = removal.finish().unwrap_err().given;
    while let Ok(page) = zone.alloc_bare(Order::ZERO) {
        assert!(page.base().0 >= 512, "{page:?} is of a span that leaves");
    }
    // A paused reporter still takes back what a device returns.
    for ticket in reporter.driver().posted().to_vec() {
        reporter.driver_mut().give_back(ticket, Outcome::Reported);
    }
    reporter.step(1);
    assert_eq!((reporter.in_flight(), reporter.state()), (0, State::Paused));
    assert_eq!(removal.remaining_granules(), 0);
    removal.finish().unwrap();
    drop(pause);
    assert_eq!(zone.granules(), 256);
}
