//! The immediate word: a block that needs no descriptor, in 8 bytes.
//!
//! # What always holds
//!
//! [`Immediate::pack`] and [`Immediate::unpack`] are inverse on every value,
//! and a packed word is neither empty nor a link.

use crate::{Order, OwnerId, Word};
use core::fmt;

const POISON_SHIFT: u32 = 5;
const SUBTYPE_SHIFT: u32 = 6;
const ORDER_SHIFT: u32 = 10;
const OWNER_SHIFT: u32 = 16;
const COOKIE_SHIFT: u32 = 32;

/// What a block without a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Subtype {
    /// Allocated; the owner knows for what.
    Raw = 1,
    /// Never to be handed out.
    Reserved = 2,
    /// Kept empty so that overruns hit nothing.
    Guard = 3,
    /// Taken out of service.
    Offline = 4,
    /// Isolated for a reporter.
    Reporting = 5,
    /// Failed memory that is kept out of circulation.
    Quarantine = 6,
    /// The user's own, like the six below.
    User9 = 9,
    /// The user's own.
    User10 = 10,
    /// The user's own.
    User11 = 11,
    /// The user's own.
    User12 = 12,
    /// The user's own.
    User13 = 13,
    /// The user's own.
    User14 = 14,
    /// The user's own.
    User15 = 15,
}

impl Subtype {
    /// Every subtype, smallest number first.
    pub const ALL: [Self; 13] = [
        Self::Raw,
        Self::Reserved,
        Self::Guard,
        Self::Offline,
        Self::Reporting,
        Self::Quarantine,
        Self::User9,
        Self::User10,
        Self::User11,
        Self::User12,
        Self::User13,
        Self::User14,
        Self::User15,
    ];

    /// A short name for reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Reserved => "reserved",
            Self::Guard => "guard",
            Self::Offline => "offline",
            Self::Reporting => "reporting",
            Self::Quarantine => "quarantine",
            Self::User9 => "user9",
            Self::User10 => "user10",
            Self::User11 => "user11",
            Self::User12 => "user12",
            Self::User13 => "user13",
            Self::User14 => "user14",
            Self::User15 => "user15",
        }
    }

    const fn from_number(number: u64) -> Option<Self> {
        match number {
            1..=6 => Some(Self::ALL[number as usize - 1]),
            9..=15 => Some(Self::ALL[number as usize - 3]),
            _ => None,
        }
    }
}

/// A block that needs no descriptor: what it is, whose, how large, and 32 bits
/// of the owner's choice.
///
/// ```
/// use potad_memdesc::{Immediate, Order, OwnerId, Subtype};
///
/// let raw = Immediate::new(Subtype::Raw, OwnerId(7), Order::new(63)?).with_cookie(42);
/// assert_eq!(Immediate::unpack(raw.pack()), Some(raw));
/// # Ok::<(), potad_memdesc::GeometryError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Immediate {
    /// What the block is.
    pub subtype: Subtype,
    /// Who must hear of memory failure.
    pub owner: OwnerId,
    /// The order of the block.
    pub order: Order,
    /// The owner's own 32 bits.
    pub cookie: u32,
    /// Whether memory failed inside: look in the poison set.
    pub poisoned: bool,
}

impl Immediate {
    /// A sound block with cookie 0.
    pub const fn new(subtype: Subtype, owner: OwnerId, order: Order) -> Self {
        Self { subtype, owner, order, cookie: 0, poisoned: false }
    }

    /// The same with another cookie.
    #[must_use]
    pub const fn with_cookie(self, cookie: u32) -> Self {
        Self { cookie, ..self }
    }

    /// The same with another order.
    #[must_use]
    pub const fn with_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The word that says all this.
    #[inline]
    pub fn pack(self) -> Word {
        Word::from_bits(
            u64::from(self.cookie) << COOKIE_SHIFT
                | u64::from(self.owner.0) << OWNER_SHIFT
                | u64::from(self.order.get()) << ORDER_SHIFT
                | (self.subtype as u64) << SUBTYPE_SHIFT
                | u64::from(self.poisoned) << POISON_SHIFT,
        )
    }

    /// Whether a word is an immediate one of this order: what
    /// [`unpack`](Self::unpack) would tell, in three operations.
    ///
    /// ```
    /// use potad_memdesc::{Immediate, Order, OwnerId, Subtype, Word};
    ///
    /// let word = Immediate::new(Subtype::Raw, OwnerId(7), Order::ZERO).pack();
    /// assert!(Immediate::is_of(word, Order::ZERO));
    /// assert!(!Immediate::is_of(word, Order::MAX));
    /// assert!(!Immediate::is_of(Word::EMPTY, Order::ZERO));
    /// ```
    #[inline]
    pub fn is_of(word: Word, order: Order) -> bool {
        // No kind, and a subtype: their low three bits are never zero.
        let bits = word.bits();
        bits & (0x3f << ORDER_SHIFT | 0x1f) == u64::from(order.get()) << ORDER_SHIFT
            && bits & (7 << SUBTYPE_SHIFT) != 0
    }

    /// What an immediate word says; `None` for any other word.
    #[inline]
    pub fn unpack(word: Word) -> Option<Self> {
        if word.descriptor_kind().is_some() {
            return None;
        }
        let bits = word.bits();
        let subtype = Subtype::from_number(bits >> SUBTYPE_SHIFT & 0xf)?;
        // Six bits: never above 63.
        let order = Order::new((bits >> ORDER_SHIFT & 0x3f) as u32).ok()?;
        Some(Self {
            subtype,
            owner: OwnerId((bits >> OWNER_SHIFT) as u16),
            order,
            cookie: (bits >> COOKIE_SHIFT) as u32,
            poisoned: bits >> POISON_SHIFT & 1 != 0,
        })
    }
}

impl fmt::Debug for Immediate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let poison = if self.poisoned { "!" } else { "" };
        write!(f, "{} {:?} {:?}", self.subtype.name(), self.order, self.owner)?;
        write!(f, " #{:#x}{poison}", self.cookie)
    }
}
