//! Making a cell, and taking one apart that nobody else knows.
//!
//! # What always holds
//!
//! A cell is all there when its pointer is given out: a tail first, then head and
//! body, each by itself. It has the unit from then on; what cannot be made goes
//! back in its parts.

use super::erased::{drop_tail, give_memory};
use super::{Cell, Head, TypeInfo};
use crate::anchor::Unit;
use crate::{Descriptor, Home, Keep, OwnerId};
use alloc::alloc::{Layout, alloc};
use core::ptr::NonNull;

/// What could not be made into a cell: its size, and the parts.
pub(crate) type Unmade<H, T> = (usize, Unit<H>, T);

/// Makes a cell, which has the unit from then on, or hands the parts back. A
/// tail, if the type has one, is empty.
#[inline]
pub(crate) fn make<H: Home, T: Descriptor>(
    unit: Unit<H>,
    owner: OwnerId,
    body: T,
) -> Result<NonNull<Cell<H, T>>, Unmade<H, T>> {
    make_with(unit, owner, body, 0, |_| {})
}

/// The same of a home that is kept, whose unit and memory come in one go.
#[inline(always)]
pub(crate) fn make_of<H: Home, T: Descriptor>(
    keep: &Keep<H>,
    owner: OwnerId,
    body: T,
) -> Result<NonNull<Cell<H, T>>, Unmade<H, T>> {
    #[cfg(all(feature = "std", not(any(loom, shuttle))))]
    if let info = TypeInfo::of::<T>()
        && info.tail.is_none()
        && let Some(class) = info.class
    {
        let (unit, memory) = Unit::with_memory(keep, class);
        return match memory {
            // SAFETY: of the type's class, and fresh.
            Some(memory) => Ok(unsafe { write(memory, unit, owner, body) }),
            None => Err((info.whole.size(), unit, body)),
        };
    }
    make(Unit::of(keep), owner, body)
}

/// The same with items behind the body, which are the caller's to write through
/// the pointer to the first; not called if the type has no tail.
#[inline(always)]
pub(crate) fn make_with<H: Home, T: Descriptor>(
    unit: Unit<H>,
    owner: OwnerId,
    body: T,
    len: usize,
    write_items: impl FnOnce(NonNull<()>),
) -> Result<NonNull<Cell<H, T>>, Unmade<H, T>> {
    let info = TypeInfo::of::<T>();
    let Some(whole) = info.layout(len) else { return Err((usize::MAX, unit, body)) };
    let Some(memory) = take_memory(info, whole) else { return Err((whole.size(), unit, body)) };
    if let Some(tail) = &info.tail {
        // SAFETY: the layout has room for the length at this offset.
        let at = unsafe { memory.byte_add(tail.len) }.cast::<usize>();
        // SAFETY: fresh memory, aligned for it.
        unsafe { at.write(len) };
        // SAFETY: within the layout, or at its end.
        write_items(unsafe { memory.byte_add(tail.items) });
    }
    // SAFETY: taken for this layout just above.
    Ok(unsafe { write(memory, unit, owner, body) })
}

/// Memory for a cell of a layout of the type's, or `None`.
#[inline]
fn take_memory(info: &'static TypeInfo, whole: Layout) -> Option<NonNull<()>> {
    #[cfg(all(feature = "std", not(any(loom, shuttle))))]
    if let Some(class) = info.class(whole) {
        return crate::local::take_cell(class);
    }
    let _ = info;
    // SAFETY: a cell has at least a header, so the size is not zero.
    NonNull::new(unsafe { alloc(whole) }.cast())
}

/// Makes memory a cell, but for a tail.
///
/// # Safety
///
/// `memory` is the caller's alone, large enough and aligned for such a cell.
#[inline(always)]
unsafe fn write<H: Home, T: Descriptor>(
    memory: NonNull<()>,
    unit: Unit<H>,
    owner: OwnerId,
    body: T,
) -> NonNull<Cell<H, T>> {
    // A pointer is a pointer, whatever home it leads to.
    const {
        assert!(size_of::<Cell<H, T>>() == size_of::<Cell<(), T>>());
        assert!(align_of::<Cell<H, T>>() == align_of::<Cell<(), T>>());
    };
    let cell = memory.cast::<Cell<H, T>>();
    // The two fields each by itself: padding behind the body may be the tail's.
    // SAFETY: fresh memory that begins like a cell.
    let head = unsafe { &raw mut (*cell.as_ptr()).head };
    // SAFETY: as above.
    unsafe { head.write(Head::new(unit.into_raw(), owner)) };
    // SAFETY: as above.
    let place = unsafe { &raw mut (*cell.as_ptr()).body };
    // SAFETY: as above.
    unsafe { place.write(body) };
    cell
}

/// Takes a cell apart that nobody else knows.
///
/// # Safety
///
/// `cell` was made by [`make`] with the same types, and is the caller's alone,
/// who does not use it again.
pub(crate) unsafe fn unmake<H: Home, T: Descriptor>(cell: NonNull<Cell<H, T>>) -> (Unit<H>, T) {
    let info = TypeInfo::of::<T>();
    // SAFETY: ours alone, and dropped once.
    unsafe { drop_tail(cell.cast(), info) };
    // SAFETY: a field of a cell that is ours.
    let anchor = unsafe { (*cell.as_ptr()).head.anchor };
    // SAFETY: as above.
    let place = unsafe { &raw const (*cell.as_ptr()).body };
    // SAFETY: ours alone, and read once: the memory goes below.
    let body = unsafe { place.read() };
    // SAFETY: made by `make` for this type, and moved out just above.
    unsafe { give_memory(cell.cast(), info) };
    // SAFETY: the cell's unit, which goes with the cell.
    (unsafe { Unit::from_raw(anchor) }, body)
}
