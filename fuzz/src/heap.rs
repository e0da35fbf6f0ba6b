//! A heap that knows how much of it is in use.
//!
//! What is resident depends on how the system's heap cuts its memory, on which
//! thread had which arena, and on what it keeps for later. What is *live* does
//! not: bytes that were allocated and not freed. A leak is seen here to the
//! byte, however small it is beside the rest.
//!
//! For binaries: `#[global_allocator] static HEAP: Heap = Heap;`. Cost: one
//! atomic addition per call.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's heap, counted.
#[derive(Debug)]
pub struct Heap;

static LIVE: AtomicUsize = AtomicUsize::new(0);

impl Heap {
    /// Bytes in use now; 0 if this is not the heap of the process.
    pub fn live() -> usize {
        LIVE.load(Relaxed)
    }
}

/// Counts what was got, if anything was.
fn counted(got: *mut u8, bytes: usize) -> *mut u8 {
    if !got.is_null() {
        LIVE.fetch_add(bytes, Relaxed);
    }
    got
}

// SAFETY: all of it is the system's heap; counting changes nothing.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as promised to us.
        counted(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as promised to us.
        counted(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as promised to us.
        unsafe { System.dealloc(at, layout) };
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as promised to us.
        let got = unsafe { System.realloc(at, layout, bytes) };
        if !got.is_null() {
            LIVE.fetch_add(bytes, Relaxed);
            LIVE.fetch_sub(layout.size(), Relaxed);
        }
        got
    }
}
