//! Timed figures of blocks with a descriptor of one line: making and freeing
//! them, and reading them by an address.
//!
//! A *pair* is everything: the block, the descriptor, its publication, the last
//! put, the clearing, the giving back, the retirement, and the deferred frees
//! of earlier pairs, which run while later ones are timed. No pin is held
//! around it. Calls go through the zone, so through the thread's own hand.

use crate::workload::{Random, per_op, together};
use core::hint::black_box;
use memdesc::sync::Mutex;
use memdesc::{Guard, Order, pin};
use potad::{Block, Potad, Resource, Zone};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// With header and anchor, one line.
#[derive(Debug)]
struct Folio([u64; 5]);

memdesc::descriptors! { set Mm { Folio = 1 } }

const PAIRS: u64 = 200_000;
const READS: u64 = 400_000;
const LIVE: usize = 4096;
/// Blocks that go to the other thread at once.
const BATCH: usize = 256;
/// Batches on their way in each direction, so that neither thread sleeps for
/// the other: what is measured is not the scheduler.
const UNDER_WAY: u64 = 8;

/// 8 GiB of 4 KiB.
fn zone() -> Option<Zone> {
    let ram = Resource::new("typed").granule(4096).span(0..8_u64 << 30);
    Potad::new().register(ram).ok()
}

fn alloc(zone: &Zone) -> Option<Block<Folio>> {
    zone.alloc(Order::ZERO, black_box(Folio([1; 5]))).ok()
}

fn pairs(zone: &Zone, count: u64) -> Option<Duration> {
    let begun = Instant::now();
    for _ in 0..count {
        drop(black_box(alloc(zone)?));
    }
    Some(begun.elapsed())
}

/// ns of a hot pair.
pub(super) fn hot() -> Option<f64> {
    let zone = zone()?;
    pairs(&zone, PAIRS / 8)?;
    Some(per_op(pairs(&zone, PAIRS)?, PAIRS))
}

/// ns of a pair while 4,096 live, each replacing one at random.
pub(super) fn churn() -> Option<f64> {
    let zone = zone()?;
    let mut live: Vec<_> = (0..LIVE).map(|_| alloc(&zone)).collect::<Option<_>>()?;
    let mut random = Random::new(7);
    let mut run = |count| {
        let begun = Instant::now();
        for _ in 0..count {
            live[random.below(LIVE as u64) as usize] = alloc(&zone)?;
        }
        Some(begun.elapsed())
    };
    run(PAIRS / 2)?;
    Some(per_op(run(PAIRS)?, PAIRS))
}

/// The mean of what each of two threads takes for a pair.
fn on_two(work: impl Fn(&Zone, usize, u64) -> Option<Duration> + Sync) -> Option<f64> {
    let zone = zone()?;
    let times = together(2, |number, meet| {
        let warm = work(&zone, number, PAIRS / 8);
        meet();
        warm.and_then(|_| work(&zone, number, PAIRS))
    });
    let times: Option<Vec<f64>> =
        times.into_iter().map(|time| Some(per_op(time?, PAIRS))).collect();
    times.map(|times| times.iter().sum::<f64>() / times.len() as f64)
}

/// ns of a hot pair on each of two threads at once.
pub(super) fn two_threads() -> Option<f64> {
    on_two(|zone, _, count| pairs(zone, count))
}

/// ns of a pair where each of two threads frees what the other made, 256 at a
/// time, and some batches later.
pub(super) fn remote() -> Option<f64> {
    type End = (SyncSender<Vec<Block<Folio>>>, Receiver<Vec<Block<Folio>>>);
    let channel = || sync_channel(2 * UNDER_WAY as usize);
    let ((to_b, from_a), (to_a, from_b)) = (channel(), channel());
    let ends: [Mutex<End>; 2] = [Mutex::new((to_b, from_b)), Mutex::new((to_a, from_a))];
    on_two(|zone, number, count| {
        let (send, receive) = &*ends[number].lock();
        let mut made = Vec::with_capacity(BATCH);
        let begun = Instant::now();
        let batches = count / BATCH as u64;
        for batch in 0..batches + UNDER_WAY {
            if batch < batches {
                for _ in 0..BATCH {
                    made.push(alloc(zone)?);
                }
                send.send(made).ok()?;
                made = Vec::new();
            }
            if batch >= UNDER_WAY {
                made = receive.recv().ok()?;
                Block::drop_many(made.drain(..));
            }
        }
        Some(begun.elapsed())
    })
}

/// ns of a call on an address that is read again and again.
fn reading(read: impl Fn(&Zone, u64) -> Option<u64>) -> Option<f64> {
    let zone = zone()?;
    let block = alloc(&zone)?;
    let address = block.address() + 123;
    let run = |count| {
        let begun = Instant::now();
        for _ in 0..count {
            black_box(read(&zone, black_box(address))?);
        }
        Some(begun.elapsed())
    };
    run(READS / 8)?;
    Some(per_op(run(READS)?, READS))
}

fn peek(zone: &Zone, address: u64, guard: &Guard) -> Option<u64> {
    let found = zone.find(address, guard)?;
    Some(found.downcast::<Folio>()?.0[0])
}

/// ns of a look-up with a pin that is there.
pub(super) fn peek_pinned() -> Option<f64> {
    let outer = pin();
    reading(|zone, address| peek(zone, address, &outer))
}

/// ns of a look-up with a pin of its own.
pub(super) fn peek_unpinned() -> Option<f64> {
    reading(|zone, address| peek(zone, address, &pin()))
}

/// ns of a counted reference taken by the address and dropped, with a pin that
/// is there.
pub(super) fn get_put() -> Option<f64> {
    let outer = pin();
    reading(|zone, address| Some(zone.get_with::<Folio>(address, &outer)?.0[0]))
}

/// ns of a lock taken by the address and dropped, with a pin that is there.
pub(super) fn lock_unlock() -> Option<f64> {
    let outer = pin();
    reading(|zone, address| Some(zone.lock_with::<Folio>(address, &outer)?.0[0]))
}
