//! P3 and P5: the engine's own end. Pause, cancel, panic and drop lose nothing.
//!
//! A pause that is quiet has the device alone. What a driver was asked about and
//! did not take is put back, however the batch ended; what a device still has
//! stays isolated until the device, or a reset, gives it back.

#![cfg(loom)]
#![expect(clippy::arc_with_non_send_sync, reason = "what Sync would promise is what loom checks")]

use loom::cell::UnsafeCell;
use loom::thread;
use loom_tests::grounds::{drain, granules, reported_ground as ground};
use loom_tests::home::block;
use loom_tests::{bounded, model, twin};
use memdesc::{Block, Granule, Order};
use potad::HostSays;
use potad::model::{Front, Ground};
use reporting::backend::{Answer, Recording};
use reporting::{
    ByteRange, Caps, Control, Cursor, IsolatedBlock, Outcome, Policy, Progress, Range, Report,
    ReportSource, Reporter, Reset, Stop, Want,
};
use std::sync::Arc;

/// A ground as a source for the engine; a granule is one byte.
#[derive(Debug)]
struct Lender {
    ground: Arc<Ground>,
    front: Front,
}

#[derive(Debug)]
struct Lent(Block);

impl Lender {
    fn new(ground: Arc<Ground>) -> Self {
        let front = ground.front();
        Self { ground, front }
    }
}

impl IsolatedBlock for Lent {
    fn range(&self) -> ByteRange {
        ByteRange::new(self.0.base().0, self.0.order().granules()).unwrap()
    }

    fn order(&self) -> Order {
        self.0.order()
    }
}

impl ReportSource for Lender {
    type Block = Lent;

    fn isolate(
        &self,
        cursor: &mut Cursor,
        _: &Want,
        room: usize,
        out: &mut impl FnMut(Lent),
    ) -> Progress {
        let mut at = Granule(cursor.position);
        for _ in 0..room {
            let Some(block) = self.ground.isolate(&self.front, &mut at, 0) else { break };
            cursor.position = at.0;
            out(Lent(block));
        }
        Progress::EndOfPass
    }

    fn put_back(&self, block: Lent, outcome: Outcome) {
        let says = if outcome.is_reported() { HostSays::Reported } else { HostSays::Nothing };
        self.ground.put_back(&self.front, block.0, says);
    }

    fn dirty_bytes(&self) -> u64 {
        1
    }

    fn reported_bytes(&self) -> u64 {
        0
    }

    fn granule_bytes(&self) -> u64 {
        1
    }
}

/// A source of one granule that orders nothing: what is ordered below, the
/// engine's own word has ordered. (A ground's brackets are full barriers.)
#[derive(Debug)]
struct Bare;

impl ReportSource for Bare {
    type Block = Lent;

    fn isolate(
        &self,
        cursor: &mut Cursor,
        _: &Want,
        room: usize,
        out: &mut impl FnMut(Lent),
    ) -> Progress {
        if cursor.position == 0 && room > 0 {
            cursor.position = 1;
            out(Lent(block(0, 0)));
        }
        Progress::EndOfPass
    }

    fn put_back(&self, _: Lent, _: Outcome) {}

    fn dirty_bytes(&self) -> u64 {
        1
    }

    fn reported_bytes(&self) -> u64 {
        0
    }

    fn granule_bytes(&self) -> u64 {
        1
    }
}

/// A driver that writes to its device, which only one may use at a time.
#[derive(Debug)]
struct Device(Arc<Memory>);

impl Report for Device {
    fn caps(&self) -> Caps {
        Caps::DEFAULT
    }

    fn report(&mut self, _: &[Range], outcomes: &mut [Outcome], _: &Control) -> Result<(), Stop> {
        // SAFETY: whoever pauses the reporter waits until it is quiet; that this
        // is enough is what the model checks, and loom fails on two at once.
        self.0.with_mut(|count| unsafe { *count += 1 });
        outcomes.fill(Outcome::Reported);
        Ok(())
    }
}

type Memory = UnsafeCell<u64>;
type Engine = Reporter<Bare, Device>;

/// The engine contains a driver's panics, and with them what loom has to say.
fn is_unharmed(reporter: &Engine) {
    assert_eq!(reporter.fault(), None, "two at the device");
}

/// P3: who pauses a reporter and waits until it is quiet has the device alone.
fn p3_quiesce() {
    let device = Arc::new(UnsafeCell::new(0));
    let mut reporter = Reporter::new(Bare, Device(Arc::clone(&device)), Policy::eager()).unwrap();
    let control = reporter.control();
    let other = thread::spawn(move || {
        reporter.step(0);
        reporter
    });
    let pause = control.pause();
    pause.wait_quiet();
    // SAFETY: as in the driver.
    device.with_mut(|count| unsafe { *count += 1 });
    drop(pause);
    is_unharmed(&other.join().unwrap());
}

#[test]
fn p3_a_pause_that_is_quiet_has_the_device_alone() {
    model("P3 pause || step", 1715, p3_quiesce);
}

#[test]
fn p3_twin_quiet_without_waiting() {
    twin("P3", "quiet without waiting", p3_quiesce);
}

#[test]
fn p3_twin_a_batch_begins_in_a_pause() {
    twin("P3", "a batch begins in a pause", p3_quiesce);
}

/// The device is used by one who then `tells` the engine, and by the batch that
/// comes of it, at `now`.
fn device_before(mut reporter: Engine, now: u64, device: &Memory, tells: impl FnOnce()) {
    let other = thread::spawn(move || {
        reporter.step(now);
        reporter
    });
    // SAFETY: no batch begins before it is told; that this is enough is what
    // the model checks.
    device.with_mut(|count| unsafe { *count += 1 });
    tells();
    is_unharmed(&other.join().unwrap());
}

/// P3: what was done before a pass was asked for is seen by its batch. The next
/// pass is never due by itself.
fn p3_asked() {
    let device = Arc::default();
    let policy = Policy::eager().interval(u64::MAX);
    let mut reporter = Reporter::new(Bare, Device(Arc::clone(&device)), policy).unwrap();
    reporter.step(0);
    let control = reporter.control();
    device_before(reporter, 1, &device, || control.request());
}

/// P3: what was done under a pause that was there before is seen by the batch
/// that comes after it.
fn p3_pause_ends() {
    let device = Arc::default();
    let reporter = Reporter::new(Bare, Device(Arc::clone(&device)), Policy::eager()).unwrap();
    let pause = reporter.control().pause();
    device_before(reporter, 0, &device, || drop(pause));
}

#[test]
fn p3_what_was_done_before_a_batch_is_seen_by_it() {
    model("P3 device, request || step", 2, p3_asked);
    model("P3 device, end of pause || step", 2, p3_pause_ends);
}

#[test]
fn p3_twins_relaxed() {
    twin("P3 asked", "asked relaxed", p3_asked);
    twin("P3 asked", "request taken relaxed", p3_asked);
    twin("P3 pause ends", "pause ends relaxed", p3_pause_ends);
    twin("P3 pause ends", "batch begins relaxed", p3_pause_ends);
    twin("P3 batch ends", "batch ends relaxed", p3_quiesce);
}

/// Of two granules that the driver is asked about, the first is posted and the
/// second comes to this; then the reporter is dropped, and the device says
/// `reset`. Meanwhile somebody cancels, and allocates. Whoever allocates never
/// gets what the device has; everything else is back.
fn p5(second: Answer, reset: Reset) {
    let ground = ground([block(0, 1)]);
    let driver = Recording::answering(move |index, _, _| match index {
        0 => Answer::Say(Outcome::Posted),
        _ => second,
    });
    let caps = Caps { posts: true, max_bytes: 1, ..Caps::DEFAULT };
    let driver = driver.with_caps(caps).with_reset(reset);
    let lender = Lender::new(Arc::clone(&ground));
    let mut reporter = Reporter::new(lender, driver, Policy::eager().max_piece(1)).unwrap();
    let control = reporter.control();
    let front = ground.front();
    let user = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            control.cancel();
            let mine = ground.alloc_shared(&front, 0);
            (mine, front)
        })
    };
    reporter.step(0);
    let posted: Vec<u64> = if reset == Reset::Unknown && reporter.in_flight() != 0 {
        vec![reporter.driver().calls()[0][0].at.first()]
    } else {
        vec![]
    };
    assert_eq!(reporter.in_flight(), reporter.driver().posted().len());
    drop(reporter);
    let (mine, _front) = user.join().unwrap();
    let mut all: Vec<u64> = mine.into_iter().flat_map(granules).collect();
    assert!(all.iter().all(|at| !posted.contains(at)), "the device has {posted:?}, a user {all:?}");
    all.extend(drain(&ground));
    all.extend(&posted);
    all.sort_unstable();
    assert_eq!(all, [0, 1], "the device has {posted:?}");
}

#[test]
fn p5_a_cancel_loses_nothing_and_what_is_posted_stays_isolated() {
    bounded("P5 cancel || alloc, unknown", 3, 681, || p5(Answer::Cancel, Reset::Unknown));
}

#[test]
fn p5_a_reset_gives_back_what_was_posted() {
    bounded("P5 cancel || alloc, quiet", 3, 820, || p5(Answer::Forget, Reset::Quiet));
}

#[test]
fn p5_a_panic_loses_nothing_and_what_is_posted_stays_isolated() {
    std::panic::set_hook(Box::new(|_| {}));
    bounded("P5 panic || alloc", 3, 643, || p5(Answer::Panic, Reset::Unknown));
}

#[test]
fn p5_twin_posted_and_put_back() {
    twin("P5", "posted and put back", || p5(Answer::Cancel, Reset::Unknown));
}

#[test]
fn p5_twin_put_back_though_nobody_knows() {
    twin("P5", "put back though nobody knows", || p5(Answer::Forget, Reset::Unknown));
}

#[test]
fn p5_twin_what_was_not_tried_is_dropped() {
    twin("P5", "what was not tried is dropped", || p5(Answer::Cancel, Reset::Quiet));
}

#[test]
fn p3_twin_quiet_is_read_relaxed() {
    twin("P3", "quiet is read relaxed", p3_quiesce);
    twin("P3", "quiet is read again relaxed", p3_quiesce);
}
