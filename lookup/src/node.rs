//! Nodes: 64 words, and the slab they come from.
//!
//! # What always holds
//!
//! Memory that was a node once stays a node until the slab is dropped: a stale
//! link leads to a node, if not to the right one. So following a link is sound
//! whatever else went wrong.
//!
//! A node is in one of three states: **free** (in the slab's list, all empty),
//! **attached** (one slot links to it), or **retired** (unlinked, waiting for
//! the readers of that moment). A node is unlinked by a swap of the one slot
//! that links to it, so it is retired once.
//!
//! # Sharing and cost
//!
//! Taking and giving back takes a lock: once per 64 single granules at most.
//! 512 bytes per node. Giving back allocates nothing: the list was made large
//! enough when the nodes were.

use crate::sparse::Group;
use alloc::alloc::{Layout, dealloc};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ptr::NonNull;
use memdesc::sync::Mutex;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{Guard, Word, seeded};

/// 64 words under one slot of the level above.
#[repr(C, align(512))]
pub(crate) struct Node(Group);

#[cfg(not(loom))]
const _: () = assert!(size_of::<Node>() == 512);

/// Nodes of the first slab block, and of the largest.
const FIRST_BLOCK: usize = if cfg!(loom) { 2 } else { 16 };
const LARGEST_BLOCK: usize = 4096;

/// All nodes of one tree.
///
/// # Invariants
///
/// `blocks` holds what was allocated for nodes, all of them initialised; it is
/// freed when this is dropped and not before. `free` holds nodes of `blocks`.
pub(crate) struct Nodes {
    store: Mutex<Store>,
    /// Nodes unlinked so far.
    unlinks: AtomicU64,
}

#[derive(Default)]
struct Store {
    /// Free nodes, all empty. Has room for every node there is.
    free: Vec<NonNull<Node>>,
    blocks: Vec<(NonNull<Node>, usize)>,
    /// Nodes in all blocks.
    made: usize,
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
        Self { store: Mutex::new(Store::default()), unlinks: AtomicU64::new(0) }
    }

    /// Nodes unlinked so far.
    #[inline(always)]
    pub(crate) fn unlinks(&self) -> u64 {
        // Relaxed: it comes to whoever asks with the granules it is about.
        self.unlinks.load(Ordering::Relaxed)
    }

    /// Counts a node that its owner has unlinked just now.
    pub(crate) fn note_unlink(&self) {
        if !seeded!("unlinked without counting") {
            self.unlinks.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An empty node, or `None` when memory is out.
    pub(crate) fn take(&self) -> Option<Spare<'_>> {
        let mut store = self.store.lock();
        if store.free.is_empty() {
            store.grow()?;
        }
        let node = store.free.pop()?;
        Some(Spare { nodes: self, node })
    }

    /// Follows a link.
    ///
    /// # Safety
    ///
    /// `link` was made by [`Spare::link`] of a spare of these nodes.
    #[inline]
    pub(crate) unsafe fn follow(&self, link: NonNull<()>) -> &Group {
        // SAFETY: a node of `blocks`, live as long as `self`, by the invariant.
        let node: &Node = unsafe { link.cast().as_ref() };
        &node.0
    }

    /// An unlinked node and all below it, not yet given back. `level` is the
    /// node's own.
    pub(crate) fn unlinked(self: &Arc<Self>, link: NonNull<()>, level: u32) -> Retired {
        Retired { nodes: self.clone(), link, level }
    }

    /// Nodes in use or retired, and bytes of all there are.
    pub(crate) fn usage(&self) -> (usize, usize) {
        let store = self.store.lock();
        (store.made - store.free.len(), store.made * size_of::<Node>())
    }
}

impl Store {
    /// Makes as many nodes again as there are, within limits.
    fn grow(&mut self) -> Option<()> {
        let count = self.made.clamp(FIRST_BLOCK, LARGEST_BLOCK);
        self.blocks.try_reserve(1).ok()?;
        self.free.try_reserve(self.made + count - self.free.len()).ok()?;
        let block = allocate(count)?;
        // INVARIANT: `count` initialised nodes, remembered until drop.
        self.blocks.push((block, count));
        self.made += count;
        for at in (0..count).rev() {
            // SAFETY: within the block just allocated.
            self.free.push(unsafe { block.add(at) });
        }
        Some(())
    }

    fn give(&mut self, node: NonNull<Node>) {
        // There is room for every node; whatever goes wrong, no allocation.
        if self.free.len() < self.free.capacity() {
            self.free.push(node);
        }
    }
}

fn allocate(count: usize) -> Option<NonNull<Node>> {
    let layout = Layout::array::<Node>(count).ok()?;
    // SAFETY: a node has 64 words, and `count` is at least one block's.
    let block = unsafe { alloc::alloc::alloc_zeroed(layout) }.cast::<Node>();
    let block = NonNull::new(block)?;
    #[cfg(loom)]
    for at in 0..count {
        // SAFETY: within the block just allocated.
        let node = unsafe { block.add(at) };
        // SAFETY: as above; atomics of a model are no plain bytes.
        unsafe { node.write(Node(core::array::from_fn(|_| memdesc::AtomicWord::new()))) };
    }
    // Otherwise zero bytes are empty words: `AtomicWord` is `Zeroed`.
    Some(block)
}

impl Drop for Nodes {
    fn drop(&mut self) {
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        for (block, count) in core::mem::take(&mut self.store.lock().blocks) {
            let Ok(layout) = Layout::array::<Node>(count) else {
                unreachable!("the layout existed when the block was made")
            };
            // SAFETY: allocated with this layout, and nobody follows links any
            // more: that borrows `self`. Atomics need no drop.
            unsafe { dealloc(block.as_ptr().cast(), layout) };
        }
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
        guard.defer(move || batch.into_iter().for_each(Self::give_back));
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
