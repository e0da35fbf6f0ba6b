//! A block trace: parsed once, checked once.
//!
//! The check keeps one byte per id, the order of the live block or "dead", and
//! walks the records in order. It is the whole contract of the format: after
//! it, `table[id] = alloc(order)` and `free(table[id], order)` need no check.

use super::bytes::{self, Family, u16_at, u32_at};
use super::facts::FactsBuilder;
use super::{Facts, Kind, Op, Record, TraceError};
use memdesc::Order;
use std::path::Path;

const RECORD: usize = 16;
/// Bytes of the regions that `replay` counts: the largest unit.
const LARGEST_UNIT: u64 = 2 << 20;
/// Units that may be live at once; half of what an index space holds, so that
/// an arena with room to spare fits too.
const LARGEST_PEAK: u128 = 1 << 62;

/// A recorded block trace, valid from end to end.
///
/// ```
/// use potad_benches::trace::{Op, Trace};
///
/// let path = concat!(env!("CARGO_MANIFEST_DIR"), "/traces/page-compileall-mthp.pot.zst");
/// let trace = Trace::open(path)?;
/// assert_eq!(trace.unit(), 4096);
/// assert!(trace.prelude().iter().all(|r| matches!(r.op, Op::Alloc { .. })));
/// assert_eq!(trace.records().len() as u64, trace.facts().records);
/// # Ok::<(), potad_benches::trace::TraceError>(())
/// ```
#[derive(Debug)]
pub struct Trace {
    kind: Kind,
    unit: u64,
    max_ids: u32,
    threads: u32,
    cpus: u32,
    prelude: usize,
    duration_ns: u64,
    records: Vec<Record>,
    facts: Facts,
}

impl Trace {
    /// Reads, decompresses and checks a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TraceError> {
        Self::parse(&bytes::read(path.as_ref())?)
    }

    /// Checks the bytes of a file, compressed or not.
    ///
    /// ```
    /// use potad_benches::trace::{Trace, TraceError};
    ///
    /// assert!(matches!(Trace::parse(b"POTTRC1"), Err(TraceError::Truncated { .. })));
    /// assert!(matches!(Trace::parse(&[0; 64]), Err(TraceError::Magic { .. })));
    /// ```
    pub fn parse(bytes: &[u8]) -> Result<Self, TraceError> {
        let (header, body) = bytes::open(bytes, Family::Block)?;
        let kind = Kind::of(header.kind).ok_or(TraceError::UnknownKind { kind: header.kind })?;
        if !header.unit.is_power_of_two() || header.unit > LARGEST_UNIT {
            return Err(TraceError::Unit { unit: header.unit });
        }
        if u64::from(header.ids) > header.records {
            return Err(TraceError::TooManyIds { ids: header.ids, records: header.records });
        }
        if u64::from(header.prelude) > header.records {
            let (prelude, records) = (header.prelude, header.records);
            return Err(TraceError::Prelude { prelude, records });
        }
        let mut check = Check::new(header.ids, header.prelude);
        let mut records = Vec::with_capacity(body.len() / RECORD);
        for (at, raw) in (0..).zip(body.chunks_exact(RECORD)) {
            let record = decode(at, raw)?;
            check.step(at, &record)?;
            records.push(record);
        }
        Ok(Self {
            kind,
            unit: header.unit,
            max_ids: header.ids,
            threads: header.threads,
            cpus: header.cpus,
            prelude: header.prelude as usize,
            duration_ns: header.duration_ns,
            records,
            facts: check.facts.finish(&check.live),
        })
    }

    /// What was recorded.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Bytes of a block of order 0, a power of two of at most 2 MiB.
    pub fn unit(&self) -> u64 {
        self.unit
    }

    /// Every id is below this: the length of a handle table.
    pub fn max_ids(&self) -> u32 {
        self.max_ids
    }

    /// Threads of the recording.
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// Processors of the machine that recorded, 0 if not recorded.
    pub fn cpus(&self) -> u32 {
        self.cpus
    }

    /// Length of the recording.
    pub fn duration_ns(&self) -> u64 {
        self.duration_ns
    }

    /// All records, the prelude first.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The allocations that were live before the recording began.
    pub fn prelude(&self) -> &[Record] {
        &self.records[..self.prelude]
    }

    /// The records after the prelude: what was really seen.
    pub fn events(&self) -> &[Record] {
        &self.records[self.prelude..]
    }

    /// What was counted while checking.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}

fn decode(at: u64, raw: &[u8]) -> Result<Record, TraceError> {
    let (low, order) = (raw[4], raw[5]);
    let arg = u32_at(raw, 12);
    let op = match low & 15 {
        0 => Op::Alloc { arg },
        1 => Op::Free,
        2 => Op::Split { upper: arg },
        3 => Op::Resize { exact: arg },
        op => return Err(TraceError::UnknownOp { record: at, op }),
    };
    let order = Order::new(u32::from(order))
        .map_err(|_| TraceError::OrderTooLarge { record: at, order })?;
    Ok(Record {
        id: u32_at(raw, 0),
        order,
        cpu: low >> 4,
        thread: u16_at(raw, 6),
        dt_ns: u32_at(raw, 8),
        op,
    })
}

/// The state of the walk.
struct Check {
    /// Of each id, the live block's order and the CPU that allocated it.
    live: Vec<Option<(Order, u8)>>,
    max_ids: u32,
    prelude: u64,
    facts: FactsBuilder,
}

impl Check {
    fn new(max_ids: u32, prelude: u32) -> Self {
        Self {
            live: vec![None; max_ids as usize],
            max_ids,
            prelude: u64::from(prelude),
            facts: FactsBuilder::default(),
        }
    }

    fn step(&mut self, at: u64, record: &Record) -> Result<(), TraceError> {
        if at < self.prelude && !matches!(record.op, Op::Alloc { .. }) {
            return Err(TraceError::PreludeOp { record: at });
        }
        let was = self.apply(at, record)?;
        self.facts.step(record, was, at < self.prelude);
        let units = self.facts.live_units();
        if units > LARGEST_PEAK {
            return Err(TraceError::PeakTooLarge { record: at, units });
        }
        Ok(())
    }

    /// Moves the ids of a record on, and returns what its id was before.
    fn apply(&mut self, at: u64, record: &Record) -> Result<Option<(Order, u8)>, TraceError> {
        let id = record.id;
        let was = self.state(at, id)?;
        let now = Some((record.order, record.cpu));
        let Some((live, home)) = was else {
            if !matches!(record.op, Op::Alloc { .. }) {
                return Err(TraceError::NotLive { record: at, id });
            }
            self.live[id as usize] = now;
            return Ok(was);
        };
        match record.op {
            Op::Alloc { .. } => return Err(TraceError::AlreadyLive { record: at, id }),
            Op::Free => {
                self.expect_order(at, id, record.order, live)?;
                self.live[id as usize] = None;
            }
            Op::Resize { .. } => self.live[id as usize] = now,
            Op::Split { upper } => {
                let Some(parent) = record.order.double() else {
                    return Err(TraceError::OrderTooLarge { record: at, order: 64 });
                };
                self.expect_order(at, id, parent, live)?;
                if self.state(at, upper)?.is_some() {
                    return Err(TraceError::AlreadyLive { record: at, id: upper });
                }
                self.live[id as usize] = Some((record.order, home));
                self.live[upper as usize] = Some((record.order, home));
            }
        }
        Ok(was)
    }

    fn state(&self, at: u64, id: u32) -> Result<Option<(Order, u8)>, TraceError> {
        let known = self.live.get(id as usize).copied();
        known.ok_or(TraceError::IdOutOfRange { record: at, id, max_ids: self.max_ids })
    }

    fn expect_order(&self, at: u64, id: u32, asked: Order, live: Order) -> Result<(), TraceError> {
        if asked != live {
            return Err(TraceError::WrongOrder { record: at, id, asked, live });
        }
        Ok(())
    }
}
