//! The leaf: short cuts to the nodes where somebody works.
//!
//! A walk to the words of a single granule passes six or seven loads that wait
//! for each other. Who publishes and clears again and again in the same places,
//! as a hand does, keeps their nodes at hand instead.
//!
//! # Picture
//!
//! ```text
//!  here          one node of level 0      64 granules: where it publishes
//!  sections[8]   nodes of level 2         64^3 granules each, section `s` at `s % 8`:
//!                                         where it publishes next, and what it clears
//! ```
//!
//! # What always holds
//!
//! - A leaf's nodes are some of its tree's, which live as long as the leaf:
//!   following them is sound whatever else went wrong.
//! - A short cut is used only if no node of the tree was unlinked since it was
//!   made. A node is unlinked by whoever owns all its granules, who counts that
//!   before giving any of them on; so an owner of a granule below the node sees
//!   the count, and with it that the node is still the one. Below a section's
//!   node the links are followed as they are.
//! - It serves no tree in which a block of a higher array may lie above: none is
//!   made there, and what was made before counts as if a node had been unlinked.
//!
//! # Sharing and cost
//!
//! One user at a time; two at once may lose words, as breaking the rule of
//! ownership does, and nothing worse. A hit costs four loads of lines that are
//! the user's own, and two of lines that are written when a node is unlinked, if
//! ever; one by way of a section, a load more per level. At the first slot of a
//! line it asks for the next line of the node, to be written.

use crate::immediate::forget_owner;
use crate::node::Nodes;
use crate::publish::{are_of, clear};
use crate::slots::{covering, index_of, place_of};
use crate::sparse::Group;
use crate::tree::{SECTION_LEVEL, Tree};
use alloc::sync::Arc;
use core::fmt;
use core::ptr;
use core::ptr::NonNull;
use memdesc::sync::atomic::{AtomicPtr, Ordering};
use memdesc::sync::barrier;
use memdesc::sync::own::AtomicU64;
use memdesc::{
    AtomicWord, Block, Granule, Home, Immediate, Order, Word, prefetch_to_write, seeded,
};

/// Slots of a line.
const LINE: usize = 8;

/// Sections whose nodes are kept at hand.
const SECTIONS: usize = if cfg!(loom) { 1 } else { 8 };

/// Short cuts into one [`Tree`], made by [`Tree::leaf`].
pub struct Leaf {
    /// Whose; of the one that is made by default, nobody's.
    nodes: Arc<Nodes>,
    here: Way,
    sections: [Way; SECTIONS],
}

/// One short cut.
struct Way {
    /// Which 64 granules, or which section.
    index: AtomicU64,
    /// Nodes unlinked when it was made.
    unlinked: AtomicU64,
    /// The node.
    link: AtomicPtr<()>,
}

/// No 64 granules, and no section: indexes end far below.
const NOWHERE: u64 = u64::MAX;

/// Whether a short cut by way of a section makes `here` lead there as well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    Yes,
    No,
}

// Relaxed, all of a way: one user. `unlinked` came to the caller with the
// granules.
impl Way {
    fn nowhere() -> Self {
        Self {
            index: AtomicU64::new(NOWHERE),
            unlinked: AtomicU64::new(0),
            link: AtomicPtr::new(ptr::null_mut()),
        }
    }

    #[inline(always)]
    fn to(&self, index: u64, unlinks: u64) -> Option<NonNull<()>> {
        let leads = self.index.load(Ordering::Relaxed) == index
            && self.unlinked.load(Ordering::Relaxed) == unlinks;
        if leads { NonNull::new(self.link.load(Ordering::Relaxed)) } else { None }
    }

    fn lead(&self, index: u64, unlinks: u64, link: NonNull<()>) {
        self.unlinked.store(unlinks, Ordering::Relaxed);
        self.link.store(link.as_ptr(), Ordering::Relaxed);
        self.index.store(index, Ordering::Relaxed);
    }
}

impl Leaf {
    fn of(nodes: Arc<Nodes>) -> Self {
        let sections = core::array::from_fn(|_| Way::nowhere());
        Self { nodes, here: Way::nowhere(), sections }
    }
}

impl Default for Leaf {
    /// A leaf of no tree: never any use.
    fn default() -> Self {
        Self::of(Arc::new(Nodes::new()))
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leaf({:#x})", self.here.index.load(Ordering::Relaxed))
    }
}

impl<H: Home> Tree<H> {
    /// Short cuts into this tree, for one user.
    pub fn leaf(&self) -> Leaf {
        Leaf::of(Arc::clone(&self.nodes))
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
    /// assert!(!tree.publish_by(&leaf, block(64)?, raw), "its node is not there yet");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    #[must_use = "if not, it is to be done the long way"]
    pub fn publish_by(&self, leaf: &Leaf, block: Block, immediate: Immediate) -> bool {
        if immediate.order != block.order() {
            return false;
        }
        if block.order() != Order::ZERO {
            return self.publish_run_by(leaf, block, immediate.pack());
        }
        let Some(slot) = self.slot_at_hand(leaf, block.base(), Follow::Yes) else { return false };
        // Relaxed and Release: as in a publication without a short cut.
        let vacant = slot.load(Ordering::Relaxed).is_empty();
        if vacant {
            slot.store(
                immediate.pack(),
                memdesc::weakened!("published by a leaf relaxed", Release),
            );
        }
        vacant
    }

    /// The same of a block of more than one granule.
    #[inline(never)]
    fn publish_run_by(&self, leaf: &Leaf, block: Block, word: Word) -> bool {
        let Some(group) = self.at_hand(leaf, block, Follow::Yes) else { return false };
        publish_in(covering(group, block), word)
    }

    /// As [`clear_immediate`](Self::clear_immediate), if the short cut leads
    /// there and such a word is there: whether it was done.
    ///
    /// Plain loads and stores, and the light side of a barrier: a mark that
    /// [`poison_immediate`](Self::poison_immediate) makes meanwhile may be lost
    /// with the word, but then whoever cleared it finds, after this call, what
    /// the marker had noted before its own.
    #[inline(always)]
    #[must_use = "if not, it is to be done the long way"]
    pub fn clear_by(&self, leaf: &Leaf, block: Block) -> bool {
        if block.order() != Order::ZERO {
            return self.clear_run_by(leaf, block);
        }
        let Some(slot) = self.slot_at_hand(leaf, block.base(), Follow::No) else { return false };
        // Relaxed and Release: the slot is the caller's; whoever sees nothing
        // sees what came before.
        let own = Immediate::is_of(slot.load(Ordering::Relaxed), Order::ZERO);
        if own {
            slot.store(Word::EMPTY, memdesc::weakened!("cleared by a leaf relaxed", Release));
            cleared();
        }
        own
    }

    /// The same of a block of more than one granule.
    #[inline(never)]
    fn clear_run_by(&self, leaf: &Leaf, block: Block) -> bool {
        let group = self.at_hand(leaf, block, Follow::No);
        group.is_some_and(|group| clear_own(block, covering(group, block)))
    }

    /// The node of a block, if a short cut leads there.
    #[inline]
    pub(crate) fn at_hand(&self, leaf: &Leaf, block: Block, follow: Follow) -> Option<&Group> {
        match block.order().level() {
            0 => self.group_at_hand(leaf, block.base(), follow),
            1 if self.is_own(leaf) => self.by_section::<1>(leaf, block.base(), follow),
            2 if self.is_own(leaf) => self.by_section::<2>(leaf, block.base(), follow),
            _ => None,
        }
    }

    /// The slot of a single granule, if a short cut leads to its node.
    #[inline(always)]
    pub(crate) fn slot_at_hand(
        &self,
        leaf: &Leaf,
        at: Granule,
        follow: Follow,
    ) -> Option<&AtomicWord> {
        let (group, place) = (self.group_at_hand(leaf, at, follow)?, place_of(at, 0));
        // Who comes to the first slot of a line comes to the next line before long,
        // which may be with another processor. (Elsewhere: the same line.)
        let ahead = if place.is_multiple_of(LINE) { LINE } else { 0 };
        prefetch_to_write(&raw const group[(place + ahead) % 64]);
        Some(&group[place])
    }

    /// The node of level 0 around a granule, if a short cut leads there.
    #[inline(always)]
    fn group_at_hand(&self, leaf: &Leaf, at: Granule, follow: Follow) -> Option<&Group> {
        if !self.is_own(leaf) {
            return None;
        }
        match leaf.here.to(index_of(at, 1), self.nodes.unlinks()) {
            Some(link) => Some(self.follow(link)),
            None => self.by_section::<0>(leaf, at, follow),
        }
    }

    /// The node of a level below 3, by way of the section. The leaf is ours.
    #[inline(never)]
    fn by_section<const LEVEL: u32>(
        &self,
        leaf: &Leaf,
        at: Granule,
        follow: Follow,
    ) -> Option<&Group> {
        let section = index_of(at, SECTION_LEVEL);
        let unlinks = self.nodes.unlinks();
        let mut link = leaf.sections[section as usize % SECTIONS].to(section, unlinks)?;
        for above in (LEVEL + 1..SECTION_LEVEL).rev() {
            // `Acquire` pairs with the install of the link.
            link = self.follow(link)[place_of(at, above)]
                .load(memdesc::weakened!("way by the section relaxed", Acquire))
                .link()?;
        }
        if LEVEL == 0 && follow == Follow::Yes {
            leaf.here.lead(index_of(at, 1), unlinks, link);
        }
        Some(self.follow(link))
    }

    #[inline(always)]
    fn is_own(&self, leaf: &Leaf) -> bool {
        Arc::ptr_eq(&leaf.nodes, &self.nodes)
    }

    /// Makes a short cut lead to the section of a block that the caller owns, if
    /// it has a node.
    #[cold]
    #[inline(never)]
    pub fn lead(&self, leaf: &Leaf, block: Block) {
        if !self.is_own(leaf) || block.order().level() >= SECTION_LEVEL {
            return;
        }
        // Before the walk: what is unlinked from here on makes it stale.
        let unlinks = self.nodes.unlinks();
        // An owner knows the levels that may be above it, as in a publication.
        if self.upper_levels() != 0 {
            return;
        }
        let section = index_of(block.base(), SECTION_LEVEL);
        if let Some(link) = self.link_to(block.base()).and_then(Word::link) {
            leaf.sections[section as usize % SECTIONS].lead(section, unlinks, link);
        }
    }
}

/// Clears the slots of an immediate block by plain stores, if they are its own:
/// whether it was done.
#[inline]
pub(crate) fn clear_own(block: Block, slots: &[AtomicWord]) -> bool {
    // Relaxed: the slots are the caller's, who knows what it stored.
    let word = slots[0].load(Ordering::Relaxed);
    let own = Immediate::is_of(word, block.order()) && are_of(slots, word);
    if own {
        if memdesc::seeded!("word emptied in two steps") {
            forget_owner(block, slots);
        }
        clear(slots);
        cleared();
    }
    own
}

/// A word was cleared by plain stores.
#[inline(always)]
fn cleared() {
    // Pairs with the heavy side in `poison_immediate`: either the marker finds
    // the word gone, or what we load from here on has what the marker noted.
    if !seeded!("cleared without a barrier") {
        barrier::light();
    }
}

fn publish_in(slots: &[AtomicWord], word: Word) -> bool {
    // Relaxed and Release: as in a publication without a short cut.
    if !AtomicWord::all_empty(slots) {
        return false;
    }
    for slot in slots {
        slot.store(word, memdesc::weakened!("published in a leaf relaxed", Release));
    }
    true
}
