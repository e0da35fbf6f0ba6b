//! What a hand remembers of the orders above those of claims: where it freed, where
//! it found, and how far it pays to search.
//!
//! # How
//!
//! A block that was freed leaves a place where one of its order fits again; so a
//! request that the warm word cannot serve looks into the last words that its order
//! was freed into, before it searches:
//!
//! ```text
//!  freed   7  3  9  4  -  -  -  -  .. 16     a ring: what comes after the last one
//!                   ^ last                    is the oldest, and written over
//! ```
//!
//! And a search that has looked into as many words as it may and found nothing would
//! find much the same the next time: so each that is in vain halves the words that
//! the next one for its order may look into before a larger block is broken, and
//! each that is not doubles them.
//!
//! # What always holds
//!
//! Hints, all of them: a word that is named may have nothing any more, and whoever
//! takes there looks. Where there is no larger block everything is searched.
//!
//! # Cost
//!
//! A free of an order above 5 loads two words of the hand's own, and writes them where
//! another word was freed into last. Orders 3 to 5 wait in the hand first, and pay this
//! when they leave. A request looks into each word once that has nothing any more. 144
//! bytes an order.

use super::slot::CLAIMED_ORDERS;
use memdesc::sync::atomic::Ordering;
use memdesc::sync::own::AtomicU64;
use memdesc::{ORDERS_PER_LEVEL, Order};

/// Orders that are remembered: those right above those of claims.
const ORDERS: usize = if cfg!(any(loom, shuttle)) { 1 } else { 12 };

/// Words of each.
const DEPTH: usize = if cfg!(any(loom, shuttle)) { 1 } else { 16 };

/// Words that a search may look into while searches find something, and when they
/// have not for long.
const BUDGET: u32 = 64;
const LEAST: u64 = 1;

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
    /// Words that were freed into: a ring, in which the last one is at `last`.
    freed: [AtomicU64; DEPTH],
    last: AtomicU64,
    /// Words that a search may look into.
    budget: AtomicU64,
}

const _: () = assert!(cfg!(any(loom, shuttle)) || size_of::<Known>() == 144, "as said above");

impl Known {
    #[inline(always)]
    fn at(&self, last: u64) -> &AtomicU64 {
        &self.freed[last as usize % DEPTH]
    }

    /// This word is the last one.
    #[inline(always)]
    fn note(&self, word: u64) {
        let last = self.last.load(Ordering::Relaxed);
        if self.at(last).load(Ordering::Relaxed) != word {
            self.at(last.wrapping_add(1)).store(word, Ordering::Relaxed);
            self.last.store(last.wrapping_add(1), Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn last(&self) -> u64 {
        self.at(self.last.load(Ordering::Relaxed)).load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn forget_last(&self) {
        let last = self.last.load(Ordering::Relaxed);
        self.at(last).store(NONE, Ordering::Relaxed);
        self.last.store(last.wrapping_sub(1), Ordering::Relaxed);
    }
}

impl Orders {
    /// Nothing; searches begin at `near`.
    pub(super) fn new(near: u64) -> Self {
        let known = || Known {
            freed: core::array::from_fn(|_| AtomicU64::new(NONE)),
            last: AtomicU64::new(0),
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
        if let Some(known) = self.of(order) {
            known.note(word);
        }
    }

    /// The word that was freed into last, if there is one.
    pub(super) fn last_freed(&self, order: Order) -> Option<u64> {
        let word = self.of(order)?.last();
        (word != NONE).then_some(word)
    }

    /// That word has nothing for the order: the one before it is the last.
    pub(super) fn forget_last(&self, order: Order) {
        if let Some(known) = self.of(order) {
            known.forget_last();
        }
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
    use alloc::vec::Vec;

    #[test]
    fn the_last_words_are_remembered_last_first() {
        let (orders, four) = (Orders::new(0), Order::new(4).unwrap());
        let told = |orders: &Orders| {
            let word = orders.last_freed(four);
            orders.forget_last(four);
            word
        };
        assert_eq!(orders.last_freed(four), None);
        for word in [1, 2, 2, 2, 3] {
            orders.note_freed(four, word);
        }
        assert_eq!(orders.last_freed(Order::new(5).unwrap()), None, "of its own order");
        assert_eq!(orders.last_freed(four), Some(3), "asking forgets nothing");
        assert_eq!([0; 4].map(|_| told(&orders)), [Some(3), Some(2), Some(1), None]);
        // As many as there is room for, the oldest left out.
        let many = DEPTH as u64 + 8;
        (0..many).for_each(|word| orders.note_freed(four, word));
        let last: Vec<u64> = core::iter::from_fn(|| told(&orders)).collect();
        assert_eq!(last, (8..many).rev().collect::<Vec<u64>>());
        for order in [0, 2, 15, 63].map(|order| Order::new(order).unwrap()) {
            orders.note_freed(order, 7);
            orders.forget_last(order);
            assert_eq!(orders.last_freed(order), None, "not remembered");
            orders.note_search(order, false);
            assert_eq!(orders.budget(order), BUDGET);
        }
    }

    #[test]
    fn orders_3_to_5_have_a_place_of_their_own_where_they_were_found() {
        let orders = Orders::new(9);
        for number in 0..=63 {
            let near = orders.near(Order::new(number).unwrap());
            let known = near.map(|near| near.swap(0, Ordering::Relaxed));
            assert_eq!(known, (3..=5).contains(&number).then_some(9));
        }
    }

    #[test]
    fn searches_in_vain_grow_short_and_those_that_find_long_again() {
        let (orders, four) = (Orders::new(0), Order::new(4).unwrap());
        let after = |found| {
            orders.note_search(four, found);
            orders.budget(four)
        };
        assert_eq!([false; 8].map(after), [32, 16, 8, 4, 2, 1, 1, 1]);
        assert_eq!([true; 8].map(after), [2, 4, 8, 16, 32, 64, 64, 64]);
        assert_eq!(orders.budget(Order::new(5).unwrap()), BUDGET, "of its own order");
    }
}
