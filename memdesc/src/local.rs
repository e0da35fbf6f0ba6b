//! What a thread keeps for its descriptors, so that making and freeing one is
//! a matter of plain operations.
//!
//! # Picture
//!
//! ```text
//!  magazines   free cells, per class            <- slab
//!  bag         128 retired cells at most        -> one deferred call
//!  away        bags with the epoch, 8 at most   -> magazines, and the next bag
//!  shares      units taken, per anchor          -> added up by the last Keep
//!  given       one anchor, units given back     -> 128 at a time
//! ```
//!
//! # What always holds
//!
//! - Only the thread itself is in here, and never twice at once: nothing that
//!   can run another's code (a drop, a pin, a deferred call) is called while it
//!   is borrowed. Where it cannot be had (inside the global allocator's own
//!   call of us, or in a thread that is ending) the slow ways are taken: the
//!   depot, the anchor's count, a deferred call of its own.
//! - What is in the bag is unreachable: it is handed to the epoch when the bag
//!   is full, when the thread flushes, and when it ends.
//! - A bag that has come back holds free cells, whose bodies have been dropped.
//!
//! # Cost
//!
//! A thread keeps, at most: 128 free cells of each class, 127 retired ones, 8
//! bags that have come back, and 127 units.

use crate::anchor::{Anchor, Share};
use crate::cell::TypeInfo;
use crate::dead::{Bag, Garbage};
use crate::parted::{Far, Near, Whole};
#[cfg(not(shuttle))]
use crate::slab::{self, CLASSES, Class, Magazines};
use crate::sync::TryArc;
#[cfg(not(shuttle))]
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::{Guard, Home, pin};
use alloc::vec::Vec;
use core::cell::RefCell;
#[cfg(not(shuttle))]
use core::ptr;
use core::ptr::NonNull;

/// Units that are given back at once.
const UNITS: u64 = if cfg!(shuttle) { 3 } else { 128 };

/// Bags of which a thread waits for the cells. What goes beyond stays with
/// whoever collects it.
const AWAY: usize = if cfg!(shuttle) { 1 } else { 8 };

crate::sync::thread_local! {
    static LOCAL: RefCell<Local> = const { RefCell::new(Local::EMPTY) };
}

struct Local {
    #[cfg(not(shuttle))]
    magazines: [Magazines; CLASSES],
    /// What is retired, and not yet handed to the epoch.
    bag: Option<Whole<Bag>>,
    /// An empty one, for when that is.
    spare: Option<Whole<Bag>>,
    /// Those that are with the epoch, from `away[gone_since]` the longest first.
    away: [Option<Near<Bag>>; AWAY],
    gone_since: usize,
    /// By the anchor's id, the last used first.
    shares: Vec<(u64, TryArc<Share>)>,
    given: Option<Given>,
}

/// Units of one anchor that are to be given back.
///
/// # Invariants
///
/// `give` is right for `anchor`, and `units` of its units are this value's.
struct Given {
    anchor: NonNull<()>,
    units: u64,
    /// Gives units back.
    give: unsafe fn(NonNull<()>, u64),
}

impl Given {
    fn give(self) {
        // SAFETY: the units are ours, and go with us.
        unsafe { (self.give)(self.anchor, self.units) };
    }
}

/// # Safety
///
/// As [`Anchor::give`], of an anchor of an `H`.
unsafe fn give_erased<H: Home>(anchor: NonNull<()>, units: u64) {
    // SAFETY: promised by the caller.
    unsafe { Anchor::give(anchor.cast::<Anchor<H>>(), units) };
}

#[cfg(not(shuttle))]
crate::sync::thread_local! {
    static NUMBER: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

/// A number of the thread: small, and most often its own.
#[cfg(not(shuttle))]
pub(crate) fn number() -> usize {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.try_with(|number| match number.get() {
        0 => {
            // Relaxed: any will do.
            number.set(LAST.fetch_add(1, Ordering::Relaxed) % usize::from(u16::MAX) + 1);
            number.get()
        }
        number => number,
    });
    number.unwrap_or(0)
}

/// Runs `operate` on what the thread keeps, unless it is not to be had.
#[inline(always)]
fn with<R>(operate: impl FnOnce(&mut Local) -> R) -> Option<R> {
    let done = LOCAL.try_with(|local| Some(operate(&mut *local.try_borrow_mut().ok()?)));
    done.ok().flatten()
}

/// Memory for a cell of a type; `None` when it is out.
#[cfg(not(shuttle))]
#[inline]
pub(crate) fn take_cell(class: Class) -> Option<NonNull<()>> {
    match with(|local| local.take_cell(class)) {
        Some(cell) => cell,
        None => slab::take(class),
    }
}

/// Takes memory back.
///
/// # Safety
///
/// `cell` came from [`take_cell`] for the same class, and is not used again.
#[cfg(not(shuttle))]
#[inline]
pub(crate) unsafe fn give_cell(class: Class, cell: NonNull<()>) {
    // SAFETY: promised by the caller.
    let given = with(|local| unsafe { local.magazines[class.index()].give(class, cell) });
    if given.is_none() {
        // SAFETY: as above.
        unsafe { slab::give(class, cell) };
    }
}

/// Takes a unit of an anchor whose `Keep` the caller borrows.
#[inline]
pub(crate) fn take_unit<H: Home>(anchor: &Anchor<H>) {
    if with(|local| local.take_unit(anchor.id())) != Some(true) {
        take_slow(anchor);
    }
}

/// Both at once: a unit as by [`take_unit`], and memory as by [`take_cell`].
#[cfg(not(shuttle))]
#[inline(always)]
pub(crate) fn take_both<H: Home>(anchor: &Anchor<H>, class: Class) -> Option<NonNull<()>> {
    match with(|local| local.take_both_loaded(anchor.id(), class)).flatten() {
        Some(cell) => Some(cell),
        None => take_both_slow(anchor, class),
    }
}

#[cfg(not(shuttle))]
#[cold]
#[inline(never)]
fn take_both_slow<H: Home>(anchor: &Anchor<H>, class: Class) -> Option<NonNull<()>> {
    let taken = with(|local| (local.take_unit(anchor.id()), local.take_cell(class)));
    match taken {
        Some((true, cell)) => cell,
        Some((false, cell)) => {
            take_slow(anchor);
            cell
        }
        None => {
            take_slow(anchor);
            slab::take(class)
        }
    }
}

/// Takes the first unit of an anchor in this thread.
#[cold]
fn take_slow<H: Home>(anchor: &Anchor<H>) {
    // Whatever becomes of the share, this unit is counted at the anchor.
    anchor.take();
    let is_free = with(|local| local.shares.try_reserve(1).is_ok());
    let Some(share) = (is_free == Some(true)).then(|| anchor.share()).flatten() else { return };
    let id = anchor.id();
    with(|local| {
        // Without those of anchors that are no more.
        local.shares.retain_mut(|(_, share)| share.get_mut().is_none());
        local.shares.push((id, share));
    });
}

/// Gives a unit back, with others of the same anchor.
///
/// # Safety
///
/// As [`Anchor::give`], of one unit.
#[inline(always)]
pub(crate) unsafe fn give_unit<H: Home>(anchor: NonNull<Anchor<H>>) {
    // SAFETY: live, by the promise.
    let is_let_go = unsafe { anchor.as_ref() }.is_let_go();
    // Nobody puts off what may be the last.
    if is_let_go || with(|local| local.add_to_given(anchor.cast())) != Some(true) {
        // SAFETY: promised by the caller; it was not put off.
        unsafe { give_unit_slow(anchor) };
    }
}

/// # Safety
///
/// As [`give_unit`].
#[cold]
#[inline(never)]
unsafe fn give_unit_slow<H: Home>(anchor: NonNull<Anchor<H>>) {
    // SAFETY: live, by the promise.
    if unsafe { anchor.as_ref() }.is_let_go() {
        // Nobody puts off what may be the last.
        give_back();
        // SAFETY: promised by the caller.
        return unsafe { Anchor::give(anchor, 1) };
    }
    match with(|local| local.put_off(anchor)) {
        Some(None) => {}
        Some(Some(due)) => due.give(),
        // SAFETY: promised by the caller.
        None => unsafe { Anchor::give(anchor, 1) },
    }
}

/// Gives back the units that this thread has put off.
#[cold]
pub(crate) fn give_back() {
    if let Some(given) = with(|local| local.given.take()).flatten() {
        given.give();
    }
}

/// Puts a retired cell into the bag, and hands a full bag to the epoch.
#[inline(always)]
pub(crate) fn retire(garbage: Garbage, guard: Option<&Guard>) {
    let mut garbage = Some(garbage);
    with(|local| garbage = garbage.take().and_then(|garbage| local.put_in_open_bag(garbage)));
    if let Some(garbage) = garbage {
        retire_slow(garbage, guard);
    }
}

/// The first of a bag, its last, or what finds none.
#[cold]
#[inline(never)]
fn retire_slow(garbage: Garbage, guard: Option<&Guard>) {
    let mut garbage = Some(garbage);
    let full = with(|local| local.put_in_bag(&mut garbage)).flatten();
    if let Some(full) = full {
        match guard {
            Some(guard) => full.retire(guard),
            None => full.retire(&pin()),
        }
    }
    if let Some(alone) = garbage {
        match guard {
            Some(guard) => alone.retire_alone(guard),
            None => alone.retire_alone(&pin()),
        }
    }
}

/// Hands what is in the bag to the epoch, and gives back units that were put
/// off.
pub(crate) fn flush(guard: &Guard) {
    give_back();
    if let Some(bag) = with(Local::send_off).flatten() {
        bag.defer(guard);
    }
}

/// Bytes in the bag.
pub(crate) fn bytes_in_bag() -> usize {
    with(|local| local.bag.as_ref().map_or(0, |bag| bag.bytes())).unwrap_or(0)
}

/// Gives the cells of a bag back, which are free now, and whose thread does not
/// wait for them.
///
/// # Safety
///
/// Nobody uses the cells, now or later, and their bodies have been dropped.
#[cold]
pub(crate) unsafe fn give_cells(bag: Whole<Bag>) {
    let mut bag = Some(bag);
    with(|local| {
        let Some(bag) = bag.take() else { return };
        // SAFETY: promised by the caller.
        unsafe { local.give_cells(bag) };
    });
    let Some(bag) = bag else { return };
    for &(cell, info) in bag.cells() {
        // SAFETY: free, by the promise, and not given back above.
        unsafe { crate::cell::give_memory(cell, info) };
    }
}

impl Local {
    const EMPTY: Self = Self {
        #[cfg(not(shuttle))]
        magazines: [Magazines::EMPTY; CLASSES],
        bag: None,
        spare: None,
        away: [const { None }; AWAY],
        gone_since: 0,
        shares: Vec::new(),
        given: None,
    };

    /// Memory for a cell; `None` when it is out.
    #[cfg(not(shuttle))]
    #[inline(always)]
    fn take_cell(&mut self, class: Class) -> Option<NonNull<()>> {
        match self.magazines[class.index()].take_loaded() {
            Some(cell) => Some(cell),
            None => self.take_cell_slow(class),
        }
    }

    /// A unit and memory, if this thread's last share is the anchor's and a
    /// magazine is loaded; else neither.
    #[cfg(not(shuttle))]
    #[inline(always)]
    fn take_both_loaded(&mut self, id: u64, class: Class) -> Option<NonNull<()>> {
        let (_, share) = self.shares.first().filter(|(first, _)| *first == id)?;
        let cell = self.magazines[class.index()].take_loaded()?;
        share.take();
        Some(cell)
    }

    /// The same when the loaded magazine is empty: what has come back is nearer
    /// than the depot.
    #[cfg(not(shuttle))]
    #[cold]
    fn take_cell_slow(&mut self, class: Class) -> Option<NonNull<()>> {
        if !self.magazines[class.index()].has_previous() {
            self.take_back();
        }
        self.magazines[class.index()].take(class)
    }

    /// Gives back the cells of all bags that have come back.
    #[cold]
    fn take_back(&mut self) {
        loop {
            let oldest = &mut self.away[self.gone_since];
            let Some(near) = oldest.take() else { return };
            match near.take() {
                // SAFETY: what comes back is free, with its bodies dropped.
                Ok(bag) => unsafe { self.give_cells(bag) },
                Err(near) => {
                    *oldest = Some(near);
                    return;
                }
            }
            self.gone_since = (self.gone_since + 1) % AWAY;
        }
    }

    /// # Safety
    ///
    /// As the function of this name.
    unsafe fn give_cells(&mut self, mut bag: Whole<Bag>) {
        let mut cells = bag.cells();
        while let Some((&(cell, info), rest)) = cells.split_first() {
            #[cfg(not(shuttle))]
            if let Some(class) = info.fixed_class() {
                // Most often all of them.
                let run = cells.iter().take_while(|cell| ptr::eq(cell.1, info));
                let mut count = 0;
                let magazines = &mut self.magazines[class.index()];
                for &(cell, _) in run {
                    // SAFETY: made of memory of this class, and free.
                    unsafe { magazines.give(class, cell) };
                    count += 1;
                }
                cells = &cells[count..];
                continue;
            }
            // SAFETY: free, by the promise.
            unsafe { self.give_memory(cell, info) };
            cells = rest;
        }
        bag.clear();
        self.spare.get_or_insert(bag);
    }

    /// # Safety
    ///
    /// As [`give_memory`](crate::cell::give_memory).
    unsafe fn give_memory(&mut self, cell: NonNull<()>, info: &'static TypeInfo) {
        #[cfg(not(shuttle))]
        // SAFETY: a cell of this type, whose memory goes below.
        if let Some(class) = unsafe { crate::cell::class_of(cell, info) } {
            // SAFETY: made of memory of this class, and free.
            return unsafe { self.magazines[class.index()].give(class, cell) };
        }
        // SAFETY: promised by the caller.
        unsafe { crate::cell::give_memory(cell, info) };
    }

    /// Sends a full bag off; waits for it where there is a place.
    #[cold]
    fn send_off(&mut self) -> Option<Far<Bag>> {
        let (near, far) = self.bag.take()?.part();
        let free = (0..AWAY).map(|more| (self.gone_since + more) % AWAY);
        match free.into_iter().find(|&at| self.away[at].is_none()) {
            Some(at) => self.away[at] = Some(near),
            None => leave(near),
        }
        Some(far)
    }

    /// Takes a unit of the anchor with this id; `false` if this thread has no
    /// share of it.
    #[inline(always)]
    fn take_unit(&mut self, id: u64) -> bool {
        match self.shares.first() {
            Some((first, share)) if *first == id => {
                share.take();
                true
            }
            _ => self.take_of_another(id),
        }
    }

    /// The same of an anchor that is not the one used last.
    #[cold]
    fn take_of_another(&mut self, id: u64) -> bool {
        let Some(at) = self.shares.iter().position(|(other, _)| *other == id) else {
            return false;
        };
        self.shares.swap(0, at);
        self.shares[0].1.take();
        true
    }

    /// Puts a unit to those of the same anchor given back, unless they are due
    /// then: whether it was done.
    #[inline(always)]
    fn add_to_given(&mut self, anchor: NonNull<()>) -> bool {
        let same = self.given.as_mut().filter(|given| given.anchor == anchor);
        let Some(given) = same.filter(|given| given.units + 1 < UNITS) else { return false };
        given.units += 1;
        true
    }

    /// Puts a unit to those given back; returns what is due now.
    fn put_off<H: Home>(&mut self, anchor: NonNull<Anchor<H>>) -> Option<Given> {
        let anchor = anchor.cast();
        match &mut self.given {
            Some(given) if given.anchor == anchor => {
                given.units += 1;
                if given.units < UNITS {
                    return None;
                }
                self.given.take()
            }
            // INVARIANT: an anchor of an `H`, and the caller's unit.
            other => other.replace(Given { anchor, units: 1, give: give_erased::<H> }),
        }
    }

    /// Puts a cell into the bag, unless there is none, or it would be full then:
    /// returns the cell.
    #[inline(always)]
    fn put_in_open_bag(&mut self, garbage: Garbage) -> Option<Garbage> {
        match &mut self.bag {
            Some(bag) if bag.is_open() => {
                let _full = bag.put(garbage);
                None
            }
            _ => Some(garbage),
        }
    }

    /// Puts a cell into the bag, unless there is no memory for one; returns
    /// what is full now.
    fn put_in_bag(&mut self, garbage: &mut Option<Garbage>) -> Option<Far<Bag>> {
        if self.bag.is_none() {
            self.take_back();
            self.bag = self.spare.take().or_else(Bag::new);
        }
        let bag = self.bag.as_mut()?;
        if bag.put(garbage.take()?) { self.send_off() } else { None }
    }
}

/// Waits no more for a bag that cannot be back yet.
fn leave(near: Near<Bag>) {
    let left = near.leave();
    debug_assert!(left.is_none(), "its other end is still here");
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(given) = self.given.take() {
            given.give();
        }
        if let Some(bag) = self.bag.take() {
            let (near, far) = bag.part();
            leave(near);
            far.retire(&pin());
        }
        for near in core::mem::take(&mut self.away).into_iter().flatten() {
            if let Some(bag) = near.leave() {
                // SAFETY: what comes back is free, with its bodies dropped.
                unsafe { self.give_cells(bag) };
            }
        }
        #[cfg(not(shuttle))]
        for (at, magazines) in self.magazines.iter_mut().enumerate() {
            magazines.flush(Class::at(at));
        }
    }
}
