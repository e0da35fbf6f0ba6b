//! The outbox: words that wait to be given together.
//!
//! # Why
//!
//! A read-modify-write waits for every load before it and holds up every load
//! after it. A free of its own waits for nothing: it looks at the word's line
//! and goes on. So frees all over a large resource overlap their misses as long
//! as no RMW comes in between, and eight words given in a row, whose lines have
//! come by then, cost eight RMWs and no miss.
//!
//! # What always holds
//!
//! As for the pending words: bits in here belong to the hand, and a word is at
//! most once among its claims, its pending words and the outbox.
//!
//! # Sharing and cost
//!
//! Within the slot's bracket, or on a closed slot. Putting a word in is two
//! stores; looking for one compares at most [`OUTBOX`] numbers.

use super::held::Held;
use memdesc::sync::atomic::Ordering;
use memdesc::sync::own::AtomicU64;

/// Words that are given at once.
pub(crate) const OUTBOX: usize = if cfg!(any(loom, shuttle)) { 1 } else { 8 };

/// Places of words of level 0, on their way to the forest.
#[derive(Debug)]
pub(crate) struct Outbox {
    len: AtomicU64,
    words: [Held; OUTBOX],
}

impl Outbox {
    pub(super) fn empty() -> Self {
        Self { len: AtomicU64::new(0), words: core::array::from_fn(|_| Held::empty()) }
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed) as usize
    }

    /// What waits, some of it perhaps taken out again.
    pub(super) fn words(&self) -> &[Held] {
        // (`get`: no path to a panic in a hot loop.)
        self.words.get(..self.len()).unwrap_or_default()
    }

    /// What waits of `word`.
    #[inline(always)]
    pub(super) fn of(&self, word: u64) -> Option<&Held> {
        self.words().iter().find(|held| held.is_of(word))
    }

    /// Adds a word of which nothing waits; `true` if there is no room for
    /// another one now.
    #[inline(always)]
    pub(super) fn put(&self, word: u64, mask: u64) -> bool {
        let len = self.len();
        if let Some(held) = self.words.get(len) {
            held.set(word, mask);
            self.len.store(len as u64 + 1, Ordering::Relaxed);
        }
        len + 1 >= OUTBOX
    }

    /// Empties it, word by word.
    pub(super) fn drain(&self) -> impl Iterator<Item = (u64, u64)> {
        let words = self.words();
        self.len.store(0, Ordering::Relaxed);
        words.iter().filter_map(Held::release)
    }
}
