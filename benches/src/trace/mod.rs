//! Recorded traces: what a real program asked of a real allocator.
//!
//! # Picture
//!
//! ```text
//!  *.pot.zst, decompressed                      *.rng.zst, decompressed
//! +---------------------------+                +---------------------------+
//! | header, 64 bytes: POTTRC1 |                | header, 64 bytes: POTRNG1 |
//! +---------------------------+                +---------------------------+
//! | record, 16 bytes          |                | record, 24 bytes          |
//! |  id, op, CPU, order,      |                |  start, pages, space,     |
//! |  thread, dt, arg          |                |  op, flags, dt            |
//! | ...                       |                | ...                       |
//! +---------------------------+                +---------------------------+
//!  a [`Trace`]: blocks by id                    a [`RangeTrace`]: address ranges
//! ```
//!
//! # What always holds
//!
//! A [`Trace`] that exists was checked from end to end: every record names a
//! block that is in the state the record needs, with the order it really has,
//! and every id is below [`Trace::max_ids`]. Whoever replays one needs no
//! check of its own while the clock runs. Bytes that break a rule give a
//! [`TraceError`] with the record's number; none makes the parser panic.
//!
//! # Cost
//!
//! One pass over the bytes, and memory for 20 bytes a record beside the
//! decompressed file. A header that promises more than 2^26 records is refused
//! before anything is allocated for it.

mod bytes;
mod error;
mod facts;
mod parse;
mod range;
mod record;
#[cfg(test)]
mod tests;

pub use error::TraceError;
pub use facts::{CpuEvents, Facts};
pub use parse::Trace;
pub use range::{RangeOp, RangeRecord, RangeTrace};
pub use record::{Kind, Op, Record};
