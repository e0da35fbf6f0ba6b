//! How failures ended, counted.
//!
//! Fixed tables behind a lock that nothing else is taken under: counting
//! allocates nothing.

use crate::failure::FailureReport;
use alloc::collections::BTreeMap;
use memdesc::sync::Mutex;
use memdesc::{FailureKind, Outcome};

/// How often owners came to which end, as the kernel counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    /// Nothing uses the memory any more.
    pub recovered: u64,
    /// It will be dealt with later.
    pub delayed: u64,
    /// Nothing was done.
    pub ignored: u64,
    /// Dealing with it failed.
    pub failed: u64,
}

impl OutcomeCounts {
    /// The sum of the four.
    pub fn total(&self) -> u64 {
        self.recovered + self.delayed + self.ignored + self.failed
    }

    pub(crate) fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Recovered => self.recovered += 1,
            Outcome::Delayed => self.delayed += 1,
            Outcome::Ignored => self.ignored += 1,
            Outcome::Failed => self.failed += 1,
        }
    }
}

/// What was reported with one kind of failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindCounts {
    /// Granules reported, those included that were known.
    pub reported: u64,
    /// Granules that had not been reported before, by any kind.
    pub first: u64,
    /// How those ended.
    pub outcomes: OutcomeCounts,
}

/// Names that are told apart: every kind of descriptor and every subtype, and
/// some to spare. What comes later shares the last.
const NAMES: usize = 48;

/// The kinds, in the order of their counts.
const KINDS: [FailureKind; 5] = [
    FailureKind::Consumed,
    FailureKind::Found,
    FailureKind::Predicted,
    FailureKind::Corrected,
    FailureKind::Injected,
];

/// The counts of a zone.
#[derive(Debug)]
pub(crate) struct FailureCounts(Mutex<Tables>);

#[derive(Debug)]
struct Tables {
    by_name: [(&'static str, OutcomeCounts); NAMES],
    by_kind: [KindCounts; KINDS.len()],
}

impl Default for FailureCounts {
    fn default() -> Self {
        let by_name = [("", OutcomeCounts::default()); NAMES];
        Self(Mutex::new(Tables { by_name, by_kind: Default::default() }))
    }
}

impl FailureCounts {
    /// One granule came to an end.
    pub(crate) fn end(&self, name: &'static str, kind: FailureKind, outcome: Outcome) {
        let mut tables = self.0.lock();
        let mut entries = tables.by_name.iter();
        let at = entries.position(|(there, _)| *there == name || there.is_empty());
        let entry = &mut tables.by_name[at.unwrap_or(NAMES - 1)];
        if entry.0.is_empty() {
            entry.0 = name;
        }
        entry.1.add(outcome);
        tables.by_kind[at_of(kind)].outcomes.add(outcome);
    }

    /// A report was dealt with, or as much of it as could be.
    pub(crate) fn reported(&self, kind: FailureKind, report: &FailureReport) {
        let mut tables = self.0.lock();
        let counts = &mut tables.by_kind[at_of(kind)];
        counts.reported += report.granules;
        counts.first += report.first;
    }

    pub(crate) fn by_name(&self) -> BTreeMap<&'static str, OutcomeCounts> {
        let tables = self.0.lock();
        tables.by_name.iter().filter(|(name, _)| !name.is_empty()).copied().collect()
    }

    pub(crate) fn by_kind(&self) -> BTreeMap<FailureKind, KindCounts> {
        let tables = self.0.lock();
        KINDS.into_iter().zip(tables.by_kind).filter(|(_, counts)| counts.reported != 0).collect()
    }
}

fn at_of(kind: FailureKind) -> usize {
    KINDS.iter().position(|&other| other == kind).unwrap_or(0)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;

    const ENDS: [Outcome; 4] =
        [Outcome::Recovered, Outcome::Delayed, Outcome::Ignored, Outcome::Failed];

    /// Each outcome another number of times, so that no two can be confused.
    fn four(unit: u64) -> OutcomeCounts {
        let [recovered, delayed, ignored, failed] = [1, 10, 100, 1000].map(|count| count * unit);
        OutcomeCounts { recovered, delayed, ignored, failed }
    }

    #[test]
    fn every_end_is_counted_by_its_name_and_its_kind() {
        let counts = FailureCounts::default();
        assert!(counts.by_name().is_empty() && counts.by_kind().is_empty());
        for (unit, kind) in (1..).zip(KINDS) {
            for (times, outcome) in [1, 10, 100, 1000].into_iter().zip(ENDS) {
                for _ in 0..times * unit {
                    counts.end(if unit % 2 == 0 { "even" } else { "odd" }, kind, outcome);
                }
            }
            let report = FailureReport { granules: 7 * unit, first: unit, ..Default::default() };
            counts.reported(kind, &report);
        }
        let names = counts.by_name();
        assert_eq!(names.len(), 2);
        assert_eq!((names["odd"], names["even"]), (four(1 + 3 + 5), four(2 + 4)));
        assert_eq!(names["even"].total(), 6666);
        let kinds = counts.by_kind();
        assert_eq!(kinds.len(), KINDS.len());
        for (unit, kind) in (1..).zip(KINDS) {
            let expected = KindCounts { reported: 7 * unit, first: unit, outcomes: four(unit) };
            assert_eq!(kinds[&kind], expected);
        }
    }

    #[test]
    fn names_beyond_the_table_share_the_last() {
        let counts = FailureCounts::default();
        let names: Vec<&'static str> =
            (0..NAMES + 5).map(|at| &*String::leak(alloc::format!("name {at}"))).collect();
        for name in &names {
            counts.end(name, FailureKind::Found, Outcome::Recovered);
        }
        let by_name = counts.by_name();
        assert_eq!(by_name.len(), NAMES);
        for (at, name) in names.iter().enumerate().take(NAMES) {
            assert_eq!(by_name[name].recovered, if at == NAMES - 1 { 6 } else { 1 }, "{name}");
        }
        // Ends are shown with the reports of their kind.
        assert!(counts.by_kind().is_empty(), "nothing was reported");
    }
}
