//! The word: the 8-byte name of what lives in a block.
//!
//! # Picture
//!
//! ```text
//!            63            32 31     16 15   10 9     6   5   4    0
//!           +------------------------------------------+---+------+
//! descriptor|        address, 64-byte aligned          | P | kind |   kind 1..=31
//!           +----------------+---------+-------+-------+---+------+
//! immediate |     cookie     |  owner  | order |subtype| P |  0   |   subtype 1..=6, 9..=15
//!           +----------------+---------+-------+-------+---+------+
//! link      |        address, 512-byte aligned             |  0   |   [8..0] = 0
//!           +----------------------------------------------+------+
//! empty     |                           0                         |
//!           +-----------------------------------------------------+
//! ```
//!
//! `P` is the poison hint. The lowest nine bits tell the four apart, which is
//! why subtypes 0 and 8 do not exist.
//!
//! # What always holds
//!
//! A word is data: anybody may copy, compare and print it. Following a
//! descriptor or a link is unsafe, and only the handles of this crate and the
//! tree of `lookup` do so. Pointers stay pointers: tags are put on and taken
//! off by `map_addr`, never through an integer.

use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::{Immediate, Kind};
use core::fmt;
use core::ptr;

#[cfg(not(target_pointer_width = "64"))]
compile_error!("words carry a 32-bit cookie and an owner beside a pointer: 64-bit targets only");

const KIND_BITS: usize = 0x1f;
const POISON_BIT: usize = 1 << 5;
/// What tells a link from the rest.
const LINK_BITS: usize = 0x1ff;
/// What is not address in a descriptor word.
const TAG_BITS: usize = KIND_BITS | POISON_BIT;

/// The name of what lives in a block, or of nothing.
///
/// ```
/// use potad_memdesc::{Immediate, Order, OwnerId, Subtype, Word, WordKind};
///
/// let raw = Immediate::new(Subtype::Raw, OwnerId(7), Order::new(9)?);
/// let word = raw.pack();
/// assert_eq!(word.kind(), WordKind::Immediate(raw));
/// assert_eq!(Word::EMPTY.kind(), WordKind::Empty);
/// # Ok::<(), potad_memdesc::GeometryError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Word(*mut ());

// SAFETY: a word is data; what may be done with the address inside is the
// business of the handles.
unsafe impl Send for Word {}
// SAFETY: as above.
unsafe impl Sync for Word {}

/// What a word says, without following it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WordKind {
    /// Nothing lives here.
    Empty,
    /// The address of a descriptor of this kind.
    Descriptor(Kind),
    /// A block without a descriptor: the word says it all.
    Immediate(Immediate),
    /// The address of a node one level down.
    Link,
    /// None of these; no operation makes such a word.
    Unknown,
}

impl Word {
    /// Nothing lives here.
    pub const EMPTY: Self = Self(ptr::null_mut());

    /// Whether nothing lives here.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.0.is_null()
    }

    /// What the word says.
    pub fn kind(self) -> WordKind {
        if self.is_empty() {
            return WordKind::Empty;
        }
        if self.is_link() {
            return WordKind::Link;
        }
        if let Some(kind) = self.descriptor_kind() {
            return WordKind::Descriptor(kind);
        }
        match Immediate::unpack(self) {
            Some(immediate) => WordKind::Immediate(immediate),
            None => WordKind::Unknown,
        }
    }

    /// The kind of the descriptor named here, if one is.
    #[inline]
    pub fn descriptor_kind(self) -> Option<Kind> {
        // Lossless: five bits.
        Kind::new((self.addr() & KIND_BITS) as u8)
    }

    /// Whether this names a node one level down.
    #[inline]
    pub fn is_link(self) -> bool {
        !self.is_empty() && self.addr() & LINK_BITS == 0
    }

    /// Whether the poison hint is set.
    #[inline]
    pub fn is_poisoned(self) -> bool {
        !self.is_link() && self.addr() & POISON_BIT != 0
    }

    /// The same word with the poison hint; links and nothing stay as they are.
    #[inline]
    pub fn poisoned(self) -> Self {
        if self.is_empty() || self.is_link() {
            return self;
        }
        Self(self.0.map_addr(|addr| addr | POISON_BIT))
    }

    /// The same word without the poison hint.
    #[inline]
    pub fn unpoisoned(self) -> Self {
        // In a link the bit is clear: its node is aligned to more.
        Self(self.0.map_addr(|addr| addr & !POISON_BIT))
    }

    /// Whether the two name the same thing, poisoned or not.
    #[inline]
    pub fn names_same(self, other: Self) -> bool {
        self.unpoisoned() == other.unpoisoned()
    }

    /// The word of a descriptor: `cell` with its kind as the tag.
    #[inline]
    pub(crate) fn of_descriptor(cell: *mut (), kind: Kind) -> Self {
        debug_assert_eq!(cell.addr() & TAG_BITS, 0, "a descriptor is 64-byte aligned");
        Self(cell.map_addr(|addr| addr | usize::from(kind.get())))
    }

    /// The same, as what is never null.
    #[inline]
    pub(crate) fn tag(cell: ptr::NonNull<()>, kind: Kind) -> ptr::NonNull<()> {
        debug_assert_eq!(cell.addr().get() & TAG_BITS, 0, "a descriptor is 64-byte aligned");
        cell.map_addr(|addr| addr | usize::from(kind.get()))
    }

    /// The word, if it is not empty.
    #[inline]
    pub(crate) fn tagged(self) -> Option<ptr::NonNull<()>> {
        ptr::NonNull::new(self.0)
    }

    #[inline]
    pub(crate) fn of_tagged(tagged: ptr::NonNull<()>) -> Self {
        Self(tagged.as_ptr())
    }

    /// The cell that a descriptor word names.
    #[inline]
    pub(crate) fn cell(self) -> *mut () {
        self.0.map_addr(|addr| addr & !TAG_BITS)
    }

    /// The word of a descriptor as a pointer whose lowest bit is clear: the kind
    /// moves up by one, into the place of the poison hint, which is dropped.
    #[doc(hidden)]
    #[inline]
    pub fn to_even(self) -> *mut () {
        debug_assert!(self.descriptor_kind().is_some(), "{self:?} names no descriptor");
        self.0.map_addr(|addr| addr & !TAG_BITS | (addr & KIND_BITS) << 1)
    }

    /// What [`to_even`](Self::to_even) was made of.
    #[doc(hidden)]
    #[inline]
    pub fn of_even(even: *mut ()) -> Self {
        Self(even.map_addr(|addr| addr & !TAG_BITS | (addr & TAG_BITS) >> 1))
    }

    /// A link to `node`, which is 512-byte aligned.
    #[doc(hidden)]
    #[inline]
    pub fn of_link(node: *mut ()) -> Self {
        debug_assert_eq!(node.addr() & LINK_BITS, 0, "a node is 512-byte aligned");
        Self(node)
    }

    /// The node this links to, if it is a link.
    #[doc(hidden)]
    #[inline]
    pub fn link(self) -> Option<ptr::NonNull<()>> {
        if self.addr() & LINK_BITS != 0 {
            return None;
        }
        ptr::NonNull::new(self.0)
    }

    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Self {
        // Lossless: 64-bit targets only.
        Self(ptr::without_provenance_mut(bits as usize))
    }

    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.addr() as u64
    }

    #[inline]
    fn addr(self) -> usize {
        self.0.addr()
    }
}

impl Default for Word {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let poison = if self.is_poisoned() { "!" } else { "" };
        match self.kind() {
            WordKind::Empty => f.write_str("empty"),
            WordKind::Link => write!(f, "link {:p}", self.0),
            WordKind::Descriptor(kind) => write!(f, "{kind:?} {:p}{poison}", self.cell()),
            WordKind::Immediate(immediate) => immediate.fmt(f),
            WordKind::Unknown => write!(f, "unknown {:p}", self.0),
        }
    }
}

/// A place for one [`Word`] that any thread may read.
///
/// All-zero bytes are an empty place.
#[derive(Debug)]
#[repr(transparent)]
pub struct AtomicWord(AtomicPtr<()>);

#[cfg(not(loom))]
const _: () = assert!(size_of::<AtomicWord>() == 8);

// SAFETY: zero bytes are the null pointer, which is the empty word.
unsafe impl crate::Zeroed for AtomicWord {}

impl AtomicWord {
    /// An empty place.
    pub fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Whether nothing is in any of some places.
    #[doc(hidden)]
    #[inline]
    pub fn all_empty(places: &[Self]) -> bool {
        // Relaxed: whoever asks knows it from the last owner, or looks anew. Eight
        // at a time, without a branch each.
        let any = |places: &[Self]| {
            places.iter().fold(0, |any, place| any | place.load(Ordering::Relaxed).addr())
        };
        let (eights, rest) = places.as_chunks::<8>();
        any(rest) == 0 && eights.iter().all(|eight| any(eight) == 0)
    }

    /// The word.
    #[inline]
    pub fn load(&self, ordering: Ordering) -> Word {
        Word(self.0.load(ordering))
    }

    /// Replaces the word.
    #[inline]
    pub fn store(&self, word: Word, ordering: Ordering) {
        self.0.store(word.0, ordering);
    }

    /// Replaces the word and returns the old one.
    #[inline]
    pub fn swap(&self, word: Word, ordering: Ordering) -> Word {
        Word(self.0.swap(word.0, ordering))
    }

    /// Replaces `old` by `new`; otherwise returns what is there.
    #[inline]
    pub fn compare_exchange(
        &self,
        old: Word,
        new: Word,
        success: Ordering,
        failure: Ordering,
    ) -> Result<Word, Word> {
        self.0.compare_exchange(old.0, new.0, success, failure).map(Word).map_err(Word)
    }
}

impl Default for AtomicWord {
    fn default() -> Self {
        Self::new()
    }
}
