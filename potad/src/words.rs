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
use memdesc::sync::atomic::AtomicU64;
use memdesc::{Lines, OnceSlot, Owns, Page, PageBox};

/// Bits of the index that one table or chunk resolves.
#[cfg(not(loom))]
const BITS: u32 = 9;
/// Small in models, where each atomic costs.
#[cfg(loom)]
const BITS: u32 = 2;

/// Words of a chunk, and slots of a table.
pub(crate) const FAN: usize = 1 << BITS;

/// The first chunk: of every array, so in a box, where it shares its cache sets
/// with nobody in particular.
type Chunk = Lines<AtomicU64, FAN>;
/// Any other: on a page, whose memory can go back.
type Paged = Page<Chunk>;
type Table<N> = Lines<OnceSlot<N, <N as Node>::Own>, FAN>;
type T1 = Table<Paged>;
type T2 = Table<T1>;
type T3 = Table<T2>;
type T4 = Table<T3>;
type T5 = Table<T4>;
type T6 = Table<T5>;

/// A chunk, or a table of them.
trait Node: Sized {
    /// Bits of the index that this and everything below resolve.
    const REACH: u32;
    /// What owns one.
    type Own: Owns<Self>;

    fn fresh() -> Option<Self::Own>;
    fn get(&self, index: u64) -> Option<&AtomicU64>;
    /// The word and those after it in the same chunk.
    fn ahead(&self, index: u64) -> Option<&[AtomicU64]>;
    fn install(&self, index: u64) -> Option<&AtomicU64>;
    fn bytes(&self) -> usize;
    /// Visits the present words of `first..=last`; this node's start at `base`.
    fn visit(&self, base: u64, first: u64, last: u64, visitor: &mut dyn FnMut(u64, &AtomicU64));
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

/// Whether to go on after this chunk.
type PageVisitor<'v> = dyn FnMut(&Paged) -> bool + 'v;

impl Node for Chunk {
    const REACH: u32 = BITS;
    type Own = alloc::boxed::Box<Self>;

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

    fn install(&self, index: u64) -> Option<&AtomicU64> {
        self.get(index)
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }

    fn visit(&self, base: u64, first: u64, last: u64, visitor: &mut dyn FnMut(u64, &AtomicU64)) {
        for (index, word) in (base..).zip(self.iter()) {
            if (first..=last).contains(&index) {
                visitor(index, word);
            }
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

    fn install(&self, index: u64) -> Option<&AtomicU64> {
        (**self).install(index)
    }

    fn bytes(&self) -> usize {
        (**self).bytes()
    }

    fn visit(&self, base: u64, first: u64, last: u64, visitor: &mut dyn FnMut(u64, &AtomicU64)) {
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

impl<N: Node> Node for Table<N> {
    const REACH: u32 = BITS + N::REACH;
    type Own = alloc::boxed::Box<Self>;

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

    fn install(&self, index: u64) -> Option<&AtomicU64> {
        self[(index >> N::REACH) as usize % FAN].get_or_install(N::fresh)?.install(index)
    }

    fn bytes(&self) -> usize {
        let below: usize = self.iter().filter_map(OnceSlot::get).map(N::bytes).sum();
        size_of::<Self>() + below
    }

    fn visit(&self, base: u64, first: u64, last: u64, visitor: &mut dyn FnMut(u64, &AtomicU64)) {
        for (child, slot) in (0..).zip(self.iter()) {
            let start = base + (child << N::REACH);
            let end = start + ((1 << N::REACH) - 1);
            if let Some(below) = slot.get().filter(|_| start <= last && first <= end) {
                below.visit(start, first, last, visitor);
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

    #[inline(never)]
    fn get_far(&self, index: u64) -> Option<&AtomicU64> {
        root!(self, index, |root, N| root.get().and_then(|node: &N| node.get(index)), None)
    }

    /// The word and those that follow it in memory, as far as its chunk goes.
    #[inline]
    pub(crate) fn ahead(&self, index: u64) -> Option<&[AtomicU64]> {
        root!(self, index, |root, N| root.get().and_then(|node: &N| node.ahead(index)), None)
    }

    /// The word's value; 0 where it is absent.
    #[inline]
    pub(crate) fn load(&self, index: u64) -> u64 {
        // Acquire: whoever finds a bit sees what its giver did before.
        self.get(index)
            .map_or(0, |word| word.load(memdesc::weakened!("word is seen relaxed", Acquire)))
    }

    /// The word, made present.
    pub(crate) fn install(&self, index: u64) -> Result<&AtomicU64, OutOfMemory> {
        root!(
            self,
            index,
            |root, N| root.get_or_install(N::fresh).and_then(|node| node.install(index)),
            None
        )
        .ok_or(OutOfMemory)
    }

    /// Visits the words of `first..=last` that are present.
    pub(crate) fn visit(&self, first: u64, last: u64, mut visitor: impl FnMut(u64, &AtomicU64)) {
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
mod tests {
    use super::*;

    #[test]
    fn an_absent_word_is_zero_and_an_installed_one_stays() {
        let words = Words::default();
        let edges = [0, 511, 512, (1 << 18) - 1, 1 << 18, (1 << 36) + 7, (1 << 57) - 1];
        for (value, index) in (1..).zip(edges) {
            assert_eq!(words.load(index), 0);
            words.install(index).unwrap().store(value, memdesc::sync::atomic::Ordering::Relaxed);
        }
        for (value, index) in (1..).zip(edges) {
            assert_eq!(words.load(index), value, "word {index:#x}");
        }
        assert!(words.bytes() >= 7 * 4096);
        assert_eq!(words.install(u64::MAX).map(|_| ()), Err(OutOfMemory));
    }
}
