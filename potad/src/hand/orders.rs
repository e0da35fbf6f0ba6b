//! What a hand remembers of the orders above those of claims: where it freed, where
//! it found, and how far it pays to search.
//!
//! # How
//!
//! A block that was freed leaves a place where one of its order fits again; so a
//! request that the warm word cannot serve looks into the last few words that its
//! order was freed into, before it searches. And a search that has looked into as
//! many words as it may and found nothing would find much the same the next time:
//! so each that is in vain halves the words that the next one for its order may
//! look into before a larger block is broken, and each that is not doubles them.
//!
//! # What always holds
//!
//! Hints, all of them: a word that is named may have nothing any more, and whoever
//! takes there looks. Where there is no larger block everything is searched.
//!
//! # Cost
//!
//! A free of an order above 5 loads one word of the hand's own where the same word was
//! freed into last; else it moves up to four. Orders 3 to 5 wait in the hand first, and
//! pay this when they leave. Nothing else is on the hot path.

use super::slot::CLAIMED_ORDERS;
use memdesc::sync::atomic::Ordering;
use memdesc::sync::own::AtomicU64;
use memdesc::{ORDERS_PER_LEVEL, Order};

/// Orders that are remembered: those right above those of claims.
const ORDERS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 12 };

/// Words of each.
const DEPTH: usize = if cfg!(any(loom, shuttle)) { 1 } else { 4 };

/// Words that a search may look into while searches find something, and when they
/// have not for long. (Down to one, traces of heaps and mappings are a tenth
/// faster, and churn a fifth slower: more large blocks are broken.)
const BUDGET: u32 = 64;
const LEAST: u64 = 4;

/// No word.
const NONE: u64 = u64::MAX;

/// What is remembered of all of them.
#[derive(Debug)]
pub(super) struct Orders {
    known: [Known; ORDERS],
    /// Where orders 3 to 5 were found last. Each its own: a search that begins
    /// where another order was served meets what it has been through before.
    near: [AtomicU64; LARGE],
}

/// Orders of level 0 that claims do not serve.
const LARGE: usize = (ORDERS_PER_LEVEL - CLAIMED_ORDERS - 1) as usize;

/// What is remembered of one.
#[derive(Debug)]
struct Known {
    /// Words that were freed into, the last one first.
    freed: [AtomicU64; DEPTH],
    /// Words that a search may look into.
    budget: AtomicU64,
}

impl Known {
    /// This word is the last one, and those before it move down to its place.
    #[inline(never)]
    fn note(&self, word: u64) {
        let mut next = word;
        for place in &self.freed {
            let before = place.load(Ordering::Relaxed);
            place.store(next, Ordering::Relaxed);
            // The rest stays in its order.
            if before == word || before == NONE {
                return;
            }
            next = before;
        }
    }
}

impl Orders {
    /// Nothing; searches begin at `near`.
    pub(super) fn new(near: u64) -> Self {
        let known = || Known {
            freed: core::array::from_fn(|_| AtomicU64::new(NONE)),
            budget: AtomicU64::new(BUDGET.into()),
        };
        Self {
            known: core::array::from_fn(|_| known()),
            near: core::array::from_fn(|_| AtomicU64::new(near)),
        }
    }

    /// Where an order of level 0 was found last.
    pub(super) fn near(&self, order: Order) -> Option<&AtomicU64> {
        self.near.get(Self::above(order)?)
    }

    #[inline(always)]
    fn above(order: Order) -> Option<usize> {
        Some(order.get().checked_sub(CLAIMED_ORDERS + 1)? as usize)
    }

    #[inline(always)]
    fn of(&self, order: Order) -> Option<&Known> {
        self.known.get(Self::above(order)?)
    }

    /// A block of the order was freed into this word.
    #[inline(always)]
    pub(super) fn note_freed(&self, order: Order, word: u64) {
        let Some(known) = self.of(order) else { return };
        if known.freed[0].load(Ordering::Relaxed) != word {
            known.note(word);
        }
    }

    /// The word that was freed into last, if there is one.
    pub(super) fn last_freed(&self, order: Order) -> Option<u64> {
        let word = self.of(order)?.freed[0].load(Ordering::Relaxed);
        (word != NONE).then_some(word)
    }

    /// That word has nothing for the order: the one before it is the last.
    pub(super) fn forget_last(&self, order: Order) {
        let Some(known) = self.of(order) else { return };
        for pair in known.freed.windows(2) {
            pair[0].store(pair[1].load(Ordering::Relaxed), Ordering::Relaxed);
        }
        known.freed[DEPTH - 1].store(NONE, Ordering::Relaxed);
    }

    /// Words that a search for the order may look into.
    pub(super) fn budget(&self, order: Order) -> u32 {
        self.of(order).map_or(BUDGET, |known| known.budget.load(Ordering::Relaxed) as u32)
    }

    /// A search for the order has ended.
    pub(super) fn note_search(&self, order: Order, found: bool) {
        let Some(known) = self.of(order) else { return };
        let budget = known.budget.load(Ordering::Relaxed);
        let next = match found {
            true => (2 * budget).min(BUDGET.into()),
            false => (budget / 2).max(LEAST),
        };
        known.budget.store(next, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_remembered_last_first_and_each_once() {
        let (orders, four) = (Orders::new(0), Order::new(4).unwrap());
        assert_eq!(orders.last_freed(four), None);
        for word in [1, 2, 3, 2, 4, 5, 6] {
            orders.note_freed(four, word);
        }
        assert_eq!(orders.last_freed(Order::new(5).unwrap()), None, "of its own order");
        for word in [6, 5, 4, 2] {
            assert_eq!(orders.last_freed(four), Some(word));
            orders.forget_last(four);
        }
        assert_eq!(orders.last_freed(four), None);
        for order in [0, 2, 15, 63].map(|order| Order::new(order).unwrap()) {
            orders.note_freed(order, 7);
            orders.forget_last(order);
            assert_eq!(orders.last_freed(order), None, "not remembered");
            orders.note_search(order, false);
            assert_eq!(orders.budget(order), BUDGET);
        }
    }

    #[test]
    fn searches_in_vain_grow_short_and_those_that_find_long_again() {
        let (orders, four) = (Orders::new(0), Order::new(4).unwrap());
        let after = |found| {
            orders.note_search(four, found);
            orders.budget(four)
        };
        assert_eq!([false; 6].map(after), [32, 16, 8, 4, 4, 4]);
        assert_eq!([true; 6].map(after), [8, 16, 32, 64, 64, 64]);
        assert_eq!(orders.budget(Order::new(5).unwrap()), BUDGET, "of its own order");
    }
}
