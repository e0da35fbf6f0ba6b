//! A range trace: what processes did to their address spaces.
//!
//! Same header as a block trace, other magic, records of 24 bytes. Ranges are
//! no powers of two and a map may replace what was there, so there is no state
//! to check beyond each record's own numbers; a map over an existing mapping
//! is part of the workload, not a fault.

use super::TraceError;
use super::bytes::{self, Family, u16_at, u32_at, u64_at};
use std::path::Path;

const RECORD: usize = 24;

/// What happened to the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeOp {
    /// Mapped, in place of whatever of it was mapped. Flags: bits 0 to 2 the
    /// protection, 3 anonymous, 4 the heap's end.
    Map,
    /// Unmapped: may cut a mapping in two, cover several or none. Flag 1: the
    /// old place of a mapping that moved.
    Unmap,
    /// A page fault at the first page. Flag 0: inside a mapping of this trace,
    /// 1: in none.
    Lookup,
    /// The space begins as a copy of this one.
    Fork {
        /// The space that is copied.
        from: u32,
    },
    /// The space becomes empty.
    Clear,
    /// New protection in the flags; the ranges stay.
    Protect,
}

/// One event on a range of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeRecord {
    /// First page; 0 for fork and clear.
    pub start: u64,
    /// Pages; 0 for lookup, fork and clear where the recorder wrote 0.
    pub pages: u32,
    /// Nanoseconds since the record before.
    pub dt_ns: u32,
    /// Which address space.
    pub space: u16,
    /// What the operation says of it.
    pub flags: u8,
    /// What happened.
    pub op: RangeOp,
}

/// A recorded range trace.
#[derive(Debug)]
pub struct RangeTrace {
    spaces: u32,
    duration_ns: u64,
    records: Vec<RangeRecord>,
}

impl RangeTrace {
    /// Reads, decompresses and checks a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TraceError> {
        Self::parse(&bytes::read(path.as_ref())?)
    }

    /// Checks the bytes of a file, compressed or not.
    pub fn parse(bytes: &[u8]) -> Result<Self, TraceError> {
        let (header, body) = bytes::open(bytes, Family::Range)?;
        let spaces = header.ids;
        let raws = (0..).zip(body.chunks_exact(RECORD));
        let records = raws.map(|(at, raw)| decode(at, raw, spaces)).collect::<Result<_, _>>()?;
        Ok(Self { spaces, duration_ns: header.duration_ns, records })
    }

    /// Every space number is below this.
    pub fn spaces(&self) -> u32 {
        self.spaces
    }

    /// Length of the recording.
    pub fn duration_ns(&self) -> u64 {
        self.duration_ns
    }

    /// All records.
    pub fn records(&self) -> &[RangeRecord] {
        &self.records
    }
}

fn decode(at: u64, raw: &[u8], spaces: u32) -> Result<RangeRecord, TraceError> {
    let (start, pages) = (u64_at(raw, 0), u32_at(raw, 8));
    let space = u16_at(raw, 16);
    let outside = |space: u64| TraceError::SpaceOutOfRange { record: at, space, spaces };
    if u32::from(space) >= spaces {
        return Err(outside(u64::from(space)));
    }
    let op = match raw[18] {
        0 => RangeOp::Map,
        1 => RangeOp::Unmap,
        2 => RangeOp::Lookup,
        3 if start >= u64::from(spaces) => return Err(outside(start)),
        // Lossless: below a u32.
        3 => RangeOp::Fork { from: start as u32 },
        4 => RangeOp::Clear,
        5 => RangeOp::Protect,
        op => return Err(TraceError::UnknownOp { record: at, op }),
    };
    let is_range = matches!(op, RangeOp::Map | RangeOp::Unmap | RangeOp::Protect);
    if is_range && pages == 0 {
        return Err(TraceError::RangeEmpty { record: at });
    }
    if is_range && start.checked_add(u64::from(pages) - 1).is_none() {
        return Err(TraceError::RangeWraps { record: at, start, pages });
    }
    let start = if matches!(op, RangeOp::Fork { .. }) { 0 } else { start };
    let (dt_ns, flags) = (u32_at(raw, 12), raw[19]);
    Ok(RangeRecord { start, pages, dt_ns, space, flags, op })
}
