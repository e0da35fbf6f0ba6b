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

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::own;
#[cfg(any(loom, feature = "std"))]
use crate::sync::unique_wide_id;
use crate::sync::{Arc, Mutex, TryArc, Weak};
use crate::{Home, OutOfMemory, seeded, try_box};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;
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

    use super::{Anchor, Share};
    use crate::Home;
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
