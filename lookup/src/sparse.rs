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
//! are empty there. A last table notes which groups of 64 words may be in use,
//! and each table above which of its tables have such groups: noted by whoever
//! is about to store there, before the store, and taken back by whoever owns all
//! granules of the group, or of the table, and found it empty. An owner of a
//! granule sees what the owners before it noted. How many groups are noted is
//! counted, while the one who notes still owns granules there; so who owns all
//! of some groups and finds no count knows that none of them is noted.
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
    /// One bit per child: groups below it may be in use.
    used: Lines<AtomicU64, { FAN / 64 }>,
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
            sparse.forget(index, index);
        }
        assert!(sparse.next_group(0, u64::MAX).is_none());
        assert!(sparse.is_unused(), "what was noted was counted, and taken back once");
        sparse.forget(indexes[0], indexes[0]);
        assert!(sparse.is_unused());
        sparse.group_or_make(indexes[0]);
        sparse.group_or_make(indexes[0]);
        assert!(!sparse.is_unused());
        sparse.forget(indexes[0], indexes[0]);
        assert!(sparse.is_unused());
    }

    #[test]
    fn what_is_taken_back_is_not_looked_at_again() {
        let sparse = Sparse::default();
        let in_use = |from, last| sparse.next_group(from, last).map(|(first, _)| first);
        // Two groups of one last table, one of the next, one of a root's own.
        for index in [5, 512, 700, 1024] {
            sparse.group_or_make(index).unwrap();
        }
        assert_eq!(sparse.tables(), 1 + (1 + 2), "two roots, and two below the second");
        let noted = |at: usize| sparse.1.get().unwrap().used[at].load(Relaxed);
        sparse.forget(512, 575);
        assert_eq!(noted(0), 0b110, "a part of a table");
        assert_eq!(in_use(6, 2000), Some(0));
        assert_eq!(in_use(64, 2000), Some(640));
        sparse.forget(512, 1023);
        assert_eq!(noted(0), 0b100, "all of it");
        assert_eq!(in_use(64, 2000), Some(1024));
        sparse.group_or_make(1023).unwrap();
        assert_eq!((noted(0), in_use(64, 2000)), (0b110, Some(960)));
        assert!(!sparse.is_unused());
        sparse.forget(0, (1 << 18) - 1);
        assert!(sparse.is_unused());
        assert_eq!((noted(0), in_use(0, u64::MAX)), (0, None));
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

    /// The parts of a range are all of it, once and in order, each of one depth.
    #[test]
    fn a_range_is_parted_by_depths_without_a_gap() {
        let edges = (0..=DEPTHS).map(|deep| 1_u64 << (BITS * deep).min(62));
        let edges: Vec<_> = edges.flat_map(|edge| [edge - 1, edge, edge + 1]).collect();
        for (&from, &last) in edges.iter().flat_map(|from| edges.iter().map(move |o| (from, o))) {
            if from > last || depth(last) >= DEPTHS {
                continue;
            }
            let (mut next, mut deepest) = (from, None);
            for (deep, first, end) in by_depth(from, last) {
                assert_eq!(first, next, "{from:#x}..={last:#x}");
                assert!(first <= end && depth(first) == deep && depth(end) == deep);
                assert!(deepest < Some(deep), "each once");
                (next, deepest) = (end + 1, Some(deep));
            }
            assert_eq!(next, last + 1, "{from:#x}..={last:#x}");
        }
    }
}
