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

use crate::anchor::{Anchor, Unit};
use crate::header::Header;
#[cfg(all(feature = "std", not(any(loom, shuttle))))]
use crate::slab::Class;
use crate::tail::Placed;
use crate::{Descriptor, Home, Keep, OwnerId};
#[cfg(not(shuttle))]
use alloc::alloc::dealloc;
use alloc::alloc::{Layout, alloc};
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

/// Items behind the body of a cell.
///
/// # Safety
///
/// `cell` was made by [`make`] with the type of `info`, and its memory not given
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

/// # Safety
///
/// `body` is a `T` that nobody else uses, now or later.
unsafe fn drop_body<T>(body: *mut ()) {
    // SAFETY: promised by the caller.
    unsafe { body.cast::<T>().drop_in_place() };
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

/// Gives the memory of a cell back.
///
/// # Safety
///
/// `cell` was made by [`make`] with the type of `info`, what was inside has been
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
/// `cell` was made by [`make`] with this layout, and only threads of the
/// schedule use it, now or later.
#[cfg(shuttle)]
unsafe fn mark_and_bury(cell: NonNull<()>, whole: Layout) {
    let head = cell.cast::<Head<()>>().as_ptr();
    // SAFETY: live: the memory is given back once the schedule is over.
    unsafe { &(*head).canary }.kill();
    // SAFETY: promised by the caller.
    unsafe { crate::sync::grave::bury(cell, whole) };
}

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

/// The items behind the body of a cell; none if they are of another type.
///
/// # Safety
///
/// - `cell` was made by [`make_with`] with the type of `info`.
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
unsafe fn drop_tail(cell: NonNull<()>, info: &'static TypeInfo) {
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
/// - `cell` was made by [`make`] with the type of `info`.
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
