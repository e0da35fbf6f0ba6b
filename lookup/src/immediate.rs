//! Blocks without a descriptor: one word says it all.
//!
//! # What always holds
//!
//! An immediate word has no lock. The **head slot**, the first of the covering
//! ones, decides: whoever marks the block as failed does it there by a
//! compare-exchange on the same value, whoever frees, replaces or splits the
//! block takes the head by an RMW. One of the two sees the other: either the
//! mark comes first and the old word shows it, or the mark fails and looks
//! again. The other slots follow by plain stores; look-ups read the mark from
//! the head.
//!
//! # Cost
//!
//! One RMW to clear or replace; none to publish, and none to clear for whoever
//! looks afterwards at what markers note.

use crate::LookupError;
use crate::leaf::clear_own;
use crate::publish::{are_of, clear};
use crate::slots::place_of;
use crate::tree::Tree;
use core::ptr;
use memdesc::sync::atomic::Ordering;
use memdesc::sync::barrier;
use memdesc::{
    AtomicWord, Block, Granule, Home, Immediate, Order, OwnerId, Subtype, Word, pin, seeded,
};

impl<H: Home> Tree<H> {
    /// Publishes an immediate word for a block that the caller owns.
    ///
    /// ```
    /// # use memdesc::*;
    /// # use potad_lookup::*;
    /// # #[derive(Clone)] struct Nobody(Kinds);
    /// # impl Home for Nobody {
    /// #     fn kinds(&self) -> &Kinds { &self.0 }
    /// #     fn teardown(_: Dead<Self>) {}
    /// # }
    /// let tree = Tree::<Nobody>::new();
    /// let block = Block::new(Granule(64), Order::new(5)?)?;
    /// let raw = Immediate::new(Subtype::Raw, OwnerId(7), block.order());
    /// tree.publish_immediate(block, raw)?;
    ///
    /// let guard = pin();
    /// assert_eq!(tree.find(Granule(95), &guard).unwrap().immediate(), Some(raw));
    /// let inside = Block::new(Granule(80), Order::new(0)?)?;
    /// let refused = tree.publish_immediate(inside, raw.with_order(Order::ZERO));
    /// assert_eq!(refused, Err(LookupError::Overlap { asked: inside, found: block }));
    ///
    /// // Memory fails in granule 90; whoever frees the block is told.
    /// assert!(tree.poison_immediate(Granule(90)).is_some());
    /// assert!(tree.clear_immediate(block)?.poisoned);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_immediate(&self, block: Block, immediate: Immediate) -> Result<(), LookupError> {
        check_order(block, immediate)?;
        match self.vacant_at_once(block) {
            Some(slots) => {
                self.store_plainly(slots, immediate.pack());
                Ok(())
            }
            None => self.publish_immediate_slow(block, immediate.pack()),
        }
    }

    /// The same where nodes are missing, or something is to be looked at first.
    #[cold]
    #[inline(never)]
    fn publish_immediate_slow(&self, block: Block, word: Word) -> Result<(), LookupError> {
        let vacant = self.vacant_slots(block)?;
        self.announce(block.order().level());
        self.fill(&vacant, word, block.order().level());
        Ok(())
    }

    /// As [`publish_immediate`](Self::publish_immediate), if the block is of order
    /// 0, its node is there and its slot empty: whether it was done. Allocates
    /// nothing, and pins nothing.
    ///
    /// ```
    /// # use memdesc::*;
    /// # use potad_lookup::*;
    /// # #[derive(Clone)] struct Nobody(Kinds);
    /// # impl Home for Nobody {
    /// #     fn kinds(&self) -> &Kinds { &self.0 }
    /// #     fn teardown(_: Dead<Self>) {}
    /// # }
    /// let tree = Tree::<Nobody>::new();
    /// let block = |at| Block::new(Granule(at), Order::ZERO);
    /// let word = Immediate::new(Subtype::Quarantine, OwnerId(7), Order::ZERO);
    /// assert!(!tree.publish_if_there(block(64)?, word), "no node yet");
    /// tree.publish_immediate(block(65)?, word)?;
    /// assert!(tree.publish_if_there(block(64)?, word));
    /// assert!(!tree.publish_if_there(block(64)?, word), "it is there");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_if_there(&self, block: Block, immediate: Immediate) -> bool {
        if block.order() != Order::ZERO || immediate.order != block.order() {
            return false;
        }
        // Nodes under a larger block were unlinked: this is for who does not own the
        // granule.
        if self.check_above(block).is_err() {
            return false;
        }
        let Some([slot]) = self.slots(block) else { return false };
        // Relaxed and Release: as in any publication by the granule's owner.
        let vacant = slot.load(Ordering::Relaxed).is_empty();
        if vacant {
            slot.store(immediate.pack(), Ordering::Release);
        }
        vacant
    }

    /// Takes the word of a block out and returns what it said, poison hint
    /// included. Refuses, and changes nothing, if something else is there.
    pub fn clear_immediate(&self, block: Block) -> Result<Immediate, LookupError> {
        let slots = self.slots(block).ok_or(LookupError::WrongWord { asked: block })?;
        take_immediate(block, slots)
    }

    /// As [`clear_immediate`](Self::clear_immediate), by plain loads and stores, and
    /// without an answer: for whoever looks at what markers note, after this call.
    ///
    /// A mark that [`poison_immediate`](Self::poison_immediate) makes meanwhile may be
    /// lost with the word. But whoever cleared it then finds, after this call, what
    /// the marker had noted before its own; there is the light side of a barrier in
    /// between.
    ///
    /// ```
    /// # use memdesc::*;
    /// # use potad_lookup::*;
    /// # #[derive(Clone)] struct Nobody(Kinds);
    /// # impl Home for Nobody {
    /// #     fn kinds(&self) -> &Kinds { &self.0 }
    /// #     fn teardown(_: Dead<Self>) {}
    /// # }
    /// let tree = Tree::<Nobody>::new();
    /// let block = Block::new(Granule(64), Order::new(5)?)?;
    /// tree.publish_immediate(block, Immediate::new(Subtype::Raw, OwnerId(7), block.order()))?;
    /// tree.clear_noted(block)?;
    /// assert_eq!(tree.clear_noted(block), Err(LookupError::WrongWord { asked: block }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear_noted(&self, block: Block) -> Result<(), LookupError> {
        match self.slots(block).is_some_and(|slots| clear_own(block, slots)) {
            true => Ok(()),
            false => Err(LookupError::WrongWord { asked: block }),
        }
    }

    /// Replaces the word of a block and returns what the old one said. A
    /// poison hint stays.
    pub fn set_immediate(
        &self,
        block: Block,
        immediate: Immediate,
    ) -> Result<Immediate, LookupError> {
        check_order(block, immediate)?;
        let slots = self.slots(block).ok_or(LookupError::WrongWord { asked: block })?;
        own_immediate(block, slots)?;
        let (old, new) = exchange_head(block, &slots[0], immediate.pack())?;
        for slot in &slots[1..] {
            slot.store(new.unpoisoned(), memdesc::weakened!("replaced relaxed", Release));
        }
        Ok(old)
    }

    /// Marks the immediate block at a granule as failed, and returns its word
    /// as marked; `None` if no immediate block is there.
    pub fn poison_immediate(&self, at: Granule) -> Option<Immediate> {
        // Pairs with the light side in `clear_by`. (No model misses it: there
        // both sides are fences, and the exchange below reads the latest value
        // anyhow. It is for where the light side only stops the compiler.)
        barrier::heavy();
        // The pin keeps the node at its place between reading and marking.
        let _guard = pin();
        loop {
            let hit = self.hit(at)?;
            let immediate = Immediate::unpack(hit.word)?;
            let block = Block::containing(at, immediate.order);
            let level = block.order().level();
            // A stray word, in a node of another level: its head is not there.
            if !self.group_at(at, level).is_some_and(|group| ptr::eq(group, hit.group)) {
                return None;
            }
            let head = &hit.group[place_of(block.base(), level)];
            // Relaxed: a guess for the exchange.
            let seen = head.load(Ordering::Relaxed);
            if seen.is_empty() {
                // Heads are published first and cleared first: it is gone.
                return None;
            }
            if !seen.names_same(hit.word) {
                // Replaced or split just now: the slot we read follows.
                memdesc::sync::thread::yield_now();
                continue;
            }
            // `AcqRel` pairs with the RMW on the head of whoever frees or
            // changes the block. Failing: that one was first. (No model misses it:
            // the barrier above releases more.)
            let marked = seen.poisoned();
            let done = head.compare_exchange(seen, marked, Ordering::AcqRel, Ordering::Relaxed);
            if done.is_ok() {
                return Immediate::unpack(marked);
            }
        }
    }
}

/// The first step of a bug of two: what the word says is gone, and that it is there
/// is yet to go.
pub(crate) fn forget_owner(block: Block, slots: &[AtomicWord]) {
    let rest = Immediate::new(Subtype::Raw, OwnerId::RESOURCE, block.order());
    slots[0].store(rest.pack(), Ordering::Release);
}

/// Empties the slots of an immediate block and returns what its word said.
#[inline]
pub(crate) fn take_immediate(block: Block, slots: &[AtomicWord]) -> Result<Immediate, LookupError> {
    let seen = own_immediate(block, slots)?;
    if seeded!("freed without looking at the mark") {
        clear(slots);
        return Immediate::unpack(seen).ok_or(LookupError::WrongWord { asked: block });
    }
    if seeded!("word emptied in two steps") {
        forget_owner(block, slots);
        clear(slots);
        return Immediate::unpack(seen).ok_or(LookupError::WrongWord { asked: block });
    }
    // `AcqRel` pairs with `poison_immediate`: a mark set before is seen here;
    // one that comes later finds nothing.
    let old = slots[0].swap(Word::EMPTY, memdesc::weakened!("word taken relaxed", AcqRel));
    clear(&slots[1..]);
    Immediate::unpack(old).ok_or(LookupError::WrongWord { asked: block })
}

/// Replaces the head of an immediate block, keeping a poison hint; returns the
/// old word's meaning and the new word.
pub(crate) fn exchange_head(
    block: Block,
    head: &AtomicWord,
    new: Word,
) -> Result<(Immediate, Word), LookupError> {
    // Relaxed: a guess for the exchange.
    let mut seen = head.load(Ordering::Relaxed);
    loop {
        let old = Immediate::unpack(seen).ok_or(LookupError::WrongWord { asked: block })?;
        let keep = old.poisoned && !seeded!("replaced without the mark");
        let next = if keep { new.poisoned() } else { new };
        // `AcqRel` pairs with `poison_immediate`. Failing: a mark arrived.
        match head.compare_exchange(
            seen,
            next,
            memdesc::weakened!("head exchanged relaxed", AcqRel),
            Ordering::Relaxed,
        ) {
            Ok(_) => return Ok((old, next)),
            Err(now) => seen = now,
        }
    }
}

#[inline]
pub(crate) fn check_order(block: Block, immediate: Immediate) -> Result<(), LookupError> {
    if immediate.order != block.order() {
        return Err(LookupError::WrongOrder { asked: block, word: immediate.order });
    }
    Ok(())
}

/// Refuses unless the slots are those of an immediate word of the block's
/// order.
#[inline]
pub(crate) fn own_immediate(block: Block, slots: &[AtomicWord]) -> Result<Word, LookupError> {
    // Relaxed: the slots are the caller's.
    let word = slots[0].load(Ordering::Relaxed);
    let fits = Immediate::unpack(word).is_some_and(|said| said.order == block.order());
    if !fits || !are_of(slots, word) {
        return Err(LookupError::WrongWord { asked: block });
    }
    Ok(word)
}
