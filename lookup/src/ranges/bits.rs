//! Slots: where an address is, and what two bitmaps say of them.
//!
//! | heads | more | a slot is                                             | words |
//! |-------|------|-------------------------------------------------------|-------|
//! | 0     | 0    | a gap                                                 | 0     |
//! | 1     | 0    | a head: an entry begins here, and is the slot or more | 1     |
//! | 0     | 1    | more of the entry before                              | 0     |
//! | 1     | 1    | alone: the entry is smaller than the slot             | 2     |

use super::Addresses;
use memdesc::ORDERS_PER_LEVEL;

/// The level of the slot that would hold everything: above the last.
pub(super) const TOP: u32 = memdesc::LEVELS;

/// The two bitmaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Bits {
    /// An entry begins here.
    pub(super) heads: u64,
    /// Alone: the entry before goes on here. With a head: a lone pair.
    pub(super) more: u64,
}

/// The addresses of a slot, less one: what is masked out.
#[inline]
pub(super) const fn slot_mask(level: u32) -> u64 {
    if level >= TOP { u64::MAX } else { (1 << (ORDERS_PER_LEVEL * level)) - 1 }
}

/// The same for the level of a node, which is not the top.
#[inline(always)]
pub(super) const fn low_mask(level: u32) -> u64 {
    !(u64::MAX << (ORDERS_PER_LEVEL * level))
}

/// The slot of an address within its node.
#[inline]
pub(super) const fn slot_of(at: u64, level: u32) -> u32 {
    // Lossless: six bits.
    (at >> (ORDERS_PER_LEVEL * level)) as u32 & 63
}

/// The addresses of the slot of `at`; below the top.
#[inline]
pub(super) const fn slot_around(at: u64, level: u32) -> Addresses {
    Addresses::known(at & !low_mask(level), at | low_mask(level))
}

/// The lowest level at which both are in one node.
#[inline]
pub(super) const fn common_level(one: u64, other: u64) -> u32 {
    match (one ^ other).checked_ilog2() {
        Some(bit) => bit / ORDERS_PER_LEVEL,
        None => 0,
    }
}

#[inline]
const fn below(slot: u32) -> u64 {
    if slot > 63 { u64::MAX } else { (1 << slot) - 1 }
}

/// The slots `first..=last`.
#[inline]
pub(super) const fn slots(first: u32, last: u32) -> u64 {
    below(last + 1) & !below(first)
}

impl Bits {
    #[inline]
    pub(super) const fn lone(self) -> u64 {
        self.heads & self.more
    }

    /// Number of words.
    #[inline]
    pub(super) const fn words(self) -> usize {
        (self.heads.count_ones() + self.lone().count_ones()) as usize
    }

    /// Words of the entries that begin before a slot.
    #[inline]
    pub(super) const fn words_before(self, slot: u32) -> usize {
        let heads = (self.heads & below(slot)).count_ones();
        (heads + (self.lone() & below(slot)).count_ones()) as usize
    }

    #[inline]
    pub(super) const fn has(self, slot: u32) -> bool {
        (self.heads | self.more) >> slot & 1 != 0
    }

    #[inline]
    pub(super) const fn is_head(self, slot: u32) -> bool {
        self.heads >> slot & 1 != 0
    }

    #[inline]
    pub(super) const fn is_lone(self, slot: u32) -> bool {
        self.lone() >> slot & 1 != 0
    }

    /// The slot where the entry of an occupied slot begins.
    #[inline]
    pub(super) const fn run_first(self, slot: u32) -> u32 {
        slot - (self.heads << (63 - slot)).leading_zeros()
    }

    /// The slot where it ends.
    #[inline]
    pub(super) const fn run_last(self, slot: u32) -> u32 {
        slot + ((self.more & !self.heads) >> slot >> 1).trailing_ones()
    }
}
