//! Giving through a slot.
//!
//! # How
//!
//! A free into a claimed word, or into a pending one, is a plain operation. A
//! free elsewhere opens its pending word, and the one that waited in the same
//! place is given: one RMW for all its places, and none on its own line if it
//! is whole by then. A block of order 6 and above is kept, and the one of its order
//! that was kept before is given; those smaller than a region are given when the hand
//! looks for a region. Orders 3 to 5 go to the forest at once where a reporter could
//! report them.
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
//! | free of orders 6-63 | 0; for the block that was kept before, 1, 1 more per 64 for the parent |

use super::code::{Code, word_at};
use super::held::Held;
use super::kept::Kept;
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
        match code.is_single() {
            true => self.give_keyed(stock, code.key(), code.single_mask()).is_ok(),
            false => self.give_block(stock, code).is_ok(),
        }
    }

    /// Gives a block of more than one granule.
    #[inline(never)]
    pub(super) fn give_block(&self, stock: &Stock, code: Code) -> Result<(), AlreadyFree> {
        if code.is_small() {
            return self.give_keyed(stock, code.key(), code.small_mask());
        }
        if Kept::is_for(code.order()) {
            return self.give_large(stock, code);
        }
        // What a reporter could report does not wait where it does not look.
        if stock.is_reportable(code.order()) {
            return self.give_shared(stock, code);
        }
        self.give_keyed(stock, code.key(), code.small_mask())?;
        self.note_pending(code.order(), word_at(code.key()));
        Ok(())
    }

    /// Gives a block back, which the caller owned.
    pub(crate) fn give(&self, stock: &Stock, block: Block) -> Result<(), AlreadyFree> {
        self.give_block(stock, Code::of(block))
    }

    /// Gives places of the word of level 0 that the key says, which the caller
    /// owned.
    #[inline(always)]
    pub(super) fn give_keyed(&self, stock: &Stock, key: u64, mask: u64) -> Result<(), AlreadyFree> {
        match self.held_of(key) {
            Some(held) if held.add(mask) => Ok(()),
            Some(held) => Self::add_after_all(stock, held, mask),
            None => self.open_pending(stock, key, mask),
        }
    }

    /// Adds places that were seen to be free, if they are no more.
    #[cold]
    #[inline(never)]
    fn add_after_all(stock: &Stock, held: &Held, mask: u64) -> Result<(), AlreadyFree> {
        let now = stock.forest.load(0, held.word());
        held.add_beside(mask, now).then_some(()).ok_or(AlreadyFree)
    }

    /// The claim or pending word that holds places of the key's word.
    #[inline(always)]
    fn held_of(&self, key: u64) -> Option<&Held> {
        let claim = self.claims.iter().find(|claim| claim.has_key(key));
        claim.or_else(|| Some(self.pending_at(key)).filter(|pending| pending.has_key(key)))
    }

    /// Where frees into the key's word wait, unless it is a claim's.
    #[inline(always)]
    fn pending_at(&self, key: u64) -> &Held {
        self.pending_of(word_at(key))
    }

    /// Keeps a block of a whole region or more, and gives the one that was kept before.
    #[inline(never)]
    fn give_large(&self, stock: &Stock, code: Code) -> Result<(), AlreadyFree> {
        let (place, order) = (code.place(), code.order());
        let is_free = match stock.forest.word_near(place.level, place.word) {
            Some(word) => word.load(Ordering::Relaxed) & place.mask != 0,
            None => stock.forest.load(place.level, place.word) & place.mask != 0,
        };
        if is_free || self.kept.has(code, order) {
            return Err(AlreadyFree);
        }
        if let Some(reported) = stock.reported.get() {
            reported.note_kept(order);
        }
        match self.kept.put(code, order) {
            None => Ok(()),
            Some(before) => self.give_before(stock, before),
        }
    }

    /// Gives a block that was kept, and says that the free which needed its place is
    /// done. (Where it is free already, by a double free of which this hand could not
    /// know, the first free stands.)
    #[inline(never)]
    fn give_before(&self, stock: &Stock, before: Code) -> Result<(), AlreadyFree> {
        let _given = self.give_shared(stock, before);
        Ok(())
    }

    /// Gives a block of an order above those of claims, to the forest.
    fn give_shared(&self, stock: &Stock, code: Code) -> Result<(), AlreadyFree> {
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
        let bit = 1 << (large_byte(order) + place_of(word));
        self.large.store(self.large.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
    }

    /// The pending word at this place is about to be given: later requests for the
    /// orders that waited there find it.
    fn note_left(&self, stock: &Stock, place: u32) {
        let large = self.large.load(Ordering::Relaxed);
        let pending = &self.pending[place as usize];
        let (word, mask) = (pending.word(), pending.mask());
        let is_any = mask != 0 && mask | stock.forest.load(0, word) != u64::MAX;
        for order in (CLAIMED_ORDERS + 1..ORDERS_PER_LEVEL).filter_map(|k| Order::new(k).ok()) {
            if is_any && large >> (large_byte(order) + place) & 1 != 0 {
                self.orders.note_freed(order, word);
            }
        }
        self.large.store(large & !(EACH_BYTE << place), Ordering::Relaxed);
    }

    /// Makes the places wait as their word's pending one, and gives those that
    /// waited there for another.
    ///
    /// No call but as the last thing: nothing is kept on the stack.
    #[inline(never)]
    fn open_pending(&self, stock: &Stock, key: u64, mask: u64) -> Result<(), AlreadyFree> {
        let word = word_at(key);
        let Some(atomic) = stock.forest.word_near(0, word) else {
            return self.open_pending_far(stock, key, mask);
        };
        let large = self.large.load(Ordering::Relaxed);
        if large & EACH_BYTE << place_of(word) != 0 {
            return self.open_pending_far(stock, key, mask);
        }
        // Nothing waits for this look unless it says no: it brings the line
        // near until the word is given.
        let seen = atomic.load(Ordering::Relaxed);
        if seen & mask != 0 {
            return Err(AlreadyFree);
        }
        let (before, waiting) = self.make_wait(key, mask, seen);
        if waiting == 0 {
            return Ok(());
        }
        match stock.forest.word_near(0, before) {
            Some(atomic) if waiting != u64::MAX => match stock.forest.give_into(atomic, waiting) {
                None => Ok(()),
                Some(was) => self.give_word_on(stock, before, waiting, was),
            },
            _ => self.give_word_slow(stock, before, waiting),
        }
    }

    /// Makes the places their word's pending ones; returns those that were there.
    #[inline(always)]
    fn make_wait(&self, key: u64, mask: u64, seen: u64) -> (u64, u64) {
        let pending = self.pending_at(key);
        let (before, waiting) = (pending.word(), pending.mask());
        pending.set_beside(key, mask, seen);
        self.last.store(word_at(key), Ordering::Relaxed);
        (before, waiting)
    }

    /// The same of words that are far, and where orders 3 to 5 have waited.
    #[inline(never)]
    fn open_pending_far(&self, stock: &Stock, key: u64, mask: u64) -> Result<(), AlreadyFree> {
        let seen = stock.forest.load(0, word_at(key));
        if seen & mask != 0 {
            return Err(AlreadyFree);
        }
        self.note_left(stock, place_of(word_at(key)));
        let (before, waiting) = self.make_wait(key, mask, seen);
        match waiting {
            0 => Ok(()),
            _ => self.give_word_slow(stock, before, waiting),
        }
    }

    /// As [`give_word`](Self::give_word); says that the free which needed its place
    /// is done.
    #[inline(never)]
    fn give_word_slow(&self, stock: &Stock, word: u64, mask: u64) -> Result<(), AlreadyFree> {
        self.give_word(stock, word, mask);
        Ok(())
    }

    /// What follows where the bits of a word that `was` are set, and says that the
    /// free which needed its place is done.
    #[inline(never)]
    fn give_word_on(
        &self,
        stock: &Stock,
        word: u64,
        mask: u64,
        was: u64,
    ) -> Result<(), AlreadyFree> {
        let place = Place { level: 0, word, mask };
        stock.forest.give_held_on(place, was, |level, word| self.is_warm(level, word));
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
        self.give_kept(stock, |_| true);
        for (word, mask) in self.pending.iter().chain(&self.claims).filter_map(Held::release) {
            self.give_word(stock, word, mask);
        }
    }

    /// Gives the blocks that are kept and are smaller than a region.
    #[inline]
    pub(super) fn give_small_kept(&self, stock: &Stock) {
        for code in self.kept.drain_small() {
            let _given = self.give_before(stock, code);
        }
    }

    /// Gives the blocks that are kept and that `is_wanted`; whether there were any.
    pub(crate) fn give_kept(&self, stock: &Stock, is_wanted: impl Fn(Block) -> bool) -> bool {
        let given = self.kept.drain(is_wanted).map(|code| self.give_before(stock, code));
        given.count() > 0
    }
}

/// Which pending word a word is, of this number.
#[inline(always)]
fn place_of(word: u64) -> u32 {
    word as u32 % PENDING as u32
}

/// Where the byte of an order from 3 to 5 begins in `large`.
#[inline(always)]
pub(super) fn large_byte(order: Order) -> u32 {
    8 * (order.get() - CLAIMED_ORDERS - 1)
}

/// A bit of each of these bytes.
pub(super) const EACH_BYTE: u64 = 0x01_01_01;
