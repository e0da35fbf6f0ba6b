//! One batch through the driver, and what comes back later.

use super::Reporter;
use crate::Keep;
use crate::batch::{Asked, Batch, Coalesce, vetted};
use crate::contain::contain;
use crate::driver::{Fault, Report, Stop};
use crate::range::{ByteRange, Outcome, Ticket};
use crate::source::{Cursor, IsolatedBlock, Progress, ReportSource, Want};
use smallvec::SmallVec;

/// How a batch went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ran {
    pub(super) progress: Progress,
    pub(super) stop: Option<Stop>,
    /// Bytes whose memory was returned.
    pub(super) reported: u64,
    /// Bytes that a device has now.
    pub(super) posted: u64,
}

/// What a batch or a completion taught about the device.
#[derive(Default)]
struct Lesson {
    failed: SmallVec<[ByteRange; 8]>,
    worked: bool,
}

impl<S: ReportSource, D: Report> Reporter<S, D> {
    /// One batch.
    pub(super) fn run(&mut self, cursor: &mut Cursor, want: &Want, keep: Keep) -> Ran {
        let room = self.policy.batch.min(self.policy.max_in_flight - self.out.posted.len());
        let (timed, begun) = (self.stopwatch.is_some(), self.watch());
        let mut batch = Batch::new(&self.source, &mut self.out);
        let progress = batch.fill(cursor, want, room);
        self.stats.isolations += 1;
        let isolated_at = self.stopwatch.map_or(0, |now| now());
        if timed {
            self.stats.isolate_ns.add(isolated_at.saturating_sub(begun));
        }
        let mut ran = Ran { progress, stop: None, reported: 0, posted: 0 };
        let before = self.stats.isolated.blocks;
        for at in batch.blocks() {
            self.stats.isolated.add(at.bytes());
        }
        if self.stats.isolated.blocks == before {
            return ran;
        }
        // One bad block must not spoil its neighbours twice.
        let coalesce = if self.backoff.is_failing() { Coalesce::No } else { Coalesce::Yes };
        let (skip, now) = (&mut self.skip, self.clock);
        batch.arrange(&self.caps, coalesce, &mut self.tickets, |at| skip.covers(at, now));
        self.stats.batches += 1;
        self.stats.ranges += batch.range_count() as u64;
        for bytes in batch.range_bytes() {
            self.stats.range_bytes.add(bytes);
        }
        let submitted_at = self.stopwatch.map_or(0, |now| now());

        let (driver, caps, control) = (&mut self.driver, &self.caps, &self.control);
        match contain(|| batch.submit(driver, caps, control)) {
            Ok((calls, result)) => {
                self.stats.calls += calls;
                ran.stop = result.err();
            }
            Err(_) => {
                batch.distrust();
                self.stats.calls += 1;
                self.stats.panics += 1;
                ran.stop = Some(Stop::Fatal(Fault::Panicked));
            }
        }

        if let Some(now) = self.stopwatch {
            self.stats.report_ns.add(now().saturating_sub(submitted_at));
        }
        self.stats.lies += batch.vet(&self.caps);
        let mut lesson = Lesson::default();
        let (stats, caps, ttl) = (&mut self.stats, &self.caps, self.policy.decline_ttl);
        let (skip, bucket) = (&mut self.skip, &mut self.bucket);
        batch.settle(keep, |at, outcome, asked| {
            let bytes = at.bytes();
            stats.count(outcome, bytes);
            if asked == Asked::No {
                stats.skipped.add(bytes);
                return;
            }
            stats.ranged_blocks += 1;
            match outcome {
                Outcome::NotTried => return,
                Outcome::Declined => {
                    skip.insert(at, now.saturating_add(ttl), now);
                    return;
                }
                Outcome::Failed => lesson.failed.push(at),
                Outcome::Posted => {
                    stats.in_flight.add(bytes);
                    stats.lies += u64::from(!caps.posts);
                    ran.posted += bytes;
                }
                Outcome::Reported | Outcome::ReportedZeroed => {
                    lesson.worked = true;
                    ran.reported += bytes;
                    if keep == Keep::Reported {
                        stats.held.add(bytes);
                    }
                }
            }
            // The device was busy with it, whatever came of it.
            bucket.spend(bytes);
        });
        self.learn(&lesson);
        ran
    }

    /// Takes what a device gave back.
    pub(super) fn collect(&mut self) {
        if self.out.posted.is_empty() || self.parked == Some(Fault::Panicked) {
            return;
        }
        let mut done: SmallVec<[(Ticket, Outcome); 32]> = SmallVec::new();
        let driver = &mut self.driver;
        let result =
            contain(|| driver.complete(&mut |ticket, outcome| done.push((ticket, outcome))));
        let mut lesson = Lesson::default();
        for (ticket, outcome) in done {
            self.finish(ticket, outcome, &mut lesson);
        }
        self.learn(&lesson);
        match result {
            Ok(Ok(()) | Err(Stop::Busy | Stop::Cancelled)) => {}
            Ok(Err(Stop::Fatal(fault))) => self.park(fault),
            Err(_) => self.panicked(),
        }
    }

    fn finish(&mut self, ticket: Ticket, outcome: Outcome, lesson: &mut Lesson) {
        let is_known = self.out.posted.iter().any(|posted| posted.ticket == ticket);
        if outcome == Outcome::Posted || !is_known {
            self.stats.lies += 1;
            return;
        }
        let vetted = vetted(&self.caps, outcome);
        self.stats.lies += u64::from(vetted != outcome);
        let of_ticket = |posted: &crate::batch::Posted<S::Block>| posted.ticket == ticket;
        while let Some(index) = self.out.posted.iter().position(of_ticket) {
            let block = self.out.posted.swap_remove(index).block;
            let at = block.range();
            self.source.put_back(block, vetted);
            self.stats.in_flight.sub(at.bytes());
            self.stats.count(vetted, at.bytes());
            match outcome {
                Outcome::Failed => lesson.failed.push(at),
                Outcome::Declined => {
                    let until = self.clock.saturating_add(self.policy.decline_ttl);
                    self.skip.insert(at, until, self.clock);
                }
                _ => lesson.worked |= outcome.is_reported(),
            }
        }
    }

    /// Backs off after failures, and stops to after a success.
    fn learn(&mut self, lesson: &Lesson) {
        if lesson.worked {
            self.backoff.ease();
        }
        if lesson.failed.is_empty() {
            return;
        }
        self.stats.last_fault = self.driver.last_fault().or(self.stats.last_fault);
        self.stats.backoffs += 1;
        let wait = self.backoff.fail();
        self.backoff_until = self.clock.saturating_add(wait);
        // Longer than the back-off, so that the pass meets others first.
        let until = self.backoff_until.saturating_add(wait);
        for &at in &lesson.failed {
            self.skip.insert(at, until, self.clock);
        }
    }
}
