//! A sparse array of 64-bit words, present only where somebody wrote.
//!
//! # Picture
//!
//! ```text
//!  roots[0] -> chunk                          words       0 .. 2^9
//!  roots[1] -> table -> chunk                 words     2^9 .. 2^18
//!  roots[2] -> table -> table -> chunk        words    2^18 .. 2^27
//!  ...                                        up to 2^57, level 0 of the whole index space
//! ```
//!
//! # What always holds
//!
//! A word's path is a pure function of its index, so nothing ever grows or
//! moves: a table or chunk, once installed, stays bound to its indexes until
//! the array is dropped. An absent word reads as zero. So a load through a
//! stale index is harmless, and needs no pin.
//!
//! A chunk of which nothing is in use may give its memory back to the system: it
//! reads as zeros, as ever. The first one of an array cannot; nor can tables.
//!
//! # Sharing and cost
//!
//! Any thread may read or install. A word below index `2^18` costs three
//! dependent loads, one more per nine bits above that; only the chunk's line is
//! likely cold. A chunk and a table are 4 KiB each.

use crate::error::OutOfMemory;
use crate::reserve::{Need, Reserve};
use alloc::boxed::Box;
use alloc::vec::Vec;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{Lines, OnceSlot, Owns, Page, PageBox};

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
type Table<N> = Lines<OnceSlot<N, <N as Node>::Own>, FAN>;
pub(crate) type T1 = Table<Paged>;
pub(crate) type T2 = Table<T1>;
pub(crate) type T3 = Table<T2>;
pub(crate) type T4 = Table<T3>;
pub(crate) type T5 = Table<T4>;
pub(crate) type T6 = Table<T5>;

/// A chunk, or a table of them.
pub(crate) trait Node: Sized {
    /// Bits of the index that this and everything below resolve.
    const REACH: u32;
    /// What owns one.
    type Own: Owns<Self>;

    fn fresh() -> Option<Self::Own>;
    fn get(&self, index: u64) -> Option<&AtomicU64>;
    /// The word and those after it in the same chunk.
    fn ahead(&self, index: u64) -> Option<&[AtomicU64]>;
    fn install(&self, index: u64, from: &mut impl Supply) -> Option<&AtomicU64>;
    /// Those that are put by.
    fn kept(reserve: &mut Reserve) -> &mut Vec<Self::Own>;
    fn bytes(&self) -> usize;
    /// Visits the present words of `first..=last`, chunk by chunk; this node's
    /// start at `base`.
    fn visit(&self, base: u64, first: u64, last: u64, visitor: &mut ChunkVisitor<'_>);
    /// Visits the chunks on pages that lie wholly in `first..=last`, until the
    /// visitor says no; returns the first word of that one.
    fn visit_pages(
        &self,
        base: u64,
        first: u64,
        last: u64,
        visitor: &mut PageVisitor<'_>,
    ) -> Option<u64>;
}

/// Where new tables and chunks come from.
pub(crate) trait Supply {
    fn make<N: Node>(&mut self) -> Option<N::Own>;
}

/// From the system.
struct Fresh;

impl Supply for Fresh {
    fn make<N: Node>(&mut self) -> Option<N::Own> {
        N::fresh()
    }
}

/// Is given words that stand side by side, and the index of the first.
type ChunkVisitor<'v> = dyn FnMut(u64, &[AtomicU64]) + 'v;

/// Whether to go on after this chunk.
type PageVisitor<'v> = dyn FnMut(&Paged) -> bool + 'v;

impl Node for Chunk {
    const REACH: u32 = BITS;
    type Own = Box<Self>;

    fn fresh() -> Option<Self::Own> {
        Self::zeroed()
    }

    #[inline(always)]
    fn get(&self, index: u64) -> Option<&AtomicU64> {
        Some(&self[index as usize % FAN])
    }

    #[inline]
    fn ahead(&self, index: u64) -> Option<&[AtomicU64]> {
        Some(&self[index as usize % FAN..])
    }

    fn install(&self, index: u64, _: &mut impl Supply) -> Option<&AtomicU64> {
        self.get(index)
    }

    fn kept(reserve: &mut Reserve) -> &mut Vec<Self::Own> {
        &mut reserve.chunks
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }

    fn visit(&self, base: u64, first: u64, last: u64, visitor: &mut ChunkVisitor<'_>) {
        let (from, to) = (first.max(base), last.min(base + (FAN as u64 - 1)));
        if from <= to {
            visitor(from, &self[(from - base) as usize..=(to - base) as usize]);
        }
    }

    fn visit_pages(&self, _: u64, _: u64, _: u64, _: &mut PageVisitor<'_>) -> Option<u64> {
        None
    }
}

impl Node for Paged {
    const REACH: u32 = BITS;
    type Own = PageBox<Chunk>;

    fn fresh() -> Option<Self::Own> {
        PageBox::zeroed()
    }

    #[inline(always)]
    fn get(&self, index: u64) -> Option<&AtomicU64> {
        (**self).get(index)
    }

    #[inline]
    fn ahead(&self, index: u64) -> Option<&[AtomicU64]> {
        (**self).ahead(index)
    }

    fn install(&self, index: u64, from: &mut impl Supply) -> Option<&AtomicU64> {
        (**self).install(index, from)
    }

    fn kept(reserve: &mut Reserve) -> &mut Vec<Self::Own> {
        &mut reserve.paged
    }

    fn bytes(&self) -> usize {
        (**self).bytes()
    }

    fn visit(&self, base: u64, first: u64, last: u64, visitor: &mut ChunkVisitor<'_>) {
        (**self).visit(base, first, last, visitor);
    }

    fn visit_pages(
        &self,
        base: u64,
        first: u64,
        last: u64,
        visitor: &mut PageVisitor<'_>,
    ) -> Option<u64> {
        let is_inside = first <= base && base + (FAN as u64 - 1) <= last;
        (is_inside && !visitor(self)).then_some(base)
    }
}

impl<N: Tabled> Node for Table<N> {
    const REACH: u32 = BITS + N::REACH;
    type Own = Box<Self>;

    fn fresh() -> Option<Self::Own> {
        Self::zeroed()
    }

    #[inline(always)]
    fn get(&self, index: u64) -> Option<&AtomicU64> {
        self[(index >> N::REACH) as usize % FAN].get()?.get(index)
    }

    #[inline]
    fn ahead(&self, index: u64) -> Option<&[AtomicU64]> {
        self[(index >> N::REACH) as usize % FAN].get()?.ahead(index)
    }

    fn install(&self, index: u64, from: &mut impl Supply) -> Option<&AtomicU64> {
        let slot = &self[(index >> N::REACH) as usize % FAN];
        slot.get_or_install(|| from.make::<N>())?.install(index, from)
    }

    fn kept(reserve: &mut Reserve) -> &mut Vec<Self::Own> {
        N::kept_tables(reserve)
    }

    fn bytes(&self) -> usize {
        let below: usize = self.iter().filter_map(OnceSlot::get).map(N::bytes).sum();
        size_of::<Self>() + below
    }

    fn visit(&self, base: u64, first: u64, last: u64, visitor: &mut ChunkVisitor<'_>) {
        let Some(to) = last.checked_sub(base) else { return };
        let from = first.saturating_sub(base) >> N::REACH;
        for (child, slot) in (0..=to >> N::REACH).zip(self.iter()).skip(from as usize) {
            if let Some(below) = slot.get() {
                below.visit(base + (child << N::REACH), first, last, visitor);
            }
        }
    }

    fn visit_pages(
        &self,
        base: u64,
        first: u64,
        last: u64,
        visitor: &mut PageVisitor<'_>,
    ) -> Option<u64> {
        (0..).zip(self.iter()).find_map(|(child, slot)| {
            let start = base + (child << N::REACH);
            let end = start + ((1 << N::REACH) - 1);
            let below = slot.get().filter(|_| start <= last && first <= end)?;
            below.visit_pages(start, first, last, visitor)
        })
    }
}

/// What a table may be of: says where such tables are put by.
pub(crate) trait Tabled: Node {
    fn kept_tables(reserve: &mut Reserve) -> &mut Vec<Box<Table<Self>>>;
}

macro_rules! tabled {
    ($($node:ty => $kept:ident),*) => {$(
        impl Tabled for $node {
            fn kept_tables(reserve: &mut Reserve) -> &mut Vec<Box<Table<Self>>> {
                &mut reserve.$kept
            }
        }
    )*};
}

tabled!(Paged => t1, T1 => t2, T2 => t3, T3 => t4, T4 => t5, T5 => t6);

/// A sparse array of words.
#[derive(Default)]
pub(crate) struct Words {
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
    /// The word, if it is present.
    #[inline(always)]
    pub(crate) fn get(&self, index: u64) -> Option<&AtomicU64> {
        if index < 1 << Chunk::REACH {
            return self.root0.get()?.get(index);
        }
        if index < 1 << T1::REACH {
            return self.root1.get()?.get(index);
        }
        self.get_far(index)
    }

    /// As [`get`](Self::get), without a call: `None` for words from `2^27` on, too.
    #[inline(always)]
    pub(crate) fn get_near(&self, index: u64) -> Option<&AtomicU64> {
        if index < 1 << Chunk::REACH {
            return self.root0.get()?.get(index);
        }
        if index < 1 << T1::REACH {
            return self.root1.get()?.get(index);
        }
        if index < 1 << T2::REACH {
            return self.root2.get()?.get(index);
        }
        None
    }

    #[inline(never)]
    fn get_far(&self, index: u64) -> Option<&AtomicU64> {
        root!(self, index, |root, N| root.get().and_then(|node: &N| node.get(index)), None)
    }

    /// The word and those that follow it in memory, as far as its chunk goes.
    #[inline]
    pub(crate) fn ahead(&self, index: u64) -> Option<&[AtomicU64]> {
        if (1 << Chunk::REACH..1 << T1::REACH).contains(&index) {
            return self.root1.get()?.ahead(index);
        }
        self.ahead_far(index)
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
        self.visit_pages(first, last, &mut |chunk| {
            let Some(rest) = budget.checked_sub(1) else { return false };
            *budget = rest;
            chunk.give_back();
            true
        })
    }

    /// Bytes of chunks in `first..=last` whose memory can be with the system.
    pub(crate) fn page_bytes(&self, first: u64, last: u64) -> usize {
        let mut bytes = 0;
        if Paged::has_page() {
            self.visit_pages(first, last, &mut |chunk| {
                bytes += chunk.bytes();
                true
            });
        }
        bytes
    }

    fn visit_pages(&self, first: u64, last: u64, visitor: &mut PageVisitor<'_>) -> Option<u64> {
        macro_rules! visit {
            ($($root:ident)*) => {
                $(if let Some(node) = self.$root.get()
                    && let Some(at) = node.visit_pages(0, first, last, visitor)
                {
                    return Some(at);
                })*
            };
        }
        visit!(root1 root2 root3 root4 root5 root6);
        None
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
        roots.into_iter().flatten().sum()
    }
}

impl core::fmt::Debug for Words {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Words({} bytes)", self.bytes())
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
