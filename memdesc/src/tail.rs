//! The tail: items that follow a body, as many as each descriptor wants.
//!
//! # Picture
//!
//! ```text
//! 0         16       24             body ends
//! +--------+--------+--------------+--------+---------------------+
//! | header | anchor |     body     |  len   | item, item, ..      |
//! +--------+--------+--------------+--------+---------------------+
//! ```
//!
//! # What always holds
//!
//! A type has a tail of one item type, or none, and says so in a constant: every
//! cell of the type has the length then, which may be 0. It is written when the
//! cell is made and never changes; items are shared like the body.

use core::alloc::Layout;
use core::any::TypeId;

/// The item type of a descriptor's tail: see
/// [`Descriptor::TAIL`](crate::Descriptor::TAIL).
///
/// ```
/// use potad_memdesc::{Descriptor, Tail};
///
/// struct Frames;
/// impl Descriptor for Frames {
///     const NAME: &'static str = "frames";
///     const TAIL: Option<Tail> = Some(Tail::of::<u64>());
/// }
/// assert!(Frames::TAIL.is_some_and(|tail| tail.is::<u64>()));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    item: TypeId,
    layout: Layout,
    /// Drops so many items; `None` if there is nothing to do.
    drop_items: Option<unsafe fn(*mut (), usize)>,
}

impl Tail {
    /// A tail of such items.
    pub const fn of<E: Send + Sync + 'static>() -> Self {
        let drop_items: Option<unsafe fn(*mut (), usize)> =
            if core::mem::needs_drop::<E>() { Some(drop_items::<E>) } else { None };
        Self { item: TypeId::of::<E>(), layout: Layout::new::<E>(), drop_items }
    }

    /// Whether its items are of this type.
    pub fn is<E: 'static>(&self) -> bool {
        self.item == TypeId::of::<E>()
    }
}

/// # Safety
///
/// `items` are so many `E`s that nobody else uses, now or later.
unsafe fn drop_items<E>(items: *mut (), len: usize) {
    let items = core::ptr::slice_from_raw_parts_mut(items.cast::<E>(), len);
    // SAFETY: promised by the caller.
    unsafe { items.drop_in_place() };
}

/// Where in a cell the tail lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    tail: Tail,
    /// Of the length, from the cell's start.
    pub(crate) len: usize,
    /// Of the first item.
    pub(crate) items: usize,
    align: usize,
}

impl Placed {
    /// After a body that ends at `end`, in a cell of this alignment.
    pub(crate) const fn after(end: usize, align: usize, tail: Tail) -> Self {
        let len = end.next_multiple_of(align_of::<usize>());
        let items = (len + size_of::<usize>()).next_multiple_of(tail.layout.align());
        let align = if align > tail.layout.align() { align } else { tail.layout.align() };
        Self { tail, len, items, align }
    }

    pub(crate) fn is<E: 'static>(&self) -> bool {
        self.tail.is::<E>()
    }

    /// The layout of a cell with so many items; `None` past the end of memory.
    pub(crate) fn whole(&self, len: usize) -> Option<Layout> {
        let items = self.tail.layout.size().checked_mul(len)?;
        let size = self.items.checked_add(items)?.checked_next_multiple_of(self.align)?;
        Layout::from_size_align(size, self.align).ok()
    }

    /// Drops the items.
    ///
    /// # Safety
    ///
    /// `items` are those of a cell that was made with this tail, `len` of them,
    /// and nobody uses them, now or later.
    pub(crate) unsafe fn drop_items(&self, items: *mut (), len: usize) {
        if let Some(drop_items) = self.tail.drop_items {
            // SAFETY: of this type, by the promise.
            unsafe { drop_items(items, len) };
        }
    }
}
