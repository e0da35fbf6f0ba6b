//! What can be wrong with a number, a kind or an owner.

/// Why there is no such order, block or range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// Orders end at 63.
    #[error("order {order} is above 63")]
    OrderTooLarge {
        /// What was asked.
        order: u32,
    },
    /// A range or size of nothing.
    #[error("the range is empty")]
    Empty,
    /// A block's base is no multiple of its size.
    #[error("granule {granule:#x} is no multiple of 2^{order}")]
    Misaligned {
        /// The base that was given.
        granule: u64,
        /// The order that was asked.
        order: u32,
    },
    /// A resource has at most 2^63 granules of index space.
    #[error("granule {granule:#x} is outside the index space of 2^63 granules")]
    OutsideIndexSpace {
        /// The index that was given.
        granule: u64,
    },
}
