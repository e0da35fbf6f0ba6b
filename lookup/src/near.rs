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
use memdesc::{AtomicWord, Block, Dead, Descriptor, Fresh, Garbage, Home, Ref, Word};

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
        let Some(group) = self.at_hand(leaf, block, Follow::Yes) else { return Err(fresh) };
        let Some(kind) = self.kinds().and_then(|kinds| kinds.of::<T>()) else { return Err(fresh) };
        let slots = covering(group, block);
        // Relaxed and Release: as in a publication without a short cut.
        let vacant = match slots {
            [slot] => slot.load(Ordering::Relaxed).is_empty(),
            slots => AtomicWord::all_empty(slots),
        };
        if !vacant {
            return Err(fresh);
        }
        fresh.set_place(block);
        let word = fresh.word(kind);
        match slots {
            [slot] => slot.store(word, memdesc::weakened!("published near relaxed", Release)),
            slots => slots.iter().for_each(|slot| {
                slot.store(word, memdesc::weakened!("published near relaxed", Release))
            }),
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
        let Some(block) = dead.block() else { return Err(dead) };
        let Some(group) = self.at_hand(leaf, block, Follow::No) else { return Err(dead) };
        let word = dead.word();
        let slots = covering(group, block);
        if !are_of(slots, word) {
            return Err(dead);
        }
        match slots {
            // `Release`: as in `clear`.
            [slot] => {
                slot.store(Word::EMPTY, memdesc::weakened!("retracted near relaxed", Release))
            }
            slots => clear(slots),
        }
        // SAFETY: as in `retract`: the slots that named it were among these,
        // for the first of them did, and were cleared just now.
        Ok((block, unsafe { dead.into_garbage() }))
    }
}
