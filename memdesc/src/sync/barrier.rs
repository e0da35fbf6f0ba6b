//! The asymmetric barrier: one side free, the other dear.
//!
//! # What always holds
//!
//! Let A run `store x; light(); load y` and B run `store y; heavy(); load x`.
//! At least one of the two loads sees the other's store. Either A's accesses
//! come before B's `heavy` and B sees `x`, or they come after it and A sees
//! `y`.
//!
//! # How, and at what cost
//!
//! On Linux, `heavy` is `membarrier(PRIVATE_EXPEDITED)`: the kernel runs a
//! full barrier on every processor that runs a thread of this process (0.3 us
//! alone, 8 us with another thread running), and `light` only keeps the
//! compiler from reordering. Elsewhere, and in models, both are full fences.
//! The choice is made once per process; a `light` that runs before the choice
//! is known is a full fence, which is right with either `heavy`.
//!
//! ThreadSanitizer sees neither the kernel's barrier nor fences. For it (under
//! crossbeam's own `cfg(crossbeam_sanitize_thread)`) each thread has a word:
//! `light` is a read-modify-write of the own one, `heavy` one of each. That
//! orders what the kernel's barrier orders, and no two light sides.

#[cfg(all(
    not(any(loom, shuttle)),
    feature = "std",
    target_os = "linux",
    not(crossbeam_sanitize_thread)
))]
mod asymmetric {
    use core::sync::atomic::{AtomicU8, Ordering, compiler_fence, fence};
    use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};

    const UNKNOWN: u8 = 0;
    const KERNEL: u8 = 1;
    const FENCES: u8 = 2;

    static CHOICE: AtomicU8 = AtomicU8::new(UNKNOWN);

    #[inline]
    pub(super) fn light() {
        // Relaxed: the value only ever goes from UNKNOWN to one choice, and
        // the fence taken for UNKNOWN suits both.
        if CHOICE.load(Ordering::Relaxed) == KERNEL {
            compiler_fence(Ordering::SeqCst);
        } else {
            light_slow();
        }
    }

    #[cold]
    fn light_slow() {
        fence(Ordering::SeqCst);
        choose();
    }

    #[cold]
    fn choose() -> u8 {
        let known = CHOICE.load(Ordering::Relaxed);
        if known != UNKNOWN {
            return known;
        }
        let offered = membarrier_query().contains_command(MembarrierCommand::PrivateExpedited)
            && membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok()
            && membarrier(MembarrierCommand::PrivateExpedited).is_ok();
        let choice = if offered { KERNEL } else { FENCES };
        // The first choice stands: two answers in one process would be wrong.
        match CHOICE.compare_exchange(UNKNOWN, choice, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => choice,
            Err(first) => first,
        }
    }

    pub(super) fn heavy() {
        fence(Ordering::SeqCst);
        if choose() == KERNEL && membarrier(MembarrierCommand::PrivateExpedited).is_err() {
            // Registered and tried in `choose`; the kernel does not take it back.
            unreachable!("the kernel withdrew its barrier");
        }
        fence(Ordering::SeqCst);
    }

    pub(super) fn is_asymmetric() -> bool {
        choose() == KERNEL
    }
}

#[cfg(all(not(any(loom, shuttle)), feature = "std", crossbeam_sanitize_thread))]
mod asymmetric {
    use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    /// On a line of its own each.
    #[repr(align(64))]
    struct Cell(AtomicU64);

    /// One per thread, or shared by a few where there are more threads.
    static CELLS: [Cell; 64] = [const { Cell(AtomicU64::new(0)) }; 64];
    static THREADS: AtomicUsize = AtomicUsize::new(0);

    std::thread_local! {
        // Relaxed: only the number is asked for.
        static MINE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % CELLS.len();
    }

    /// Each read-modify-write of a cell synchronizes with the one before it:
    /// of one `light` and one `heavy`, whichever comes second sees what came
    /// before the first.
    pub(super) fn light() {
        // A thread that is ending has no number any more: the first does.
        let mine = MINE.try_with(|&mine| mine).unwrap_or(0);
        CELLS[mine].0.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn heavy() {
        CELLS.iter().for_each(|cell| {
            cell.0.fetch_add(1, Ordering::SeqCst);
        });
    }

    pub(super) fn is_asymmetric() -> bool {
        true
    }
}

#[cfg(not(all(
    not(any(loom, shuttle)),
    feature = "std",
    any(target_os = "linux", crossbeam_sanitize_thread)
)))]
mod asymmetric {
    use crate::sync::atomic::{Ordering, fence};

    #[inline]
    pub(super) fn light() {
        fence(Ordering::SeqCst);
    }

    pub(super) fn heavy() {
        fence(Ordering::SeqCst);
    }

    pub(super) fn is_asymmetric() -> bool {
        false
    }
}

/// The cheap side, for the path that runs often.
#[inline]
pub fn light() {
    asymmetric::light();
}

/// The dear side, for whoever reaches into another thread's state.
pub fn heavy() {
    #[cfg(all(feature = "count", not(loom)))]
    super::count::heavy();
    asymmetric::heavy();
}

/// Whether the cheap side is free here.
pub fn is_asymmetric() -> bool {
    asymmetric::is_asymmetric()
}

/// A full barrier between an atomic read-modify-write just made and the loads
/// that follow.
///
/// On x86 the locked instruction was that barrier already, so only the
/// compiler is held back; elsewhere, and in models, a full fence.
#[inline]
pub fn after_rmw() {
    #[cfg(all(not(loom), any(target_arch = "x86", target_arch = "x86_64")))]
    core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
    #[cfg(not(all(not(loom), any(target_arch = "x86", target_arch = "x86_64"))))]
    crate::sync::atomic::fence(crate::sync::atomic::Ordering::SeqCst);
}
