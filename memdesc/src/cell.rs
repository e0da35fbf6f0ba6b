//! The cell: what is put around a user's type to make it a descriptor.
//!
//! # Picture
//!
//! ```text
//! 0         16       24 (with a home of 8 bytes)
//! +--------+--------+--------------------------+
//! | header |  home  |           body           |   64-byte aligned
//! +--------+--------+--------------------------+
//!  \---- head ------/
//! ```
//!
//! The head is the same for every body, so a cell whose type is not known
//! statically can be counted, locked and asked for its home. Where its body
//! lies, and how to drop it, its [`TypeInfo`] says.
//!
//! # What always holds
//!
//! A cell is freed in two ways only: by `Fresh`, which owns it before it is
//! published, and through the epoch by `Garbage`, which exists once nothing
//! names it any more. Shared references to head and body are made from the
//! pointer of the whole allocation, never one from the other.

use crate::header::{After, Header};
use crate::{Dead, Descriptor, Home, OwnerId, Word};
use alloc::alloc::{Layout, alloc, dealloc};
use core::any::TypeId;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};

/// A descriptor in memory: header, home, body.
#[repr(C, align(64))]
pub struct Cell<H, T> {
    pub(crate) head: Head<H>,
    pub(crate) body: T,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Cell<usize, [u8; 360]>>() == 384);

impl<H, T> fmt::Debug for Cell<H, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head.header.fmt(f)
    }
}

/// What every cell of one home begins with.
#[repr(C)]
pub(crate) struct Head<H> {
    pub(crate) header: Header,
    #[cfg(loom)]
    pub(crate) canary: canary::Canary,
    pub(crate) home: H,
}

impl<H> Head<H> {
    pub(crate) fn new(home: H, owner: OwnerId) -> Self {
        Self {
            header: Header::new(owner),
            #[cfg(loom)]
            canary: canary::Canary::default(),
            home,
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
    body: Layout,
    /// Drops a body in place: the pointer is to a live one of this type.
    drop_body: unsafe fn(*mut ()),
}

impl TypeInfo {
    /// A constant of the program, one per type.
    #[inline]
    pub fn of<T: Descriptor>() -> &'static Self {
        const {
            &Self {
                type_id: TypeId::of::<T>(),
                name: T::NAME,
                body: Layout::new::<T>(),
                drop_body: drop_body::<T>,
            }
        }
    }

    /// Whether this is `T`.
    #[inline]
    pub fn is<T: Descriptor>(&self) -> bool {
        // The address decides quickly; two addresses may still be one type.
        ptr::eq(self, Self::of::<T>()) || self.type_id == TypeId::of::<T>()
    }
}

/// # Safety
///
/// `body` is a `T` that nobody else uses, now or later.
unsafe fn drop_body<T>(body: *mut ()) {
    // SAFETY: promised by the caller.
    unsafe { body.cast::<T>().drop_in_place() };
}

/// The layout of a cell and where its body lies: what `repr(C, align(64))`
/// makes of the same fields.
fn layout<H>(body: Layout) -> Option<(Layout, usize)> {
    let (fields, offset) = Layout::new::<Head<H>>().extend(body).ok()?;
    Some((fields.align_to(64).ok()?.pad_to_align(), offset))
}

/// Makes a cell, or hands the parts back.
pub(crate) fn make<H: Home, T: Descriptor>(
    home: H,
    owner: OwnerId,
    body: T,
) -> Result<NonNull<Cell<H, T>>, (usize, T)> {
    let whole = Layout::new::<Cell<H, T>>();
    debug_assert_eq!(
        layout::<H>(Layout::new::<T>()),
        Some((whole, core::mem::offset_of!(Cell<H, T>, body)))
    );
    // SAFETY: a cell has at least a header, so the size is not zero.
    let cell = unsafe { alloc(whole) }.cast::<Cell<H, T>>();
    let Some(cell) = NonNull::new(cell) else { return Err((whole.size(), body)) };
    // SAFETY: fresh memory of this very layout.
    unsafe { cell.write(Cell { head: Head::new(home, owner), body }) };
    Ok(cell)
}

/// Gives the memory of a cell back without dropping what is inside.
///
/// # Safety
///
/// - `cell` was made by [`make`] with the same types and is not used again.
/// - Home and body have been moved out.
pub(crate) unsafe fn release<H, T>(cell: NonNull<Cell<H, T>>) {
    // SAFETY: made by `make` with this layout, and the caller's last use.
    unsafe { dealloc(cell.as_ptr().cast(), Layout::new::<Cell<H, T>>()) };
}

/// Drops and frees a cell of home `H` whose body is what `info` says.
///
/// # Safety
///
/// - `cell` was made by [`make`] with `H` and the type of `info`.
/// - Nobody uses it, now or later.
#[cfg(not(loom))]
pub(crate) unsafe fn free<H>(cell: NonNull<()>, info: &'static TypeInfo) {
    let Some((whole, offset)) = layout::<H>(info.body) else {
        unreachable!("the layout existed when the cell was made")
    };
    // SAFETY: the body lies within the cell, at this offset.
    let body = unsafe { cell.byte_add(offset) };
    // SAFETY: a live body of the type of `info`, by the caller's promises.
    unsafe { (info.drop_body)(body.as_ptr()) };
    // SAFETY: the head lies at the start, and nobody uses it.
    unsafe { cell.cast::<Head<H>>().drop_in_place() };
    // SAFETY: made by `make` with the layout of the same fields.
    unsafe { dealloc(cell.as_ptr().cast(), whole) };
}

/// Under a model: marks the cell as freed, so that whoever still uses it is
/// found out, and drops its home, which keeps the tree. The memory leaks.
///
/// # Safety
///
/// As without the model.
#[cfg(loom)]
pub(crate) unsafe fn free<H>(cell: NonNull<()>, info: &'static TypeInfo) {
    let _ = (info.body, info.drop_body, layout::<H>);
    let head = cell.cast::<Head<H>>().as_ptr();
    // SAFETY: the memory is never given back under a model.
    unsafe { &(*head).canary }.kill();
    // SAFETY: a field of the head, in memory that stays.
    let home = unsafe { &raw mut (*head).home };
    // SAFETY: nobody uses the cell any more, or the canary says so first.
    unsafe { home.drop_in_place() };
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
            self.0.with_mut(|alive| unsafe { *alive = false });
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

    #[inline]
    pub(crate) fn home(&self) -> &H {
        #[cfg(loom)]
        self.header();
        // SAFETY: as in `header`; the home is written before the cell is
        // published, and never after.
        unsafe { &(*self.head()).home }
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

    /// Gives up a reference. The caller's, and its last use of this handle.
    #[inline]
    pub(crate) fn put(&self) {
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        if self.header().put() == After::Dies {
            // INVARIANT of `Dead`: we made it die, so we tear it down.
            H::teardown(Dead::new(Self { word: self.word, home: PhantomData }));
        }
    }

    /// Gives up the lock. The caller's, and its last use of this handle.
    #[inline]
    pub(crate) fn unlock(&self) {
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        if self.header().unlock() == After::Dies {
            // INVARIANT of `Dead`: as above.
            H::teardown(Dead::new(Self { word: self.word, home: PhantomData }));
        }
    }
}

impl<H: Home> fmt::Debug for Handle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header().fmt(f)
    }
}
