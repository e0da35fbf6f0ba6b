//! The word of an entry: a value, or a link to a node.

use super::node::Head;
use core::ptr::{self, NonNull};

const VALUE: usize = 1;
/// What is not address in a link: a node is 32-byte aligned.
const LINK_TAGS: usize = 31;

/// A value's pointer with the lowest bit set, or a node's with its level.
///
/// ```text
///        63                          5 4    1 0
///       +------------------------------------+---+
/// value |       what `Value::into_raw` gave  | 1 |
///       +-----------------------------+------+---+
/// link  |  address, 32-byte aligned   | level| 0 |    0 = no root
///       +-----------------------------+------+---+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Word(pub(super) *mut ());

impl Word {
    pub(super) const NONE: Self = Self(ptr::null_mut());

    /// The word of a value.
    #[inline]
    pub(super) fn of_value(raw: *mut ()) -> Self {
        debug_assert_eq!(raw.addr() & VALUE, 0, "a value's pointer is even");
        Self(raw.map_addr(|addr| addr | VALUE))
    }

    /// The word of a node.
    #[inline]
    pub(super) fn of_link(node: NonNull<Head>, level: u32) -> Self {
        debug_assert_eq!(node.addr().get() & LINK_TAGS, 0, "a node is 32-byte aligned");
        Self(node.as_ptr().cast::<()>().map_addr(|addr| addr | (level as usize) << 1))
    }

    #[inline]
    pub(super) fn is_none(self) -> bool {
        self.0.is_null()
    }

    #[inline]
    pub(super) fn is_value(self) -> bool {
        self.0.addr() & VALUE != 0
    }

    /// What `Value::from_raw` takes, of a value.
    #[inline]
    pub(super) fn raw(self) -> *mut () {
        self.0.map_addr(|addr| addr & !VALUE)
    }

    /// The level of the node, of a link.
    #[inline]
    pub(super) fn level(self) -> u32 {
        // Lossless: four bits.
        ((self.0.addr() & LINK_TAGS) >> 1) as u32
    }

    /// The node, of a link.
    #[inline]
    pub(super) fn node(self) -> *mut Head {
        self.0.map_addr(|addr| addr & !LINK_TAGS).cast()
    }
}

// SAFETY: a word is data; following it is the business of `node`.
unsafe impl Send for Word {}
