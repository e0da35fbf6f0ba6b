//! A block in 8 bytes, and what a hand reads off it without decoding it.
//!
//! ```text
//!  code = 2 * base + 2^order       trailing zeros: the order; never 0
//!
//!  63                7 6        1 0
//! +-------------------+----------+-+
//! | word of level 0   | place    |1|      order 0
//! | word of level 0   | place   1|0|      order 1: one bit marks the end
//! +-------------------+----------+-+
//! ```

use super::slot::CLAIMED_ORDERS;
use core::num::NonZero;
use memdesc::{Block, Granule, ORDERS_PER_LEVEL, Order, Place};

/// A block: `2 * base + 2^order`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Code(NonZero<u64>);

impl Code {
    /// A granule: the first.
    pub(crate) const LEAST: Self = Self(NonZero::<u64>::MIN);

    #[inline(always)]
    pub(crate) fn of(block: Block) -> Self {
        Self(NonZero::new(block.encode()).unwrap_or(NonZero::<u64>::MIN))
    }

    /// The block of `order` that starts at place `first` of `word` of the
    /// order's level. Never `None`, and a caller that hands it on as an option
    /// pays nothing for saying so.
    #[inline(always)]
    pub(crate) fn at(word: u64, first: u64, order: Order) -> Option<Self> {
        let base = (word << ORDERS_PER_LEVEL | first) << (ORDERS_PER_LEVEL * order.level());
        NonZero::new((base << 1) + order.granules()).map(Self)
    }

    /// As [`at`](Self::at), of level 0.
    #[inline(always)]
    pub(super) fn small(word: u64, first: u64, order: Order) -> Option<Self> {
        NonZero::new(((word << 7) | (first << 1)) + order.granules()).map(Self)
    }

    #[inline(always)]
    pub(crate) fn block(self) -> Block {
        let order = self.order();
        // As `Block::decode`, of what is never 0.
        Block::containing(Granule((self.0.get() - order.granules()) >> 1), order)
    }

    /// The first granule: all but the end's bit.
    #[inline(always)]
    pub(crate) fn base(self) -> Granule {
        Granule((self.0.get() & (self.0.get() - 1)) >> 1)
    }

    #[inline(always)]
    pub(crate) fn order(self) -> Order {
        Order::alignment_of(self.0.get())
    }

    /// Granules of the block.
    #[inline(always)]
    pub(super) fn granules(self) -> u64 {
        self.0.get() & self.0.get().wrapping_neg()
    }

    /// Whether claims serve the order.
    #[inline(always)]
    pub(super) fn is_small(self) -> bool {
        self.granules() <= 1 << CLAIMED_ORDERS
    }

    /// Whether the block lives in a word of level 0.
    #[inline(always)]
    pub(super) fn is_of_level_0(self) -> bool {
        self.granules() < 1 << ORDERS_PER_LEVEL
    }

    /// Word and places of a block of level 0.
    #[inline(always)]
    pub(super) fn small_place(self) -> (u64, u64) {
        let (code, granules) = (self.0.get(), self.granules());
        debug_assert!(granules <= 32);
        let first = (code >> 1) & 63 & !(granules - 1);
        (code >> 7, ((1 << granules) - 1) << first)
    }

    /// Where the block lives.
    #[inline(always)]
    pub(super) fn place(self) -> Place {
        let order = self.order();
        let (level, run) = (order.level(), order.run());
        let index = self.0.get() >> 1 >> (ORDERS_PER_LEVEL * level);
        // The end's bit lies below the run's alignment.
        let first = index & 63 & !u64::from(run - 1);
        Place { level, word: index >> ORDERS_PER_LEVEL, mask: ((1 << run) - 1) << first }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_what_the_block_says() {
        for order in Order::all() {
            for at in (0..256).chain((1 << 60)..(1 << 60) + 64).chain([1 << 36, (1 << 63) - 1]) {
                let block = Block::containing(Granule(at), order);
                let code = Code::of(block);
                let place = block.place();
                assert_eq!(code.block(), block);
                assert_eq!((code.base(), code.order()), (block.base(), order));
                assert_eq!(code.place(), place);
                let first = u64::from(place.mask.trailing_zeros());
                assert!(Code::at(place.word, first, order) == Some(code));
                if place.level == 0 {
                    assert_eq!(code.small_place(), (place.word, place.mask));
                    assert!(Code::small(place.word, first, order) == Some(code));
                }
            }
        }
    }
}
