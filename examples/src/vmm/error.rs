//! Why a run could not begin.

use benches::trace::TraceError;
use std::io;

/// Why there was no run. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmmError {
    /// The trace cannot be read.
    #[error(transparent)]
    Unreadable(TraceError),
    /// The trace is none.
    #[error("trace {path}: {source}")]
    Trace {
        /// The file that was asked for.
        path: String,
        /// What is wrong with it.
        source: TraceError,
    },
    /// The trace holds nothing to replay.
    #[error("trace {path}: no records to replay")]
    Empty {
        /// The file that was asked for.
        path: String,
    },
    /// Its blocks need more memory than there is.
    #[error("the trace needs {needed} MiB of memory, {available} MiB are available")]
    TooLarge {
        /// What would be touched at the peak, and the tables, in MiB.
        needed: u64,
        /// What the system or the caller offers, in MiB.
        available: u64,
    },
    /// Its blocks need more addresses than a mapping can have.
    #[error("the trace needs an arena of {granules} granules of {granule} bytes, too large to map")]
    Unmappable {
        /// The size of the arena.
        granules: u128,
        /// Bytes of a granule.
        granule: u64,
    },
    /// 1 to 64 guests.
    #[error("{guests} guests were asked for, 1 to 64 are possible")]
    Guests {
        /// What was asked.
        guests: usize,
    },
    /// The system refused memory.
    #[error("cannot set up guest memory of {bytes} bytes: {source}")]
    Memory {
        /// The length of the memfd.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused the swap file, or the room for it.
    #[error("swap file {path} of {bytes} bytes: {source}")]
    Swap {
        /// The file.
        path: String,
        /// Its length.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// potad refused the resources.
    #[error("cannot register the resources: {0}")]
    Potad(#[from] potad::Error),
    /// The reporter or its driver refused the memory.
    #[error("cannot report free memory: {reason}")]
    Reporting {
        /// What was refused.
        reason: String,
    },
}
