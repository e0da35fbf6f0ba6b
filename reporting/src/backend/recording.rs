//! A driver that returns nothing and writes everything down.
//!
//! For tests: it answers `Reported` unless told otherwise, and can be told to
//! do whatever a bad driver does.

use crate::Control;
use crate::driver::{Caps, Fault, Report, Reset, Stop};
use crate::range::{Outcome, Range, Ticket};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// What a [`Recording`] does with one range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Sets this outcome. `Posted` keeps the range until
    /// [`Recording::give_back`].
    Say(Outcome),
    /// Forgets to set any.
    Forget,
    /// Returns `Cancelled` before this range.
    Cancel,
    /// Returns `Busy` before this range.
    Busy,
    /// Returns `Fatal` before this range.
    Die,
    /// Panics before this range.
    Panic,
}

type Script = Box<dyn FnMut(u64, &Range, &Control) -> Answer + Send>;

/// Writes down what it is asked.
///
/// ```
/// use potad_reporting::backend::{Answer, Recording};
/// use potad_reporting::mock::MockSource;
/// use potad_reporting::{Outcome, Policy, Reporter, State};
///
/// // The second range, counted from 0, is declined.
/// let driver = Recording::answering(|index, _, _| match index {
///     1 => Answer::Say(Outcome::Declined),
///     _ => Answer::Say(Outcome::Reported),
/// });
/// let source = MockSource::new(4096, 8);
/// let gap = [source.alloc(0).unwrap(), source.alloc(4).unwrap()];
/// let mut reporter = Reporter::new(&source, driver, Policy::eager())?;
/// while reporter.step(0).state == State::Active {}
/// assert!(reporter.stats().outcome(Outcome::Declined).blocks > 0);
/// # let [a, b] = gap; source.free(a); source.free(b);
/// # Ok::<(), potad_reporting::ReportingError>(())
/// ```
pub struct Recording {
    caps: Caps,
    script: Script,
    seen: u64,
    calls: Vec<Vec<Range>>,
    posted: Vec<Ticket>,
    returned: Vec<(Ticket, Outcome)>,
    reset: Reset,
}

impl Default for Recording {
    fn default() -> Self {
        Self::new()
    }
}

impl Recording {
    /// One that answers `Reported` to everything.
    pub fn new() -> Self {
        Self::answering(|_, _, _| Answer::Say(Outcome::Reported))
    }

    /// One that asks `script` about each range: its number since the
    /// beginning, the range, and the control of the call.
    pub fn answering(script: impl FnMut(u64, &Range, &Control) -> Answer + Send + 'static) -> Self {
        Self {
            caps: Caps::DEFAULT,
            script: Box::new(script),
            seen: 0,
            calls: Vec::new(),
            posted: Vec::new(),
            returned: Vec::new(),
            reset: Reset::Quiet,
        }
    }

    /// Sets what it says it can take.
    pub fn with_caps(self, caps: Caps) -> Self {
        Self { caps, ..self }
    }

    /// Sets what a reset says.
    pub fn with_reset(self, reset: Reset) -> Self {
        Self { reset, ..self }
    }

    /// The ranges of each call so far.
    pub fn calls(&self) -> &[Vec<Range>] {
        &self.calls
    }

    /// Ranges that it posted and nobody gave back.
    pub fn posted(&self) -> &[Ticket] {
        &self.posted
    }

    /// Plays the device: gives a range back at the next completion. Tickets
    /// that were never posted do, too.
    pub fn give_back(&mut self, ticket: Ticket, outcome: Outcome) {
        self.posted.retain(|posted| *posted != ticket);
        self.returned.push((ticket, outcome));
    }
}

impl Report for Recording {
    fn caps(&self) -> Caps {
        self.caps
    }

    fn report(
        &mut self,
        ranges: &[Range],
        outcomes: &mut [Outcome],
        control: &Control,
    ) -> Result<(), Stop> {
        self.calls.push(ranges.to_vec());
        for (range, outcome) in ranges.iter().zip(outcomes) {
            let number = self.seen;
            self.seen += 1;
            match (self.script)(number, range, control) {
                Answer::Say(said) => {
                    if said == Outcome::Posted {
                        self.posted.push(range.ticket);
                    }
                    *outcome = said;
                }
                Answer::Forget => {}
                Answer::Cancel => return Err(Stop::Cancelled),
                Answer::Busy => return Err(Stop::Busy),
                Answer::Die => return Err(Stop::Fatal(Fault::Driver("told to die"))),
                Answer::Panic => panic!("told to panic at range {number}"),
            }
        }
        Ok(())
    }

    fn complete(&mut self, done: &mut dyn FnMut(Ticket, Outcome)) -> Result<(), Stop> {
        for (ticket, outcome) in self.returned.drain(..) {
            done(ticket, outcome);
        }
        Ok(())
    }

    fn reset(&mut self) -> Reset {
        if self.reset == Reset::Quiet {
            self.posted.clear();
        }
        self.reset
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("calls", &self.calls.len())
            .field("posted", &self.posted)
            .finish_non_exhaustive()
    }
}
