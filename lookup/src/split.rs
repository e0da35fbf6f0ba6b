//! Splitting a live block in two.
//!
//! # Three cases
//!
//! ```text
//! same level      order 4 -> 3 + 3     X X X X X X X X X X X X X X X X
//!                                  ->  X X X X X X X X U U U U U U U U     upper slots, then place
//! node boundary   order 6 -> 5 + 5     X  ->  link -> X * 32, U * 32      node first, then one store
//! array boundary  order 24 -> 23 + 23  X (level 4)  ->  nothing           level 3 first, then clear
//! ```
//!
//! # What always holds
//!
//! An address of the block is found at any moment: words appear below before
//! they go above, and look-ups go from the top down. The place of the old
//! descriptor shrinks last, under its lock, so that the slots that name it are
//! among its place's at all times.
//!
//! For immediate words the head slot is taken by an RMW, as `immediate` says;
//! a mark that came before is carried to both halves, for the word cannot say
//! which granule failed.

use crate::immediate::{check_order, exchange_head, own_immediate};
use crate::publish::{are_of, clear};
use crate::slots::covering;
use crate::sparse::Group;
use crate::tree::{SECTION_LEVEL, Tree};
use crate::{LookupError, PublishError};
use memdesc::sync::atomic::Ordering;
use memdesc::{
    AtomicWord, Block, Descriptor, Fresh, Home, Immediate, Kind, Locked, ORDERS_PER_LEVEL, Ref,
    Word, pin, seeded,
};

/// How the words move.
enum Move<'a> {
    /// Both halves live where the block did.
    Stay,
    /// Into a node that the block's one slot will link to.
    Node(crate::node::Spare<'a>),
    /// Into a lower array.
    Array(&'a Group),
}

/// All that can fail about a split, done.
struct Plan<'a> {
    kind: Kind,
    /// The block's, as it lives now.
    slots: &'a [AtomicWord],
    lower: Block,
    upper: Block,
    way: Move<'a>,
}

impl<H: Home> Tree<H> {
    /// Splits a live block: `locked` keeps the lower half, the upper half gets
    /// `fresh`. Returns the new descriptor's first reference.
    ///
    /// No RMW within a level. Refuses a single granule, a descriptor that is
    /// not published here, an unknown type, and when memory is out.
    pub fn split<T: Descriptor, U: Descriptor>(
        &self,
        locked: &Locked<'_, H, T>,
        fresh: Fresh<H, U>,
    ) -> Result<Ref<H, U>, PublishError<H, U>> {
        // From here to the end nobody else's code may run, which could split
        // the same descriptor: `Locked` is not `Sync`, under this pin no
        // deferred call runs, and the home is asked before the block is read.
        let _guard = pin();
        let Plan { kind, slots, lower, upper, way } = match self.plan(locked, &fresh) {
            Ok(plan) => plan,
            Err(why) => return Err(PublishError { why, fresh }),
        };
        fresh.set_place(upper);
        let words = (locked.word(), fresh.word(kind));
        match way {
            Move::Stay => self.store(&slots[slots.len() / 2..], words.1, lower.order().level()),
            Move::Node(spare) => {
                if !seeded!("node linked before it is filled") {
                    fill(spare.words(), words);
                }
                let group = spare.words();
                // `Release`: the node is filled before it is seen.
                slots[0]
                    .store(spare.peek_link(), memdesc::weakened!("split linked relaxed", Release));
                if seeded!("node linked before it is filled") {
                    fill(group, words);
                }
                let _ = spare.link();
            }
            Move::Array(group) => {
                let level = lower.order().level();
                self.announce(level);
                if seeded!("cleared above before published below") {
                    clear(slots);
                }
                self.store(covering(group, lower), words.0, level);
                self.store(covering(group, upper), words.1, level);
                clear(slots);
            }
        }
        // SAFETY: the upper half's slots were overwritten just above, or the
        // block's one slot was; what names the descriptor covers `lower`.
        unsafe { locked.set_place(lower) };
        // SAFETY: as in `publish`.
        Ok(unsafe { fresh.into_ref(kind) })
    }

    fn plan<T: Descriptor, U: Descriptor>(
        &self,
        locked: &Locked<'_, H, T>,
        fresh: &Fresh<H, U>,
    ) -> Result<Plan<'_>, LookupError> {
        let kind = self.known_kind(locked.block(), fresh)?;
        let block = locked.block();
        let (lower, upper) = block.halves().ok_or(LookupError::Indivisible { asked: block })?;
        let wrong = LookupError::WrongWord { asked: block };
        let slots = self.slots(block).filter(|slots| are_of(slots, locked.word())).ok_or(wrong)?;
        Ok(Plan { kind, slots, lower, upper, way: self.way(block)? })
    }

    /// How the words of a block's halves will get where they live.
    fn way(&self, block: Block) -> Result<Move<'_>, LookupError> {
        let level = block.order().level();
        if !block.order().get().is_multiple_of(ORDERS_PER_LEVEL) {
            return Ok(Move::Stay);
        }
        let out_of_memory = LookupError::OutOfMemory { asked: block };
        if level <= SECTION_LEVEL {
            return self.nodes.take().map(Move::Node).ok_or(out_of_memory);
        }
        let index = block.base().0 >> (ORDERS_PER_LEVEL * (level - 1));
        self.array(level - 1).group_or_make(index).map(Move::Array).ok_or(out_of_memory)
    }

    /// Splits an immediate block that the caller owns: its word is replaced by
    /// two. A poison hint goes to both halves.
    ///
    /// One RMW. Refuses a single granule, words of other orders, a block that
    /// is not there, and when memory is out.
    pub fn split_immediate(
        &self,
        block: Block,
        lower: Immediate,
        upper: Immediate,
    ) -> Result<(), LookupError> {
        let halves = block.halves().ok_or(LookupError::Indivisible { asked: block })?;
        check_order(halves.0, lower)?;
        check_order(halves.1, upper)?;
        let slots = self.slots(block).ok_or(LookupError::WrongWord { asked: block })?;
        own_immediate(block, slots)?;
        let words = (lower.pack(), upper.pack());
        match self.way(block)? {
            Move::Stay => {
                let (low, high) = slots.split_at(slots.len() / 2);
                // Upper half first: its head is valid before the lower's
                // changes, so whoever marks finds a head that matches.
                self.store(high, words.1, block.order().level());
                let (_, new) = exchange_head(block, &low[0], words.0)?;
                for slot in &low[1..] {
                    slot.store(
                        new.unpoisoned(),
                        memdesc::weakened!("upper half written relaxed", Release),
                    );
                }
                if new.is_poisoned() {
                    poison_head(&high[0]);
                }
            }
            Move::Node(spare) => {
                fill(spare.words(), words);
                self.swing(block, &slots[0], spare)?;
            }
            Move::Array(group) => {
                let level = halves.0.order().level();
                self.announce(level);
                let (low, high) = (covering(group, halves.0), covering(group, halves.1));
                self.store(low, words.0, level);
                self.store(high, words.1, level);
                // `AcqRel` pairs with `poison_immediate`, as in clearing.
                let old = slots[0]
                    .swap(Word::EMPTY, memdesc::weakened!("split head cleared relaxed", AcqRel));
                if old.is_poisoned() {
                    poison_head(&low[0]);
                    poison_head(&high[0]);
                }
            }
        }
        Ok(())
    }

    /// Replaces an immediate block's one slot by a link to its filled node.
    fn swing(
        &self,
        block: Block,
        slot: &AtomicWord,
        spare: crate::node::Spare<'_>,
    ) -> Result<(), LookupError> {
        let mut seen = own_immediate(block, core::slice::from_ref(slot))?;
        loop {
            if seen.is_poisoned() {
                poison_head(&spare.words()[0]);
                poison_head(&spare.words()[32]);
            }
            let link = spare.peek_link();
            // `AcqRel`: the node is filled before it is seen, and a mark that
            // came before is. Failing: a mark arrived, or the block is gone.
            match slot.compare_exchange(
                seen,
                link,
                memdesc::weakened!("word split relaxed", AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) if now.names_same(seen) => seen = now,
                Err(_) => return Err(LookupError::WrongWord { asked: block }),
            }
        }
        let _ = spare.link();
        Ok(())
    }
}

/// Fills a node that nobody sees yet with the words of two halves.
fn fill(group: &Group, words: (Word, Word)) {
    for (at, slot) in group.iter().enumerate() {
        // Relaxed: the link that follows releases it.
        slot.store(if at < 32 { words.0 } else { words.1 }, Ordering::Relaxed);
    }
}

/// Sets the hint on a head that is ours; others may set it at once.
pub(crate) fn poison_head(head: &AtomicWord) {
    let seen = head.load(Ordering::Relaxed);
    // Failing: somebody else set it, or took the block, which is misuse. (No model
    // misses the order: the head was stored by the same thread before, and an
    // exchange goes on with what that store released.)
    let _ = head.compare_exchange(seen, seen.poisoned(), Ordering::AcqRel, Ordering::Relaxed);
}
