//! What describes a block, and a block whatever describes it.
//!
//! | kind   | bytes | which blocks                                   |
//! |--------|-------|------------------------------------------------|
//! | Folio  | 48    | movable ones                                   |
//! | Slab   | 112   | those that cannot move                         |
//! | Buffer | 360   | reclaimable ones, and one in sixteen           |
//! | Huge   | 1040  | order 4 and above                              |
//! | raw    | -     | one in eight: an owner, and no descriptor      |

use super::plan::Step;
use core::mem::size_of;
use potad::memdesc::sync::atomic::{AtomicU32, AtomicU64};
use potad::memdesc::{Block as Place, Order, OwnerId, descriptors};
use potad::{Block, Error, Hand, RawBlock, Refused, Zone};

/// Whose block it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// Never used twice in a run.
    pub stamp: u64,
    /// The id in the trace.
    pub id: u32,
    /// The guest that allocated it.
    pub guest: u32,
}

/// A movable page or a few.
#[derive(Debug)]
pub struct Folio {
    /// Whose it is.
    pub who: Who,
    /// Page tables that map it.
    pub mapped: AtomicU32,
    /// Dirty, referenced, and the like.
    pub flags: AtomicU32,
    /// Where it is in a file.
    pub index: AtomicU64,
    /// The file.
    pub mapping: AtomicU64,
    /// The list it is on.
    pub list: AtomicU64,
}

/// Memory that is cut into objects.
#[derive(Debug)]
pub struct Slab {
    /// Whose it is.
    pub who: Who,
    /// Objects in use.
    pub in_use: AtomicU64,
    /// One bit per object.
    pub objects: [AtomicU64; 11],
}

/// A buffer of metadata, as large as such a one really is.
#[derive(Debug)]
pub struct Buffer {
    /// Whose it is.
    pub who: Who,
    /// Holders.
    pub holds: AtomicU64,
    /// Disk addresses that it was read from.
    pub maps: [AtomicU64; 42],
}

/// A large block, with a map of its parts.
#[derive(Debug)]
pub struct Huge {
    /// Whose it is.
    pub who: Who,
    /// What is mapped, per part.
    pub parts: [AtomicU64; 128],
}

const _: () = assert!(size_of::<Folio>() == 48);
const _: () = assert!(size_of::<Slab>() == 112);
const _: () = assert!(size_of::<Buffer>() == 360);
const _: () = assert!(size_of::<Huge>() == 1040);

descriptors! {
    /// What a guest's memory is used for.
    pub set Mm { Folio = 1, Slab = 2, Buffer = 3, Huge = 4 }
}

impl Mm<'_> {
    /// Whose it is.
    pub fn who(&self) -> Who {
        match self {
            Self::Folio(body) => body.who,
            Self::Slab(body) => body.who,
            Self::Buffer(body) => body.who,
            Self::Huge(body) => body.who,
        }
    }
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    core::array::from_fn(|_| AtomicU64::new(0))
}

/// A body for `who`.
trait Body: potad::memdesc::Descriptor {
    fn new(who: Who) -> Self;
}

impl Body for Folio {
    fn new(who: Who) -> Self {
        let (mapped, flags) = (AtomicU32::new(1), AtomicU32::new(0));
        let [index, mapping, list] = zeros();
        Self { who, mapped, flags, index, mapping, list }
    }
}

impl Body for Slab {
    fn new(who: Who) -> Self {
        Self { who, in_use: AtomicU64::new(0), objects: zeros() }
    }
}

impl Body for Buffer {
    fn new(who: Who) -> Self {
        Self { who, holds: AtomicU64::new(1), maps: zeros() }
    }
}

impl Body for Huge {
    fn new(who: Who) -> Self {
        Self { who, parts: zeros() }
    }
}

/// Which of them, with raw as the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Sort {
    Folio = 1,
    Slab = 2,
    Buffer = 3,
    Huge = 4,
    Raw = 5,
}

impl Sort {
    pub(super) const ALL: [Self; 5] =
        [Self::Folio, Self::Slab, Self::Buffer, Self::Huge, Self::Raw];

    /// By order and by the migrate type that was recorded.
    pub(super) fn of(step: &Step) -> Self {
        match (step.id % 16, step.order.get(), step.tag) {
            (7 | 15, ..) => Self::Raw,
            (3, ..) => Self::Buffer,
            (_, 4.., _) => Self::Huge,
            (.., 0) => Self::Slab,
            (.., 1) => Self::Folio,
            _ => Self::Buffer,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// As lookup names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Folio => "Folio",
            Self::Slab => "Slab",
            Self::Buffer => "Buffer",
            Self::Huge => "Huge",
            Self::Raw => "raw",
        }
    }
}

/// A block of any kind, owned.
#[derive(Debug)]
pub(super) enum Lent {
    Folio(Block<Folio>),
    Slab(Block<Slab>),
    Buffer(Block<Buffer>),
    Huge(Block<Huge>),
    Raw(RawBlock),
}

/// The same for whichever block it is.
macro_rules! each {
    ($lent:expr, $block:ident => $do:expr) => {
        match $lent {
            Lent::Folio($block) => $do,
            Lent::Slab($block) => $do,
            Lent::Buffer($block) => $do,
            Lent::Huge($block) => $do,
            Lent::Raw($block) => $do,
        }
    };
}

impl Lent {
    pub(super) fn alloc(
        hand: &mut Hand,
        sort: Sort,
        order: Order,
        owner: OwnerId,
        who: Who,
    ) -> Result<Self, Error> {
        fn typed<T: Body>(
            hand: &mut Hand,
            order: Order,
            owner: OwnerId,
            who: Who,
        ) -> Result<Block<T>, Error> {
            hand.alloc_owned(order, owner, T::new(who)).map_err(|refused| refused.why)
        }
        match sort {
            Sort::Folio => typed(hand, order, owner, who).map(Self::Folio),
            Sort::Slab => typed(hand, order, owner, who).map(Self::Slab),
            Sort::Buffer => typed(hand, order, owner, who).map(Self::Buffer),
            Sort::Huge => typed(hand, order, owner, who).map(Self::Huge),
            Sort::Raw => hand.alloc_raw(order, owner).map(Self::Raw),
        }
    }

    pub(super) fn place(&self) -> Place {
        each!(self, block => block.block())
    }

    pub(super) fn sort(&self) -> Sort {
        match self {
            Self::Folio(_) => Sort::Folio,
            Self::Slab(_) => Sort::Slab,
            Self::Buffer(_) => Sort::Buffer,
            Self::Huge(_) => Sort::Huge,
            Self::Raw(_) => Sort::Raw,
        }
    }

    pub(super) fn free(self, hand: &mut Hand) -> Result<(), Error> {
        fn typed<T: Body>(zone: &Zone, block: Block<T>) -> Result<(), Error> {
            zone.free(block).map_err(|refused| refused.why)
        }
        let zone = hand.zone().clone();
        match self {
            Self::Folio(block) => typed(&zone, block),
            Self::Slab(block) => typed(&zone, block),
            Self::Buffer(block) => typed(&zone, block),
            Self::Huge(block) => typed(&zone, block),
            Self::Raw(block) => hand.free_raw(block).map_err(|refused| refused.why),
        }
    }

    /// Splits it: `upper` is who has the upper half. Refused, it comes back.
    pub(super) fn split(self, zone: &Zone, upper: Who) -> Result<(Self, Self), (Self, Error)> {
        fn typed<T: Body>(
            zone: &Zone,
            block: Block<T>,
            upper: Who,
            wrap: fn(Block<T>) -> Lent,
        ) -> Result<(Lent, Lent), (Lent, Error)> {
            match zone.split(block, T::new(upper)) {
                Ok((lower, upper)) => Ok((wrap(lower), wrap(upper))),
                Err(Refused { given: (block, _), why }) => Err((wrap(block), why)),
            }
        }
        match self {
            Self::Folio(block) => typed(zone, block, upper, Self::Folio),
            Self::Slab(block) => typed(zone, block, upper, Self::Slab),
            Self::Buffer(block) => typed(zone, block, upper, Self::Buffer),
            Self::Huge(block) => typed(zone, block, upper, Self::Huge),
            Self::Raw(block) => match zone.split_raw(block) {
                Ok((lower, upper)) => Ok((Self::Raw(lower), Self::Raw(upper))),
                Err(Refused { given, why }) => Err((Self::Raw(given), why)),
            },
        }
    }
}
