//! The granule: the smallest unit of one resource, by index.

use core::fmt;

/// Index of a granule within its resource, below `1 << 63`.
///
/// What a granule is (512 bytes, a 4 KiB frame, one swap slot) the resource
/// says; index arithmetic is the same for all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Granule(pub u64);

/// A resource has at most this many granules of index space.
pub const MAX_GRANULES: u64 = 1 << 63;

impl Granule {
    /// The granule `count` further up, or `None` past the index space.
    pub const fn checked_add(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(at) if at < MAX_GRANULES => Some(Self(at)),
            _ => None,
        }
    }
}

impl fmt::Debug for Granule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{:#x}", self.0)
    }
}

impl fmt::Display for Granule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// An inclusive, never empty range of granules: `first..=last`.
///
/// Inclusive, so that the last granule of the index space needs no `1 << 64`.
///
/// ```
/// use potad_memdesc::{Granule, Granules};
///
/// let range = Granules::new(Granule(4), Granule(9))?;
/// assert_eq!(range.count(), 6);
/// let blocks: Vec<_> = range.cover().map(|b| (b.base().0, b.order().get())).collect();
/// assert_eq!(blocks, [(4, 2), (8, 1)]);
/// # Ok::<(), potad_memdesc::GeometryError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Granules {
    first: Granule,
    last: Granule,
}

impl Granules {
    /// Returns `first..=last`; refuses an empty range and one that leaves the
    /// index space.
    pub const fn new(first: Granule, last: Granule) -> Result<Self, crate::GeometryError> {
        if first.0 > last.0 {
            return Err(crate::GeometryError::Empty);
        }
        if last.0 >= MAX_GRANULES {
            return Err(crate::GeometryError::OutsideIndexSpace { granule: last.0 });
        }
        Ok(Self { first, last })
    }

    /// The first granule.
    #[inline]
    pub const fn first(self) -> Granule {
        self.first
    }

    /// The last granule, which belongs to the range.
    #[inline]
    pub const fn last(self) -> Granule {
        self.last
    }

    /// The number of granules, `1..=1 << 63`.
    pub const fn count(self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    /// Whether `at` lies inside.
    pub const fn contains(self, at: Granule) -> bool {
        self.first.0 <= at.0 && at.0 <= self.last.0
    }

    /// Whether every granule of `other` lies inside.
    pub const fn covers(self, other: Self) -> bool {
        self.first.0 <= other.first.0 && other.last.0 <= self.last.0
    }

    /// Whether the two share a granule.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first.0 <= other.last.0 && other.first.0 <= self.last.0
    }

    /// The shared part, if any.
    pub fn intersection(self, other: Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Self { first, last })
    }

    /// The fewest blocks that make up the range, in address order: at most
    /// two per order.
    pub fn cover(self) -> Cover {
        Cover { rest: Some(self) }
    }
}

impl fmt::Debug for Granules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{:#x}..={:#x}", self.first.0, self.last.0)
    }
}

impl fmt::Display for Granules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..={:#x}", self.first.0, self.last.0)
    }
}

/// The blocks of [`Granules::cover`].
#[derive(Clone, Debug)]
pub struct Cover {
    rest: Option<Granules>,
}

impl Iterator for Cover {
    type Item = crate::Block;

    fn next(&mut self) -> Option<crate::Block> {
        let rest = self.rest?;
        let aligned = crate::Order::alignment_of(rest.first.0).get();
        // The largest power of two that fits: floor(log2(count)).
        let fits = 63 - rest.count().leading_zeros();
        let order = crate::Order::new(aligned.min(fits)).ok()?;
        let block = crate::Block::new(rest.first, order).ok()?;
        self.rest = match block.last() {
            last if last == rest.last => None,
            last => Some(Granules { first: Granule(last.0 + 1), last: rest.last }),
        };
        Some(block)
    }
}
