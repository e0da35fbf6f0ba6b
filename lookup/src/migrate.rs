//! One descriptor takes over what another describes, while readers look.
//!
//! # Two cases
//!
//! ```text
//! replace   D D D D           ->  N N N N                      slots, then D is moved
//! merge     K K K K | O O O O ->  K K K K K K K K              place, slots, then O is moved
//!           node of K * 32, O * 32   ->  K in the one slot above     the node is unlinked
//!           K, O in a lower array    ->  K above, then clear below   a look-up that missed looks again
//! ```
//!
//! # What always holds
//!
//! An address of the blocks is found at any moment. Whoever got the loser by a
//! word that is being overwritten sees by the re-check that it has moved, looks
//! again, and finds the winner: it is in the slot before the loser says so. The
//! winner's place grows before the first slot of the other half names it, so
//! that who finds it there need not look again.
//!
//! The locks of all descriptors concerned are held throughout, so none is torn
//! down, split or taken over meanwhile. A moved descriptor lives on for those
//! who have references, and its last put frees it without a look at the slots,
//! which are another's.

use crate::publish::{are_of, clear};
use crate::slots::covering;
use crate::tree::{SECTION_LEVEL, Tree};
use crate::{LookupError, PublishError};
use memdesc::{AtomicWord, Block, Descriptor, Fresh, Home, Locked, Ref, Word, pin};

impl<H: Home> Tree<H> {
    /// Puts `fresh` in the place of a live descriptor, whose lock the caller
    /// holds, and returns its first reference. A mark of failed memory goes
    /// along. The old one describes nothing from then on.
    ///
    /// No RMW but one on the old header, whatever the order. Refuses a
    /// descriptor that is not published here or has moved, and an unknown type.
    ///
    /// ```
    /// # use memdesc::*;
    /// # use potad_lookup::*;
    /// # struct Ram(Kinds);
    /// # impl Home for Ram {
    /// #     fn kinds(&self) -> &Kinds { &self.0 }
    /// #     fn teardown(_: Dead<Self>) {}
    /// # }
    /// # struct Folio(u32);
    /// # impl Descriptor for Folio { const NAME: &'static str = "folio"; }
    /// let kinds = Kinds::new();
    /// kinds.register::<Folio>()?;
    /// let (ram, tree) = (Keep::new(Ram(kinds)), Tree::new());
    /// let block = Block::new(Granule(64), Order::new(5)?)?;
    /// let [old, new] = [1, 2].map(|of| Fresh::of(&ram, OwnerId(0), Folio(of)).ok().unwrap());
    /// let old = tree.publish(block, old)?;
    /// let new = tree.replace(&old.lock(), new)?;
    ///
    /// assert_eq!(tree.get::<Folio>(Granule(70)).unwrap().0, 2);
    /// assert_eq!((new.block(), old.header().is_moved()), (block, true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace<T: Descriptor, U: Descriptor>(
        &self,
        locked: &Locked<'_, H, T>,
        fresh: Fresh<H, U>,
    ) -> Result<Ref<H, U>, PublishError<H, U>> {
        // As in a split: nobody else's code runs from here to the end.
        let _guard = pin();
        let block = locked.block();
        let prepared = self
            .known_kind(block, &fresh)
            .and_then(|kind| Ok((kind, self.slots_of(block, locked.word(), locked.is_moved())?)));
        let (kind, slots) = match prepared {
            Ok(prepared) => prepared,
            Err(why) => return Err(PublishError { why, fresh }),
        };
        fresh.set_place(block);
        if locked.is_poisoned() {
            fresh.poison();
        }
        self.store(slots, fresh.word(kind), block.order().level());
        // SAFETY: the slots that named it are those of its place, and were
        // overwritten just now.
        unsafe { locked.set_moved() };
        // SAFETY: as in `publish`.
        Ok(unsafe { fresh.into_ref(kind) })
    }

    /// Joins two live buddies: `keeper` describes both from now on, `other`
    /// nothing. The caller holds both locks. Returns the joint block. A mark of
    /// failed memory on either is on the keeper.
    ///
    /// Refuses what are no buddies, descriptors that are not published here or
    /// have moved, and when memory is out.
    pub fn merge<T: Descriptor, U: Descriptor>(
        &self,
        keeper: &Locked<'_, H, T>,
        other: &Locked<'_, H, U>,
    ) -> Result<Block, LookupError> {
        // As in a split.
        let _guard = pin();
        let (kept, joined) = (keeper.block(), other.block());
        let no_buddies = LookupError::NotBuddies { asked: kept, found: joined };
        let whole = kept.parent().filter(|_| kept.buddy() == Some(joined)).ok_or(no_buddies)?;
        let own = self.slots_of(kept, keeper.word(), keeper.is_moved())?;
        let others = self.slots_of(joined, other.word(), other.is_moved())?;
        let above = self.slots_above(kept, whole)?;
        if other.is_poisoned() {
            keeper.poison();
        }
        // SAFETY: what names it will be what covers the whole before the lock is
        // given back.
        unsafe { keeper.set_place(whole) };
        let level = whole.order().level();
        match above {
            None => self.store(others, keeper.word(), level),
            Some(slots) => {
                self.announce(level);
                // A link is swapped out, and its node unlinked with the words.
                self.store(slots, keeper.word(), level);
                if level > SECTION_LEVEL {
                    self.note_rise();
                    clear(own);
                    clear(others);
                }
            }
        }
        // SAFETY: the slots that named it were overwritten or cleared, or their
        // node was unlinked: no look-up that starts now reaches them.
        unsafe { other.set_moved() };
        Ok(whole)
    }

    /// The slots of a descriptor's block, if they name it.
    fn slots_of(
        &self,
        block: Block,
        word: Word,
        moved: bool,
    ) -> Result<&[AtomicWord], LookupError> {
        let slots = self.slots(block).filter(|slots| !moved && are_of(slots, word));
        slots.ok_or(LookupError::WrongWord { asked: block })
    }

    /// The slots of the joint block, if they are not those of its halves.
    fn slots_above(&self, half: Block, whole: Block) -> Result<Option<&[AtomicWord]>, LookupError> {
        if whole.order().level() == half.order().level() {
            return Ok(None);
        }
        let group = self.group_or_make(whole)?;
        Ok(Some(covering(group, whole)))
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::ram::{Folio, Ram};
    use memdesc::{Granule, Keep, Kinds, Order, OwnerId};

    /// Every look-up pays for a rise. A word that covers a node which goes with it
    /// is not one: nobody can have passed it.
    #[test]
    fn a_merge_out_of_a_node_counts_no_rise() {
        let kinds = Kinds::new();
        kinds.register::<Folio>().unwrap();
        let ram = Keep::new(Ram(kinds));
        for (order, rises) in [(4, 0), (5, 0), (11, 0), (17, 0), (22, 0), (23, 1)] {
            let whole = Block::containing(Granule(1 << 40), Order::new(order + 1).unwrap());
            let (low, high) = whole.halves().unwrap();
            let tree = Tree::new();
            let [low, high] = [low, high].map(|half| {
                let fresh = Fresh::of(&ram, OwnerId(0), Folio).ok().unwrap();
                tree.publish(half, fresh).unwrap()
            });
            assert_eq!(tree.merge(&low.lock(), &high.lock()), Ok(whole));
            assert_eq!(tree.rises() >> 16, rises, "of halves of order {order}");
        }
    }
}
