//! One event of a block trace.

use memdesc::Order;

/// What was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The kernel's page allocator: frames.
    Page,
    /// A process's heap: bytes.
    Malloc,
    /// Address ranges of processes, as blocks of pages.
    Vma,
    /// Slots of a swap file.
    Swap,
}

impl Kind {
    pub(super) const fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Page),
            1 => Some(Self::Malloc),
            2 => Some(Self::Vma),
            3 => Some(Self::Swap),
            _ => None,
        }
    }

    /// The name in the format's description.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Malloc => "malloc",
            Self::Vma => "vma",
            Self::Swap => "swap",
        }
    }
}

/// What happened to the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The id, not live until now, names a new block.
    Alloc {
        /// Page traces: bits 0 to 23 the frame that the kernel chose, 24 to 26
        /// the migrate type, 27 zeroed, 28 high priority, 29 prelude. Others:
        /// the exact size in units.
        arg: u32,
    },
    /// The block is given back.
    Free,
    /// A live block of the next order becomes two of this one: the id keeps
    /// the lower half.
    Split {
        /// The id, not live until now, of the upper half.
        upper: u32,
    },
    /// The id keeps its number and gets another size.
    Resize {
        /// The new exact size in units.
        exact: u32,
    },
}

impl Op {
    /// The kernel's migrate type of an allocation in a page trace: 0
    /// unmovable, 1 movable, 2 reclaimable.
    pub const fn migrate_type(self) -> Option<u32> {
        match self {
            Self::Alloc { arg } => Some(arg >> 24 & 7),
            _ => None,
        }
    }
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which block.
    pub id: u32,
    /// The block's order, of each half for a split, the new one for a resize.
    pub order: Order,
    /// The processor it happened on, 0..=15.
    pub cpu: u8,
    /// Which thread, a dense number.
    pub thread: u16,
    /// Nanoseconds since the record before.
    pub dt_ns: u32,
    /// What happened.
    pub op: Op,
}

impl Record {
    /// The frame that the kernel chose, of an allocation in a page trace.
    pub fn frame(&self, kind: Kind) -> Option<u32> {
        match self.op {
            Op::Alloc { arg } if kind == Kind::Page => Some(arg & 0xff_ffff),
            _ => None,
        }
    }

    /// The class that an embedder would pass for an allocation of a page trace:
    /// one of four groups of threads, and whether the memory is asked for
    /// zeroed (a process's own) or not (files, tables). 0 elsewhere.
    ///
    /// Migrate types do not tell what dies together: nearly all that lives and
    /// nearly all that dies is movable.
    pub fn class(&self, kind: Kind) -> u8 {
        let Op::Alloc { arg } = self.op else { return 0 };
        if kind != Kind::Page {
            return 0;
        }
        // Lossless: below eight.
        ((self.thread % 4) << 1 | (arg >> 27 & 1) as u16) as u8
    }
}

const _: () = assert!(size_of::<Record>() == 20);
