//! The pool of pages, mapped a block at a time.
//!
//! # What always holds
//!
//! A page of the pool is all zero. Address space of pages that were dropped is
//! kept for the next; what is mapped for an array is no part of the pool, and
//! goes with it.

use super::PAGE;
use crate::sync::Mutex;
use alloc::vec::Vec;
use core::ptr::{self, NonNull};
use rustix::mm::Advice::{self, LinuxHugepage};
use rustix::mm::{MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Pages of the first block and of the largest.
const FIRST: usize = 16;
const LARGEST: usize = 4096;
/// Pages of a block that asks for huge pages: by then the pool is as large
/// itself, and look-ups all over it cost a walk of the page tables each (85 ns
/// against 54 for a random free in 1 TiB).
const HUGE: usize = 512;

/// Pages that nobody has.
struct Pool {
    /// All of them zero. Has room for every page there is.
    free: Vec<NonNull<u8>>,
    made: usize,
}

// SAFETY: the pages are nobody's.
unsafe impl Send for Pool {}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), made: 0 });

/// Whether pages are as large as we take them to be.
#[inline]
pub(super) fn has_pages() -> bool {
    cfg!(target_arch = "x86_64") || rustix::param::page_size() == PAGE
}

pub(super) fn take() -> Option<NonNull<u8>> {
    let mut pool = POOL.lock();
    if pool.free.is_empty() {
        grow(&mut pool)?;
    }
    pool.free.pop()
}

pub(super) fn pool_pages() -> (usize, usize) {
    let pool = POOL.lock();
    (pool.made - pool.free.len(), pool.made)
}

fn grow(pool: &mut Pool) -> Option<()> {
    let count = pool.made.clamp(FIRST, LARGEST);
    let room = pool.made + count - pool.free.len();
    pool.free.try_reserve(room).ok()?;
    let block = map(count * PAGE)?;
    if count >= HUGE {
        ask_for_huge(block, count * PAGE);
    }
    pool.made += count;
    for at in (0..count).rev() {
        // SAFETY: within the block just mapped.
        pool.free.push(unsafe { block.add(at * PAGE) });
    }
    Some(())
}

/// Private, anonymous pages for so many bytes: zero, and no memory until they
/// are written.
pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping where the system likes, over nothing.
    let mapped = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE) };
    NonNull::new(mapped.ok()?.cast())
}

/// Undoes [`map`].
pub(super) fn unmap(first: NonNull<u8>, bytes: usize) {
    // SAFETY: mapped for its owner alone, who is being dropped.
    let undone = unsafe { munmap(first.as_ptr().cast(), bytes) };
    debug_assert!(undone.is_ok(), "what was mapped can be unmapped");
}

/// Hints that they be huge ones.
pub(super) fn ask_for_huge(first: NonNull<u8>, bytes: usize) {
    // SAFETY: pages that we have mapped; what they read as stays.
    let hint = unsafe { madvise(first.as_ptr().cast(), bytes, LinuxHugepage) };
    // Pages of the ordinary size are as good, and slower.
    let _refused = hint.is_err();
}

/// Takes a page back that nobody uses any more.
pub(super) fn give(page: NonNull<u8>) {
    if !give_back(page, PAGE) {
        // SAFETY: a page of the pool, whose owner has given it up.
        unsafe { page.write_bytes(0, PAGE) };
    }
    // There is room for every page: no allocation.
    POOL.lock().free.push(page);
}

/// Lets the system have the memory of pages; whether it took it.
pub(super) fn give_back(first: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: whole pages of a private anonymous mapping of ours, which hold
    // `Blank` values or nothing: that all of it becomes zero while others
    // look is what such a type allows. See `pages`.
    unsafe { madvise(first.as_ptr().cast(), bytes, Advice::LinuxDontNeed) }.is_ok()
}
