//! The word forest: which blocks are free.
//!
//! # Picture
//!
//! ```text
//!  level 1   free  0 0 1 0 ..   a set bit = 64 granules wholly free
//!                      |
//!                      +-- its child word at level 0 is then zero: a free
//!                          block is represented at one level only
//!  level 0   free  word 0: 0110..  word 1: 0000..  word 2: 0000.. (merged upward)
//!  summary   has(0, 1) = ..001     one bit per level-0 word that may be non-zero,
//!            has(0, 2) = ..001     and one per non-zero word of those, to the top
//! ```
//!
//! # What always holds
//!
//! - A bit at level `l` is set only if its `64^l` granules are all free, are
//!   inside the spans, and no bit below or above stands for any of them.
//! - Whoever clears a bit owns its granules; whoever owns granules, and nobody
//!   else, may set their bits. A block is one mask in one word, so taking one
//!   and giving one back is a single read-modify-write.
//! - A word whose bits are all set belongs one level up: whoever completes it
//!   moves it there, unless a hand keeps it warm.
//! - A non-zero word can be found through the summaries by any search that
//!   starts after the call that made it so returned.
//! - The chunk of a free word is installed after the chunks of its summaries,
//!   so a present word has present summaries, and giving back allocates nothing.
//!
//! # Sharing and cost
//!
//! Any thread, no lock. A take is one compare-exchange on one line; a give is
//! one `fetch_or`, plus one compare-exchange and one `fetch_or` per 64 for the
//! parent. The summaries are written only when a word leaves zero.

mod directed;
mod exact;
mod give;
mod level;
mod memory;
mod runs;
mod search;
mod stretch;
mod take;
mod walk;

pub(crate) use directed::End;
pub(crate) use give::AlreadyFree;
pub(crate) use memory::GivenBack;
pub(crate) use runs::{ALIGNED, block_of, lowest_run, lowest_runs, run_starts};
pub(crate) use stretch::Stretch;
pub(crate) use take::{Avoid, Taken};
pub(crate) use walk::FreeBlocks;

use crate::error::OutOfMemory;
use crate::reserve::{Need, Reserve};
use crate::words::Words;
use alloc::vec::Vec;
use memdesc::sync::atomic::AtomicU64;
use memdesc::{Granule, LEVELS, ORDERS_PER_LEVEL};

/// The free words of every level and their summaries.
#[derive(Debug)]
pub(crate) struct Forest {
    /// The highest level: one word of it spans the whole reach.
    top: u32,
    /// The last granule of the reach.
    last: Granule,
    /// `free[l]`: the words of level `l`.
    free: [Words; LEVELS as usize],
    /// `has(l, m)` for `l < m <= top`: bit `i` says that some word of level
    /// `l` below place `i` of level `m` may be non-zero.
    has: Vec<Words>,
}

impl Forest {
    /// A forest with nothing free, for granules up to [`last_granule`](Self::last_granule),
    /// most of which will be at `last` and below.
    pub(crate) fn new(top: u32, last: Granule) -> Self {
        let words = |level| {
            let reach = word_of(level, last_of(top)) + 1;
            Words::up_to(word_of(level, last), reach)
        };
        let pairs = (0..=top).flat_map(|l| (l + 1..=top).map(move |m| (l, m)));
        let has = pairs.map(|(_, m)| words(m)).collect();
        let mut forest = Self::of(top, has);
        for (level, free) in (0..=top).zip(&mut forest.free) {
            *free = words(level);
        }
        forest
    }

    /// One with nothing free and nothing near, unless memory is out.
    pub(crate) fn try_new(top: u32) -> Result<Self, OutOfMemory> {
        let mut has = Vec::new();
        has.try_reserve_exact(Self::summaries(top)).map_err(|_| OutOfMemory)?;
        has.resize_with(Self::summaries(top), Words::default);
        Ok(Self::of(top, has))
    }

    fn of(top: u32, has: Vec<Words>) -> Self {
        debug_assert!(top < LEVELS);
        Self { top, last: last_of(top), free: Default::default(), has }
    }

    /// How many pairs of levels there are, for a highest one.
    fn summaries(top: u32) -> usize {
        let levels = top as usize + 1;
        levels * (levels - 1) / 2
    }

    /// The lowest top whose reach holds `last`, and every block up to it.
    pub(crate) fn top_for(last: Granule) -> u32 {
        let bits = 64 - last.0.leading_zeros();
        (bits / ORDERS_PER_LEVEL).min(LEVELS - 1)
    }

    /// The highest level.
    pub(crate) fn top(&self) -> u32 {
        self.top
    }

    /// The last granule that the forest can hold: a block of everything below
    /// still lives at the top level, so half of the top word is used.
    #[inline]
    pub(crate) fn last_granule(&self) -> Granule {
        self.last
    }

    fn words(&self, level: u32) -> &Words {
        &self.free[level as usize]
    }

    /// The summary of level `l` that sits at level `m > l`.
    fn has(&self, l: u32, m: u32) -> &Words {
        debug_assert!(l < m && m <= self.top);
        // Row `l` starts after the rows above it, of `top`, `top - 1`, .. words.
        let (l, m, top) = (l as usize, m as usize, self.top as usize);
        &self.has[l * (2 * top + 1 - l) / 2 + (m - l - 1)]
    }

    /// A free word; `None` for some that are absent, for others one of zero.
    #[inline]
    pub(crate) fn word(&self, level: u32, word: u64) -> Option<&AtomicU64> {
        self.words(level).get(word)
    }

    /// As [`word`](Self::word), without a call: `None` for those that lie far up,
    /// too.
    #[inline(always)]
    pub(crate) fn word_near(&self, level: u32, word: u64) -> Option<&AtomicU64> {
        self.words(level).get_near(word)
    }

    /// Words of level 0 from `word` on, as far as they lie side by side.
    pub(crate) fn words_ahead(&self, word: u64) -> Option<&[AtomicU64]> {
        self.words(0).ahead(word)
    }

    /// A free word's value; 0 where it is absent.
    #[inline]
    pub(crate) fn load(&self, level: u32, word: u64) -> u64 {
        self.words(level).load(word)
    }

    /// Makes the word that holds `at` at `level` present, and its summaries.
    pub(crate) fn ensure(&self, level: u32, at: Granule) -> Result<(), OutOfMemory> {
        let word = word_of(level, at);
        if self.words(level).has(word) {
            return Ok(());
        }
        let mut index = word >> ORDERS_PER_LEVEL;
        for m in level + 1..=self.top {
            self.has(level, m).install(index)?;
            index >>= ORDERS_PER_LEVEL;
        }
        self.words(level).install(word).map(|_| ())
    }

    /// Whether the word that holds `at` at `level` is present.
    pub(crate) fn has_word(&self, level: u32, at: Granule) -> bool {
        self.words(level).has(word_of(level, at))
    }

    /// As [`ensure`](Self::ensure), by what was put by: nothing is allocated.
    pub(crate) fn ensure_kept(
        &self,
        level: u32,
        at: Granule,
        reserve: &mut Reserve,
    ) -> Result<(), OutOfMemory> {
        let word = word_of(level, at);
        if self.words(level).has(word) {
            return Ok(());
        }
        for m in level + 1..=self.top {
            self.has(level, m).install_kept(word_of(m, at), reserve)?;
        }
        self.words(level).install_kept(word, reserve).map(|_| ())
    }

    /// What making one word of each level below `level`, up to granule `last`,
    /// present can take.
    pub(crate) fn need_below(&self, level: u32, last: Granule) -> Need {
        let mut need = Need::default();
        for l in 0..level.min(self.top) {
            self.words(l).add_need(word_of(l, last), &mut need);
            (l + 1..=self.top).for_each(|m| self.has(l, m).add_need(word_of(m, last), &mut need));
        }
        need
    }

    /// Makes present what any free, merge or split at `at` can touch from
    /// `level` upward.
    pub(crate) fn ensure_from(&self, level: u32, at: Granule) -> Result<(), OutOfMemory> {
        (level..=self.top).try_for_each(|l| self.ensure(l, at))
    }
}

/// The last granule that a forest of this top can hold.
fn last_of(top: u32) -> Granule {
    Granule((1 << (ORDERS_PER_LEVEL * top + 5).min(63)) - 1)
}

/// The word of `level` that holds granule `at`.
#[inline]
pub(crate) fn word_of(level: u32, at: Granule) -> u64 {
    // Level 10 shifts by 66: all of the index space is in word 0.
    at.0.checked_shr(ORDERS_PER_LEVEL * (level + 1)).unwrap_or(0)
}

/// The bit of granule `at` in its word of `level`.
#[inline]
pub(crate) fn bit_of(level: u32, at: Granule) -> u64 {
    1 << ((at.0 >> (ORDERS_PER_LEVEL * level)) & 63)
}

#[cfg(all(test, not(loom)))]
mod tests;
