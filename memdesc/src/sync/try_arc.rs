//! A counted pointer whose memory may be refused: `Arc::new` ends the process
//! where memory is out.
//!
//! # Sharing and cost
//!
//! As `Arc` without weak ones; outside of the models' view, as that is. One
//! allocation, one read-modify-write per clone and drop.

use alloc::boxed::Box;
use core::ops::Deref;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A counted pointer.
///
/// # Invariants
///
/// `inner` came from a box, is live, and one unit of its count is this value's.
#[derive(Debug)]
pub struct TryArc<T> {
    inner: NonNull<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    count: AtomicUsize,
    value: T,
}

// SAFETY: as for `Arc`: a handle gives out shared references, and whichever is
// the last drops the value.
unsafe impl<T: Send + Sync> Send for TryArc<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for TryArc<T> {}

impl<T> TryArc<T> {
    /// The first handle on a value; `None` when memory is out.
    ///
    /// ```
    /// use potad_memdesc::sync::TryArc;
    ///
    /// let mut one = TryArc::new(7).unwrap();
    /// let other = one.clone();
    /// assert_eq!((*one, *other, one.get_mut()), (7, 7, None));
    /// drop(other);
    /// assert_eq!(one.get_mut(), Some(&mut 7));
    /// ```
    pub fn new(value: T) -> Option<Self> {
        let inner = crate::try_box(Inner { count: AtomicUsize::new(1), value })?;
        // INVARIANT: just made, with one unit.
        NonNull::new(Box::into_raw(inner)).map(|inner| Self { inner })
    }

    /// The value, if this is the only handle: all that was done by others is seen.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // `Acquire` pairs with the drops of the others.
        if self.count().load(Ordering::Acquire) != 1 {
            return None;
        }
        // SAFETY: live, and the one unit is ours, which is borrowed exclusively:
        // nobody else has a reference, or makes a handle.
        Some(unsafe { &mut (*self.inner.as_ptr()).value })
    }

    fn count(&self) -> &AtomicUsize {
        // SAFETY: live, by the invariant.
        let inner = unsafe { self.inner.as_ref() };
        &inner.count
    }
}

impl<T> Clone for TryArc<T> {
    fn clone(&self) -> Self {
        // Relaxed: our own unit keeps the value. It would take more handles than
        // fit into memory to overflow, unless they are forgotten.
        let before = self.count().fetch_add(1, Ordering::Relaxed);
        assert!(before <= usize::MAX / 2, "handles were forgotten without end");
        // INVARIANT: the unit just added.
        Self { inner: self.inner }
    }
}

impl<T> Deref for TryArc<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: live, by the invariant; exclusive references are made by the
        // only handle alone, while it is borrowed.
        let inner = unsafe { self.inner.as_ref() };
        &inner.value
    }
}

impl<T> Drop for TryArc<T> {
    fn drop(&mut self) {
        // `Release`: what was done by this handle comes before the end. `Acquire`:
        // whoever ends it sees what all did.
        if self.count().fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        // SAFETY: from a box, by the invariant, and no handle is left.
        drop(unsafe { Box::from_raw(self.inner.as_ptr()) });
    }
}
