//! What the guests know: at which granule which block begins.
//!
//! # Picture
//!
//! One word per granule; 0 where no block begins.
//!
//! ```text
//!  63                      22 21      14 13   10 9     4 3     0
//! +--------------------------+----------+-------+-------+-------+
//! | stamp, never used twice  | guest    | sort  | order |   1   |
//! +--------------------------+----------+-------+-------+-------+
//! ```
//!
//! # Why a mismatch is a real one
//!
//! A guest writes the word after its block was published, and clears it before
//! the block is freed or split. A reader that finds the same word before and
//! after a look-up knows that the block lived all the while: the stamp makes
//! that no other block of the same looks. So the look-up had to find it.
//!
//! `Release` on writes and `Acquire` on reads: a reader that sees the word sees
//! the block published. The other way round, a look-up that finds a slot
//! cleared (`Acquire`, in the tree) sees the word cleared before it, so the
//! second read differs.
//!
//! # Cost
//!
//! A guest stores one word per block. A reader probes one word per order.

use super::kinds::Sort;
use potad::memdesc::sync::atomic::{AtomicU64, Ordering};
use potad::memdesc::{Block, Granule, Order};

/// Guests that the picture has room for.
pub(super) const MAX_GUESTS: usize = 64;

/// What is known of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) block: Block,
    pub(super) stamp: u64,
    pub(super) guest: usize,
    pub(super) sort: Sort,
    word: u64,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Known {
    first: u64,
    words: Vec<AtomicU64>,
    largest: Order,
}

impl Known {
    /// For the granules `first..first + count`.
    pub(super) fn new(first: Granule, count: u64, largest: Order) -> Self {
        let words = (0..count).map(|_| AtomicU64::new(0)).collect();
        Self { first: first.0, words, largest }
    }

    fn word(&self, at: Granule) -> Option<&AtomicU64> {
        self.words.get(usize::try_from(at.0.checked_sub(self.first)?).ok()?)
    }

    /// Says that a block lives.
    pub(super) fn set(&self, block: Block, stamp: u64, guest: usize, sort: Sort) {
        let guest = (guest as u64) << 14;
        let (sort, order) = ((sort as u64) << 10, u64::from(block.order().get()) << 4);
        if let Some(word) = self.word(block.base()) {
            word.store(stamp << 22 | guest | sort | order | 1, Ordering::Release);
        }
    }

    /// Says that the block that begins here is about to change.
    pub(super) fn clear(&self, base: Granule) {
        if let Some(word) = self.word(base) {
            // `Release` is not needed for what came before; what comes after is
            // a `Release` store to a slot, which carries this along.
            word.store(0, Ordering::Release);
        }
    }

    /// The block that holds a granule, as its guest knows it.
    pub(super) fn at(&self, at: Granule) -> Option<Entry> {
        let blocks = (0..=self.largest.get()).filter_map(|order| Order::new(order).ok());
        blocks.map(|order| Block::containing(at, order)).find_map(|block| {
            let word = self.word(block.base())?.load(Ordering::Acquire);
            let order = u64::from(block.order().get());
            (word & 1 == 1 && word >> 4 & 63 == order).then_some(())?;
            let sort = Sort::from_number((word >> 10 & 15) as u8)?;
            let guest = (word >> 14 & 255) as usize;
            Some(Entry { block, stamp: word >> 22, guest, sort, word })
        })
    }

    /// Whether the block is still the same, and was all the while.
    pub(super) fn is_still(&self, entry: &Entry) -> bool {
        let word = self.word(entry.block.base());
        word.is_some_and(|word| word.load(Ordering::Acquire) == entry.word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_known_from_every_granule_until_it_is_cleared() {
        let known = Known::new(Granule(64), 64, Order::new(5).expect("small"));
        let block = Block::containing(Granule(100), Order::new(3).expect("small"));
        known.set(block, 9, 2, Sort::Buffer);
        for at in 96..104 {
            let entry = known.at(Granule(at)).expect("known");
            assert_eq!((entry.block, entry.stamp, entry.guest), (block, 9, 2));
            assert_eq!(entry.sort, Sort::Buffer);
            assert!(known.is_still(&entry));
        }
        assert!(known.at(Granule(95)).is_none() && known.at(Granule(104)).is_none());
        let entry = known.at(Granule(100)).expect("known");
        known.clear(block.base());
        assert!(!known.is_still(&entry));
        known.set(block, 10, 2, Sort::Buffer);
        assert!(!known.is_still(&entry), "another block of the same looks");
        assert!(known.at(Granule(0)).is_none() && known.at(Granule(u64::MAX)).is_none());
    }
}
