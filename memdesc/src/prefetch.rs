//! Asking for memory before it is needed.

/// Asks for the line of an address, which need not be anything's.
#[doc(hidden)]
#[inline(always)]
pub fn prefetch<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint; it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
    }
    let _ = at;
}

/// Asks for the line of an address that is about to be written, and which another
/// processor may have.
///
/// By the instruction itself: the compiler makes the other one of the hint to write,
/// unless it is told of a processor that has this one. That brings the line to be
/// read, and the write waits for it once more.
#[doc(hidden)]
#[inline(always)]
pub fn prefetch_to_write<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(any(loom, shuttle, miri))))]
    if to_write::is_there() {
        // SAFETY: a hint; it reads and writes nothing.
        unsafe {
            core::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
        }
    }
    let _ = at;
}

#[cfg(all(target_arch = "x86_64", not(any(loom, shuttle, miri))))]
mod to_write {
    use crate::sync::atomic::{AtomicU32, Ordering};
    use core::arch::x86_64::__cpuid;

    const THERE: u32 = 1;
    const NOT_THERE: u32 = 2;

    /// One of these; 0: not known yet.
    static ANSWER: AtomicU32 = AtomicU32::new(0);

    /// Whether the processor has the instruction: all but a few of 2004 do.
    #[inline(always)]
    pub(super) fn is_there() -> bool {
        // Relaxed: whoever asks gets the same answer.
        ANSWER.load(Ordering::Relaxed) == THERE || ask()
    }

    #[cold]
    #[inline(never)]
    fn ask() -> bool {
        if ANSWER.load(Ordering::Relaxed) == NOT_THERE {
            return false;
        }
        const EXTENDED: u32 = 0x8000_0000;
        let is_there = __cpuid(EXTENDED).eax > EXTENDED && __cpuid(EXTENDED + 1).ecx >> 8 & 1 == 1;
        ANSWER.store(if is_there { THERE } else { NOT_THERE }, Ordering::Relaxed);
        is_there
    }
}
