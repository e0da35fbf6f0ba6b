//! The block, and the place where it lives.
//!
//! # Picture
//!
//! ```text
//!  level 2   |  1 place = 4096 granules     order 12..17
//!  level 1   |  1 place =   64 granules     order  6..11     order 9 = 8 adjacent places of one word
//!  level 0   |  1 place =    1 granule      order  0..5
//! ```
//!
//! # What always holds
//!
//! A block of order `k` is `1 << k` granules at a multiple of `1 << k`. It
//! lives at level `k / 6`, as `1 << (k % 6)` adjacent places of **one** word
//! of 64, at a multiple of their number. So one mask in one word names it.

use crate::order::ORDERS_PER_LEVEL;
use crate::{GeometryError, Granule, Granules, Order};
use core::fmt;

/// An aligned run of `1 << order` granules.
///
/// ```
/// use potad_memdesc::{Block, Granule, Order};
///
/// let block = Block::new(Granule(512), Order::new(9)?)?;
/// assert_eq!(block.buddy().unwrap().base(), Granule(0));
/// assert_eq!(block.parent().unwrap().base(), Granule(0));
/// let place = block.place();
/// assert_eq!((place.level, place.word, place.mask), (1, 0, 0xff00));
/// # Ok::<(), potad_memdesc::GeometryError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    base: Granule,
    order: Order,
}

impl Block {
    /// Returns the block, or says why there is none: `base` is not a multiple
    /// of `1 << order`, or the block leaves the index space.
    pub const fn new(base: Granule, order: Order) -> Result<Self, GeometryError> {
        if base.0 & (order.granules() - 1) != 0 {
            return Err(GeometryError::Misaligned { granule: base.0, order: order.get() });
        }
        if base.0 >= crate::MAX_GRANULES {
            return Err(GeometryError::OutsideIndexSpace { granule: base.0 });
        }
        Ok(Self { base, order })
    }

    /// The block of this order that holds `at`.
    #[inline]
    pub const fn containing(at: Granule, order: Order) -> Self {
        Self { base: Granule(at.0 & !(order.granules() - 1)), order }
    }

    /// The first granule.
    #[inline]
    pub const fn base(self) -> Granule {
        self.base
    }

    /// The last granule, which belongs to the block.
    #[inline]
    pub const fn last(self) -> Granule {
        Granule(self.base.0 + (self.order.granules() - 1))
    }

    /// The order.
    #[inline]
    pub const fn order(self) -> Order {
        self.order
    }

    /// The granules, inclusive.
    #[inline]
    pub const fn granules(self) -> Granules {
        match Granules::new(self.base, self.last()) {
            Ok(range) => range,
            // A block lies inside the index space by construction.
            Err(_) => unreachable!(),
        }
    }

    /// Whether `at` lies inside.
    #[inline]
    pub const fn contains(self, at: Granule) -> bool {
        at.0 & !(self.order.granules() - 1) == self.base.0
    }

    /// Whether `other` lies wholly inside.
    #[inline]
    pub const fn covers(self, other: Self) -> bool {
        other.order.get() <= self.order.get() && self.contains(other.base)
    }

    /// Whether the two share a granule.
    #[inline]
    pub const fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The other half of the next larger block; order 63 has none.
    pub const fn buddy(self) -> Option<Self> {
        if self.order.get() == 63 {
            return None;
        }
        Some(Self { base: Granule(self.base.0 ^ self.order.granules()), order: self.order })
    }

    /// The next larger block that holds this one; order 63 has none.
    pub const fn parent(self) -> Option<Self> {
        match self.order.double() {
            Some(order) => Some(Self::containing(self.base, order)),
            None => None,
        }
    }

    /// The two halves, lower first; a single granule has none.
    pub const fn halves(self) -> Option<(Self, Self)> {
        match self.order.half() {
            Some(order) => Some((
                Self { base: self.base, order },
                Self { base: Granule(self.base.0 + order.granules()), order },
            )),
            None => None,
        }
    }

    /// Where the block lives.
    #[inline]
    pub const fn place(self) -> Place {
        let level = self.order.level();
        let shift = ORDERS_PER_LEVEL * level;
        let index = self.base.0 >> shift;
        let run = self.order.run();
        let mask = (u64::MAX >> (64 - run)) << (index & 63);
        Place { level, word: index >> ORDERS_PER_LEVEL, mask }
    }

    /// The block in 8 bytes: `2 * base + (1 << order)`. Exact for every block;
    /// the trailing zeros give the order, and 0 is no block.
    #[inline]
    pub const fn encode(self) -> u64 {
        // No overflow: base <= 2^63 - 2^order, so the sum is below 2^64.
        (self.base.0 << 1) + self.order.granules()
    }

    /// The block that [`encode`](Self::encode) gave, or `None` for 0.
    #[inline]
    pub const fn decode(code: u64) -> Option<Self> {
        if code == 0 {
            return None;
        }
        let order = Order::alignment_of(code);
        Some(Self { base: Granule((code - order.granules()) >> 1), order })
    }

    /// The base of the block that [`encode`](Self::encode) gave, if its order is 0:
    /// as [`decode`](Self::decode), in two operations.
    ///
    /// ```
    /// use potad_memdesc::{Block, Granule, Order};
    ///
    /// let one = Block::containing(Granule(12), Order::ZERO);
    /// assert_eq!(Block::decode_single(one.encode()), Some(one.base()));
    /// assert_eq!(Block::decode_single(one.parent().unwrap().encode()), None);
    /// assert_eq!(Block::decode_single(0), None);
    /// ```
    #[inline(always)]
    pub const fn decode_single(code: u64) -> Option<Granule> {
        // The end's bit is the lowest: there is nothing to subtract.
        if code & 1 == 1 { Some(Granule(code >> 1)) } else { None }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}+{:?}", self.base, self.order)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {} at granule {}", self.order, self.base)
    }
}

/// Where a block lives: one mask in one word of one level.
///
/// The same three numbers name its free bits, its descriptor slots and its
/// reported bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Level, `0..=10`: a place is `64^level` granules.
    pub level: u32,
    /// Index of the word within the level.
    pub word: u64,
    /// The places within the word: adjacent, a power of two of them, aligned.
    pub mask: u64,
}

impl Place {
    /// The block that lives here, or `None` if the mask is no block's.
    pub const fn block(self) -> Option<Block> {
        let run = self.mask.count_ones();
        let first = self.mask.trailing_zeros();
        let whole = self.mask != 0
            && run.is_power_of_two()
            && run < 64
            && first.is_multiple_of(run)
            && self.mask == (u64::MAX >> (64 - run)) << first;
        if !whole || self.level >= crate::LEVELS {
            return None;
        }
        let order = ORDERS_PER_LEVEL * self.level + run.trailing_zeros();
        if order > 63 {
            return None;
        }
        let index = (self.word << ORDERS_PER_LEVEL) | first as u64;
        let shift = ORDERS_PER_LEVEL * self.level;
        if index > (u64::MAX >> 1) >> shift {
            return None;
        }
        match Order::new(order) {
            Ok(order) => Some(Block { base: Granule(index << shift), order }),
            Err(_) => None,
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{}[{:#x}]&{:#x}", self.level, self.word, self.mask)
    }
}
