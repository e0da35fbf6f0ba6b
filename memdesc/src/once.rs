//! The once slot: a lazily installed, never replaced pointer.
//!
//! # What always holds
//!
//! A slot is null or holds one box that it owns until it is dropped. Install
//! happens at most once; whoever loses the race drops its own box and uses the
//! winner's. So a reference out of a slot lives as long as the slot.
//!
//! # Sharing and cost
//!
//! Any thread may read (one Acquire load) or install (one compare-exchange).

use crate::sync::atomic::{AtomicPtr, Ordering};
use alloc::boxed::Box;
use core::fmt;
use core::marker::PhantomData;
use core::ptr;

/// A lazily installed `T`.
///
/// # Invariants
///
/// `installed` is null, or was made by `Box::into_raw` and is freed only by
/// this slot's drop.
///
/// ```
/// use potad_memdesc::OnceSlot;
///
/// let slot = OnceSlot::<u32>::new();
/// assert_eq!(slot.get(), None);
/// assert_eq!(slot.get_or_install(|| Some(Box::new(7))), Some(&7));
/// assert_eq!(slot.get_or_install(|| None), Some(&7));
/// ```
pub struct OnceSlot<T> {
    installed: AtomicPtr<T>,
    owns: PhantomData<Box<T>>,
}

// SAFETY: sending a slot sends the box it owns.
unsafe impl<T: Send> Send for OnceSlot<T> {}
// SAFETY: a shared slot gives out `&T` and takes a `Box<T>` from any thread.
unsafe impl<T: Send + Sync> Sync for OnceSlot<T> {}

impl<T> OnceSlot<T> {
    /// An empty slot.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { installed: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    /// An empty slot: atomics of a model cannot be made in a constant.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self { installed: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    /// What is installed, if anything.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // `Acquire` pairs with the `Release` of the install: whoever sees the
        // pointer sees what it points to.
        let installed = self.installed.load(Ordering::Acquire);
        // SAFETY: null or live until drop, by the invariant; only shared
        // references are ever made.
        unsafe { installed.as_ref() }
    }

    /// What is installed, after installing what `make` gives if nothing was.
    ///
    /// `None` only if `make` gave none (out of memory) and nobody else
    /// installed anything.
    pub fn get_or_install(&self, make: impl FnOnce() -> Option<Box<T>>) -> Option<&T> {
        if let Some(installed) = self.get() {
            return Some(installed);
        }
        let fresh = Box::into_raw(make()?);
        let won = self.installed.compare_exchange(
            ptr::null_mut(),
            fresh,
            // Pairs with the load in `get`, both ways: ours is published, and
            // the winner's is seen.
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        // INVARIANT: a box made just above, installed by nobody else.
        if won.is_err() {
            // SAFETY: made above from a box, and published to nobody.
            drop(unsafe { Box::from_raw(fresh) });
        }
        self.get()
    }
}

impl<T> Default for OnceSlot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for OnceSlot<T> {
    fn drop(&mut self) {
        // A model that failed is taken apart outside of it: leak.
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        // Relaxed: `&mut self` says that no other thread is here.
        let installed = self.installed.load(Ordering::Relaxed);
        if installed.is_null() {
            return;
        }
        // SAFETY: made by `Box::into_raw`, and nobody else frees it.
        drop(unsafe { Box::from_raw(installed) });
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceSlot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceSlot").field(&self.get()).finish()
    }
}
