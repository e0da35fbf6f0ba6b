//! What not to try again for a while: ranges that were declined or failed.
//!
//! # What always holds
//!
//! The entries are disjoint, so the entry that overlaps a range is the last one
//! that begins at or before its end. At most `room` entries: when full, what
//! expires first makes way, which costs a try, not a block.
//!
//! # Cost
//!
//! A look is one search of a B-tree and nothing at all while it is empty.

use crate::range::ByteRange;
use alloc::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
struct Entry {
    range: ByteRange,
    until: u64,
}

/// Ranges to leave alone, each until its time.
#[derive(Debug)]
pub(crate) struct SkipList {
    entries: BTreeMap<u64, Entry>,
    room: usize,
}

impl SkipList {
    pub(crate) fn new(room: usize) -> Self {
        Self { entries: BTreeMap::new(), room }
    }

    /// Whether part of `range` is to be left alone at `now`.
    pub(crate) fn covers(&mut self, range: ByteRange, now: u64) -> bool {
        while let Some(entry) = self.overlapping(range) {
            if now < entry.until {
                return true;
            }
            self.entries.remove(&entry.range.first());
        }
        false
    }

    /// Leaves `range` alone until then.
    pub(crate) fn insert(&mut self, range: ByteRange, until: u64, now: u64) {
        if self.room == 0 {
            return;
        }
        while let Some(entry) = self.overlapping(range) {
            self.entries.remove(&entry.range.first());
        }
        if self.entries.len() >= self.room {
            self.make_room(now);
        }
        self.entries.insert(range.first(), Entry { range, until });
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    fn overlapping(&self, range: ByteRange) -> Option<Entry> {
        let (_, last) = self.entries.range(..=range.last()).next_back()?;
        last.range.overlaps(range).then_some(*last)
    }

    #[cold]
    fn make_room(&mut self, now: u64) {
        self.entries.retain(|_, entry| now < entry.until);
        if self.entries.len() < self.room {
            return;
        }
        let soonest = self.entries.iter().min_by_key(|(_, entry)| entry.until);
        if let Some((&first, _)) = soonest {
            self.entries.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, bytes: u64) -> ByteRange {
        ByteRange::new(first, bytes).unwrap()
    }

    #[test]
    fn a_range_is_left_alone_until_its_time() {
        let mut skip = SkipList::new(8);
        skip.insert(range(64, 64), 100, 0);
        assert!(skip.covers(range(96, 8), 99));
        assert!(skip.covers(range(0, 1024), 99));
        assert!(!skip.covers(range(0, 64), 99));
        assert!(!skip.covers(range(128, 64), 99));
        assert!(!skip.covers(range(96, 8), 100));
        assert!(skip.entries.is_empty());
    }

    #[test]
    fn entries_stay_disjoint_and_few() {
        let mut skip = SkipList::new(4);
        for step in 0..100 {
            skip.insert(range(step * 8, 16), 1000 + step, step);
            assert!(skip.entries.len() <= 4);
            let all: std::vec::Vec<_> = skip.entries.values().collect();
            assert!(all.windows(2).all(|pair| !pair[0].range.overlaps(pair[1].range)));
        }
        // What came last stays longest.
        assert!(skip.covers(range(99 * 8, 1), 0));
        assert_eq!(skip.entries.len(), 1, "each took the place of the one before");
        let mut none = SkipList::new(0);
        none.insert(range(0, 1), 10, 0);
        assert!(!none.covers(range(0, 1), 0));
    }

    #[test]
    fn when_it_is_full_what_ends_first_makes_way() {
        let mut skip = SkipList::new(4);
        for (at, until) in [(0, 400), (1, 100), (2, 300), (3, 200)] {
            skip.insert(range(at * 8, 8), until, 0);
        }
        let left_alone = |skip: &mut SkipList, now: u64| {
            (0..8).filter(|at| skip.covers(range(at * 8, 8), now)).collect::<std::vec::Vec<_>>()
        };
        // The one that would be tried again soonest is; then what is over.
        skip.insert(range(4 * 8, 8), 500, 0);
        assert_eq!(left_alone(&mut skip, 0), [0, 2, 3, 4]);
        skip.insert(range(5 * 8, 8), 600, 300);
        assert_eq!(skip.entries.len(), 3, "two were over at once");
        assert_eq!(left_alone(&mut skip, 300), [0, 4, 5]);
        skip.clear();
        assert!(left_alone(&mut skip, 0).is_empty());
    }
}
