//! The search of one level: where a block of an order, or a larger one, may be had.
//!
//! # How
//!
//! By the summaries from a word on, once around: group by group of the 64 words
//! below one word of the summary, and of each group those words that it calls
//! non-zero. Nothing seen is anybody's: what fits is taken by a compare-exchange
//! there and then.
//!
//! # What always holds
//!
//! A search whose budget does not run out, while every hand is closed, looks into
//! every word of the level that is not zero.
//!
//! # Cost
//!
//! One load a word, at most as many words as the budget says that are not zero, and
//! one read-modify-write for all words of a group that were called non-zero and were
//! seen zero.

use super::runs::{block_of, run_starts, snuggest_run};
use super::take::Avoid;
use super::{Forest, word_of};
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{Block, Granule};

/// A search of one level.
struct Search {
    level: u32,
    run: u32,
    /// Words that it may still look into.
    left: u32,
    /// The first word in which what fits is to be avoided.
    second_best: Option<u64>,
}

/// A look into those words of a group that its summary calls non-zero.
struct Scan<W> {
    /// The word at a place of the group.
    word: W,
    /// Those that are still to be looked into.
    ahead: u64,
    /// Those that were seen zero.
    empty: u64,
    /// Words that it may still look into, but for these.
    left: u32,
}

impl<'a, W: Fn(u32) -> Option<&'a AtomicU64>> Scan<W> {
    /// The next word with something that fits, and what was seen there; `None`, too,
    /// where no more may be looked into.
    #[inline(always)]
    fn next(&mut self, fits: impl Fn(u64) -> bool) -> Option<(u32, &'a AtomicU64, u64)> {
        while self.ahead != 0 && self.left != 0 {
            let place = self.ahead.trailing_zeros();
            self.ahead &= self.ahead - 1;
            let Some(word) = (self.word)(place) else { continue };
            // Relaxed: a guess for the compare-exchange.
            let value = word.load(Ordering::Relaxed);
            if value == 0 {
                self.empty |= 1 << place;
                continue;
            }
            self.left -= 1;
            if fits(value) {
                return Some((place, word, value));
            }
        }
        None
    }
}

impl Forest {
    /// Takes `run` adjacent places of `level`, from the first word at or after
    /// `near` that has them, wrapping around once; looks into at most `budget`
    /// words that do not fit.
    pub(super) fn take_in_level(
        &self,
        level: u32,
        run: u32,
        near: Granule,
        budget: u32,
        avoid: &impl Avoid,
    ) -> Option<Block> {
        let start = word_of(level, near);
        let mut search = Search { level, run, left: budget, second_best: None };
        // From there to the end, and then what lies before it.
        for (base, summary) in self.groups(level, start) {
            let ahead = match start.checked_sub(base) {
                Some(before) => summary & (u64::MAX << before),
                None => summary,
            };
            if let Some(block) = self.take_in_group(&mut search, base, ahead, avoid) {
                return Some(block);
            }
            if search.left == 0 {
                return self.take_second_best(search);
            }
        }
        for (base, summary) in self.groups(level, 0) {
            let ahead = match start.saturating_sub(base) {
                0 => break,
                until @ 1..64 => summary & ((1 << until) - 1),
                _ => summary,
            };
            if let Some(block) = self.take_in_group(&mut search, base, ahead, avoid) {
                return Some(block);
            }
            if search.left == 0 {
                break;
            }
        }
        self.take_second_best(search)
    }

    /// Rather a place to avoid than a larger block broken, or nothing.
    fn take_second_best(&self, search: Search) -> Option<Block> {
        let Search { level, run, second_best, .. } = search;
        self.take_snug(level, second_best?, run, 0)
    }

    /// The part of a search in those of the 64 words from `base` on that `ahead`
    /// says.
    #[inline(always)]
    fn take_in_group(
        &self,
        search: &mut Search,
        base: u64,
        ahead: u64,
        avoid: &impl Avoid,
    ) -> Option<Block> {
        let level = search.level;
        let side = self.words(level).ahead(base).unwrap_or(&[]);
        // Side by side, but in models, whose chunks are smaller than a group.
        if let Some(side) = side.first_chunk::<64>() {
            return self.take_of_group(search, base, ahead, avoid, |place| {
                Some(&side[place as usize % 64])
            });
        }
        self.take_of_group(search, base, ahead, avoid, |place| {
            self.word(level, base | u64::from(place))
        })
    }

    /// The same; `word` knows the words by their places. If nothing is found, those
    /// that were seen zero leave the summary together.
    #[inline(always)]
    fn take_of_group<'a>(
        &self,
        search: &mut Search,
        base: u64,
        ahead: u64,
        avoid: &impl Avoid,
        word: impl Fn(u32) -> Option<&'a AtomicU64>,
    ) -> Option<Block> {
        let Search { level, run, left, .. } = *search;
        let is_any_avoided = avoid.is_any();
        let mut scan = Scan { word, ahead, empty: 0, left };
        loop {
            // (Each with the folds that it needs, and no more.)
            let found = match run {
                1 => scan.next(|value| value != 0),
                8 => scan.next(|value| run_starts(value, 8) != 0),
                16 => scan.next(|value| run_starts(value, 16) != 0),
                32 => scan.next(|value| value as u32 == u32::MAX || value >> 32 == u32::MAX.into()),
                _ => scan.next(|value| run_starts(value, run) != 0),
            };
            let Some((place, atomic, value)) = found else { break };
            let word = base | u64::from(place);
            let avoided = if is_any_avoided { avoid.places(level, word) } else { 0 };
            if let Some(mask) = Self::take_of(atomic, value, run, avoided, snuggest_run) {
                return Some(block_of(level, word, mask, run));
            }
            if avoided != 0 && search.second_best.is_none() {
                search.second_best = Some(word);
            }
        }
        search.left = scan.left;
        if scan.left != 0 && scan.empty != 0 {
            self.end_group(search, base, scan.empty);
        }
        None
    }

    /// Nothing was found in a group: those of its words that were seen zero leave
    /// the summary together.
    fn end_group(&self, search: &mut Search, base: u64, empty: u64) {
        self.note_empty_words(search.level, base, empty);
        search.left -= 1;
    }
}
