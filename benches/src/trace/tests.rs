//! The parser refuses what is wrong, by name, and panics at nothing.

use super::{Facts, Op, RangeTrace, Trace, TraceError};
use memdesc::Order;
use proptest::prelude::*;

const SHIPPED: &[u8] = include_bytes!("../../traces/page-compileall-mthp.pot.zst");

/// `(id, op, order, arg)`, all on CPU 1 but frees on CPU 2.
type Raw = (u32, u8, u8, u32);

fn file(max_ids: u32, prelude: u32, records: &[Raw]) -> Vec<u8> {
    let mut out = b"POTTRC1\0".to_vec();
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&16_u32.to_le_bytes());
    out.extend_from_slice(&(records.len() as u64).to_le_bytes());
    out.extend_from_slice(&max_ids.to_le_bytes());
    out.extend_from_slice(&1_u32.to_le_bytes());
    out.extend_from_slice(&4096_u64.to_le_bytes());
    out.extend_from_slice(&prelude.to_le_bytes());
    out.extend_from_slice(&2_u32.to_le_bytes());
    out.extend_from_slice(&[0; 16]);
    for &(id, op, order, arg) in records {
        let cpu = if op == 1 { 2 } else { 1 };
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&[op | cpu << 4, order, 0, 0]);
        out.extend_from_slice(&10_u32.to_le_bytes());
        out.extend_from_slice(&arg.to_le_bytes());
    }
    out
}

/// A life of everything: a prelude, a split, a resize, frees.
fn small() -> Vec<u8> {
    file(
        3,
        1,
        &[
            (0, 0, 9, 0),
            (1, 0, 0, 7),
            (0, 2, 8, 2),
            (1, 3, 3, 5),
            (2, 1, 8, 0),
            (1, 1, 3, 0),
            (1, 0, 1, 0),
        ],
    )
}

#[test]
fn a_valid_trace_is_read_and_counted() {
    let trace = Trace::parse(&small()).expect("valid");
    assert_eq!((trace.prelude().len(), trace.events().len()), (1, 6));
    assert_eq!(trace.records()[2].op, Op::Split { upper: 2 });
    assert_eq!(trace.records()[3].order, Order::new(3).expect("small"));
    let facts: &Facts = trace.facts();
    assert_eq!((facts.allocs, facts.frees, facts.splits, facts.resizes), (2, 2, 1, 1));
    assert_eq!((facts.peak_units, facts.end_blocks, facts.end_units), (520, 2, 258));
    assert_eq!((facts.orders[9], facts.orders[1], facts.end_orders[8]), (1, 1, 1));
    assert_eq!((facts.cpus[1].allocs, facts.cpus[2].foreign_frees), (2, 2));
    assert_eq!(facts.largest_order().get(), 9);
    assert_eq!((facts.least_regions_at_end(9), facts.least_regions_at_end(1)), (1, 129));
}

#[test]
fn the_shipped_trace_holds_what_its_readme_says() {
    assert!(SHIPPED.len() <= 3_000_000);
    let trace = Trace::parse(SHIPPED).expect("valid");
    let facts = trace.facts();
    assert_eq!((facts.records, trace.prelude().len()), (361_479, 1_216));
    assert_eq!((facts.allocs, facts.frees, facts.splits), (280_156, 80_107, 0));
    assert_eq!((facts.peak_blocks, facts.end_blocks), (265_872, 201_265));
    assert!(facts.orders[..=9].iter().all(|count| *count > 0));
    assert!(facts.cpus.iter().any(|cpu| cpu.foreign_frees > 0));
}

fn error(bytes: &[u8]) -> TraceError {
    Trace::parse(bytes).expect_err("refused")
}

#[test]
fn a_header_that_lies_is_refused() {
    let good = small();
    let with = |at: usize, new: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        error(&bytes)
    };
    assert!(matches!(error(&[]), TraceError::Truncated { found: 0, .. }));
    assert!(matches!(error(&good[..63]), TraceError::Truncated { found: 63, .. }));
    assert!(matches!(error(&good[..100]), TraceError::Truncated { found: 100, needed: 176 }));
    assert!(matches!(with(0, b"NOTATRCE"), TraceError::Magic { .. }));
    assert!(matches!(with(0, b"POTRNG1\0"), TraceError::WrongKind { .. }));
    assert!(matches!(with(8, &[9]), TraceError::UnknownKind { kind: 9 }));
    assert!(matches!(with(8, &[4]), TraceError::UnknownKind { kind: 4 }));
    assert!(matches!(with(12, &[24]), TraceError::RecordSize { found: 24, expected: 16 }));
    assert!(matches!(with(16, &[6]), TraceError::RecordCount { records: 6 }));
    assert!(matches!(with(16, &[0xff; 8]), TraceError::TooManyRecords { .. }));
    assert!(matches!(with(24, &[0xff; 4]), TraceError::TooManyIds { .. }));
    assert!(matches!(with(32, &[3]), TraceError::Unit { .. }));
    assert!(matches!(with(40, &[8]), TraceError::Prelude { prelude: 8, records: 7 }));
    assert!(matches!(with(40, &[3]), TraceError::PreludeOp { record: 2 }));
}

#[test]
fn a_record_that_breaks_the_walk_is_refused() {
    let one = |records: &[Raw]| error(&file(records.len() as u32, 0, records));
    assert!(matches!(one(&[(0, 7, 0, 0)]), TraceError::UnknownOp { record: 0, op: 7 }));
    assert!(matches!(one(&[(0, 0, 64, 0)]), TraceError::OrderTooLarge { order: 64, .. }));
    assert!(matches!(one(&[(1, 0, 0, 0)]), TraceError::IdOutOfRange { id: 1, max_ids: 1, .. }));
    assert!(matches!(one(&[(0, 1, 0, 0)]), TraceError::NotLive { record: 0, id: 0 }));
    assert!(matches!(one(&[(0, 3, 0, 0)]), TraceError::NotLive { .. }));
    let twice = one(&[(0, 0, 0, 0), (0, 0, 0, 0)]);
    assert!(matches!(twice, TraceError::AlreadyLive { record: 1, id: 0 }));
    let shrunk = one(&[(0, 0, 3, 0), (0, 1, 2, 0)]);
    assert!(matches!(shrunk, TraceError::WrongOrder { record: 1, .. }));
    let half = one(&[(0, 0, 3, 0), (0, 2, 1, 1)]);
    assert!(matches!(half, TraceError::WrongOrder { .. }));
    let itself = one(&[(0, 0, 3, 0), (0, 2, 2, 0)]);
    assert!(matches!(itself, TraceError::AlreadyLive { .. }));
    let far = one(&[(0, 0, 3, 0), (0, 2, 2, 9)]);
    assert!(matches!(far, TraceError::IdOutOfRange { id: 9, .. }));
    let top = one(&[(0, 0, 63, 0)]);
    assert!(matches!(top, TraceError::PeakTooLarge { .. }));
    assert!(matches!(one(&[(0, 0, 3, 0), (0, 2, 63, 1)]), TraceError::OrderTooLarge { .. }));
}

#[test]
fn damaged_compression_is_refused() {
    assert!(matches!(error(&SHIPPED[..1 << 20]), TraceError::Compression { .. }));
    assert!(matches!(error(&SHIPPED[..5]), TraceError::Compression { .. }));
    assert!(matches!(error(&SHIPPED[..SHIPPED.len() - 1]), TraceError::Compression { .. }));
    let range = RangeTrace::parse(SHIPPED).expect_err("a block trace");
    assert!(matches!(range, TraceError::WrongKind { .. }));
}

#[test]
fn a_range_trace_is_read_and_its_faults_are_named() {
    let mut bytes = file(2, 0, &[]);
    bytes[..8].copy_from_slice(b"POTRNG1\0");
    bytes[8] = 4;
    bytes[12] = 24;
    bytes[16] = 1;
    let with = |start: u64, pages: u32, space: u16, op: u8| {
        let mut bytes = bytes.clone();
        bytes.extend_from_slice(&start.to_le_bytes());
        bytes.extend_from_slice(&pages.to_le_bytes());
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        bytes.extend_from_slice(&space.to_le_bytes());
        bytes.extend_from_slice(&[op, 3, 0, 0, 0, 0]);
        RangeTrace::parse(&bytes)
    };
    let map = with(5, 3, 1, 0).expect("valid");
    assert_eq!((map.records()[0].start, map.records()[0].pages, map.spaces()), (5, 3, 2));
    assert!(matches!(with(5, 0, 1, 1), Err(TraceError::RangeEmpty { record: 0 })));
    assert!(matches!(with(u64::MAX, 2, 1, 0), Err(TraceError::RangeWraps { .. })));
    assert!(matches!(with(5, 3, 2, 0), Err(TraceError::SpaceOutOfRange { space: 2, .. })));
    assert!(matches!(with(2, 0, 1, 3), Err(TraceError::SpaceOutOfRange { space: 2, .. })));
    assert!(matches!(with(0, 0, 1, 6), Err(TraceError::UnknownOp { op: 6, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    /// Plain bytes with some changed: an answer, never a panic.
    #[test]
    fn changed_plain_bytes_never_panic(
        changes in prop::collection::vec((0_usize..176, any::<u8>()), 1..8),
        cut in 0_usize..=176,
    ) {
        let mut bytes = small();
        for (at, new) in changes {
            bytes[at] = new;
        }
        bytes.truncate(cut.max(8));
        let _ = Trace::parse(&bytes);
        let _ = RangeTrace::parse(&bytes);
    }

    /// The same under the decoder: the head of the shipped file, damaged.
    #[test]
    fn changed_compressed_bytes_never_panic(
        changes in prop::collection::vec((0_usize..4096, any::<u8>()), 1..8),
        cut in 4_usize..=4096,
    ) {
        let mut bytes = SHIPPED[..4096].to_vec();
        for (at, new) in changes {
            bytes[at] = new;
        }
        bytes.truncate(cut);
        let _ = Trace::parse(&bytes);
    }
}
