//! What can be wrong with a policy, a driver's caps or a region.

/// Why there is no such reporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportingError {
    /// A batch has 1 to 256 blocks.
    #[error("a batch of {blocks} blocks was asked, 1 to 256 are allowed")]
    Batch {
        /// What was asked.
        blocks: usize,
    },
    /// More than all of it.
    #[error("a jitter of {percent} percent was asked, at most 100 are allowed")]
    Jitter {
        /// What was asked.
        percent: u32,
    },
    /// Nothing could be taken.
    #[error("the largest piece is 0 bytes")]
    NoPiece,
    /// A device could have nothing.
    #[error("a device may have 0 blocks")]
    NoFlight,
    /// Every pass is the most patient there is.
    #[error("a patience of 0 passes was asked, at least 1 is needed")]
    NoPatience,
    /// Passes, or looks, without a pause between them.
    #[error("the interval or the poll time is 0")]
    NoInterval,
    /// The first wait is the shortest.
    #[error("the first wait of {first} ns is above the longest of {longest} ns")]
    Backoff {
        /// The first.
        first: u64,
        /// The longest.
        longest: u64,
    },
    /// One to four rules, of at least one byte and every pass or rarer.
    #[error("there must be one to four rules, none with a zero in it")]
    Rules,
    /// The driver says what cannot be.
    #[error("the driver's caps contradict themselves")]
    Caps,
    /// A policy for the one, a source of the other.
    #[error("a policy for {policy:?} was asked of a source of {origin:?}")]
    Mode {
        /// The policy's.
        policy: crate::Mode,
        /// The source's.
        origin: crate::Mode,
    },
    /// The source has granules of no bytes.
    #[error("the source has granules of 0 bytes")]
    NoGranule,
    /// No block is small enough for the one and large enough for the other.
    #[error("blocks of at least {min_bytes} bytes were asked, and at most {max_bytes} fit")]
    NoOrder {
        /// From the rules and the driver's caps.
        min_bytes: u64,
        /// From the policy's piece and the driver's caps.
        max_bytes: u64,
    },
}
