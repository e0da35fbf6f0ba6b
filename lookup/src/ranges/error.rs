//! What can be wrong with a change of a range map.

use super::Addresses;

/// Why a range map refused, with what was asked and what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangesError {
    /// A range ends before it begins.
    #[error("the range {first:#x}..={last:#x} is empty")]
    Empty {
        /// The first address that was given.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// A range of no addresses, or one that leaves the 2^64.
    #[error("there are no {count} addresses from {first:#x} up")]
    Wraps {
        /// The first address that was given.
        first: u64,
        /// How many were asked.
        count: u64,
    },
    /// Something is there. Nothing was changed.
    #[error("{asked} overlaps {found}")]
    Overlap {
        /// What was asked.
        asked: Addresses,
        /// The range in the way.
        found: Addresses,
    },
    /// Ranges to be built from are not in order of address.
    #[error("{next} does not come after {before}")]
    Unsorted {
        /// A range.
        before: Addresses,
        /// The one given after it.
        next: Addresses,
    },
    /// No memory for a node. Nothing was changed.
    #[error("out of memory for the nodes of {asked}")]
    OutOfMemory {
        /// What was asked.
        asked: Addresses,
    },
    /// The value is counted as often as it can be, and the change would have
    /// needed one more piece of it. Nothing was changed.
    #[error("there are no more references to a value for {asked}")]
    TooManyUnits {
        /// What was asked.
        asked: Addresses,
    },
    /// A payload has 63 bits.
    #[error("the payload {payload:#x} is not below 2^63")]
    PayloadTooLarge {
        /// What was given.
        payload: u64,
    },
    /// [`validate`](crate::Ranges::validate): a node that no change makes.
    #[error("the node of {at} is not as it must be: {why}")]
    Inconsistent {
        /// The addresses that the node stands for.
        at: Addresses,
        /// What is wrong.
        why: &'static str,
    },
}
