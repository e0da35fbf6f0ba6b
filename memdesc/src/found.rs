//! What a look-up finds, as long as the pin lasts.
//!
//! Three levels, dearer and surer: a **peek** reads and writes nothing, and
//! what it shows may be on its way out; a **get** keeps it; a **lock** proves
//! that it describes the address.

use crate::cell::TypeInfo;
use crate::handle::Handle;
use crate::lock::TryLock;
use crate::refs::block_of;
use crate::{
    Block, Descriptor, ErasedRef, Guard, Header, Home, Immediate, LockedErased, OwnerId, Ref, Word,
};
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

/// What lives at an address.
pub enum Found<'g, H: Home> {
    /// A descriptor.
    Descriptor(Peeked<'g, H>),
    /// A block without a descriptor, and which block that is.
    Immediate(Immediate, Block),
}

impl<'g, H: Home> Found<'g, H> {
    /// The name of the type, or of the subtype.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Descriptor(peeked) => peeked.kind_name(),
            Self::Immediate(immediate, _) => immediate.subtype.name(),
        }
    }

    /// Who must hear of memory failure.
    pub fn owner(&self) -> OwnerId {
        match self {
            Self::Descriptor(peeked) => peeked.owner(),
            Self::Immediate(immediate, _) => immediate.owner,
        }
    }

    /// The block.
    pub fn block(&self) -> Block {
        match self {
            Self::Descriptor(peeked) => peeked.block(),
            Self::Immediate(_, block) => *block,
        }
    }

    /// The descriptor, if it is one and of this type.
    #[inline]
    pub fn downcast<T: Descriptor>(&self) -> Option<Peek<'g, T>> {
        match self {
            Self::Descriptor(peeked) => peeked.downcast(),
            Self::Immediate(..) => None,
        }
    }

    /// The immediate word, if it is one.
    pub fn immediate(&self) -> Option<Immediate> {
        match self {
            Self::Descriptor(_) => None,
            Self::Immediate(immediate, _) => Some(*immediate),
        }
    }

    /// The descriptor, if it is one.
    pub fn descriptor(&self) -> Option<&Peeked<'g, H>> {
        match self {
            Self::Descriptor(peeked) => Some(peeked),
            Self::Immediate(..) => None,
        }
    }
}

impl<H: Home> fmt::Debug for Found<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptor(peeked) => peeked.fmt(f),
            Self::Immediate(immediate, block) => write!(f, "{immediate:?} at {block:?}"),
        }
    }
}

/// A descriptor of a type found at run time, readable while the pin lasts.
///
/// # Invariants
///
/// The handle names a cell whose body is what `info` says, and which was named
/// by a slot after the guard of `'g` was pinned.
pub struct Peeked<'g, H: Home> {
    handle: Handle<H>,
    info: &'static TypeInfo,
    pinned: PhantomData<&'g Guard>,
}

impl<'g, H: Home> Peeked<'g, H> {
    /// Makes a peek of a word just loaded from a slot; `None` if the word
    /// names no descriptor.
    ///
    /// # Safety
    ///
    /// - `word`, if it names a descriptor, was loaded (Acquire) from a slot
    ///   while `guard` was pinned, and the cell is retired through the epoch
    ///   only after no slot names it.
    /// - The cell's home is of type `H`, its body of the type of `info`.
    #[doc(hidden)]
    #[inline]
    pub unsafe fn adopt(word: Word, info: &'static TypeInfo, guard: &'g Guard) -> Option<Self> {
        let _ = guard;
        // SAFETY: the guard keeps the cell, by the first promise; its types
        // are right by the second.
        let handle = unsafe { Handle::new(word) }?;
        // INVARIANT: exactly the promises.
        Some(Self { handle, info, pinned: PhantomData })
    }

    /// The block, at some moment of the call.
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

    /// Count, flags and poison.
    pub fn header(&self) -> &Header {
        self.handle.header()
    }

    /// The items behind the body; none if the type has no tail of them.
    pub fn tail<E: 'static>(&self) -> &'g [E] {
        // SAFETY: the body is what `info` says, and the guard keeps the cell for
        // as long as `'g`.
        unsafe { self.handle.tail(self.info) }
    }

    /// The word that names the descriptor.
    #[doc(hidden)]
    pub fn word(&self) -> Word {
        self.handle.word()
    }

    /// The descriptor with its type, if that is `T`.
    #[inline]
    pub fn downcast<T: Descriptor>(&self) -> Option<Peek<'g, T>> {
        if !self.info.is::<T>() {
            return None;
        }
        // SAFETY: the type was just compared, and the guard keeps the cell for
        // as long as `'g`.
        let body = unsafe { self.handle.body() };
        Some(Peek { body })
    }

    /// A reference; `None` if the descriptor is dead, or has 2^31 already.
    ///
    /// It may describe another address by now: see [`Ref::block`].
    #[inline]
    pub fn try_get(&self) -> Option<ErasedRef<H>> {
        if !self.handle.header().try_get() {
            return None;
        }
        // SAFETY: the unit taken just above keeps the cell for the new handle.
        let handle = unsafe { self.handle.again() };
        Some(ErasedRef::from_parts(handle, self.info))
    }

    /// A reference with its type; `None` also if the type is another.
    #[inline]
    pub fn try_get_as<T: Descriptor>(&self) -> Option<Ref<H, T>> {
        if !self.info.is::<T>() || !self.handle.header().try_get() {
            return None;
        }
        // SAFETY: the unit taken just above keeps the cell for the new handle.
        let handle = unsafe { self.handle.again() };
        // INVARIANT: the type was compared; the unit is the new value's.
        Some(Ref::from_handle(handle))
    }

    /// The lock, if it is free and the descriptor not dead. It outlives the
    /// pin, for a held lock keeps the descriptor.
    #[inline]
    pub fn try_lock(&self) -> Option<LockedErased<'static, H>> {
        if self.handle.header().try_lock() != TryLock::Locked {
            return None;
        }
        // SAFETY: the lock, which the new handle holds, keeps the cell.
        let handle = unsafe { self.handle.again() };
        Some(LockedErased::from_parts(handle, self.info))
    }

    /// Waits for the lock; `None` if the descriptor is dead.
    ///
    /// Waits with the caller's pin held, which holds up all reclamation: where
    /// the wait may be long, `try_get`, drop the guard and lock the reference.
    pub fn lock(&self) -> Option<LockedErased<'static, H>> {
        loop {
            match self.handle.header().try_lock() {
                TryLock::Dead => return None,
                TryLock::Locked => break,
                TryLock::Held => {}
            }
            // Whoever parks holds a reference, so that a dying header has no
            // waiters. Dead by now, or too many: see at the next turn.
            let Some(counted) = self.try_get() else {
                crate::sync::thread::yield_now();
                continue;
            };
            self.handle.header().lock_counted();
            drop(counted);
            break;
        }
        // SAFETY: the lock, which the new handle holds, keeps the cell.
        let handle = unsafe { self.handle.again() };
        Some(LockedErased::from_parts(handle, self.info))
    }
}

impl<H: Home> fmt::Debug for Peeked<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(self.info.name).field(&self.handle).finish()
    }
}

/// A descriptor of known type, readable while the pin lasts. A plain shared
/// reference: nothing is counted.
pub struct Peek<'g, T> {
    body: &'g T,
}

impl<'g, T> Peek<'g, T> {
    /// The descriptor for as long as the pin lasts.
    pub fn get(self) -> &'g T {
        self.body
    }
}

impl<T> Clone for Peek<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Peek<'_, T> {}

impl<T> Deref for Peek<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.body
    }
}

impl<T> fmt::Debug for Peek<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peek")
    }
}
