//! Giving through a slot.
//!
//! # How
//!
//! A free into a claimed word, or into a pending one, is a plain operation. A
//! free elsewhere opens its pending word, and the one that waited in the same
//! place is given: one RMW for all its places, and none on its own line if it
//! is whole by then. A free of a higher order goes to the forest at once.
//!
//! # What always holds
//!
//! Every function here runs inside the slot's bracket, or on a closed slot.
//!
//! # Cost (read-modify-writes)
//!
//! | operation | RMW |
//! |---|---|
//! | free into a claim or a pending word | 0 |
//! | free elsewhere, level 0 | 1 per word touched, 1 more per 64 for the parent |
//! | free elsewhere, other levels | 1, 1 more per 64 for the parent |

use super::code::Code;
use super::held::Held;
use super::slot::{CLAIMED_ORDERS, PENDING, Slot};
use crate::forest::AlreadyFree;
use crate::stock::Stock;
use memdesc::sync::atomic::Ordering;
use memdesc::{Block, ORDERS_PER_LEVEL, Order, Place};

impl Slot {
    /// The whole of a hot free: enters, gives into a word that is held or warm,
    /// leaves. `false` if anything else is to be done.
    #[inline(always)]
    pub(crate) fn give_hot(&self, stock: &Stock, code: Code) -> bool {
        match self.enter() {
            Some(_inside) => self.give_at_hand(stock, code),
            None => false,
        }
    }

    /// Gives into a word that is held or warm; `false` if anything else is to be
    /// done.
    #[inline(always)]
    pub(crate) fn give_at_hand(&self, stock: &Stock, code: Code) -> bool {
        // Inside the bracket: a failure reported before it is seen here, one
        // reported after it finds the granule where we are about to put it.
        if stock.may_suspect(code) && !memdesc::seeded!("freed without looking at the poison") {
            return false;
        }
        if !code.is_of_level_0() {
            return self.give_large(stock, code).is_ok();
        }
        let (word, mask) = code.small_place();
        let given = match self.held_of(word) {
            Some(held) => held.add(mask),
            None => self.open_pending(stock, word, mask).is_ok(),
        };
        if !code.is_small() {
            self.note_pending(code.order(), word);
        }
        given
    }

    /// Gives a block back, which the caller owned.
    pub(crate) fn give(&self, stock: &Stock, block: Block) -> Result<(), AlreadyFree> {
        let code = Code::of(block);
        if !code.is_of_level_0() {
            return self.give_large(stock, code);
        }
        let (word, mask) = code.small_place();
        self.give_places(stock, word, mask)?;
        if !code.is_small() {
            self.note_pending(code.order(), word);
        }
        Ok(())
    }

    /// Gives places of one word of level 0, which the caller owned.
    #[inline]
    pub(super) fn give_places(
        &self,
        stock: &Stock,
        word: u64,
        mask: u64,
    ) -> Result<(), AlreadyFree> {
        match self.held_of(word) {
            Some(held) if held.add(mask) => Ok(()),
            Some(held) => {
                let now = stock.forest.load(0, word);
                held.add_beside(mask, now).then_some(()).ok_or(AlreadyFree)
            }
            None => self.open_pending(stock, word, mask),
        }
    }

    /// The claim or pending word that holds places of `word`.
    #[inline(always)]
    fn held_of(&self, word: u64) -> Option<&Held> {
        let claim = self.claims.iter().find(|claim| claim.is_of(word));
        claim.or_else(|| Some(self.pending_of(word)).filter(|pending| pending.is_of(word)))
    }

    /// Gives a block of level 1 or above.
    #[inline(never)]
    fn give_large(&self, stock: &Stock, code: Code) -> Result<(), AlreadyFree> {
        let place = code.place();
        self.orders.note_freed(code.order(), place.word);
        if self.is_warm(place.level, place.word)
            && let Some(atomic) = stock.forest.word_near(place.level, place.word)
        {
            return stock.forest.give_warm(atomic, place).then_some(()).ok_or(AlreadyFree);
        }
        self.give_elsewhere(stock, place.level, place.word, place.mask)
    }

    /// Gives a place of a word that is not warm, or far.
    #[inline(never)]
    fn give_elsewhere(
        &self,
        stock: &Stock,
        level: u32,
        word: u64,
        mask: u64,
    ) -> Result<(), AlreadyFree> {
        stock.forest.give(Place { level, word, mask }, |level, word| self.is_warm(level, word))
    }

    /// A block of an order from 3 to 5 waits in this word.
    #[inline]
    fn note_pending(&self, order: Order, word: u64) {
        let bit = 1 << (large_byte(order) + word as u32 % PENDING as u32);
        self.large.store(self.large.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
    }

    /// The pending word at this place is about to be given: later requests for the
    /// orders that waited there find it.
    #[cold]
    #[inline(never)]
    fn note_left(&self, pending: &Held, place: u32, large: u64) {
        for order in (CLAIMED_ORDERS + 1..ORDERS_PER_LEVEL).filter_map(|k| Order::new(k).ok()) {
            if large >> (large_byte(order) + place) & 1 != 0 {
                self.orders.note_freed(order, pending.word());
            }
        }
        let left = large & !(EACH_BYTE << place);
        self.large.store(left, Ordering::Relaxed);
    }

    /// Makes the places wait as their word's pending one, and gives those that
    /// waited there for another.
    #[inline]
    fn open_pending(&self, stock: &Stock, word: u64, mask: u64) -> Result<(), AlreadyFree> {
        // Nothing waits for this look unless it says no: it brings the line
        // near until the word is given.
        let seen = stock.forest.load(0, word);
        if seen & mask != 0 {
            return Err(AlreadyFree);
        }
        let pending = self.pending_of(word);
        let (before, waiting) = (pending.word(), pending.mask());
        let place = word as u32 % PENDING as u32;
        let large = self.large.load(Ordering::Relaxed);
        if large & EACH_BYTE << place != 0 {
            self.note_left(pending, place, large);
        }
        pending.set_beside(word, mask, seen);
        self.last.store(word, Ordering::Relaxed);
        if waiting != 0 {
            self.give_word(stock, before, waiting);
        }
        Ok(())
    }

    /// Gives places of a word of level 0 that the hand holds, and has forgotten
    /// just now, to the forest.
    #[inline]
    pub(super) fn give_word(&self, stock: &Stock, word: u64, mask: u64) {
        let place = Place { level: 0, word, mask };
        stock.forest.give_held(place, |level, word| self.is_warm(level, word));
    }

    /// Gives everything back and lets every warm word merge.
    pub(crate) fn flush(&self, stock: &Stock) {
        for level in 0..=stock.forest.top() {
            if let Some(word) = self.set_warm(level, None) {
                stock.forest.merge(level, word);
            }
        }
        for (word, mask) in self.pending.iter().chain(&self.claims).filter_map(Held::release) {
            self.give_word(stock, word, mask);
        }
    }
}

/// Where the byte of an order from 3 to 5 begins in `large`.
#[inline(always)]
pub(super) fn large_byte(order: Order) -> u32 {
    8 * (order.get() - CLAIMED_ORDERS - 1)
}

/// A bit of each of these bytes.
const EACH_BYTE: u64 = 0x01_01_01;
