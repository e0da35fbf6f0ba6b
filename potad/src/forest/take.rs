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
            let beside = self.take_here(above, near, avoid);
            if let Some(larger) =
                beside.or_else(|| self.take_in_level(above, 1, near, BUDGET, avoid))
            {
                return self.break_down(larger, Block::containing(avoid.pick(larger), order));
            }
        }
        Ok(Taken::Nothing)
    }

    /// Takes one place of the word of `level` that `near` is in: where a search would
    /// begin.
    #[inline]
    fn take_here(&self, level: u32, near: Granule, avoid: &impl Avoid) -> Option<Block> {
        let word = word_of(level, near);
        let avoided = if avoid.is_any() { avoid.places(level, word) } else { 0 };
        let atomic = self.word_near(level, word)?;
        let value = atomic.load(Ordering::Relaxed);
        let mask = Self::take_of(atomic, value, 1, avoided, snuggest_run)?;
        Some(block_of(level, word, mask, 1))
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
        let value = atomic.load(Ordering::Relaxed);
        if value == 0 {
            self.note_empty(level, word);
            return None;
        }
        Self::take_of(atomic, value, run, avoided, pick)
    }

    /// The same of a word that is not to be noted if it is empty, in which `value`
    /// was seen.
    #[inline(always)]
    pub(super) fn take_of(
        atomic: &AtomicU64,
        mut value: u64,
        run: u32,
        avoided: u64,
        pick: impl Fn(u64, u32) -> Option<u64>,
    ) -> Option<u64> {
        loop {
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

    /// As [`take_snug`](Self::take_snug), of a word that is not to be noted if it is
    /// empty: the first place.
    #[inline(always)]
    pub(crate) fn take_snuggest(atomic: &AtomicU64, run: u32) -> Option<u64> {
        let value = atomic.load(Ordering::Relaxed);
        let mask = Self::take_of(atomic, value, run, 0, snuggest_run)?;
        Some(mask.trailing_zeros().into())
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
