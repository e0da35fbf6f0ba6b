//! Taking through a slot.
//!
//! # How
//!
//! Orders 0 to 2 come out of claimed words by plain operations; a claim is one
//! `swap` that takes all the free bits of a word, an ordinary allocation of
//! them, so frees by others into it just set bits. Higher orders take one
//! compare-exchange in the level's warm word, which is not merged while it is
//! warm: without that, a pair out of an all-free resource would split and merge
//! every level each time.
//!
//! # What always holds
//!
//! Every function here runs inside the slot's bracket, or on a closed slot.
//!
//! # Cost (read-modify-writes)
//!
//! | operation | RMW |
//! |---|---|
//! | orders 0-2 while a claim fits | 0 |
//! | refill of 64 granules | 1, and 1 for a claim that is given back |
//! | orders 3-63 in a warm word | 1 |

use super::code::Code;
use super::held::Held;
use super::slot::{CLAIMED_ORDERS, Slot};
use crate::error::OutOfMemory;
use crate::forest::{Taken, lowest_run};
use crate::stock::Stock;
use memdesc::sync::atomic::Ordering;
use memdesc::{Block, Granule, ORDERS_PER_LEVEL, Order};

impl Slot {
    /// The whole of a hot allocation: enters, takes out of a claim or a warm
    /// word, leaves. `None` if anything else is to be done.
    #[inline(always)]
    pub(crate) fn take_hot(&self, stock: &Stock, order: Order) -> Option<Code> {
        let _inside = self.enter()?;
        self.take_at_hand(stock, order)
    }

    /// Takes a block out of a claim or a warm word, if one has it.
    #[inline(always)]
    pub(crate) fn take_at_hand(&self, stock: &Stock, order: Order) -> Option<Code> {
        match order.get() <= CLAIMED_ORDERS {
            true => self.take_claimed(order),
            false => self.take_warm(stock, order),
        }
    }

    /// Takes a block out of a claim; `order` is at most [`CLAIMED_ORDERS`].
    #[inline(always)]
    pub(super) fn take_claimed(&self, order: Order) -> Option<Code> {
        self.claims.iter().find_map(|claim| claim.take(order))
    }

    /// Takes the lowest block out of the level's warm word: one compare-exchange.
    #[inline(never)]
    fn take_warm(&self, stock: &Stock, order: Order) -> Option<Code> {
        if stock.is_reported() {
            return self.take_warm_reported(stock, order);
        }
        let level = order.level();
        let word = self.warm(level)?;
        let first = stock.forest.take_lowest(level, word, order.run(), 0)?;
        Code::at(word, first, order)
    }

    /// The same where a reporter is attached.
    #[inline(never)]
    fn take_warm_reported(&self, stock: &Stock, order: Order) -> Option<Code> {
        let level = order.level();
        let word = self.warm(level)?;
        let avoided = stock.avoided(level, word);
        let first = stock.forest.take_lowest(level, word, order.run(), avoided)?;
        let code = Code::at(word, first, order)?;
        stock.on_take_code(code);
        Some(code)
    }

    /// Takes a block, if the hand or the forest has one.
    pub(crate) fn take(&self, stock: &Stock, order: Order) -> Result<Taken, OutOfMemory> {
        if order.get() <= CLAIMED_ORDERS {
            loop {
                if let Some(code) = self.take_claimed(order) {
                    return Ok(Taken::Block(code.block()));
                }
                if !self.refill(stock, order)? {
                    return Ok(Taken::Nothing);
                }
            }
        }
        let taken = self.take_shared(stock, order)?;
        if taken == Taken::Nothing && order.level() == 0 {
            // Our own claims may hold what the forest has not.
            let own = self.claims.iter().find_map(|claim| claim.take_run(order));
            return Ok(own.map_or(Taken::Nothing, |code| Taken::Block(code.block())));
        }
        Ok(taken)
    }

    /// Takes a block from the forest, the warm word first.
    pub(super) fn take_shared(&self, stock: &Stock, order: Order) -> Result<Taken, OutOfMemory> {
        if let Some(code) = self.take_warm(stock, order) {
            return Ok(Taken::Block(code.block()));
        }
        let taken = match order.level() {
            0 => self.take_large(stock, order)?,
            _ => {
                let near = Granule(self.near.load(Ordering::Relaxed));
                stock.take(order, near)?
            }
        };
        let Taken::Block(block) = taken else { return Ok(Taken::Nothing) };
        if order.level() != 0 {
            self.near.store(block.base().0, Ordering::Relaxed);
        }
        stock.on_take(block);
        self.keep_warm(stock, block);
        Ok(Taken::Block(block))
    }

    /// Makes the block's word the warm one of its level; the one before may
    /// merge.
    pub(super) fn keep_warm(&self, stock: &Stock, block: Block) {
        let (level, word) = (block.order().level(), block.place().word);
        if let Some(before) = self.set_warm(level, Some(word)).filter(|&before| before != word) {
            stock.forest.merge(level, before);
        }
    }

    /// Claims another word; `false` if the forest has nothing that fits.
    #[inline(never)]
    pub(super) fn refill(&self, stock: &Stock, order: Order) -> Result<bool, OutOfMemory> {
        let Some(victim) = self.claims.iter().min_by_key(|claim| claim.mask().count_ones()) else {
            return Ok(false);
        };
        if let Some((word, mask)) = victim.release() {
            self.give_word(stock, word, mask);
        }
        if self.claim_pending(stock, victim, order) || self.claim_placed(stock, victim, order)? {
            return Ok(true);
        }
        let whole = Order::new(ORDERS_PER_LEVEL).unwrap_or(Order::ZERO);
        if stock.forest.top() > 0 {
            let near = Granule(self.near.load(Ordering::Relaxed));
            let taken = stock.take(whole, near)?;
            if let Some(word) = self.claim_whole(stock, victim, taken)? {
                self.near.store(word << ORDERS_PER_LEVEL, Ordering::Relaxed);
                return Ok(true);
            }
        }
        // Words that do not fit are no reason to give up a granule that does.
        let Taken::Block(block) = stock.take(order, Granule(0))? else {
            return Ok(false);
        };
        stock.on_take(block);
        let place = block.place();
        self.hold(victim, place.word, place.mask);
        Ok(true)
    }

    /// Turns the pending word that was opened last into a claim, if it fits and
    /// is in the region where the hand would go on. From elsewhere it would
    /// pin what is about to become free.
    fn claim_pending(&self, stock: &Stock, victim: &Held, order: Order) -> bool {
        let pending = self.pending_of(self.last.load(Ordering::Relaxed));
        if lowest_run(pending.mask(), order.run()).is_none() {
            return false;
        }
        let near = Granule(self.near.load(Ordering::Relaxed));
        if !stock.is_at_home(self.class, near, pending.word()) {
            return false;
        }
        let Some((word, mask)) = pending.release() else { return false };
        victim.set(word, mask);
        true
    }

    /// Places just taken become the empty `victim`'s, or join those of the same
    /// word that the hand holds already.
    pub(super) fn hold(&self, victim: &Held, word: u64, mask: u64) {
        let pending = Some(self.pending_of(word)).filter(|pending| pending.is_of(word));
        let waiting = pending.or_else(|| self.outbox.of(word)).and_then(Held::release);
        let waiting = waiting.map_or(0, |(_, mask)| mask);
        match self.claims.iter().find(|claim| claim.is_of(word)) {
            // Bits that others freed into a word we hold.
            Some(claim) => claim.set_mask(claim.mask() | mask | waiting),
            None => victim.set(word, mask | waiting),
        }
    }
}
