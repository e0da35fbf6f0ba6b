//! What the allocator refuses, and why.

use alloc::alloc::{Layout, handle_alloc_error};
use memdesc::{Granules, Order};

/// Memory for the allocator's own tables is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfMemory;

/// Ends the process, as `Arc::new` does without memory: for calls that cannot
/// refuse.
#[cold]
pub(crate) fn end_without_memory_for<T>() -> ! {
    handle_alloc_error(Layout::new::<T>())
}

/// Why a call was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No block of this order is free; said only after every hand was looked
    /// into and nothing was in transit.
    #[error("no free block of order {order}")]
    Exhausted {
        /// What was asked.
        order: Order,
    },
    /// No span of the resource could hold such a block even if all were free.
    #[error("order {order} is larger than the resource can ever hold ({largest})")]
    OrderTooLarge {
        /// What was asked.
        order: Order,
        /// The largest order that fits into a span.
        largest: Order,
    },
    /// A size of nothing, or a size above `1 << 63` granules.
    #[error("a request of {units} units is no size")]
    NoSize {
        /// What was asked, in the resource's units.
        units: u64,
    },
    /// An alignment is a power of two and at least one granule.
    #[error("{units} is no alignment for granules of {granule}")]
    NoAlignment {
        /// What was asked, in the resource's units.
        units: u64,
        /// Units per granule.
        granule: u64,
    },
    /// No block of this order is free within a range; said only after every hand
    /// was looked into.
    #[error("no free block of order {order} within {first:#x}..={last:#x}")]
    ExhaustedWithin {
        /// What was asked.
        order: Order,
        /// First unit of the range.
        first: u64,
        /// Last unit of the range.
        last: u64,
    },
    /// No run of adjacent free blocks within a range is that long.
    #[error("no {granules} adjacent free granules within {first:#x}..={last:#x}")]
    NoRunWithin {
        /// What was asked.
        granules: u64,
        /// First unit of the range.
        first: u64,
        /// Last unit of the range.
        last: u64,
    },
    /// No granule of the resource lies wholly within a range.
    #[error("no granule of the resource is within {first:#x}..={last:#x}")]
    NothingWithin {
        /// First unit of the range.
        first: u64,
        /// Last unit of the range.
        last: u64,
    },
    /// What is to shrink keeps no more than it has.
    #[error("{granules} granules cannot shrink to {asked}")]
    NoShrink {
        /// What was asked, in granules.
        asked: u64,
        /// What it has.
        granules: u64,
    },
    /// No run of adjacent free blocks is that long.
    #[error("no {granules} adjacent free granules")]
    NoRun {
        /// What was asked.
        granules: u64,
    },
    /// Some granule of an exact request is not free.
    #[error("granules {asked} are not all free")]
    NotFree {
        /// What was asked.
        asked: Granules,
    },
    /// Memory for the allocator's own tables is out.
    #[error("memory for the allocator's tables is out")]
    OutOfMemory,
    /// A queue of no events.
    #[error("a queue with room for {asked} events holds none")]
    NoCapacity {
        /// What was asked.
        asked: usize,
    },
    /// An empty span.
    #[error("the span {first:#x}..{end:#x} is empty")]
    EmptySpan {
        /// First unit.
        first: u64,
        /// The unit past the last.
        end: u64,
    },
    /// A span's ends are no multiples of the granule.
    #[error("the span {first:#x}..={last:#x} is not made of granules of {granule}")]
    MisalignedSpan {
        /// First unit.
        first: u64,
        /// Last unit.
        last: u64,
        /// Units per granule.
        granule: u64,
    },
    /// A span shares units with one that is there.
    #[error("the span {first:#x}..={last:#x} overlaps {with_first:#x}..={with_last:#x}")]
    Overlap {
        /// First unit of what was asked.
        first: u64,
        /// Last unit of what was asked.
        last: u64,
        /// First unit of what is there.
        with_first: u64,
        /// Last unit of what is there.
        with_last: u64,
    },
    /// A span shares units with one that is being removed.
    #[error(
        "the span {first:#x}..={last:#x} overlaps {with_first:#x}..={with_last:#x}, which is being removed"
    )]
    Removing {
        /// First unit of what was asked.
        first: u64,
        /// Last unit of what was asked.
        last: u64,
        /// First unit of what is being removed.
        with_first: u64,
        /// Last unit of what is being removed.
        with_last: u64,
    },
    /// A span cannot leave the resource before these granules are free.
    #[error("{granules} granules of the span are still held")]
    StillHeld {
        /// How many.
        granules: u64,
    },
    /// A list of no zones.
    #[error("a list of no zones")]
    NoZone,
    /// A list that names a zone twice.
    #[error("the list names resource {zone} twice")]
    ZoneTwice {
        /// The resource.
        zone: u32,
    },
    /// A zone that is not registered with the potad that was asked.
    #[error("resource {zone} is of another potad")]
    NotOfPotad {
        /// The resource.
        zone: u32,
    },
    /// Zones of one list have one granule, so that an order is a size.
    #[error("the list has granules of {first} and of {other} units")]
    MixedGranules {
        /// Units per granule of the first zone.
        first: u64,
        /// Units per granule of another one.
        other: u64,
    },
    /// A nested granule divides the granule of the parent into a power of two
    /// of them, and its blocks of the import order exist.
    #[error(
        "granules of {granule} do not nest in blocks of order {import} of granules of {parent}"
    )]
    NoNesting {
        /// Units per granule, as asked.
        granule: u64,
        /// Units per granule of the parent.
        parent: u64,
        /// The order of the parent's blocks, as asked.
        import: Order,
    },
    /// A granule of no units.
    #[error("a granule of 0 units")]
    NoGranule,
    /// A span leaves the 2^63 granules that one resource can index, or the
    /// reach that it was registered with.
    #[error(
        "the span {first:#x}..={last:#x} leaves the resource's reach {reach_first:#x}..={reach_last:#x}"
    )]
    OutsideReach {
        /// First unit of what was asked.
        first: u64,
        /// Last unit of what was asked.
        last: u64,
        /// First unit that the resource can hold.
        reach_first: u64,
        /// Last unit that the resource can hold.
        reach_last: u64,
    },
    /// A resource without a span.
    #[error("a resource without a span")]
    NoSpan,
    /// The block belongs to another resource.
    #[error("the block belongs to resource {found}, not to {asked}")]
    Foreign {
        /// The resource that was asked.
        asked: u32,
        /// The resource that gave the block.
        found: u32,
    },
    /// The block, or a part of it, is free already.
    #[error("granules {asked} are free already")]
    DoubleFree {
        /// What was given back.
        asked: Granules,
    },
    /// An address outside every span.
    #[error("address {address:#x} is outside the resource")]
    Outside {
        /// What was asked, in the resource's units.
        address: u64,
    },
    /// An address that no block of this order starts at.
    #[error("address {address:#x} is no base of a block of order {order}")]
    NoBlock {
        /// What was asked, in the resource's units.
        address: u64,
        /// The order that was asked.
        order: Order,
    },
    /// A single granule has no halves.
    #[error("a single granule cannot be split")]
    NoHalves,
    /// The largest order has no buddy to be joined with.
    #[error("a block of order {order} has no buddy")]
    NoBuddy {
        /// What was asked.
        order: Order,
    },
    /// The lookup tree refused the block's word.
    #[error("the lookup tree refused: {0}")]
    Lookup(lookup::LookupError),
    /// A kind of descriptor was refused.
    #[error("the kind was refused: {0}")]
    Kind(memdesc::KindError),
    /// An owner was refused.
    #[error("the owner was refused: {0}")]
    Owner(memdesc::OwnerError),
    /// Only what was injected is ever unpoisoned.
    #[error("the units {first:#x}..={last:#x} failed in earnest")]
    NotInjected {
        /// First unit of the failed range.
        first: u64,
        /// Last unit of it.
        last: u64,
    },
    /// A poisoned range to be taken over is not made of the resource's lines.
    #[error("the poisoned units {first:#x}..={last:#x} are not made of lines of {line}")]
    MisalignedPoison {
        /// First unit.
        first: u64,
        /// Last unit.
        last: u64,
        /// Units per line.
        line: u64,
    },
    /// A span shares units with a range that an owner has claimed.
    #[error(
        "the span {first:#x}..={last:#x} overlaps {with_first:#x}..={with_last:#x}, claimed as {name}"
    )]
    Claimed {
        /// First unit of what was asked.
        first: u64,
        /// Last unit of what was asked.
        last: u64,
        /// First unit of what is claimed.
        with_first: u64,
        /// Last unit of what is claimed.
        with_last: u64,
        /// What it was claimed as.
        name: &'static str,
    },
    /// A report granule is between one granule and the largest block.
    #[error("a report granule of order {order} does not fit orders 0 to {largest}")]
    NoReportGranule {
        /// What was asked.
        order: Order,
        /// The largest order that fits into a span.
        largest: Order,
    },
    /// A resource is reported from once.
    #[error("a reporter is attached to the resource already")]
    ReporterAttached,
}

impl From<OutOfMemory> for Error {
    fn from(OutOfMemory: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// A refused call that took something by value: here it is back.
pub struct Refused<B> {
    /// What was given.
    pub given: B,
    /// Why it was refused.
    pub why: Error,
}

impl<B> core::fmt::Display for Refused<B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.why.fmt(f)
    }
}

impl<B> core::fmt::Debug for Refused<B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Refused").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<B> core::error::Error for Refused<B> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        Some(&self.why)
    }
}
