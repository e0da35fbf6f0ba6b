//! Slots: finding the places that stand for a block, and storing into them.
//!
//! # What always holds
//!
//! A link goes from the slot of a level to the node below it, so a walk is as
//! long as the levels it passes, whatever the links say. A link is installed
//! by a compare-exchange from empty (see `vacant`) and removed by a swap, so a
//! node is retired once. Both are for whoever owns granules below the slot, or
//! all of them.

mod vacant;

use crate::sparse::{Group, Sparse};
use crate::tree::{SECTION_LEVEL, Tree};
use core::ptr::NonNull;
use memdesc::sync::atomic::Ordering;
use memdesc::{
    AtomicWord, Block, Granule, Home, MAX_GRANULES, ORDERS_PER_LEVEL, Order, Word, seeded,
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
