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
use crate::header::{After, Header};
#[cfg(all(feature = "std", not(loom)))]
use crate::slab::Class;
use crate::{Dead, Descriptor, Home, OwnerId, Word, seeded};
use alloc::alloc::{Layout, alloc, dealloc};
use core::any::TypeId;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

/// A descriptor in memory: header, way to the home, body.
#[repr(C, align(64))]
pub struct Cell<H, T> {
    pub(crate) head: Head<H>,
    pub(crate) body: T,
}

#[cfg(not(loom))]
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
    #[cfg(loom)]
    pub(crate) canary: canary::Canary,
    pub(crate) anchor: NonNull<Anchor<H>>,
}

impl<H> Head<H> {
    fn new(anchor: NonNull<Anchor<H>>, owner: OwnerId) -> Self {
        Self {
            header: Header::new(owner),
            #[cfg(loom)]
            canary: canary::Canary::default(),
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
    /// The layout of the whole cell, the same for every home.
    whole: Layout,
    /// Where in it the body lies.
    body: usize,
    #[cfg(all(feature = "std", not(loom)))]
    class: Option<Class>,
    /// Drops a body in place: the pointer is to a live one of this type.
    /// `None` if there is nothing to do.
    drop_body: Option<unsafe fn(*mut ())>,
}

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
                #[cfg(all(feature = "std", not(loom)))]
                class: Class::of(Layout::new::<Cell<(), T>>()),
                drop_body: if core::mem::needs_drop::<T>() { Some(drop_body::<T>) } else { None },
            }
        }
    }

    /// Whether this is `T`.
    #[inline]
    pub fn is<T: Descriptor>(&self) -> bool {
        // The address decides quickly; two addresses may still be one type.
        ptr::eq(self, Self::of::<T>()) || self.type_id == TypeId::of::<T>()
    }

    /// Bytes of a cell.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.whole.size()
    }

    /// The slab's class for the cells.
    #[cfg(all(feature = "std", not(loom)))]
    #[inline]
    pub(crate) fn class(&self) -> Option<Class> {
        self.class
    }
}

/// # Safety
///
/// `body` is a `T` that nobody else uses, now or later.
unsafe fn drop_body<T>(body: *mut ()) {
    // SAFETY: promised by the caller.
    unsafe { body.cast::<T>().drop_in_place() };
}

/// Memory for a cell, or `None`.
#[inline]
fn take_memory(info: &'static TypeInfo) -> Option<NonNull<()>> {
    #[cfg(all(feature = "std", not(loom)))]
    if let Some(class) = info.class {
        return crate::local::take_cell(class);
    }
    // SAFETY: a cell has at least a header, so the size is not zero.
    NonNull::new(unsafe { alloc(info.whole) }.cast())
}

/// Gives the memory of a cell back.
///
/// # Safety
///
/// `cell` came from [`take_memory`] of the same `info`, what was inside has been
/// dropped or moved out, and nobody uses it, now or later.
#[inline]
pub(crate) unsafe fn give_memory(cell: NonNull<()>, info: &'static TypeInfo) {
    #[cfg(all(feature = "std", not(loom)))]
    if let Some(class) = info.class {
        // SAFETY: promised by the caller.
        return unsafe { crate::local::give_cell(class, cell) };
    }
    // SAFETY: allocated with this layout, and the last use.
    unsafe { dealloc(cell.as_ptr().cast(), info.whole) };
}

/// What could not be made into a cell: its size, and the parts.
pub(crate) type Unmade<H, T> = (usize, Unit<H>, T);

/// Makes a cell, which has the unit from then on, or hands the parts back.
#[inline]
pub(crate) fn make<H: Home, T: Descriptor>(
    unit: Unit<H>,
    owner: OwnerId,
    body: T,
) -> Result<NonNull<Cell<H, T>>, Unmade<H, T>> {
    // A pointer is a pointer, whatever home it leads to.
    const {
        assert!(size_of::<Cell<H, T>>() == size_of::<Cell<(), T>>());
        assert!(align_of::<Cell<H, T>>() == align_of::<Cell<(), T>>());
    };
    let info = TypeInfo::of::<T>();
    let Some(cell) = take_memory(info) else { return Err((info.bytes(), unit, body)) };
    let cell = cell.cast::<Cell<H, T>>();
    // SAFETY: fresh memory of this very layout.
    unsafe { cell.write(Cell { head: Head::new(unit.into_raw(), owner), body }) };
    Ok(cell)
}

/// Takes a cell apart that nobody else knows.
///
/// # Safety
///
/// `cell` was made by [`make`] with the same types, and is the caller's alone,
/// who does not use it again.
pub(crate) unsafe fn unmake<H: Home, T: Descriptor>(cell: NonNull<Cell<H, T>>) -> (Unit<H>, T) {
    // SAFETY: ours alone, and read once: the memory goes below.
    let Cell { head, body } = unsafe { cell.read() };
    // SAFETY: made by `make` for this type, and moved out just above.
    unsafe { give_memory(cell.cast(), TypeInfo::of::<T>()) };
    // SAFETY: the cell's unit, which goes with the cell.
    (unsafe { Unit::from_raw(head.anchor) }, body)
}

/// Drops the body of a cell that is what `info` says.
///
/// # Safety
///
/// - `cell` was made by [`make`] with the type of `info`.
/// - Nobody uses it, now or later, but to give its memory back.
#[cfg(not(loom))]
pub(crate) unsafe fn drop_body_of(cell: NonNull<()>, info: &'static TypeInfo) {
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

#[cfg(loom)]
pub(crate) mod canary {
    //! loom cannot see a freed box: each use of a cell reads this cell, and
    //! freeing writes it. So a use after free is an assertion or a causality
    //! violation.

    use crate::sync::cell::UnsafeCell;

    pub(crate) struct Canary(UnsafeCell<bool>);

    impl Default for Canary {
        fn default() -> Self {
            Self(UnsafeCell::new(true))
        }
    }

    impl Canary {
        pub(crate) fn check(&self) {
            // SAFETY: loom checks that nobody writes at once.
            let alive = self.0.with(|alive| unsafe { *alive });
            assert!(alive, "use after free of a descriptor");
        }

        pub(crate) fn kill(&self) {
            // SAFETY: loom checks that nobody reads or writes at once.
            let alive = self.0.with_mut(|alive| unsafe { core::mem::replace(&mut *alive, false) });
            assert!(alive, "freed twice");
        }
    }
}

/// A descriptor word that something keeps readable: a pin, a reference, the
/// lock, or that it is dead and not yet retracted. The common ground of all
/// handles; 8 bytes.
///
/// # Invariants
///
/// `word` is a descriptor word without poison hint. It names a cell that was
/// made by [`make`] with home `H` and a body of the kind's type, and which is
/// not freed while this value is in use.
pub(crate) struct Handle<H> {
    word: NonNull<()>,
    home: PhantomData<fn(H) -> H>,
}

// SAFETY: a handle gives out `&H` and, through its wrappers, `&T`; both are
// `Send + Sync` by `Home` and `Descriptor`, and may be dropped in any thread.
unsafe impl<H: Home> Send for Handle<H> {}
// SAFETY: as above.
unsafe impl<H: Home> Sync for Handle<H> {}

impl<H: Home> Handle<H> {
    /// The handle for a word; `None` for one that names no descriptor.
    ///
    /// # Safety
    ///
    /// - A descriptor word, if it is one, names a cell that was made by
    ///   [`make`] with home `H` and a body of the kind's type.
    /// - The cell is not freed while the handle is in use.
    #[inline]
    pub(crate) unsafe fn new(word: Word) -> Option<Self> {
        word.descriptor_kind()?;
        // INVARIANT: the two promises above.
        Some(Self { word: word.unpoisoned().tagged()?, home: PhantomData })
    }

    /// Another handle on the same cell.
    ///
    /// # Safety
    ///
    /// The cell is not freed while the new handle is in use.
    #[inline]
    pub(crate) unsafe fn again(&self) -> Self {
        Self { word: self.word, home: PhantomData }
    }

    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word::of_tagged(self.word)
    }

    #[inline]
    fn head(&self) -> *mut Head<H> {
        self.word().cell().cast()
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        #[cfg(loom)]
        {
            // SAFETY: the memory of a cell is never given back under a model.
            unsafe { &(*self.head()).canary }.check();
        }
        // SAFETY: not freed while this handle is in use; only shared
        // references to a header are ever made.
        unsafe { &(*self.head()).header }
    }

    /// The way to the home: written before the cell is published, never after.
    #[inline]
    fn anchor(&self) -> NonNull<Anchor<H>> {
        #[cfg(loom)]
        self.header();
        // SAFETY: as in `header`.
        unsafe { (*self.head()).anchor }
    }

    /// Another unit of the home.
    ///
    /// # Safety
    ///
    /// The cell is not torn down meanwhile.
    pub(crate) unsafe fn unit(&self) -> Unit<H> {
        // SAFETY: the cell has a unit until its teardown has run.
        Unit::again(unsafe { self.anchor().as_ref() })
    }

    /// The home.
    ///
    /// # Safety
    ///
    /// The cell is not torn down while the result is in use.
    #[inline]
    pub(crate) unsafe fn home(&self) -> &H {
        // SAFETY: the cell has a unit until its teardown has run.
        unsafe { self.anchor().as_ref() }.home()
    }

    /// The body.
    ///
    /// # Safety
    ///
    /// - The kind's type is `T`.
    /// - The cell is not freed for as long as `'a`.
    #[inline]
    pub(crate) unsafe fn body<'a, T: Descriptor>(&self) -> &'a T {
        #[cfg(loom)]
        self.header();
        let cell = self.head().cast::<Cell<H, T>>();
        // SAFETY: of this type and not freed, by the caller's promises; a
        // published body is only ever shared.
        unsafe { &(*cell).body }
    }

    /// Gives up a reference. The caller's, who knows that the body is what
    /// `info` says, and its last use of this handle.
    #[inline]
    pub(crate) fn put(&self, info: &'static TypeInfo) {
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        if self.header().put() == After::Dies {
            self.tear_down(info);
        }
    }

    /// Gives up the lock. The caller's, who knows that the body is what `info`
    /// says, and its last use of this handle.
    #[inline]
    pub(crate) fn unlock(&self, info: &'static TypeInfo) {
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        if self.header().unlock() == After::Dies {
            self.tear_down(info);
        }
    }

    /// Runs the teardown. The caller made the header die.
    #[inline]
    fn tear_down(&self, info: &'static TypeInfo) {
        // SAFETY: the unit of a cell is given up by its teardown, which runs
        // once, for death is one edge.
        let unit = unsafe { Unit::from_raw(self.anchor()) };
        // INVARIANT of `Dead`: whoever made it die tears it down.
        let dead = Dead::new(Self { word: self.word, home: PhantomData }, unit.home(), info);
        if self.header().is_moved() && !seeded!("moved, and retracted all the same") {
            // SAFETY: no slot names a moved one: whoever moved it promised.
            return drop(unsafe { dead.into_garbage() });
        }
        H::teardown(dead);
    }
}

impl<H: Home> fmt::Debug for Handle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header().fmt(f)
    }
}
