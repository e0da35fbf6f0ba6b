//! A sparse array of 64-bit words, present only where somebody wrote.
//!
//! # Picture
//!
//! ```text
//!  near     -> chunk 0 | chunk 1 | ..         words below its length, side by side
//!  roots[0] -> chunk                          others   0 .. 2^9
//!  roots[1] -> table -> chunk                        2^9 .. 2^18
//!  roots[2] -> table -> table -> chunk              2^18 .. 2^27
//!  ...                                        up to 2^57, level 0 of the whole index space
//! ```
//!
//! Words that are known to be wanted when the array is made are *near*: one address for
//! all of them. Others hang in tables: of what is added later and lies far up, of an
//! index space too large to be mapped, and where there are no pages to map.
//!
//! # What always holds
//!
//! A word's path is a pure function of its index, so nothing ever grows or
//! moves: a table or chunk, once installed, stays bound to its indexes until
//! the array is dropped. An absent word reads as zero. So a load through a
//! stale index is harmless, and needs no pin.
//!
//! A chunk of which nothing is in use may give its memory back to the system: it
//! reads as zeros, as ever. The first one of a table cannot, nor can those of a small
//! array, nor tables.
//!
//! # Sharing and cost
//!
//! Any thread may read or install. A near word costs no load that waits for another
//! (its array's address and length lie in the array); one in tables two below index
//! `2^18`, one more per nine bits above that. A chunk and a
//! table are 4 KiB each, near chunks that are absent address space alone.

mod near;
mod node;

use crate::error::OutOfMemory;
use crate::reserve::{Need, Reserve};
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{Lines, OnceSlot, Page};
use near::Near;
use node::{Fresh, Table};
pub(crate) use node::{Node, Supply};

/// Bits of the index that one table or chunk resolves.
#[cfg(not(any(loom, shuttle)))]
const BITS: u32 = 9;
/// Small in models, where each atomic costs.
#[cfg(any(loom, shuttle))]
const BITS: u32 = 2;

/// Words of a chunk, and slots of a table.
pub(crate) const FAN: usize = 1 << BITS;

/// The first chunk: of every array, so in a box, where it shares its cache sets
/// with nobody in particular.
pub(crate) type Chunk = Lines<AtomicU64, FAN>;
/// Any other: on a page, whose memory can go back.
pub(crate) type Paged = Page<Chunk>;
pub(crate) type T1 = Table<Paged>;
pub(crate) type T2 = Table<T1>;
pub(crate) type T3 = Table<T2>;
pub(crate) type T4 = Table<T3>;
pub(crate) type T5 = Table<T4>;
pub(crate) type T6 = Table<T5>;

/// A sparse array of words.
#[derive(Default)]
pub(crate) struct Words {
    near: Near,
    root0: OnceSlot<Chunk>,
    root1: OnceSlot<T1>,
    root2: OnceSlot<T2>,
    root3: OnceSlot<T3>,
    root4: OnceSlot<T4>,
    root5: OnceSlot<T5>,
    root6: OnceSlot<T6>,
}

/// The same step for whichever root serves the index.
macro_rules! root {
    ($words:expr, $index:expr, |$root:ident, $node:ident| $step:expr, $beyond:expr) => {{
        match (64 - ($index).leading_zeros()).div_ceil(BITS) {
            0 | 1 => root!(@ $words, root0, Chunk, $root, $node, $step),
            2 => root!(@ $words, root1, T1, $root, $node, $step),
            3 => root!(@ $words, root2, T2, $root, $node, $step),
            4 => root!(@ $words, root3, T3, $root, $node, $step),
            5 => root!(@ $words, root4, T4, $root, $node, $step),
            6 => root!(@ $words, root5, T5, $root, $node, $step),
            7 => root!(@ $words, root6, T6, $root, $node, $step),
            _ => $beyond,
        }
    }};
    (@ $words:expr, $field:ident, $type:ty, $root:ident, $node:ident, $step:expr) => {{
        let $root = &$words.$field;
        type $node = $type;
        $step
    }};
}

impl Words {
    /// An array whose words up to `last` will be wanted, and none from `reach` on,
    /// which is above.
    pub(crate) fn up_to(last: u64, reach: u64) -> Self {
        Self { near: Near::up_to(last, reach), ..Self::default() }
    }

    /// The word; of an absent one nothing, or a zero.
    #[inline(always)]
    pub(crate) fn get(&self, index: u64) -> Option<&AtomicU64> {
        match self.near.get(index) {
            Some(word) => Some(word),
            None => self.get_far(index),
        }
    }

    /// As [`get`](Self::get), without a call: `None` for words that are not near.
    #[inline(always)]
    pub(crate) fn get_near(&self, index: u64) -> Option<&AtomicU64> {
        // In models nothing is near: what they run is to be what programs run.
        if cfg!(any(loom, shuttle)) {
            return self.get_far(index);
        }
        self.near.get(index)
    }

    #[inline(never)]
    fn get_far(&self, index: u64) -> Option<&AtomicU64> {
        root!(self, index, |root, N| root.get().and_then(|node: &N| node.get(index)), None)
    }

    /// Whether the word was made present.
    #[inline]
    pub(crate) fn has(&self, index: u64) -> bool {
        self.near.has(index).unwrap_or_else(|| self.get_far(index).is_some())
    }

    /// The word and those that follow it in memory, as far as its chunk goes; as
    /// [`get`](Self::get) where it is absent.
    #[inline]
    pub(crate) fn ahead(&self, index: u64) -> Option<&[AtomicU64]> {
        match self.near.ahead(index) {
            Some(words) => Some(words),
            None => self.ahead_far(index),
        }
    }

    #[inline(never)]
    fn ahead_far(&self, index: u64) -> Option<&[AtomicU64]> {
        root!(self, index, |root, N| root.get().and_then(|node: &N| node.ahead(index)), None)
    }

    /// The word's value; 0 where it is absent.
    #[inline]
    pub(crate) fn load(&self, index: u64) -> u64 {
        // Acquire: whoever finds a bit sees what its giver did before. (No model
        // misses it: bits are taken by an exchange that acquires, and what is
        // decided by a look is decided while every hand is closed.)
        self.get(index).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// The word, made present.
    pub(crate) fn install(&self, index: u64) -> Result<&AtomicU64, OutOfMemory> {
        self.install_from(index, &mut Fresh)
    }

    /// The word, made present by what was put by: nothing is allocated.
    pub(crate) fn install_kept(
        &self,
        index: u64,
        reserve: &mut Reserve,
    ) -> Result<&AtomicU64, OutOfMemory> {
        self.install_from(index, reserve)
    }

    fn install_from(&self, index: u64, from: &mut impl Supply) -> Result<&AtomicU64, OutOfMemory> {
        if let Some(word) = self.near.install(index) {
            return Ok(word);
        }
        root!(
            self,
            index,
            |root, N| root
                .get_or_install(|| from.make::<N>())
                .and_then(|node| node.install(index, from)),
            None
        )
        .ok_or(OutOfMemory)
    }

    /// Adds up what making any one word up to `last` present can take.
    pub(crate) fn add_need(&self, last: u64, need: &mut Need) {
        if self.near.has(last).is_some() {
            return;
        }
        need.chunks += usize::from(self.root0.get().is_none());
        let root = (64 - last.leading_zeros()).div_ceil(BITS).saturating_sub(1) as usize;
        if root == 0 {
            return;
        }
        need.paged += 1;
        let is_there = [
            self.root1.get().is_some(),
            self.root2.get().is_some(),
            self.root3.get().is_some(),
            self.root4.get().is_some(),
            self.root5.get().is_some(),
            self.root6.get().is_some(),
        ];
        // Below the deepest root one table of each kind; that root itself is
        // wanted once.
        for (at, tables) in need.tables.iter_mut().enumerate().take(root) {
            *tables += usize::from(at + 1 < root || !is_there[at]);
        }
    }

    /// Visits the words of `first..=last` that are present.
    pub(crate) fn visit(&self, first: u64, last: u64, mut visitor: impl FnMut(u64, &AtomicU64)) {
        // In here, so that a chunk costs one call by address, and not each word.
        let mut visitor = |from: u64, words: &[AtomicU64]| {
            (from..).zip(words).for_each(|(index, word)| visitor(index, word));
        };
        self.near.visit(first, last, &mut visitor);
        macro_rules! visit {
            ($($root:ident)*) => {
                $(if let Some(node) = self.$root.get() {
                    node.visit(0, first, last, &mut visitor);
                })*
            };
        }
        visit!(root0 root1 root2 root3 root4 root5 root6);
    }

    /// Gives back the memory of chunks on pages that lie wholly in
    /// `first..=last`, of which no word is in use and none gets into use before
    /// this has returned. At most `budget` of them; returns the first word that
    /// is left.
    pub(crate) fn give_back(&self, first: u64, last: u64, budget: &mut u32) -> Option<u64> {
        if let Some(at) = self.near.give_back(first, last, budget) {
            return Some(at);
        }
        macro_rules! give_back {
            ($($root:ident)*) => {
                $(if let Some(node) = self.$root.get()
                    && let Some(at) = node.give_back_in(0, first, last, budget)
                {
                    return Some(at);
                })*
            };
        }
        give_back!(root1 root2 root3 root4 root5 root6);
        None
    }

    /// Bytes of chunks in `first..=last` whose memory can be with the system.
    pub(crate) fn page_bytes(&self, first: u64, last: u64) -> usize {
        let mut bytes = self.near.page_bytes(first, last);
        macro_rules! add {
            ($($root:ident)*) => {
                $(if let Some(node) = self.$root.get() {
                    bytes += node.page_bytes(0, first, last);
                })*
            };
        }
        add!(root1 root2 root3 root4 root5 root6);
        bytes
    }

    /// Bytes of tables and chunks.
    pub(crate) fn bytes(&self) -> usize {
        let roots = [
            self.root0.get().map(Node::bytes),
            self.root1.get().map(Node::bytes),
            self.root2.get().map(Node::bytes),
            self.root3.get().map(Node::bytes),
            self.root4.get().map(Node::bytes),
            self.root5.get().map(Node::bytes),
            self.root6.get().map(Node::bytes),
        ];
        self.near.bytes() + roots.into_iter().flatten().sum::<usize>()
    }
}

impl core::fmt::Debug for Words {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Words({} bytes)", self.bytes())
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
