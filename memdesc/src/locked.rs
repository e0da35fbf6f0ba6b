//! The lock, held: the only proof that a descriptor describes an address.
//!
//! # What always holds
//!
//! Under the lock the place holds still, and the descriptor lives: a held lock
//! keeps it as a reference does. If every reference goes meanwhile, giving the
//! lock back is what tears it down.

use crate::cell::TypeInfo;
use crate::handle::Handle;
use crate::refs::block_of;
use crate::{Block, Descriptor, ErasedRef, Granule, Header, Home, OwnerId, Ref, Word, seeded};
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::mem;
use core::ops::Deref;

/// A locked descriptor of known type.
///
/// Gives out `&T` only: whoever peeks reads the body meanwhile. Not `Sync`:
/// what is done under the lock is done by one thread at a time.
///
/// ```compile_fail,E0277
/// # use potad_memdesc::{Descriptor, Home, Locked};
/// fn is_sync<T: Sync>() {}
/// fn of<H: Home, T: Descriptor>() { is_sync::<Locked<'static, H, T>>() }
/// ```
///
/// # Invariants
///
/// The handle names a cell whose body is a `T`, and its lock belongs to this
/// value.
pub struct Locked<'g, H: Home, T: Descriptor> {
    handle: Handle<H>,
    borrow: PhantomData<(Cell<()>, &'g ())>,
    body: PhantomData<fn() -> T>,
}

impl<H: Home, T: Descriptor> Locked<'_, H, T> {
    /// Takes over the lock.
    ///
    /// # Safety
    ///
    /// - `word` names a live cell with home `H` and a body of type `T`.
    /// - Its lock is held by the caller, who gives it up here.
    #[doc(hidden)]
    #[inline]
    pub unsafe fn adopt(word: Word) -> Self {
        // SAFETY: the lock keeps the cell, which is of these types.
        let handle = unsafe { Handle::new(word) };
        // INVARIANT: exactly the promises above.
        Self { handle: handle.expect("a descriptor word"), borrow: PhantomData, body: PhantomData }
    }

    /// The block.
    pub fn block(&self) -> Block {
        block_of(self.handle.header())
    }

    /// The owner.
    pub fn owner(&self) -> OwnerId {
        self.handle.header().owner()
    }

    /// The resource it was published in.
    pub fn home(&self) -> &H {
        // SAFETY: what we hold keeps it from being torn down.
        unsafe { self.handle.home() }
    }

    /// Count, flags and poison.
    pub fn header(&self) -> &Header {
        self.handle.header()
    }

    /// Marks the block as failed memory; its teardown will see it.
    pub fn poison(&self) {
        self.handle.header().poison();
    }

    /// Whether it is marked as failed.
    pub fn is_poisoned(&self) -> bool {
        self.handle.header().is_poisoned()
    }

    /// The items behind the body; none if the type has no tail of them.
    pub fn tail<E: 'static>(&self) -> &[E] {
        // SAFETY: the type is ours, and our lock keeps the cell.
        unsafe { self.handle.tail(TypeInfo::of::<T>()) }
    }

    /// A reference, unless there are 2^31 already.
    pub fn to_ref(&self) -> Option<Ref<H, T>> {
        if !self.handle.header().try_get() {
            return None;
        }
        // SAFETY: the unit taken just above is the new value's.
        Some(unsafe { Ref::adopt(self.handle.word()) })
    }

    /// The word that names the descriptor.
    #[doc(hidden)]
    pub fn word(&self) -> Word {
        self.handle.word()
    }

    /// Moves the descriptor to another block.
    ///
    /// # Safety
    ///
    /// Every slot that names the descriptor is one of those that cover `block`.
    #[doc(hidden)]
    pub unsafe fn set_place(&self, block: Block) {
        self.handle.header().set_place(Some(block));
    }

    /// Notes that another descriptor has taken the block over: the last put
    /// frees this one and looks at no slot.
    ///
    /// # Safety
    ///
    /// No slot that a look-up can still reach names the descriptor, and none
    /// will.
    #[doc(hidden)]
    pub unsafe fn set_moved(&self) {
        if !seeded!("moved, and nobody told") {
            self.handle.header().set_moved();
        }
    }

    /// Whether the descriptor describes no block any more: another has taken
    /// it over.
    pub fn is_moved(&self) -> bool {
        self.handle.header().is_moved()
    }
}

impl<H: Home, T: Descriptor> Deref for Locked<'_, H, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: our lock keeps the cell, whose body is a `T`.
        unsafe { self.handle.body() }
    }
}

impl<H: Home, T: Descriptor> Drop for Locked<'_, H, T> {
    fn drop(&mut self) {
        self.handle.unlock(TypeInfo::of::<T>());
    }
}

impl<H: Home, T: Descriptor> fmt::Debug for Locked<'_, H, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(T::NAME).field(&self.handle).finish()
    }
}

/// A locked descriptor of a type found at run time.
///
/// # Invariants
///
/// The handle names a cell whose body is what `info` says, and its lock
/// belongs to this value.
pub struct LockedErased<'g, H: Home> {
    handle: Handle<H>,
    info: &'static TypeInfo,
    borrow: PhantomData<(Cell<()>, &'g ())>,
}

impl<'g, H: Home> LockedErased<'g, H> {
    /// INVARIANT of the caller: the lock is the caller's, the type right.
    pub(crate) fn from_parts(handle: Handle<H>, info: &'static TypeInfo) -> Self {
        Self { handle, info, borrow: PhantomData }
    }

    /// The block.
    pub fn block(&self) -> Block {
        block_of(self.handle.header())
    }

    /// Whether the descriptor describes `at`: what to ask after a look-up,
    /// because between looking and locking the block may have been split, or
    /// taken over by another descriptor.
    pub fn contains(&self, at: Granule) -> bool {
        self.handle.header().describes(at)
    }

    /// The owner.
    pub fn owner(&self) -> OwnerId {
        self.handle.header().owner()
    }

    /// The name of the type.
    pub fn kind_name(&self) -> &'static str {
        self.info.name
    }

    /// The word that names the descriptor.
    #[doc(hidden)]
    pub fn word(&self) -> Word {
        self.handle.word()
    }

    /// Count, flags and poison.
    pub fn header(&self) -> &Header {
        self.handle.header()
    }

    /// Marks the block as failed memory; its teardown will see it.
    pub fn poison(&self) {
        self.handle.header().poison();
    }

    /// Whether it is marked as failed.
    pub fn is_poisoned(&self) -> bool {
        self.handle.header().is_poisoned()
    }

    /// A reference, unless there are 2^31 already.
    pub fn to_ref(&self) -> Option<ErasedRef<H>> {
        if !self.handle.header().try_get() {
            return None;
        }
        // SAFETY: the unit taken just above keeps the cell for the new handle.
        let handle = unsafe { self.handle.again() };
        Some(ErasedRef::from_parts(handle, self.info))
    }

    /// The lock with its type, or unchanged if the type is another.
    pub fn downcast<T: Descriptor>(self) -> Result<Locked<'g, H, T>, Self> {
        if !self.info.is::<T>() {
            return Err(self);
        }
        let this = mem::ManuallyDrop::new(self);
        // SAFETY: the lock of `this`, which is not dropped, goes along.
        let handle = unsafe { this.handle.again() };
        // INVARIANT: the type was just compared.
        Ok(Locked { handle, borrow: PhantomData, body: PhantomData })
    }
}

impl<H: Home> Drop for LockedErased<'_, H> {
    fn drop(&mut self) {
        self.handle.unlock(self.info);
    }
}

impl<H: Home> fmt::Debug for LockedErased<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(self.info.name).field(&self.handle).finish()
    }
}
