//! The poison set: exactly which units have failed.
//!
//! # Picture
//!
//! ```text
//!  units    0x1000            0x2000            0x3000
//!  lines    |  |##|  |  |..   |##|##|##|##|..   |
//!  ranges      0x1040..=0x107f  0x2000..=0x2fff                kept apart, in order, never overlapping
//! ```
//!
//! # What always holds
//!
//! Ranges are made of whole *lines* (64 units, or a granule if it is no multiple
//! of that), and no unit is in two of them: so every line counts once, however
//! often it is reported. A range has one kind, the gravest that was reported for
//! any part of it: *injected* only if all of it always was.
//!
//! # Cost
//!
//! A search by halves; two words and a half per range.

use crate::error::OutOfMemory;
use crate::resource::{IntoSpan, Span};
use crate::sorted::Sorted;
use memdesc::FailureKind;

/// Units of a line, where granules are made of them.
const LINE: u64 = 64;

/// Failed units: test-and-set, to be counted, kept, moved to another machine.
///
/// A zone has one of its own ([`Zone::poison`](crate::Zone::poison) copies it,
/// [`Zone::import_poison`](crate::Zone::import_poison) takes one over). With the
/// feature `serde` it can be written and read; what is read is checked.
///
/// ```
/// use potad::{PoisonSet, memdesc::FailureKind::{Consumed, Injected}};
///
/// let mut set = PoisonSet::new(64)?;
/// assert_eq!(set.insert(0x1040..0x1041, Consumed)?, 64); // a line at least
/// assert_eq!(set.insert(0x1000..0x2000, Injected)?, 4096 - 64); // what is new of it
/// assert_eq!(set.insert(0x1000..0x2000, Injected)?, 0);
/// assert_eq!((set.units(), set.lines(), set.granules(4096)), (4096, 64, 1));
/// assert!(set.contains(0x1fff) && !set.contains(0x2000));
///
/// let copy = PoisonSet::from_ranges(set.line(), set.iter())?;
/// assert!(copy.iter().eq(set.iter()));
/// # Ok::<(), potad::PoisonError>(())
/// ```
#[derive(Clone, Debug)]
pub struct PoisonSet {
    line: u64,
    /// First unit -> the rest.
    ranges: Sorted<Rest>,
    units: u64,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    last: u64,
    kind: FailureKind,
}

/// Adjacent units that failed, and how that came to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoisonedRange {
    /// The units.
    pub span: Span,
    /// The gravest kind reported for any of them.
    pub kind: FailureKind,
}

/// Why a range is no part of a poison set. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoisonError {
    /// A set of lines of no units.
    #[error("a line of no units")]
    NoLine,
    /// An empty range.
    #[error("the range {first:#x}..{end:#x} is empty")]
    Empty {
        /// First unit.
        first: u64,
        /// The unit past the last.
        end: u64,
    },
    /// A range to be taken over begins or ends inside a line.
    #[error("the range {first:#x}..={last:#x} is not made of lines of {line}")]
    Misaligned {
        /// First unit.
        first: u64,
        /// Last unit.
        last: u64,
        /// Units per line.
        line: u64,
    },
    /// Two ranges to be taken over share units.
    #[error("the range {first:#x}..={last:#x} comes twice, in part or whole")]
    Twice {
        /// First unit of the later one.
        first: u64,
        /// Last unit.
        last: u64,
    },
    /// Memory failures that were only corrected leave sound memory.
    #[error("corrected errors poison nothing")]
    Corrected,
    /// Memory is out.
    #[error("memory for the set is out")]
    OutOfMemory,
}

impl From<OutOfMemory> for PoisonError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl PoisonSet {
    /// An empty set of lines of so many units.
    pub fn new(line: u64) -> Result<Self, PoisonError> {
        if line == 0 {
            return Err(PoisonError::NoLine);
        }
        Ok(Self { line, ranges: Sorted::default(), units: 0 })
    }

    /// An empty set for a resource of such granules.
    pub(crate) fn for_granule(granule: u64) -> Self {
        let line = if granule.is_multiple_of(LINE) { LINE } else { granule };
        Self { line, ranges: Sorted::default(), units: 0 }
    }

    /// A set of these ranges, which are whole lines and do not overlap.
    pub fn from_ranges(
        line: u64,
        ranges: impl IntoIterator<Item = PoisonedRange>,
    ) -> Result<Self, PoisonError> {
        let mut set = Self::new(line)?;
        for PoisonedRange { span: Span { first, last }, kind } in ranges {
            if first > last {
                return Err(PoisonError::Empty { first, end: last });
            }
            // Not `last + 1`: the last unit of all there are may be in it.
            if !first.is_multiple_of(line) || (last - first) % line != line - 1 {
                return Err(PoisonError::Misaligned { first, last, line });
            }
            if set.first_in(Span { first, last }).is_some() {
                return Err(PoisonError::Twice { first, last });
            }
            set.insert(first..=last, kind)?;
        }
        Ok(set)
    }

    /// Adds every line that has a unit of the span; returns how many units are
    /// new.
    pub fn insert(&mut self, span: impl IntoSpan, kind: FailureKind) -> Result<u64, PoisonError> {
        let span = span.into_span().map_err(|why| match why {
            crate::Error::EmptySpan { first, end } => PoisonError::Empty { first, end },
            _ => PoisonError::OutOfMemory,
        })?;
        if kind == FailureKind::Corrected {
            return Err(PoisonError::Corrected);
        }
        Ok(self.add(span, kind)?)
    }

    /// As [`insert`](Self::insert). All of it or nothing: one entry for each part
    /// that is new, and those are at hand before the first is made.
    pub(crate) fn add(&mut self, span: Span, kind: FailureKind) -> Result<u64, OutOfMemory> {
        let span = self.whole_lines(span);
        let gaps = 1 + self.overlapping(span).count();
        if !self.ranges.has_room(gaps) {
            self.ranges.refill(gaps)?;
        }
        let (mut new, mut from) = (0, Some(span.first));
        while let Some(first) = from.filter(|&first| first <= span.last) {
            let next = self.overlapping(Span { first, last: span.last }).next();
            let Some(PoisonedRange { span: there, kind: before }) = next else {
                new += self.put(first, span.last, kind)?;
                break;
            };
            if there.first > first {
                new += self.put(first, there.first - 1, kind)?;
            }
            if let Some(rest) = self.ranges.get_mut(there.first) {
                rest.kind = graver(before, kind);
            }
            from = there.last.checked_add(1);
        }
        Ok(new)
    }

    fn put(&mut self, first: u64, last: u64, kind: FailureKind) -> Result<u64, OutOfMemory> {
        self.ranges.insert(first, Rest { last, kind })?;
        let units = (last - first).saturating_add(1);
        self.units = self.units.saturating_add(units);
        Ok(units)
    }

    /// Gets ready for so many insertions.
    pub(crate) fn refill(&mut self, ranges: usize) -> Result<(), OutOfMemory> {
        self.ranges.refill(ranges)
    }

    /// Whether enough insertions need no memory.
    pub(crate) fn is_ready(&self) -> bool {
        self.ranges.is_ready()
    }

    /// Takes out the ranges that begin in a span.
    pub(crate) fn remove(&mut self, span: Span) {
        loop {
            let next = self.ranges.from(span.first).next();
            let Some((first, rest)) = next.filter(|&(first, _)| first <= span.last) else { return };
            self.ranges.remove(first);
            self.units = self.units.saturating_sub((rest.last - first).saturating_add(1));
        }
    }

    /// Units per line.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Units that failed, each once.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// Lines that failed, each once.
    pub fn lines(&self) -> u64 {
        self.units / self.line
    }

    /// Granules of so many units with a line that failed, each once. Walks the
    /// set.
    pub fn granules(&self, granule: u64) -> u64 {
        let Some(granule) = core::num::NonZeroU64::new(granule) else { return 0 };
        let (mut count, mut next) = (0, 0);
        for PoisonedRange { span, .. } in self.iter() {
            let (first, last) = ((span.first / granule).max(next), span.last / granule);
            if first <= last {
                count = (last - first).saturating_add(1).saturating_add(count);
                next = last.saturating_add(1);
            }
        }
        count
    }

    /// Ranges in the set.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether nothing has failed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a unit has failed.
    pub fn contains(&self, unit: u64) -> bool {
        self.first_in(Span { first: unit, last: unit }).is_some()
    }

    /// The first range that shares a unit with the span.
    pub fn first_in(&self, span: Span) -> Option<PoisonedRange> {
        self.overlapping(span).next()
    }

    /// The ranges, in the order of their units.
    pub fn iter(&self) -> impl Iterator<Item = PoisonedRange> + '_ {
        self.ranges.from(0).map(range)
    }

    /// The ranges that share a unit with the span, in order.
    pub fn overlapping(&self, span: Span) -> impl Iterator<Item = PoisonedRange> + '_ {
        let before = self.ranges.before(span.first).filter(|(_, rest)| rest.last >= span.first);
        let inside = self.ranges.from(span.first).take_while(move |&(first, _)| first <= span.last);
        before.into_iter().chain(inside).map(range)
    }

    fn whole_lines(&self, span: Span) -> Span {
        let first = span.first - span.first % self.line;
        let last = (span.last - span.last % self.line).saturating_add(self.line - 1);
        Span { first, last }
    }
}

fn range((first, Rest { last, kind }): (u64, Rest)) -> PoisonedRange {
    PoisonedRange { span: Span { first, last }, kind }
}

/// What counts of two kinds: that memory was read bad before that it may be,
/// and anything before a test.
fn graver(one: FailureKind, other: FailureKind) -> FailureKind {
    let rank = |kind| match kind {
        FailureKind::Consumed => 4,
        FailureKind::Found => 3,
        FailureKind::Predicted => 2,
        FailureKind::Corrected => 1,
        FailureKind::Injected => 0,
    };
    if rank(one) >= rank(other) { one } else { other }
}

#[cfg(feature = "serde")]
mod form {
    //! As text: lines, and ranges as `[first, last, kind]`.

    use super::{PoisonError, PoisonSet, PoisonedRange, Span};
    use alloc::vec::Vec;
    use memdesc::FailureKind;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    #[derive(Serialize, Deserialize)]
    struct Form {
        line: u64,
        ranges: Vec<(u64, u64, Kind)>,
    }

    #[derive(Clone, Copy, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase", remote = "FailureKind")]
    enum KindForm {
        Consumed,
        Found,
        Predicted,
        Corrected,
        Injected,
    }

    #[derive(Clone, Copy, Serialize, Deserialize)]
    struct Kind(#[serde(with = "KindForm")] FailureKind);

    impl Serialize for PoisonSet {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let flat = |range: PoisonedRange| (range.span.first, range.span.last, Kind(range.kind));
            Form { line: self.line, ranges: self.iter().map(flat).collect() }.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for PoisonSet {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let form = Form::deserialize(deserializer)?;
            let range =
                |(first, last, Kind(kind))| PoisonedRange { span: Span { first, last }, kind };
            let set = Self::from_ranges(form.line, form.ranges.into_iter().map(range));
            set.map_err(|why: PoisonError| D::Error::custom(why))
        }
    }
}
