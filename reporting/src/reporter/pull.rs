//! Pull: somebody wants memory back now.
//!
//! Neither age nor rate nor demand is asked; the driver's caps, the reserve and
//! what was declined are. The calls do whole batches until they have enough,
//! and stop between two of them when [`Control`](crate::Control) says so. At the
//! end they have the allocator's hands emptied and go round once more: *nothing
//! left* is the truth.

use super::Reporter;
use crate::Keep;
use crate::control::Held;
use crate::driver::{Fault, Report, Stop};
use crate::source::{Age, Cursor, IsolatedBlock, Progress, ReportSource, Want};

/// What a pull achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// Bytes whose memory was returned.
    pub reported: u64,
    /// Bytes that a device has and will return later.
    pub posted: u64,
    /// Why it ended.
    pub end: PulledEnd,
}

/// Why a pull ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PulledEnd {
    /// It got what was asked.
    Enough,
    /// Nothing else is free and not reported.
    NothingLeft,
    /// The allocator needs the rest.
    Pressure,
    /// The device has as much as it takes, or something failed: try later.
    Later,
    /// Somebody paused, cancelled or stopped it.
    Cancelled,
    /// The driver does not work.
    Parked(Fault),
}

impl<S: ReportSource, D: Report> Reporter<S, D> {
    /// Reports free blocks at once until about `bytes` were returned.
    ///
    /// ```
    /// use potad_reporting::backend::Recording;
    /// use potad_reporting::mock::MockSource;
    /// use potad_reporting::{Policy, PulledEnd, Reporter};
    ///
    /// let source = MockSource::new(4096, 10);
    /// let policy = Policy::never().max_piece(64 << 10);
    /// let policy = policy.rules(&[potad_reporting::Rule { min_bytes: 4096, every: 1 }]);
    /// let mut reporter = Reporter::new(&source, Recording::new(), policy)?;
    /// let pulled = reporter.reclaim(0, 1 << 20);
    /// assert_eq!((pulled.reported, pulled.end), (1 << 20, PulledEnd::Enough));
    /// # Ok::<(), potad_reporting::ReportingError>(())
    /// ```
    pub fn reclaim(&mut self, now: u64, bytes: u64) -> Pulled {
        self.pull(now, bytes, Keep::No)
    }

    /// Like [`reclaim`](Self::reclaim), but keeps the blocks: nobody can
    /// allocate them until [`release`](Self::release). A balloon's inflation.
    /// Blocks that an asynchronous device has are not kept when they return.
    pub fn hold(&mut self, now: u64, bytes: u64) -> Pulled {
        self.pull(now, bytes, Keep::Reported)
    }

    /// Gives held blocks back until at least `bytes` were given or none is
    /// left, and returns how much it was. A balloon's deflation.
    pub fn release(&mut self, bytes: u64) -> u64 {
        let mut released: u64 = 0;
        while released < bytes {
            let Some(kept) = self.out.held.pop() else {
                break;
            };
            let length = kept.block.range().bytes();
            self.source.put_back(kept.block, kept.outcome);
            self.stats.held.sub(length);
            released = released.saturating_add(length);
        }
        released
    }

    fn pull(&mut self, now: u64, bytes: u64, keep: Keep) -> Pulled {
        self.clock = self.clock.max(now);
        self.collect();
        let mut pulled = Pulled { reported: 0, posted: 0, end: PulledEnd::Enough };
        let mut cursor = Cursor::default();
        let mut is_flushed = false;
        let control = self.control.clone();
        let busy = control.enter();
        pulled.end = loop {
            match busy {
                Ok(_) => {}
                Err(Held::Paused | Held::Stopped) => break PulledEnd::Cancelled,
            }
            if control.take_cancel() {
                self.stats.cancels += 1;
                break PulledEnd::Cancelled;
            }
            if let Some(fault) = self.parked {
                break PulledEnd::Parked(fault);
            }
            let left = bytes.saturating_sub(pulled.reported.saturating_add(pulled.posted));
            if left == 0 {
                break PulledEnd::Enough;
            }
            if self.clock < self.backoff_until || self.out.posted.len() >= self.policy.max_in_flight
            {
                break PulledEnd::Later;
            }
            let min_order = self.sizes.min_order(self.policy.smallest());
            let want = Want {
                min_order,
                // Pieces, so that little more is taken than was asked.
                max_order: self.sizes.max_order(left).max(min_order),
                age: Age::Any,
                patient: false,
                spare_bytes: 0,
                max_bytes: left,
                leave_bytes: self.policy.reserve,
            };
            let ran = self.run(&mut cursor, &want, keep);
            pulled.reported = pulled.reported.saturating_add(ran.reported);
            pulled.posted = pulled.posted.saturating_add(ran.posted);
            match ran.stop {
                Some(Stop::Fatal(fault)) => self.park(fault),
                Some(Stop::Busy) => break PulledEnd::Later,
                Some(Stop::Cancelled) => {
                    control.take_cancel();
                    break PulledEnd::Cancelled;
                }
                None => {}
            }
            let has_enough = pulled.reported.saturating_add(pulled.posted) >= bytes;
            match ran.progress {
                _ if has_enough || self.parked.is_some() => {}
                Progress::More => {}
                Progress::EndOfPass if is_flushed => break PulledEnd::NothingLeft,
                Progress::EndOfPass => {
                    // What nobody found may be held back: once more, with that.
                    self.source.flush();
                    (is_flushed, cursor) = (true, Cursor::default());
                }
                Progress::Pressure => break PulledEnd::Pressure,
            }
        };
        drop(busy);
        self.control.publish(self.state(), &self.stats);
        pulled
    }
}
