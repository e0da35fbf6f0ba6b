//! One step: what is due, and when to come back.

use super::{Cause, Next, Pass, Reporter, State};
use crate::control::Held;
use crate::driver::{Report, Stop};
use crate::source::{Age, Cursor, Progress, ReportSource, Want};
use crate::{Keep, NEVER};

impl<S: ReportSource, D: Report> Reporter<S, D> {
    /// Does what is due at `now`, at most one batch, and says when to come
    /// back. `now` is nanoseconds since any fixed moment; a time before one
    /// that was told already counts as that one.
    pub fn step(&mut self, now: u64) -> Next {
        self.clock = self.clock.max(now);
        self.collect();
        let mut next = self.advance();
        next.at = next.at.max(self.clock);
        // Somebody has to ask what came back.
        if !self.out.posted.is_empty() {
            next.at = next.at.min(self.clock.saturating_add(self.policy.poll));
        }
        self.control.publish(next.state, &self.stats);
        next
    }

    fn advance(&mut self) -> Next {
        let control = self.control.clone();
        let _busy = match control.enter() {
            Ok(busy) => busy,
            Err(Held::Paused) => return Next { at: NEVER, state: State::Paused },
            Err(Held::Stopped) => {
                self.pass = None;
                return Next { at: NEVER, state: State::Stopped };
            }
        };
        if control.take_cancel() {
            self.cancelled();
        }
        if let Some(fault) = self.parked {
            return Next { at: NEVER, state: State::Parked(fault) };
        }
        if self.clock < self.backoff_until {
            return Next { at: self.backoff_until, state: State::BackingOff };
        }
        let pass = self.pass.take().or_else(|| {
            // Between passes only: it may cost a source a walk.
            let dirty = self.source.dirty_bytes();
            self.demand.observe(self.free_bytes(dirty));
            self.begin(dirty)
        });
        match pass {
            Some(pass) => self.go_on(pass),
            None => self.idle(),
        }
    }

    /// What is not used: what the reporter took is no demand.
    fn free_bytes(&self, dirty: u64) -> u64 {
        let (reported, stats) = (self.source.reported_bytes(), &self.stats);
        let taken = stats.in_flight.bytes.saturating_add(stats.held.bytes);
        dirty.saturating_add(reported).saturating_add(taken)
    }

    /// Begins the pass that is due, if one is.
    fn begin(&mut self, dirty: u64) -> Option<Pass> {
        let requested = self.control.take_request();
        if requested || self.clock >= self.next_pass {
            let interval = self.jitter.around(self.policy.interval);
            self.next_pass = match self.policy.interval {
                NEVER => NEVER,
                _ => self.clock.saturating_add(interval),
            };
            self.stats.passes += 1;
            self.stats.refaulted = self.source.refaulted_bytes();
            self.stats.premature = self.source.premature_bytes();
            self.source.begin_pass();
            self.demand.pass(self.free_bytes(dirty));
            let min_bytes = self.policy.min_bytes(self.stats.passes)?;
            return Some(Pass {
                cursor: Cursor::default(),
                min_order: self.sizes.min_order(min_bytes),
                age: self.policy.age,
                patient: !self.stats.passes.is_multiple_of(u64::from(self.policy.patience)),
                spare: self.demand.keep(),
                dirty,
                floor: 0,
                cause: Cause::Due,
            });
        }
        let volume = self.policy.volume?;
        if dirty <= volume || self.clock < self.volume_after {
            return None;
        }
        self.stats.passes += 1;
        // Pass 0 has every rule's blocks.
        let min_bytes = self.policy.min_bytes(0)?;
        Some(Pass {
            cursor: Cursor::default(),
            min_order: self.sizes.min_order(min_bytes),
            age: Age::Any,
            patient: false,
            spare: 0,
            dirty,
            floor: volume.max(self.demand.keep()),
            cause: Cause::Volume,
        })
    }

    /// Goes on with `pass`: one batch at most.
    fn go_on(&mut self, mut pass: Pass) -> Next {
        if pass.dirty <= pass.floor {
            return self.end(pass);
        }
        let tokens = self.bucket.available(self.clock);
        if tokens == 0 {
            self.pass = Some(pass);
            return Next { at: self.bucket.ready_at(), state: State::Active };
        }
        if self.out.posted.len() >= self.policy.max_in_flight {
            self.pass = Some(pass);
            return self.poll_again();
        }
        let want = Want {
            min_order: pass.min_order,
            max_order: self.sizes.max_order,
            age: pass.age,
            patient: pass.patient,
            spare_bytes: pass.spare,
            max_bytes: tokens.min(pass.dirty - pass.floor),
            leave_bytes: self.policy.reserve,
        };
        let before = pass.cursor;
        let ran = self.run(&mut pass.cursor, &want, Keep::No);
        pass.dirty = pass.dirty.saturating_sub(ran.reported.saturating_add(ran.posted));
        match ran.stop {
            Some(Stop::Fatal(fault)) => {
                self.park(fault);
                return Next { at: NEVER, state: State::Parked(fault) };
            }
            Some(Stop::Busy) => {
                // What was not tried lies behind the new cursor.
                pass.cursor = before;
                self.pass = Some(pass);
                return self.poll_again();
            }
            Some(Stop::Cancelled) if self.control.take_cancel() => {
                self.cancelled();
                return self.idle();
            }
            Some(Stop::Cancelled) => {
                // A pause, or the driver's own idea: the pass goes on later.
                pass.cursor = before;
                self.pass = Some(pass);
                return self.poll_again();
            }
            None => {}
        }
        let ended = match ran.progress {
            Progress::More => false,
            Progress::EndOfPass => true,
            Progress::Pressure => {
                self.stats.pressures += 1;
                true
            }
        };
        if ended {
            return self.end(pass);
        }
        self.pass = Some(pass);
        if self.clock < self.backoff_until {
            return Next { at: self.backoff_until, state: State::BackingOff };
        }
        Next { at: self.clock, state: State::Active }
    }

    fn end(&mut self, pass: Pass) -> Next {
        if pass.cause == Cause::Volume {
            // What is left does not suit: look again with the next pass.
            let wait =
                if self.policy.interval == NEVER { self.policy.poll } else { self.policy.interval };
            self.volume_after = self.clock.saturating_add(wait);
        }
        if self.clock < self.backoff_until {
            return Next { at: self.backoff_until, state: State::BackingOff };
        }
        self.idle()
    }

    fn idle(&self) -> Next {
        if self.control.is_requested() {
            return Next { at: self.clock, state: State::Requested };
        }
        let mut at = self.next_pass;
        if self.policy.volume.is_some() {
            let look = self.clock.saturating_add(self.policy.poll);
            at = at.min(look.max(self.volume_after));
        }
        Next { at, state: State::Idle }
    }

    fn poll_again(&self) -> Next {
        let at = self.clock.saturating_add(self.policy.poll);
        Next { at, state: State::Active }
    }

    fn cancelled(&mut self) {
        self.pass = None;
        self.stats.cancels += 1;
    }
}
