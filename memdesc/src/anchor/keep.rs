//! The handles on a home: those that keep it, and those that do not.
//!
//! # What always holds
//!
//! All that keep one home share one `Inner`, whose `HELD` is in the anchor's count
//! from the anchor's making to the drop of the last of them. That drop adds the
//! units up, as `anchor` says; the home may outlive it by the units that are left.
//!
//! # Cost
//!
//! A clone and a drop: an `Arc`'s. The last drop: a lock, and a load for each share
//! that threads have.

use super::{Anchor, HELD};
use crate::sync::atomic::Ordering;
use crate::sync::{Arc, Weak};
use crate::{Home, seeded};
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

/// A home from which descriptors are made: a counted handle, like an `Arc`.
///
/// Descriptors made of it by [`Fresh::of`](crate::Fresh::of) share the one home
/// inside, and keep it: it is dropped when the last `Keep` is gone and the last
/// descriptor torn down.
///
/// ```
/// use potad_memdesc::{Dead, Descriptor, Fresh, Home, Keep, Kinds, OwnerId};
///
/// struct Ram(Kinds);
/// impl Home for Ram {
///     fn kinds(&self) -> &Kinds { &self.0 }
///     fn teardown(_: Dead<Self>) {}
/// }
/// struct Folio(u32);
/// impl Descriptor for Folio { const NAME: &'static str = "folio"; }
///
/// let ram = Keep::new(Ram(Kinds::new()));
/// let folio = Fresh::of(&ram, OwnerId::RESOURCE, Folio(7)).map_err(|(why, _)| why)?;
/// drop(ram);
/// assert!(folio.home().kinds().is_empty());
/// assert_eq!(folio.into_body().0, 7);
/// # Ok::<(), potad_memdesc::OutOfMemory>(())
/// ```
pub struct Keep<H: Home> {
    inner: Arc<Inner<H>>,
}

/// Its drop is the end of the last `Keep`.
///
/// # Invariants
///
/// `anchor` is live, and `HELD` is in its count.
struct Inner<H: Home> {
    anchor: NonNull<Anchor<H>>,
}

// SAFETY: gives out `&H`, and may drop the `H`, in any thread.
unsafe impl<H: Home> Send for Inner<H> {}
// SAFETY: as above.
unsafe impl<H: Home> Sync for Inner<H> {}

/// A handle on a home that does not keep it.
pub struct WeakKeep<H: Home>(Weak<Inner<H>>);

impl<H: Home> Keep<H> {
    /// Puts a home where descriptors can share it.
    ///
    /// # Panics
    ///
    /// If memory is out.
    pub fn new(home: H) -> Self {
        match Anchor::new(home, HELD) {
            // INVARIANT: just made.
            Ok(anchor) => Self { inner: Arc::new(Inner { anchor }) },
            Err((why, _)) => panic!("{why}"),
        }
    }

    /// A handle that does not keep the home.
    pub fn downgrade(&self) -> WeakKeep<H> {
        WeakKeep(Arc::downgrade(&self.inner))
    }

    #[inline]
    pub(crate) fn anchor(&self) -> &Anchor<H> {
        // SAFETY: live while we are, by the invariant of `Inner`.
        unsafe { self.inner.anchor.as_ref() }
    }
}

impl<H: Home> WeakKeep<H> {
    /// The home, unless every [`Keep`] is gone; descriptors alone do not count.
    pub fn upgrade(&self) -> Option<Keep<H>> {
        Some(Keep { inner: self.0.upgrade()? })
    }
}

impl<H: Home> Clone for Keep<H> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<H: Home> Deref for Keep<H> {
    type Target = H;

    #[inline]
    fn deref(&self) -> &H {
        self.anchor().home()
    }
}

#[cfg(loom)]
impl<H: Home> Drop for Keep<H> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.anchor().handles.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl<H: Home> Drop for Inner<H> {
    fn drop(&mut self) {
        // A model that failed is taken apart outside of it: leak.
        #[cfg(any(loom, shuttle))]
        if std::thread::panicking() {
            return;
        }
        let anchor = self.anchor;
        {
            // SAFETY: live, by the invariant.
            let held = unsafe { anchor.as_ref() };
            held.let_go.store(true, Ordering::Relaxed);
            let shares = core::mem::take(&mut *held.shares.lock());
            // Relaxed: see `Share::take`.
            let taken: u64 = shares.iter().map(|share| share.taken.load(Ordering::Relaxed)).sum();
            let taken = if seeded!("shares not added up") { 0 } else { taken };
            // Relaxed: these units are not given up, only counted here now;
            // `HELD` outweighs them until the next line.
            held.count.0.fetch_add(taken, Ordering::Relaxed);
        }
        // SAFETY: `HELD` is ours, and this is our last use.
        unsafe { Anchor::give(anchor, HELD) };
        // What this thread has put off may be the last.
        #[cfg(all(feature = "std", not(loom)))]
        crate::local::give_back();
    }
}

impl<H: Home + fmt::Debug> fmt::Debug for Keep<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keep").field(&**self).finish()
    }
}

impl<H: Home> fmt::Debug for WeakKeep<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakKeep")
    }
}
