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

/// Why a type could not be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KindError {
    /// Kinds are 1 to 31.
    #[error("kind {number} of {name} is outside 1 to 31")]
    OutOfRange {
        /// What was asked.
        number: u8,
        /// The type.
        name: &'static str,
    },
    /// The type has a kind already.
    #[error("{name} is registered already, as kind {number}")]
    Registered {
        /// Its kind.
        number: u8,
        /// The type.
        name: &'static str,
    },
    /// The number belongs to another type.
    #[error("kind {number}, asked for {name}, belongs to {taken_by}")]
    NumberTaken {
        /// What was asked.
        number: u8,
        /// The type that asked.
        name: &'static str,
        /// The type that has it.
        taken_by: &'static str,
    },
    /// All 31 numbers are given out.
    #[error("no kind is left for {name}: 31 are registered")]
    Full {
        /// The type that asked.
        name: &'static str,
    },
}

/// Why an owner could not be registered or unregistered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// Ids are never reused, and all 65,535 are given out.
    #[error("all 65535 owner ids are used up")]
    Exhausted,
    /// No such owner, or no longer.
    #[error("owner {id} is not registered")]
    Unknown {
        /// What was asked.
        id: u16,
    },
    /// The call would wait for the callback it is made from.
    #[error("owner {id} cannot be unregistered inside its own callback")]
    WouldDeadlock {
        /// What was asked.
        id: u16,
    },
}

/// The system gave no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory: {bytes} bytes were asked")]
pub struct OutOfMemory {
    /// What was asked.
    pub bytes: usize,
}
