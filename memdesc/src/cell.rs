//! The cell: what is put around a user's type to make it a descriptor.
//!
//! # Picture
//!
//! ```text
//! 0         16       24
//! +--------+--------+--------------------------+
//! | header | anchor |           body           |   64-byte aligned
//! +--------+--------+--------------------------+
//!  \---- head ------/
//! ```
//!
//! The head is the same for every body and every home, so a cell whose type is
//! not known statically can be counted, locked and asked for its home. Where
//! its body lies, and how to drop it, its [`TypeInfo`] says.
//!
//! # What always holds
//!
//! A cell is freed in two ways only: by `Fresh`, which owns it before it is
//! published, and through the epoch by `Garbage`, which exists once nothing
//! names it any more. It has a unit of its home's anchor until its teardown has
//! run. Shared references to head and body are made from the pointer of the
//! whole allocation, never one from the other.

mod build;
mod erased;

pub(crate) use build::{make, make_of, make_with, unmake};
#[cfg(not(loom))]
pub(crate) use erased::bytes_of;
#[cfg(all(feature = "std", not(any(loom, shuttle))))]
pub(crate) use erased::class_of;
#[cfg(all(feature = "std", not(loom)))]
pub(crate) use erased::{drop_body_of, give_memory};
pub(crate) use erased::{free, tail_of};

use crate::anchor::Anchor;
use crate::header::Header;
#[cfg(all(feature = "std", not(any(loom, shuttle))))]
use crate::slab::Class;
use crate::tail::Placed;
use crate::{Descriptor, OwnerId};
use core::alloc::Layout;
use core::any::TypeId;
use core::fmt;
use core::ptr::{self, NonNull};

/// A descriptor in memory: header, way to the home, body.
#[repr(C, align(64))]
pub struct Cell<H, T> {
    pub(crate) head: Head<H>,
    pub(crate) body: T,
}

#[cfg(not(any(loom, shuttle)))]
const _: () = assert!(size_of::<Cell<(), [u8; 360]>>() == 384);

impl<H, T> fmt::Debug for Cell<H, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head.header.fmt(f)
    }
}

/// What every cell begins with.
#[repr(C)]
pub(crate) struct Head<H> {
    pub(crate) header: Header,
    #[cfg(any(loom, shuttle))]
    pub(crate) canary: crate::canary::Canary,
    pub(crate) anchor: NonNull<Anchor<H>>,
}

impl<H> Head<H> {
    fn new(anchor: NonNull<Anchor<H>>, owner: OwnerId) -> Self {
        Self {
            header: Header::new(owner),
            #[cfg(any(loom, shuttle))]
            canary: crate::canary::Canary::default(),
            anchor,
        }
    }
}

/// What there is to know of a descriptor type at run time.
#[doc(hidden)]
#[derive(Debug)]
pub struct TypeInfo {
    type_id: TypeId,
    /// The type's own name for itself.
    pub name: &'static str,
    /// The layout of the whole cell without a tail, the same for every home.
    whole: Layout,
    /// Where in it the body lies.
    body: usize,
    tail: Option<Placed>,
    /// The slab's class for cells without a tail.
    #[cfg(all(feature = "std", not(any(loom, shuttle))))]
    class: Option<Class>,
    /// Drops a body in place: the pointer is to a live one of this type.
    /// `None` if there is nothing to do.
    drop_body: Option<unsafe fn(*mut ())>,
    /// What a cell weighs in a bag: see [`weight`](Self::weight).
    #[cfg(all(feature = "std", not(loom)))]
    weight: u64,
}

/// The weight of a cell that is to be looked at by itself: more than all plain
/// ones of a bag together.
#[cfg(all(feature = "std", not(loom)))]
pub(crate) const NOT_PLAIN: u64 = 1 << 32;
/// Larger cells are looked at by themselves.
#[cfg(all(feature = "std", not(loom)))]
pub(crate) const PLAIN: u64 = 1 << 24;

impl TypeInfo {
    /// A constant of the program, one per type.
    #[inline]
    pub fn of<T: Descriptor>() -> &'static Self {
        const {
            &Self {
                type_id: TypeId::of::<T>(),
                name: T::NAME,
                whole: Layout::new::<Cell<(), T>>(),
                body: core::mem::offset_of!(Cell<(), T>, body),
                tail: match T::TAIL {
                    Some(tail) => {
                        let end = core::mem::offset_of!(Cell<(), T>, body) + size_of::<T>();
                        Some(Placed::after(end, align_of::<Cell<(), T>>(), tail))
                    }
                    None => None,
                },
                #[cfg(all(feature = "std", not(any(loom, shuttle))))]
                class: Class::of(Layout::new::<Cell<(), T>>()),
                drop_body: if core::mem::needs_drop::<T>() { Some(drop_body::<T>) } else { None },
                #[cfg(all(feature = "std", not(loom)))]
                weight: {
                    let bytes = size_of::<Cell<(), T>>() as u64;
                    let is_plain = !core::mem::needs_drop::<T>() && T::TAIL.is_none();
                    if is_plain && bytes < PLAIN { bytes } else { NOT_PLAIN }
                },
            }
        }
    }

    /// Whether this is `T`.
    #[inline]
    pub fn is<T: Descriptor>(&self) -> bool {
        // The address decides quickly; two addresses may still be one type.
        ptr::eq(self, Self::of::<T>()) || self.type_id == TypeId::of::<T>()
    }

    /// A number to be added up over the cells of a bag: the bytes of a cell, if
    /// nothing in it is to be dropped and all of the type have as many, else
    /// [`NOT_PLAIN`]. So the sum says whether all are plain, and then how much they
    /// are.
    #[cfg(all(feature = "std", not(loom)))]
    #[inline(always)]
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// Whether a tail of such items follows the body.
    pub(crate) fn has_tail_of<E: 'static>(&self) -> bool {
        self.tail.as_ref().is_some_and(Placed::is::<E>)
    }

    /// The slab's class of each cell of the type, if all have the same.
    #[cfg(all(feature = "std", not(any(loom, shuttle))))]
    #[inline]
    pub(crate) fn fixed_class(&self) -> Option<Class> {
        if self.tail.is_none() { self.class } else { None }
    }

    /// The layout of a cell with so many items behind its body.
    #[inline]
    fn layout(&self, len: usize) -> Option<Layout> {
        match &self.tail {
            None => Some(self.whole),
            Some(tail) => tail.whole(len),
        }
    }

    /// The slab's class for the cells of a layout.
    #[cfg(all(feature = "std", not(any(loom, shuttle))))]
    #[inline]
    fn class(&self, whole: Layout) -> Option<Class> {
        if self.tail.is_none() { self.class } else { Class::of(whole) }
    }
}

/// # Safety
///
/// `body` is a `T` that nobody else uses, now or later.
unsafe fn drop_body<T>(body: *mut ()) {
    // SAFETY: promised by the caller.
    unsafe { body.cast::<T>().drop_in_place() };
}
