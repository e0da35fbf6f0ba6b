//! What the threads of a run share.
//!
//! # Sharing
//!
//! | what        | who writes                  | ordered by                     |
//! |-------------|-----------------------------|--------------------------------|
//! | `slots`     | whoever has the id's turn, and the swapper | a lock per id   |
//! | `positions` | each guest its own          | `Relaxed`: progress only       |
//! | `known`     | each guest for its blocks   | see there                      |
//! | `trouble`   | anybody, the first counts   | a lock                         |

use super::cookie::Cookie;
use super::host::Host;
use super::kinds::Lent;
use super::plan::Plan;
use super::swap::{SwapIn, Swapped};
use potad::memdesc::Block;
use potad::memdesc::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use potad::memdesc::sync::{Arc, Mutex, thread};
use std::time::{Duration, Instant};

/// Spins before the processor is given away, and before it is left alone.
const SPINS: u32 = 100;
const YIELDS: u32 = 2000;
/// How long it is left alone.
const NAP: Duration = Duration::from_micros(50);

/// A live block of the trace.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lent: Lent,
    pub(super) cookie: Cookie,
    /// Who allocated it, and so owns it.
    pub(super) guest: usize,
    /// The record that allocated or last touched it.
    pub(super) touched: u32,
    pub(super) swapped: Option<Swapped>,
}

/// An id of the trace.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Steps done.
    pub(super) turn: AtomicU32,
    pub(super) held: Mutex<Option<Held>>,
}

/// Where a guest is.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Position {
    /// Granules allocated in the trace before its record.
    before: AtomicU64,
    /// Records done.
    pub(super) done: AtomicU64,
    /// The block that it is about to free, encoded; 0 for none.
    pub(super) freeing: AtomicU64,
}

/// All of it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) host: Host,
    pub(super) slots: Vec<Slot>,
    pub(super) positions: Vec<Position>,
    pub(super) content_mismatches: AtomicU64,
    pub(super) pressure: AtomicU64,
    /// Somebody else's wish.
    stop: Arc<AtomicBool>,
    /// Our own: the time is up, or something went wrong.
    end: AtomicBool,
    pub(super) deadline: Option<Instant>,
    trouble: Mutex<Option<String>>,
}

impl World {
    pub(super) fn new(plan: Plan, host: Host, stop: Arc<AtomicBool>, seconds: Option<f64>) -> Self {
        let limit = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Self {
            slots: (0..plan.ids).map(|_| Slot::default()).collect(),
            positions: plan.queues.iter().map(|_| Position::default()).collect(),
            content_mismatches: AtomicU64::new(0),
            pressure: AtomicU64::new(0),
            stop,
            end: AtomicBool::new(false),
            deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
            trouble: Mutex::new(None),
            plan,
            host,
        }
    }

    /// Whether guests stop at their next record. `Relaxed`: only read to stop.
    pub(super) fn is_over(&self) -> bool {
        self.end.load(Ordering::Relaxed) || self.is_interrupted()
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.end.store(true, Ordering::Relaxed);
    }

    /// Notes what should never happen; the first is told.
    pub(super) fn trouble(&self, what: impl core::fmt::Display) {
        let mut trouble = self.trouble.lock();
        if trouble.is_none() {
            *trouble = Some(what.to_string());
        }
    }

    pub(super) fn take_trouble(&self) -> Option<String> {
        self.trouble.lock().take()
    }

    /// Records done by all guests.
    pub(super) fn done(&self) -> u64 {
        self.positions.iter().map(|position| position.done.load(Ordering::Relaxed)).sum()
    }

    /// Says where a guest is, and waits until the others are near enough that
    /// it cannot use up the room; `false` if the run is over.
    pub(super) fn keep_near(&self, guest: usize, before: u64) -> bool {
        self.positions[guest].before.store(before, Ordering::Relaxed);
        let least = before.saturating_sub(self.plan.slack);
        let near = |other: &Position| other.before.load(Ordering::Relaxed) >= least;
        self.wait(|| self.positions.iter().all(near))
    }

    /// A guest that is done holds nobody back.
    pub(super) fn leave(&self, guest: usize) {
        self.positions[guest].before.store(u64::MAX, Ordering::Relaxed);
    }

    /// Waits until it is a step's turn with an id.
    pub(super) fn await_turn(&self, id: u32, turn: u32) -> bool {
        let slot = &self.slots[id as usize];
        // `Acquire` pairs with the `Release` in `pass_turn`.
        self.wait(|| slot.turn.load(Ordering::Acquire) >= turn)
    }

    pub(super) fn pass_turn(&self, id: u32, turn: u32) {
        // `Release` pairs with the `Acquire` in `await_turn`: whoever has the
        // next turn sees the block's memory as this one left it.
        self.slots[id as usize].turn.store(turn + 1, Ordering::Release);
    }

    fn wait(&self, mut done: impl FnMut() -> bool) -> bool {
        let mut turns = 0;
        loop {
            if done() {
                return true;
            }
            if self.is_over() {
                return false;
            }
            turns += 1;
            match turns {
                0..SPINS => core::hint::spin_loop(),
                SPINS..YIELDS => thread::yield_now(),
                _ => std::thread::sleep(NAP),
            }
        }
    }

    /// First address and bytes of a block.
    pub(super) fn range(&self, block: Block) -> (u64, u64) {
        let bytes = block.order().granules() * self.plan.granule;
        (self.host.zone.address_of(block.base()), bytes)
    }

    /// Makes sure that a block's contents are in memory, as its user would by a
    /// page fault.
    pub(super) fn fault_in(&self, held: &mut Held) {
        let Some(swapped) = held.swapped.take() else { return };
        let (first, _) = self.range(held.lent.place());
        match self.host.swap.swap_in(&self.host.ram, first, swapped) {
            Ok(SwapIn::Sound) => {}
            Ok(SwapIn::Changed) => self.content_mismatch("the checksum of swapped contents", held),
            Err(error) => self.host.swap.fail(&error),
        }
    }

    /// Checks a block's contents, which are in memory.
    pub(super) fn check_contents(&self, held: &Held) {
        let (first, bytes) = self.range(held.lent.place());
        if !held.cookie.is_in(self.host.ram.words(first, bytes)) {
            self.content_mismatch("the cookie", held);
        }
    }

    #[cold]
    fn content_mismatch(&self, what: &str, held: &Held) {
        self.content_mismatches.fetch_add(1, Ordering::Relaxed);
        self.trouble(format_args!("{what} of {:?} {:?} changed", held.lent, held.cookie));
    }
}
