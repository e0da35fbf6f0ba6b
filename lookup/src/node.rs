//! Nodes: 64 words, and the slab they come from.
//!
//! # What always holds
//!
//! Memory that was a node once stays a node until the slab is dropped: a stale
//! link leads to a node, if not to the right one. So following a link is sound
//! whatever else went wrong.
//!
//! A node is in one of three states: **free** (in the slab's store, all empty),
//! **attached** (one slot links to it), or **retired** (unlinked, waiting for
//! the readers of that moment). A node is unlinked by a swap of the one slot
//! that links to it, so it is retired once.
//!
//! # Sharing and cost
//!
//! Taking and giving back takes a lock: once per 64 single granules at most.
//! 512 bytes per node. Giving back allocates nothing.

use crate::sparse::Group;
use crate::store::Store;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ptr::NonNull;
use memdesc::sync::Mutex;
use memdesc::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use memdesc::{AtomicWord, Blank, Guard, Word, Zeroed, seeded};

/// 64 words under one slot of the level above.
#[repr(C, align(512))]
pub(crate) struct Node(Group);

#[cfg(not(loom))]
const _: () = assert!(size_of::<Node>() == 512);

impl Default for Node {
    fn default() -> Self {
        Self(core::array::from_fn(|_| AtomicWord::new()))
    }
}

// SAFETY: zero bytes are empty words, and so is the default.
unsafe impl Zeroed for Node {}

// SAFETY: words that may turn empty at any time: a link or a word that is lost
// is a walk that ends, a descriptor that leaks.
unsafe impl Blank for Node {
    fn blank(&self) {
        self.0.iter().for_each(|word| word.store(Word::EMPTY, Ordering::Relaxed));
    }
}

/// All nodes of one tree.
///
/// # Invariants
///
/// `store` holds every node there is until this is dropped, and hands out
/// nodes of its own alone.
pub(crate) struct Nodes {
    store: Mutex<Store>,
    /// Whether pages of free nodes are to go back to the system once what is
    /// retired has come back.
    shedding: AtomicBool,
    /// Nodes unlinked so far, and arrays above the sections taken into use.
    unlinks: AtomicU64,
}

// SAFETY: a node is atomics only; the pointers are followed under the rules
// above, which know no thread.
unsafe impl Send for Nodes {}
// SAFETY: as above.
unsafe impl Sync for Nodes {}

/// A node on its way from the slab to a slot, or back if it is not used.
pub(crate) struct Spare<'a> {
    nodes: &'a Nodes,
    node: NonNull<Node>,
}

impl Nodes {
    pub(crate) fn new() -> Self {
        Self {
            store: Mutex::new(Store::default()),
            shedding: AtomicBool::new(false),
            unlinks: AtomicU64::new(0),
        }
    }

    /// A number that goes up with what makes short cuts stale: nodes unlinked so
    /// far, and arrays above the sections taken into use.
    #[inline(always)]
    pub(crate) fn unlinks(&self) -> u64 {
        // Relaxed: it comes to whoever asks with the granules it is about.
        self.unlinks.load(Ordering::Relaxed)
    }

    /// Counts a node that its owner has unlinked just now, or an array.
    pub(crate) fn note_unlink(&self) {
        if !seeded!("unlinked without counting") {
            self.unlinks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An empty node, or `None` when memory is out.
    pub(crate) fn take(&self) -> Option<Spare<'_>> {
        let node = self.store.lock().take()?;
        Some(Spare { nodes: self, node })
    }

    /// Follows a link.
    ///
    /// # Safety
    ///
    /// `link` was made by [`Spare::link`] of a spare of these nodes.
    #[inline]
    pub(crate) unsafe fn follow(&self, link: NonNull<()>) -> &Group {
        // SAFETY: a node of `store`, live as long as `self`, by the invariant.
        let node: &Node = unsafe { link.cast().as_ref() };
        &node.0
    }

    /// An unlinked node and all below it, not yet given back. `level` is the
    /// node's own.
    pub(crate) fn unlinked(self: &Arc<Self>, link: NonNull<()>, level: u32) -> Retired {
        Retired { nodes: self.clone(), link, level }
    }

    /// Lets pages of free nodes go back to the system when the nodes that are
    /// retired now have come back.
    pub(crate) fn shed(&self) {
        // Relaxed: whoever gives nodes back next, and looks.
        self.shedding.store(true, Ordering::Relaxed);
    }

    /// Nodes in use or retired, and bytes of all whose memory is here.
    pub(crate) fn usage(&self) -> (usize, usize) {
        self.store.lock().usage()
    }
}

impl Spare<'_> {
    /// The word that links to the node; the node is the slot's from now on.
    pub(crate) fn link(self) -> Word {
        let word = self.peek_link();
        core::mem::forget(self);
        word
    }

    /// The same, before it is known whether the slot takes it.
    pub(crate) fn peek_link(&self) -> Word {
        Word::of_link(self.node.as_ptr().cast())
    }

    /// The words, to be filled before linking.
    pub(crate) fn words(&self) -> &Group {
        // SAFETY: a node of the slab, which `nodes` keeps.
        let node = unsafe { self.node.as_ref() };
        &node.0
    }
}

impl Drop for Spare<'_> {
    fn drop(&mut self) {
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        for word in self.words() {
            // Relaxed: never linked, so never seen; the lock below orders it.
            word.store(Word::EMPTY, Ordering::Relaxed);
        }
        self.nodes.store.lock().give(self.node);
    }
}

/// A node that no slot links to any more, and what is below it.
pub(crate) struct Retired {
    nodes: Arc<Nodes>,
    link: NonNull<()>,
    level: u32,
}

// SAFETY: the nodes are `Send`, and the link is one of theirs.
unsafe impl Send for Retired {}

impl Retired {
    /// Gives them back once today's readers are gone.
    pub(crate) fn retire_all(batch: Vec<Self>, guard: &Guard) {
        guard.defer(move || {
            let nodes = batch.first().map(|retired| Arc::clone(&retired.nodes));
            batch.into_iter().for_each(Self::give_back);
            if let Some(nodes) = nodes.filter(|nodes| nodes.shedding.swap(false, Ordering::Relaxed))
            {
                nodes.store.lock().give_pages_back();
            }
        });
    }

    pub(crate) fn give_back(self) {
        let mut store = self.nodes.store.lock();
        self.give_tree(&mut store, self.link, self.level);
    }

    fn give_tree(&self, store: &mut Store, link: NonNull<()>, level: u32) {
        // SAFETY: a link that was swapped out of a slot of the tree.
        let words = unsafe { self.nodes.follow(link) };
        for slot in words {
            // Relaxed: the grace period is over, the node is ours.
            let word = slot.load(Ordering::Relaxed);
            if word.is_empty() {
                continue;
            }
            slot.store(Word::EMPTY, Ordering::Relaxed);
            if let (Some(below), Some(level)) = (word.link(), level.checked_sub(1)) {
                self.give_tree(store, below, level);
            }
        }
        store.give(link.cast());
    }
}
