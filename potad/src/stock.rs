//! The stock of a zone: the forest and what rides along with it.
//!
//! The two seams between the forest and everybody else are here: [`on_take`]
//! runs after bits were taken from the shared forest and before the block is
//! used; whether a block may go back at all is asked of the [`PoisonSet`] by
//! whoever gives ([`is_suspect`]).
//!
//! [`on_take`]: Stock::on_take
//! [`is_suspect`]: Stock::is_suspect

use crate::error::OutOfMemory;
use crate::forest::{Avoid, Forest, Taken, block_of, lowest_run, word_of};
use crate::hand::Code;
use crate::poison::PoisonSet;
use crate::reported::Reported;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{Block, Granule, ORDERS_PER_LEVEL, OnceSlot, Order, Place};

/// What a zone has to lend, and what is known about it.
#[derive(Debug)]
pub(crate) struct Stock {
    pub(crate) forest: Forest,
    pub(crate) poison: PoisonSet,
    /// Present once a reporter was attached.
    pub(crate) reported: OnceSlot<Reported>,
}

impl Avoid for Stock {
    fn places(&self, level: u32, word: u64) -> u64 {
        self.avoided(level, word)
    }

    fn pick(&self, larger: Block) -> Granule {
        self.reported.get().map_or(larger.base(), |reported| reported.first_unreported(larger))
    }
}

impl Stock {
    pub(crate) fn new(top: u32) -> Self {
        Self { forest: Forest::new(top), poison: PoisonSet::default(), reported: OnceSlot::new() }
    }

    /// Whether a reporter is attached, or was.
    #[inline(always)]
    pub(crate) fn is_reported(&self) -> bool {
        self.reported.get().is_some()
    }

    /// Places whose memory the host has taken back: taken last.
    #[inline(always)]
    pub(crate) fn avoided(&self, level: u32, word: u64) -> u64 {
        match self.reported.get() {
            None => 0,
            Some(reported) => reported.places(level, word),
        }
    }

    /// Takes a block from the forest; [`on_take`](Self::on_take) must follow.
    pub(crate) fn take(&self, order: Order, near: Granule) -> Result<Taken, OutOfMemory> {
        self.forest.take(order, near, self)
    }

    /// Bits were taken from the shared forest, and nobody uses the block yet:
    /// what the reporter knew of it no longer holds.
    #[inline]
    pub(crate) fn on_take(&self, block: Block) {
        if let Some(reported) = self.reported.get() {
            reported.forget(block);
        }
    }

    /// As [`on_take`](Self::on_take).
    #[inline(always)]
    pub(crate) fn on_take_code(&self, code: Code) {
        if self.reported.get().is_some() {
            self.on_take(code.block());
        }
    }

    /// As [`on_take`](Self::on_take), for the places of a claimed word.
    #[inline]
    pub(crate) fn on_claim(&self, word: u64) {
        if self.reported.get().is_some()
            && let Ok(order) = Order::new(ORDERS_PER_LEVEL)
        {
            self.on_take(Block::containing(Granule(word << ORDERS_PER_LEVEL), order));
        }
    }

    /// As [`on_take`](Self::on_take), for places of one word.
    pub(crate) fn on_take_place(&self, place: Place) {
        if self.reported.get().is_none() {
            return;
        }
        if place.level == 0 {
            return self.on_claim(place.word);
        }
        let mut mask = place.mask;
        while mask != 0 {
            self.on_take(block_of(place.level, place.word, mask & mask.wrapping_neg(), 1));
            mask &= mask - 1;
        }
    }

    /// Whether some granule of the block may be poisoned: ask the set.
    #[inline]
    pub(crate) fn is_suspect(&self, block: Block) -> bool {
        self.poison.is_suspect(block)
    }

    /// Whether any block at all is suspect.
    #[inline(always)]
    pub(crate) fn is_any_suspect(&self) -> bool {
        self.poison.is_any_suspect()
    }

    /// As [`is_suspect`](Self::is_suspect), in one load where nothing is.
    #[inline(always)]
    pub(crate) fn may_suspect(&self, code: Code) -> bool {
        self.is_any_suspect() && self.is_suspect(code.block())
    }

    /// A word of level 0 with a run of `run`: the one with the most free bits
    /// of the first line, at or after `near`, that has one. Looks along the
    /// chunk first, then by the summaries into at most `budget` lines.
    pub(crate) fn fullest_word(&self, near: Granule, run: u32, budget: u32) -> Option<u64> {
        let start = word_of(0, near);
        self.fullest_ahead(start, run).or_else(|| self.fullest_found(start, run, budget))
    }

    /// Along the chunk: the words are neighbours in memory.
    #[inline]
    fn fullest_ahead(&self, start: u64, run: u32) -> Option<u64> {
        let first = start & !(LINE as u64 - 1);
        let words = self.forest.words_ahead(first)?;
        let lines = words.chunks_exact(LINE).take(LINES_AHEAD);
        (first..).step_by(LINE).zip(lines).find_map(|(first, line)| fullest(first, line, run))
    }

    fn fullest_found(&self, start: u64, run: u32, budget: u32) -> Option<u64> {
        let (mut from, mut wrapped) = (start, false);
        for _ in 0..budget {
            let Some(word) = self.forest.next_nonzero(0, from) else {
                if wrapped || start == 0 {
                    return None;
                }
                (from, wrapped) = (0, true);
                continue;
            };
            let first = word & !(LINE as u64 - 1);
            let line = self.forest.words_ahead(first).and_then(|words| words.get(..LINE));
            if let Some(found) = line.and_then(|line| fullest(first, line, run)) {
                return Some(found);
            }
            from = first + LINE as u64;
        }
        None
    }
}

/// Words per cache line.
const LINE: usize = if cfg!(loom) { 4 } else { 8 };

/// Lines that a refill looks along before it asks the summaries.
const LINES_AHEAD: usize = 2;

/// Of the words of a line, the one with the most free bits that has a run.
#[inline]
fn fullest(first: u64, line: &[AtomicU64], run: u32) -> Option<u64> {
    (first..)
        .zip(line)
        // Relaxed: the claim that follows looks again.
        .map(|(word, free)| (free.load(Ordering::Relaxed), word))
        .filter(|&(free, _)| free != 0 && (run == 1 || lowest_run(free, run).is_some()))
        .max_by_key(|(free, _)| free.count_ones())
        .map(|(_, word)| word)
}
