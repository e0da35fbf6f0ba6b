//! Counted references: what keeps a descriptor, and its block, alive.
//!
//! A reference outlives every pin. While one exists the block stays findable
//! and is not given back; dropping the last one tears the descriptor down.
//!
//! # Cost
//!
//! Taking one from a peek and dropping it: one RMW each, on one line.

use crate::cell::TypeInfo;
use crate::handle::Handle;
use crate::{
    Block, Descriptor, Fresh, Header, Home, Locked, LockedErased, OutOfMemory, OwnerId, Word,
};
use core::fmt;
use core::marker::PhantomData;
use core::mem;
use core::ops::Deref;

/// A counted reference to a descriptor of known type; 8 bytes.
///
/// # Invariants
///
/// The handle names a cell whose body is a `T`, and one unit of its count
/// belongs to this value.
pub struct Ref<H: Home, T: Descriptor> {
    handle: Handle<H>,
    body: PhantomData<fn() -> T>,
}

impl<H: Home, T: Descriptor> Ref<H, T> {
    /// Takes over one unit of the count.
    ///
    /// # Safety
    ///
    /// - `word` names a live cell with home `H` and a body of type `T`.
    /// - One unit of its count belongs to the caller, who gives it up here.
    #[doc(hidden)]
    #[inline]
    pub unsafe fn adopt(word: Word) -> Self {
        // SAFETY: the unit keeps the cell, which is of these types.
        let handle = unsafe { Handle::new(word) };
        // INVARIANT: exactly the promises above.
        Self { handle: handle.expect("a descriptor word"), body: PhantomData }
    }

    /// INVARIANT of the caller: the unit is the caller's, the type right.
    #[inline]
    pub(crate) fn from_handle(handle: Handle<H>) -> Self {
        Self { handle, body: PhantomData }
    }

    /// The block. It changes when a live block is split, merged or shrunk: only
    /// [`lock`](Self::lock) makes it hold still. Once another descriptor has
    /// taken the block over, this is what it was: [`Header::is_moved`].
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

    /// The items behind the body; none if the type has no tail of them.
    pub fn tail<E: 'static>(&self) -> &[E] {
        // SAFETY: the type is ours, and our unit keeps the cell.
        unsafe { self.handle.tail(TypeInfo::of::<T>()) }
    }

    /// Another reference, unless there are 2^31 already.
    pub fn try_clone(&self) -> Option<Self> {
        if !self.handle.header().try_get() {
            return None;
        }
        // SAFETY: the unit taken just above keeps the cell for the new handle.
        let handle = unsafe { self.handle.again() };
        // INVARIANT: the same cell, and that unit.
        Some(Self { handle, body: PhantomData })
    }

    /// Makes another descriptor of the same home, to take this one's place; no
    /// [`Keep`](crate::Keep) is needed.
    ///
    /// Fails only for want of memory, and hands the body back.
    pub fn fresh<U: Descriptor>(
        &self,
        owner: OwnerId,
        body: U,
    ) -> Result<Fresh<H, U>, (OutOfMemory, U)> {
        // SAFETY: our unit of the count keeps it from being torn down.
        Fresh::with_unit(unsafe { self.handle.unit() }, owner, body)
    }

    /// Waits for the lock. A thread that holds it already waits for ever.
    pub fn lock(&self) -> Locked<'_, H, T> {
        self.handle.header().lock_counted();
        // SAFETY: we hold the lock, and the type is ours.
        unsafe { Locked::adopt(self.handle.word()) }
    }

    /// Waits for the lock and gives the reference up for it: the lock keeps
    /// the descriptor as well as the reference did.
    pub fn into_locked(self) -> Locked<'static, H, T> {
        self.handle.header().lock_counted();
        // SAFETY: we hold the lock, and the type is ours. The reference goes
        // with `self`, and cannot be what kills: the lock is held.
        unsafe { Locked::adopt(self.handle.word()) }
    }

    /// The same reference without its type.
    pub fn erase(self) -> ErasedRef<H> {
        let this = mem::ManuallyDrop::new(self);
        // SAFETY: the unit of `this`, which is not dropped, goes along.
        let handle = unsafe { this.handle.again() };
        // INVARIANT: the same cell, and that unit.
        ErasedRef { handle, info: TypeInfo::of::<T>() }
    }

    /// Whether this is the only reference and nobody holds the lock.
    pub fn is_unshared(&self) -> bool {
        self.handle.header().is_unshared()
    }

    /// The word that names the descriptor.
    #[doc(hidden)]
    pub fn word(&self) -> Word {
        self.handle.word()
    }
}

impl<H: Home, T: Descriptor> Deref for Ref<H, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: our unit keeps the cell, whose body is a `T`.
        unsafe { self.handle.body() }
    }
}

impl<H: Home, T: Descriptor> Drop for Ref<H, T> {
    fn drop(&mut self) {
        self.handle.put(TypeInfo::of::<T>());
    }
}

impl<H: Home, T: Descriptor> fmt::Debug for Ref<H, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(T::NAME).field(&self.handle).finish()
    }
}

/// A counted reference to a descriptor of a type found at run time.
///
/// # Invariants
///
/// The handle names a cell whose body is what `info` says, and one unit of its
/// count belongs to this value.
pub struct ErasedRef<H: Home> {
    handle: Handle<H>,
    info: &'static TypeInfo,
}

impl<H: Home> ErasedRef<H> {
    /// INVARIANT of the caller: the unit is the caller's, the type right.
    pub(crate) fn from_parts(handle: Handle<H>, info: &'static TypeInfo) -> Self {
        Self { handle, info }
    }

    /// The block; see [`Ref::block`].
    pub fn block(&self) -> Block {
        block_of(self.handle.header())
    }

    /// The owner.
    pub fn owner(&self) -> OwnerId {
        self.handle.header().owner()
    }

    /// The name of the type.
    pub fn kind_name(&self) -> &'static str {
        self.info.name
    }

    /// The resource it was published in.
    pub fn home(&self) -> &H {
        // SAFETY: what we hold keeps it from being torn down.
        unsafe { self.handle.home() }
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

    /// Another reference, unless there are 2^31 already.
    pub fn try_clone(&self) -> Option<Self> {
        if !self.handle.header().try_get() {
            return None;
        }
        // SAFETY: the unit taken just above keeps the cell for the new handle.
        let handle = unsafe { self.handle.again() };
        Some(Self { handle, info: self.info })
    }

    /// Waits for the lock. A thread that holds it already waits for ever.
    pub fn lock(&self) -> LockedErased<'_, H> {
        self.handle.header().lock_counted();
        // SAFETY: the lock, which the new handle holds, keeps the cell.
        let handle = unsafe { self.handle.again() };
        LockedErased::from_parts(handle, self.info)
    }

    /// Waits for the lock and gives the reference up for it: the lock keeps
    /// the descriptor as well as the reference did.
    pub fn into_locked(self) -> LockedErased<'static, H> {
        self.handle.header().lock_counted();
        // SAFETY: the lock, which the new handle holds, keeps the cell.
        let handle = unsafe { self.handle.again() };
        // The reference goes with `self`, and cannot be what kills: the lock
        // is held.
        LockedErased::from_parts(handle, self.info)
    }

    /// The reference with its type, or unchanged if the type is another.
    pub fn downcast<T: Descriptor>(self) -> Result<Ref<H, T>, Self> {
        if !self.info.is::<T>() {
            return Err(self);
        }
        let this = mem::ManuallyDrop::new(self);
        // SAFETY: the unit of `this`, which is not dropped, goes along.
        let handle = unsafe { this.handle.again() };
        // INVARIANT: the type was just compared.
        Ok(Ref { handle, body: PhantomData })
    }
}

impl<H: Home> Drop for ErasedRef<H> {
    fn drop(&mut self) {
        self.handle.put(self.info);
    }
}

impl<H: Home> fmt::Debug for ErasedRef<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(self.info.name).field(&self.handle).finish()
    }
}

/// The place of a published descriptor.
pub(crate) fn block_of(header: &Header) -> Block {
    // Publish writes the place before it stores the first word, and handles
    // are made from words.
    header.place().expect("a published descriptor has a place")
}
