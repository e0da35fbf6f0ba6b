//! A heap that runs out, for tests of the crates: it counts what a thread
//! allocates, and refuses once so many allocations are made.

#![allow(dead_code, reason = "each test uses its part")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Meter;

#[global_allocator]
static METER: Meter = Meter;

thread_local! {
    static MADE: Cell<u64> = const { Cell::new(0) };
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

/// Bytes that this thread has allocated, less those that it has freed.
pub(crate) fn live() -> i64 {
    LIVE.get()
}

/// What this thread has asked for so far.
pub(crate) fn made() -> u64 {
    MADE.get()
}

/// Runs with memory for so many allocations.
pub(crate) fn with_memory_for<R>(allocations: u64, run: impl FnOnce() -> R) -> R {
    LEFT.set(allocations);
    let result = run();
    LEFT.set(u64::MAX);
    result
}

impl Meter {
    fn admit() -> bool {
        MADE.set(MADE.get() + 1);
        let left = LEFT.get();
        if left != u64::MAX {
            LEFT.set(left.saturating_sub(1));
        }
        left != 0
    }
}

// SAFETY: hands on to the system's allocator, or says that memory is out.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !Self::admit() {
            return std::ptr::null_mut();
        }
        LIVE.set(LIVE.get() + layout.size() as i64);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !Self::admit() {
            return std::ptr::null_mut();
        }
        LIVE.set(LIVE.get() + layout.size() as i64);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !Self::admit() {
            return std::ptr::null_mut();
        }
        LIVE.set(LIVE.get() + size as i64 - layout.size() as i64);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as i64);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}
