//! Numbers that no two things in a process share.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A number that was never given before in this process; 0 is never given.
///
/// Outside the models' view on purpose: it orders nothing.
pub fn unique_id() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    // Relaxed: only the number matters.
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(id != 0, "four thousand million ids were given out");
    id
}

/// The same, from so many that they are never used up.
pub fn unique_wide_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Relaxed: only the number matters.
    NEXT.fetch_add(1, Ordering::Relaxed)
}
