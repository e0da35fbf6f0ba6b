//! The range of addresses: inclusive, so that 2^64 - 1 is an address too.

use super::RangesError;
use core::fmt;
use memdesc::Granules;

/// An inclusive, never empty range of addresses: `first..=last`, anywhere in
/// the 2^64.
///
/// What an address counts (bytes, pages, packets) is the map's business.
///
/// ```
/// use potad_lookup::Addresses;
///
/// let page = Addresses::new(0x1000, 0x1fff)?;
/// assert_eq!(page.count(), 0x1000);
/// assert_eq!(Addresses::starting(0x1000, 0x1000)?, page);
/// assert!(page.contains(0x1fff) && !page.contains(0x2000));
/// assert_eq!(Addresses::ALL.count(), 1 << 64);
/// assert!(Addresses::new(1, 0).is_err());
/// # Ok::<(), potad_lookup::RangesError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addresses {
    first: u64,
    last: u64,
}

impl Addresses {
    /// Every address there is.
    pub const ALL: Self = Self { first: 0, last: u64::MAX };

    /// Returns `first..=last`; refuses a range of nothing.
    pub const fn new(first: u64, last: u64) -> Result<Self, RangesError> {
        if first > last {
            return Err(RangesError::Empty { first, last });
        }
        Ok(Self { first, last })
    }

    /// Returns the `count` addresses from `first` up; refuses none, and more
    /// than there are.
    pub const fn starting(first: u64, count: u64) -> Result<Self, RangesError> {
        let wraps = RangesError::Wraps { first, count };
        match count.checked_sub(1) {
            None => Err(wraps),
            Some(more) => match first.checked_add(more) {
                None => Err(wraps),
                Some(last) => Ok(Self { first, last }),
            },
        }
    }

    /// The range of which `first <= last` is known.
    #[inline]
    pub(super) const fn known(first: u64, last: u64) -> Self {
        debug_assert!(first <= last);
        Self { first, last }
    }

    /// The first address.
    #[inline]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The last address, which belongs to the range.
    #[inline]
    pub const fn last(self) -> u64 {
        self.last
    }

    /// The number of addresses, `1..=1 << 64`.
    pub const fn count(self) -> u128 {
        self.last as u128 - self.first as u128 + 1
    }

    /// Whether `at` lies inside.
    #[inline]
    pub const fn contains(self, at: u64) -> bool {
        self.first <= at && at <= self.last
    }

    /// Whether every address of `other` lies inside.
    #[inline]
    pub const fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Whether the two share an address.
    #[inline]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The shared part, if any.
    #[inline]
    pub fn intersection(self, other: Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Self { first, last })
    }

    /// What lies in `self` before `other`, if anything.
    #[inline]
    pub(super) fn before(self, other: Self) -> Option<Self> {
        let last = other.first.checked_sub(1)?.min(self.last);
        (self.first <= last).then_some(Self { first: self.first, last })
    }

    /// What lies in `self` after `other`, if anything.
    #[inline]
    pub(super) fn after(self, other: Self) -> Option<Self> {
        let first = other.last.checked_add(1)?.max(self.first);
        (first <= self.last).then_some(Self { first, last: self.last })
    }
}

impl From<Granules> for Addresses {
    fn from(range: Granules) -> Self {
        Self::known(range.first().0, range.last().0)
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..={:#x}", self.first, self.last)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn parts_before_and_after_make_up_the_rest() {
        let ends = [0, 1, 2, 5, u64::MAX - 1, u64::MAX];
        let ranges = || {
            let pairs = ends.into_iter().flat_map(|first| ends.map(|last| (first, last)));
            pairs.filter_map(|(first, last)| Addresses::new(first, last).ok())
        };
        for (whole, cut) in ranges().flat_map(|whole| ranges().map(move |cut| (whole, cut))) {
            let parts = [whole.before(cut), whole.intersection(cut), whole.after(cut)];
            let sum: u128 = parts.into_iter().flatten().map(Addresses::count).sum();
            assert_eq!(sum, whole.count(), "{whole} cut by {cut}");
            assert_eq!(parts[1].is_some(), whole.overlaps(cut));
        }
        assert!(Addresses::starting(u64::MAX, 2).is_err() && Addresses::starting(7, 0).is_err());
        assert_eq!(Addresses::starting(u64::MAX, 1).unwrap().last(), u64::MAX);
    }
}
