//! What users ask about failed memory: the set, predictions, counts.

use crate::Zone;
use crate::closing::Kept;
use crate::error::Error;
use crate::failure::FailureReport;
use crate::outcomes::{KindCounts, OutcomeCounts};
use crate::poison_set::PoisonSet;
use crate::resource::{IntoSpan, Span};
use crate::state::State;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use memdesc::{Block, FailureKind, Granule, Granules, Order};

/// What corrected errors are added up over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each granule: a weak cell or line.
    Granule,
    /// Each section of `64^3` granules: a weak row or bank.
    Section,
    /// The resource: a weak module.
    Resource,
}

/// Granules with so many corrected errors that they should be given up before
/// they fail: *soft offline*.
///
/// To do so, report them as [`Predicted`](FailureKind::Predicted), in units:
/// free ones leave circulation at once, and owners are told while their data can
/// still be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// The granule; of a section or resource, from the first to the last of its
    /// granules that had such an error.
    pub granules: Granules,
    /// Corrected errors in them.
    pub corrected: u64,
}

impl Zone {
    /// A copy of what has failed, line by line, and how: to be kept over a
    /// restart, or taken along to another host.
    pub fn poison(&self) -> PoisonSet {
        self.state().stock.poison.lines()
    }

    /// Takes over what failed earlier, or elsewhere: as if each range were
    /// reported now. Owners of live blocks are told.
    ///
    /// Refused, with nothing changed: a range that is not made of the resource's
    /// lines ([`Error::MisalignedPoison`]), that is not wholly in a span
    /// ([`Error::Outside`], with the first unit that is not), and
    /// [`Error::OutOfMemory`].
    ///
    /// ```
    /// use potad::{Error, PoisonSet, Potad, Resource, memdesc::FailureKind};
    ///
    /// let (before, after) = (Potad::new(), Potad::new());
    /// let ram = || Resource::new("ram").granule(4096).span(0..1 << 20).span(4 << 20..5 << 20);
    /// let (old, new) = (before.register(ram())?, after.register(ram())?);
    /// old.report_failure(0x3_0040, 6, FailureKind::Consumed)?;
    ///
    /// let report = new.import_poison(&old.poison())?;
    /// assert_eq!((report.first, report.quarantined, report.units), (1, 1, 64));
    /// assert_eq!(new.stats().free, 511);
    ///
    /// let mut hole = PoisonSet::new(64)?;
    /// hole.insert(0..64, FailureKind::Found)?;
    /// hole.insert(2 << 20..3 << 20, FailureKind::Found)?;
    /// assert_eq!(new.import_poison(&hole), Err(Error::Outside { address: 2 << 20 }));
    /// assert_eq!(new.stats().free, 511);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn import_poison(&self, set: &PoisonSet) -> Result<FailureReport, Error> {
        let state = self.state();
        let line = state.stock.poison.lines().line();
        let mut granules = 0usize;
        for range in set.iter() {
            let Span { first, last } = range.span;
            if !first.is_multiple_of(line) || (last - first) % line != line - 1 {
                return Err(Error::MisalignedPoison { first, last, line });
            }
            let inside = state.check_units(range.span)?;
            granules =
                granules.saturating_add(usize::try_from(inside.count()).unwrap_or(usize::MAX));
        }
        state.stock.poison.refill(granules)?;
        let mut report = FailureReport::default();
        for range in set.iter() {
            let mut part = FailureReport::default();
            state.fail_units(range.span, range.kind, &mut part)?;
            state.failures.reported(range.kind, &part);
            report.add(&part);
        }
        state.mend();
        Ok(report)
    }

    /// Lets granules circulate again whose failures were all
    /// [`Injected`](FailureKind::Injected), as far as they lie in a span in part
    /// or whole; returns how many were on record. The hint on a block that is
    /// live stays: it says no more than that one should ask.
    ///
    /// Refused, and nothing is changed: with [`Error::NotInjected`] if one of them
    /// failed in earnest, with [`Error::OutOfMemory`] if a block around one could
    /// not be broken yet.
    ///
    /// ```
    /// use potad::{Error, Potad, Resource, memdesc::FailureKind};
    ///
    /// let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 20))?;
    /// ram.report_failure(0x1000, 6, FailureKind::Injected)?;
    /// assert_eq!((ram.unpoison(0..0x8000)?, ram.stats().free), (1, 256));
    /// ram.report_failure(0x1000, 6, FailureKind::Consumed)?;
    /// let refused = Error::NotInjected { first: 0x1000, last: 0x103f };
    /// assert_eq!(ram.unpoison(0..0x8000), Err(refused));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn unpoison(&self, span: impl IntoSpan) -> Result<u64, Error> {
        let state = self.state();
        let Some(range) = state.granules_around(span.into_span()?) else { return Ok(0) };
        state.mend();
        // Whoever shows a quarantined granule to look-ups does so in a bracket.
        let _closed = state.gate.close();
        if state.stock.poison.has_whole(|whole| whole.granules().overlaps(range)) {
            return Err(Error::OutOfMemory);
        }
        let (granules, blocks) =
            state.stock.poison.unpoison(range, |at| state.units_of(at)).map_err(|real| {
                Error::NotInjected { first: real.span.first, last: real.span.last }
            })?;
        for block in blocks {
            // Absent if it was not shown yet.
            let _word = state.tree.clear_immediate(block);
            if state.closing.keep(block) == Kept::Outside {
                state.give_closed_block(block);
            }
        }
        Ok(granules)
    }

    /// Where corrected errors say that memory will fail: granules, sections or
    /// the resource with at least so many of them, in address order. What has
    /// failed already does not count. The kernel gives a page up at 1,023 or so.
    ///
    /// ```
    /// use potad::{Potad, Resource, Scope, memdesc::FailureKind};
    ///
    /// let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// for _ in 0..100 {
    ///     ram.report_failure(0x7040, 6, FailureKind::Corrected)?;
    /// }
    /// assert_eq!(ram.predicted(Scope::Granule, 101), []);
    /// let weak = ram.predicted(Scope::Granule, 100)[0];
    /// assert_eq!((weak.granules.first().0, weak.corrected), (7, 100));
    ///
    /// ram.report_failure(ram.address_of(weak.granules.first()), 12, FailureKind::Predicted)?;
    /// assert_eq!(ram.predicted(Scope::Granule, 1), []);
    /// # Ok::<(), potad::Error>(())
    /// ```
    pub fn predicted(&self, scope: Scope, at_least: u64) -> Vec<Prediction> {
        let mut found: Vec<(u64, Prediction)> = Vec::new();
        for (at, count) in self.state().stock.poison.corrected() {
            let part = match scope {
                Scope::Granule => at.0,
                Scope::Section => at.0 >> SECTION,
                Scope::Resource => 0,
            };
            let corrected = u64::from(count);
            match found.last_mut() {
                Some((last, prediction)) if *last == part => {
                    let first = prediction.granules.first();
                    prediction.granules = Granules::new(first, at).unwrap_or(prediction.granules);
                    prediction.corrected += corrected;
                }
                _ => {
                    let granules = Block::containing(at, Order::ZERO).granules();
                    found.push((part, Prediction { granules, corrected }));
                }
            }
        }
        let many = found.into_iter().map(|(_, prediction)| prediction);
        many.filter(|prediction| prediction.corrected >= at_least).collect()
    }

    /// How often owners came to which end, by what lived there.
    pub fn failure_counts(&self) -> BTreeMap<&'static str, OutcomeCounts> {
        self.state().failures.by_name()
    }

    /// What was reported and how it ended, by the kind of failure.
    ///
    /// ```
    /// use potad::{Potad, Resource, memdesc::FailureKind};
    ///
    /// let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// ram.report_failure(0x1000, 6, FailureKind::Consumed)?;
    /// ram.report_failure(0x1000, 6, FailureKind::Found)?;
    /// let kinds = ram.failure_kinds();
    /// assert_eq!((kinds[&FailureKind::Consumed].first, kinds[&FailureKind::Found].first), (1, 0));
    /// assert_eq!(kinds[&FailureKind::Consumed].outcomes.recovered, 1);
    /// # Ok::<(), potad::Error>(())
    /// ```
    pub fn failure_kinds(&self) -> BTreeMap<FailureKind, KindCounts> {
        self.state().failures.by_kind()
    }
}

/// A section is of this order.
const SECTION: u32 = 18;

impl FailureReport {
    /// Adds what became of another report.
    fn add(&mut self, other: &Self) {
        self.granules += other.granules;
        self.first += other.first;
        self.quarantined += other.quarantined;
        self.notified += other.notified;
        self.delayed += other.delayed;
        self.units += other.units;
        self.corrected = self.corrected.max(other.corrected);
        self.outcome = crate::failure::worse(self.outcome, other.outcome);
    }
}

impl State {
    /// The granules of units that are all in spans, or the first unit that is
    /// not.
    fn check_units(&self, units: Span) -> Result<Granules, Error> {
        let mut from = units.first;
        while let Some(part) = self.spanned(Span { first: from, last: units.last }) {
            if part.first > from {
                break;
            }
            match part.last.checked_add(1) {
                Some(next) if next <= units.last => from = next,
                _ => {
                    let outside = Error::Outside { address: units.first };
                    return self.granules_around(units).ok_or(outside);
                }
            }
        }
        Err(Error::Outside { address: from })
    }

    /// The granules that have a unit of a span.
    fn granules_around(&self, units: Span) -> Option<Granules> {
        let first = self.units.index(units.first.max(self.units.unit(Granule(0))))?;
        let last = self.units.index(units.last).unwrap_or(self.stock.forest.last_granule());
        Granules::new(first, last.min(self.stock.forest.last_granule())).ok()
    }
}
