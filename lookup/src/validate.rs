//! Looking at the whole tree.

use crate::LookupError;
use crate::publish::all_name;
use crate::slots::{covering, slot_block};
use crate::sparse::Group;
use crate::tree::{SECTION_LEVEL, Tree};
use memdesc::sync::atomic::Ordering;
use memdesc::{Block, Found, Granule, Guard, Home, LEVELS, ORDERS_PER_LEVEL, pin};

/// What [`Tree::validate`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Blocks with a descriptor.
    pub descriptors: u64,
    /// Blocks with an immediate word.
    pub immediates: u64,
    /// Granules of all these; 2^63 fits.
    pub granules: u64,
    /// Nodes linked from some slot.
    pub attached_nodes: u64,
}

/// A walk over everything.
struct Walk<'t, 'g, H: Home> {
    tree: &'t Tree<H>,
    guard: &'g Guard,
    summary: Summary,
}

impl<H: Home> Tree<H> {
    /// Walks the whole tree and checks that each slot is explained by one
    /// block, which lives at the slot's level and has its word in all its
    /// slots, and that no two blocks overlap.
    ///
    /// For a tree that nobody changes meanwhile; beside a writer it may report
    /// what was half done.
    pub fn validate(&self) -> Result<Summary, LookupError> {
        let guard = pin();
        let mut walk = Walk { tree: self, guard: &guard, summary: Summary::default() };
        for level in SECTION_LEVEL..LEVELS {
            let mut from = 0;
            while let Some((first, group)) = self.array(level).next_group(from, u64::MAX) {
                walk.group(group, level, Granule(first << (ORDERS_PER_LEVEL * level)))?;
                from = first + 64;
            }
        }
        Ok(walk.summary)
    }
}

impl<H: Home> Walk<'_, '_, H> {
    fn group(&mut self, group: &Group, level: u32, base: Granule) -> Result<(), LookupError> {
        let size = 1u64 << (ORDERS_PER_LEVEL * level);
        for (place, slot) in group.iter().enumerate() {
            let word = slot.load(Ordering::Acquire);
            if word.is_empty() {
                continue;
            }
            let at = Granule(base.0 + place as u64 * size);
            let inconsistent = LookupError::Inconsistent { at: slot_block(at, level) };
            if let Some(link) = word.link() {
                if level == 0 || level > SECTION_LEVEL {
                    return Err(inconsistent);
                }
                self.summary.attached_nodes += 1;
                self.group(self.tree.follow(link), level - 1, at)?;
                continue;
            }
            let found = self.tree.found_word(word, at, self.guard).ok_or(inconsistent)?;
            let block = found.block();
            let lives_here = block.order().level() == level && block.contains(at);
            if !lives_here || !all_name(covering(group, block), word) {
                return Err(inconsistent);
            }
            if block.base() == at {
                self.block(block, &found, level)?;
            }
        }
        Ok(())
    }

    fn block(&mut self, block: Block, found: &Found<'_, H>, level: u32) -> Result<(), LookupError> {
        let overlap = |found| LookupError::Overlap { asked: block, found };
        // Above the sections, what lies below is in other arrays.
        if level > SECTION_LEVEL
            && let Some(next) = self.tree.next_slot(block.granules(), level)
        {
            return Err(overlap(slot_block(next.at, next.level)));
        }
        match found {
            Found::Descriptor(peeked) if peeked.header().is_dead() => {
                return Err(LookupError::Inconsistent { at: block });
            }
            Found::Descriptor(_) => self.summary.descriptors += 1,
            Found::Immediate(..) => self.summary.immediates += 1,
        }
        self.summary.granules += block.order().granules();
        Ok(())
    }
}
