//! The fresh descriptor: made, owned, not yet published.

use crate::anchor::Unit;
use crate::cell::{self, Cell, TypeInfo};
use crate::handle::Handle;
use crate::{Block, Descriptor, Home, Keep, Kind, OutOfMemory, OwnerId, Ref, Word};
use core::fmt;
use core::mem;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// A descriptor that nobody else has seen: freely writable, and dropped like a
/// box. Publishing it in a tree makes it shared, counted and findable.
///
/// # Invariants
///
/// `cell` was made by `cell::make`, and this value alone uses it.
pub struct Fresh<H: Home, T: Descriptor> {
    cell: NonNull<Cell<H, T>>,
}

// SAFETY: owns a home and a body, both `Send + Sync`.
unsafe impl<H: Home, T: Descriptor> Send for Fresh<H, T> {}
// SAFETY: as above; shared, it gives out shared references only.
unsafe impl<H: Home, T: Descriptor> Sync for Fresh<H, T> {}

impl<H: Home, T: Descriptor> Fresh<H, T> {
    /// Makes a descriptor around `body`, of a home that is kept.
    ///
    /// Fails only for want of memory, and hands the body back.
    #[inline(always)]
    pub fn of(keep: &Keep<H>, owner: OwnerId, body: T) -> Result<Self, (OutOfMemory, T)> {
        // INVARIANT: just made.
        match cell::make_of(keep, owner, body) {
            Ok(cell) => Ok(Self { cell }),
            Err((bytes, _, body)) => Err((OutOfMemory { bytes }, body)),
        }
    }

    /// The same, of a home of its own: one allocation more. What makes many
    /// descriptors has a [`Keep`].
    pub fn new(home: H, owner: OwnerId, body: T) -> Result<Self, (OutOfMemory, T)> {
        match Unit::alone(home) {
            Ok(unit) => Self::with_unit(unit, owner, body),
            Err((why, _)) => Err((why, body)),
        }
    }

    /// The same as [`of`](Self::of) with `len` items behind the body, which
    /// `item` makes by their number.
    ///
    /// Fails only for want of memory, and hands the body back. If `item` panics,
    /// what it had made leaks.
    ///
    /// # Panics
    ///
    /// If the type's [`Descriptor::TAIL`] is not of such items.
    ///
    /// ```
    /// use potad_memdesc::{Dead, Descriptor, Fresh, Home, Keep, Kinds, OwnerId, Tail};
    /// # struct Ram(Kinds);
    /// # impl Home for Ram {
    /// #     fn kinds(&self) -> &Kinds { &self.0 }
    /// #     fn teardown(_: Dead<Self>) {}
    /// # }
    /// struct Table { name: &'static str }
    /// impl Descriptor for Table {
    ///     const NAME: &'static str = "table";
    ///     const TAIL: Option<Tail> = Some(Tail::of::<u64>());
    /// }
    ///
    /// let ram = Keep::new(Ram(Kinds::new()));
    /// let body = Table { name: "squares" };
    /// let table = Fresh::with_tail(&ram, OwnerId(0), body, 5, |at| at as u64 * at as u64)
    ///     .map_err(|(why, _)| why)?;
    /// assert_eq!((table.name, table.tail::<u64>()), ("squares", &[0, 1, 4, 9, 16][..]));
    /// assert!(table.tail::<u32>().is_empty(), "another type");
    /// # Ok::<(), potad_memdesc::OutOfMemory>(())
    /// ```
    pub fn with_tail<E: Send + Sync + 'static>(
        keep: &Keep<H>,
        owner: OwnerId,
        body: T,
        len: usize,
        mut item: impl FnMut(usize) -> E,
    ) -> Result<Self, (OutOfMemory, T)> {
        assert!(TypeInfo::of::<T>().has_tail_of::<E>(), "{} has no tail of these items", T::NAME);
        let write = |items: NonNull<()>| {
            let items = items.cast::<E>();
            for at in 0..len {
                // SAFETY: the cell has room for `len` items from here on.
                let place = unsafe { items.add(at) };
                // SAFETY: fresh memory, aligned for an item.
                unsafe { place.write(item(at)) };
            }
        };
        // INVARIANT: just made, with items of the tail's type.
        match cell::make_with(Unit::of(keep), owner, body, len, write) {
            Ok(cell) => Ok(Self { cell }),
            Err((bytes, _, body)) => Err((OutOfMemory { bytes }, body)),
        }
    }

    /// The items behind the body; none if the type has no tail of them.
    pub fn tail<E: 'static>(&self) -> &[E] {
        // SAFETY: a cell of this type, which lives while we do.
        unsafe { cell::tail_of(self.cell.cast(), TypeInfo::of::<T>()) }
    }

    #[inline]
    pub(crate) fn with_unit(
        unit: Unit<H>,
        owner: OwnerId,
        body: T,
    ) -> Result<Self, (OutOfMemory, T)> {
        // INVARIANT: just made.
        match cell::make(unit, owner, body) {
            Ok(cell) => Ok(Self { cell }),
            Err((bytes, _, body)) => Err((OutOfMemory { bytes }, body)),
        }
    }

    /// The body, out of the descriptor.
    pub fn into_body(self) -> T {
        let this = mem::ManuallyDrop::new(self);
        // SAFETY: ours alone, and `this` is not dropped.
        let (unit, body) = unsafe { cell::unmake(this.cell) };
        drop(unit);
        body
    }

    /// The home.
    pub fn home(&self) -> &H {
        // SAFETY: live: the cell has a unit until it is taken apart.
        unsafe { self.cell().head.anchor.as_ref() }.home()
    }

    /// The owner.
    pub fn owner(&self) -> OwnerId {
        self.cell().head.header.owner()
    }

    /// The word that will name the descriptor as one of this kind.
    #[doc(hidden)]
    #[inline]
    pub fn word(&self, kind: Kind) -> Word {
        Word::of_descriptor(self.cell.as_ptr().cast(), kind)
    }

    /// Writes the place; to be done before the word is stored anywhere.
    #[doc(hidden)]
    #[inline]
    pub fn set_place(&self, block: Block) {
        self.cell().head.header.set_place(Some(block));
    }

    /// Marks it as failed before anybody sees it, when it takes over a block
    /// that is.
    #[doc(hidden)]
    pub fn poison(&self) {
        self.cell().head.header.poison();
    }

    /// Takes the place back, when publishing failed.
    #[doc(hidden)]
    pub fn clear_place(&self) {
        self.cell().head.header.set_place(None);
    }

    /// The descriptor as its first reference.
    ///
    /// # Safety
    ///
    /// - `kind` is the kind of `T` in the set that whoever follows the word
    ///   consults.
    #[doc(hidden)]
    #[inline]
    pub unsafe fn into_ref(self, kind: Kind) -> Ref<H, T> {
        let this = mem::ManuallyDrop::new(self);
        // SAFETY: a cell of these types, by our invariant and the caller's promise;
        // its one reference, made with it, is the new value's, and keeps it.
        let handle = unsafe { Handle::of_cell(this.cell.cast(), kind) };
        // INVARIANT: the unit goes along, and the type is right.
        Ref::from_handle(handle)
    }

    fn cell(&self) -> &Cell<H, T> {
        // SAFETY: live and ours, by the invariant.
        unsafe { self.cell.as_ref() }
    }
}

impl<H: Home, T: Descriptor> Deref for Fresh<H, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.cell().body
    }
}

impl<H: Home, T: Descriptor> DerefMut for Fresh<H, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: live and ours alone, by the invariant, and borrowed mutably.
        let cell = unsafe { self.cell.as_mut() };
        &mut cell.body
    }
}

impl<H: Home, T: Descriptor> Drop for Fresh<H, T> {
    fn drop(&mut self) {
        // SAFETY: ours alone, and the last use.
        drop(unsafe { cell::unmake(self.cell) });
    }
}

impl<H: Home, T: Descriptor> fmt::Debug for Fresh<H, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fresh").field(&T::NAME).field(self.cell()).finish()
    }
}
