//! What is left of a descriptor: first its words, then its memory.
//!
//! ```text
//!  last put or unlock          Tree::retract             the thread's bag        guards of then are gone
//!  ------------------>  Dead  -------------->  Garbage  ------- 128 ------> epoch ----------------> freed
//!                                                          ^------------------------ the empty bag and its cells
//! ```
//!
//! # What always holds
//!
//! [`Dead`] exists once per descriptor, and while it does, nobody but its
//! holder stores into the slots that name it. [`Garbage`] exists only once no
//! slot names it. Dropping a `Dead` leaks the memory, because words may still
//! name it: a leak is the worst that misuse can do.
//!
//! # How long it takes
//!
//! What is retired waits in a bag of its thread until there are 128, the thread
//! ends or calls [`Guard::flush`]; then one deferred call is made for all of
//! them. A guard that is never dropped holds up all that comes after it:
//! [`retired_bytes`] grows without bound until it goes.

#[cfg(all(feature = "std", not(loom)))]
use crate::cell::NOT_PLAIN;
use crate::cell::{self, TypeInfo};
use crate::handle::Handle;
#[cfg(all(feature = "std", not(loom)))]
use crate::parted::{Far, Whole};
#[cfg(not(loom))]
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::{Block, Granule, Guard, Home, OwnerId, Word, pin, seeded};
#[cfg(all(feature = "std", not(loom)))]
use alloc::vec::Vec;
use core::fmt;
use core::mem;
use core::ptr::NonNull;

/// A descriptor that died and whose words are still published. Handed to
/// [`Home::teardown`], and gone when that returns; dropping it leaks the
/// descriptor.
///
/// # Invariants
///
/// The handle names a cell whose state is DEAD|LOCKED and whose body is what
/// `info` says, and this is the only value that was made of that edge.
#[must_use = "retract it from its tree, or it leaks"]
pub struct Dead<'a, H: Home> {
    handle: Handle<H>,
    home: &'a H,
    info: &'static TypeInfo,
}

impl<'a, H: Home> Dead<'a, H> {
    /// INVARIANT of the caller: it made the edge to DEAD, and the type is right.
    #[inline]
    pub(crate) fn new(handle: Handle<H>, home: &'a H, info: &'static TypeInfo) -> Self {
        Self { handle, home, info }
    }

    /// The block it described; `None` if it never had one.
    #[inline]
    pub fn block(&self) -> Option<Block> {
        self.handle.header().place()
    }

    /// The owner.
    #[inline]
    pub fn owner(&self) -> OwnerId {
        self.handle.header().owner()
    }

    /// Whether memory failed inside. Exact: marking needs the lock, which is
    /// this value's.
    #[inline]
    pub fn poisoned(&self) -> bool {
        self.handle.header().is_poisoned()
    }

    /// The granule, if the block that it described is a single one.
    #[inline(always)]
    pub fn single(&self) -> Option<Granule> {
        self.handle.header().single()
    }

    /// The word that its slots hold, but for the poison hint.
    #[inline]
    pub fn word(&self) -> Word {
        self.handle.word()
    }

    /// The resource it was published in, for the length of the teardown.
    #[inline]
    pub fn home(&self) -> &'a H {
        self.home
    }

    /// Runs `bury` with the home at hand, and a pin to retire with.
    pub fn with_home<R>(self, bury: impl FnOnce(&H, Self, &Guard) -> R) -> R {
        let guard = pin();
        bury(self.home, self, &guard)
    }

    /// The memory, to be freed.
    ///
    /// # Safety
    ///
    /// No slot of any tree names the descriptor, and none will.
    #[doc(hidden)]
    #[inline]
    pub unsafe fn into_garbage(self) -> Garbage {
        let cell = NonNull::new(self.handle.word().cell()).expect("a descriptor has an address");
        // INVARIANT: unreachable by the promise; dead, so that no handle but
        // peeks under older pins is left.
        Garbage { cell, info: self.info }
    }
}

impl<H: Home> fmt::Debug for Dead<'_, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dead").field(&self.handle).finish()
    }
}

/// The memory of a descriptor that nobody can find any more. Freed, with the
/// body dropped, once every guard of this moment is gone. Dropping it retires
/// it.
///
/// # Invariants
///
/// `cell` is a cell whose body is what `info` says. No slot names it, and no
/// handle but peeks under pins older than this value.
#[must_use = "retire it under a pin that is there already; dropping it may pin"]
pub struct Garbage {
    cell: NonNull<()>,
    info: &'static TypeInfo,
}

// SAFETY: the body is `Send` by `Descriptor`, and nothing else is dropped.
unsafe impl Send for Garbage {}
// SAFETY: a shared one gives out nothing.
unsafe impl Sync for Garbage {}

impl Garbage {
    /// Retires it with others of this thread; `guard` serves if the bag is full.
    #[inline]
    pub fn retire(self, guard: &Guard) {
        if seeded!("freed without a grace period") {
            return self.free_now();
        }
        #[cfg(all(feature = "std", not(loom)))]
        crate::local::retire(self, Some(guard));
        #[cfg(not(all(feature = "std", not(loom))))]
        self.retire_alone(guard);
    }

    /// The same without a guard, as a drop does it.
    #[inline(always)]
    pub fn retire_unpinned(self) {
        #[cfg(all(feature = "std", not(loom)))]
        if !seeded!("freed without a grace period") {
            return crate::local::retire(self, None);
        }
        drop(self);
    }

    /// Defers the freeing of this one. Fits the epoch's own record: no
    /// allocation.
    pub(crate) fn retire_alone(self, guard: &Guard) {
        #[cfg(not(loom))]
        retired(self.bytes());
        guard.defer(move || {
            #[cfg(not(loom))]
            freed(self.bytes());
            self.free_now();
        });
    }

    #[cfg(not(loom))]
    fn bytes(&self) -> usize {
        // SAFETY: a cell of this type, by the invariant, and not freed yet.
        unsafe { cell::bytes_of(self.cell, self.info) }
    }

    /// To be called after the grace period only.
    fn free_now(self) {
        let this = mem::ManuallyDrop::new(self);
        // SAFETY: right for the cell by the invariant. The guards that were
        // live when this value was made are gone, and no new peek can be made.
        unsafe { cell::free(this.cell, this.info) };
    }
}

impl Drop for Garbage {
    #[inline]
    fn drop(&mut self) {
        #[cfg(any(loom, shuttle))]
        if std::thread::panicking() {
            return;
        }
        let Self { cell, info } = *self;
        // INVARIANT: the same cell; the original is not dropped again.
        let again = Self { cell, info };
        if seeded!("freed without a grace period") {
            return again.free_now();
        }
        #[cfg(all(feature = "std", not(loom)))]
        crate::local::retire(again, None);
        #[cfg(not(all(feature = "std", not(loom))))]
        again.retire(&pin());
    }
}

impl fmt::Debug for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Garbage").field(&self.info.name).finish()
    }
}

/// Bytes that were handed to the epoch and not freed yet: the sum of all. Each
/// thread counts in one of them, so that threads seldom share a line; what one has
/// retired another may free, so each by itself may be below zero.
#[cfg(not(loom))]
static RETIRED: [Count; COUNTS] = [const { Count(AtomicUsize::new(0)) }; COUNTS];

#[cfg(not(loom))]
const COUNTS: usize = if cfg!(all(feature = "std", not(shuttle))) { 16 } else { 1 };

/// A count, on a line of its own.
#[cfg(not(loom))]
#[repr(align(128))]
struct Count(AtomicUsize);

// Relaxed, all of them: a figure, which orders nothing.

#[cfg(not(loom))]
fn retired(bytes: usize) {
    count().fetch_add(bytes, Ordering::Relaxed);
}

#[cfg(not(loom))]
fn freed(bytes: usize) {
    count().fetch_sub(bytes, Ordering::Relaxed);
}

/// The calling thread's.
#[cfg(not(loom))]
fn count() -> &'static AtomicUsize {
    #[cfg(all(feature = "std", not(shuttle)))]
    let own = crate::local::number();
    #[cfg(not(all(feature = "std", not(shuttle))))]
    let own = 0;
    &RETIRED[own % COUNTS].0
}

/// Bytes of descriptors that died and are not freed yet, of the whole process:
/// those that wait for readers, and those in the calling thread's bag. Other
/// threads' bags hold up to 127 descriptors each besides.
///
/// What their bodies own elsewhere is not counted. A figure that grows without
/// end says that some thread holds a [`Guard`] and does not drop it.
///
/// ```
/// use potad_memdesc::{pin, retired_bytes};
///
/// let guard = pin();
/// // .. blocks are freed ..
/// drop(guard);
/// (0..8).for_each(|_| pin().flush());
/// assert_eq!(retired_bytes(), 0, "no guard is left");
/// ```
#[cfg(not(loom))]
pub fn retired_bytes() -> usize {
    let waiting = RETIRED.iter().map(|count| count.0.load(Ordering::Relaxed));
    // Looked at one after the other, while others count: what was added may be missed
    // where its taking away is not.
    let waiting = waiting.fold(0, usize::wrapping_add).cast_signed().max(0).cast_unsigned();
    #[cfg(feature = "std")]
    let waiting = waiting + crate::local::bytes_in_bag();
    waiting
}

/// Retired cells of one thread, to be freed together.
///
/// # Invariants
///
/// Each cell was a [`Garbage`]'s.
#[cfg(all(feature = "std", not(loom)))]
pub(crate) struct Bag {
    cells: Vec<Retired>,
    /// The sum of their weights.
    weight: u64,
}

/// A retired cell, and what its body is.
#[cfg(all(feature = "std", not(loom)))]
pub(crate) type Retired = (NonNull<()>, &'static TypeInfo);

/// Cells that are retired together.
#[cfg(all(feature = "std", not(loom)))]
const BAG: usize = if cfg!(shuttle) { 3 } else { 128 };
#[cfg(all(feature = "std", not(loom)))]
const _: () = assert!(NOT_PLAIN >= BAG as u64 * cell::PLAIN);

// SAFETY: as for `Garbage`.
#[cfg(all(feature = "std", not(loom)))]
unsafe impl Send for Bag {}

#[cfg(all(feature = "std", not(loom)))]
impl Bag {
    /// An empty one, or `None` when memory is out.
    pub(crate) fn new() -> Option<Whole<Self>> {
        let mut cells = Vec::new();
        cells.try_reserve_exact(BAG).ok()?;
        Whole::new(Self { cells, weight: 0 })
    }

    /// Whether one more does not make it full.
    #[inline(always)]
    pub(crate) fn is_open(&self) -> bool {
        self.cells.len() < BAG - 1
    }

    /// Adds one; returns whether the bag is full.
    #[inline]
    pub(crate) fn put(&mut self, garbage: Garbage) -> bool {
        let garbage = mem::ManuallyDrop::new(garbage);
        self.weight += garbage.info.weight();
        self.cells.push((garbage.cell, garbage.info));
        self.cells.len() >= BAG
    }

    pub(crate) fn bytes(&self) -> usize {
        if self.is_plain() {
            // Lossless: 64-bit targets only.
            return self.weight as usize;
        }
        // SAFETY: cells of these types, by the invariant, and not freed yet.
        self.cells.iter().map(|&(cell, info)| unsafe { cell::bytes_of(cell, info) }).sum()
    }

    /// Whether nothing is to be dropped in any cell.
    fn is_plain(&self) -> bool {
        self.weight < NOT_PLAIN
    }

    pub(crate) fn cells(&self) -> &[Retired] {
        &self.cells
    }

    /// Forgets the cells, which whoever calls has given back.
    pub(crate) fn clear(&mut self) {
        self.weight = 0;
        self.cells.clear();
    }
}

#[cfg(all(feature = "std", not(loom)))]
impl Far<Bag> {
    /// Defers the end of all: bodies are dropped by whoever collects, and the
    /// memory goes back with the bag to the thread that filled it.
    pub(crate) fn defer(self, guard: &Guard) {
        let bytes = self.bytes();
        retired(bytes);
        guard.defer(move || {
            freed(bytes);
            self.come_back();
        });
    }

    /// Defers the end of all, and hands that on: batch after batch under one
    /// guard does not pile up unseen.
    pub(crate) fn retire(self, guard: &Guard) {
        self.defer(guard);
        guard.hand_over();
    }

    /// To be called after the grace period only.
    fn come_back(self) {
        if !self.is_plain() {
            for &(cell, info) in &self.cells {
                // SAFETY: right for the cell by the invariant of `Garbage`, and
                // the guards of then are gone.
                unsafe { cell::drop_body_of(cell, info) };
            }
        }
        if let Some(bag) = self.bring() {
            // SAFETY: as above; there is no body, or it was dropped just now.
            unsafe { crate::local::give_cells(bag) };
        }
    }
}
