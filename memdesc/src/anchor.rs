//! The anchor: how descriptors hold on to their home without counting it each.
//!
//! # Picture
//!
//! ```text
//!  Keep, Keep, ..          cell   cell   cell ..        (each cell: one unit)
//!      |                     |      |      |
//!      v                     v      v      v
//!  +-- anchor ------------------------------------------+
//!  | count   HELD + units counted here - units given back |   written once per batch
//!  | shares  [thread A: took 7100] [thread B: took 12]    |   each written by its thread
//!  | home                                                 |
//!  +------------------------------------------------------+
//! ```
//!
//! # What always holds
//!
//! A cell has one unit of its home's anchor from its making to the end of its
//! teardown, so whoever holds a reference, the lock or a dead descriptor can
//! follow the way to the home. The anchor goes when neither a unit nor a
//! [`Keep`] is left.
//!
//! # Why units need no atomic operation each
//!
//! As long as some `Keep` lives the anchor does, and nobody needs to know how
//! many units there are. So *taking* a unit, which is done through a `Keep`,
//! only adds to a number of the thread's own; *giving* one back is put off and
//! done for up to 128 at once. The last `Keep` to go adds up: each number was
//! written while its thread borrowed a `Keep`, and that borrow ended before the
//! last `Keep` was dropped, so the sum is exact, without any barrier. `HELD`
//! goes in the same operation, and from then on `count` is the number of units
//! left: whoever brings it to zero frees the anchor.
//!
//! ```text
//!  count before the last Keep goes     HELD + here - given           never 0
//!  the last Keep                       += sum of shares - HELD       0: nobody is left
//!  count after                         units that are left           0: the last is gone
//! ```
//!
//! # Sharing and cost
//!
//! Taking: a plain addition on a line of the thread's own. Giving back: a 128th
//! of a read-modify-write on the anchor's line. A thread that stops may keep
//! fewer than 128 units that are no cell's, and the home with them, until it
//! ends or gives others back.

mod keep;
mod unit;

pub use keep::{Keep, WeakKeep};
pub(crate) use unit::Unit;

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::own;
#[cfg(any(loom, feature = "std"))]
use crate::sync::unique_wide_id;
use crate::sync::{Mutex, TryArc};
use crate::{OutOfMemory, seeded, try_box};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ptr::NonNull;

/// What `count` has more while a [`Keep`] lives. Above any number of units.
const HELD: u64 = 1 << 63;

/// Units that one thread took of one anchor.
///
/// Written by that thread alone, by plain operations.
#[derive(Debug, Default)]
pub(crate) struct Share {
    taken: own::AtomicU64,
}

impl Share {
    /// Takes a unit. Only the share's own thread calls this.
    #[cfg(any(loom, feature = "std"))]
    #[inline]
    pub(crate) fn take(&self) {
        // Relaxed: read by the last `Keep`'s drop, which comes after the end
        // of the borrow that allowed this; and by whoever finds that the
        // thread has let go of its share, behind that `TryArc`'s count.
        let taken = self.taken.load(Ordering::Relaxed);
        self.taken.store(taken + 1, Ordering::Relaxed);
    }
}

/// A home, and the units that keep it.
pub(crate) struct Anchor<H> {
    // Read by every taking and giving.
    #[cfg(any(loom, shuttle))]
    canary: crate::canary::Canary,
    home: H,
    /// No two kept anchors of a process have the same, ever; 0 for one that
    /// no `Keep` leads to.
    #[cfg(any(loom, feature = "std"))]
    id: u64,
    /// The last `Keep` is gone.
    let_go: AtomicBool,
    // Written once per batch.
    count: Count,
    /// What an `Arc`'s count orders, which models do not see.
    #[cfg(loom)]
    handles: AtomicU64,
    shares: Mutex<Vec<TryArc<Share>>>,
}

/// The count, on a line of its own.
#[repr(align(64))]
struct Count(AtomicU64);

impl<H> Anchor<H> {
    fn new(home: H, count: u64) -> Result<NonNull<Self>, (OutOfMemory, H)> {
        // Asked for before the home is moved in, which thus can go back.
        let Some(room) = try_box(core::mem::MaybeUninit::<Self>::uninit()) else {
            return Err((OutOfMemory { bytes: size_of::<Self>() }, home));
        };
        let anchor = Box::write(
            room,
            Self {
                #[cfg(any(loom, shuttle))]
                canary: Default::default(),
                home,
                #[cfg(any(loom, feature = "std"))]
                id: if count < HELD { 0 } else { unique_wide_id() },
                let_go: AtomicBool::new(count < HELD),
                count: Count(AtomicU64::new(count)),
                #[cfg(loom)]
                handles: AtomicU64::new(0),
                shares: Mutex::new(Vec::new()),
            },
        );
        Ok(NonNull::from(Box::leak(anchor)))
    }

    #[inline]
    pub(crate) fn home(&self) -> &H {
        #[cfg(any(loom, shuttle))]
        self.canary.check();
        &self.home
    }

    #[cfg(any(loom, feature = "std"))]
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether no `Keep` is left.
    #[cfg(all(feature = "std", not(loom)))]
    #[inline]
    pub(crate) fn is_let_go(&self) -> bool {
        // Relaxed: a hint to give units back at once.
        self.let_go.load(Ordering::Relaxed)
    }

    /// Takes a unit for a thread without a share. The caller borrows a `Keep`,
    /// or has a unit.
    pub(crate) fn take(&self) {
        // Relaxed: that keeps the anchor.
        self.count.0.fetch_add(1, Ordering::Relaxed);
    }

    /// A share for the calling thread, `None` when memory is out. The caller
    /// borrows a `Keep`.
    #[cold]
    #[cfg(any(loom, feature = "std"))]
    pub(crate) fn share(&self) -> Option<TryArc<Share>> {
        let mut shares = self.shares.lock();
        // Threads that have ended left their shares behind: exclusive, so all
        // that was written to them is seen.
        let mut left = 0;
        shares.retain_mut(|share| match share.get_mut() {
            Some(share) => {
                left += share.taken.load(Ordering::Relaxed);
                false
            }
            None => true,
        });
        // Relaxed: as in `take`.
        self.count.0.fetch_add(left, Ordering::Relaxed);
        shares.try_reserve(1).ok()?;
        let share = TryArc::new(Share::default())?;
        shares.push(share.clone());
        Some(share)
    }

    /// Gives units back; the last frees the anchor.
    ///
    /// # Safety
    ///
    /// - The units belong to the caller, who gives them up here.
    /// - `anchor` is live, and the caller does not use it again without another
    ///   unit or a `Keep`.
    pub(crate) unsafe fn give(anchor: NonNull<Self>, units: u64) {
        // SAFETY: live, by the promise.
        #[cfg(any(loom, shuttle))]
        unsafe { &(*anchor.as_ptr()).canary }.check();
        // SAFETY: as above.
        let count = unsafe { &(*anchor.as_ptr()).count.0 };
        // `Release`: what was done with the home comes before its end.
        // `Acquire`: whoever ends it sees what everybody did.
        let ordering = match seeded!("units given back relaxed") {
            true => Ordering::Relaxed,
            false => Ordering::AcqRel,
        };
        let before = count.fetch_sub(units, ordering);
        if before == units || seeded!("anchor freed while units are out") {
            // SAFETY: nobody holds a unit, and no `Keep` is left: with one the
            // count is at least `HELD` less what was given of the shares'.
            unsafe { Self::free(anchor) };
        }
    }

    /// # Safety
    ///
    /// Neither a unit nor a `Keep` is left, and what was done with them is
    /// seen.
    #[cfg(not(any(loom, shuttle)))]
    unsafe fn free(anchor: NonNull<Self>) {
        // SAFETY: made by `Box::leak`, and nobody else is left.
        drop(unsafe { Box::from_raw(anchor.as_ptr()) });
    }

    /// Under a model: marks it as freed, so that whoever still uses it is found
    /// out, and drops the home. The memory leaks, or lies until the schedule is
    /// over.
    ///
    /// # Safety
    ///
    /// As without the model.
    #[cfg(any(loom, shuttle))]
    unsafe fn free(anchor: NonNull<Self>) {
        // SAFETY: the memory is never given back under a model.
        unsafe { &(*anchor.as_ptr()).canary }.kill();
        // SAFETY: a field of it, in memory that stays.
        let home = unsafe { &raw mut (*anchor.as_ptr()).home };
        // SAFETY: nobody uses it any more, or the canary says so first.
        unsafe { home.drop_in_place() };
        // SAFETY: a box's, which nobody else gives back; late looks are the
        // schedule's.
        #[cfg(shuttle)]
        unsafe {
            crate::sync::grave::bury(anchor.cast(), core::alloc::Layout::new::<Self>());
        }
    }
}
