//! Taking a block: in its own level, else out of a larger one.

use super::runs::{block_of, lowest_runs, run_starts, snuggest_run};
use super::{Forest, bit_of, word_of};
use crate::error::OutOfMemory;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{Block, Granule, Order, Place};

/// How a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The caller owns it.
    Block(Block),
    /// Nothing fits, or the budget ran out before anything did.
    Nothing,
}

/// Somebody else changed the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contended;

/// Words of its own level that a request looks into before it breaks a larger
/// block: bounds the search when every word has bits but none a fitting run.
const BUDGET: u32 = 64;

/// A search of one level.
struct Search {
    level: u32,
    run: u32,
    /// Words that it may still look into.
    left: u32,
    /// The first word that had but places to avoid.
    second_best: Option<u64>,
}

/// What a take prefers to leave alone, word by word: places whose memory the
/// host has taken back. 0 where nothing is to be avoided.
pub(crate) trait Avoid {
    /// Whether there is anything to avoid anywhere.
    fn is_any(&self) -> bool;

    /// The places of this word to avoid if others fit.
    fn places(&self, level: u32, word: u64) -> u64;

    /// The granule of a larger block around which to break it.
    fn pick(&self, larger: Block) -> Granule {
        larger.base()
    }
}

impl Avoid for () {
    fn is_any(&self) -> bool {
        false
    }

    fn places(&self, _level: u32, _word: u64) -> u64 {
        0
    }
}

impl Forest {
    /// Takes a block of `order`: from a word of its own level, searched from
    /// `near`, else by breaking the smallest larger block, else (all words
    /// looked into) from anywhere.
    ///
    /// The caller is inside a bracket: a broken block's rest is in no word
    /// until it is given back.
    pub(crate) fn take(
        &self,
        order: Order,
        near: Granule,
        avoid: &impl Avoid,
    ) -> Result<Taken, OutOfMemory> {
        match self.take_beside(order, near, BUDGET, avoid) {
            Some(block) => Ok(Taken::Block(block)),
            None => self.take_beyond(order, near, avoid),
        }
    }

    /// The first step of [`take`](Self::take): from a word of its own level.
    pub(crate) fn take_beside(
        &self,
        order: Order,
        near: Granule,
        budget: u32,
        avoid: &impl Avoid,
    ) -> Option<Block> {
        let level = order.level();
        if level > self.top {
            return None;
        }
        self.take_in_level(level, order.run(), near, budget, avoid)
    }

    /// The others: out of a larger block, else from anywhere.
    pub(crate) fn take_beyond(
        &self,
        order: Order,
        near: Granule,
        avoid: &impl Avoid,
    ) -> Result<Taken, OutOfMemory> {
        let level = order.level();
        if level > self.top {
            return Ok(Taken::Nothing);
        }
        if let Taken::Block(block) = self.take_above(order, level, near, avoid)? {
            return Ok(Taken::Block(block));
        }
        let block = self.take_in_level(level, order.run(), Granule(0), u32::MAX, &());
        Ok(block.map_or(Taken::Nothing, Taken::Block))
    }

    /// Takes a block of `order` out of the smallest one of a level above
    /// `level`. The caller is inside a bracket.
    pub(crate) fn take_above(
        &self,
        order: Order,
        level: u32,
        near: Granule,
        avoid: &impl Avoid,
    ) -> Result<Taken, OutOfMemory> {
        for above in level + 1..=self.top {
            if let Some(larger) = self.take_in_level(above, 1, near, BUDGET, avoid) {
                return self.break_down(larger, Block::containing(avoid.pick(larger), order));
            }
        }
        Ok(Taken::Nothing)
    }

    /// Takes `run` adjacent places of `level`, from the first word at or after
    /// `near` that has them, wrapping around once; looks into at most `budget`
    /// words that do not fit.
    fn take_in_level(
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
    /// says. If nothing is found, those that were seen zero leave the summary
    /// together.
    #[inline]
    fn take_in_group(
        &self,
        search: &mut Search,
        base: u64,
        mut ahead: u64,
        avoid: &impl Avoid,
    ) -> Option<Block> {
        let Search { level, run, .. } = *search;
        let is_any_avoided = avoid.is_any();
        // Side by side, but in models, whose chunks are smaller than a group.
        let side = self.words(level).ahead(base).unwrap_or(&[]);
        let mut empty = 0;
        while ahead != 0 {
            let place = ahead.trailing_zeros();
            ahead &= ahead - 1;
            let word = base | u64::from(place);
            // Relaxed: a guess for the compare-exchange.
            let value = match side.get(place as usize) {
                Some(word) => word.load(Ordering::Relaxed),
                None => self.word(level, word).map_or(0, |word| word.load(Ordering::Relaxed)),
            };
            if value == 0 {
                empty |= 1 << place;
                continue;
            }
            let avoided = if is_any_avoided { avoid.places(level, word) } else { 0 };
            if run_starts(value & !avoided, run) != 0
                && let Some(block) = self.take_snug(level, word, run, avoided)
            {
                return Some(block);
            }
            if avoided != 0 && search.second_best.is_none() {
                search.second_best = Some(word);
            }
            search.left -= 1;
            if search.left == 0 {
                return None;
            }
        }
        if empty != 0 {
            self.note_empty_words(level, base, empty);
            search.left -= 1;
        }
        None
    }

    /// Takes `run` places of one word that are not `avoided`: those that `pick`
    /// picks of the free ones.
    #[inline]
    pub(crate) fn take_in_word(
        &self,
        level: u32,
        word: u64,
        run: u32,
        avoided: u64,
        pick: impl Fn(u64, u32) -> Option<u64>,
    ) -> Option<u64> {
        let atomic = self.word(level, word)?;
        let mut value = atomic.load(Ordering::Relaxed);
        loop {
            if value == 0 {
                self.note_empty(level, word);
                return None;
            }
            let mask = pick(value & !avoided, run)?;
            if memdesc::seeded!("taken without a compare-exchange") {
                atomic.store(value & !mask, Ordering::Release);
                return Some(mask);
            }
            // Acquire pairs with the Release of the give: the block is ours
            // with everything its last owner did to it. Release: a completer
            // that reads our value must not be ordered before our load of it.
            match atomic.compare_exchange_weak(
                value,
                value & !mask,
                memdesc::weakened!("taken relaxed", AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(mask),
                Err(now) => value = now,
            }
        }
    }

    /// As [`take_in_word`](Self::take_in_word), where larger runs stay whole: the
    /// block.
    pub(crate) fn take_snug(&self, level: u32, word: u64, run: u32, avoided: u64) -> Option<Block> {
        let mask = self.take_in_word(level, word, run, avoided, snuggest_run)?;
        Some(block_of(level, word, mask, run))
    }

    /// Takes the lowest aligned run of `run` places of one word that are not
    /// `avoided`: its first place. As [`take_in_word`](Self::take_in_word), and
    /// short: for a word that is warm.
    #[inline(always)]
    pub(crate) fn take_lowest(atomic: &AtomicU64, run: u32, avoided: u64) -> Option<u64> {
        loop {
            if let Ok(first) = Self::try_take_lowest(atomic, run, avoided) {
                return first;
            }
        }
    }

    /// An attempt at that; refused where somebody changed the word just then.
    #[inline(always)]
    pub(crate) fn try_take_lowest(
        atomic: &AtomicU64,
        run: u32,
        avoided: u64,
    ) -> Result<Option<u64>, Contended> {
        let value = atomic.load(Ordering::Relaxed);
        let starts = run_starts(value & !avoided, run);
        if starts == 0 {
            // (A search that meets it empty clears its summary.)
            return Ok(None);
        }
        let first = u64::from(starts.trailing_zeros());
        let rest = value & !(((1 << run) - 1) << first);
        // Orderings as in `take_in_word`.
        let taken = atomic.compare_exchange_weak(
            value,
            rest,
            memdesc::weakened!("lowest taken relaxed", AcqRel),
            Ordering::Relaxed,
        );
        taken.map_or(Err(Contended), |_| Ok(Some(first)))
    }

    /// A word was seen zero: searches are to pass it by.
    #[cold]
    fn note_empty(&self, level: u32, word: u64) {
        if level < self.top {
            self.clear_summary(level, level + 1, word);
        }
    }

    /// Takes up to `count` aligned runs of one word by one compare-exchange;
    /// returns their places.
    pub(crate) fn take_runs(&self, level: u32, word: u64, run: u32, count: u32) -> u64 {
        let Some(atomic) = self.word(level, word) else { return 0 };
        let mut value = atomic.load(Ordering::Relaxed);
        loop {
            let wanted = lowest_runs(value, run, count);
            if wanted == 0 {
                return 0;
            }
            // Orderings as in `take_in_word`.
            match atomic.compare_exchange_weak(
                value,
                value & !wanted,
                memdesc::weakened!("runs taken relaxed", AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(_) => return wanted,
                Err(now) => value = now,
            }
        }
    }

    /// Takes every bit of a word at once.
    pub(crate) fn claim_word(&self, level: u32, word: u64) -> u64 {
        if memdesc::seeded!("claimed without a swap")
            && let Some(atomic) = self.word(level, word)
        {
            let value = atomic.load(Ordering::Acquire);
            atomic.store(0, Ordering::Release);
            return value;
        }
        // Acquire: as in `take_in_word`.
        self.word(level, word)
            .map_or(0, |atomic| atomic.swap(0, memdesc::weakened!("claimed relaxed", AcqRel)))
    }

    /// `larger`, one place that the caller owns, is broken until only `wanted`
    /// inside it is left; the rest is given back.
    pub(super) fn break_down(&self, larger: Block, wanted: Block) -> Result<Taken, OutOfMemory> {
        let (top, bottom) = (larger.order().level(), wanted.order().level());
        debug_assert!(larger.covers(wanted) && bottom < top);
        let at = wanted.base();
        for level in bottom..top {
            if self.ensure(level, at).is_err() {
                // Whole again: nothing below was touched.
                let given = self.give(larger.place(), |_, _| false);
                debug_assert_eq!(given, Ok(()));
                return Err(OutOfMemory);
            }
        }
        for level in (bottom..top).rev() {
            let keep = if level == bottom { wanted.place().mask } else { bit_of(level, at) };
            let rest = Place { level, word: word_of(level, at), mask: !keep };
            // Not whole, so nothing merges; all ours, so nothing was set.
            let given = self.give(rest, |_, _| true);
            debug_assert_eq!(given, Ok(()));
        }
        Ok(Taken::Block(wanted))
    }
}
