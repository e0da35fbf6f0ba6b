//! The sparse array: one word per index, present only where it was asked for.
//!
//! # Picture
//!
//! ```text
//! index below 2^9  -> roots.0 -> 512 words
//! index below 2^18 -> roots.1 -> 512 tables -> 512 words
//! index below 2^27 -> roots.2 -> ..                       up to 2^45
//! ```
//!
//! # What always holds
//!
//! How deep an index lies is a function of the index, so a small resource has
//! a shallow array and nothing ever has to grow. Tables are installed once and
//! stay until the array is dropped: a slot found is a slot for good.
//!
//! # What may be in the way
//!
//! Whoever publishes in an array of a high level asks whether the arrays below
//! are empty there. A table notes which of its tables are there, and the last
//! one which groups of 64 words may be in use: noted by whoever is about to
//! store there, before the store, and taken back by whoever owns all granules
//! of a group and found it empty. An owner of a granule sees what the owners
//! before it noted. How many groups are noted is counted, while the one who
//! notes still owns granules there; so who owns all of some groups and finds no
//! count knows that none of them is noted.
//!
//! # Sharing and cost
//!
//! Any thread. Reading: one load per table on the way, none of which anybody
//! writes after it was installed. A table is 4 KiB and a line. Asking costs a
//! load for each 64 tables of a table and one for each last table, or one in all
//! where nothing is noted.

use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{AtomicWord, Lines, OnceSlot, Zeroed, seeded, zeroed_box};

/// Index bits that one table resolves. Models make do with smaller ones.
const BITS: u32 = if cfg!(any(loom, shuttle)) { 7 } else { 9 };
const FAN: usize = 1 << BITS;
const DEPTHS: u32 = 5;

/// Words that stand side by side: the places of one word of the geometry.
pub(crate) type Group = [AtomicWord; 64];

/// A last table.
#[derive(Default)]
#[repr(C)]
pub(crate) struct Leaf {
    words: Lines<AtomicWord, FAN>,
    /// Bit `i`: group `i` may be in use.
    used: AtomicU64,
}

/// A table of tables.
#[repr(C)]
pub(crate) struct Branch<C> {
    children: Lines<OnceSlot<C>, FAN>,
    /// One bit per child that is there.
    present: Lines<AtomicU64, { FAN / 64 }>,
}

impl<C> Default for Branch<C> {
    fn default() -> Self {
        Self { children: Lines::default(), present: Lines::default() }
    }
}

// SAFETY: empty words and a zero.
unsafe impl Zeroed for Leaf {}
// SAFETY: empty slots and zeros.
unsafe impl<C> Zeroed for Branch<C> {}

type Table1 = Branch<Leaf>;
type Table2 = Branch<Table1>;
type Table3 = Branch<Table2>;
type Table4 = Branch<Table3>;

/// A sparse array of words; all empty at first. One root per depth.
#[derive(Default)]
pub(crate) struct Sparse(
    OnceSlot<Leaf>,
    OnceSlot<Table1>,
    OnceSlot<Table2>,
    OnceSlot<Table3>,
    OnceSlot<Table4>,
    Noted,
);

/// How many groups are noted as in use.
#[derive(Default)]
struct Noted(AtomicU64);

/// One table of the array, whatever lies below it. Indexes are relative.
trait Table: Sized + Zeroed {
    /// Index bits resolved here and below.
    const REACH: u32;
    fn group(&self, index: u64) -> Option<&Group>;
    /// The group, noted as in use, and whether it was not before.
    fn group_or_make(&self, index: u64) -> Option<(&Group, bool)>;
    /// The first group from the one of `from` to that of `last` that may be in
    /// use, and its first index.
    fn next_group(&self, from: u64, last: u64) -> Option<(u64, &Group)>;
    /// Takes back that the group of an index may be in use: whether it was noted.
    fn forget(&self, index: u64) -> bool;
    fn tables(&self) -> usize;
}

/// Notes a bit, which most often is noted: whether it was not.
#[inline]
fn note(bits: &AtomicU64, bit: usize) -> bool {
    // Relaxed, here and where bits are read, taken back or counted: it comes to
    // whoever may rely on it with the granules it is about.
    bits.load(Ordering::Relaxed) >> bit & 1 == 0
        && bits.fetch_or(1 << bit, Ordering::Relaxed) >> bit & 1 == 0
}

impl Table for Leaf {
    const REACH: u32 = BITS;

    #[inline]
    fn group(&self, index: u64) -> Option<&Group> {
        // Lossless: below FAN.
        let first = index as usize & (FAN - 1) & !63;
        self.words[first..first + 64].try_into().ok()
    }

    #[inline]
    fn group_or_make(&self, index: u64) -> Option<(&Group, bool)> {
        let is_new = note(&self.used, (index as usize & (FAN - 1)) / 64);
        Some((self.group(index)?, is_new))
    }

    fn next_group(&self, from: u64, last: u64) -> Option<(u64, &Group)> {
        let used = self.used.load(Ordering::Relaxed) & (!0 << (from / 64));
        let first = u64::from(used.trailing_zeros()) * 64;
        if used == 0 || first > last { None } else { Some((first, self.group(first)?)) }
    }

    fn forget(&self, index: u64) -> bool {
        let bit = 1 << ((index as usize & (FAN - 1)) / 64);
        if seeded!("group forgotten by a plain store") {
            let used = self.used.load(Ordering::Relaxed);
            self.used.store(used & !bit, Ordering::Relaxed);
            return used & bit != 0;
        }
        self.used.fetch_and(!bit, Ordering::Relaxed) & bit != 0
    }

    fn tables(&self) -> usize {
        1
    }
}

impl<C: Table> Table for Branch<C> {
    const REACH: u32 = BITS + C::REACH;

    #[inline]
    fn group(&self, index: u64) -> Option<&Group> {
        self.children[child_of::<C>(index)].get()?.group(index)
    }

    #[inline]
    fn group_or_make(&self, index: u64) -> Option<(&Group, bool)> {
        let child = child_of::<C>(index);
        let below = self.children[child].get_or_install(zeroed_box)?;
        // Whoever installed it may not have come so far yet.
        note(&self.present[child / 64], child % 64);
        below.group_or_make(index)
    }

    fn next_group(&self, from: u64, last: u64) -> Option<(u64, &Group)> {
        let (first, end) = (child_of::<C>(from), child_of::<C>(last));
        let inner = (1 << C::REACH) - 1;
        (first / 64..=end / 64).find_map(|at| {
            let mut present = self.present[at].load(Ordering::Relaxed);
            if at == first / 64 {
                present &= !0 << (first % 64);
            }
            while present != 0 {
                let child = at * 64 + present.trailing_zeros() as usize;
                present &= present - 1;
                if child > end {
                    return None;
                }
                let start = if child == first { from & inner } else { 0 };
                let stop = if child == end { last & inner } else { inner };
                if let Some((index, group)) = self.children[child].get()?.next_group(start, stop) {
                    return Some(((child as u64) << C::REACH | index, group));
                }
            }
            None
        })
    }

    fn forget(&self, index: u64) -> bool {
        self.children[child_of::<C>(index)].get().is_some_and(|below| below.forget(index))
    }

    fn tables(&self) -> usize {
        1 + self.children.iter().filter_map(OnceSlot::get).map(C::tables).sum::<usize>()
    }
}

#[inline]
fn child_of<C: Table>(index: u64) -> usize {
    (index >> C::REACH) as usize & (FAN - 1)
}

/// Calls `$body` with `$root` as the root that serves depth `$depth`.
macro_rules! with_root {
    ($sparse:expr, $depth:expr, $root:ident => $body:expr, else $none:expr) => {{
        let roots: &Sparse = $sparse;
        match $depth {
            0 => {
                let $root = &roots.0;
                $body
            }
            1 => {
                let $root = &roots.1;
                $body
            }
            2 => {
                let $root = &roots.2;
                $body
            }
            3 => {
                let $root = &roots.3;
                $body
            }
            4 => {
                let $root = &roots.4;
                $body
            }
            _ => $none,
        }
    }};
}

impl Sparse {
    /// The group of an index, if its tables are there.
    #[inline]
    pub(crate) fn group(&self, index: u64) -> Option<&Group> {
        // Nearly always: 512 sections are half a tebibyte of 4 KiB.
        if index < 1 << Leaf::REACH {
            return self.0.get()?.group(index);
        }
        if index < 1 << Table1::REACH {
            return self.1.get()?.group(index);
        }
        self.group_far(index)
    }

    #[inline(never)]
    fn group_far(&self, index: u64) -> Option<&Group> {
        with_root!(self, depth(index), root => root.get()?.group(index), else None)
    }

    /// The group of an index, after installing what is missing; `None` when
    /// memory is out, or the index past all tables.
    pub(crate) fn group_or_make(&self, index: u64) -> Option<&Group> {
        let (group, is_new) = with_root!(
            self,
            depth(index),
            root => root.get_or_install(zeroed_box)?.group_or_make(index)?,
            else return None
        );
        if is_new {
            self.5.0.fetch_add(1, Ordering::Relaxed);
        }
        Some(group)
    }

    /// Whether no group is noted, of those at least whose granules the caller
    /// owns.
    #[inline]
    pub(crate) fn is_unused(&self) -> bool {
        self.5.0.load(Ordering::Relaxed) == 0
    }

    /// The first group from the one of `from` to that of `last` that may be in
    /// use, and the index of its first word.
    pub(crate) fn next_group(&self, from: u64, last: u64) -> Option<(u64, &Group)> {
        (depth(from)..=depth(last).min(DEPTHS - 1)).find_map(|deep| {
            // The indexes of this depth: others are another root's.
            let least = if deep == 0 { 0 } else { 1 << (BITS * deep) };
            let from = from.max(least);
            let last = last.min((1 << (BITS * (deep + 1))) - 1);
            with_root!(self, deep, root => root.get()?.next_group(from, last), else None)
        })
    }

    /// Takes back that the group of an index may be in use. The caller owns all
    /// its granules, and found it empty.
    pub(crate) fn forget(&self, index: u64) {
        let was_noted = with_root!(
            self,
            depth(index),
            root => root.get().is_some_and(|root| root.forget(index)),
            else false
        );
        if !was_noted {
            return;
        }
        if seeded!("noted groups counted by a plain store") {
            let count = self.5.0.load(Ordering::Relaxed);
            return self.5.0.store(count - 1, Ordering::Relaxed);
        }
        self.5.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Tables that are there.
    pub(crate) fn tables(&self) -> usize {
        (0..DEPTHS)
            .filter_map(
                |deep| with_root!(self, deep, root => Some(root.get()?.tables()), else None),
            )
            .sum()
    }

    /// Bytes of one table.
    pub(crate) const TABLE_BYTES: usize = size_of::<Leaf>();
}

/// Which root serves an index.
#[inline]
fn depth(index: u64) -> u32 {
    index.checked_ilog2().unwrap_or(0) / BITS
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use memdesc::sync::atomic::Ordering::Relaxed;
    use memdesc::{Immediate, Order, OwnerId, Subtype};

    #[test]
    fn every_index_has_its_own_word() {
        let sparse = Sparse::default();
        let mut indexes: Vec<u64> = (0..45).flat_map(|bit| [1 << bit, (1 << bit) - 1]).collect();
        indexes.push((1 << 45) - 1);
        indexes.sort_unstable();
        indexes.dedup();
        let word_of = |at: usize| {
            let owner = OwnerId(u16::try_from(at).unwrap());
            Immediate::new(Subtype::Raw, owner, Order::ZERO).pack()
        };
        for (at, &index) in indexes.iter().enumerate() {
            assert!(index < 1 << 9 || sparse.group(index).is_none() || at > 0);
            let group = sparse.group_or_make(index).unwrap();
            group[(index & 63) as usize].store(word_of(at), Relaxed);
        }
        for (at, &index) in indexes.iter().enumerate() {
            let group = sparse.group(index).unwrap();
            assert_eq!(group[(index & 63) as usize].load(Relaxed), word_of(at));
        }
        let mut seen = Vec::new();
        let mut from = 0;
        while let Some((first, group)) = sparse.next_group(from, u64::MAX) {
            let used = (0..64).filter(|&at| !group[at as usize].load(Relaxed).is_empty());
            seen.extend(used.map(|at| first + at));
            from = first + 64;
        }
        assert_eq!(seen, indexes);
        assert!(sparse.next_group(indexes[7] + 64, indexes[8].next_multiple_of(64) - 64).is_none());
        assert!(!sparse.is_unused());
        for &index in &indexes {
            sparse.forget(index);
        }
        assert!(sparse.next_group(0, u64::MAX).is_none());
        assert!(sparse.is_unused(), "what was noted was counted, and taken back once");
        sparse.forget(indexes[0]);
        assert!(sparse.is_unused());
        sparse.group_or_make(indexes[0]);
        sparse.group_or_make(indexes[0]);
        assert!(!sparse.is_unused());
        sparse.forget(indexes[0]);
        assert!(sparse.is_unused());
    }

    #[test]
    fn the_next_group_is_the_first_noted_one_of_the_range() {
        let children = [1, 2, 63, 64, 65, 200, 511];
        let mut noted: Vec<u64> = [0, 1, 5, 7].map(|group| group * 64).into();
        noted.extend(children.iter().flat_map(|child| [child << 9, child << 9 | 320]));
        noted.extend(children.iter().flat_map(|child| [child << 18 | 64, child << 18 | 511 << 9]));
        noted.push(1 << 36);
        let sparse = Sparse::default();
        for &first in noted.iter().rev() {
            sparse.group_or_make(first + 7).unwrap();
        }
        let near = |&first: &u64| [first, first + 1, first + 63, first + 64, first.max(1) - 1];
        let mut ends: Vec<u64> = noted.iter().flat_map(near).collect();
        ends.extend([511, 512, (1 << 18) - 1, 1 << 18, (1 << 27) - 1, 1 << 27, 1 << 45, u64::MAX]);
        for (&from, &last) in ends.iter().flat_map(|from| ends.iter().map(move |last| (from, last)))
        {
            if from <= last {
                let is_next = |&&first: &&u64| first + 63 >= from && first <= last;
                let next = sparse.next_group(from, last).map(|(first, _)| first);
                assert_eq!(next.as_ref(), noted.iter().find(is_next), "{from:#x}..={last:#x}");
            }
        }
        let (first, group) = sparse.next_group(130, 1 << 9).unwrap();
        assert!(core::ptr::eq(group, sparse.group(first).unwrap()));
    }
}
