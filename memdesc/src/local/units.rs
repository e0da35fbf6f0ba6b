//! Units of anchors: taken by plain additions, and given back 128 at a time.
//!
//! `anchor` says why neither is an atomic operation each. A thread has a share of
//! each anchor that it took of, if there was memory for one, and puts off what it
//! gives back of one anchor at a time; but nobody puts off what may be the last.

use super::{Local, with};
use crate::Home;
use crate::anchor::Anchor;
#[cfg(not(shuttle))]
use crate::slab::{self, Class};
use core::ptr::NonNull;

/// Units that are given back at once.
const UNITS: u64 = if cfg!(shuttle) { 3 } else { 128 };

/// Units of one anchor that are to be given back.
///
/// # Invariants
///
/// `give` is right for `anchor`, and `units` of its units are this value's.
pub(super) struct Given {
    anchor: NonNull<()>,
    units: u64,
    /// Gives units back.
    give: unsafe fn(NonNull<()>, u64),
}

impl Given {
    pub(super) fn give(self) {
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

/// Takes a unit of an anchor whose `Keep` the caller borrows.
#[inline]
pub(crate) fn take_unit<H: Home>(anchor: &Anchor<H>) {
    if with(|local| local.take_unit(anchor.id())) != Some(true) {
        take_slow(anchor);
    }
}

/// Both at once: a unit as by [`take_unit`], and memory as by
/// [`take_cell`](super::take_cell).
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

impl Local {
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
}
