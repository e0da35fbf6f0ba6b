//! Many blocks inside one bracket.
//!
//! # How
//!
//! What is taken is noted word by word, with the places of all its blocks, and
//! told apart into blocks outside the bracket. What is given is put together
//! again: blocks of one word that follow each other are one operation.
//!
//! # Cost (read-modify-writes)
//!
//! Granules out of whole words: 1 per word while words come one by one, 1 per
//! up to 64 words where the word above has them. Back in address order: 1 per
//! word.

use super::code::Code;
use super::held::Held;
use super::slot::{CLAIMED_ORDERS, Slot};
use crate::error::OutOfMemory;
use crate::forest::{Taken, lowest_runs};
use crate::stock::Stock;
use memdesc::{Granule, ORDERS_PER_LEVEL, Order};

/// Words per bracket of a batch: what is in transit at once.
pub(crate) const BATCH: usize = if cfg!(any(loom, shuttle)) { 4 } else { 64 };

/// Blocks of one order on their way from the slot to its caller.
#[derive(Debug)]
pub(crate) struct Batch {
    order: Order,
    /// A word of the order's level, and the places of blocks in it.
    words: [(u64, u64); BATCH],
    len: usize,
    blocks: usize,
}

impl Batch {
    pub(crate) fn new(order: Order) -> Self {
        Self { order, words: [(0, 0); BATCH], len: 0, blocks: 0 }
    }

    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Words that there is room for.
    fn room(&self) -> usize {
        BATCH - self.len
    }

    /// Adds the blocks at these places of a word; callers see to the room, and
    /// what is too much is left out.
    fn push(&mut self, word: u64, places: u64) {
        debug_assert!(self.room() > 0);
        if let Some(next) = self.words.get_mut(self.len) {
            *next = (word, places);
            self.len += 1;
            self.blocks += (places.count_ones() / self.order.run()) as usize;
        }
    }

    /// Tells each block, word by word, lowest first.
    pub(crate) fn for_each(&self, mut tell: impl FnMut(Code)) {
        let run = self.order.run();
        for &(word, places) in &self.words[..self.len] {
            let mut starts = crate::forest::run_starts(places, run);
            while starts != 0 {
                let first = u64::from(starts.trailing_zeros());
                starts &= starts - 1;
                if let Some(code) = Code::at(word, first, self.order) {
                    tell(code);
                }
            }
        }
    }
}

impl Slot {
    /// Takes up to `room` blocks at once: whole words, without a search for
    /// each. Fewer only where no more are found near, or the batch is full.
    pub(crate) fn take_many(
        &self,
        stock: &Stock,
        room: usize,
        out: &mut Batch,
    ) -> Result<(), OutOfMemory> {
        let order = out.order;
        if order.get() <= CLAIMED_ORDERS {
            return self.take_many_small(stock, room, out);
        }
        let (level, run) = (order.level(), order.run());
        while out.blocks() < room && out.room() > 1 {
            let Taken::Block(block) = self.take_shared(stock, order)? else { break };
            let place = block.place();
            out.push(place.word, place.mask);
            // The rest of the same word in one go.
            let more = (room - out.blocks()).min((64 / run) as usize);
            let taken = stock.forest.take_runs(level, place.word, run, more as u32);
            if taken != 0 {
                stock.on_take_place(memdesc::Place { mask: taken, ..place });
                out.push(place.word, taken);
            }
        }
        Ok(())
    }

    fn take_many_small(
        &self,
        stock: &Stock,
        room: usize,
        out: &mut Batch,
    ) -> Result<(), OutOfMemory> {
        let order = out.order;
        loop {
            for claim in &self.claims {
                let wanted = room - out.blocks();
                if wanted > 0
                    && out.room() > 0
                    && let Some((word, places)) = claim.take_runs(order, wanted)
                {
                    out.push(word, places);
                }
            }
            if out.blocks() == room || out.room() == 0 || !self.refill(stock, order)? {
                return Ok(());
            }
            if let Some(whole) = self.claims.iter().find(|claim| claim.mask() == u64::MAX) {
                self.take_whole_words(stock, whole, room, out)?;
            }
        }
    }

    /// Takes whole words beside that of `whole`, as far as their places one
    /// level up are free and `room` is left for all that they hold.
    fn take_whole_words(
        &self,
        stock: &Stock,
        whole: &Held,
        room: usize,
        out: &mut Batch,
    ) -> Result<(), OutOfMemory> {
        let word = whole.word();
        let each = 64 >> out.order.get();
        // Room for the claims is left.
        let wanted =
            ((room - out.blocks()) / each).min(out.room().saturating_sub(self.claims.len()));
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
            out.push(word, u64::MAX);
        }
        Ok(())
    }

    /// Gives blocks back. Those that must go the long way (a suspect one, one
    /// that is free already) are moved to the beginning: how many.
    pub(crate) fn give_many(&self, stock: &Stock, codes: &mut [Code]) -> usize {
        // Inside the bracket: as in `give_at_hand`.
        let suspect = stock.poison.is_any_suspect();
        let (mut from, mut left) = (0, 0);
        while let Some(&first) = codes.get(from) {
            let mut to = from + 1;
            let given = if suspect || !first.is_small() {
                self.give_at_hand(stock, first)
            } else {
                let (word, mut mask) = first.small_place();
                while let Some(&next) = codes.get(to)
                    && next.is_small()
                    && let (same, more) = next.small_place()
                    && same == word
                    && mask & more == 0
                {
                    mask |= more;
                    to += 1;
                }
                self.give_places(stock, word, mask).is_ok()
            };
            while !given && from < to {
                // One by one, for some of them may be in order.
                let code = codes[from];
                if !self.give_at_hand(stock, code) {
                    codes[left] = code;
                    left += 1;
                }
                from += 1;
            }
            from = to;
        }
        left
    }
}

impl Held {
    /// Takes up to `count` aligned runs of an order, at most 2, out of the mask:
    /// the word, and their places.
    fn take_runs(&self, order: Order, count: usize) -> Option<(u64, u64)> {
        let mask = self.mask();
        let places = lowest_runs(mask, order.run(), count.min(64) as u32);
        self.set_mask(mask & !places);
        (places != 0).then(|| (self.word(), places))
    }
}
