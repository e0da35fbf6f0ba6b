//! A word of level 0 and the places of it that a hand owns.

use super::code::{Code, key_of, word_at};
use crate::forest::{ALIGNED, lowest_run};
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
}

impl Held {
    pub(super) fn empty() -> Self {
        Self { key: AtomicU64::new(NONE), mask: AtomicU64::new(0) }
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

    #[inline(always)]
    pub(crate) fn set(&self, word: u64, mask: u64) {
        self.set_keyed(key_of(word), mask);
    }

    #[inline(always)]
    pub(super) fn set_keyed(&self, key: u64, mask: u64) {
        self.key.store(key, Ordering::Relaxed);
        self.set_mask(mask);
    }

    /// Empties it; returns what it held, if it held anything.
    #[inline]
    pub(crate) fn release(&self) -> Option<(u64, u64)> {
        let (word, mask) = (self.word(), self.mask());
        self.set_keyed(NONE, 0);
        (mask != 0).then_some((word, mask))
    }

    /// Adds places; `false`, and nothing changed, if some are held already.
    #[inline(always)]
    pub(super) fn add(&self, mask: u64) -> bool {
        let before = self.mask();
        if before & mask != 0 {
            return false;
        }
        self.set_mask(before | mask);
        true
    }

    /// The places held that `block` has.
    pub(super) fn overlap(&self, block: Block) -> u64 {
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
    pub(super) fn take_run(&self, order: Order) -> Option<Code> {
        let mask = self.mask();
        let taken = lowest_run(mask, order.run())?;
        self.set_mask(mask & !taken);
        Code::keyed(self.key(), u64::from(taken.trailing_zeros()), order)
    }
}
