//! The leaf: a short cut to the node where somebody works.
//!
//! A walk to the words of a single granule passes six or seven loads that wait
//! for each other. Who publishes and clears again and again within the same 64
//! granules, as a hand does, keeps the node at hand instead.
//!
//! # What always holds
//!
//! - A leaf's node is one of its tree's nodes, which live as long as the leaf:
//!   following it is sound whatever else went wrong.
//! - It is used only if no node of the tree was unlinked since it was looked
//!   up. A node is unlinked by whoever owns all its granules, who counts that
//!   before giving any of them on; so an owner of a granule below the node sees
//!   the count, and with it that the node is still the one.
//! - It serves no tree in which a block of a higher array may lie above.
//!
//! # Sharing and cost
//!
//! One user at a time; two at once may lose words, as breaking the rule of
//! ownership does, and nothing worse. A hit costs three loads of lines that are
//! the user's own, and one of a line that is written when a node is unlinked.

use crate::immediate::take_immediate;
use crate::node::Nodes;
use crate::slots::{covering, place_of};
use crate::sparse::Group;
use crate::tree::Tree;
use alloc::sync::Arc;
use core::fmt;
use memdesc::sync::atomic::Ordering;
use memdesc::sync::own::AtomicU64;
use memdesc::{AtomicWord, Block, Home, Immediate, ORDERS_PER_LEVEL, Order, Word};

/// A short cut into one [`Tree`], made by [`Tree::leaf`].
pub struct Leaf {
    /// None: of no tree, and never any use.
    nodes: Option<Arc<Nodes>>,
    /// Which 64 granules.
    index: AtomicU64,
    /// Nodes unlinked when it was looked up.
    unlinked: AtomicU64,
    /// The link to the node.
    link: AtomicWord,
}

/// No 64 granules: indexes end far below.
const NOWHERE: u64 = u64::MAX;

impl Default for Leaf {
    /// A leaf of no tree.
    fn default() -> Self {
        Self {
            nodes: None,
            index: AtomicU64::new(NOWHERE),
            unlinked: AtomicU64::new(0),
            link: AtomicWord::new(),
        }
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leaf({:#x})", self.index.load(Ordering::Relaxed))
    }
}

impl<H: Home> Tree<H> {
    /// A short cut into this tree, for one user.
    pub fn leaf(&self) -> Leaf {
        Leaf { nodes: Some(Arc::clone(&self.nodes)), ..Leaf::default() }
    }

    /// As [`publish_immediate`](Self::publish_immediate), if the short cut leads
    /// there and the slots are vacant: whether it was done.
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
    /// let leaf = tree.leaf();
    /// let block = |at| Block::new(Granule(at), Order::ZERO);
    /// let raw = Immediate::new(Subtype::Raw, OwnerId(7), Order::ZERO);
    /// assert!(!tree.publish_by(&leaf, block(0)?, raw), "leads nowhere yet");
    /// tree.publish_immediate(block(0)?, raw)?;
    /// tree.lead(&leaf, block(0)?);
    ///
    /// assert!(!tree.publish_by(&leaf, block(0)?, raw), "it is there");
    /// assert!(tree.publish_by(&leaf, block(63)?, raw));
    /// assert!(tree.clear_by(&leaf, block(63)?));
    /// assert!(!tree.clear_by(&leaf, block(63)?), "it is gone");
    /// assert!(!tree.publish_by(&leaf, block(64)?, raw), "another node");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    #[must_use = "if not, it is to be done the long way"]
    pub fn publish_by(&self, leaf: &Leaf, block: Block, immediate: Immediate) -> bool {
        let Some(group) = self.near(leaf, block) else { return false };
        if immediate.order != block.order() {
            return false;
        }
        let word = immediate.pack();
        if block.order() == Order::ZERO {
            let slot = &group[place_of(block.base(), 0)];
            // Relaxed and Release: as in a publication without a short cut.
            let vacant = slot.load(Ordering::Relaxed).is_empty();
            if vacant {
                slot.store(word, memdesc::weakened!("published by a leaf relaxed", Release));
            }
            return vacant;
        }
        publish_in(covering(group, block), word)
    }

    /// As [`clear_immediate`](Self::clear_immediate), if the short cut leads
    /// there and such a word is there: whether it was done.
    #[inline(always)]
    #[must_use = "if not, it is to be done the long way"]
    pub fn clear_by(&self, leaf: &Leaf, block: Block) -> bool {
        let Some(group) = self.near(leaf, block) else { return false };
        if block.order() != Order::ZERO {
            return take_immediate(block, covering(group, block)).is_ok();
        }
        let slot = &group[place_of(block.base(), 0)];
        // Relaxed and AcqRel: as in a clearing without a short cut.
        let own = Immediate::is_of(slot.load(Ordering::Relaxed), Order::ZERO);
        own && !slot
            .swap(Word::EMPTY, memdesc::weakened!("cleared by a leaf relaxed", AcqRel))
            .is_empty()
    }

    /// The node of a block, if the short cut leads there.
    #[inline(always)]
    pub(crate) fn near(&self, leaf: &Leaf, block: Block) -> Option<&Group> {
        let own = leaf.nodes.as_ref().is_some_and(|nodes| Arc::ptr_eq(nodes, &self.nodes));
        // Relaxed, all of them: one user. `unlinked` came to the caller with
        // the granules.
        let here = own
            && block.order().level() == 0
            && leaf.index.load(Ordering::Relaxed) == block.base().0 >> ORDERS_PER_LEVEL
            && leaf.unlinked.load(Ordering::Relaxed) == self.nodes.unlinks()
            && self.upper_levels() == 0;
        if !here {
            return None;
        }
        Some(self.follow(leaf.link.load(Ordering::Relaxed).link()?))
    }

    /// Makes the short cut lead to the node of a block of level 0 that the
    /// caller owns, if it is there.
    #[cold]
    #[inline(never)]
    pub fn lead(&self, leaf: &Leaf, block: Block) {
        let own = leaf.nodes.as_ref().is_some_and(|nodes| Arc::ptr_eq(nodes, &self.nodes));
        if !own || block.order().level() != 0 {
            return;
        }
        // Before the walk: what is unlinked from here on makes it stale.
        leaf.unlinked.store(self.nodes.unlinks(), Ordering::Relaxed);
        let link = self.link_to(block.base()).unwrap_or(Word::EMPTY);
        leaf.link.store(link, Ordering::Relaxed);
        let index = if link.is_empty() { NOWHERE } else { block.base().0 >> ORDERS_PER_LEVEL };
        leaf.index.store(index, Ordering::Relaxed);
    }
}

fn publish_in(slots: &[AtomicWord], word: Word) -> bool {
    // Relaxed and Release: as in a publication without a short cut.
    if !slots.iter().all(|slot| slot.load(Ordering::Relaxed).is_empty()) {
        return false;
    }
    for slot in slots {
        slot.store(word, memdesc::weakened!("published in a leaf relaxed", Release));
    }
    true
}
