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

/// Bits of a code below the word of level 0.
const BELOW: u32 = ORDERS_PER_LEVEL + 1;

/// Which word of level 0: what a code has above its place. No key has other bits.
#[inline(always)]
pub(super) const fn key_of(word: u64) -> u64 {
    word << BELOW
}

/// The word that a key says.
#[inline(always)]
pub(super) const fn word_at(key: u64) -> u64 {
    key >> BELOW
}

/// A block: `2 * base + 2^order`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Code(NonZero<u64>);

impl Code {
    #[inline(always)]
    pub(crate) fn of(block: Block) -> Self {
        // As `Block::encode`: the base has none of the end's bit, and by an `or`
        // the compiler knows that it is not 0.
        Self(end_of(block.order()) | (block.base().0 << 1))
    }

    /// The block of `order` that starts at place `first` of `word` of the
    /// order's level. Never `None`, and a caller that hands it on as an option
    /// pays nothing for saying so.
    #[inline(always)]
    pub(crate) fn at(word: u64, first: u64, order: Order) -> Option<Self> {
        let base = (word << ORDERS_PER_LEVEL | first) << (ORDERS_PER_LEVEL * order.level());
        NonZero::new((base << 1) + order.granules()).map(Self)
    }

    /// Tells each block of `order` in a whole word of the order's level, lowest
    /// first.
    #[inline(always)]
    pub(super) fn each_of_whole(word: u64, order: Order, mut tell: impl FnMut(Self)) {
        let mut base = word << ORDERS_PER_LEVEL << (ORDERS_PER_LEVEL * order.level());
        for _ in 0..64 / order.run() {
            tell(Self(end_of(order) | (base << 1)));
            base += order.granules();
        }
    }

    /// The block of `order`, at most 5, that starts at place `first` of the word
    /// of level 0 that `key` says. As [`at`](Self::at).
    #[inline(always)]
    pub(super) fn keyed(key: u64, first: u64, order: Order) -> Option<Self> {
        // (Added first, so that the place comes to it in one step.)
        Some(Self(end_of(order) | (key + (first << 1))))
    }

    /// The block of this code; `None` for 0.
    pub(super) fn from_bits(code: u64) -> Option<Self> {
        NonZero::new(code).map(Self)
    }

    #[inline(always)]
    pub(super) fn get(self) -> u64 {
        self.0.get()
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

    /// Whether it is a single granule.
    #[inline(always)]
    pub(super) fn is_single(self) -> bool {
        self.0.get() & 1 != 0
    }

    /// Whether claims serve the order.
    #[inline(always)]
    pub(super) fn is_small(self) -> bool {
        self.granules() <= 1 << CLAIMED_ORDERS
    }

    /// The key of the word that a block of level 0 is in.
    #[inline(always)]
    pub(super) fn key(self) -> u64 {
        key_of(word_at(self.0.get()))
    }

    /// The word's key and a single granule's bit; what no single granule has,
    /// where it is none.
    #[inline(always)]
    pub(super) fn single_tag(self) -> u64 {
        self.0.get() & !((1 << BELOW) - 2)
    }

    /// The place of a single granule.
    #[inline(always)]
    pub(super) fn single_mask(self) -> u64 {
        debug_assert!(self.is_single());
        1 << (self.0.get() >> 1 & 63)
    }

    /// The places of a block of level 0.
    #[inline(always)]
    pub(super) fn small_mask(self) -> u64 {
        let (code, granules) = (self.0.get(), self.granules());
        debug_assert!(granules <= 32);
        let first = (code >> 1) & 63 & !(granules - 1);
        ((1 << granules) - 1) << first
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

/// The bit that says a block's order, and never 0.
#[inline(always)]
fn end_of(order: Order) -> NonZero<u64> {
    NonZero::new(order.granules()).unwrap_or(NonZero::<u64>::MIN)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::vec::Vec;

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
                    let key = key_of(place.word);
                    assert_eq!((code.key(), word_at(key)), (key, place.word));
                    assert_eq!(code.small_mask(), place.mask);
                    assert!(Code::keyed(key, first, order) == Some(code));
                    assert_eq!(code.is_single(), order == Order::ZERO);
                    let mut each = Vec::new();
                    Code::each_of_whole(place.word, order, |code| each.push(code.block()));
                    assert_eq!(each.len(), 64 >> order.get());
                    assert!(each.contains(&block) && each.is_sorted());
                    if code.is_single() {
                        assert_eq!(code.single_mask(), place.mask);
                    }
                }
            }
        }
    }
}
