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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::ram::{Folio, Ram};
    use memdesc::{Fresh, Immediate, Kinds, Order, OwnerId, Subtype, Word};

    fn block(at: u64, order: u32) -> Block {
        Block::new(Granule(at), Order::new(order).unwrap()).unwrap()
    }

    fn raw(order: u32) -> Immediate {
        Immediate::new(Subtype::Raw, OwnerId(1), Order::new(order).unwrap())
    }

    /// A tree of one block at 8 and one beside it, and its slots.
    fn tree() -> Tree<Ram> {
        let tree = Tree::new();
        tree.publish_immediate(block(8, 3), raw(3)).unwrap();
        tree.publish_immediate(block(4, 2), raw(2)).unwrap();
        let said = Summary { immediates: 2, granules: 12, attached_nodes: 3, descriptors: 0 };
        assert_eq!(tree.validate(), Ok(said));
        tree
    }

    fn slot(tree: &Tree<Ram>, at: u64, level: u32) -> &memdesc::AtomicWord {
        let place = (at >> (ORDERS_PER_LEVEL * level) & 63) as usize;
        &tree.group_at(Granule(at), level).unwrap()[place]
    }

    #[test]
    fn a_slot_that_does_not_name_its_block_is_named() {
        let others = [Word::EMPTY, raw(3).with_cookie(7).pack(), raw(2).pack(), raw(6).pack()];
        for (at, other) in (8..16).flat_map(|at| others.map(|other| (at, other))) {
            let tree = tree();
            slot(&tree, at, 0).store(other, Ordering::Relaxed);
            // Found at the first slot that disagrees, or at the first of the block.
            let Err(LookupError::Inconsistent { at: named }) = tree.validate() else {
                panic!("{other:?} at {at} is not noticed");
            };
            assert!(block(8, 3).covers(named), "{named:?}");
        }
        let tree = tree();
        slot(&tree, 15, 0).store(raw(3).pack().poisoned(), Ordering::Relaxed);
        assert!(tree.validate().is_ok(), "poisoned or not");
    }

    /// At the very place of its group where the block's slot would be: of another
    /// level, and of another group.
    #[test]
    fn a_word_that_is_not_at_home_is_named() {
        let tree = tree();
        tree.publish_immediate(block(65, 0), raw(0)).unwrap();
        slot(&tree, 65, 0).store(raw(6).pack(), Ordering::Relaxed);
        assert_eq!(tree.validate(), Err(LookupError::Inconsistent { at: block(65, 0) }));

        let (ram, tree) = (memdesc::Keep::new(Ram(Kinds::new())), Tree::new());
        ram.kinds().register::<Folio>().unwrap();
        let folio = Fresh::of(&ram, OwnerId(1), Folio).ok().unwrap();
        let folio = tree.publish(block(8, 0), folio).unwrap();
        tree.publish_immediate(block(64 + 8, 0), raw(0)).unwrap();
        slot(&tree, 64 + 8, 0).store(folio.word(), Ordering::Relaxed);
        assert_eq!(tree.validate(), Err(LookupError::Inconsistent { at: block(64 + 8, 0) }));
    }

    #[test]
    fn a_link_where_none_can_be_is_named() {
        let at = |level| Err(LookupError::Inconsistent { at: slot_block(Granule(1 << 30), level) });
        let link = tree().link_to(Granule(8)).unwrap();
        for level in [0, 4, 5] {
            let tree = tree();
            let order = ORDERS_PER_LEVEL * level;
            let word = raw(order);
            tree.publish_immediate(block(1 << 30, order), word).unwrap();
            slot(&tree, 1 << 30, level).store(link, Ordering::Relaxed);
            assert_eq!(tree.validate(), at(level));
        }
    }

    #[test]
    fn what_lives_under_a_block_above_the_sections_overlaps_it() {
        for (order, at) in [(24, 1 << 20), (30, 5 << 24)] {
            let tree = Tree::<Ram>::new();
            tree.publish_immediate(block(0, order), raw(order)).unwrap();
            // By its word alone, past the refusal.
            let large = slot(&tree, 0, order / 6).swap(Word::EMPTY, Ordering::Relaxed);
            let small = if order == 24 { 0 } else { 24 };
            tree.publish_immediate(block(at, small), raw(small)).unwrap();
            slot(&tree, 0, order / 6).store(large, Ordering::Relaxed);
            let Err(LookupError::Overlap { asked, found }) = tree.validate() else {
                panic!("2^{small} lives under 2^{order}, unnoticed");
            };
            assert_eq!(asked, block(0, order));
            assert!(found.contains(Granule(at)));
        }
        // What lives beside it does not.
        let tree = Tree::<Ram>::new();
        tree.publish_immediate(block(0, 24), raw(24)).unwrap();
        tree.publish_immediate(block(1 << 24, 0), raw(0)).unwrap();
        tree.publish_immediate(block(1 << 30, 24), raw(24)).unwrap();
        let said = tree.validate().unwrap();
        assert_eq!((said.immediates, said.granules), (3, (2 << 24) + 1));
    }

    #[test]
    fn a_dead_descriptor_that_is_named_still_is_noticed() {
        let ram = memdesc::Keep::new(Ram(Kinds::new()));
        ram.kinds().register::<Folio>().unwrap();
        let tree = Tree::<Ram>::new();
        let folio = Fresh::of(&ram, OwnerId(1), Folio).ok().unwrap();
        let folio = tree.publish(block(8, 1), folio).unwrap();
        let said = tree.validate().unwrap();
        assert_eq!((said.descriptors, said.granules), (1, 2));
        drop(folio);
        let dead = LookupError::Inconsistent { at: block(8, 1) };
        assert_eq!(tree.validate(), Err(dead));
    }
}
