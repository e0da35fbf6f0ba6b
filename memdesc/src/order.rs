//! The order: how large a block is.
//!
//! A block of order `k` is `1 << k` granules, aligned to its own size. Orders
//! run from 0 to 63; there is no smaller maximum.

use crate::GeometryError;
use core::fmt;

/// Exponent of a block's size, `0..=63`: the block is `1 << order` granules.
///
/// ```
/// use potad_memdesc::Order;
///
/// let order = Order::new(9)?;
/// assert_eq!(order.granules(), 512);
/// assert_eq!((order.level(), order.run()), (1, 8));
/// assert_eq!(Order::covering(513)?, Order::new(10)?);
/// assert!(Order::new(64).is_err());
/// # Ok::<(), potad_memdesc::GeometryError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Order(u8);

/// Orders that live at one level: a level's word has `1 << ORDERS_PER_LEVEL`
/// places.
pub const ORDERS_PER_LEVEL: u32 = 6;

/// Levels of the geometry: level `l` cuts a resource into blocks of `64^l`
/// granules; orders 60 to 63 sit in level 10.
pub const LEVELS: u32 = 11;

impl Order {
    /// The smallest order: one granule.
    pub const ZERO: Self = Self(0);
    /// The largest order: `1 << 63` granules.
    pub const MAX: Self = Self(63);

    /// Returns the order, or says that it is above 63.
    pub const fn new(order: u32) -> Result<Self, GeometryError> {
        if order > 63 {
            return Err(GeometryError::OrderTooLarge { order });
        }
        // Lossless: at most 63.
        Ok(Self(order as u8))
    }

    /// Returns the smallest order that holds `granules`.
    ///
    /// Fails for 0 and for more than `1 << 63`.
    pub const fn covering(granules: u64) -> Result<Self, GeometryError> {
        if granules == 0 {
            return Err(GeometryError::Empty);
        }
        if granules > 1 << 63 {
            return Err(GeometryError::OrderTooLarge { order: 64 });
        }
        Ok(Self((64 - (granules - 1).leading_zeros()) as u8))
    }

    /// The order of the lowest set bit of `value`: the alignment of an address.
    /// 0 is aligned to everything.
    pub const fn alignment_of(value: u64) -> Self {
        let zeros = value.trailing_zeros();
        if zeros > 63 { Self(63) } else { Self(zeros as u8) }
    }

    /// Returns the exponent.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// Returns the number of granules, `1 << order`.
    #[inline]
    pub const fn granules(self) -> u64 {
        1 << self.0
    }

    /// The level at which a block of this order lives: `order / 6`.
    #[inline]
    pub const fn level(self) -> u32 {
        self.get() / ORDERS_PER_LEVEL
    }

    /// The number of adjacent places of its level that a block takes:
    /// `1 << (order % 6)`, at most 32.
    #[inline]
    pub const fn run(self) -> u32 {
        1 << (self.get() % ORDERS_PER_LEVEL)
    }

    /// The order of the halves, or `None` for a single granule.
    pub const fn half(self) -> Option<Self> {
        if self.0 == 0 { None } else { Some(Self(self.0 - 1)) }
    }

    /// The order of two of these together, or `None` above 63.
    pub const fn double(self) -> Option<Self> {
        if self.0 == 63 { None } else { Some(Self(self.0 + 1)) }
    }

    /// Every order, smallest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..=63).map(Self)
    }
}

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2^{}", self.0)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
