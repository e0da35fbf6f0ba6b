//! What a signal handler may know of a block: a copy, and nothing to hold on to.
//!
//! # What always holds
//!
//! A snapshot is plain data that was true at a moment of the look-up that made
//! it. By the time anybody reads it the block may be another's: whoever acts on
//! it locks and looks again, in a normal thread.

use crate::cell::TypeInfo;
use crate::handle::Handle;
use crate::reclaim::InSignal;
use crate::{Block, Granule, Home, Immediate, Kind, OwnerId, Word};

/// A copy of what lives at an address, as a look-up in a signal handler makes
/// it.
///
/// ```
/// use potad_memdesc::{Granule, Immediate, Order, OwnerId, Seen, Snapshot, Subtype};
///
/// let raw = Immediate::new(Subtype::Raw, OwnerId(7), Order::new(3)?).with_cookie(42);
/// let seen = Snapshot::of_immediate(raw, Granule(13));
/// assert_eq!((seen.block.base(), seen.owner, seen.kind_name()), (Granule(8), OwnerId(7), "raw"));
/// assert!(matches!(seen.seen, Seen::Immediate(word) if word.cookie == 42));
/// # Ok::<(), potad_memdesc::GeometryError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The block.
    pub block: Block,
    /// Who must hear of memory failure.
    pub owner: OwnerId,
    /// Whether memory was known to have failed inside.
    pub poisoned: bool,
    /// The word that names it, without the poison hint. To compare with; of a
    /// descriptor that has died since it may name another.
    pub word: Word,
    /// What lives there.
    pub seen: Seen,
}

/// What a [`Snapshot`] is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A descriptor.
    Descriptor {
        /// The number of its type.
        kind: Kind,
        /// The name of its type.
        name: &'static str,
        /// The user's eight flags.
        flags: u8,
        /// Whether its last reference was gone: the block is about to be free.
        dying: bool,
    },
    /// A block without a descriptor.
    Immediate(Immediate),
}

impl Snapshot {
    /// The name of the type, or of the subtype.
    pub fn kind_name(&self) -> &'static str {
        match self.seen {
            Seen::Descriptor { name, .. } => name,
            Seen::Immediate(immediate) => immediate.subtype.name(),
        }
    }

    /// What an immediate word says that stands for a granule.
    pub fn of_immediate(immediate: Immediate, at: Granule) -> Self {
        Self {
            block: Block::containing(at, immediate.order),
            owner: immediate.owner,
            poisoned: immediate.poisoned,
            word: immediate.pack().unpoisoned(),
            seen: Seen::Immediate(immediate),
        }
    }

    /// What a descriptor says of itself; `None` if it does not describe `at` any
    /// more, or the word names none.
    ///
    /// # Safety
    ///
    /// - `word`, if it names a descriptor, was loaded (Acquire) from a slot while
    ///   `inside` lived, and the cell is retired through the epoch only after
    ///   no slot names it.
    /// - The cell's home is of type `H`, its body of the type of `info`.
    #[doc(hidden)]
    pub unsafe fn of_descriptor<H: Home>(
        word: Word,
        info: &'static TypeInfo,
        at: Granule,
        inside: &InSignal,
    ) -> Option<Self> {
        let _ = inside;
        let kind = word.descriptor_kind()?;
        // SAFETY: the gate keeps the cell, by the first promise, for longer than
        // this call; its types are right by the second.
        let handle = unsafe { Handle::<H>::new(word) }?;
        let header = handle.header();
        // The re-check: a split may have moved the granule on, or another
        // descriptor taken it over. One load of the place: the block is the one
        // that holds the granule.
        let block = header.place().filter(|block| block.contains(at) && !header.is_moved())?;
        Some(Self {
            block,
            owner: header.owner(),
            poisoned: header.is_poisoned() || word.is_poisoned(),
            word: handle.word(),
            seen: Seen::Descriptor {
                kind,
                name: info.name,
                flags: header.flags(),
                dying: header.is_dead(),
            },
        })
    }
}
