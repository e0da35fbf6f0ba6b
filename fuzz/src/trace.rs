//! The trace parser against a writer.
//!
//! Any bytes are refused with a typed error, or they are a trace; and a trace
//! that is written again by what was read of it is the same one. Some stories
//! are bytes as they are behind the magic ones; the others are records behind a
//! right header, or the parser would seldom see one.

use crate::{Bytes, Tally};
use benches::trace::{Kind, Op, RangeOp, RangeTrace, Trace, TraceError};

/// What a story is about.
pub const OPERATIONS: [&str; 5] =
    ["blocks", "ranges", "blocks as given", "ranges as given", "compressed"];
/// What a compressed file begins with.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Tells one story.
///
/// # Panics
///
/// If the parser does, or if it misread.
pub fn run(data: &[u8]) -> Tally {
    let mut tally = Tally::new(&OPERATIONS);
    let mut bytes = Bytes::new(data);
    let operation = bytes.below(OPERATIONS.len());
    let was_done = match operation {
        0 => blocks(&with_header(&mut bytes, Family::Blocks)),
        1 => ranges(&with_header(&mut bytes, Family::Ranges)),
        2 => blocks(&[b"POTTRC1\0", bytes.rest()].concat()),
        3 => ranges(&[b"POTRNG1\0", bytes.rest()].concat()),
        _ => blocks(&[&ZSTD, bytes.rest()].concat()),
    };
    tally.count(operation, was_done);
    tally
}

fn blocks(file: &[u8]) -> bool {
    let trace = match Trace::parse(file) {
        Ok(trace) => trace,
        Err(why) => return refused(&why),
    };
    let again = Trace::parse(&write_blocks(&trace)).expect("written of a trace");
    assert_eq!(again.records(), trace.records());
    assert_eq!((again.kind(), again.unit()), (trace.kind(), trace.unit()));
    assert_eq!((again.threads(), again.cpus()), (trace.threads(), trace.cpus()));
    assert_eq!(again.prelude().len(), trace.prelude().len());
    assert_eq!(again.duration_ns(), trace.duration_ns());
    assert_eq!(again.facts(), trace.facts());
    check_lives(&trace);
    true
}

/// What whoever replays a trace relies on.
fn check_lives(trace: &Trace) {
    let mut live = vec![None; trace.max_ids() as usize];
    for record in trace.records() {
        let id = record.id as usize;
        match record.op {
            Op::Alloc { .. } => assert_eq!(live[id].replace(record.order), None),
            Op::Free => assert_eq!(live[id].take(), Some(record.order)),
            Op::Resize { .. } => assert!(live[id].replace(record.order).is_some()),
            Op::Split { upper } => {
                let both = record.order.double();
                assert!(both.is_some());
                assert_eq!(live[id].replace(record.order), both);
                assert_eq!(live[upper as usize].replace(record.order), None);
            }
        }
    }
    let left = live.iter().flatten().count() as u64;
    assert_eq!(left, trace.facts().end_blocks);
}

fn ranges(file: &[u8]) -> bool {
    let trace = match RangeTrace::parse(file) {
        Ok(trace) => trace,
        Err(why) => return refused(&why),
    };
    let again = RangeTrace::parse(&write_ranges(&trace)).expect("written of a trace");
    assert_eq!(again.records(), trace.records());
    assert_eq!((again.spaces(), again.duration_ns()), (trace.spaces(), trace.duration_ns()));
    for record in trace.records() {
        assert!(u32::from(record.space) < trace.spaces());
    }
    true
}

fn refused(why: &TraceError) -> bool {
    assert!(!matches!(why, TraceError::Io { .. }), "no file was opened: {why}");
    false
}

#[derive(Clone, Copy, PartialEq)]
enum Family {
    Blocks,
    Ranges,
}

/// The fields of a header.
struct Header {
    kind: u32,
    records: u64,
    ids: u32,
    threads: u32,
    unit: u64,
    prelude: u32,
    cpus: u32,
    duration_ns: u64,
}

impl Header {
    fn write(&self, family: Family) -> Vec<u8> {
        let (magic, record): (_, u32) = match family {
            Family::Blocks => (b"POTTRC1\0", 16),
            Family::Ranges => (b"POTRNG1\0", 24),
        };
        let mut out = magic.to_vec();
        out.extend_from_slice(&self.kind.to_le_bytes());
        out.extend_from_slice(&record.to_le_bytes());
        out.extend_from_slice(&self.records.to_le_bytes());
        out.extend_from_slice(&self.ids.to_le_bytes());
        out.extend_from_slice(&self.threads.to_le_bytes());
        out.extend_from_slice(&self.unit.to_le_bytes());
        out.extend_from_slice(&self.prelude.to_le_bytes());
        out.extend_from_slice(&self.cpus.to_le_bytes());
        out.extend_from_slice(&self.duration_ns.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        assert_eq!(out.len(), 64);
        out
    }
}

/// A header that fits, and records of few choices: ids and orders are small,
/// so that they meet.
fn with_header(bytes: &mut Bytes<'_>, family: Family) -> Vec<u8> {
    let ids = 1 + bytes.below(16) as u32;
    let mut live = vec![None; ids as usize];
    let prelude = u32::from(bytes.once_in(4));
    let spoilt = bytes.byte();
    let mut body = Vec::new();
    let mut records = 0;
    while !bytes.is_empty() {
        records += 1;
        match family {
            Family::Blocks => any_block_record(bytes, &mut live, &mut body),
            Family::Ranges => any_range_record(bytes, ids, &mut body),
        }
    }
    let header = Header {
        kind: if family == Family::Ranges { 4 } else { u32::from(spoilt & 3) },
        records: if spoilt == 255 { records + 1 } else { records },
        ids: u32::try_from(records).map_or(ids, |most| ids.min(most.max(1))),
        threads: 1,
        unit: if spoilt == 254 { 3 } else { 4096 },
        prelude,
        cpus: 2,
        duration_ns: 1 << 40,
    };
    let mut out = header.write(family);
    out.append(&mut body);
    out
}

/// What the block's state allows, or one time in sixteen anything.
fn any_block_record(bytes: &mut Bytes<'_>, live: &mut [Option<u8>], out: &mut Vec<u8>) {
    let (what, small) = (bytes.byte(), bytes.byte());
    let ids = live.len();
    let id = usize::from(what >> 2) % ids;
    let other = usize::from(small >> 4) % (ids + 1);
    let order = if small & 15 == 15 { 40 + (small >> 4) * 2 } else { small & 7 };
    let (op, order, arg) = match (small >> 2 & 15 == 15, live[id], what & 3) {
        (true, ..) => (what & 15, order, other),
        (_, None, _) => (0, order, usize::from(small)),
        (_, Some(order), 1) => (1, order, 0),
        (_, Some(order), 2) if order > 0 => (2, order - 1, other),
        (_, Some(_), _) => (3, order, usize::from(small)),
    };
    live[id] = if op == 1 { None } else { Some(order) };
    if op == 2 && other < ids {
        live[other] = Some(order);
    }
    out.extend_from_slice(&(id as u32).to_le_bytes());
    out.extend_from_slice(&[op | what & 0x30, order, small, 0]);
    out.extend_from_slice(&u32::from(what).to_le_bytes());
    out.extend_from_slice(&(arg as u32).to_le_bytes());
}

fn any_range_record(bytes: &mut Bytes<'_>, spaces: u32, out: &mut Vec<u8>) {
    let what = bytes.byte();
    let start = match what >> 6 {
        3 => u64::MAX - u64::from(bytes.byte()),
        2 => bytes.long(),
        _ => u64::from(bytes.byte()) % u64::from(spaces + 1),
    };
    let pages = u32::from(bytes.byte());
    let space = u16::from(bytes.byte()) % (spaces as u16 + 1);
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&pages.to_le_bytes());
    out.extend_from_slice(&9_u32.to_le_bytes());
    out.extend_from_slice(&space.to_le_bytes());
    out.extend_from_slice(&[what & 7, what >> 3 & 7, 0, 0, 0, 0]);
}

fn write_blocks(trace: &Trace) -> Vec<u8> {
    let header = Header {
        kind: match trace.kind() {
            Kind::Page => 0,
            Kind::Malloc => 1,
            Kind::Vma => 2,
            Kind::Swap => 3,
            _ => panic!("a kind whose number is not known here"),
        },
        records: trace.records().len() as u64,
        ids: trace.max_ids(),
        threads: trace.threads(),
        unit: trace.unit(),
        prelude: trace.prelude().len() as u32,
        cpus: trace.cpus(),
        duration_ns: trace.duration_ns(),
    };
    let mut out = header.write(Family::Blocks);
    for record in trace.records() {
        let (op, arg) = match record.op {
            Op::Alloc { arg } => (0, arg),
            Op::Free => (1, 0),
            Op::Split { upper } => (2, upper),
            Op::Resize { exact } => (3, exact),
        };
        out.extend_from_slice(&record.id.to_le_bytes());
        out.extend_from_slice(&[op | record.cpu << 4, record.order.get() as u8]);
        out.extend_from_slice(&record.thread.to_le_bytes());
        out.extend_from_slice(&record.dt_ns.to_le_bytes());
        out.extend_from_slice(&arg.to_le_bytes());
    }
    out
}

fn write_ranges(trace: &RangeTrace) -> Vec<u8> {
    let header = Header {
        kind: 4,
        records: trace.records().len() as u64,
        ids: trace.spaces(),
        threads: 1,
        unit: 4096,
        prelude: 0,
        cpus: 1,
        duration_ns: trace.duration_ns(),
    };
    let mut out = header.write(Family::Ranges);
    for record in trace.records() {
        let (op, start) = match record.op {
            RangeOp::Map => (0, record.start),
            RangeOp::Unmap => (1, record.start),
            RangeOp::Lookup => (2, record.start),
            RangeOp::Fork { from } => (3, u64::from(from)),
            RangeOp::Clear => (4, record.start),
            RangeOp::Protect => (5, record.start),
        };
        out.extend_from_slice(&start.to_le_bytes());
        out.extend_from_slice(&record.pages.to_le_bytes());
        out.extend_from_slice(&record.dt_ns.to_le_bytes());
        out.extend_from_slice(&record.space.to_le_bytes());
        out.extend_from_slice(&[op, record.flags, 0, 0, 0, 0]);
    }
    out
}
