//! The device: wipes what it is told of, at once or later, or does not.

use super::{Random, Shared, granule_of};
use memdesc::Granules;
use reporting::{ByteRange, Caps, Control, Fault, Outcome, Range, Report, Reset, Stop, Ticket};
use std::sync::atomic::Ordering::Relaxed;

pub(super) struct Device<'a> {
    shared: &'a Shared,
    random: Random,
    posted: Vec<(Ticket, ByteRange)>,
}

impl<'a> Device<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, random: Random(shared.size.seed ^ 0xd0), posted: Vec::new() }
    }

    fn wipe(&self, range: ByteRange) {
        let (first, last) =
            (granule_of(self.shared, range.first()), granule_of(self.shared, range.last()));
        let range = Granules::new(first, last).expect("in order");
        // SAFETY: isolated until its outcome is said, so nobody's but ours.
        unsafe { self.shared.memory.wipe(range) };
        self.shared.counts.wiped.fetch_add(1, Relaxed);
    }
}

impl Report for Device<'_> {
    fn caps(&self) -> Caps {
        Caps { max_ranges: 16, posts: true, ..Caps::DEFAULT }
    }

    fn report(
        &mut self,
        ranges: &[Range],
        outcomes: &mut [Outcome],
        _control: &Control,
    ) -> Result<(), Stop> {
        for (range, outcome) in ranges.iter().zip(outcomes) {
            match self.random.below(64) {
                0 => return Err(Stop::Cancelled),
                1 => return Err(Stop::Busy),
                2 => return Err(Stop::Fatal(Fault::Driver("told to die"))),
                3 => *outcome = Outcome::Failed,
                4 => *outcome = Outcome::Declined,
                // Wiped, and nothing said.
                5 => self.wipe(range.at),
                6..24 => {
                    *outcome = Outcome::Posted;
                    self.posted.push((range.ticket, range.at));
                }
                24..32 => {
                    self.wipe(range.at);
                    *outcome = Outcome::Reported;
                }
                _ => {
                    self.wipe(range.at);
                    *outcome = Outcome::ReportedZeroed;
                }
            }
        }
        Ok(())
    }

    fn complete(&mut self, done: &mut dyn FnMut(Ticket, Outcome)) -> Result<(), Stop> {
        for (ticket, range) in std::mem::take(&mut self.posted) {
            if self.random.below(4) == 0 {
                self.posted.push((ticket, range));
                continue;
            }
            self.wipe(range);
            done(ticket, Outcome::ReportedZeroed);
        }
        Ok(())
    }

    fn reset(&mut self) -> Reset {
        self.posted.clear();
        Reset::Quiet
    }
}
