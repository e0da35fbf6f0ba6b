//! The unit: what a cell has of its home's anchor, as a value.
//!
//! # What always holds
//!
//! Whoever has one can follow the way to the home. It is taken of a `Keep`, or of
//! another unit, or is the one that an anchor without a `Keep` begins with; it is
//! given back by its drop. A cell has it as the bare address of the anchor.
//!
//! # Cost
//!
//! Taking one of a `Keep` and giving it back go through what the thread keeps
//! (`local`), where there is such a thing; else each is one read-modify-write.

use super::{Anchor, Keep};
use crate::{Home, OutOfMemory};
use core::ptr::NonNull;

/// One unit of an anchor.
///
/// # Invariants
///
/// `anchor` is live, and one of its units is this value's.
pub(crate) struct Unit<H: Home> {
    anchor: NonNull<Anchor<H>>,
}

// SAFETY: gives out `&H`, and may drop the `H`, in any thread.
unsafe impl<H: Home> Send for Unit<H> {}
// SAFETY: as above.
unsafe impl<H: Home> Sync for Unit<H> {}

impl<H: Home> Unit<H> {
    /// A unit of a home that is kept.
    #[inline]
    pub(crate) fn of(keep: &Keep<H>) -> Self {
        let anchor = keep.anchor();
        #[cfg(all(feature = "std", not(loom)))]
        crate::local::take_unit(anchor);
        #[cfg(loom)]
        modelled::take_unit(anchor);
        #[cfg(not(any(loom, feature = "std")))]
        anchor.take();
        // INVARIANT: taken just above.
        Self { anchor: NonNull::from(anchor) }
    }

    /// The same, with memory for a cell; that is `None` when it is out.
    #[cfg(all(feature = "std", not(any(loom, shuttle))))]
    #[inline(always)]
    pub(crate) fn with_memory(
        keep: &Keep<H>,
        class: crate::slab::Class,
    ) -> (Self, Option<NonNull<()>>) {
        let anchor = keep.anchor();
        let memory = crate::local::take_both(anchor, class);
        // INVARIANT: taken just above.
        (Self { anchor: NonNull::from(anchor) }, memory)
    }

    /// Another unit of the same home: one read-modify-write.
    pub(crate) fn again(anchor: &Anchor<H>) -> Self {
        // The caller's own unit keeps the anchor meanwhile.
        anchor.take();
        // INVARIANT: taken just above.
        Self { anchor: NonNull::from(anchor) }
    }

    /// The one unit of a home that nobody else keeps.
    pub(crate) fn alone(home: H) -> Result<Self, (OutOfMemory, H)> {
        // INVARIANT: the one it starts with.
        Anchor::new(home, 1).map(|anchor| Self { anchor })
    }

    #[inline]
    pub(crate) fn home(&self) -> &H {
        // SAFETY: live, by the invariant.
        unsafe { self.anchor.as_ref() }.home()
    }

    /// The anchor, for a cell, which has the unit from now on.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<Anchor<H>> {
        core::mem::ManuallyDrop::new(self).anchor
    }

    /// The unit of a cell.
    ///
    /// # Safety
    ///
    /// `anchor` came from [`into_raw`](Self::into_raw), and its unit is the
    /// caller's, who gives it up here.
    #[inline]
    pub(crate) unsafe fn from_raw(anchor: NonNull<Anchor<H>>) -> Self {
        // INVARIANT: the promise.
        Self { anchor }
    }
}

impl<H: Home> Drop for Unit<H> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(any(loom, shuttle))]
        if std::thread::panicking() {
            return;
        }
        // SAFETY: the unit is ours, and this is our last use.
        #[cfg(all(feature = "std", not(loom)))]
        unsafe {
            crate::local::give_unit(self.anchor);
        }
        // SAFETY: as above.
        #[cfg(not(all(feature = "std", not(loom))))]
        unsafe {
            Anchor::give(self.anchor, 1);
        }
    }
}

#[cfg(loom)]
mod modelled {
    //! What `local` is elsewhere: each thread takes by a share of its own.
    //! Units are given back one by one, which models more orders, not fewer.

    use crate::Home;
    use crate::anchor::{Anchor, Share};
    use crate::sync::TryArc;
    use alloc::vec::Vec;
    use core::cell::RefCell;

    loom::thread_local! {
        static SHARES: RefCell<Vec<(u64, TryArc<Share>)>> = RefCell::new(Vec::new());
    }

    pub(super) fn take_unit<H: Home>(anchor: &Anchor<H>) {
        SHARES.with(|shares| {
            let mut shares = shares.borrow_mut();
            let id = anchor.id();
            if !shares.iter().any(|(other, _)| *other == id) {
                shares.extend(anchor.share().map(|share| (id, share)));
            }
            match shares.iter().find(|(other, _)| *other == id) {
                Some((_, share)) => share.take(),
                None => anchor.take(),
            }
        });
    }
}
