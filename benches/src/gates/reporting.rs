//! Figures of reporting: what it costs the reporter, the allocator beside it,
//! and what is lost on the way to the device.

use super::count::counter;
use crate::workload::per_op;
use memdesc::{Granule, Order};
use potad::{BareBlock, Hand, HostSays, Isolated, Potad, Resource, Wanted, Zone};
use reporting::backend::Recording;
use reporting::{Age, Policy, Reporter, Rule, State, ZoneSource};
use std::hint::black_box;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
mod discard;

#[cfg(target_os = "linux")]
pub(super) use discard::{huge_pages, memfd, small_pages};

/// Not measured elsewhere.
#[cfg(not(target_os = "linux"))]
pub(super) fn huge_pages() -> Option<f64> {
    None
}

/// Not measured elsewhere.
#[cfg(not(target_os = "linux"))]
pub(super) fn small_pages() -> Option<f64> {
    None
}

/// Not measured elsewhere.
#[cfg(not(target_os = "linux"))]
pub(super) fn memfd() -> Option<f64> {
    None
}

const GRANULE: u64 = 4096;
/// 2 MiB.
const HUGE: u32 = 9;
/// 8 GiB.
const ARENA: u64 = 1 << 21;
/// 1 TiB.
const TEBIBYTE: u64 = 1 << 28;
const BATCH: usize = 32;
/// Turns with and without a reporter; the best of each is compared.
const TURNS: usize = 25;

fn order(order: u32) -> Option<Order> {
    Order::new(order).ok()
}

fn zone(granules: u64) -> Option<Zone> {
    let resource = Resource::new("gate").granule(GRANULE).span(0..granules * GRANULE);
    Potad::new().register(resource).ok()
}

/// Every second block of 2 MiB in use, so that each free one is alone.
fn comb(zone: &Zone) -> Option<Vec<BareBlock>> {
    let huge = order(HUGE)?;
    let blocks = zone.granules() >> HUGE;
    let all: Result<Vec<_>, _> = (0..blocks).map(|_| zone.alloc_bare(huge)).collect();
    let (used, free): (Vec<_>, Vec<_>) =
        all.ok()?.into_iter().partition(|block| block.base().0 >> HUGE & 1 == 1);
    free.into_iter().try_for_each(|block| zone.free_bare(block)).ok()?;
    Some(used)
}

/// One pass in batches; every block is put back with `says`. Returns the blocks.
fn pass(zone: &Zone, wanted: &Wanted, says: HostSays) -> u64 {
    let (mut cursor, mut blocks) = (Granule(0), 0);
    let mut batch: Vec<Isolated> = Vec::with_capacity(BATCH);
    while cursor != Granule(u64::MAX) {
        zone.isolate_many(&mut cursor, wanted, BATCH, u64::MAX, &mut |block| batch.push(block));
        blocks += batch.len() as u64;
        let foreign = zone.put_back_many(batch.drain(..).map(|block| (block, says)));
        assert_eq!(foreign, 0, "blocks of this zone");
    }
    blocks
}

fn wanted(min: u32, max: u32) -> Option<Wanted> {
    Some(Wanted {
        min_order: order(min)?,
        max_order: order(max)?,
        seen_before: false,
        patient: false,
        spare: 0,
    })
}

/// ns to isolate and put back a block of 2 MiB that is alone, noted as
/// reported: the best of many passes, as one takes no longer than a time slice.
pub(super) fn isolate_and_put_back() -> Option<f64> {
    let zone = zone(ARENA)?;
    zone.attach_reporter(order(HUGE)?).ok()?;
    let used = comb(&zone)?;
    let wanted = wanted(HUGE, HUGE)?;
    // Declined: nodes, tables and lines are there.
    pass(&zone, &wanted, HostSays::Nothing);
    let mut best = Duration::MAX;
    for _ in 0..TURNS {
        let begun = Instant::now();
        let blocks = pass(&zone, &wanted, HostSays::Reported);
        best = best.min(begun.elapsed());
        assert_eq!(blocks, ARENA >> (HUGE + 1));
        assert_eq!(zone.reported_granules(), ARENA / 2);
        // Taken and freed they are new again.
        let huge = order(HUGE)?;
        let again: Result<Vec<_>, _> = (0..blocks).map(|_| zone.alloc_bare(huge)).collect();
        again.ok()?.into_iter().try_for_each(|block| zone.free_bare(block)).ok()?;
        assert_eq!(zone.reported_granules(), 0);
    }
    used.into_iter().try_for_each(|block| zone.free_bare(block)).ok()?;
    Some(per_op(best, ARENA >> (HUGE + 1)))
}

/// us for a pass over 1 TiB that is all reported, from granule to granule of
/// 2 MiB.
pub(super) fn skip_scan() -> Option<f64> {
    let zone = zone(TEBIBYTE)?;
    zone.attach_reporter(order(HUGE)?).ok()?;
    let pieces = wanted(HUGE, HUGE + 5)?;
    pass(&zone, &pieces, HostSays::Reported);
    assert_eq!(zone.reported_granules(), TEBIBYTE);
    let mut best = Duration::MAX;
    for _ in 0..TURNS {
        let begun = Instant::now();
        assert_eq!(pass(&zone, &pieces, HostSays::Reported), 0, "nothing is reported twice");
        best = best.min(begun.elapsed());
    }
    Some(best.as_nanos() as f64 / 1000.0)
}

/// What a reporter that is attached and idle adds to `time`, in ns: the
/// difference of the bests of many turns, by turns. The upper half was reported
/// before; what is timed goes on in the lower.
fn added(time: impl Fn(&mut Hand) -> Option<f64>) -> Option<f64> {
    let (plain, watched) = (zone(ARENA)?, zone(ARENA)?);
    watched.attach_reporter(order(HUGE)?).ok()?;
    let lower = watched.alloc_at(0..ARENA / 2 * GRANULE).ok()?;
    pass(&watched, &wanted(HUGE, HUGE + 5)?, HostSays::Reported);
    watched.free_run(lower).ok()?;
    let (mut hand, mut watched_hand) = (plain.hand(), watched.hand());
    let (mut without, mut with) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..TURNS {
        without = without.min(time(&mut hand)?);
        with = with.min(time(&mut watched_hand)?);
    }
    Some((with - without).max(0.0))
}

const BLOCKS: usize = 256;
const ROUNDS: u32 = 20;

/// ns per allocation, or per free, of 256 blocks of 2 MiB.
fn blocks_of_2_mib(hand: &mut Hand, is_alloc: bool) -> Option<f64> {
    let huge = order(HUGE)?;
    let mut blocks = Vec::with_capacity(BLOCKS);
    let mut took = Duration::ZERO;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        for _ in 0..BLOCKS {
            blocks.push(hand.alloc_bare(huge).ok()?);
        }
        let allocated = begun.elapsed();
        for block in blocks.drain(..) {
            hand.free_bare(block).ok()?;
        }
        took += if is_alloc { allocated } else { begun.elapsed() - allocated };
    }
    Some(per_op(took, BLOCKS as u64 * u64::from(ROUNDS)))
}

/// What it adds to a pair of order 0 out of a claim.
pub(super) fn pair_added() -> Option<f64> {
    const PAIRS: u64 = 100_000;
    added(|hand| {
        let begun = Instant::now();
        for _ in 0..PAIRS {
            let page = black_box(hand.alloc_bare(Order::ZERO).ok()?);
            hand.free_bare(page).ok()?;
        }
        Some(per_op(begun.elapsed(), PAIRS))
    })
}

/// What it adds to an allocation of 2 MiB.
pub(super) fn alloc_added() -> Option<f64> {
    added(|hand| blocks_of_2_mib(hand, true))
}

/// What it adds to a free of 2 MiB.
pub(super) fn free_added() -> Option<f64> {
    added(|hand| blocks_of_2_mib(hand, false))
}

/// What it adds to the claim of a word, per granule handed out of it.
pub(super) fn claim_added() -> Option<f64> {
    added(|hand| {
        let mut pages = Vec::with_capacity(64 * BLOCKS);
        let begun = Instant::now();
        for _ in 0..64 * BLOCKS {
            pages.push(hand.alloc_bare(Order::ZERO).ok()?);
        }
        let took = begun.elapsed();
        for page in black_box(pages) {
            hand.free_bare(page).ok()?;
        }
        hand.flush();
        Some(per_op(took, 64 * BLOCKS as u64))
    })
}

/// Read-modify-writes of the slowest allocator call while a reporter works
/// between the calls: orders 0 to 10, at three quarters full.
pub(super) fn slowest_call() -> Option<f64> {
    let mut counter = counter()?;
    let zone = zone(1 << 14)?;
    let source = ZoneSource::attach(zone.clone(), order(4)?).ok()?;
    let rules = [Rule { min_bytes: 16 * GRANULE, every: 1 }];
    let policy = Policy::eager().rules(&rules).age(Age::Any).interval(1).batch(4);
    let mut reporter = Reporter::new(source, Recording::new(), policy).ok()?;
    let mut hand = zone.hand();
    let mut live: Vec<BareBlock> = Vec::new();
    let (mut seed, mut most, mut used) = (7_u64, 0, 0);
    for now in 0..60_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = seed >> 33;
        let wants = used < zone.granules() / 4 * 3 && random & 1 == 0;
        counter.begin();
        if wants || live.is_empty() {
            let block = hand.alloc_bare(order((random >> 1) as u32 % 11)?);
            most = most.max(counter.end().rmws);
            let Ok(block) = block else { continue };
            used += block.order().granules();
            live.push(block);
        } else {
            let block = live.swap_remove((random >> 1) as usize % live.len());
            used -= block.order().granules();
            counter.begin();
            hand.free_bare(block).ok()?;
            most = most.max(counter.end().rmws);
        }
        if matches!(reporter.step(now).state, State::Parked(_)) {
            return None;
        }
    }
    assert!(reporter.stats().reported_bytes() > zone.granules() * GRANULE, "it worked");
    live.into_iter().try_for_each(|block| hand.free_bare(block)).ok()?;
    Some(most as f64)
}
