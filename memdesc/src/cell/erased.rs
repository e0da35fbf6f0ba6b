//! Cells of which only the address is known, and what is inside: asked, dropped and
//! freed by their [`TypeInfo`].
//!
//! # What always holds
//!
//! Whatever comes with a cell here is the information that it was made with: its
//! layout, where its body and its items lie and how they are dropped follow from
//! that, and from the length that is written behind the body.

#[cfg(any(loom, shuttle))]
use super::Head;
use super::TypeInfo;
#[cfg(all(feature = "std", not(any(loom, shuttle))))]
use crate::slab::Class;
use alloc::alloc::Layout;
#[cfg(not(shuttle))]
use alloc::alloc::dealloc;
use core::ptr::NonNull;

/// Items behind the body of a cell.
///
/// # Safety
///
/// `cell` was made by [`make`](super::make) with the type of `info`, and its memory not given
/// back.
#[inline]
unsafe fn len_of(cell: NonNull<()>, info: &'static TypeInfo) -> usize {
    let Some(tail) = &info.tail else { return 0 };
    // SAFETY: within the cell, by the promise.
    let len = unsafe { cell.byte_add(tail.len) }.cast::<usize>();
    // SAFETY: written when the cell was made, and never after.
    unsafe { len.read() }
}

/// The layout that a cell was made with.
///
/// # Safety
///
/// As [`len_of`].
#[inline]
unsafe fn layout_of(cell: NonNull<()>, info: &'static TypeInfo) -> Layout {
    // SAFETY: promised by the caller.
    match info.layout(unsafe { len_of(cell, info) }) {
        Some(whole) => whole,
        None => unreachable!("the layout existed when the cell was made"),
    }
}

/// Bytes of a cell.
///
/// # Safety
///
/// As [`len_of`].
#[cfg(not(loom))]
#[inline]
pub(crate) unsafe fn bytes_of(cell: NonNull<()>, info: &'static TypeInfo) -> usize {
    // SAFETY: promised by the caller.
    unsafe { layout_of(cell, info) }.size()
}

/// The slab's class of a cell.
///
/// # Safety
///
/// As [`len_of`].
#[cfg(all(feature = "std", not(any(loom, shuttle))))]
#[inline]
pub(crate) unsafe fn class_of(cell: NonNull<()>, info: &'static TypeInfo) -> Option<Class> {
    // SAFETY: promised by the caller.
    info.class(unsafe { layout_of(cell, info) })
}

/// The items behind the body of a cell; none if they are of another type.
///
/// # Safety
///
/// - `cell` was made by [`make_with`](super::make_with) with the type of `info`.
/// - It is not freed for as long as `'a`, and nobody writes the items.
pub(crate) unsafe fn tail_of<'a, E: 'static>(
    cell: NonNull<()>,
    info: &'static TypeInfo,
) -> &'a [E] {
    let Some(tail) = info.tail.as_ref().filter(|tail| tail.is::<E>()) else { return &[] };
    // SAFETY: by the first promise.
    let len = unsafe { len_of(cell, info) };
    // SAFETY: within the cell, or at its end.
    let items = unsafe { cell.byte_add(tail.items) }.cast::<E>();
    // SAFETY: so many items of this type were written when the cell was made,
    // and they are only ever shared.
    unsafe { core::slice::from_raw_parts(items.as_ptr(), len) }
}

/// Drops what is behind the body.
///
/// # Safety
///
/// As [`drop_body_of`].
#[inline]
pub(super) unsafe fn drop_tail(cell: NonNull<()>, info: &'static TypeInfo) {
    let Some(tail) = &info.tail else { return };
    // SAFETY: promised by the caller.
    let len = unsafe { len_of(cell, info) };
    // SAFETY: within the cell, or at its end.
    let items = unsafe { cell.byte_add(tail.items) };
    // SAFETY: made with this tail, and nobody uses the items any more.
    unsafe { tail.drop_items(items.as_ptr(), len) };
}

/// Drops the body of a cell that is what `info` says.
///
/// # Safety
///
/// - `cell` was made by [`make`](super::make) with the type of `info`.
/// - Nobody uses it, now or later, but to give its memory back.
#[cfg(not(loom))]
#[inline]
pub(crate) unsafe fn drop_body_of(cell: NonNull<()>, info: &'static TypeInfo) {
    // SAFETY: promised by the caller.
    unsafe { drop_tail(cell, info) };
    let Some(drop_body) = info.drop_body else { return };
    // SAFETY: the body lies within the cell, at this offset.
    let body = unsafe { cell.byte_add(info.body) };
    // SAFETY: a live body of the type of `info`, by the caller's promises.
    unsafe { drop_body(body.as_ptr()) };
}

/// Gives the memory of a cell back.
///
/// # Safety
///
/// `cell` was made by [`make`](super::make) with the type of `info`, what was inside has been
/// dropped or moved out, and nobody uses it, now or later.
#[inline]
pub(crate) unsafe fn give_memory(cell: NonNull<()>, info: &'static TypeInfo) {
    // SAFETY: the memory is given back below, and not before.
    let whole = unsafe { layout_of(cell, info) };
    #[cfg(all(feature = "std", not(any(loom, shuttle))))]
    if let Some(class) = info.class(whole) {
        // SAFETY: promised by the caller.
        return unsafe { crate::local::give_cell(class, cell) };
    }
    #[cfg(not(shuttle))]
    // SAFETY: allocated with this layout, and the last use.
    unsafe {
        dealloc(cell.as_ptr().cast(), whole);
    }
    #[cfg(shuttle)]
    // SAFETY: as above, but for late looks, which the mark is for.
    unsafe {
        mark_and_bury(cell, whole);
    }
}

/// Under a schedule: marks the cell as freed, so that whoever still uses it is
/// found out.
///
/// # Safety
///
/// `cell` was made by [`make`](super::make) with this layout, and only threads of the
/// schedule use it, now or later.
#[cfg(shuttle)]
unsafe fn mark_and_bury(cell: NonNull<()>, whole: Layout) {
    let head = cell.cast::<Head<()>>().as_ptr();
    // SAFETY: live: the memory is given back once the schedule is over.
    unsafe { &(*head).canary }.kill();
    // SAFETY: promised by the caller.
    unsafe { crate::sync::grave::bury(cell, whole) };
}

/// Drops and frees a cell whose body is what `info` says.
///
/// # Safety
///
/// As [`drop_body_of`]; and the memory is not used either.
#[cfg(not(loom))]
pub(crate) unsafe fn free(cell: NonNull<()>, info: &'static TypeInfo) {
    // SAFETY: promised by the caller.
    unsafe { drop_body_of(cell, info) };
    // SAFETY: dropped just above, and not used again.
    unsafe { give_memory(cell, info) };
}

/// Under a model: marks the cell as freed, so that whoever still uses it is
/// found out. The memory leaks.
///
/// # Safety
///
/// As without the model.
#[cfg(loom)]
pub(crate) unsafe fn free(cell: NonNull<()>, info: &'static TypeInfo) {
    let _ = (info.body, info.drop_body);
    let head = cell.cast::<Head<()>>().as_ptr();
    // SAFETY: the memory is never given back under a model.
    unsafe { &(*head).canary }.kill();
}
