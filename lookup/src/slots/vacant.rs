//! Slots that are to be published in: making them, and refusing where something
//! is in the way.
//!
//! # What always holds
//!
//! Two neighbours may want the same node at once: its link is installed by a
//! compare-exchange from empty, and the loser gives its own back.
//!
//! In the way of a block is whatever is published above it, in its slots, or
//! below them; an empty node is not. Where one hangs below the slots it stays
//! until the word is stored over its link; where one hangs below a block that
//! lies above the sections, it is unlinked by the look that found it empty.
//!
//! # Cost
//!
//! Nearly always the nodes are there, and nothing is noted that would have to be
//! looked at: the walk to the slots, and a look at each.

use super::{covering, index_of, place_of, slot_block};
use crate::LookupError;
use crate::sparse::Group;
use crate::tree::{SECTION_LEVEL, Tree};
use memdesc::sync::atomic::Ordering;
use memdesc::{AtomicWord, Block, Granule, Home, ORDERS_PER_LEVEL, Word, pin, seeded};

/// Slots that are ready for a block's word.
pub(crate) struct Vacant<'a> {
    slots: &'a [AtomicWord],
    /// Some link to empty nodes.
    links: bool,
}

impl<H: Home> Tree<H> {
    /// The covering slots of a block that is to be published, where its node is
    /// there and nothing is noted that would have to be looked at: what
    /// [`vacant_slots`](Self::vacant_slots) finds nearly always.
    #[inline]
    pub(crate) fn vacant_at_once(&self, block: Block) -> Option<&[AtomicWord]> {
        let level = block.order().level();
        let upper = self.upper_levels();
        let group = match level {
            0..SECTION_LEVEL if upper == 0 => self.group_at(block.base(), level)?,
            0..SECTION_LEVEL => return None,
            // Notes what is in use.
            SECTION_LEVEL if upper == 0 => self.array_group(block, level).ok()?,
            // Announced, nothing above it, and nothing noted below.
            _ if upper >> level == 1 && self.is_unused_below(level) => {
                self.array_group(block, level).ok()?
            }
            _ => return None,
        };
        let slots = covering(group, block);
        AtomicWord::all_empty(slots).then_some(slots)
    }

    /// Whether no group of an array below is noted as in use.
    #[inline]
    fn is_unused_below(&self, level: u32) -> bool {
        (SECTION_LEVEL..level).all(|lower| self.array(lower).is_unused())
    }

    /// The covering slots of a block that is to be published: installs the
    /// nodes on the way, and refuses if anything is published above, in or
    /// below them. Nodes below that are empty are left for [`store`](Self::store).
    pub(crate) fn vacant_slots(&self, block: Block) -> Result<Vacant<'_>, LookupError> {
        let level = block.order().level();
        self.check_above(block)?;
        let group = if level >= SECTION_LEVEL {
            self.array_group(block, level)?
        } else {
            // Nearly always the nodes are there, and need only be followed.
            match self.group_at(block.base(), level) {
                Some(group) => group,
                None => self.node_group(block, level)?,
            }
        };
        let slots = covering(group, block);
        let links = !AtomicWord::all_empty(slots);
        if links {
            self.check_slots(block, slots)?;
        }
        if level > SECTION_LEVEL {
            self.check_below(block)?;
        }
        Ok(Vacant { slots, links })
    }

    /// As [`store`](Self::store), into slots that were looked at just now, by
    /// whoever owns them.
    #[inline]
    pub(crate) fn fill(&self, vacant: &Vacant<'_>, word: Word, level: u32) {
        if vacant.links {
            return self.store_slow(vacant.slots, word, level);
        }
        self.store_plainly(vacant.slots, word);
    }

    /// Refuses unless each slot is empty, or links to an empty node.
    #[cold]
    fn check_slots(&self, block: Block, slots: &[AtomicWord]) -> Result<(), LookupError> {
        let level = block.order().level();
        for (at, slot) in slots.iter().enumerate() {
            let first = block.base().0 + ((at as u64) << (ORDERS_PER_LEVEL * level));
            self.check_slot(block, slot, Granule(first), level)?;
        }
        Ok(())
    }

    pub(crate) fn array_group(&self, block: Block, level: u32) -> Result<&Group, LookupError> {
        let index = index_of(block.base(), level);
        self.array(level).group_or_make(index).ok_or(LookupError::OutOfMemory { asked: block })
    }

    pub(crate) fn node_group(&self, block: Block, level: u32) -> Result<&Group, LookupError> {
        let mut group = self.array_group(block, SECTION_LEVEL)?;
        for above in (level + 1..=SECTION_LEVEL).rev() {
            let slot = &group[place_of(block.base(), above)];
            group = self.step_down(block, slot, above)?;
        }
        Ok(group)
    }

    /// The node below a slot, installed if the slot is empty.
    fn step_down(
        &self,
        asked: Block,
        slot: &AtomicWord,
        level: u32,
    ) -> Result<&Group, LookupError> {
        loop {
            // `Acquire` pairs with the install of the link.
            let word = slot.load(memdesc::weakened!("step down relaxed", Acquire));
            if let Some(link) = word.link() {
                return Ok(self.follow(link));
            }
            if !word.is_empty() {
                return Err(self.overlap(asked, slot, asked.base(), level));
            }
            let spare = self.nodes.take().ok_or(LookupError::OutOfMemory { asked })?;
            if seeded!("link installed by a plain store") {
                slot.store(spare.link(), Ordering::Release);
                continue;
            }
            // `Release`: the node is empty before it is seen. Failing: a
            // neighbour installed one; ours goes back, and we look again.
            let installed = slot.compare_exchange(
                Word::EMPTY,
                spare.peek_link(),
                memdesc::weakened!("link installed relaxed", Release),
                Ordering::Relaxed,
            );
            if installed.is_ok() {
                let _ = spare.link();
            }
        }
    }

    /// Refuses if a block of a higher array holds this one.
    pub(crate) fn check_above(&self, block: Block) -> Result<(), LookupError> {
        let levels = self.upper_levels();
        if levels == 0 {
            return Ok(());
        }
        let own = SECTION_LEVEL.max(block.order().level());
        let mut above = levels & !(!0 >> (63 - own));
        while above != 0 {
            let level = above.trailing_zeros();
            above &= above - 1;
            let Some(group) = self.array(level).group(index_of(block.base(), level)) else {
                continue;
            };
            let slot = &group[place_of(block.base(), level)];
            self.check_slot(block, slot, block.base(), level)?;
        }
        Ok(())
    }

    /// Refuses if a block of a lower level lies in this one, which lies above
    /// the sections. Otherwise what is noted below is taken back, and empty nodes
    /// are unlinked: next time there is nothing to look at.
    fn check_below(&self, block: Block) -> Result<(), LookupError> {
        let level = block.order().level();
        let noted = |lower| self.next_group_in(block, lower, block.base()).is_some();
        if !(SECTION_LEVEL..level).any(noted) {
            return Ok(());
        }
        if let Some(next) = self.next_slot(block.granules(), level) {
            return Err(self.overlap(block, next.slot, next.at, next.level));
        }
        self.leave_below(block, level);
        Ok(())
    }

    /// The first group of an array, from that of `from` on, that is noted as in use
    /// within a block above it, and the first granule of the next.
    fn next_group_in(&self, block: Block, level: u32, from: Granule) -> Option<(&Group, Granule)> {
        let array = self.array(level);
        if array.is_unused() {
            return None;
        }
        let last = index_of(block.last(), level);
        let (first, group) = array.next_group(index_of(from, level), last)?;
        Some((group, Granule((first + 64) << (ORDERS_PER_LEVEL * level))))
    }

    /// Nothing is published below a block: unlinks the nodes there, and takes back
    /// what is noted.
    #[cold]
    fn leave_below(&self, block: Block, level: u32) {
        let mut from = block.base();
        while from <= block.last()
            && let Some((group, next)) = self.next_group_in(block, SECTION_LEVEL, from)
        {
            group.iter().for_each(|slot| self.unlink_empty(slot));
            from = next;
        }
        for lower in SECTION_LEVEL..level {
            self.array(lower).forget(index_of(block.base(), lower), index_of(block.last(), lower));
        }
    }

    /// Unlinks the node of a section, if it has one, under which nothing is
    /// published.
    fn unlink_empty(&self, slot: &AtomicWord) {
        let word = slot.load(Ordering::Relaxed);
        let Some(link) = word.link() else { return };
        // `AcqRel`: the node's state comes along; one exchange gets the link, so
        // one thread retires the node. Failing: somebody breaks the rule, and
        // what is there now is theirs. (No model misses it: as in `prune`.)
        let taken = slot.compare_exchange(word, Word::EMPTY, Ordering::AcqRel, Ordering::Relaxed);
        if taken.is_ok() {
            self.set_aside(link, SECTION_LEVEL - 1);
        }
    }

    /// Refuses if `slot` holds a block's word, or links to a node that is not
    /// empty.
    fn check_slot(
        &self,
        asked: Block,
        slot: &AtomicWord,
        at: Granule,
        level: u32,
    ) -> Result<(), LookupError> {
        // `Acquire` pairs with the install of a link. That it is empty, the
        // owner of the granules knows from their last owner.
        let word = slot.load(memdesc::weakened!("slot checked relaxed", Acquire));
        let Some(link) = word.link() else {
            return match word.is_empty() {
                true => Ok(()),
                false => Err(self.overlap(asked, slot, at, level)),
            };
        };
        match level.checked_sub(1).and_then(|below| {
            self.next_in_node(self.follow(link), below, slot_block(at, level).granules())
        }) {
            None => Ok(()),
            Some(next) => Err(self.overlap(asked, next.slot, next.at, next.level)),
        }
    }

    /// The refusal for what is in a slot. It may be gone by now; then the
    /// granules of the slot stand for it.
    #[cold]
    fn overlap(&self, asked: Block, slot: &AtomicWord, at: Granule, level: u32) -> LookupError {
        let guard = pin();
        // Loaded under the guard, as following it demands.
        let word = slot.load(memdesc::weakened!("overlap named relaxed", Acquire));
        let found = self
            .found_word(word, at, &guard)
            .map(|found| found.block())
            .unwrap_or_else(|| slot_block(at, level));
        LookupError::Overlap { asked, found }
    }
}
