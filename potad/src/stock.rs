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
use crate::forest::{Avoid, Forest, Taken, lowest_run, word_of};
use crate::poison::PoisonSet;
use crate::reported::Reported;
use memdesc::{Block, Granule, ORDERS_PER_LEVEL, OnceSlot, Order};

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

    /// Places whose memory the host has taken back: taken last.
    #[inline]
    pub(crate) fn avoided(&self, level: u32, word: u64) -> u64 {
        self.reported.get().map_or(0, |reported| reported.places(level, word))
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

    /// As [`on_take`](Self::on_take), for the places of a claimed word.
    #[inline]
    pub(crate) fn on_claim(&self, word: u64) {
        if self.reported.get().is_some()
            && let Ok(order) = Order::new(ORDERS_PER_LEVEL)
        {
            self.on_take(Block::containing(Granule(word << ORDERS_PER_LEVEL), order));
        }
    }

    /// Whether some granule of the block may be poisoned: ask the set.
    #[inline]
    pub(crate) fn is_suspect(&self, block: Block) -> bool {
        self.poison.is_suspect(block)
    }

    /// The word of level 0 with the most free bits, among those of the first
    /// line at or after `near` that has one with a run of `run`; looks into at
    /// most `budget` lines.
    pub(crate) fn fullest_word(
        &self,
        near: Granule,
        run: u32,
        line: u64,
        budget: u32,
    ) -> Option<u64> {
        let start = word_of(0, near);
        let (mut from, mut wrapped) = (start, false);
        for _ in 0..budget {
            let Some(word) = self.forest.next_nonzero(0, from) else {
                if wrapped || start == 0 {
                    return None;
                }
                (from, wrapped) = (0, true);
                continue;
            };
            let first = word & !(line - 1);
            let fullest = (first..first + line)
                .map(|word| (self.forest.load(0, word), word))
                .filter(|&(free, _)| lowest_run(free, run).is_some())
                .max_by_key(|(free, _)| free.count_ones());
            if let Some((_, word)) = fullest {
                return Some(word);
            }
            from = first + line;
        }
        None
    }
}
