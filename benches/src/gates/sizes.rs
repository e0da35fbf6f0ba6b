//! Timed figures of the range map by its size: 10^4 ranges, which the second
//! cache holds, and 10^7, which none does; and of walking from range to range.
//!
//! The floor is the static tree throughout: one word per page would be
//! gigabytes of touched memory at 10^7.

use crate::ranges::{StaticTree, Workload, clustered_of, scattered_of, widest};
use core::hint::black_box;
use lookup::{Addresses, Pages, Payload, Ranges};
use memdesc::pin;
use memdesc::sync::Mutex;
use std::collections::BTreeMap;
use std::time::Instant;

/// Look-ups of one measurement.
const QUERIES: usize = 1 << 17;
/// Ranges that one measurement of a walk passes.
const STEPS: usize = 1 << 17;

struct Built {
    queries: Vec<u64>,
    map: Ranges<Payload>,
    tree: StaticTree,
    ranges: usize,
}

/// What was built of a workload; it stays. `None` where memory is refused.
fn built(count: usize, scattered: bool) -> Option<&'static Built> {
    static KNOWN: Mutex<BTreeMap<(usize, bool), Option<&'static Built>>> =
        Mutex::new(BTreeMap::new());
    let make = || {
        let workload = if scattered { scattered_of(count) } else { clustered_of(count) };
        let tree = StaticTree::new(&workload).ok()?;
        let (map, ranges) = (map(&workload)?, workload.ranges.len());
        let queries = workload.queries;
        let built: &'static Built = Box::leak(Box::new(Built { queries, map, tree, ranges }));
        Some(built)
    };
    *KNOWN.lock().entry((count, scattered)).or_insert_with(make)
}

/// Built at once: inserting 10^7 one by one takes longer than a run.
fn map(workload: &Workload) -> Option<Ranges<Payload>> {
    let mut ranges: Vec<_> = workload.ranges.iter().copied().zip(1..=u32::MAX).collect();
    ranges.sort_unstable_by_key(|(range, _)| range.first());
    let items = ranges.into_iter().map(|(range, number)| (range, Payload::from(number)));
    Ranges::from_sorted_with(Pages::Huge, items).ok()
}

/// Nanoseconds of a look-up where each address depends on the answer before.
#[inline(always)]
fn dependent_ns(queries: &[u64], find: impl Fn(u64) -> u64) -> f64 {
    let begun = Instant::now();
    let all = queries.iter().cycle().take(QUERIES);
    black_box(all.fold(0, |last, &page| find(page + (last >> 40))));
    begun.elapsed().as_nanos() as f64 / QUERIES as f64
}

impl Built {
    fn find_ns(&self) -> f64 {
        let guard = pin();
        let find = |page| self.map.find(page, &guard).map_or(0, |found| found.get());
        dependent_ns(&self.queries, find)
    }
}

/// A dependent look-up: ours to the static tree's.
pub(super) fn find<const COUNT: usize, const SCATTERED: bool>() -> Option<f64> {
    let built = built(COUNT, SCATTERED)?;
    let ours = built.find_ns();
    Some(ours / widest(|| dependent_ns(&built.queries, |page| built.tree.find(page))))
}

/// Bytes of nodes per range, built at once.
pub(super) fn bytes<const COUNT: usize, const SCATTERED: bool>() -> Option<f64> {
    let built = built(COUNT, SCATTERED)?;
    Some(built.map.node_bytes() as f64 / built.ranges as f64)
}

/// The next range from an address at random, which depends on the one before:
/// to a look-up.
pub(super) fn next<const COUNT: usize>() -> Option<f64> {
    let built = built(COUNT, false)?;
    let guard = pin();
    let next = |page| built.map.next(page, &guard).map_or(0, |found| found.get());
    Some(dependent_ns(&built.queries, next) / built.find_ns())
}

/// A step of a walk over ranges in order of address: to a look-up at random.
pub(super) fn iter<const COUNT: usize>() -> Option<f64> {
    let built = built(COUNT, false)?;
    let guard = pin();
    let begun = Instant::now();
    let sum: u64 =
        built.map.iter(Addresses::ALL, &guard).take(STEPS).map(|found| found.get()).sum();
    black_box(sum);
    let step = begun.elapsed().as_nanos() as f64 / STEPS.min(built.ranges) as f64;
    Some(step / built.find_ns())
}
