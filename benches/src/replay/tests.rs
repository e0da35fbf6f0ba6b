//! Replays of small traces with every operation, on one thread and more.

use super::plan::{Age, Plan, ReplayError};
use super::{chart, replay_all};
use crate::trace::Trace;

const SHIPPED: &[u8] = include_bytes!("../../traces/page-compileall-mthp.pot.zst");

/// A heap of random records: allocations, frees, splits and resizes on two
/// CPUs, valid by construction.
fn random(records: u32, seed: u64) -> Trace {
    let mut seed = seed;
    let mut next = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let (mut live, mut dead): (Vec<(u32, u8)>, Vec<u32>) = (Vec::new(), (0..500).collect());
    let mut body = Vec::new();
    for _ in 0..records {
        let (id, op, order, arg);
        let at = next(live.len().max(1) as u64) as usize;
        match next(8) {
            _ if live.is_empty() => (id, op, order, arg) = (dead.pop().unwrap_or(0), 0, 4, 0),
            0..=2 if !dead.is_empty() => {
                (id, op, order, arg) = (dead.pop().unwrap_or(0), 0, next(10) as u8, 0);
            }
            3 if !dead.is_empty() && live[at].1 > 0 => {
                let upper = dead.pop().unwrap_or(0);
                (id, op, order, arg) = (live[at].0, 2, live[at].1 - 1, upper);
                live.swap_remove(at);
                live.push((upper, order));
            }
            4 => {
                (id, op, order, arg) = (live[at].0, 3, next(6) as u8, 1);
                live.swap_remove(at);
            }
            _ => {
                let (freed, its) = live.swap_remove(at);
                dead.push(freed);
                (id, op, order, arg) = (freed, 1, its, 0);
            }
        }
        if op != 1 {
            live.push((id, order));
        }
        body.extend_from_slice(&id.to_le_bytes());
        body.extend_from_slice(&[op | (next(2) as u8) << 4, order, next(3) as u8, 0, 1, 0, 0, 0]);
        body.extend_from_slice(&arg.to_le_bytes());
    }
    let mut bytes = b"POTTRC1\0".to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 0, 16, 0, 0, 0]);
    bytes.extend_from_slice(&u64::from(records).to_le_bytes());
    bytes.extend_from_slice(&500_u32.to_le_bytes());
    bytes.extend_from_slice(&3_u32.to_le_bytes());
    bytes.extend_from_slice(&4096_u64.to_le_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 0, 2, 0, 0, 0]);
    bytes.extend_from_slice(&[0; 16]);
    bytes.extend(body);
    Trace::parse(&bytes).expect("valid by construction")
}

#[test]
fn random_traces_replay_on_any_number_of_threads() {
    for seed in 1..4 {
        let trace = random(20_000, seed);
        assert!(trace.facts().splits > 100 && trace.facts().moving_resizes > 100);
        for threads in [1, 2, 4] {
            let plan = Plan::new(&trace, threads);
            let (report, _) = replay_all("random".to_owned(), &plan).expect("small");
            let reference = report.allocators.iter().find(|one| one.name == "reference");
            let reference = reference.expect("always there in tests");
            assert_eq!((reference.overlaps, reference.failed), (0, 0), "{threads} threads");
            // No recorded allocator stood this trace in its arena, so a few
            // failures are the trace's own; an overlap never is.
            for ours in report.allocators.iter().filter(|one| one.name.starts_with("potad")) {
                assert_eq!(ours.overlaps, 0, "{threads} threads");
                assert!(ours.failed < 200, "{} of 20,000 failed", ours.failed);
            }
            assert!(reference.regions_pinned_end >= reference.regions_min_end);
            if threads == 1 {
                // A resize holds both blocks for a moment.
                let peak = trace.facts().peak_units * 4096;
                assert!((peak..peak + (64 << 12)).contains(&reference.peak_bytes));
            }
        }
    }
}

#[test]
fn the_plan_deals_every_record_once() {
    let trace = Trace::parse(SHIPPED).expect("valid");
    for threads in [1, 2, 3, 4] {
        let plan = Plan::new(&trace, threads);
        assert_eq!(plan.ops(), trace.events().len() as u64);
        assert_eq!(plan.survivors.len() as u64, trace.facts().end_blocks);
        let busy = plan.queues.iter().filter(|queue| !queue.steps.is_empty()).count();
        assert_eq!(busy, threads);
    }
}

#[test]
fn the_map_has_a_cell_per_region() {
    let trace = random(1000, 9);
    let (report, _) = replay_all("small".to_owned(), &Plan::new(&trace, 1)).expect("small");
    let regions: usize = report.allocators.iter().map(|one| one.regions.len()).sum();
    assert_eq!(chart(&report).to_string().matches("<rect").count(), regions);
}

#[test]
fn a_peak_beyond_what_can_be_verified_is_refused() {
    let mut bytes = b"POTTRC1\0".to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&[0; 24]);
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 50, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let trace = Trace::parse(&bytes).expect("valid");
    let refused = replay_all("large".to_owned(), &Plan::new(&trace, 1)).expect_err("too large");
    assert!(matches!(refused, ReplayError::TooLarge { .. }));
}

/// Records of a page trace on one thread: id, op, order, arg.
fn page_trace(records: &[(u32, u8, u8, u32)]) -> Trace {
    let mut bytes = b"POTTRC1\0".to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 0, 16, 0, 0, 0]);
    bytes.extend_from_slice(&(records.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&4_u32.to_le_bytes());
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    bytes.extend_from_slice(&4096_u64.to_le_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 0]);
    bytes.extend_from_slice(&[0; 16]);
    for &(id, op, order, arg) in records {
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.extend_from_slice(&[op, order, 0, 0, 1, 0, 0, 0]);
        bytes.extend_from_slice(&arg.to_le_bytes());
    }
    Trace::parse(&bytes).expect("valid")
}

#[test]
fn the_kernels_mark_counts_the_regions_of_its_frames() {
    // A huge page in region 2 is split; half of it goes, then a page beside it
    // comes, and a block of two regions.
    let trace = page_trace(&[
        (0, 0, 9, 1024),
        (1, 0, 0, 512),
        (0, 2, 8, 2),
        (0, 1, 8, 0),
        (1, 1, 0, 0),
        (3, 0, 10, 4096),
    ]);
    let kernel = Plan::new(&trace, 1).kernel.expect("a page trace");
    assert_eq!((kernel.regions_pinned_end, kernel.regions_touched), (3, 4));
    // 1, 2, 2, 2, 1, 3 after each record.
    assert_eq!(kernel.regions_pinned_mean, 11.0 / 6.0);
}

#[test]
fn an_aged_arena_keeps_a_quarter_of_what_was_left() {
    let trace = Trace::parse(SHIPPED).expect("valid");
    let units = |plan: &Plan| -> u64 { plan.kept().map(|kept| kept.order.granules()).sum() };
    let fresh = Plan::new(&trace, 1);
    assert_eq!(units(&fresh), 0);
    let before = fresh.shape(0).expect("small").granules;
    let aged = fresh.aged(Age::Aged);
    let share = aged.kept().count() as f64 / aged.survivors.len() as f64;
    assert!((0.24..0.26).contains(&share), "{share}");
    assert_eq!(aged.kept().count() + aged.left().count(), aged.survivors.len());
    let more = aged.shape(0).expect("small").granules - before;
    assert!(more.abs_diff(units(&aged)) < 512);
}

#[test]
fn an_aged_replay_overlaps_nothing() {
    let plan = Plan::new(&random(5_000, 5), 2).aged(Age::Aged);
    let (report, _) = replay_all("aged".to_owned(), &plan).expect("small");
    assert_eq!(report.age, Age::Aged);
    assert!(report.kernel.is_some() && report.without_classes.is_some());
    for one in report.allocators.iter().filter(|one| one.name.starts_with("potad")) {
        assert_eq!(one.overlaps, 0, "{}", one.name);
        assert!(one.regions_pinned_end >= one.regions_min_end);
    }
}
