//! What is left of a descriptor: first its words, then its memory.
//!
//! ```text
//!  last put or unlock          Tree::retract              guards of then are gone
//!  ------------------>  Dead  -------------->  Garbage  ------------------------->  freed
//! ```
//!
//! # What always holds
//!
//! [`Dead`] exists once per descriptor, and while it does, nobody but its
//! holder stores into the slots that name it. [`Garbage`] exists only once no
//! slot names it. Dropping a `Dead` leaks the memory, because words may still
//! name it: a leak is the worst that misuse can do.

use crate::cell::{self, Handle, TypeInfo};
use crate::{Block, Guard, Home, OwnerId, Word, pin, seeded};
use alloc::vec::Vec;
use core::fmt;
use core::mem;
use core::ptr::NonNull;

/// A descriptor that died and whose words are still published. Handed to
/// [`Home::teardown`]; dropping it leaks the descriptor.
///
/// # Invariants
///
/// The handle names a cell whose state is DEAD|LOCKED, and this is the only
/// value that was made of that edge.
#[must_use = "retract it from its tree, or it leaks"]
pub struct Dead<H: Home> {
    handle: Handle<H>,
}

impl<H: Home> Dead<H> {
    /// INVARIANT of the caller: it made the edge to DEAD.
    pub(crate) fn new(handle: Handle<H>) -> Self {
        Self { handle }
    }

    /// The block it described; `None` if it never had one.
    pub fn block(&self) -> Option<Block> {
        self.handle.header().place()
    }

    /// The owner.
    pub fn owner(&self) -> OwnerId {
        self.handle.header().owner()
    }

    /// Whether memory failed inside. Exact: marking needs the lock, which is
    /// this value's.
    pub fn poisoned(&self) -> bool {
        self.handle.header().is_poisoned()
    }

    /// The word that its slots hold, but for the poison hint.
    pub fn word(&self) -> Word {
        self.handle.word()
    }

    /// The resource it was published in.
    pub fn home(&self) -> &H {
        self.handle.home()
    }

    /// Runs `bury` with the home at hand, though the descriptor that holds the
    /// home goes away in it: a pin keeps its memory until `bury` returns.
    pub fn with_home<R>(self, bury: impl FnOnce(&H, Self, &Guard) -> R) -> R {
        let guard = pin();
        // SAFETY: whatever `bury` does, memory is freed only through the
        // epoch, after our pin: the second handle does not outlive that.
        let kept = unsafe { self.handle.again() };
        let result = bury(kept.home(), self, &guard);
        drop(guard);
        result
    }

    /// The memory, to be freed.
    ///
    /// # Safety
    ///
    /// - No slot of any tree names the descriptor, and none will.
    /// - `info` is the type of its body.
    #[doc(hidden)]
    pub unsafe fn into_garbage(self, info: &'static TypeInfo) -> Garbage {
        let cell = NonNull::new(self.handle.word().cell()).expect("a descriptor has an address");
        // INVARIANT: unreachable by the promise; dead, so that no handle but
        // peeks under older pins is left.
        Garbage { cell, info, free: cell::free::<H> }
    }
}

impl<H: Home> fmt::Debug for Dead<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dead").field(&self.handle).finish()
    }
}

/// The memory of a descriptor that nobody can find any more. Freed, with the
/// body dropped, once every guard of this moment is gone. Dropping it retires
/// it under a pin of its own.
///
/// # Invariants
///
/// `cell` is a cell for which `free` and `info` are right. No slot names it,
/// and no handle but peeks under pins older than this value.
#[must_use = "retire it in batches; dropping it pins"]
pub struct Garbage {
    cell: NonNull<()>,
    info: &'static TypeInfo,
    free: unsafe fn(NonNull<()>, &'static TypeInfo),
}

// SAFETY: the body is `Send` by `Descriptor`, the home by `Home`.
unsafe impl Send for Garbage {}
// SAFETY: a shared one gives out nothing.
unsafe impl Sync for Garbage {}

impl Garbage {
    /// Defers the freeing. Fits the epoch's own record: no allocation.
    pub fn retire(self, guard: &Guard) {
        if seeded!("freed without a grace period") {
            self.free_now();
            return;
        }
        guard.defer(move || self.free_now());
    }

    /// Defers the freeing of many in one go and flushes, so that a thread that
    /// retires batch after batch under one guard cannot pile them up unseen.
    pub fn retire_all(batch: Vec<Self>, guard: &Guard) {
        guard.defer(move || batch.into_iter().for_each(Self::free_now));
        guard.flush();
    }

    /// To be called after the grace period only.
    fn free_now(self) {
        let this = mem::ManuallyDrop::new(self);
        // SAFETY: right for the cell by the invariant. The guards that were
        // live when this value was made are gone, and no new peek can be made.
        unsafe { (this.free)(this.cell, this.info) };
    }
}

impl Drop for Garbage {
    fn drop(&mut self) {
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        let Self { cell, info, free } = *self;
        // INVARIANT: the same cell; the original is not dropped again.
        Self { cell, info, free }.retire(&pin());
    }
}

impl fmt::Debug for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Garbage").field(&self.info.name).finish()
    }
}
