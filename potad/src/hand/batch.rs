//! Taking many blocks inside one bracket.
//!
//! # Cost (read-modify-writes)
//!
//! Granules out of whole words: 1 per word while words come one by one, 1 per
//! up to 64 words where the word above has them.

use super::code::Code;
use super::slot::{CLAIMED_ORDERS, Slot};
use crate::error::OutOfMemory;
use crate::forest::{Taken, lowest_run};
use crate::stock::Stock;
use core::ops::Deref;
use memdesc::{Granule, ORDERS_PER_LEVEL, Order};

/// Blocks per bracket of a batch: what is in transit at once.
pub(crate) const BATCH: usize = if cfg!(any(loom, shuttle)) { 4 } else { 512 };

/// Blocks on their way from the slot to its caller.
pub(crate) struct Batch {
    codes: [Code; BATCH],
    len: usize,
}

impl Batch {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { codes: [Code::LEAST; BATCH], len: 0 }
    }

    /// Adds a block; callers count, and one too many is left out.
    #[inline(always)]
    pub(crate) fn push(&mut self, code: Code) {
        debug_assert!(self.len < BATCH);
        if let Some(next) = self.codes.get_mut(self.len) {
            *next = code;
            self.len += 1;
        }
    }
}

impl Deref for Batch {
    type Target = [Code];

    #[inline]
    fn deref(&self) -> &[Code] {
        &self.codes[..self.len]
    }
}

impl Slot {
    /// Takes up to `room` blocks at once: whole words, without a search for
    /// each. Fewer, or none, only where the next word has to be searched.
    pub(crate) fn take_many(
        &self,
        stock: &Stock,
        order: Order,
        room: usize,
        out: &mut Batch,
    ) -> Result<(), OutOfMemory> {
        if order.get() <= CLAIMED_ORDERS {
            return self.take_many_small(stock, order, room, out);
        }
        let (level, run) = (order.level(), order.run());
        while out.len() < room {
            let Taken::Block(block) = self.take_shared(stock, order)? else { break };
            out.push(Code::of(block));
            // The rest of the same word in one go.
            let word = block.place().word;
            let more = (room - out.len()).min((64 / run) as usize);
            let mut taken = stock.forest.take_runs(level, word, run, more as u32);
            while let Some(mask) = lowest_run(taken, run) {
                taken &= !mask;
                let first = u64::from(mask.trailing_zeros());
                let Some(code) = Code::at(word, first, order) else { break };
                stock.on_take_code(code);
                out.push(code);
            }
        }
        Ok(())
    }

    fn take_many_small(
        &self,
        stock: &Stock,
        order: Order,
        room: usize,
        out: &mut Batch,
    ) -> Result<(), OutOfMemory> {
        loop {
            for claim in &self.claims {
                claim.take_many(order, room, out);
            }
            if out.len() == room || !self.refill(stock, order)? {
                return Ok(());
            }
            if let Some(whole) = self.claims.iter().find(|claim| claim.mask() == u64::MAX) {
                self.take_whole_words(stock, whole.word(), order, room, out)?;
            }
        }
    }

    /// Takes whole words beside `word`, which was whole, as far as their places
    /// one level up are free and `room` is left for all that they hold.
    fn take_whole_words(
        &self,
        stock: &Stock,
        word: u64,
        order: Order,
        room: usize,
        out: &mut Batch,
    ) -> Result<(), OutOfMemory> {
        let each = 64 >> order.get();
        let wanted = (room - out.len()) / each;
        if wanted == 0 || stock.forest.top() == 0 {
            return Ok(());
        }
        let above = word >> ORDERS_PER_LEVEL;
        // Frees will want the words: those below one word share a table, so
        // that this one's is there says that theirs is.
        stock.forest.ensure(0, Granule(word << ORDERS_PER_LEVEL))?;
        let mut taken = stock.forest.take_runs(1, above, 1, wanted.min(64) as u32);
        while taken != 0 {
            let word = above << ORDERS_PER_LEVEL | u64::from(taken.trailing_zeros());
            taken &= taken - 1;
            stock.on_claim(word);
            let places = (0..64).step_by(1 << order.get());
            places
                .filter_map(|first| Code::small(word, first, order))
                .for_each(|code| out.push(code));
        }
        Ok(())
    }
}
