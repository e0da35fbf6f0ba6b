//! Memory failure: the owner hears of it, and the granule never circulates
//! again.
//!
//! # How
//!
//! The granule is noted first, so that from then on whoever gives it back keeps
//! it out; one that was noted before is answered with that. Then it is looked
//! for (see `locate`), and its owner is told.
//!
//! The call ends only on a proof; or, if a teardown takes longer than anybody
//! should wait, with *delayed*, and the granule is looked for again by the next
//! report of it, by [`Zone::retry_failures`], and, a few at a time, by
//! [`Zone::report_queued`]. If its teardown ends first the granule is kept there;
//! a slow path then counts the outcome.
//!
//! # Cost
//!
//! A report of what is known: two searches in sorted tables under a lock. Else a
//! look at the forest and at one word, and for bare blocks and for what hands
//! hold one rendezvous per granule. Nothing is allocated before the owner is
//! called, but by a thread's first pin or first wait for a lock, and where 256
//! failures came with no moment to put memory by.

mod locate;

use crate::error::Error;
use crate::poison::Noted;
use crate::resource::Span;
use crate::state::State;
use crate::{Potad, Zone};
use locate::Where;
use memdesc::sync::thread;
use memdesc::{Block, FailedBlock, FailureKind, Granule, Order, Outcome, OwnerId};

/// Looks at a descriptor that somebody tears down before the granule is left for
/// later. A second or so.
const PATIENCE: u32 = 1 << 16;

/// What became of a reported failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureReport {
    /// Granules that the report covers.
    pub granules: u64,
    /// Of them, those that had not been reported before.
    pub first: u64,
    /// Of those, the ones that were free: out of circulation now.
    pub quarantined: u64,
    /// Of those, the ones whose owner was told: out of circulation when freed.
    pub notified: u64,
    /// Of those, the ones that were in the hands of a teardown all the time:
    /// looked for again later.
    pub delayed: u64,
    /// Units that had not failed before: whole lines.
    pub units: u64,
    /// Corrected errors of the granule that had most of them.
    pub corrected: u64,
    /// The least fortunate of the owners' outcomes; `Recovered` if nobody used
    /// the memory.
    pub outcome: Outcome,
}

impl Default for FailureReport {
    fn default() -> Self {
        Self {
            granules: 0,
            first: 0,
            quarantined: 0,
            notified: 0,
            delayed: 0,
            units: 0,
            corrected: 0,
            outcome: Outcome::Recovered,
        }
    }
}

impl Potad {
    /// Memory failed at `address` of space 0, in the `1 << lsb` units around
    /// it. Returns once every granule concerned is proved to be out of
    /// circulation, or marked and known to its owner. What no resource has may be
    /// a [claimed range](Potad::claim_range): then its owner is told.
    ///
    /// Owners are told in this thread, with no lock of these crates held. Must
    /// not be called with a descriptor of the block locked, which it locks
    /// itself. Fails with [`Error::Outside`] if nothing has the address, and with
    /// [`Error::OutOfMemory`] if so many failures came that they cannot be noted:
    /// ask again.
    ///
    /// ```
    /// use potad::{Potad, Resource, memdesc::FailureKind};
    ///
    /// let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let report = potad.report_failure(0x12_3456, 6, FailureKind::Injected)?;
    /// assert_eq!((report.first, report.quarantined, report.units), (1, 1, 64));
    /// let again = potad.report_failure(0x12_3000, 12, FailureKind::Injected)?;
    /// assert_eq!((again.first, again.units), (0, 4096 - 64));
    /// assert_eq!((ram.stats().quarantined, ram.poison().lines()), (1, 64));
    /// # Ok::<(), potad::Error>(())
    /// ```
    pub fn report_failure(
        &self,
        address: u64,
        lsb: u32,
        kind: FailureKind,
    ) -> Result<FailureReport, Error> {
        if let Some(zone) = self.zone_at(0, address) {
            return zone.report_failure(address, lsb, kind);
        }
        self.fail_claimed(address, lsb, kind).ok_or(Error::Outside { address })?
    }
}

impl Zone {
    /// As [`Potad::report_failure`], in this resource's own units.
    ///
    /// A [`Corrected`](FailureKind::Corrected) error is counted, and poisons
    /// nothing: see [`predicted`](Self::predicted).
    pub fn report_failure(
        &self,
        address: u64,
        lsb: u32,
        kind: FailureKind,
    ) -> Result<FailureReport, Error> {
        let state = self.state();
        state.granule_at(address)?;
        let around = 1u64.checked_shl(lsb).map_or(u64::MAX, |size| size - 1);
        let units = Span { first: address & !around, last: address | around };
        let mut report = FailureReport::default();
        let done = state.fail_units(units, kind, &mut report);
        state.failures.reported(kind, &report);
        state.mend();
        done.map(|()| report)
    }

    /// Looks again for the granules whose report was
    /// [delayed](FailureReport::delayed), and tells their owners; returns what
    /// became of them.
    ///
    /// [`report_queued`](Self::report_queued) does so too, for a few. Allocations
    /// do not, for they cannot know what locks their callers hold; but what has
    /// become free meanwhile has no owner to be told, and their slow ways see to
    /// it.
    ///
    /// ```
    /// # use potad::{FailureReport, Potad, Resource};
    /// # let potad = Potad::new();
    /// # let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// assert_eq!(ram.retry_failures(), FailureReport::default(), "nothing is left to do");
    /// # Ok::<(), potad::Error>(())
    /// ```
    pub fn retry_failures(&self) -> FailureReport {
        let state = self.state();
        let report = state.retry_delayed(u64::MAX, PATIENCE);
        state.mend();
        report
    }
}

/// What is looked for.
struct Look {
    at: Granule,
    units: Span,
    kind: FailureKind,
    tell: Tell,
    /// Looks at a descriptor that somebody tears down.
    patience: u32,
}

/// Whom a report tells what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tell {
    /// Whoever has the granule.
    Owner,
    /// Nobody: another report does.
    Nobody,
}

impl State {
    /// Looks again for up to so many granules whose outcome is owed, each with so
    /// much patience. The caller holds no lock that an owner might want.
    pub(crate) fn retry_delayed(&self, most: u64, patience: u32) -> FailureReport {
        let mut report = FailureReport::default();
        let mut from = Some(Granule(0));
        while report.granules < most
            && let Some(at) = from.and_then(|from| self.stock.poison.take_delayed(from))
        {
            report.granules += 1;
            let (units, kind) = self.failed_units(at);
            let look = Look { at, units, kind, tell: Tell::Owner, patience };
            self.find_and_tell(look, &mut report);
            from = at.0.checked_add(1).map(Granule);
        }
        report
    }

    /// The first units of a granule that failed, and how.
    pub(crate) fn failed_units(&self, at: Granule) -> (Span, FailureKind) {
        let all = self.units_of(at);
        let failed = self.stock.poison.first_line_in(all);
        failed.map_or((all, FailureKind::Found), |failed| (failed.span, failed.kind))
    }

    /// Fails what the zone has of some units.
    pub(crate) fn fail_units(
        &self,
        units: Span,
        kind: FailureKind,
        report: &mut FailureReport,
    ) -> Result<(), Error> {
        let mut from = Some(units.first);
        while let Some(first) = from {
            let Some(part) = self.spanned(Span { first, last: units.last }) else { break };
            let (low, high) = (self.granule_at(part.first)?, self.granule_at(part.last)?);
            for at in (low.0..=high.0).map(Granule) {
                let Span { first, last } = self.units_of(at);
                let span = Span { first: first.max(part.first), last: last.min(part.last) };
                self.fail_granule(at, span, kind, report)?;
            }
            from = part.last.checked_add(1);
        }
        Ok(())
    }

    /// The first part of some units that a span has.
    pub(crate) fn spanned(&self, units: Span) -> Option<Span> {
        let spans = self.spans.lock();
        spans.iter().find_map(|span| {
            let first = units.first.max(self.units.unit(span.first()));
            let last = units.last.min(self.units.last_unit(span.last()));
            (first <= last).then_some(Span { first, last })
        })
    }

    /// The units of a granule.
    pub(crate) fn units_of(&self, at: Granule) -> Span {
        Span { first: self.units.unit(at), last: self.units.last_unit(at) }
    }

    /// Fails units of one granule.
    pub(crate) fn fail_granule(
        &self,
        at: Granule,
        units: Span,
        kind: FailureKind,
        report: &mut FailureReport,
    ) -> Result<(), Error> {
        if kind == FailureKind::Corrected {
            let count = self.stock.poison.correct(at)?;
            report.granules += 1;
            report.corrected = report.corrected.max(u64::from(count));
            self.due();
            return Ok(());
        }
        let Noted { look, first, tell, units: new } = self.stock.poison.note(at, units, kind)?;
        report.granules += 1;
        report.units += new;
        if new != 0 {
            self.due();
        }
        if look {
            report.first += u64::from(first);
            let tell = if tell { Tell::Owner } else { Tell::Nobody };
            self.find_and_tell(Look { at, units, kind, tell, patience: PATIENCE }, report);
        }
        Ok(())
    }

    /// Looks for a granule that is on record until it is proved to be known, or
    /// out of circulation. Beside a report that is on its way this tells nobody,
    /// but it waits for the proof as well.
    fn find_and_tell(&self, look: Look, report: &mut FailureReport) {
        let Look { at, units, kind, tell, mut patience } = look;
        let (owner, block, name) = loop {
            match self.locate(at) {
                Where::Quarantined if tell == Tell::Nobody => return,
                Where::Quarantined => {
                    self.stock.poison.set_delayed(at, false);
                    report.quarantined += 1;
                    return self.failures.end("free", kind, Outcome::Recovered);
                }
                Where::Word(owner, block, name) => break (owner, block, name),
                Where::Typed(found) => {
                    let locked = found.lock();
                    // The lock makes it the truth: the block may have been
                    // split or replaced since it was found.
                    if locked.contains(at) {
                        locked.poison();
                        break (locked.owner(), Some(locked.block()), found.kind_name());
                    }
                }
                // Its owner is inside the put that frees it.
                Where::Dying if patience > 0 => {
                    patience -= 1;
                    thread::yield_now();
                }
                Where::Dying => {
                    if tell == Tell::Owner {
                        self.stock.poison.set_delayed(at, true);
                        // The teardown may have ended just before.
                        self.due();
                    }
                    report.delayed += 1;
                    report.outcome = worse(report.outcome, Outcome::Delayed);
                    return;
                }
            }
        };
        if tell == Tell::Nobody {
            return;
        }
        self.stock.poison.set_delayed(at, false);
        let granules = Block::containing(at, Order::ZERO).granules();
        let Span { first: first_unit, last: last_unit } = units;
        let failed = FailedBlock {
            resource: self.id,
            granules,
            first_unit,
            last_unit,
            block,
            kind,
            name,
            first: true,
        };
        report.notified += 1;
        let outcome = self.tell(owner, &failed);
        self.failures.end(name, kind, outcome);
        report.outcome = worse(report.outcome, outcome);
    }

    /// Tells an owner, or the resource's own if that one has left.
    fn tell(&self, owner: OwnerId, failed: &FailedBlock) -> Outcome {
        if owner != OwnerId::RESOURCE
            && let Some(outcome) = self.owners.call(owner, failed)
        {
            return outcome;
        }
        let own = *self.own_owner.lock();
        own.and_then(|own| self.owners.call(own, failed)).unwrap_or(Outcome::Ignored)
    }
}

pub(crate) fn worse(one: Outcome, other: Outcome) -> Outcome {
    let rank = |outcome| match outcome {
        Outcome::Recovered => 0,
        Outcome::Delayed => 1,
        Outcome::Ignored => 2,
        Outcome::Failed => 3,
    };
    if rank(one) >= rank(other) { one } else { other }
}
