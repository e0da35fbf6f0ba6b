//! The signal gate: what keeps memory readable for signal handlers, which must
//! not pin.
//!
//! # Why not a pin
//!
//! A pin in a handler is unsound. The thread may be in the middle of pinning
//! (counted, and not yet protected: the handler's own pin then protects
//! nothing), or of deferring; the first pin of a thread allocates; and every so
//! many pins run what other threads deferred, inside the handler.
//!
//! # Picture
//!
//! ```text
//!  handler                               whoever collects, after the grace period
//!    side := the one in use                fence
//!    inside[side] += 1                     inside[0] is 0, and inside[1]?   yes: run the call
//!    fence                                   no: put it on the list, and let the handlers
//!    .. walk, copy ..                            that come use the other side
//!    inside[side] -= 1                     the next flush, of any thread, looks again
//! ```
//!
//! # What always holds
//!
//! A deferred call runs only after each side was seen at zero, at one moment or
//! at two, once the call had been deferred. That is enough: a handler that can
//! reach what the call frees is counted on one side from before that thing was
//! unlinked until it leaves. Suppose a side is read as zero though such a
//! handler was in. Then the read missed its `+= 1`, so the collector's fence
//! comes before the handler's in the one order of all such fences; and what was
//! unlinked before the first is seen as unlinked by every load after the second.
//!
//! The side in use is a hint that keeps collections from starving: once a side
//! was found occupied nobody new comes in there, so it drains. Which side a
//! handler is counted on decides nothing else.
//!
//! # Sharing and cost
//!
//! A handler: two RMWs on a line that all handlers share, and a fence; it never
//! waits, and touches neither the heap nor a thread-local. A deferred call (128
//! descriptors, up to 32 nodes): a fence and two loads; while a handler is in,
//! also a box and a lock. A flush: one load. Ordinary readers, and whoever
//! allocates or frees between two flushes: nothing.
//!
//! The list is not the epoch's own: a call that defers itself again pins, and
//! where a pin makes a participant it collects, in turn, and so on down the
//! stack.
//!
//! A handler that never leaves (its thread is stopped, or it jumps out) holds
//! up all freeing, as a guard that is kept does: memory grows, nothing breaks.

use crate::seeded;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::own::AtomicU64;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::{fmt, mem};
#[cfg(loom)]
use loom::lazy_static;
#[cfg(shuttle)]
use shuttle::lazy_static;

/// Nobody in, nothing waiting. Constant, but in models.
macro_rules! open_gate {
    () => {
        Gate {
            inside: [AtomicU64::new(0), AtomicU64::new(0)],
            side: AtomicU64::new(0),
            waiting: Mutex::new(Waiting(Vec::new())),
            has_waiting: AtomicBool::new(false),
        }
    };
}

/// The gate of the process: there is one epoch, too.
#[cfg(not(any(loom, shuttle)))]
static GATE: Gate = open_gate!();

#[cfg(any(loom, shuttle))]
lazy_static! {
    static ref GATE: Gate = open_gate!();
}

/// On lines of its own: every collection reads it, and few write.
#[repr(align(128))]
struct Gate {
    /// Handlers that are in, by the side on which they came.
    inside: [AtomicU64; 2],
    /// The side on which handlers come in: the lowest bit.
    side: AtomicU64,
    /// Calls that found a handler in.
    waiting: Mutex<Waiting>,
    has_waiting: AtomicBool,
}

struct Waiting(Vec<Box<dyn FnOnce() + Send>>);

#[cfg(any(loom, shuttle))]
impl Drop for Waiting {
    fn drop(&mut self) {
        // The model is over, and calls may touch what it has put away.
        mem::forget(mem::take(&mut self.0));
    }
}

/// Keeps what is reachable now readable, until it is dropped: what a
/// [`Guard`](crate::Guard) is to a thread, for a signal handler.
///
/// Making and dropping it is async-signal-safe. For the trees that offer a
/// look-up of that kind.
#[doc(hidden)]
#[must_use = "what it keeps is kept only until it is dropped"]
pub struct InSignal {
    side: usize,
}

impl InSignal {
    /// Enters the gate.
    pub fn enter() -> Self {
        // Relaxed: either side will do.
        let side = (GATE.side.load(Ordering::Relaxed) & 1) as usize;
        // Relaxed: the fence orders it.
        GATE.inside[side].fetch_add(1, Ordering::Relaxed);
        if !seeded!("gate entered without a fence") {
            // Pairs with the fence in `run`: either the collector sees us, or we
            // see what was unlinked before.
            fence(Ordering::SeqCst);
        }
        Self { side }
    }
}

impl Drop for InSignal {
    fn drop(&mut self) {
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        let ordering = match seeded!("gate left relaxed") {
            true => Ordering::Relaxed,
            // Pairs with the loads in `run`: our reads come before the freeing.
            false => Ordering::Release,
        };
        GATE.inside[self.side].fetch_sub(1, ordering);
    }
}

impl fmt::Debug for InSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InSignal")
    }
}

/// Runs a deferred call, once no handler can be looking at what it frees: now,
/// or at a later collection. To be called after the grace period.
#[inline]
pub(super) fn run_when_left<F: FnOnce() + Send + 'static>(call: F) {
    run::<0, F>(call);
}

/// The same, of a call for which the sides before `FROM` were seen at zero.
fn run<const FROM: usize, F: FnOnce() + Send + 'static>(call: F) {
    if seeded!("freed without a look at the gate") {
        return call();
    }
    if !seeded!("gate looked at without a fence") {
        // Pairs with the fence in `enter`.
        fence(Ordering::SeqCst);
    }
    if FROM == 0 && is_occupied(0) {
        return wait(move || run::<0, F>(call));
    }
    if !seeded!("one side of the gate looked at") && is_occupied(1) {
        return wait(move || run::<1, F>(call));
    }
    call();
}

/// Puts a call on the list.
#[cold]
fn wait(call: impl FnOnce() + Send + 'static) {
    let call: Box<dyn FnOnce() + Send> = Box::new(call);
    let mut waiting = GATE.waiting.lock();
    waiting.0.push(call);
    // Relaxed: under the lock, and a look that misses it leaves it to the next.
    GATE.has_waiting.store(true, Ordering::Relaxed);
}

/// Runs what waits, or what of it may run by now.
#[inline]
pub(super) fn look_again() {
    if GATE.has_waiting.load(Ordering::Relaxed) {
        look_again_slow();
    }
}

#[cold]
fn look_again_slow() {
    let calls = {
        let mut waiting = GATE.waiting.lock();
        GATE.has_waiting.store(false, Ordering::Relaxed);
        mem::take(&mut waiting.0)
    };
    // Out of the lock: a call may put itself, or others, on the list again.
    calls.into_iter().for_each(|call| call());
}

/// Whether a handler is in on a side. If so, those that come use the other.
fn is_occupied(side: usize) -> bool {
    // `Acquire` pairs with the last one's leaving.
    let occupied = GATE.inside[side].load(Ordering::Acquire) != 0;
    if occupied {
        // Relaxed: a hint.
        GATE.side.store(1 - side as u64, Ordering::Relaxed);
    }
    occupied
}
