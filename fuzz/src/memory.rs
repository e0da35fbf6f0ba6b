//! Memory for the contents of blocks: plain words, as users have them.
//!
//! # What always holds
//!
//! Whoever has a block reads and writes its words, plainly. That nobody else
//! does is what the allocator promises; so a block given out twice, or handed
//! from thread to thread without an order between them, is a data race that
//! ThreadSanitizer sees, and mostly a wrong cookie as well.

use memdesc::Granules;
use std::cell::UnsafeCell;

/// Words for each granule.
#[derive(Debug)]
pub struct Memory {
    words: Box<[UnsafeCell<u64>]>,
    per_granule: usize,
}

// SAFETY: words are reached only through `fill`, `check` and `is_zero`, whose
// callers have the granules to themselves.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeros for so many granules.
    pub fn new(granules: u64, per_granule: usize) -> Self {
        let words = usize::try_from(granules).expect("fits") * per_granule;
        Self { words: (0..words).map(|_| UnsafeCell::new(0)).collect(), per_granule }
    }

    /// The words of a range that are used: all of a small one, the first of
    /// each granule of a large one.
    fn used(&self, range: Granules) -> impl Iterator<Item = (u64, &UnsafeCell<u64>)> {
        let step = if range.count() <= 16 { 1 } else { self.per_granule };
        let (first, per) = (range.first().0 as usize * self.per_granule, self.per_granule);
        let words = &self.words[first..first + range.count() as usize * per];
        (first as u64..).zip(words).step_by(step)
    }

    /// Writes a cookie into every word.
    ///
    /// # Safety
    ///
    /// - The granules are the caller's, and nobody else's.
    pub unsafe fn fill(&self, range: Granules, cookie: u64) {
        for (at, word) in self.used(range) {
            // SAFETY: the caller's own, by the promise.
            unsafe { word.get().write(cookie ^ at) };
        }
    }

    /// The first word that has not the cookie.
    ///
    /// # Safety
    ///
    /// - As for [`fill`](Self::fill).
    pub unsafe fn wrong(&self, range: Granules, cookie: u64) -> Option<(u64, u64)> {
        self.used(range).find_map(|(at, word)| {
            // SAFETY: the caller's own, by the promise.
            let found = unsafe { word.get().read() } ^ at;
            (found != cookie).then_some((at, found))
        })
    }

    /// Writes zeros, as a discard does.
    ///
    /// # Safety
    ///
    /// - As for [`fill`](Self::fill).
    pub unsafe fn wipe(&self, range: Granules) {
        let (first, per) = (range.first().0 as usize * self.per_granule, self.per_granule);
        for word in &self.words[first..first + range.count() as usize * per] {
            // SAFETY: the caller's own, by the promise.
            unsafe { word.get().write(0) };
        }
    }

    /// Whether every used word is zero.
    ///
    /// # Safety
    ///
    /// - As for [`fill`](Self::fill).
    pub unsafe fn is_zero(&self, range: Granules) -> bool {
        self.used(range).all(|(_, word)| {
            // SAFETY: the caller's own, by the promise.
            unsafe { word.get().read() == 0 }
        })
    }
}
