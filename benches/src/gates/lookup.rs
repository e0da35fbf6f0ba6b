//! Timed figures of look-up: the dense tree of descriptors, and the map of
//! address ranges beside its floors.
//!
//! What takes long to build is built once and stays; each call measures ours
//! and the floor one after the other, on addresses that the call before did
//! not use.

use super::describe::{Folio, Ram, fresh, ram};
use crate::ranges::{Flat, RANGES, StaticTree, Workload, clustered, peers, scattered, widest};
use crate::workload::Random;
use core::hint::black_box;
use lookup::{Addresses, Pages, Payload, Ranges, Tree};
use memdesc::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use memdesc::{Block, Granule, Guard, Immediate, Order, OwnerId, Ref, Subtype, pin};
use std::sync::OnceLock;
use std::time::Instant;

/// Look-ups of one measurement.
const QUERIES: usize = 1 << 17;
/// Hot calls of one measurement, and the blocks they go to.
const HOT_CALLS: usize = 1 << 20;
const HOT_BLOCKS: u64 = 1024;

/// Nanoseconds of each of `count` steps.
fn per_step(count: usize, run: impl FnOnce() -> u64) -> f64 {
    let begun = Instant::now();
    black_box(run());
    begun.elapsed().as_nanos() as f64 / count as f64
}

// ---- the dense tree ---------------------------------------------------------

/// A tree with blocks side by side, and a random walk over them.
struct Hot {
    ram: Ram,
    at: Vec<Granule>,
    _blocks: Vec<Ref<Ram, Folio>>,
}

fn hot() -> Hot {
    let ram = ram();
    let publish = |at| {
        let block = Block::containing(Granule(at), Order::ZERO);
        ram.0.tree.publish(block, fresh(&ram)).unwrap_or_else(|refused| panic!("{}", refused.why))
    };
    let blocks = (0..HOT_BLOCKS).map(publish).collect();
    let mut random = Random::new(5);
    let at = (0..HOT_BLOCKS).map(|_| Granule(random.below(HOT_BLOCKS))).collect();
    Hot { ram, at, _blocks: blocks }
}

/// Times a call on hot blocks, after a round that warms them.
fn hot_calls(call: impl Fn(&Tree<Ram>, Granule) -> u64) -> Option<f64> {
    let hot = hot();
    let tree = &hot.ram.0.tree;
    let round = || hot.at.iter().map(|&at| call(tree, at)).sum::<u64>();
    black_box(round());
    let rounds = HOT_CALLS / hot.at.len();
    Some(per_step(HOT_CALLS, || (0..rounds).map(|_| round()).sum()))
}

fn peeked(tree: &Tree<Ram>, at: Granule, guard: &Guard) -> u64 {
    let found = tree.find(at, guard);
    u64::from(found.is_some_and(|found| found.downcast::<Folio>().is_some()))
}

/// A peek while the thread is pinned.
pub(super) fn peek() -> Option<f64> {
    let guard = pin();
    hot_calls(|tree, at| peeked(tree, at, &guard))
}

/// A peek that pins.
pub(super) fn pinned_peek() -> Option<f64> {
    hot_calls(|tree, at| peeked(tree, at, &pin()))
}

/// A reference taken and put.
pub(super) fn get_put() -> Option<f64> {
    let outer = pin();
    hot_calls(|tree, at| u64::from(tree.get_with::<Folio>(at, &outer).is_some()))
}

/// A lock taken and given back.
pub(super) fn lock_unlock() -> Option<f64> {
    let outer = pin();
    hot_calls(|tree, at| u64::from(tree.lock_with::<Folio>(at, &outer).is_some()))
}

/// Publishing and clearing a raw block as an allocator does that looks afterwards at
/// what markers of failures note, at the order where it takes longest. Of each
/// order the best of five turns: else one stall in any of them is the answer.
pub(super) fn publish_clear() -> Option<f64> {
    let tree = Tree::<Ram>::new();
    let pairs = |order: Order, count: usize| {
        let block = Block::containing(Granule(1 << 40), order);
        let raw = Immediate::new(Subtype::Raw, OwnerId(1), order);
        let pair = |_| {
            let published = tree.publish_immediate(block, raw);
            u64::from(published.is_ok() && tree.clear_noted(block).is_ok())
        };
        per_step(count, || (0..count).map(pair).sum())
    };
    let orders = Order::all().take_while(|order| order.get() <= 36);
    let worst = orders.map(|order| {
        pairs(order, 1000);
        (0..5).map(|_| pairs(order, 4000)).reduce(f64::min)
    });
    let worst = worst.flatten();
    worst.reduce(f64::max)
}

/// Tables and nodes of a tree, of the memory whose words they are, in percent.
pub(super) fn dense_bytes() -> Option<f64> {
    let tree = Tree::<Ram>::new();
    let granules = 1u64 << 20;
    for word in 0..granules / 64 {
        let block = Block::containing(Granule(word * 64 + 7), Order::ZERO);
        let raw = Immediate::new(Subtype::Raw, OwnerId(1), Order::ZERO);
        tree.publish_immediate(block, raw).ok()?;
    }
    Some(tree.bytes() as f64 / (granules * 4096) as f64 * 100.0)
}

// ---- the range map ----------------------------------------------------------

/// A workload with what was built of it.
struct Built {
    workload: Workload,
    huge: Ranges<Payload>,
    any: Ranges<Payload>,
}

impl Built {
    fn new(workload: Workload) -> Self {
        let (huge, any) = (workload.map(Pages::Huge), workload.map(Pages::Any));
        Self { workload, huge, any }
    }

    /// Pages that were not asked for of late.
    fn queries(&self) -> &[u64] {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: only the number matters.
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let first = call % (RANGES / QUERIES) * QUERIES;
        &self.workload.queries[first..first + QUERIES]
    }

    fn bytes_per_range(&self) -> f64 {
        self.huge.node_bytes() as f64 / self.workload.ranges.len() as f64
    }
}

fn the_clustered() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| Built::new(clustered()))
}

fn the_scattered() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| Built::new(scattered()))
}

/// `None` where the system refuses the address space.
fn the_flat() -> Option<&'static Flat> {
    static FLAT: OnceLock<Option<Flat>> = OnceLock::new();
    FLAT.get_or_init(|| Flat::new(&the_clustered().workload).ok()).as_ref()
}

fn the_tree() -> Option<&'static StaticTree> {
    static TREE: OnceLock<Option<StaticTree>> = OnceLock::new();
    TREE.get_or_init(|| StaticTree::new(&the_scattered().workload).ok()).as_ref()
}

/// Each address depends on the answer before.
#[inline(always)]
fn dependent_ns(queries: &[u64], find: impl Fn(u64) -> u64) -> f64 {
    per_step(queries.len(), || {
        // Answers are below 2^32; that the shift leaves nothing the processor
        // cannot know.
        queries.iter().fold(0, |last, &page| find(page + (last >> 40)))
    })
}

#[inline(always)]
fn independent_ns(queries: &[u64], find: impl Fn(u64) -> u64) -> f64 {
    per_step(queries.len(), || queries.iter().map(|&page| find(page)).sum())
}

#[inline(always)]
fn number(map: &Ranges<Payload>, page: u64, guard: &Guard) -> u64 {
    map.find(page, guard).map_or(0, |found| found.get())
}

fn dependent_of(map: &Ranges<Payload>) -> Option<f64> {
    let (flat, queries) = (the_flat()?, the_clustered().queries());
    let guard = pin();
    let ours = dependent_ns(queries, |page| number(map, page, &guard));
    Some(ours / dependent_ns(queries, |page| flat.find(page)))
}

/// Clustered, dependent, nodes in huge pages: ours to the flat array's.
pub(super) fn dependent_huge() -> Option<f64> {
    dependent_of(&the_clustered().huge)
}

/// The same with nodes in whatever pages.
pub(super) fn dependent() -> Option<f64> {
    dependent_of(&the_clustered().any)
}

/// Clustered, one after the other, independent.
pub(super) fn independent() -> Option<f64> {
    let (flat, built) = (the_flat()?, the_clustered());
    let (queries, guard) = (built.queries(), pin());
    let ours = independent_ns(queries, |page| number(&built.huge, page, &guard));
    Some(ours / independent_ns(queries, |page| flat.find(page)))
}

/// Clustered, many at once.
pub(super) fn many() -> Option<f64> {
    let (flat, built) = (the_flat()?, the_clustered());
    let (queries, guard) = (built.queries(), pin());
    let ours = per_step(queries.len(), || {
        let mut sum = 0;
        built.huge.find_many(queries, &guard, |_, found| {
            sum += found.map_or(0, |found| found.get());
        });
        sum
    });
    Some(ours / independent_ns(queries, |page| flat.find(page)))
}

/// The time of the best peer to ours: clustered, dependent.
pub(super) fn best_peer() -> Option<f64> {
    let built = the_clustered();
    let queries = &built.queries()[..QUERIES / 2];
    let guard = pin();
    let ours = dependent_ns(queries, |page| number(&built.huge, page, &guard));
    let best = peers::find_all(&built.workload, |find| {
        dependent_ns(queries, |page| find(page).unwrap_or(0))
    });
    Some(best? / ours)
}

/// Scattered, dependent: ours to the static tree's.
pub(super) fn scattered_to_tree() -> Option<f64> {
    let (tree, built) = (the_tree()?, the_scattered());
    let (queries, guard) = (built.queries(), pin());
    let ours = dependent_ns(queries, |page| number(&built.huge, page, &guard));
    Some(ours / widest(|| dependent_ns(queries, |page| tree.find(page))))
}

/// Bytes of nodes per clustered range.
pub(super) fn bytes_clustered() -> Option<f64> {
    Some(the_clustered().bytes_per_range())
}

/// Bytes of nodes per scattered range.
pub(super) fn bytes_scattered() -> Option<f64> {
    Some(the_scattered().bytes_per_range())
}

/// A reader's time beside a writer, to its time alone.
pub(super) fn beside_writer() -> Option<f64> {
    let built = the_clustered();
    let queries = built.queries();
    let map = &built.any;
    let reader = || {
        let guard = pin();
        independent_ns(queries, |page| number(map, page, &guard))
    };
    let quiet = reader();
    let (begun, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let beside = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(9);
            // Relaxed: a flag that says nothing else.
            while !done.load(Ordering::Relaxed) {
                let number = random.below(RANGES as u64) as usize;
                again(map, built.workload.ranges[number], number);
                begun.store(true, Ordering::Relaxed);
            }
        });
        while !begun.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let beside = reader();
        done.store(true, Ordering::Relaxed);
        beside
    });
    Some(beside / quiet)
}

/// Takes a range out and puts it back.
fn again(map: &Ranges<Payload>, range: Addresses, number: usize) {
    map.remove(range).expect("memory");
    let number = Payload::new(number as u64 + 1).expect("a small number");
    map.set(range, number).expect("memory");
}
