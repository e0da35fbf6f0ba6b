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
//! # Sharing and cost
//!
//! Any thread. Reading: one load per table on the way, none of which anybody
//! writes after it was installed. A table is 4 KiB.

use alloc::boxed::Box;
use memdesc::{AtomicWord, Lines, OnceSlot};

/// Index bits that one table resolves. Models make do with smaller ones.
const BITS: u32 = if cfg!(any(loom, shuttle)) { 6 } else { 9 };
const FAN: usize = 1 << BITS;
const DEPTHS: u32 = 5;

/// Words that stand side by side: the places of one word of the geometry.
pub(crate) type Group = [AtomicWord; 64];

type Leaf = Lines<AtomicWord, FAN>;
type Table1 = Lines<OnceSlot<Leaf>, FAN>;
type Table2 = Lines<OnceSlot<Table1>, FAN>;
type Table3 = Lines<OnceSlot<Table2>, FAN>;
type Table4 = Lines<OnceSlot<Table3>, FAN>;

/// A sparse array of words; all empty at first. One root per depth.
#[derive(Default)]
pub(crate) struct Sparse(
    OnceSlot<Leaf>,
    OnceSlot<Table1>,
    OnceSlot<Table2>,
    OnceSlot<Table3>,
    OnceSlot<Table4>,
);

/// One table of the array, whatever lies below it. Indexes are relative.
trait Table: Sized {
    /// Index bits resolved here and below.
    const REACH: u32;
    fn make() -> Option<Box<Self>>;
    fn group(&self, index: u64) -> Option<&Group>;
    fn group_or_make(&self, index: u64) -> Option<&Group>;
    /// The first group at or after the one of `from`, and its first index.
    fn next_group(&self, from: u64) -> Option<(u64, &Group)>;
    fn tables(&self) -> usize;
}

impl Table for Leaf {
    const REACH: u32 = BITS;

    fn make() -> Option<Box<Self>> {
        Self::zeroed()
    }

    #[inline]
    fn group(&self, index: u64) -> Option<&Group> {
        // Lossless: below FAN.
        let first = index as usize & (FAN - 1) & !63;
        self[first..first + 64].try_into().ok()
    }

    fn group_or_make(&self, index: u64) -> Option<&Group> {
        self.group(index)
    }

    fn next_group(&self, from: u64) -> Option<(u64, &Group)> {
        Some((from & !63, self.group(from)?))
    }

    fn tables(&self) -> usize {
        1
    }
}

impl<C: Table> Table for Lines<OnceSlot<C>, FAN> {
    const REACH: u32 = BITS + C::REACH;

    fn make() -> Option<Box<Self>> {
        Self::zeroed()
    }

    #[inline]
    fn group(&self, index: u64) -> Option<&Group> {
        self[child_of::<C>(index)].get()?.group(index)
    }

    fn group_or_make(&self, index: u64) -> Option<&Group> {
        self[child_of::<C>(index)].get_or_install(C::make)?.group_or_make(index)
    }

    fn next_group(&self, from: u64) -> Option<(u64, &Group)> {
        let first = child_of::<C>(from);
        (first..FAN).find_map(|child| {
            let below = (1 << C::REACH) - 1;
            let start = if child == first { from & below } else { 0 };
            let (index, group) = self[child].get()?.next_group(start)?;
            Some(((child as u64) << C::REACH | index, group))
        })
    }

    fn tables(&self) -> usize {
        1 + self.iter().filter_map(OnceSlot::get).map(C::tables).sum::<usize>()
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
        with_root!(self, depth(index), root => root.get()?.group(index), else None)
    }

    /// The group of an index, after installing what is missing; `None` when
    /// memory is out, or the index past all tables.
    pub(crate) fn group_or_make(&self, index: u64) -> Option<&Group> {
        with_root!(
            self,
            depth(index),
            root => root.get_or_install(Table::make)?.group_or_make(index),
            else None
        )
    }

    /// The first group that is there at or after the one of `from`, and the
    /// index of its first word.
    pub(crate) fn next_group(&self, from: u64) -> Option<(u64, &Group)> {
        (depth(from)..DEPTHS).find_map(|deep| {
            // The first index of this depth: what is below, a shallower root
            // serves.
            let least = if deep == 0 { 0 } else { 1 << (BITS * deep) };
            let from = from.max(least);
            with_root!(self, deep, root => root.get()?.next_group(from), else None)
        })
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
        while let Some((first, group)) = sparse.next_group(from) {
            let used = (0..64).filter(|&at| !group[at as usize].load(Relaxed).is_empty());
            seen.extend(used.map(|at| first + at));
            from = first + 64;
        }
        assert_eq!(seen, indexes);
    }
}
