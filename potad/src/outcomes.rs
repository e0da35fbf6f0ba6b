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
