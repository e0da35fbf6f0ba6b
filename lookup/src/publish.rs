//! Descriptors: in by publishing, out by retracting.
//!
//! # What always holds
//!
//! The slots that name a descriptor are at all times among those that cover
//! its place: `publish` writes the place and then exactly these, a split
//! overwrites the slots it takes away before it shrinks the place, and nobody
//! else stores the word. So a `retract` that found the word in all of them and
//! cleared them leaves none behind, and the memory may go to the epoch.

use crate::tree::Tree;
use crate::{LookupError, PublishError};
use memdesc::sync::atomic::Ordering;
use memdesc::{
    AtomicWord, Block, Dead, Descriptor, Fresh, Garbage, Home, Kind, OwnerId, Ref, Word, seeded,
};

/// What is left of a retracted descriptor.
#[derive(Debug)]
#[must_use = "the block is yours again, and so is the garbage"]
pub struct Retracted {
    /// The block it described.
    pub block: Block,
    /// Its owner.
    pub owner: OwnerId,
    /// Whether memory failed inside.
    pub poisoned: bool,
    /// The memory, to be retired.
    pub garbage: Garbage,
}

impl<H: Home> Tree<H> {
    /// Publishes a descriptor for a block that the caller owns, and returns
    /// the first reference. Dropping the last one tears it down.
    ///
    /// Plain Release stores, no RMW, once the nodes are there. Refuses what
    /// overlaps, a type that is not registered, and when memory is out; the
    /// error hands the descriptor back.
    pub fn publish<T: Descriptor>(
        &self,
        block: Block,
        fresh: Fresh<H, T>,
    ) -> Result<Ref<H, T>, PublishError<H, T>> {
        if let Some(kind) = self.kinds().and_then(|kinds| kinds.of::<T>())
            && let Some(slots) = self.vacant_at_once(block)
        {
            fresh.set_place(block);
            self.store_plainly(slots, fresh.word(kind));
            // SAFETY: the kind is of the set that `found_word` and `retract` consult.
            return Ok(unsafe { fresh.into_ref(kind) });
        }
        self.publish_slow(block, fresh)
    }

    /// The same where nodes are missing, or something is to be looked at first.
    #[cold]
    #[inline(never)]
    fn publish_slow<T: Descriptor>(
        &self,
        block: Block,
        fresh: Fresh<H, T>,
    ) -> Result<Ref<H, T>, PublishError<H, T>> {
        let prepared =
            self.known_kind(block, &fresh).and_then(|kind| Ok((kind, self.vacant_slots(block)?)));
        let (kind, vacant) = match prepared {
            Ok(prepared) => prepared,
            Err(why) => return Err(PublishError { why, fresh }),
        };
        fresh.set_place(block);
        self.announce(block.order().level());
        self.fill(&vacant, fresh.word(kind), block.order().level());
        // SAFETY: `known_kind` took the kind from the set that `found_word`
        // and `retract` consult.
        Ok(unsafe { fresh.into_ref(kind) })
    }

    /// The kind of a descriptor's type in this tree.
    pub(crate) fn known_kind<T: Descriptor>(
        &self,
        asked: Block,
        fresh: &Fresh<H, T>,
    ) -> Result<Kind, LookupError> {
        let known = self.kind_of::<T>(fresh.home()).ok_or(LookupError::OutOfMemory { asked })?;
        known.ok_or(LookupError::UnknownKind { name: T::NAME })
    }

    /// Takes the words of a dead descriptor out and gives the block back to
    /// the caller, with the memory to be retired.
    ///
    /// Plain Release stores: the slots are the descriptor's own until the
    /// block is given back. Allocates nothing. If a slot holds something else
    /// (the descriptor is another tree's, or somebody published over it), the
    /// descriptor leaks and nothing is changed.
    pub fn retract(&self, dead: Dead<H>) -> Result<Retracted, LookupError> {
        let block = dead.block().ok_or(LookupError::NeverPublished)?;
        let wrong = LookupError::WrongWord { asked: block };
        let word = dead.word();
        let slots = self.slots(block).filter(|slots| are_of(slots, word)).ok_or(wrong)?;
        if !seeded!("words left behind") {
            clear(slots);
        }
        let (owner, poisoned) = (dead.owner(), dead.poisoned());
        // SAFETY: the slots that named it were among `slots`, for the first of
        // them did, and were cleared just now; it is dead, so none will name
        // it again.
        let garbage = unsafe { dead.into_garbage() };
        Ok(Retracted { block, owner, poisoned, garbage })
    }
}

/// Whether the slots are those of the word, poisoned or not: all of them are
/// looked at in debug builds, the first elsewhere. A word stands in the slots
/// of one node at a time, so the first tells whether this is that node.
#[inline]
pub(crate) fn are_of(slots: &[AtomicWord], word: Word) -> bool {
    if cfg!(debug_assertions) { all_name(slots, word) } else { all_name(&slots[..1], word) }
}

/// Whether all slots hold the word, poisoned or not.
pub(crate) fn all_name(slots: &[AtomicWord], word: Word) -> bool {
    // Relaxed: the slots are the caller's, who knows what it stored.
    slots.iter().all(|slot| slot.load(Ordering::Relaxed).names_same(word))
}

/// Empties slots.
#[inline]
pub(crate) fn clear(slots: &[AtomicWord]) {
    for slot in slots {
        // `Release` pairs with the load in `hit`: whoever sees nothing here
        // sees what was stored before, as the next publication must.
        slot.store(Word::EMPTY, memdesc::weakened!("cleared relaxed", Release));
    }
}
