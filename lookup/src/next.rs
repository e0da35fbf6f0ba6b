//! Going from block to block.
//!
//! # What a walk promises
//!
//! Each block it yields was published at some moment of the step that found
//! it; one that is published throughout the walk is not missed. It is no
//! snapshot of the whole.

use crate::slots::{place_of, slot_block};
use crate::sparse::Group;
use crate::tree::{SECTION_LEVEL, Tree};
use core::fmt;
use memdesc::{
    AtomicWord, Block, Found, Granule, Granules, Guard, Home, LEVELS, MAX_GRANULES,
    ORDERS_PER_LEVEL, Word, pin,
};

/// A slot that holds a block's word.
#[derive(Clone, Copy)]
pub(crate) struct Next<'a> {
    /// The first granule that the slot stands for.
    pub(crate) at: Granule,
    pub(crate) level: u32,
    pub(crate) slot: &'a AtomicWord,
    /// What the slot held.
    pub(crate) word: Word,
}

impl<H: Home> Tree<H> {
    /// The first published block that ends at or after `from`.
    pub fn next<'g>(&self, from: Granule, guard: &'g Guard) -> Option<(Block, Found<'g, H>)> {
        let last = Granule(MAX_GRANULES - 1);
        let next = self.next_slot(Granules::new(from, last).ok()?, LEVELS)?;
        let at = from.max(next.at);
        // The word was loaded under the guard: `next_slot` is given none, but
        // ours is pinned.
        let word = next.word;
        let found = match word.descriptor_kind() {
            Some(_) => self.found_word(word, at, guard)?,
            None => self.find(at, guard).or_else(|| self.found_word(word, at, guard))?,
        };
        let block = found.block();
        // Split between the word and its header: the slot is what we know.
        let block = if block.contains(at) { block } else { slot_block(at, next.level) };
        Some((block, found))
    }

    /// The published blocks that share a granule with `range`, in order of
    /// address.
    pub fn iter<'t, 'g>(&'t self, range: Granules, guard: &'g Guard) -> Iter<'t, 'g, H> {
        Iter { tree: self, rest: Some(range), guard }
    }

    /// Whether nothing is published in `range`, at some moment for each part.
    pub fn is_empty_range(&self, range: Granules) -> bool {
        let _guard = pin();
        self.next_slot(range, LEVELS).is_none()
    }

    /// The lowest multiple of `align` in `range` from which nothing is published
    /// for `count` granules of the range; `align` 0 is like 1.
    ///
    /// Walks from block to block, so it takes as long as there are blocks
    /// before the gap.
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
    /// let (range, guard) = (Granules::new(Granule(10), Granule(1 << 30))?, pin());
    /// assert_eq!(tree.first_gap(range, 54, 1, &guard), Some(Granule(10)));
    /// assert_eq!(tree.first_gap(range, 55, 1, &guard), Some(Granule(96)));
    /// assert_eq!(tree.first_gap(range, 64, 64, &guard), Some(Granule(128)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn first_gap(
        &self,
        range: Granules,
        count: u64,
        align: u64,
        guard: &Guard,
    ) -> Option<Granule> {
        let more = count.checked_sub(1)?;
        let aligned = |at: u64| at.checked_next_multiple_of(align.max(1));
        let mut at = aligned(range.first().0)?;
        loop {
            let last = at.checked_add(more).filter(|&last| last <= range.last().0)?;
            match self.next(Granule(at), guard) {
                Some((block, _)) if block.base().0 <= last => at = aligned(block.last().0 + 1)?,
                _ => return Some(Granule(at)),
            }
        }
    }

    /// The first slot below level `below` that holds a block's word and stands
    /// for a granule of `range`.
    pub(crate) fn next_slot(&self, range: Granules, below: u32) -> Option<Next<'_>> {
        (SECTION_LEVEL..below)
            // Levels without a word are not looked at; level 3 always is.
            .filter(|&level| level == SECTION_LEVEL || self.upper_levels() >> level & 1 != 0)
            .filter_map(|level| self.next_in_array(level, range))
            .min_by_key(|next| next.at)
    }

    fn next_in_array(&self, level: u32, range: Granules) -> Option<Next<'_>> {
        let shift = ORDERS_PER_LEVEL * level;
        let last = range.last().0 >> shift;
        let mut from = range.first().0 >> shift;
        while from <= last {
            let (first, group) = self.array(level).next_group(from, last)?;
            // The quick look, before the one that follows links.
            if AtomicWord::all_empty(group) {
                from = first + 64;
                continue;
            }
            // The group's own granules: 64 slots from its first index.
            let start = Granule(range.first().0.max(first << shift));
            let end = Granule(range.last().0.min(last_of_group(first, shift)));
            let part = Granules::new(start, end).ok()?;
            if let Some(next) = self.next_in_node(group, level, part) {
                return Some(next);
            }
            from = first + 64;
        }
        None
    }

    /// The first slot of a group, or of the nodes below it, that holds a
    /// block's word and stands for a granule of `range`, which lies within the
    /// granules of the group.
    pub(crate) fn next_in_node<'a>(
        &'a self,
        group: &'a Group,
        level: u32,
        range: Granules,
    ) -> Option<Next<'a>> {
        let (first, last) = (place_of(range.first(), level), place_of(range.last(), level));
        let mut from = first;
        while let Some((place, word)) = first_used(group, from, last) {
            from = place + 1;
            // The slot's granules: the range has the bits above the group.
            let size = 1u64 << (ORDERS_PER_LEVEL * level);
            let offset = ((place - first) as u64).checked_mul(size)?;
            let at = Granule((range.first().0 & !(size - 1)).checked_add(offset)?);
            let Some(link) = word.link() else {
                return Some(Next { at, level, slot: &group[place], word });
            };
            let part = slot_block(at, level).granules().intersection(range)?;
            let below = self.next_in_node(self.follow(link), level.checked_sub(1)?, part);
            if below.is_some() {
                return below;
            }
        }
        None
    }
}

/// The first place of a group, from `first` to `last`, whose slot holds a word, and
/// that word.
#[inline]
fn first_used(group: &Group, first: usize, last: usize) -> Option<(usize, Word)> {
    let mut place = first;
    while place <= last {
        // `Acquire` pairs with the Release store of a word or a link.
        let word = group[place].load(memdesc::weakened!("next relaxed", Acquire));
        if !word.is_empty() {
            return Some((place, word));
        }
        place += 1;
        // Empty slots come in rows. (Relaxed: any load sees what was published before
        // the walk.)
        while group.get(place..place + 8).is_some_and(AtomicWord::all_empty) {
            place += 8;
        }
    }
    None
}

/// The last granule that the 64 slots from index `first` stand for.
fn last_of_group(first: u64, shift: u32) -> u64 {
    let last = u128::from(first) + 64;
    let last = (last << shift) - 1;
    u64::try_from(last).map_or(MAX_GRANULES - 1, |last| last.min(MAX_GRANULES - 1))
}

/// The blocks of [`Tree::iter`].
pub struct Iter<'t, 'g, H: Home> {
    tree: &'t Tree<H>,
    rest: Option<Granules>,
    guard: &'g Guard,
}

impl<'g, H: Home> Iterator for Iter<'_, 'g, H> {
    type Item = (Block, Found<'g, H>);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let (block, found) = self.tree.next(rest.first(), self.guard)?;
        if block.base() > rest.last() {
            return None;
        }
        self.rest =
            block.last().checked_add(1).and_then(|after| Granules::new(after, rest.last()).ok());
        Some((block, found))
    }
}

impl<H: Home> fmt::Debug for Iter<'_, '_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Iter").field(&self.rest).finish()
    }
}
