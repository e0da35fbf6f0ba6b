//! A word of level 0 and the places of it that a hand owns.
//!
//! # What always holds
//!
//! Places that are free in the word itself are no longer anybody's to give. Where
//! a hand begins to hold a word it looks which they are, and a free of one that it
//! saw looks again before it is believed: meanwhile somebody may have taken it.

use super::code::{Code, key_of, word_at};
use crate::forest::{ALIGNED, run_starts};
use crate::regions::SPARSE;
use memdesc::sync::atomic::Ordering;
use memdesc::sync::own::AtomicU64;
use memdesc::{Block, ORDERS_PER_LEVEL, Order};

/// No word's key.
const NONE: u64 = u64::MAX;

/// Places of one word of level 0.
///
/// Plain loads and stores: the bracket makes them one owner's at a time.
#[derive(Debug)]
pub(crate) struct Held {
    /// The word, as codes have it.
    key: AtomicU64,
    mask: AtomicU64,
    /// Places that were free in the word itself when it was looked at last.
    seen: AtomicU64,
}

impl Held {
    pub(super) fn empty() -> Self {
        let nothing = || AtomicU64::new(0);
        Self { key: AtomicU64::new(NONE), mask: nothing(), seen: nothing() }
    }

    #[inline(always)]
    pub(super) fn key(&self) -> u64 {
        self.key.load(Ordering::Relaxed)
    }

    /// The word; where it holds nothing, any.
    #[inline(always)]
    pub(crate) fn word(&self) -> u64 {
        word_at(self.key())
    }

    #[inline(always)]
    pub(crate) fn mask(&self) -> u64 {
        self.mask.load(Ordering::Relaxed)
    }

    /// Whether few places of the word are nobody's, as far as was seen: as few as make a
    /// search note the words of a region.
    #[inline(always)]
    pub(super) fn is_dense(&self) -> bool {
        let free = self.mask() | self.seen.load(Ordering::Relaxed);
        // (Not all processors count bits in one step.)
        (0..SPARSE).fold(free, |left, _| left & left.wrapping_sub(1)) == 0
    }

    /// Whether this holds places of `word`.
    #[inline(always)]
    pub(crate) fn is_of(&self, word: u64) -> bool {
        self.has_key(key_of(word))
    }

    /// As [`is_of`](Self::is_of), of the word's key.
    #[inline(always)]
    pub(super) fn has_key(&self, key: u64) -> bool {
        self.key() == key
    }

    #[inline(always)]
    pub(crate) fn set_mask(&self, mask: u64) {
        self.mask.store(mask, Ordering::Relaxed);
    }

    /// Holds places of a word all of whose free places were taken.
    #[inline(always)]
    pub(crate) fn set(&self, word: u64, mask: u64) {
        self.set_beside(key_of(word), mask, 0);
    }

    /// Holds places of the word of a key, which has `seen`.
    #[inline(always)]
    pub(super) fn set_beside(&self, key: u64, mask: u64, seen: u64) {
        self.key.store(key, Ordering::Relaxed);
        self.set_mask(mask);
        self.seen.store(seen, Ordering::Relaxed);
    }

    /// Empties it; returns what it held, if it held anything.
    #[inline]
    pub(crate) fn release(&self) -> Option<(u64, u64)> {
        let (word, mask) = (self.word(), self.mask());
        self.set_beside(NONE, 0, 0);
        (mask != 0).then_some((word, mask))
    }

    /// Adds places; `false`, and nothing changed, if some are held already, or
    /// were seen to be free in the word.
    #[inline(always)]
    pub(super) fn add(&self, mask: u64) -> bool {
        let before = self.mask();
        if (before | self.seen.load(Ordering::Relaxed)) & mask != 0 {
            return false;
        }
        self.set_mask(before | mask);
        true
    }

    /// As [`add`](Self::add), of a word that has `now`.
    pub(super) fn add_beside(&self, mask: u64, now: u64) -> bool {
        self.seen.store(now, Ordering::Relaxed);
        self.add(mask)
    }

    /// The places held that `block` has.
    pub(crate) fn overlap(&self, block: Block) -> u64 {
        let place = block.place();
        let (first, last) = (block.base().0, block.last().0);
        let word = self.word();
        match place.level {
            0 if place.word == word => self.mask() & place.mask,
            0 => 0,
            _ if !self.has_key(NONE) && (first..=last).contains(&(word << ORDERS_PER_LEVEL)) => {
                self.mask()
            }
            _ => 0,
        }
    }

    /// Takes the lowest block of `order`, at most 2, out of the mask.
    #[inline(always)]
    pub(super) fn take(&self, order: Order) -> Option<Code> {
        let mask = self.mask();
        if order == Order::ZERO {
            if mask == 0 {
                return None;
            }
            let first = u64::from(mask.trailing_zeros());
            self.set_mask(mask & (mask - 1));
            return Code::keyed(self.key(), first, order);
        }
        let pairs = mask & (mask >> 1);
        let starts = match order.get() {
            1 => pairs & ALIGNED[1],
            _ => pairs & (pairs >> 2) & ALIGNED[2],
        };
        if starts == 0 {
            return None;
        }
        let first = u64::from(starts.trailing_zeros());
        self.set_mask(mask & !(((1 << order.granules()) - 1) << first));
        Code::keyed(self.key(), first, order)
    }

    /// Takes the lowest block of `order`, at most 5, out of the mask.
    #[inline]
    pub(super) fn take_run(&self, order: Order) -> Option<Code> {
        let mask = self.mask();
        let starts = run_starts(mask, order.run());
        if starts == 0 {
            return None;
        }
        let first = u64::from(starts.trailing_zeros());
        self.set_mask(mask & !(((1 << order.granules()) - 1) << first));
        Code::keyed(self.key(), first, order)
    }
}
