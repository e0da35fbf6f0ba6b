//! Drivers as such: what a trait's given methods say, what goes through a
//! pointer, slots on bytes, and what is printed.

use potad::memdesc::Order;
use potad::{Potad, Resource};
use potad_reporting::backend::*;
use potad_reporting::mock::MockSource;
use potad_reporting::*;
use std::fmt::Debug;

fn print(what: &impl Debug) -> String {
    format!("{what:?}")
}

fn range(first: u64, bytes: u64) -> Range {
    Range { at: ByteRange::new(first, bytes).unwrap(), ticket: Ticket(first) }
}

/// Only what must be written.
struct Plain;
impl Report for Plain {
    fn caps(&self) -> Caps {
        Caps::default()
    }
    fn report(&mut self, _: &[Range], outcomes: &mut [Outcome], _: &Control) -> Result<(), Stop> {
        outcomes.fill(Outcome::Reported);
        Ok(())
    }
}

#[test]
fn a_driver_that_says_nothing_promises_nothing() {
    let mut driver = Plain;
    assert_eq!(driver.caps(), Caps::DEFAULT);
    driver.complete(&mut |_, _| panic!("it posts nothing")).unwrap();
    assert_eq!(driver.reset(), Reset::Unknown);
    assert_eq!(driver.last_fault(), None);
}

/// Calls everything that a driver has.
fn use_all(mut driver: impl Report) -> (Caps, Vec<Outcome>, Vec<(Ticket, Outcome)>, Reset) {
    let mut outcomes = [Outcome::NotTried; 2];
    driver.report(&[range(0, 64), range(128, 64)], &mut outcomes, &Control::new()).unwrap();
    let mut back = Vec::new();
    driver.complete(&mut |ticket, outcome| back.push((ticket, outcome))).unwrap();
    assert_eq!(driver.last_fault(), None);
    (driver.caps(), outcomes.to_vec(), back, driver.reset())
}

#[test]
fn a_pointer_to_a_driver_is_that_driver() {
    let caps = Caps { min_bytes: 64, posts: true, ..Caps::DEFAULT };
    let device = || {
        let script = |number, _: &Range, _: &Control| match number {
            0 => Answer::Say(Outcome::Posted),
            _ => Answer::Say(Outcome::Declined),
        };
        let mut device = Recording::answering(script).with_caps(caps).with_reset(Reset::Quiet);
        device.give_back(Ticket(7), Outcome::ReportedZeroed);
        device
    };
    let expected = (
        caps,
        vec![Outcome::Posted, Outcome::Declined],
        vec![(Ticket(7), Outcome::ReportedZeroed)],
        Reset::Quiet,
    );
    let mut lent = device();
    assert_eq!(use_all(&mut lent), expected);
    assert!(lent.posted().is_empty(), "the reset reached it");
    assert_eq!(use_all(Box::new(device()) as Box<dyn Report>), expected);
    // Slots of one byte change nothing.
    assert_eq!(use_all(Slots::new(device(), 1).unwrap()), expected);
}

#[test]
fn slots_have_the_limits_of_their_bytes() {
    assert!(Slots::new(Plain, 0).is_none(), "a slot of nothing");
    let caps = |align, min_bytes, max_bytes, slot| {
        let below = Caps { align, min_bytes, max_bytes, ..Caps::DEFAULT };
        let caps = Slots::new(Recording::new().with_caps(below), slot).unwrap().caps();
        (caps.align, caps.min_bytes, caps.max_bytes)
    };
    // The alignment is of so many slots; or each slot is aligned; or neither.
    assert_eq!(caps(8192, 1, 1 << 20, 4096), (2, 1, 256));
    assert_eq!(caps(512, 5000, 1 << 20, 4096), (1, 2, 256));
    assert_eq!(caps(512, 1, 100, 768), (512, 1, 1));
}

#[test]
fn a_slot_beyond_all_bytes_fails_alone() {
    let mut driver = Slots::new(Recording::new(), 4096).unwrap();
    let ranges = [range(3, 2), range(1 << 60, 1), range(5, 1)];
    let mut outcomes = [Outcome::NotTried; 3];
    driver.report(&ranges, &mut outcomes, &Control::new()).unwrap();
    assert_eq!(outcomes, [Outcome::Reported, Outcome::Failed, Outcome::NotTried]);
    assert_eq!(driver.last_fault(), Some(Fault::Driver("a slot beyond all bytes")));
    // Again, from the one that is left; and one that is too long.
    let mut outcomes = [Outcome::NotTried; 1];
    driver.report(&ranges[2..], &mut outcomes, &Control::new()).unwrap();
    assert_eq!(outcomes, [Outcome::Reported]);
    driver.report(&[range(0, 1 << 60)], &mut outcomes, &Control::new()).unwrap();
    assert_eq!(outcomes, [Outcome::Failed]);
    let below: Vec<_> = driver.driver().calls().iter().flatten().map(|range| range.at).collect();
    assert_eq!(print(&below), "[0x3000+0x2000, 0x5000+0x1000]", "nothing else went down");
}

#[test]
fn what_is_printed() {
    assert_eq!(print(&range(4096, 64)), "Range { at: 0x1000+0x40, ticket: t4096 }");
    let control = Control::default();
    assert_eq!(print(&control), "Control { pauses: 0, busy: false, stop: false }");
    let pauses = [control.pause(), control.pause()];
    assert_eq!(print(&control), "Control { pauses: 2, busy: false, stop: false }");
    // Nothing runs, so it is quiet at once.
    pauses[0].wait_quiet();
    drop(pauses);
    control.stop();
    assert_eq!(print(&control), "Control { pauses: 0, busy: false, stop: true }");

    let mut recording = Recording::default();
    assert_eq!(print(&recording), "Recording { calls: 0, posted: [], .. }");
    recording.report(&[range(0, 1)], &mut [Outcome::NotTried], &Control::new()).unwrap();
    assert_eq!(print(&recording), "Recording { calls: 1, posted: [], .. }");

    let faults = [
        (Fault::Os { errno: 12 }, "the system refused with error 12"),
        (Fault::Outside { first: 16 }, "address 0x10 is in no region of the driver"),
        (Fault::StillThere { first: 16 }, "the memory at 0x10 is still there after its discard"),
        (Fault::Panicked, "the driver panicked"),
    ];
    for (fault, said) in faults {
        assert_eq!(fault.to_string(), said);
        assert_eq!(Stop::Fatal(fault).to_string(), format!("the device is gone: {said}"));
    }
    assert_eq!((Stop::Busy.to_string(), Stop::Cancelled.to_string()).0, "the device is busy");

    let source = MockSource::new(4096, 8);
    let mut reporter = Reporter::new(&source, Recording::new(), Policy::eager()).unwrap();
    while reporter.step(0).state == State::Active {}
    let said = print(&reporter);
    assert!(said.starts_with("Reporter { pass: None, next_pass: "), "{said}");
    assert!(said.contains("parked: None, in_flight: 0, stats: Stats {"), "{said}");
    let ram = Potad::new().register(Resource::new("ram").span(0..64)).unwrap();
    let source = ZoneSource::attach(ram, Order::ZERO).unwrap();
    let reporter = Reporter::new(source, Recording::new(), Policy::eager()).unwrap();
    let worker = Worker::spawn(reporter).unwrap();
    assert!(print(&worker).starts_with("Worker { control: Control { pauses: 0, "));
    drop(worker);
}

/// A driver whose reset panics cannot vouch for what it had: that stays out.
#[test]
fn a_reset_that_panics_gives_nothing_back() {
    struct Falls(Recording);
    impl Report for Falls {
        fn caps(&self) -> Caps {
            self.0.caps()
        }
        fn report(
            &mut self,
            ranges: &[Range],
            outcomes: &mut [Outcome],
            control: &Control,
        ) -> Result<(), Stop> {
            self.0.report(ranges, outcomes, control)
        }
        fn reset(&mut self) -> Reset {
            panic!("no reset")
        }
    }
    let ram = Potad::new().register(Resource::new("ram").granule(4096).span(0..64 * 4096)).unwrap();
    let source = ZoneSource::attach(ram.clone(), Order::ZERO).unwrap();
    assert_eq!((source.zone().id(), source.zone().granules()), (ram.id(), 64));
    let caps = Caps { posts: true, ..Caps::DEFAULT };
    let posts = Recording::answering(|_, _, _| Answer::Say(Outcome::Posted)).with_caps(caps);
    let mut reporter = Reporter::new(source, Falls(posts), Policy::eager()).unwrap();
    assert_eq!(reporter.reset(), Reset::Quiet, "nothing is out");
    reporter.step(0);
    assert_eq!(reporter.source().zone().stats().isolated, 64);
    assert_eq!(reporter.reset(), Reset::Unknown);
    assert_eq!((reporter.fault(), reporter.stats().panics), (Some(Fault::Panicked), 1));
    assert_eq!((ram.stats().isolated, reporter.in_flight() > 0), (64, true));
    drop(reporter);
    assert_eq!(ram.stats().isolated, 64, "the device may discard it at any time");
}
