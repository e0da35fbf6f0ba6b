//! Where the memory of a resource is.
//!
//! ```text
//!  resource   |----region 0----|        |--region 1--|
//!  memory     ^ base 0                  ^ base 1
//! ```
//!
//! # What always holds
//!
//! Regions are sorted by where they begin in the resource and do not overlap
//! there. So the pieces of a range are found by one binary search and a walk,
//! and a range is covered if the pieces follow one another without a gap.

#[cfg(all(any(feature = "madvise", feature = "memfd"), target_os = "linux"))]
use crate::driver::Fault;
use crate::range::ByteRange;
#[cfg(all(any(feature = "madvise", feature = "memfd"), target_os = "linux"))]
use crate::range::Outcome;
use alloc::vec::Vec;

/// A stretch of a resource, and what is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region<B> {
    /// In the resource's units.
    pub at: ByteRange,
    /// Where its first byte is: an address, a file offset.
    pub base: B,
}

/// Why a set of regions is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// Two regions share an address of the resource.
    #[error("the regions at {first:#x} and {second:#x} overlap")]
    Overlap {
        /// Where one begins.
        first: u64,
        /// Where the other begins.
        second: u64,
    },
}

/// Why a piece was not discarded.
#[cfg(all(any(feature = "madvise", feature = "memfd"), target_os = "linux"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not now.
    Declined,
    /// It could not be.
    Failed(Fault),
}

#[cfg(all(any(feature = "madvise", feature = "memfd"), target_os = "linux"))]
impl Refusal {
    /// The outcome of the range; what went wrong is noted.
    pub(super) fn outcome(self, last_fault: &mut Option<Fault>) -> Outcome {
        match self {
            Self::Declined => Outcome::Declined,
            Self::Failed(fault) => {
                *last_fault = Some(fault);
                Outcome::Failed
            }
        }
    }
}

/// A set of regions.
#[derive(Clone, Debug)]
pub struct Regions<B> {
    sorted: Vec<Region<B>>,
}

impl<B: Copy> Regions<B> {
    /// The set, or the first two that overlap.
    pub fn new(regions: impl IntoIterator<Item = Region<B>>) -> Result<Self, RegionError> {
        let mut sorted: Vec<_> = regions.into_iter().collect();
        sorted.sort_unstable_by_key(|region| region.at.first());
        let clash = sorted.windows(2).find(|pair| pair[0].at.overlaps(pair[1].at));
        if let Some(pair) = clash {
            let (first, second) = (pair[0].at.first(), pair[1].at.first());
            return Err(RegionError::Overlap { first, second });
        }
        Ok(Self { sorted })
    }

    /// All of them, by address.
    pub fn iter(&self) -> impl Iterator<Item = &Region<B>> {
        self.sorted.iter()
    }

    /// The first address of `range` that is in no region.
    pub fn first_outside(&self, range: ByteRange) -> Option<u64> {
        let mut next = range.first();
        for (_, piece, _) in self.pieces(range) {
            if piece.first() != next {
                return Some(next);
            }
            if piece.last() == range.last() {
                return None;
            }
            next = piece.last() + 1;
        }
        Some(next)
    }

    /// Refuses a range that is not whole pages (a discard would reach past it),
    /// or not all in the regions.
    #[cfg(all(any(feature = "madvise", feature = "memfd"), target_os = "linux"))]
    pub(super) fn check(&self, range: ByteRange, page_bytes: u64) -> Result<(), Refusal> {
        if !(range.first() | range.bytes()).is_multiple_of(page_bytes) {
            return Err(Refusal::Failed(Fault::Driver("a range of broken pages")));
        }
        match self.first_outside(range) {
            Some(first) => Err(Refusal::Failed(Fault::Outside { first })),
            None => Ok(()),
        }
    }

    /// The first region that begins, or whose memory begins at `base`, within a
    /// page.
    #[cfg(all(feature = "madvise", target_os = "linux"))]
    pub(super) fn first_misaligned(
        &self,
        page_bytes: u64,
        base: impl Fn(B) -> u64,
    ) -> Option<ByteRange> {
        let at = |region: &Region<B>| region.at.first() | base(region.base) | region.at.bytes();
        let misaligned = |region: &&Region<B>| !at(region).is_multiple_of(page_bytes);
        self.sorted.iter().find(misaligned).map(|region| region.at)
    }

    /// The parts of `range` that lie in a region: what is behind the region,
    /// the part, and the part's offset in the region.
    pub fn pieces(&self, range: ByteRange) -> impl Iterator<Item = (B, ByteRange, u64)> {
        let from = self.sorted.partition_point(|region| region.at.last() < range.first());
        let touched = self.sorted[from..].iter();
        touched.map_while(move |region| {
            let part = region.at.intersection(range)?;
            Some((region.base, part, part.first() - region.at.first()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn range(first: u64, bytes: u64) -> ByteRange {
        ByteRange::new(first, bytes).unwrap()
    }

    fn region(first: u64, bytes: u64, base: u64) -> Region<u64> {
        Region { at: range(first, bytes), base }
    }

    #[test]
    fn a_range_is_cut_at_the_borders() {
        let regions = Regions::new([region(200, 50, 7000), region(100, 100, 3000)]).unwrap();
        let pieces: Vec<_> = regions.pieces(range(150, 100)).collect();
        assert_eq!(pieces, vec![(3000, range(150, 50), 50), (7000, range(200, 50), 0)]);
        assert_eq!(regions.first_outside(range(150, 100)), None);
        assert_eq!(regions.first_outside(range(150, 101)), Some(250));
        assert_eq!(regions.first_outside(range(99, 2)), Some(99));
        assert_eq!(regions.first_outside(range(300, 1)), Some(300));
    }

    /// Every range of some addresses, against a look at each of its addresses.
    #[test]
    fn each_address_of_a_range_is_in_the_piece_of_its_region_or_outside() {
        for origin in [0, u64::MAX - 59] {
            let there = [(10, 10, 7000), (20, 5, 3000), (30, 1, 100), (40, 20, 0)];
            let at = |first, bytes| range(origin + first, bytes);
            let regions =
                Regions::new(there.map(|(first, bytes, base)| region(origin + first, bytes, base)))
                    .unwrap();
            let behind = |address: u64| {
                let around = |&&(first, bytes, _): &&(u64, u64, u64)| {
                    (first..first + bytes).contains(&address)
                };
                there.iter().find(around).map(|(first, _, base)| (*base, address - first))
            };
            for (first, last) in (0..60).flat_map(|first| (first..60).map(move |to| (first, to))) {
                let asked = at(first, last - first + 1);
                let mut found = Vec::new();
                for (base, piece, offset) in regions.pieces(asked) {
                    let addresses = piece.first() - origin..=piece.last() - origin;
                    found.extend(addresses.zip(offset..).map(|(at, offset)| (at, (base, offset))));
                }
                let expected: Vec<_> =
                    (first..=last).filter_map(|at| Some((at, behind(at)?))).collect();
                assert_eq!(found, expected, "{asked:?}");
                let outside = (first..=last).find(|&address| behind(address).is_none());
                assert_eq!(regions.first_outside(asked), outside.map(|at| origin + at));
            }
        }
    }

    #[test]
    fn holes_are_outside() {
        let regions = Regions::new([region(0, 8, 0), region(16, 8, 0)]).unwrap();
        assert_eq!(regions.first_outside(range(0, 24)), Some(8));
        assert_eq!(regions.first_outside(range(16, 8)), None);
    }

    #[cfg(all(feature = "madvise", target_os = "linux"))]
    #[test]
    fn ranges_of_broken_pages_and_foreign_ones_are_refused() {
        let regions = Regions::new([region(0, 64, 128)]).unwrap();
        assert_eq!(regions.check(range(16, 32), 16), Ok(()));
        let broken = Refusal::Failed(Fault::Driver("a range of broken pages"));
        assert_eq!(regions.check(range(16, 8), 16), Err(broken));
        let outside = Refusal::Failed(Fault::Outside { first: 64 });
        assert_eq!(regions.check(range(48, 32), 16), Err(outside));
        let mut fault = None;
        assert_eq!(outside.outcome(&mut fault), Outcome::Failed);
        assert_eq!(fault, Some(Fault::Outside { first: 64 }));
        assert_eq!(regions.first_misaligned(128, |base| base), Some(range(0, 64)));
        assert_eq!(regions.first_misaligned(64, |base| base), None);
    }

    #[test]
    fn overlapping_regions_are_refused() {
        let refused = Regions::new([region(8, 8, 0), region(0, 9, 0)]).unwrap_err();
        assert_eq!(refused, RegionError::Overlap { first: 0, second: 8 });
    }
}
