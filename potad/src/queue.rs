//! The queue of failures: what signal handlers leave for a normal thread.
//!
//! # Picture
//!
//! ```text
//!            full    taken   empty   full
//!  cells    | a,6,F | ..    |       | b,12,C |     address, lsb, kind
//!               ^                ^
//!            next_pop         next_push            where to begin to look: hints
//! ```
//!
//! | a cell is | leaves by |
//! |---|---|
//! | empty | a push claims it: compare-exchange to taken |
//! | taken | its one writer or reader: store of full, or of empty |
//! | full | a pop claims it: compare-exchange to taken |
//!
//! # What always holds
//!
//! Whoever takes a cell has it alone until it stores the next state. So an event
//! is never torn, and what was pushed stays until it is popped, once.
//!
//! **Nobody waits.** A push that finds a cell taken goes on to the next: it may
//! have interrupted the very push that has it, in the same thread. (A ring of
//! tickets would be in order, but a pop would have to wait for the interrupted
//! one, and after a turn pushes too.) A push looks at each cell once, a pop too:
//! both end after so many steps whatever others do. The price is that order is
//! kept only as far as nobody overtakes.
//!
//! A push that finds no cell empty counts its event as dropped, and says so.
//!
//! # Sharing and cost
//!
//! Any thread and any handler pushes, any thread pops. A push is two RMWs as a
//! rule: the hint's, and the cell's; at most one load a cell more. A pop of an
//! empty queue looks at all cells. 24 bytes a cell, made when the queue is.

use crate::error::Error;
use crate::failure::FailureReport;
use crate::{Potad, Zone};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::{fmt, iter};
use memdesc::sync::atomic::Ordering;
use memdesc::sync::own::AtomicU64;
use memdesc::{FailureKind, seeded};

/// A failure that waits to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FailureEvent {
    /// Where.
    pub address: u64,
    /// The `1 << lsb` units around it; 64 for all there are.
    pub lsb: u32,
    /// How it came to light.
    pub kind: FailureKind,
}

/// A queue had no room: the event was counted as dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for the failure at {:#x}, lsb {}", .dropped.address, .dropped.lsb)]
pub struct QueueFull {
    /// What was dropped.
    pub dropped: FailureEvent,
}

/// Failures on their way from signal handlers to a normal thread: a fixed number
/// of cells, without lock.
///
/// [`push`](Self::push) may be called in a handler, even in one that interrupts
/// another push; what else may be called there is in the table of
/// [`Zone::find_signal`]. What does not fit is counted, never silently lost.
///
/// ```
/// use potad::{FailureQueue, Potad, Resource, memdesc::FailureKind};
///
/// let potad = Potad::new();
/// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
/// let queue = FailureQueue::new(2)?;
///
/// // In a handler:
/// queue.push(0x1234_5678, 12, FailureKind::Consumed)?;
/// queue.push(1 << 40, 12, FailureKind::Consumed)?;
/// assert!(queue.push(0x8000, 12, FailureKind::Consumed).is_err());
///
/// // In a thread:
/// let mut outside = 0;
/// let taken = potad.report_queued(&queue, |event, report| match report {
///     Ok(report) => assert_eq!((event.address, report.quarantined), (0x1234_5678, 1)),
///     Err(_) => outside += 1,
/// });
/// assert_eq!((taken, outside, queue.dropped()), (2, 1, 1));
/// assert_eq!(ram.stats().quarantined, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FailureQueue {
    cells: Box<[Cell]>,
    /// Where the next push begins to look.
    next_push: AtomicU64,
    /// Where the next pop begins to look.
    next_pop: AtomicU64,
    /// Events that found no room.
    dropped: AtomicU64,
}

struct Cell {
    /// See the module's table.
    state: AtomicU64,
    address: AtomicU64,
    /// `kind << 8 | lsb`.
    rest: AtomicU64,
}

const EMPTY: u64 = 0;
const TAKEN: u64 = 1;
const FULL: u64 = 2;

impl FailureQueue {
    /// A queue with room for so many events: all the memory that it will ever
    /// need. Refuses none, and what there is no memory for.
    ///
    /// ```
    /// use potad::{Error, FailureQueue};
    /// assert_eq!(FailureQueue::new(0).unwrap_err(), Error::NoCapacity { asked: 0 });
    /// assert_eq!(FailureQueue::new(usize::MAX).unwrap_err(), Error::OutOfMemory);
    /// ```
    pub fn new(capacity: usize) -> Result<Self, Error> {
        if capacity == 0 {
            return Err(Error::NoCapacity { asked: capacity });
        }
        let mut cells = Vec::new();
        cells.try_reserve_exact(capacity).map_err(|_| Error::OutOfMemory)?;
        cells.extend(iter::repeat_with(Cell::new).take(capacity));
        Ok(Self {
            cells: cells.into_boxed_slice(),
            next_push: AtomicU64::new(0),
            next_pop: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        })
    }

    /// Leaves a failure for a normal thread, or counts it as dropped.
    /// Async-signal-safe.
    ///
    /// `lsb` as the system says it, in bits; above 64 it is 64.
    pub fn push(&self, address: u64, lsb: u32, kind: FailureKind) -> Result<(), QueueFull> {
        let event = FailureEvent { address, lsb: lsb.min(64), kind };
        // Relaxed: a hint.
        let first = self.next_push.fetch_add(1, Ordering::Relaxed);
        if self.cells_from(first).any(|(_, cell)| cell.put(event)) {
            return Ok(());
        }
        if !seeded!("dropped event not counted") {
            // Relaxed: a figure, which orders nothing.
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Err(QueueFull { dropped: event })
    }

    /// Takes an event, about the one that has waited longest. Not for handlers
    /// only because nothing there could report it.
    pub fn pop(&self) -> Option<FailureEvent> {
        // Relaxed: a hint, and so is the store.
        let first = self.next_pop.load(Ordering::Relaxed);
        let (at, event) = self.cells_from(first).find_map(|(at, cell)| Some((at, cell.take()?)))?;
        self.next_pop.store(at.wrapping_add(1), Ordering::Relaxed);
        Some(event)
    }

    /// Takes events until none is left. While others push, that need not end:
    /// bound it by `take`.
    ///
    /// ```
    /// # use potad::{FailureQueue, memdesc::FailureKind};
    /// let queue = FailureQueue::new(8)?;
    /// for at in 0..3 {
    ///     queue.push(at, 0, FailureKind::Found).unwrap();
    /// }
    /// let seen: Vec<u64> = queue.drain().map(|event| event.address).collect();
    /// assert_eq!(seen, [0, 1, 2]);
    /// # Ok::<(), potad::Error>(())
    /// ```
    pub fn drain(&self) -> impl Iterator<Item = FailureEvent> {
        iter::from_fn(|| self.pop())
    }

    /// Events that found no room, so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Events that there is room for in all.
    pub fn capacity(&self) -> usize {
        self.cells.len()
    }

    /// Hands what waits to `report`, and its answers to `each`: at most as many
    /// as there is room for, so that pushes meanwhile do not keep the caller.
    fn report_by(
        &self,
        report: impl Fn(FailureEvent) -> Result<FailureReport, Error>,
        mut each: impl FnMut(FailureEvent, Result<FailureReport, Error>),
    ) -> usize {
        let waiting = self.drain().take(self.capacity());
        waiting.map(|event| each(event, report(event))).count()
    }

    /// All cells, each with its number, beginning with that of a hint.
    fn cells_from(&self, first: u64) -> impl Iterator<Item = (u64, &Cell)> {
        // Lossless, both: 64-bit targets only.
        let start = (first % self.cells.len() as u64) as usize;
        let (before, from) = self.cells.split_at(start);
        (first..).zip(from.iter().chain(before))
    }
}

impl Cell {
    fn new() -> Self {
        Self { state: AtomicU64::new(EMPTY), address: AtomicU64::new(0), rest: AtomicU64::new(0) }
    }

    /// Takes the cell if it is in a state: alone, until the next store of one.
    fn claim(&self, state: u64) -> bool {
        // Relaxed: a guess, which spares others the line. Not in models: of the
        // accesses before an exchange loom remembers the last, and that would
        // be this load instead of another thread's.
        if !cfg!(loom) && self.state.load(Ordering::Relaxed) != state {
            return false;
        }
        if seeded!("cell claimed by a plain store") {
            let is_there = self.state.load(Ordering::Relaxed) == state;
            if is_there {
                self.state.store(TAKEN, Ordering::Relaxed);
            }
            return is_there;
        }
        // `Acquire` pairs with the Release of whoever left the state: a reader
        // sees what was written, and a writer comes after the last reader.
        // Failing: somebody else has it.
        self.state
            .compare_exchange(
                state,
                TAKEN,
                memdesc::weakened!("cell claimed relaxed", Acquire),
                Ordering::Relaxed,
            )
            .is_ok()
    }

    /// Writes an event, if the cell is empty: whether it was.
    fn put(&self, event: FailureEvent) -> bool {
        if !self.claim(EMPTY) {
            return false;
        }
        let published = match seeded!("event published relaxed") {
            true => Ordering::Relaxed,
            // Pairs with a pop's claim.
            false => Ordering::Release,
        };
        // Relaxed: the cell is ours, and the state publishes it.
        self.address.store(event.address, Ordering::Relaxed);
        self.rest.store(number(event.kind) << 8 | u64::from(event.lsb), Ordering::Relaxed);
        self.state.store(FULL, published);
        true
    }

    /// Takes the event out, if there is one.
    fn take(&self) -> Option<FailureEvent> {
        if !self.claim(FULL) {
            return None;
        }
        let address = self.address.load(Ordering::Relaxed);
        let rest = self.rest.load(Ordering::Relaxed);
        // Pairs with a push's claim: it writes after we have read. (No tool misses
        // it: none runs a load after a later store.)
        self.state.store(EMPTY, Ordering::Release);
        // Lossless: the low eight bits.
        Some(FailureEvent { address, lsb: (rest & 0xff) as u32, kind: kind_of(rest >> 8) })
    }
}

fn number(kind: FailureKind) -> u64 {
    match kind {
        FailureKind::Consumed => 0,
        FailureKind::Found => 1,
        FailureKind::Predicted => 2,
        FailureKind::Injected => 3,
        FailureKind::Corrected => 4,
    }
}

fn kind_of(number: u64) -> FailureKind {
    match number {
        0 => FailureKind::Consumed,
        1 => FailureKind::Found,
        2 => FailureKind::Predicted,
        4 => FailureKind::Corrected,
        _ => FailureKind::Injected,
    }
}

impl Potad {
    /// Takes what waits in a queue through
    /// [`report_failure`](Self::report_failure), and hands each event to `each`
    /// with what became of it. Returns how many there were.
    ///
    /// For a normal thread: it locks, re-checks, and calls owners. At most as
    /// many as the queue has room for at once; more than none is a reason to
    /// call again.
    pub fn report_queued(
        &self,
        queue: &FailureQueue,
        each: impl FnMut(FailureEvent, Result<FailureReport, Error>),
    ) -> usize {
        // One by one: the list may be called upon by owners, and a copy of it
        // would take memory.
        let zone = |number: usize| self.lock_zones().get(number).cloned();
        (0..).map_while(zone).for_each(|zone| zone.retry_some());
        queue.report_by(|event| self.report_failure(event.address, event.lsb, event.kind), each)
    }
}

impl Zone {
    /// As [`Potad::report_queued`], for a queue of this resource's failures
    /// alone: those of other units are refused, each with
    /// [`Error::Outside`].
    pub fn report_queued(
        &self,
        queue: &FailureQueue,
        each: impl FnMut(FailureEvent, Result<FailureReport, Error>),
    ) -> usize {
        self.retry_some();
        queue.report_by(|event| self.report_failure(event.address, event.lsb, event.kind), each)
    }

    /// Looks again for a few granules whose report was delayed: who calls tells
    /// any owner, and so holds no lock that one might want.
    fn retry_some(&self) {
        let _report = self.state().retry_delayed(RETRIES, 0);
    }
}

/// Granules that one call looks for again.
const RETRIES: u64 = 8;

impl fmt::Debug for FailureQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailureQueue")
            .field("capacity", &self.capacity())
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}
