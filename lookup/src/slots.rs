//! Slots: finding the places that stand for a block, and making them.
//!
//! # What always holds
//!
//! A link goes from the slot of a level to the node below it, so a walk is as
//! long as the levels it passes, whatever the links say. A link is installed
//! by a compare-exchange from empty (two neighbours may want the same node at
//! once; the loser gives its own back) and removed by a swap, so a node is
//! retired once. Both are for whoever owns granules below the slot, or all of
//! them.

use crate::LookupError;
use crate::sparse::{Group, Sparse};
use crate::tree::{SECTION_LEVEL, Tree};
use core::ptr::NonNull;
use memdesc::sync::atomic::Ordering;
use memdesc::{
    AtomicWord, Block, Granule, Home, MAX_GRANULES, ORDERS_PER_LEVEL, Order, Word, pin, seeded,
};

/// Where a walk ended. Two words and no more, so that it stays in registers: the
/// level is an immediate word's own, and nobody else asks for it.
#[derive(Clone, Copy)]
pub(crate) struct Hit<'a> {
    pub(crate) group: &'a Group,
    /// Neither empty nor a link.
    pub(crate) word: Word,
}

/// The place, within its group, that stands for `at` at a level.
#[inline]
pub(crate) fn place_of(at: Granule, level: u32) -> usize {
    (at.0 >> (ORDERS_PER_LEVEL * level)) as usize & 63
}

/// The index of `at` in the array of a level.
#[inline]
pub(crate) fn index_of(at: Granule, level: u32) -> u64 {
    at.0 >> (ORDERS_PER_LEVEL * level)
}

/// The granules that one place of a level stands for, around `at`.
pub(crate) fn slot_block(at: Granule, level: u32) -> Block {
    let order = Order::new(ORDERS_PER_LEVEL * level).expect("levels end at 10");
    Block::containing(at, order)
}

/// The places of a block within the group of its level.
#[inline]
pub(crate) fn covering(group: &Group, block: Block) -> &[AtomicWord] {
    let order = block.order();
    // Most blocks are of level 0, where there is nothing to divide.
    let (first, run) = match order.get() < ORDERS_PER_LEVEL {
        true => (place_of(block.base(), 0), 1 << order.get()),
        false => (place_of(block.base(), order.level()), order.run() as usize),
    };
    &group[first..first + run]
}

/// Slots that are ready for a block's word.
pub(crate) struct Vacant<'a> {
    slots: &'a [AtomicWord],
    /// Some link to empty nodes.
    links: bool,
}

impl<H: Home> Tree<H> {
    /// The words that a link leads to.
    #[inline]
    pub(crate) fn follow(&self, link: NonNull<()>) -> &Group {
        // SAFETY: links are stored by this tree only, and made of its nodes.
        unsafe { self.nodes.follow(link) }
    }

    /// The word that answers for `at`, if any: from the top down.
    #[inline(always)]
    pub(crate) fn hit(&self, at: Granule) -> Option<Hit<'_>> {
        if at.0 >= MAX_GRANULES {
            return None;
        }
        let rises = self.rises();
        if rises != 0
            && let Some(hit) = self.upper_hit(at)
        {
            return Some(hit);
        }
        let mut level = SECTION_LEVEL;
        let Some(mut group) = self.array(level).group(index_of(at, level)) else {
            return self.hit_again(at, rises);
        };
        loop {
            // `Acquire` pairs with the Release store of a publication, or of a
            // link: what the word names is there, initialised.
            let word = group[place_of(at, level)].load(memdesc::weakened!("walk relaxed", Acquire));
            match word.link() {
                Some(link) if level > 0 => {
                    group = self.follow(link);
                    level -= 1;
                }
                Some(_) => return None,
                None if word.is_empty() => return self.hit_again(at, rises),
                None => return Some(Hit { group, word }),
            }
        }
    }

    /// Looks again if a live block's word went up meanwhile: it may have passed.
    #[cold]
    #[inline(never)]
    fn hit_again(&self, at: Granule, rises: u64) -> Option<Hit<'_>> {
        if self.rises() == rises { None } else { self.hit(at) }
    }

    /// The same for levels 4 to 10, highest first. The bits are read anew at
    /// each level: a word that left a level announced the next before.
    #[cold]
    pub(crate) fn upper_hit(&self, at: Granule) -> Option<Hit<'_>> {
        (SECTION_LEVEL + 1..memdesc::LEVELS).rev().find_map(|level| {
            if self.upper_levels() >> level & 1 == 0 {
                return None;
            }
            let group = self.array(level).group(index_of(at, level))?;
            // `Acquire`: as in `hit`, and so that a word seen gone here is
            // seen below.
            let word =
                group[place_of(at, level)].load(memdesc::weakened!("walk above relaxed", Acquire));
            (!word.is_empty()).then_some(Hit { group, word })
        })
    }

    /// The covering slots of a block, if their node is there.
    #[inline]
    pub(crate) fn slots(&self, block: Block) -> Option<&[AtomicWord]> {
        Some(covering(self.group_at(block.base(), block.order().level())?, block))
    }

    /// The group of a level around `at`, if its node is there.
    pub(crate) fn group_at(&self, at: Granule, level: u32) -> Option<&Group> {
        if level >= SECTION_LEVEL {
            return self.array(level).group(index_of(at, level));
        }
        let index = index_of(at, SECTION_LEVEL);
        if Sparse::is_far(index) {
            return self.group_at_far(at, level);
        }
        self.group_below(self.array(SECTION_LEVEL).group_near(index)?, at, level)
    }

    /// The same where it takes a call, which would cost the other way registers.
    #[cold]
    #[inline(never)]
    fn group_at_far(&self, at: Granule, level: u32) -> Option<&Group> {
        let array = self.array(SECTION_LEVEL);
        self.group_below(array.group_far(index_of(at, SECTION_LEVEL))?, at, level)
    }

    /// The group of a level below the sections, from that of its section.
    #[inline(always)]
    fn group_below<'t>(
        &'t self,
        mut group: &'t Group,
        at: Granule,
        level: u32,
    ) -> Option<&'t Group> {
        let mut above = SECTION_LEVEL;
        while above > level {
            // `Acquire` pairs with the install of the link.
            let word = group[place_of(at, above)]
                .load(memdesc::weakened!("way to a group relaxed", Acquire));
            group = self.follow(word.link()?);
            above -= 1;
        }
        Some(group)
    }

    /// The link to the node of the section around `at`, if it has one.
    pub(crate) fn link_to(&self, at: Granule) -> Option<Word> {
        let group = self.group_at(at, SECTION_LEVEL)?;
        let word = group[place_of(at, SECTION_LEVEL)]
            .load(memdesc::weakened!("way to a leaf relaxed", Acquire));
        word.is_link().then_some(word)
    }

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

    /// Stores a word into slots of one level, first to last. An empty node
    /// that a slot links to is unlinked and set aside.
    #[inline]
    pub(crate) fn store(&self, slots: &[AtomicWord], word: Word, level: u32) {
        // Only slots above the lowest level link, and seldom: look first, so
        // that the stores need not.
        if level > 0 && slots.iter().any(|slot| slot.load(Ordering::Relaxed).is_link()) {
            return self.store_slow(slots, word, level);
        }
        self.store_plainly(slots, word);
    }

    /// The same into slots that were looked at just now, by whoever owns them.
    #[inline]
    pub(crate) fn fill(&self, vacant: &Vacant<'_>, word: Word, level: u32) {
        if vacant.links {
            return self.store_slow(vacant.slots, word, level);
        }
        self.store_plainly(vacant.slots, word);
    }

    #[inline(always)]
    pub(crate) fn store_plainly(&self, slots: &[AtomicWord], word: Word) {
        let ordering = match seeded!("relaxed publish") {
            true => Ordering::Relaxed,
            // Pairs with the load in `hit`: whoever sees the word sees the
            // descriptor initialised.
            false => Ordering::Release,
        };
        for slot in slots {
            slot.store(word, ordering);
        }
    }

    #[cold]
    fn store_slow(&self, slots: &[AtomicWord], word: Word, level: u32) {
        for slot in slots {
            self.store_over_link(slot, word, level);
        }
    }

    fn store_over_link(&self, slot: &AtomicWord, word: Word, level: u32) {
        // `AcqRel`: as the store above, and the node's state comes along. One
        // swap gets the link, so one thread retires the node.
        let old = slot.swap(word, memdesc::weakened!("published over a link relaxed", AcqRel));
        let (Some(link), Some(below)) = (old.link(), level.checked_sub(1)) else { return };
        self.set_aside(link, below);
    }
}
