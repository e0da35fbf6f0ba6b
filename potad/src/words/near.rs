//! Words side by side, of an array whose length is known when it is made.
//!
//! # What always holds
//!
//! - A chunk whose bit is not set is all zero, for who writes to a word has it made
//!   present before; where the array has pages, the chunk's own takes no memory. (But for
//!   a free of what was never given out, by a handle made of an address.)
//! - A bit that is set stays so. Whoever sees it (Acquire) sees what was made present
//!   before (Release).
//!
//! # Sharing and cost
//!
//! Any thread. A word is found by its index alone. A small array is a box of just its
//! words; a large one is mapped, with room to grow, and a bit for each of its chunks.
//! Once 2 MiB of it are in use, it asks for huge pages: look-ups all over so large an
//! array cost a walk of the page tables each (85 ns against 54 for a random free in
//! 1 TiB).

use super::FAN;
use super::node::{ChunkVisitor, is_inside};
use alloc::vec::Vec;
use memdesc::PageArray;
use memdesc::sync::atomic::{AtomicU64, Ordering};

/// Words at most: 128 MiB of address space, level 0 of 4 TiB of 4 KiB.
const MOST: u64 = 1 << 24;
/// How many times what is wanted now a large array has room for.
const ROOM: u64 = 8;
/// Words that summarize a chunk: all of them are near, or none is, so that whoever makes
/// one present where another is finds its summaries there.
const LINE: u64 = FAN as u64 / 64;
/// Chunks in use that make an array ask for huge pages.
const HUGE: u64 = 512;

/// See the module.
#[derive(Debug)]
pub(super) struct Near {
    words: PageArray<AtomicU64>,
    /// A bit for each chunk.
    present: Vec<AtomicU64>,
    /// How many are set: hundreds of words of bits are too many to be added up by each
    /// who asks.
    used: AtomicU64,
}

impl Default for Near {
    fn default() -> Self {
        Self::of(PageArray::empty(), Vec::new())
    }
}

impl Near {
    fn of(words: PageArray<AtomicU64>, present: Vec<AtomicU64>) -> Self {
        Self { words, present, used: AtomicU64::new(0) }
    }

    /// Words up to `last`, or as many of them as can be mapped; none where memory is
    /// out. None from `reach` on, which is above `last`.
    pub(super) fn up_to(last: u64, reach: u64) -> Self {
        if cfg!(any(loom, shuttle)) {
            return Self::default();
        }
        let small = last < FAN as u64;
        let len = match small {
            true => (last + 1).next_multiple_of(LINE),
            false => (last + 1).saturating_mul(ROOM).min(reach).min(MOST),
        };
        let is_apt = small || PageArray::<AtomicU64>::would_have_pages(len as usize);
        if !is_apt {
            return Self::default();
        }
        let mut present = Vec::new();
        let bits = (len as usize).div_ceil(FAN).div_ceil(64);
        let room = present.try_reserve_exact(bits).ok();
        let Some(words) = room.and_then(|()| PageArray::zeroed(len as usize)) else {
            return Self::default();
        };
        present.resize_with(bits, AtomicU64::default);
        Self::of(words, present)
    }

    #[inline(always)]
    pub(super) fn get(&self, index: u64) -> Option<&AtomicU64> {
        match index < self.words.len() as u64 {
            true => self.words.get(index as usize),
            false => None,
        }
    }

    /// Whether the word is present; `None` for others.
    #[inline]
    pub(super) fn has(&self, index: u64) -> Option<bool> {
        self.get(index)?;
        Some(self.is_present(index as usize / FAN))
    }

    /// The word and those after it in its chunk.
    #[inline]
    pub(super) fn ahead(&self, index: u64) -> Option<&[AtomicU64]> {
        self.get(index)?;
        let at = index as usize;
        self.words.get(at..self.words.len().min((at | (FAN - 1)) + 1))
    }

    /// The word, made present; `None` for others.
    pub(super) fn install(&self, index: u64) -> Option<&AtomicU64> {
        let word = self.get(index)?;
        let chunk = index as usize / FAN;
        if !self.is_present(chunk) {
            let bit = 1 << (chunk % 64);
            // Release: see the module.
            let before = self.present.get(chunk / 64)?.fetch_or(bit, Ordering::AcqRel);
            // Relaxed: a count, of which nothing follows but the hint.
            if before & bit == 0 && self.used.fetch_add(1, Ordering::Relaxed) + 1 == HUGE {
                self.words.ask_for_huge();
            }
        }
        Some(word)
    }

    #[inline]
    fn is_present(&self, chunk: usize) -> bool {
        let bits = self.present.get(chunk / 64);
        bits.is_some_and(|bits| bits.load(Ordering::Acquire) >> (chunk % 64) & 1 != 0)
    }

    /// The first words of chunks that are present and lie, in part at least, in
    /// `first..=last`.
    fn present_in(&self, first: u64, last: u64) -> impl Iterator<Item = u64> {
        let (fan, end) = (FAN as u64, (self.words.len() as u64).min(last.saturating_add(1)));
        let (from, to) = (first / fan, end.div_ceil(fan));
        // (Not chunk by chunk: most of a large array is absent.)
        let bits = self.present.iter().zip(0..to.div_ceil(64)).skip((from / 64) as usize);
        bits.flat_map(|(bits, at)| ones(bits.load(Ordering::Acquire)).map(move |bit| at * 64 + bit))
            .filter(move |chunk| (from..to).contains(chunk))
            .map(move |chunk| chunk * fan)
    }

    pub(super) fn visit(&self, first: u64, last: u64, visitor: &mut ChunkVisitor<'_>) {
        for start in self.present_in(first, last) {
            let end = (self.words.len() as u64).min(last.saturating_add(1)).min(start + FAN as u64);
            let from = first.max(start);
            if let Some(words) = self.words.get(from as usize..end as usize) {
                visitor(from, words);
            }
        }
    }

    /// As [`Words::give_back`](super::Words::give_back).
    pub(super) fn give_back(&self, first: u64, last: u64, budget: &mut u32) -> Option<u64> {
        for start in self.pages_in(first, last) {
            let Some(rest) = budget.checked_sub(1) else { return Some(start) };
            *budget = rest;
            self.words.give_back(start as usize..start as usize + FAN);
        }
        None
    }

    /// The first words of chunks that are present, lie wholly in `first..=last` and
    /// can go back.
    fn pages_in(&self, first: u64, last: u64) -> impl Iterator<Item = u64> {
        let last = last.min((self.words.len() as u64).saturating_sub(1));
        let (from, to) = if self.words.has_pages() { (first, last) } else { (1, 0) };
        self.present_in(from, to).filter(move |&start| is_inside(start, from, to))
    }

    /// As [`Words::page_bytes`](super::Words::page_bytes).
    pub(super) fn page_bytes(&self, first: u64, last: u64) -> usize {
        self.pages_in(first, last).count() * FAN * size_of::<AtomicU64>()
    }

    /// Bytes of chunks that are present, and of the bits.
    pub(super) fn bytes(&self) -> usize {
        let words = match self.words.has_pages() {
            true => self.used.load(Ordering::Relaxed) as usize * FAN,
            false => self.words.len(),
        };
        (words + self.present.len()) * size_of::<AtomicU64>()
    }
}

/// The places of the bits that are set, from the lowest on.
fn ones(mut bits: u64) -> impl Iterator<Item = u64> {
    core::iter::from_fn(move || {
        let lowest = (bits != 0).then(|| bits.trailing_zeros())?;
        bits &= bits - 1;
        Some(lowest.into())
    })
}
