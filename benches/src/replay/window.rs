//! Keeping queues together: nobody runs far ahead of the slowest.

use core::hint::spin_loop;
use memdesc::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use memdesc::sync::thread::yield_now;

/// Records that a queue may be ahead of the slowest.
const AHEAD: u64 = 1024;
/// Spins before the processor is given away.
const SPINS: u32 = 200;

/// One queue's position, on its own line.
#[derive(Debug)]
#[repr(align(128))]
struct Position(AtomicU64);

/// Where all queues are, and whether the run was given up.
#[derive(Debug)]
pub(super) struct Window {
    positions: Vec<Position>,
    arrived: AtomicUsize,
    gave_up: AtomicBool,
}

impl Window {
    pub(super) fn new(queues: usize) -> Self {
        Self {
            positions: (0..queues).map(|_| Position(AtomicU64::new(0))).collect(),
            arrived: AtomicUsize::new(0),
            gave_up: AtomicBool::new(false),
        }
    }

    /// Waits until every queue has called this `round` times. Spins, so that
    /// they leave together.
    pub(super) fn meet(&self, round: usize) {
        // `AcqRel`, and `Acquire` below: what each did before is seen by all
        // after, as with any barrier.
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let all = round * self.positions.len();
        wait_until(|| self.arrived.load(Ordering::Acquire) >= all || self.has_given_up());
    }

    /// Says where `queue` is.
    pub(super) fn publish(&self, queue: usize, at: u64) {
        // `Relaxed`: a hint about progress; nothing else is read through it.
        self.positions[queue].0.store(at, Ordering::Relaxed);
    }

    /// Says where `queue` is, and waits until the others are near.
    pub(super) fn keep_near(&self, queue: usize, at: u64) {
        self.publish(queue, at);
        let near = |other: &Position| other.0.load(Ordering::Relaxed).saturating_add(AHEAD) >= at;
        wait_until(|| self.positions.iter().all(near) || self.has_given_up());
    }

    /// Makes every queue stop at its next look.
    pub(super) fn give_up(&self) {
        // `Relaxed`: only ever read to stop.
        self.gave_up.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_given_up(&self) -> bool {
        // `Relaxed`: as in `give_up`.
        self.gave_up.load(Ordering::Relaxed)
    }
}

/// Spins, then yields, until `done`.
pub(super) fn wait_until(mut done: impl FnMut() -> bool) {
    let mut spins = 0_u32;
    while !done() {
        spins += 1;
        if spins < SPINS {
            spin_loop();
        } else {
            yield_now();
        }
    }
}
