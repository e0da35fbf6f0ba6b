//! What an array is made of: chunks, and tables of them.

use super::{BITS, Chunk, FAN, Paged, T1, T2, T3, T4, T5};
use crate::reserve::Reserve;
use alloc::boxed::Box;
use alloc::vec::Vec;
use memdesc::sync::atomic::AtomicU64;
use memdesc::{Lines, OnceSlot, Owns, PageBox};

pub(super) type Table<N> = Lines<OnceSlot<N, <N as Node>::Own>, FAN>;

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
    /// As [`Words::give_back`](super::Words::give_back).
    fn give_back_in(&self, base: u64, first: u64, last: u64, budget: &mut u32) -> Option<u64>;
    /// Bytes of chunks that lie wholly in `first..=last` and that can go back.
    fn page_bytes(&self, base: u64, first: u64, last: u64) -> usize;
}

/// Where new tables and chunks come from.
pub(crate) trait Supply {
    fn make<N: Node>(&mut self) -> Option<N::Own>;
}

/// From the system.
pub(super) struct Fresh;

impl Supply for Fresh {
    fn make<N: Node>(&mut self) -> Option<N::Own> {
        N::fresh()
    }
}

/// Is given words that stand side by side, and the index of the first.
pub(super) type ChunkVisitor<'v> = dyn FnMut(u64, &[AtomicU64]) + 'v;

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

    fn give_back_in(&self, _: u64, _: u64, _: u64, _: &mut u32) -> Option<u64> {
        None
    }

    fn page_bytes(&self, _: u64, _: u64, _: u64) -> usize {
        0
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

    fn give_back_in(&self, base: u64, first: u64, last: u64, budget: &mut u32) -> Option<u64> {
        if !is_inside(base, first, last) {
            return None;
        }
        let Some(rest) = budget.checked_sub(1) else { return Some(base) };
        *budget = rest;
        self.give_back();
        None
    }

    fn page_bytes(&self, base: u64, first: u64, last: u64) -> usize {
        let can_go = Self::has_page() && is_inside(base, first, last);
        usize::from(can_go) * size_of::<Self>()
    }
}

/// Whether a chunk lies wholly in `first..=last`.
pub(super) fn is_inside(base: u64, first: u64, last: u64) -> bool {
    first <= base && base + (FAN as u64 - 1) <= last
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

    fn give_back_in(&self, base: u64, first: u64, last: u64, budget: &mut u32) -> Option<u64> {
        between(self, base, first, last)
            .find_map(|(at, node)| node.give_back_in(at, first, last, budget))
    }

    fn page_bytes(&self, base: u64, first: u64, last: u64) -> usize {
        between(self, base, first, last).map(|(at, node)| node.page_bytes(at, first, last)).sum()
    }
}

/// The nodes of a table that have to do with some words, and the first word of each.
fn between<N: Tabled>(
    table: &Table<N>,
    base: u64,
    first: u64,
    last: u64,
) -> impl Iterator<Item = (u64, &N)> {
    let nodes = (0..).zip(table.iter()).filter_map(|(child, slot)| Some((child, slot.get()?)));
    nodes
        .map(move |(child, node): (u64, &N)| (base + (child << N::REACH), node))
        .filter(move |(at, _)| *at <= last && first <= at + ((1 << N::REACH) - 1))
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
