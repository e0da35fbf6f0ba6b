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
#[inline(always)]
pub(crate) fn prefetch_to_write<T>(at: *const T) {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a hint; it reads and writes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) };
    }
    let _ = at;
}
