//! From a file to a checked header and the bytes of its records.
//!
//! Both families share the header; magic, kind and record size tell them
//! apart. Bytes that do not begin like a zstd frame are taken as already
//! decompressed, which is what tests and tools write.

use super::TraceError;
use ruzstd::decoding::StreamingDecoder;
use std::io::Read;
use std::path::Path;

/// Bytes before the first record.
pub(super) const HEADER: usize = 64;
/// Records that are read at most: 1 GiB of block records.
pub(super) const MAX_RECORDS: u64 = 1 << 26;
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BLOCK_MAGIC: [u8; 8] = *b"POTTRC1\0";
const RANGE_MAGIC: [u8; 8] = *b"POTRNG1\0";
const RANGE_KIND: u32 = 4;

/// Which of the two formats the caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Block,
    Range,
}

impl Family {
    const fn magic(self) -> [u8; 8] {
        match self {
            Self::Block => BLOCK_MAGIC,
            Self::Range => RANGE_MAGIC,
        }
    }

    const fn record_bytes(self) -> u32 {
        match self {
            Self::Block => 16,
            Self::Range => 24,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Block => "a block trace",
            Self::Range => "a range trace",
        }
    }
}

/// The header's fields that a reader needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: u32,
    pub(super) records: u64,
    /// Ids of a block trace, address spaces of a range trace.
    pub(super) ids: u32,
    pub(super) threads: u32,
    pub(super) unit: u64,
    pub(super) prelude: u32,
    pub(super) cpus: u32,
    pub(super) duration_ns: u64,
}

/// Reads the whole file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TraceError> {
    std::fs::read(path)
        .map_err(|source| TraceError::Io { path: path.display().to_string(), source })
}

/// Returns the header and exactly the bytes of its records.
pub(super) fn open(bytes: &[u8], family: Family) -> Result<(Header, Vec<u8>), TraceError> {
    if !bytes.starts_with(&ZSTD) {
        let mut source = bytes;
        return sections(&mut source, family);
    }
    let mut decoder = StreamingDecoder::new(bytes).map_err(corrupt)?;
    let parts = sections(&mut decoder, family)?;
    let frame = decoder.into_frame_decoder();
    let promised = frame.get_checksum_from_data();
    let found = frame.get_calculated_checksum();
    if let (Some(promised), Some(found)) = (promised, found)
        && promised != found
    {
        return Err(TraceError::Checksum { found, promised });
    }
    Ok(parts)
}

fn corrupt(error: impl core::fmt::Display) -> TraceError {
    TraceError::Compression { reason: error.to_string() }
}

fn sections(source: &mut impl Read, family: Family) -> Result<(Header, Vec<u8>), TraceError> {
    let mut head = Vec::with_capacity(HEADER);
    source.by_ref().take(HEADER as u64).read_to_end(&mut head).map_err(corrupt)?;
    let header = check_header(&head, family)?;
    let record = u64::from(family.record_bytes());
    // No overflow: at most 2^26 records of 24 bytes.
    let wanted = header.records * record;
    let mut body = Vec::new();
    // One byte more than promised shows whether something follows.
    source.by_ref().take(wanted + 1).read_to_end(&mut body).map_err(corrupt)?;
    let found = body.len() as u64;
    if found < wanted {
        let all = |bytes: u64| bytes + HEADER as u64;
        return Err(TraceError::Truncated { found: all(found), needed: all(wanted) });
    }
    if found > wanted {
        return Err(TraceError::RecordCount { records: header.records });
    }
    Ok((header, body))
}

fn check_header(head: &[u8], family: Family) -> Result<Header, TraceError> {
    let Some((magic, _)) = head.split_first_chunk::<8>() else {
        return Err(TraceError::Truncated { found: head.len() as u64, needed: HEADER as u64 });
    };
    let known = [Family::Block, Family::Range].into_iter().find(|f| f.magic() == *magic);
    let Some(found) = known else {
        return Err(TraceError::Magic { found: *magic });
    };
    if found != family {
        return Err(TraceError::WrongKind { found: found.name(), wanted: family.name() });
    }
    if head.len() < HEADER {
        return Err(TraceError::Truncated { found: head.len() as u64, needed: HEADER as u64 });
    }
    let header = Header {
        kind: u32_at(head, 8),
        records: u64_at(head, 16),
        ids: u32_at(head, 24),
        threads: u32_at(head, 28),
        unit: u64_at(head, 32),
        prelude: u32_at(head, 40),
        cpus: u32_at(head, 44),
        duration_ns: u64_at(head, 48),
    };
    if (header.kind == RANGE_KIND) != (family == Family::Range) {
        return Err(TraceError::UnknownKind { kind: header.kind });
    }
    let record_bytes = u32_at(head, 12);
    if record_bytes != family.record_bytes() {
        let expected = family.record_bytes();
        return Err(TraceError::RecordSize { found: record_bytes, expected });
    }
    if header.records > MAX_RECORDS {
        let (records, allowed) = (header.records, MAX_RECORDS);
        return Err(TraceError::TooManyRecords { records, allowed });
    }
    Ok(header)
}

/// Reads a little-endian number; bytes beyond the end count as zero.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let tail = bytes.get(at..).unwrap_or_default();
    tail.iter().take(8).rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Reads a little-endian number; bytes beyond the end count as zero.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let tail = bytes.get(at..).unwrap_or_default();
    tail.iter().take(4).rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
}

/// Reads a little-endian number; bytes beyond the end count as zero.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let tail = bytes.get(at..).unwrap_or_default();
    tail.iter().take(2).rev().fold(0, |value, byte| value << 8 | u16::from(*byte))
}
