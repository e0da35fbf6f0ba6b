//! Descriptors by the short cut: the whole of a hot publication and retraction.
//!
//! # What always holds
//!
//! As without the short cut. A leaf that leads astray, which takes a caller who
//! breaks the rule of ownership, leads to a node of the tree all the same: a
//! word stored there stands in the slots of one node, and a retraction that
//! finds it there clears that one.

use crate::leaf::{Follow, Leaf};
use crate::publish::{are_of, clear};
use crate::slots::covering;
use crate::tree::Tree;
use memdesc::sync::atomic::Ordering;
use memdesc::{
    AtomicWord, Block, Dead, Descriptor, Fresh, Garbage, Granule, Home, Order, Ref, Word,
};

impl<H: Home> Tree<H> {
    /// As [`publish`](Self::publish), if the short cut leads there and the slots
    /// are vacant; else the descriptor comes back, to be published the long way.
    #[inline(always)]
    pub fn publish_near<T: Descriptor>(
        &self,
        leaf: &Leaf,
        block: Block,
        fresh: Fresh<H, T>,
    ) -> Result<Ref<H, T>, Fresh<H, T>> {
        let Some(kind) = self.kinds().and_then(|kinds| kinds.of::<T>()) else { return Err(fresh) };
        let word = fresh.word(kind);
        if block.order() == Order::ZERO {
            let Some(slot) = self.slot_at_hand(leaf, block.base(), Follow::Yes) else {
                return Err(fresh);
            };
            // Relaxed and Release: as in a publication without a short cut.
            if !slot.load(Ordering::Relaxed).is_empty() {
                return Err(fresh);
            }
            fresh.set_place(block);
            slot.store(word, memdesc::weakened!("published near relaxed", Release));
        } else {
            let Some(slots) = self.vacant_at_hand(leaf, block) else { return Err(fresh) };
            fresh.set_place(block);
            for slot in slots {
                slot.store(word, memdesc::weakened!("published near relaxed", Release));
            }
        }
        // SAFETY: the kind is from the set that `found_word` and the
        // retractions consult.
        Ok(unsafe { fresh.into_ref(kind) })
    }

    /// As [`retract`](Self::retract), if the short cut leads there; else the
    /// dead one comes back, to be retracted the long way.
    #[inline(always)]
    pub fn retract_near<'a>(
        &self,
        leaf: &Leaf,
        dead: Dead<'a, H>,
    ) -> Result<(Block, Garbage), Dead<'a, H>> {
        let dead = match self.retract_one_near(leaf, dead) {
            Ok((at, garbage)) => return Ok((Block::containing(at, Order::ZERO), garbage)),
            Err(dead) => dead,
        };
        let Some(block) = dead.block() else { return Err(dead) };
        if !self.clear_at_hand(leaf, block, dead.word()) {
            return Err(dead);
        }
        // SAFETY: as in `retract`: the slots that named it were among these,
        // for the first of them did, and were cleared just now.
        Ok((block, unsafe { dead.into_garbage() }))
    }

    /// As [`retract_near`](Self::retract_near), if it described a single granule.
    #[inline(always)]
    pub fn retract_one_near<'a>(
        &self,
        leaf: &Leaf,
        dead: Dead<'a, H>,
    ) -> Result<(Granule, Garbage), Dead<'a, H>> {
        let Some(at) = dead.single() else { return Err(dead) };
        let Some(slot) = self.slot_at_hand(leaf, at, Follow::No) else { return Err(dead) };
        if !are_of(core::slice::from_ref(slot), dead.word()) {
            return Err(dead);
        }
        // `Release`: as in `clear`.
        slot.store(Word::EMPTY, memdesc::weakened!("retracted near relaxed", Release));
        // SAFETY: as in `retract`: the one slot that named it was cleared just now.
        Ok((at, unsafe { dead.into_garbage() }))
    }

    /// The slots of a block of more than one granule, if a short cut leads there
    /// and they are vacant.
    #[inline(never)]
    fn vacant_at_hand(&self, leaf: &Leaf, block: Block) -> Option<&[AtomicWord]> {
        let slots = covering(self.at_hand(leaf, block, Follow::Yes)?, block);
        AtomicWord::all_empty(slots).then_some(slots)
    }

    /// Clears the slots of a block, if a short cut leads there and they are
    /// those of the word: whether it was done.
    #[inline(never)]
    fn clear_at_hand(&self, leaf: &Leaf, block: Block, word: Word) -> bool {
        let slots = self.at_hand(leaf, block, Follow::No).map(|group| covering(group, block));
        let own = slots.filter(|slots| are_of(slots, word));
        own.inspect(|slots| clear(slots)).is_some()
    }
}
