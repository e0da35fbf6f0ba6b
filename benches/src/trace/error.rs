//! What can be wrong with a trace.

use memdesc::Order;

/// Why bytes are no trace, with the operands.
///
/// Records are counted from 0.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file that was asked for.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The compressed stream ends early or makes no sense.
    #[error("the compressed data is truncated or corrupt: {reason}")]
    Compression {
        /// What the decoder said.
        reason: String,
    },
    /// The content does not match its own checksum.
    #[error("the checksum is {found:#010x}, the file promises {promised:#010x}")]
    Checksum {
        /// Computed over what was decompressed.
        found: u32,
        /// Stored in the file.
        promised: u32,
    },
    /// Shorter than a header, or than the records it promises.
    #[error("truncated: {found} bytes, the header and its records need {needed}")]
    Truncated {
        /// Bytes after decompression.
        found: u64,
        /// Bytes that the header promises.
        needed: u64,
    },
    /// Bytes after the last record that the header promises.
    #[error("the header promises {records} records, and more bytes follow")]
    RecordCount {
        /// Records promised.
        records: u64,
    },
    /// No trace at all.
    #[error("no trace: it begins with {found:02x?}")]
    Magic {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// A trace of the other family.
    #[error("{found} was given where {wanted} is needed")]
    WrongKind {
        /// What the file is.
        found: &'static str,
        /// What was asked.
        wanted: &'static str,
    },
    /// The kind is none of those known.
    #[error("kind {kind} is unknown")]
    UnknownKind {
        /// The number in the header.
        kind: u32,
    },
    /// Records of another size.
    #[error("records are {found} bytes, expected {expected}")]
    RecordSize {
        /// The number in the header.
        found: u32,
        /// What this family has.
        expected: u32,
    },
    /// The unit must be a power of two of at most 2 MiB.
    #[error("the unit of {unit} bytes is no power of two up to 2 MiB")]
    Unit {
        /// The number in the header.
        unit: u64,
    },
    /// More records than any machine here could hold.
    #[error("the header promises {records} records, at most {allowed} are read")]
    TooManyRecords {
        /// Records promised.
        records: u64,
        /// The bound.
        allowed: u64,
    },
    /// Ids are dense, so there are no more of them than records.
    #[error("the header promises {ids} ids in {records} records")]
    TooManyIds {
        /// Ids promised.
        ids: u32,
        /// Records promised.
        records: u64,
    },
    /// The prelude is longer than the trace.
    #[error("the prelude has {prelude} records of {records}")]
    Prelude {
        /// Records of the prelude.
        prelude: u32,
        /// Records in all.
        records: u64,
    },
    /// The prelude holds allocations only.
    #[error("record {record} is in the prelude and no allocation")]
    PreludeOp {
        /// Where.
        record: u64,
    },
    /// An operation that the format does not have.
    #[error("record {record} has the unknown operation {op}")]
    UnknownOp {
        /// Where.
        record: u64,
        /// The number found.
        op: u8,
    },
    /// An order above 63.
    #[error("record {record} has order {order}, above 63")]
    OrderTooLarge {
        /// Where.
        record: u64,
        /// The number found.
        order: u8,
    },
    /// An id beyond the table.
    #[error("record {record} names id {id}, the header promises ids below {max_ids}")]
    IdOutOfRange {
        /// Where.
        record: u64,
        /// The id found.
        id: u32,
        /// The bound.
        max_ids: u32,
    },
    /// An allocation under an id that is live.
    #[error("record {record} allocates id {id}, which is live")]
    AlreadyLive {
        /// Where.
        record: u64,
        /// The id.
        id: u32,
    },
    /// A free, split or resize of an id that is not live.
    #[error("record {record} needs id {id} live, and it is not")]
    NotLive {
        /// Where.
        record: u64,
        /// The id.
        id: u32,
    },
    /// A block freed or split with an order that it does not have.
    #[error("record {record} takes id {id} for order {asked}, it has {live}")]
    WrongOrder {
        /// Where.
        record: u64,
        /// The id.
        id: u32,
        /// The order that the record implies.
        asked: Order,
        /// The order that the block has.
        live: Order,
    },
    /// More live units than an index space can hold.
    #[error("record {record} brings the live blocks to {units} units, above 2^62")]
    PeakTooLarge {
        /// Where.
        record: u64,
        /// Units live after it.
        units: u128,
    },
    /// A range whose last page is beyond 2^64.
    #[error("record {record} has {pages} pages from {start:#x}, beyond the last page")]
    RangeWraps {
        /// Where.
        record: u64,
        /// First page.
        start: u64,
        /// Length in pages.
        pages: u32,
    },
    /// A map, unmap or protect of nothing.
    #[error("record {record} has a range of no pages")]
    RangeEmpty {
        /// Where.
        record: u64,
    },
    /// An address space beyond the table.
    #[error("record {record} names space {space}, the header promises spaces below {spaces}")]
    SpaceOutOfRange {
        /// Where.
        record: u64,
        /// The space found.
        space: u64,
        /// The bound.
        spaces: u32,
    },
}
