//! Where nodes are when no slot links to them.
//!
//! # Picture
//!
//! ```text
//!  block 0 (by address)   free  1101 1111 .. one bit per node; 8 of them are a page
//!  block 1                gone  ...1         pages whose memory the system has
//! ```
//!
//! # What always holds
//!
//! A node whose bit is set is free, and all empty; so a page of which all bits
//! are set may go, and what is there when it comes back is empty nodes.
//!
//! # Cost
//!
//! Behind one lock: taking looks at words of 64 bits, giving searches the block
//! by its address. Nothing is allocated by giving.

use crate::node::Node;
use alloc::vec::Vec;
use core::ptr::NonNull;
use memdesc::PageArray;

/// Nodes of the first block, and of the largest. (In models enough for the first
/// block to do: which of two blocks a node is taken from is up to their addresses,
/// and then a model would not run twice in the same way.)
const FIRST_BLOCK: usize = if cfg!(any(loom, shuttle)) { 6 } else { 16 };
const LARGEST_BLOCK: usize = 4096;

/// Nodes of a page.
const PER_PAGE: usize = 8;

/// The nodes of one tree.
///
/// # Invariants
///
/// `blocks` holds all nodes there are, in the order of their addresses; none
/// leaves before this is dropped.
#[derive(Default)]
pub(crate) struct Store {
    blocks: Vec<Block>,
    /// Blocks before this one have no free node.
    open: usize,
    /// Nodes in all blocks, and those of them that are free.
    made: usize,
    free: usize,
}

struct Block {
    nodes: PageArray<Node>,
    /// Bit `i`: node `i` is free.
    free: Vec<u64>,
    /// Bit `i`: the system has the memory of page `i`.
    gone: Vec<u64>,
    free_nodes: usize,
}

impl Store {
    /// Takes a node, all empty; `None` when memory is out.
    pub(crate) fn take(&mut self) -> Option<NonNull<Node>> {
        if self.free == 0 {
            self.grow()?;
        }
        while self.blocks.get(self.open)?.free_nodes == 0 {
            self.open += 1;
        }
        self.free -= 1;
        self.blocks[self.open].take()
    }

    /// Makes as many nodes again as there are, within limits.
    fn grow(&mut self) -> Option<()> {
        let count = self.made.clamp(FIRST_BLOCK, LARGEST_BLOCK);
        self.blocks.try_reserve(1).ok()?;
        let block = Block::new(count)?;
        let at = self.blocks.partition_point(|other| other.base() < block.base());
        self.blocks.insert(at, block);
        self.open = at;
        self.made += count;
        self.free += count;
        Some(())
    }

    /// Takes a node back that nobody uses any more, all empty.
    pub(crate) fn give(&mut self, node: NonNull<Node>) {
        let address = node.as_ptr().addr();
        let after = self.blocks.partition_point(|block| block.base() <= address);
        let Some(at) = after.checked_sub(1) else { return };
        if self.blocks[at].give(address) {
            self.free += 1;
            self.open = self.open.min(at);
        }
    }

    /// Gives the memory of pages on which every node is free to the system.
    pub(crate) fn give_pages_back(&mut self) {
        self.blocks.iter_mut().for_each(Block::give_pages_back);
    }

    /// Nodes that are not free, and bytes of all whose memory is not with the
    /// system.
    pub(crate) fn usage(&self) -> (usize, usize) {
        let gone: usize = self.blocks.iter().map(Block::gone_nodes).sum();
        (self.made - self.free, (self.made - gone) * size_of::<Node>())
    }
}

impl Block {
    fn new(count: usize) -> Option<Self> {
        let nodes = PageArray::zeroed(count)?;
        let mut free = bits(count)?;
        for at in 0..count {
            free[at / 64] |= 1 << (at % 64);
        }
        Some(Self { nodes, free, gone: bits(count.div_ceil(PER_PAGE))?, free_nodes: count })
    }

    fn base(&self) -> usize {
        self.nodes.as_ptr().addr().get()
    }

    fn take(&mut self) -> Option<NonNull<Node>> {
        let at = self.free.iter().position(|&free| free != 0)?;
        let node = at * 64 + self.free[at].trailing_zeros() as usize;
        self.free[at] &= self.free[at] - 1;
        self.free_nodes -= 1;
        let page = node / PER_PAGE;
        self.gone[page / 64] &= !(1 << (page % 64));
        self.nodes.get(node).map(NonNull::from)
    }

    /// Whether it was not free yet.
    fn give(&mut self, address: usize) -> bool {
        let node = (address - self.base()) / size_of::<Node>();
        let (at, bit) = (node / 64, 1 << (node % 64));
        if node >= self.nodes.len() || self.free[at] & bit != 0 {
            return false;
        }
        self.free[at] |= bit;
        self.free_nodes += 1;
        true
    }

    fn give_pages_back(&mut self) {
        let pages = self.nodes.len() / PER_PAGE;
        let mut page = 0;
        while page < pages {
            let from = page;
            while page < pages && self.is_idle(page) {
                page += 1;
            }
            if self.nodes.give_back(from * PER_PAGE..page * PER_PAGE) != 0 {
                (from..page).for_each(|page| self.gone[page / 64] |= 1 << (page % 64));
            }
            page = page.max(from + 1);
        }
    }

    /// Whether every node of a page is free, and its memory still here.
    fn is_idle(&self, page: usize) -> bool {
        let first = page * PER_PAGE;
        let all = self.free[first / 64] >> (first % 64) & 0xff == 0xff;
        all && self.gone[page / 64] >> (page % 64) & 1 == 0
    }

    fn gone_nodes(&self) -> usize {
        let pages: u32 = self.gone.iter().map(|gone| gone.count_ones()).sum();
        pages as usize * PER_PAGE
    }
}

/// Bits, all clear; `None` when memory is out.
fn bits(count: usize) -> Option<Vec<u64>> {
    let mut words = Vec::new();
    words.try_reserve_exact(count.div_ceil(64)).ok()?;
    words.resize(count.div_ceil(64), 0);
    Some(words)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_came_back_to_any_block_is_taken_again_before_more_is_made() {
        let mut store = Store::default();
        let take = |store: &mut Store, count: usize| {
            let mut taken: Vec<_> = (0..count).map(|_| store.take().unwrap()).collect();
            taken.sort();
            taken
        };
        let all = take(&mut store, 16 + 16 + 32 + 64);
        assert!(all.is_sorted_by(|one, other| one < other), "none is given out twice");
        assert_eq!((store.blocks.len(), store.usage().0), (4, 128));
        for every in [3, 7, 50] {
            let back: Vec<_> = all.iter().copied().step_by(every).collect();
            back.iter().for_each(|&node| store.give(node));
            assert_eq!(store.usage().0, 128 - back.len());
            assert_eq!(take(&mut store, back.len()), back);
            assert_eq!((store.made, store.usage().0), (128, 128));
        }
        take(&mut store, 1);
        assert_eq!(store.made, 256);
    }

    /// A page that is taken from again has memory again, and can go again.
    #[test]
    fn memory_that_went_is_counted_again_when_it_is_taken() {
        let mut store = Store::default();
        let mut least = None;
        for _ in 0..2 {
            let all: Vec<_> = (0..128).map(|_| store.take().unwrap()).collect();
            assert_eq!(store.usage(), (128, 128 * size_of::<Node>()));
            all.into_iter().for_each(|node| store.give(node));
            store.give_pages_back();
            assert_eq!(*least.get_or_insert(store.usage()), store.usage());
        }
        if cfg!(all(target_os = "linux", not(miri))) {
            assert_eq!(least, Some((0, 0)), "all of it went");
        }
    }
}
