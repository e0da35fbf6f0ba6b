//! Taking through a slot.
//!
//! # How
//!
//! Orders 0 to 2 come out of claimed words by plain operations; a claim is one
//! `swap` that takes all the free bits of a word, an ordinary allocation of
//! them, so frees by others into it just set bits. Order 0 has a claim of its
//! own: the word that a pair or four had to be searched for is one with room,
//! and single granules out of it would pin it and leave the holes that they
//! could have filled. Where the claims have nothing, small blocks come out of a pending
//! word that is nearly all in use, if the hand has one at home: who replaces one of many
//! blocks at random would else give each hole away by one read-modify-write, and search
//! for it again. Single granules do so only while claims bring few of them: who gets
//! several by a claim is better off with it. Orders 3 to 5 come out of the pending words
//! that they were freed into, as long as these wait, and orders from 6 on first of all are
//! the last block that was freed. Else higher orders take one
//! compare-exchange in the level's warm word, which is not merged while it is
//! warm: without that, a pair out of an all-free resource would split and merge
//! every level each time. Where that has nothing, words that the same order was
//! freed into come next, and then a search, next fit. Orders 3 to 5 have places
//! of their own to start from, and mark the regions that they open.
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
//! | orders 0-2 while a pending word that is nearly all in use fits, order 0 while claims bring little | 0 |
//! | refill of 64 granules | 1, and 1 for a claim that is given back |
//! | orders 3-5 while a pending word fits | 0 |
//! | orders 6-63, the last block freed | 0 |
//! | orders 3-63 in a warm word | 1 |
//! | orders 3-14 in one of the last 16 words that they were freed into | 1 |

use super::code::{Code, key_of};
use super::give::{EACH_BYTE, large_byte};
use super::held::Held;
use super::kept::Kept;
use super::slot::{CLAIMED_ORDERS, PENDING, Slot};
use crate::error::OutOfMemory;
use crate::forest::{Forest, Taken, lowest_run};
use crate::reported::Reported;
use crate::stock::Stock;
use memdesc::sync::atomic::Ordering;
use memdesc::{Block, Granule, ORDERS_PER_LEVEL, Order};

/// The claim of order 0.
const SINGLES: usize = 0;

/// Which claim serves an order of at most [`CLAIMED_ORDERS`].
#[inline(always)]
fn claim_for(order: Order) -> usize {
    usize::from(order != Order::ZERO)
}

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
        if order.get() <= CLAIMED_ORDERS {
            let code = self.take_claimed(order);
            if code.is_none() {
                return self.take_next(stock, order);
            }
            return code;
        }
        // (Here, so that a large block that is kept costs no call.)
        self.take_kept(order).or_else(|| self.take_large(stock, order))
    }

    /// Takes a small block without a search, where its claim has none: out of what
    /// waits, or a single granule out of the word that is claimed next, if it is known
    /// which that is.
    #[inline(never)]
    fn take_next(&self, stock: &Stock, order: Order) -> Option<Code> {
        if order != Order::ZERO || self.brought.is_little() {
            let waiting = self.take_dense(stock, order);
            if waiting.is_some() {
                return waiting;
            }
        }
        if order != Order::ZERO {
            return None;
        }
        let empty = &self.claims[SINGLES];
        let is_claimed =
            self.claim_pending(stock, empty, Order::ZERO) || self.claim_on_trail(stock, empty);
        if !is_claimed {
            return None;
        }
        self.brought.note(empty);
        empty.take(Order::ZERO)
    }

    /// Takes a small block out of a pending word of which nearly all is somebody's: the
    /// one that was opened last, else any.
    #[inline]
    fn take_dense(&self, stock: &Stock, order: Order) -> Option<Code> {
        let last = self.pending_of(self.last.load(Ordering::Relaxed));
        let code = self.take_if_dense(stock, last, order);
        code.or_else(|| self.pending.iter().find_map(|any| self.take_if_dense(stock, any, order)))
    }

    #[inline(always)]
    fn take_if_dense(&self, stock: &Stock, pending: &Held, order: Order) -> Option<Code> {
        let is_dense = pending.mask() != 0 && pending.is_dense();
        if is_dense && stock.homes.of(pending.word()) == Some(self.class) {
            return pending.take(order);
        }
        None
    }

    /// Takes a block of an order above those of claims, out of what waits in the
    /// hand, the warm word or one that the order was freed into.
    #[inline(never)]
    fn take_large(&self, stock: &Stock, order: Order) -> Option<Code> {
        match order.level() {
            0 => self.take_waiting(stock, order),
            level => self.take_warm(stock, order, level),
        }
        .or_else(|| self.take_freed(stock, order))
    }

    #[inline(always)]
    fn take_kept(&self, order: Order) -> Option<Code> {
        if Kept::is_for(order) { self.kept.take(order) } else { None }
    }

    #[inline(never)]
    fn take_waiting(&self, stock: &Stock, order: Order) -> Option<Code> {
        let waiting = self.take_pending(order, order);
        waiting.or_else(|| self.take_warm(stock, order, 0))
    }

    /// Takes a block of an order from 3 to 5 out of a pending word into which one
    /// of order `freed` was freed.
    #[inline(always)]
    fn take_pending(&self, order: Order, freed: Order) -> Option<Code> {
        let byte = large_byte(freed);
        loop {
            let large = self.large.load(Ordering::Relaxed);
            let words = large >> byte & 0xff;
            if words == 0 {
                return None;
            }
            let place = words.trailing_zeros();
            let pending = &self.pending[place as usize % PENDING];
            let code = pending.take_run(order);
            if code.is_some() {
                if pending.mask() == 0 {
                    // Nothing waits there any more, of any order.
                    self.large.store(large & !(EACH_BYTE << place), Ordering::Relaxed);
                }
                return code;
            }
            self.large.store(large & !(1 << (byte + place)), Ordering::Relaxed);
        }
    }

    /// Takes a block out of a claim; `order` is at most [`CLAIMED_ORDERS`].
    #[inline(always)]
    pub(super) fn take_claimed(&self, order: Order) -> Option<Code> {
        let claim = &self.claims[claim_for(order)];
        match order {
            Order::ZERO => claim.take(order),
            _ => claim.take(order).or_else(|| self.claims[SINGLES].take(order)),
        }
    }

    /// Takes the lowest block out of the level's warm word: one compare-exchange.
    ///
    /// Where a reporter is attached, the word must be known to be bare of its
    /// bits, and stay so; else they are looked for.
    #[inline(always)]
    pub(crate) fn take_warm(&self, stock: &Stock, order: Order, level: u32) -> Option<Code> {
        let word = self.warm(level)?;
        let reported = stock.reported.get();
        let marks = reported.map_or(0, Reported::marks);
        if (reported.is_none() || self.is_bare(level, marks))
            && let Some(atomic) = stock.forest.word_near(level, word)
            && let Ok(first) = Forest::try_take_lowest(atomic, order.run(), 0)
        {
            let first = first?;
            // Again, after the take: bits that the giver set count by now.
            if let Some(reported) = reported
                && reported.marks() != marks
            {
                return Self::forget_taken(reported, word, first, order);
            }
            return Code::at(word, first, order);
        }
        self.take_warm_beside(stock, order, word)
    }

    /// What was taken may be marked.
    #[cold]
    #[inline(never)]
    fn forget_taken(reported: &Reported, word: u64, first: u64, order: Order) -> Option<Code> {
        let code = Code::at(word, first, order)?;
        reported.forget(code.block());
        Some(code)
    }

    /// The same of a word that is far, contended, or has bits: takes others before
    /// what is reported, and forgets that it was.
    #[inline(never)]
    fn take_warm_beside(&self, stock: &Stock, order: Order, word: u64) -> Option<Code> {
        let (level, run) = (order.level(), order.run());
        let atomic = stock.forest.word(level, word)?;
        let Some(reported) = stock.reported.get() else {
            return Code::at(word, Forest::take_lowest(atomic, run, 0)?, order);
        };
        let marks = reported.marks();
        if self.is_bare(level, marks) {
            let first = Forest::take_lowest(atomic, run, 0)?;
            return match reported.marks() == marks {
                true => Code::at(word, first, order),
                false => Self::forget_taken(reported, word, first, order),
            };
        }
        let avoided = reported.places(level, word);
        let code = Code::at(word, Forest::take_lowest(atomic, run, avoided)?, order)?;
        reported.forget(code.block());
        self.note_bare(reported, level, word);
        Some(code)
    }

    /// Notes a word below which nothing is reported, until something is.
    fn note_bare(&self, reported: &Reported, level: u32, word: u64) {
        // In this order: what is marked after the look is not counted yet.
        let marks = reported.marks();
        if reported.is_bare(level, word) {
            self.set_bare(level, marks);
        }
    }

    /// Takes a block, if the hand or the forest has one.
    pub(crate) fn take(&self, stock: &Stock, order: Order) -> Result<Taken, OutOfMemory> {
        if order.get() <= CLAIMED_ORDERS {
            loop {
                if let Some(code) = self.take_claimed(order) {
                    return Ok(Taken::Block(code.block()));
                }
                if !self.refill(stock, order)? {
                    // The other claim may hold what the forest has not.
                    let own = self.claims.iter().find_map(|claim| claim.take(order));
                    return Ok(own.map_or(Taken::Nothing, |code| Taken::Block(code.block())));
                }
            }
        }
        let taken = self.take_beyond(stock, order)?;
        if taken == Taken::Nothing && order.level() == 0 {
            // Our own claims may hold what the forest has not.
            let own = self.claims.iter().find_map(|claim| claim.take_run(order));
            return Ok(own.map_or(Taken::Nothing, |code| Taken::Block(code.block())));
        }
        Ok(taken)
    }

    /// Takes a block out of a word into which one of its order was freed.
    #[inline]
    fn take_freed(&self, stock: &Stock, order: Order) -> Option<Code> {
        let (level, run) = (order.level(), order.run());
        while let Some(word) = self.orders.last_freed(order) {
            let code = match stock.forest.word_near(level, word) {
                Some(atomic) if stock.reported.get().is_none() => {
                    Forest::take_snuggest(atomic, run)
                        .and_then(|first| Code::at(word, first, order))
                }
                _ => self.take_freed_beside(stock, order, word),
            };
            if code.is_some() {
                return code;
            }
            self.orders.forget_last(order);
        }
        None
    }

    /// The same of a word that is far, or where a reporter is attached: there it
    /// becomes the warm one, of which it is known whether it has bits.
    #[inline(never)]
    fn take_freed_beside(&self, stock: &Stock, order: Order, word: u64) -> Option<Code> {
        let (level, run) = (order.level(), order.run());
        let avoided = stock.avoided(level, word);
        let block = stock.forest.take_snug(level, word, run, avoided)?;
        stock.on_take(block);
        self.keep_warm(stock, block);
        Some(Code::of(block))
    }

    /// Takes a block of an order from 3 to 5 out of a pending word into which a
    /// larger one was freed.
    fn take_larger_pending(&self, order: Order) -> Option<Block> {
        if order.level() != 0 {
            return None;
        }
        let mut larger = (order.get() + 1..ORDERS_PER_LEVEL).filter_map(|k| Order::new(k).ok());
        larger.find_map(|larger| self.take_pending(order, larger)).map(Code::block)
    }

    /// Takes a block from the forest, the warm word first.
    pub(crate) fn take_shared(&self, stock: &Stock, order: Order) -> Result<Taken, OutOfMemory> {
        match self.take_kept(order).or_else(|| self.take_large(stock, order)) {
            Some(code) => Ok(Taken::Block(code.block())),
            None => self.take_beyond(stock, order),
        }
    }

    /// Takes a block from the forest, out of another than the warm word.
    fn take_beyond(&self, stock: &Stock, order: Order) -> Result<Taken, OutOfMemory> {
        if let Some(block) = self.take_larger_pending(order) {
            return Ok(Taken::Block(block));
        }
        let Taken::Block(block) = self.take_near(stock, order)? else {
            return Ok(Taken::Nothing);
        };
        stock.on_take(block);
        self.keep_warm(stock, block);
        Ok(Taken::Block(block))
    }

    /// Takes a block from near where the last one was, out of a larger one, or
    /// wherever there is one.
    fn take_near(&self, stock: &Stock, order: Order) -> Result<Taken, OutOfMemory> {
        let at = self.orders.near(order).unwrap_or(&self.near);
        let near = Granule(at.load(Ordering::Relaxed));
        let beside = stock.take_beside(order, near, self.orders.budget(order));
        self.orders.note_search(order, beside.is_some());
        let taken = match beside {
            Some(block) => Taken::Block(block),
            None => stock.take_beyond(order, near)?,
        };
        if let Taken::Block(block) = taken {
            at.store(block.base().0, Ordering::Relaxed);
            if order.level() == 0 {
                stock.note_large(block.place().word);
            }
        }
        Ok(taken)
    }

    /// Makes the block's word the warm one of its level; the one before may
    /// merge.
    pub(super) fn keep_warm(&self, stock: &Stock, block: Block) {
        let (level, word) = (block.order().level(), block.place().word);
        let before = self.set_warm(level, Some(word));
        if before == Some(word) {
            return;
        }
        if let Some(before) = before {
            stock.forest.merge(level, before);
        }
        if let Some(reported) = stock.reported.get() {
            self.note_bare(reported, level, word);
        }
    }

    /// Claims another word; `false` if the forest has nothing that fits.
    #[inline(never)]
    pub(super) fn refill(&self, stock: &Stock, order: Order) -> Result<bool, OutOfMemory> {
        let victim = &self.claims[claim_for(order)];
        let is_claimed = self.claim_anew(stock, victim, order)?;
        if order == Order::ZERO {
            self.brought.note(victim);
        }
        Ok(is_claimed)
    }

    /// Claims another word in the place of what `victim` holds.
    #[inline]
    fn claim_anew(&self, stock: &Stock, victim: &Held, order: Order) -> Result<bool, OutOfMemory> {
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
        let seen = stock.forest.load(0, place.word);
        self.hold(victim, place.word, place.mask, seen);
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
        victim.set_beside(key_of(word), mask, stock.forest.load(0, word));
        true
    }

    /// Places just taken of a word, which was left with `seen`, become the empty
    /// `victim`'s, or join those of the same word that the hand holds already.
    pub(super) fn hold(&self, victim: &Held, word: u64, mask: u64, seen: u64) {
        let pending = Some(self.pending_of(word)).filter(|pending| pending.is_of(word));
        let waiting = pending.and_then(Held::release).map_or(0, |(_, mask)| mask);
        // What another claim has of it: others freed more into a word that we
        // hold, and who asks now has need of it.
        let claim = self.claims.iter().find(|claim| claim.is_of(word));
        let held = claim.and_then(Held::release).map_or(0, |(_, mask)| mask);
        victim.set_beside(key_of(word), mask | waiting | held, seen);
    }
}
