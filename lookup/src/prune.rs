//! Taking nodes out of the tree under which nothing is published any more.
//!
//! A node that was once needed stays when its words are cleared: whoever has the
//! granules next will want it. Where a range leaves for good the nodes go back to
//! the slab, and pages of the slab that are free then to the system.
//!
//! # What always holds
//!
//! As everywhere, a node is unlinked by whoever owns all its granules, who
//! counts that before giving them on; readers on their way through it keep it
//! for a grace period.

use crate::slots::{place_of, slot_block};
use crate::sparse::Group;
use crate::tree::{SECTION_LEVEL, Tree};
use memdesc::sync::atomic::Ordering;
use memdesc::{AtomicWord, Granule, Granules, Home, ORDERS_PER_LEVEL, Word};

impl<H: Home> Tree<H> {
    /// Unlinks empty nodes that stand for granules of `range` alone, which the
    /// caller owns, all of them: from `from` on, and no more than `budget` of
    /// them, each with the 64 below it. Returns where to go on; `None`: done.
    ///
    /// The nodes come back with the next [`settle`](Self::settle), and pages that
    /// are free then go to the system.
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
    /// let block = Block::new(Granule(64), Order::ZERO)?;
    /// let raw = Immediate::new(Subtype::Raw, OwnerId(7), block.order());
    /// tree.publish_immediate(block, raw)?;
    /// tree.clear_immediate(block)?;
    /// assert_eq!(tree.nodes(), 3);
    /// let section = Granules::new(Granule(0), Granule((1 << 18) - 1))?;
    /// assert_eq!(tree.prune(section, Granule(0), 1000), None);
    /// while tree.nodes() != 0 {
    ///     tree.settle();
    ///     pin().flush();
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prune(&self, range: Granules, from: Granule, budget: u32) -> Option<Granule> {
        // Enough to come down to a slot, at least.
        let mut budget = budget.max(2 * SECTION_LEVEL);
        let shift = ORDERS_PER_LEVEL * SECTION_LEVEL;
        let mut from = from.max(range.first());
        while from <= range.last() {
            let (first, group) =
                self.array(SECTION_LEVEL).next_group(from.0 >> shift, range.last().0 >> shift)?;
            from = from.max(Granule(first << shift));
            if from > range.last() {
                return None;
            }
            let stopped = self.prune_group(group, SECTION_LEVEL, range, from, &mut budget);
            if stopped.is_some() {
                return stopped;
            }
            from = Granule((first + 64) << shift);
        }
        None
    }

    /// The same of a group in which `from` lies.
    fn prune_group(
        &self,
        group: &Group,
        level: u32,
        range: Granules,
        from: Granule,
        budget: &mut u32,
    ) -> Option<Granule> {
        let first = place_of(from, level);
        for (at, slot) in (0..).zip(&group[first..]) {
            let size = 1u64 << (ORDERS_PER_LEVEL * level);
            let base = Granule((from.0 & !(size - 1)) + at * size);
            if base > range.last() {
                return None;
            }
            // `Acquire` pairs with the install of the link.
            let word = slot.load(memdesc::weakened!("prune looks relaxed", Acquire));
            let (Some(link), Some(below)) = (word.link(), level.checked_sub(1)) else { continue };
            let start = base.max(from);
            if *budget == 0 {
                return Some(start);
            }
            *budget -= 1;
            let granules = slot_block(base, level).granules();
            let is_whole = range.covers(granules);
            // A node of level 1 goes with what is below it; a larger one last.
            if level > 2 || !is_whole {
                let stopped = self.prune_group(self.follow(link), below, range, start, budget);
                if stopped.is_some() {
                    return stopped;
                }
            }
            if is_whole && self.next_in_node(self.follow(link), below, granules).is_none() {
                self.unlink(slot, word, below);
            }
        }
        None
    }

    /// Takes a link out of a slot, all of whose granules are the caller's.
    fn unlink(&self, slot: &AtomicWord, word: Word, below: u32) {
        // `AcqRel`: the node's state comes along; one exchange gets the link, so
        // one thread retires the node. Failing: somebody breaks the rule, and
        // what is there now is theirs. (No model misses it: all below came to the
        // caller with an order, and the node goes on through the store's lock.)
        let taken = slot.compare_exchange(word, Word::EMPTY, Ordering::AcqRel, Ordering::Relaxed);
        if let Some(link) = word.link().filter(|_| taken.is_ok()) {
            self.nodes.shed();
            self.set_aside(link, below);
        }
    }
}
