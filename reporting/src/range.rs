//! What is reported: a range of a resource, in the resource's own units.
//!
//! # What always holds
//!
//! A range is not empty and does not wrap: `first + (bytes - 1)` fits in 64
//! bits, so a range may end at the very last address.

use core::fmt;

/// A range of a resource: an address in the resource's units, and a length.
///
/// ```
/// use potad_reporting::ByteRange;
///
/// let range = ByteRange::new(0x1000, 0x2000).unwrap();
/// assert_eq!(range.last(), 0x2fff);
/// assert!(range.is_followed_by(ByteRange::new(0x3000, 1).unwrap()));
/// assert!(ByteRange::new(u64::MAX, 2).is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteRange {
    first: u64,
    bytes: u64,
}

impl ByteRange {
    /// Returns the range, or `None` if it is empty or wraps.
    pub const fn new(first: u64, bytes: u64) -> Option<Self> {
        if bytes == 0 || first.checked_add(bytes - 1).is_none() {
            return None;
        }
        Some(Self { first, bytes })
    }

    /// The first address.
    #[inline]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The length, at least 1.
    #[inline]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// The last address, inclusive.
    #[inline]
    pub const fn last(self) -> u64 {
        self.first + (self.bytes - 1)
    }

    /// Whether `next` begins where this ends.
    pub const fn is_followed_by(self, next: Self) -> bool {
        next.first != 0 && self.last() == next.first - 1
    }

    /// Whether the two share an address.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last() && other.first <= self.last()
    }

    /// Whether every address of `inner` is here.
    pub const fn contains(self, inner: Self) -> bool {
        self.first <= inner.first && inner.last() <= self.last()
    }

    /// What the two share.
    pub const fn intersection(self, other: Self) -> Option<Self> {
        if !self.overlaps(other) {
            return None;
        }
        let first = if self.first > other.first { self.first } else { other.first };
        let last = if self.last() < other.last() { self.last() } else { other.last() };
        // Neither range covers all 2^64 addresses, so the length fits.
        Some(Self { first, bytes: last - first + 1 })
    }

    /// This range grown by `next`, if it follows and the sum fits in 64 bits.
    pub(crate) const fn joined(self, next: Self) -> Option<Self> {
        if !self.is_followed_by(next) {
            return None;
        }
        match self.bytes.checked_add(next.bytes) {
            Some(bytes) => Some(Self { first: self.first, bytes }),
            None => None,
        }
    }
}

impl fmt::Debug for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}+{:#x}", self.first, self.bytes)
    }
}

/// Names one range of one call to a driver; never used twice by one reporter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Ticket(pub u64);

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

/// What a driver is asked to report: one or more adjacent free blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where.
    pub at: ByteRange,
    /// By which name an asynchronous driver gives it back.
    pub ticket: Ticket,
}

/// What became of one range. A driver sets it; [`NotTried`](Self::NotTried) is
/// the initial value, so that what a driver forgets is not credited.
///
/// | outcome          | the block                      | next try                     |
/// |------------------|--------------------------------|------------------------------|
/// | `NotTried`       | back, not reported             | when the cursor comes by     |
/// | `Reported`       | back, reported                 | after it was used            |
/// | `ReportedZeroed` | back, reported, reads as zero  | after it was used            |
/// | `Declined`       | back, not reported             | after `Policy::decline_ttl`  |
/// | `Failed`         | back, not reported             | after the back-off           |
/// | `Posted`         | stays isolated                 | decided at its completion    |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Outcome {
    /// Nobody looked at it, or nobody said so.
    #[default]
    NotTried,
    /// Its memory is returned; what it reads now is not known.
    Reported,
    /// Its memory is returned, and it reads as zeros until it is written.
    ReportedZeroed,
    /// The device does not want it now (pinned, migrating). No error.
    Declined,
    /// The device tried and could not.
    Failed,
    /// An asynchronous device has it.
    Posted,
}

impl Outcome {
    /// Number of outcomes; each is an index below it.
    pub const COUNT: usize = 6;

    /// Every outcome, by index.
    pub const ALL: [Self; Self::COUNT] = [
        Self::NotTried,
        Self::Reported,
        Self::ReportedZeroed,
        Self::Declined,
        Self::Failed,
        Self::Posted,
    ];

    /// Whether the block's memory was returned.
    pub const fn is_reported(self) -> bool {
        matches!(self, Self::Reported | Self::ReportedZeroed)
    }

    /// A word for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotTried => "not tried",
            Self::Reported => "reported",
            Self::ReportedZeroed => "reported zeroed",
            Self::Declined => "declined",
            Self::Failed => "failed",
            Self::Posted => "posted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, bytes: u64) -> ByteRange {
        ByteRange::new(first, bytes).unwrap()
    }

    #[test]
    fn a_range_may_end_at_the_last_address() {
        let top = range(u64::MAX - 7, 8);
        assert_eq!(top.last(), u64::MAX);
        assert!(ByteRange::new(u64::MAX - 7, 9).is_none());
        assert!(ByteRange::new(5, 0).is_none());
        // No range follows it, not even the one at 0.
        assert!(!top.is_followed_by(range(0, 8)));
    }

    #[test]
    fn ranges_join_only_where_they_touch() {
        assert_eq!(range(0, 8).joined(range(8, 8)), Some(range(0, 16)));
        assert_eq!(range(0, 8).joined(range(9, 8)), None);
        assert_eq!(range(8, 8).joined(range(0, 8)), None);
        assert_eq!(range(0, u64::MAX).joined(range(u64::MAX, 1)), None);
    }

    #[test]
    fn intersections_are_what_both_hold() {
        assert_eq!(range(0, 10).intersection(range(5, 10)), Some(range(5, 5)));
        assert_eq!(range(0, 5).intersection(range(5, 10)), None);
        assert!(range(0, 10).contains(range(9, 1)));
        assert!(!range(0, 10).contains(range(9, 2)));
    }

    #[test]
    fn every_outcome_is_its_own_index() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
    }
}
