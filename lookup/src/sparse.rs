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
//! are empty there. Tables note which groups of 64 words may be in use (see
//! `table`). How many groups are noted is counted, while the one who notes still
//! owns granules there; so who owns all of some groups and finds no count knows
//! that none of them is noted.
//!
//! # Sharing and cost
//!
//! Any thread. Reading: one load per table on the way, none of which anybody
//! writes after it was installed. Asking costs what it costs in the tables, or
//! one load in all where nothing is noted.

mod table;

use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{AtomicWord, OnceSlot, seeded, zeroed_box};
use table::{Branch, Leaf, Table};

/// Index bits that one table resolves. Models make do with smaller ones.
const BITS: u32 = if cfg!(any(loom, shuttle)) { 7 } else { 9 };
const FAN: usize = 1 << BITS;
const DEPTHS: u32 = 5;

/// Words that stand side by side: the places of one word of the geometry.
pub(crate) type Group = [AtomicWord; 64];

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
        // In this order: the least index is the most common.
        if index < 1 << Leaf::REACH {
            return self.0.get()?.group(index);
        }
        if Self::is_far(index) {
            return self.group_far(index);
        }
        self.group_near(index)
    }

    /// Whether an index is one of those that hardly anybody has.
    #[inline]
    pub(crate) fn is_far(index: u64) -> bool {
        index >= 1 << Table2::REACH
    }

    /// The same as [`group`](Self::group) of an index that is not far, without a
    /// call.
    #[inline]
    pub(crate) fn group_near(&self, index: u64) -> Option<&Group> {
        // Nearly always: 512 sections are half a tebibyte of 4 KiB.
        if index < 1 << Leaf::REACH {
            return self.0.get()?.group(index);
        }
        if index < 1 << Table1::REACH {
            return self.1.get()?.group(index);
        }
        self.2.get()?.group(index)
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn group_far(&self, index: u64) -> Option<&Group> {
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
        by_depth(from, last).find_map(|(deep, from, last)| {
            with_root!(self, deep, root => root.get()?.next_group(from, last), else None)
        })
    }

    /// Takes back that the groups from the one of `from` to that of `last` may be
    /// in use. The caller owns all their granules, and found them empty.
    pub(crate) fn forget(&self, from: u64, last: u64) {
        let forget_below = |(deep, from, last)| {
            with_root!(
                self,
                deep,
                root => root.get().map_or(0, |root| root.forget(from, last)),
                else 0
            )
        };
        let forgotten: u64 = by_depth(from, last).map(forget_below).sum();
        if forgotten == 0 {
            return;
        }
        if seeded!("noted groups counted by a plain store") {
            let count = self.5.0.load(Ordering::Relaxed);
            return self.5.0.store(count - forgotten, Ordering::Relaxed);
        }
        self.5.0.fetch_sub(forgotten, Ordering::Relaxed);
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

/// The indexes from `from` to `last`, by the root that serves them.
fn by_depth(from: u64, last: u64) -> impl Iterator<Item = (u32, u64, u64)> {
    (depth(from)..=depth(last).min(DEPTHS - 1)).map(move |deep| {
        let least = if deep == 0 { 0 } else { 1 << (BITS * deep) };
        (deep, from.max(least), last.min((1 << (BITS * (deep + 1))) - 1))
    })
}

#[cfg(all(test, not(loom)))]
mod tests;
