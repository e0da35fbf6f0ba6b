//! Taking and giving through a slot.
//!
//! # How
//!
//! Orders 0 to 2 come out of claimed words by plain operations; a claim is one
//! `swap` that takes all the free bits of a word, an ordinary allocation of
//! them, so frees by others into it just set bits. Higher orders take one
//! compare-exchange in the level's warm word, which is not merged while it is
//! warm: without that, a pair out of an all-free resource would split and merge
//! every level each time. A free elsewhere opens the pending word; its
//! neighbours join by plain operations, and a pending word that is whole goes
//! to its parent without touching its own line.
//!
//! # What always holds
//!
//! Every function here runs inside the slot's bracket, or on a closed slot.
//!
//! # Cost (read-modify-writes)
//!
//! | operation | RMW |
//! |---|---|
//! | orders 0-2 while a claim fits; free into a claim or the pending word | 0 |
//! | refill of 64 granules | 1, and 1 for a claim that is given back |
//! | orders 3-63 in a warm word; free into it | 1 each |
//! | free elsewhere | 1 per word touched, 1 more per 64 for the parent |

use super::slot::{Held, PENDING, Slot};
use crate::error::OutOfMemory;
use crate::forest::{AlreadyFree, Taken, block_of, lowest_run};
use crate::stock::Stock;
use memdesc::sync::atomic::Ordering;
use memdesc::{Block, Granule, ORDERS_PER_LEVEL, Order, Place};
use smallvec::SmallVec;

/// The largest order that claims serve.
const CLAIMED_ORDERS: u32 = 2;

/// Lines that a refill looks into before it takes a whole word.
const REFILL_BUDGET: u32 = 16;

impl Slot {
    /// Takes a block, if the hand or the forest has one.
    #[inline]
    pub(crate) fn take(&self, stock: &Stock, order: Order) -> Result<Taken, OutOfMemory> {
        if order.get() <= CLAIMED_ORDERS
            && let Some(block) = self.take_claimed(order)
        {
            return Ok(Taken::Block(block));
        }
        self.take_slow(stock, order)
    }

    /// Takes a block out of a claim.
    #[inline(always)]
    fn take_claimed(&self, order: Order) -> Option<Block> {
        self.claims.iter().find_map(|claim| claim.take(order))
    }

    /// The whole of a hot allocation: enters, takes out of a claim, leaves.
    /// `None` if anything else is to be done.
    #[inline(always)]
    pub(crate) fn take_hot(&self, stock: &Stock, order: Order) -> Option<Block> {
        let _inside = self.enter()?;
        if order.get() <= CLAIMED_ORDERS {
            return self.take_claimed(order);
        }
        let block = self.take_warm(stock, order)?;
        stock.on_take(block);
        Some(block)
    }

    /// Takes the lowest block out of the level's warm word: one compare-exchange.
    #[inline(always)]
    fn take_warm(&self, stock: &Stock, order: Order) -> Option<Block> {
        let (level, run) = (order.level(), order.run());
        let word = self.warm(level)?;
        let avoided = stock.avoided(level, word);
        let mask = stock.forest.take_in_word(level, word, run, avoided, lowest_run)?;
        Some(block_of(level, word, mask, run))
    }

    /// The whole of a hot free: enters, gives into a word that is held, leaves.
    /// `false` if anything else is to be done.
    #[inline(always)]
    pub(crate) fn give_hot(&self, stock: &Stock, block: Block) -> bool {
        let place = block.place();
        let Some(_inside) = self.enter() else { return false };
        // Inside the bracket: a failure reported before it is seen here, one
        // reported after it finds the granule where we are about to put it.
        if stock.is_suspect(block) && !memdesc::seeded!("freed without looking at the poison") {
            return false;
        }
        if block.order().get() > CLAIMED_ORDERS && self.is_warm(place.level, place.word) {
            return stock.forest.give_warm(place);
        }
        if place.level != 0 {
            return false;
        }
        let Some(held) = self.held_of(place.word) else { return self.open_pending(stock, place) };
        let mask = held.mask();
        held.set_mask(mask | place.mask);
        if mask & place.mask != 0 {
            held.set_mask(mask);
            return false;
        }
        true
    }

    /// Makes the places the next pending word; `false` if there is none left, or
    /// they are free already. (Not merged into an older one of the same word: a
    /// search of unforeseeable length costs more than the RMW it would save.)
    #[inline(always)]
    fn open_pending(&self, stock: &Stock, place: Place) -> bool {
        // A look that nothing waits for: it brings the line near until the
        // word is given.
        if stock.forest.load(0, place.word) & place.mask != 0 {
            return false;
        }
        let words = self.pending_words();
        let Some(next) = self.pending.get(words) else { return false };
        next.set(place.word, place.mask);
        self.set_pending_words(words + 1);
        true
    }

    #[inline(never)]
    fn take_slow(&self, stock: &Stock, order: Order) -> Result<Taken, OutOfMemory> {
        if order.get() <= CLAIMED_ORDERS {
            while self.refill(stock, order)? {
                if let Some(block) = self.take_claimed(order) {
                    return Ok(Taken::Block(block));
                }
            }
            return Ok(Taken::Nothing);
        }
        let taken = self.take_shared(stock, order)?;
        if taken == Taken::Nothing && order.level() == 0 {
            // Our own claims may hold what the forest has not.
            return Ok(self.take_claimed(order).map_or(Taken::Nothing, Taken::Block));
        }
        Ok(taken)
    }

    /// Takes a block from the forest, the warm word first.
    fn take_shared(&self, stock: &Stock, order: Order) -> Result<Taken, OutOfMemory> {
        let level = order.level();
        let warm = self.take_warm(stock, order);
        let block = match warm {
            Some(block) => block,
            None => match stock.take(order, Granule(self.near.load(Ordering::Relaxed)))? {
                Taken::Block(block) => block,
                Taken::Nothing => return Ok(Taken::Nothing),
            },
        };
        if warm.is_none() {
            let word = block.place().word;
            self.near.store(block.base().0, Ordering::Relaxed);
            if let Some(before) = self.set_warm(level, Some(word)).filter(|&before| before != word)
            {
                stock.forest.merge(level, before);
            }
        }
        stock.on_take(block);
        Ok(Taken::Block(block))
    }

    /// Takes up to `room` blocks at once: whole words, without a search for
    /// each. Fewer, or none, only where the next word has to be searched.
    pub(crate) fn take_many<const N: usize>(
        &self,
        stock: &Stock,
        order: Order,
        room: usize,
        out: &mut SmallVec<[Block; N]>,
    ) -> Result<(), OutOfMemory> {
        if order.get() <= CLAIMED_ORDERS {
            while out.len() < room {
                match self.take_claimed(order) {
                    Some(block) => out.push(block),
                    None if self.refill(stock, order)? => {}
                    None => break,
                }
            }
            return Ok(());
        }
        let (level, run) = (order.level(), order.run());
        while out.len() < room {
            let Taken::Block(block) = self.take_shared(stock, order)? else { break };
            out.push(block);
            // The rest of the same word in one go.
            let word = block.place().word;
            let more = (room - out.len()).min((64 / run) as usize);
            let mut taken = stock.forest.take_runs(level, word, run, more as u32);
            while let Some(mask) = lowest_run(taken, run) {
                taken &= !mask;
                let block = block_of(level, word, mask, run);
                stock.on_take(block);
                out.push(block);
            }
        }
        Ok(())
    }

    /// Claims another word; `false` if the forest has nothing that fits.
    fn refill(&self, stock: &Stock, order: Order) -> Result<bool, OutOfMemory> {
        let Some(victim) = self.claims.iter().min_by_key(|claim| claim.mask().count_ones()) else {
            return Ok(false);
        };
        if let Some((word, mask)) = victim.release() {
            self.give_up(stock, word, mask);
        }
        if self.claim_pending(victim, order) {
            return Ok(true);
        }
        if self.claim_broken(stock, victim, order) {
            return Ok(true);
        }
        let whole = Order::new(ORDERS_PER_LEVEL).unwrap_or(Order::ZERO);
        if stock.forest.top() > 0
            && let Taken::Block(block) = self.take_shared(stock, whole)?
        {
            let at = block.base();
            if stock.forest.ensure(0, at).is_err() {
                let _own =
                    stock.forest.give(block.place(), |level, word| self.is_warm(level, word));
                return Err(OutOfMemory);
            }
            victim.set(at.0 >> ORDERS_PER_LEVEL, u64::MAX);
            return Ok(true);
        }
        // Words that do not fit are no reason to give up a granule that does.
        let Taken::Block(block) = stock.take(order, Granule(0))? else {
            return Ok(false);
        };
        stock.on_take(block);
        let place = block.place();
        victim.set(place.word, place.mask);
        Ok(true)
    }

    /// Turns the pending word that was opened last into a claim, if it fits.
    fn claim_pending(&self, victim: &Held, order: Order) -> bool {
        let Some(last) = self.pending_words().checked_sub(1) else { return false };
        let pending = &self.pending[last];
        if lowest_run(pending.mask(), order.run()).is_none() {
            return false;
        }
        victim.set(pending.word(), pending.mask());
        let _moved = pending.release();
        self.set_pending_words(last);
        true
    }

    /// Claims the fullest word of the first line, from `near` on, that has one
    /// that fits.
    fn claim_broken(&self, stock: &Stock, victim: &Held, order: Order) -> bool {
        let near = Granule(self.near.load(Ordering::Relaxed));
        let Some(word) = stock.fullest_word(near, order.run(), REFILL_BUDGET) else {
            return false;
        };
        let mask = stock.forest.claim_word(0, word);
        if mask == 0 {
            return false;
        }
        let base = word << ORDERS_PER_LEVEL;
        self.near.store(base, Ordering::Relaxed);
        stock.on_claim(word);
        if victim.is_of(word) || self.claims.iter().any(|claim| claim.is_of(word)) {
            // Bits that others freed into a word we hold: one claim has them.
            for claim in self.claims.iter().filter(|claim| claim.is_of(word)) {
                claim.set_mask(claim.mask() | mask);
            }
            return true;
        }
        victim.set(word, mask);
        true
    }

    /// Gives a block back, which the caller owned.
    #[inline]
    pub(crate) fn give(&self, stock: &Stock, block: Block) -> Result<(), AlreadyFree> {
        let place = block.place();
        if place.level != 0 {
            return stock.forest.give(place, |level, word| self.is_warm(level, word));
        }
        if let Some(held) = self.held_of(place.word) {
            let mask = held.mask();
            if mask & place.mask != 0 {
                return Err(AlreadyFree);
            }
            held.set_mask(mask | place.mask);
            return Ok(());
        }
        self.give_slow(stock, place, block.order())
    }

    #[inline(never)]
    fn give_slow(&self, stock: &Stock, place: Place, order: Order) -> Result<(), AlreadyFree> {
        if order.get() > CLAIMED_ORDERS && self.is_warm(0, place.word) {
            return stock.forest.give(place, |level, word| self.is_warm(level, word));
        }
        if self.pending_words() == PENDING {
            self.give_pending(stock);
        }
        if self.open_pending(stock, place) { Ok(()) } else { Err(AlreadyFree) }
    }

    /// Gives the pending words. The look at each word when it was opened has
    /// brought its line near meanwhile: the misses overlap.
    fn give_pending(&self, stock: &Stock) {
        self.set_pending_words(0);
        for (word, mask) in self.pending.iter().filter_map(Held::release) {
            // Free already: a double free through a handle made of an address,
            // between two looks at the word. The first one stands.
            let place = Place { level: 0, word, mask };
            let _twice = stock.forest.give(place, |level, word| self.is_warm(level, word));
        }
    }

    /// Gives bits that the hand owns back to the forest.
    fn give_up(&self, stock: &Stock, word: u64, mask: u64) {
        let place = Place { level: 0, word, mask };
        let given = stock.forest.give(place, |level, word| self.is_warm(level, word));
        debug_assert_eq!(given, Ok(()), "{place:?} was the hand's own");
    }

    /// Gives everything back and lets every warm word merge.
    pub(crate) fn flush(&self, stock: &Stock) {
        for level in 0..=stock.forest.top() {
            if let Some(word) = self.set_warm(level, None) {
                stock.forest.merge(level, word);
            }
        }
        self.give_pending(stock);
        for (word, mask) in self.claims.iter().filter_map(Held::release) {
            self.give_up(stock, word, mask);
        }
    }
}
