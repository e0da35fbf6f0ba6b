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

use crate::pages::{Blank, Page, PageBox};
use crate::sync::atomic::{AtomicPtr, Ordering};
use alloc::boxed::Box;
use core::fmt;
use core::marker::PhantomData;
use core::ptr;

/// A box of a `T`, which can be given up for an address and had back.
///
/// # Safety
///
/// - `into_raw` gives the address of a live `T` that stays where it is, live and
///   the giver's own, until `from_raw` is called with it.
pub unsafe trait Owns<T> {
    /// Gives up the box for the address of what it owns.
    fn into_raw(this: Self) -> *mut T;

    /// The box again.
    ///
    /// # Safety
    ///
    /// - `raw` came from `into_raw`, and nobody uses it any more but the caller,
    ///   who gives it up here.
    unsafe fn from_raw(raw: *mut T) -> Self;
}

// SAFETY: a box owns one live `T` until it is made again.
unsafe impl<T> Owns<T> for Box<T> {
    fn into_raw(this: Self) -> *mut T {
        Box::into_raw(this)
    }

    unsafe fn from_raw(raw: *mut T) -> Self {
        // SAFETY: the same promise.
        unsafe { Box::from_raw(raw) }
    }
}

// SAFETY: as above.
unsafe impl<T: Blank> Owns<Page<T>> for PageBox<T> {
    fn into_raw(this: Self) -> *mut Page<T> {
        this.into_raw()
    }

    unsafe fn from_raw(raw: *mut Page<T>) -> Self {
        // SAFETY: the same promise.
        unsafe { PageBox::from_raw(raw) }
    }
}

/// A lazily installed `T`, in a box of its own or on a page.
///
/// # Invariants
///
/// `installed` is null, or was made by `B::into_raw` and is freed only by
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
pub struct OnceSlot<T, B: Owns<T> = Box<T>> {
    installed: AtomicPtr<T>,
    owns: PhantomData<B>,
}

// SAFETY: sending a slot sends the box it owns.
unsafe impl<T: Send, B: Owns<T> + Send> Send for OnceSlot<T, B> {}
// SAFETY: a shared slot gives out `&T` and takes a box of one from any thread.
unsafe impl<T: Send + Sync, B: Owns<T> + Send> Sync for OnceSlot<T, B> {}

impl<T, B: Owns<T>> OnceSlot<T, B> {
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
        let installed = self.installed.load(crate::weakened!("once is seen relaxed", Acquire));
        // SAFETY: null or live until drop, by the invariant; only shared
        // references are ever made.
        unsafe { installed.as_ref() }
    }

    /// What is installed, after installing what `make` gives if nothing was.
    ///
    /// `None` only if `make` gave none (out of memory) and nobody else
    /// installed anything.
    pub fn get_or_install(&self, make: impl FnOnce() -> Option<B>) -> Option<&T> {
        if let Some(installed) = self.get() {
            return Some(installed);
        }
        let fresh = B::into_raw(make()?);
        let won = self.installed.compare_exchange(
            ptr::null_mut(),
            fresh,
            // Pairs with the load in `get`: ours is published. The winner's is
            // read by `get` as well, so failing may be Relaxed.
            crate::weakened!("once is installed relaxed", AcqRel),
            Ordering::Relaxed,
        );
        // INVARIANT: a box made just above, installed by nobody else.
        if won.is_err() {
            // SAFETY: made above from a box, and published to nobody.
            drop(unsafe { B::from_raw(fresh) });
        }
        self.get()
    }
}

impl<T, B: Owns<T>> Default for OnceSlot<T, B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, B: Owns<T>> Drop for OnceSlot<T, B> {
    fn drop(&mut self) {
        // A model that failed is taken apart outside of it: leak.
        #[cfg(any(loom, shuttle))]
        if std::thread::panicking() {
            return;
        }
        // Relaxed: `&mut self` says that no other thread is here.
        let installed = self.installed.load(Ordering::Relaxed);
        if installed.is_null() {
            return;
        }
        // SAFETY: made by `into_raw`, and nobody else frees it.
        drop(unsafe { B::from_raw(installed) });
    }
}

impl<T: fmt::Debug, B: Owns<T>> fmt::Debug for OnceSlot<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceSlot").field(&self.get()).finish()
    }
}
