//! One table: where the words of some indexes lie, and which of them may be in use.
//!
//! # Picture
//!
//! ```text
//! Branch  children  [ . T . . T ..   one way down each, or none    ]
//!         used      [ 0 1 0 0 1 ..   a bit per child               ]
//!
//! Leaf    words     [ 64 words | 64 words | ..                     ]
//!         used      [ 0          1          ..   a bit per group   ]
//! ```
//!
//! # What always holds
//!
//! A last table notes which groups of 64 words may be in use, and each table
//! above which of its tables have such groups: noted by whoever is about to
//! store there, before the store, and taken back by whoever owns all granules
//! of the group, or of the table, and found it empty. An owner of a granule
//! sees what the owners before it noted.
//!
//! # Cost
//!
//! A table is 4 KiB and a line. Asking costs a load for each 64 tables of a
//! table and one for each last table.

use super::{BITS, FAN, Group};
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{AtomicWord, Lines, OnceSlot, Zeroed, seeded, zeroed_box};

/// A last table.
#[derive(Default)]
#[repr(C)]
pub(super) struct Leaf {
    words: Lines<AtomicWord, FAN>,
    /// Bit `i`: group `i` may be in use.
    used: AtomicU64,
}

/// A table of tables.
#[repr(C)]
pub(super) struct Branch<C> {
    children: Lines<OnceSlot<C>, FAN>,
    /// One bit per child: groups below it may be in use.
    pub(super) used: Lines<AtomicU64, { FAN / 64 }>,
}

impl<C> Default for Branch<C> {
    fn default() -> Self {
        Self { children: Lines::default(), used: Lines::default() }
    }
}

// SAFETY: empty words and a zero.
unsafe impl Zeroed for Leaf {}
// SAFETY: empty slots and zeros.
unsafe impl<C> Zeroed for Branch<C> {}

/// One table of the array, whatever lies below it. Indexes are relative.
pub(super) trait Table: Sized + Zeroed {
    /// Index bits resolved here and below.
    const REACH: u32;
    fn group(&self, index: u64) -> Option<&Group>;
    /// The group, noted as in use, and whether it was not before.
    fn group_or_make(&self, index: u64) -> Option<(&Group, bool)>;
    /// The first group from the one of `from` to that of `last` that may be in
    /// use, and its first index.
    fn next_group(&self, from: u64, last: u64) -> Option<(u64, &Group)>;
    /// Takes back that the groups from the one of `from` to that of `last` may be
    /// in use: how many were noted.
    fn forget(&self, from: u64, last: u64) -> u64;
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

/// Takes bits back: those that were noted. Others note and take back theirs in the
/// same word meanwhile.
fn take_back(bits: &AtomicU64, mine: u64) -> u64 {
    let noted = bits.load(Ordering::Relaxed) & mine;
    if noted != 0 {
        bits.fetch_and(!noted, Ordering::Relaxed);
    }
    noted
}

/// The bits of a word from `first` to `last`.
fn between(first: usize, last: usize) -> u64 {
    !0 << first & !0 >> (63 - last)
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

    fn forget(&self, from: u64, last: u64) -> u64 {
        // Lossless: below FAN.
        let mine = between(from as usize / 64, last as usize / 64);
        if seeded!("group forgotten by a plain store") {
            let used = self.used.load(Ordering::Relaxed);
            self.used.store(used & !mine, Ordering::Relaxed);
            return u64::from((used & mine).count_ones());
        }
        u64::from(take_back(&self.used, mine).count_ones())
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
        note(&self.used[child / 64], child % 64);
        below.group_or_make(index)
    }

    fn next_group(&self, from: u64, last: u64) -> Option<(u64, &Group)> {
        parts::<C>(from, last).find_map(|part| {
            let mut used = self.used[part.at].load(Ordering::Relaxed) & part.mine;
            while used != 0 {
                let child = part.at * 64 + used.trailing_zeros() as usize;
                used &= used - 1;
                let (start, stop) = within::<C>(child, from, last);
                if let Some((index, group)) = self.children[child].get()?.next_group(start, stop) {
                    return Some(((child as u64) << C::REACH | index, group));
                }
            }
            None
        })
    }

    fn forget(&self, from: u64, last: u64) -> u64 {
        let mut forgotten = 0;
        for Part { at, mine } in parts::<C>(from, last) {
            let mut used = self.used[at].load(Ordering::Relaxed) & mine;
            let mut whole = 0;
            while used != 0 {
                let child = at * 64 + used.trailing_zeros() as usize;
                let (start, stop) = within::<C>(child, from, last);
                // All of it: nobody else has a granule there to note.
                if (start, stop) == (0, inner::<C>()) {
                    whole |= used & used.wrapping_neg();
                }
                used &= used - 1;
                if let Some(below) = self.children[child].get() {
                    forgotten += below.forget(start, stop);
                }
            }
            if whole == 0 {
                continue;
            }
            if seeded!("table forgotten by a plain store") {
                let used = self.used[at].load(Ordering::Relaxed);
                self.used[at].store(used & !whole, Ordering::Relaxed);
                continue;
            }
            take_back(&self.used[at], whole);
        }
        forgotten
    }

    fn tables(&self) -> usize {
        1 + self.children.iter().filter_map(OnceSlot::get).map(C::tables).sum::<usize>()
    }
}

#[inline]
fn child_of<C: Table>(index: u64) -> usize {
    (index >> C::REACH) as usize & (FAN - 1)
}

/// The last index below one child.
const fn inner<C: Table>() -> u64 {
    (1 << C::REACH) - 1
}

/// Some of a table's children: bits of one word.
struct Part {
    at: usize,
    mine: u64,
}

/// The children from that of index `from` to that of `last`.
fn parts<C: Table>(from: u64, last: u64) -> impl Iterator<Item = Part> {
    let (first, end) = (child_of::<C>(from), child_of::<C>(last));
    (first / 64..=end / 64).map(move |at| {
        let low = if at == first / 64 { first % 64 } else { 0 };
        let high = if at == end / 64 { end % 64 } else { 63 };
        Part { at, mine: between(low, high) }
    })
}

/// What of the indexes from `from` to `last` lies below a child.
fn within<C: Table>(child: usize, from: u64, last: u64) -> (u64, u64) {
    let start = if child == child_of::<C>(from) { from & inner::<C>() } else { 0 };
    let stop = if child == child_of::<C>(last) { last & inner::<C>() } else { inner::<C>() };
    (start, stop)
}
