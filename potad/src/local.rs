//! The hand that a thread has without asking for one.
//!
//! # Picture
//!
//! ```text
//!  thread A    [ zone 3: slot, Weak<State> ][ zone 7: slot, Weak<State> ]
//!  thread B    [ zone 7: slot, Weak<State> ]
//!  zone 7      slots: 8 shared ones, A's, B's, those of every `Hand`
//! ```
//!
//! # What always holds
//!
//! - An entry's slot is one of its zone's, and only the entry's thread enters
//!   it, with the thread's list borrowed for that time. A call that comes in
//!   between (from the global allocator, or from the drop of something that an
//!   unpinning retired) finds the list borrowed and takes a shared slot.
//! - The list keeps no zone alive: a call brings the state along, and the entry
//!   has but a weak handle to it. When the last handle of a zone goes, so does
//!   the zone, at once; what is left of it in a thread is an empty slot and
//!   the memory of the state's own fields, and both go when that thread next
//!   meets a new zone, or ends.
//! - A thread that ends gives back what its hands hold. Until then they can be
//!   reached into like any hand.
//! - No call leaves this module with the list borrowed, and nothing that can
//!   run another's code is dropped while it is.
//!
//! # Models
//!
//! The threads of a model share one slot behind a lock, as without `std`: most
//! models ask something else, and have fewer interleavings so. A thread of a
//! model that says [`OwnHand::begin`] has a list as it has here, and runs this
//! very code; loom knows which thread is which.
//!
//! # Cost
//!
//! Beside the hand's own operation: the thread-local's address, its borrow flag,
//! and a comparison; the zone that was used last comes first, and another is
//! searched for. No read-modify-write.

use crate::hand::Slot;
use crate::placement::Class;
use crate::state::State;
use alloc::vec::Vec;
use core::cell::RefCell;
use memdesc::sync::{TryArc, Weak};

#[cfg(not(loom))]
memdesc::sync::thread_local! {
    static HANDS: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

#[cfg(loom)]
memdesc::sync::thread_local! {
    static HANDS: RefCell<Vec<Entry>> = RefCell::new(Vec::new());
    static HAS_OWN: core::cell::Cell<bool> = core::cell::Cell::new(false);
}

/// In a model: until this is dropped the thread has hands of its own, and then
/// it ends as far as they go. Forgotten, they end when the thread does, which
/// under loom is after it was joined.
#[cfg(loom)]
#[derive(Debug)]
#[must_use]
pub struct OwnHand(());

#[cfg(loom)]
impl OwnHand {
    /// From here on, for the calling thread.
    pub fn begin() -> Self {
        HAS_OWN.with(|has_own| has_own.set(true));
        Self(())
    }
}

#[cfg(loom)]
impl Drop for OwnHand {
    fn drop(&mut self) {
        HAS_OWN.with(|has_own| has_own.set(false));
        // As with the thread's locals: whoever asks meanwhile finds no list.
        let ended = HANDS.with(RefCell::take);
        drop(ended);
    }
}

/// Whether the thread can have slots of its own: all can, but in models.
#[inline(always)]
fn has_own() -> bool {
    #[cfg(loom)]
    return HAS_OWN.try_with(core::cell::Cell::get).unwrap_or(false);
    #[cfg(not(loom))]
    return true;
}

/// A thread's hand on one zone.
struct Entry {
    zone: u32,
    slot: TryArc<Slot>,
    state: Weak<State>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        // A model that has failed is left as it is.
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        // Without handles the zone is gone, and nothing in the slot matters.
        if let Some(state) = self.state.upgrade() {
            state.retire_slot(&self.slot);
        }
    }
}

/// Runs `operate` on the slot that this thread has of the zone, if it has one
/// and nobody is at it.
#[inline(always)]
pub(crate) fn if_slot<R>(state: &State, operate: impl FnOnce(&Slot) -> R) -> Option<R> {
    if_slot_with(state, (), |slot, ()| operate(slot)).ok()
}

/// The same with something to operate on, which comes back if nothing is run.
#[inline(always)]
pub(crate) fn if_slot_with<A, R>(
    state: &State,
    given: A,
    operate: impl FnOnce(&Slot, A) -> R,
) -> Result<R, A> {
    if !has_own() {
        return Err(given);
    }
    let mut given = Some(given);
    let done = HANDS.try_with(|hands| {
        // Mutably, so that nobody else gets at the slot meanwhile.
        let mut hands = hands.try_borrow_mut().ok()?;
        let entry = match hands.first() {
            Some(first) if first.zone == state.id => first,
            _ => bring_forward(&mut hands, state.id)?,
        };
        Some(operate(&entry.slot, given.take()?))
    });
    match (done.ok().flatten(), given) {
        (Some(done), _) => Ok(done),
        (None, Some(given)) => Err(given),
        (None, None) => unreachable!("what was taken was operated on"),
    }
}

/// The entry of a zone that is not the one used last, which it is from now on.
#[inline(never)]
fn bring_forward(hands: &mut [Entry], zone: u32) -> Option<&Entry> {
    let at = hands.iter().position(|entry| entry.zone == zone)?;
    hands.swap(0, at);
    hands.first()
}

/// Runs `operate` on this thread's slot of the zone, which it gets if it has
/// none; gives `operate` back where that cannot be: within another such call,
/// or in a thread that is ending.
pub(crate) fn with_slot<R, F: FnOnce(&Slot) -> R>(state: &State, operate: F) -> Result<R, F> {
    let mut operate = Some(operate);
    let mut run = |slot: &Slot| operate.take().map(|operate| operate(slot));
    let mut done = if_slot(state, &mut run).flatten();
    if done.is_none() && add_entry(state) {
        done = if_slot(state, &mut run).flatten();
    }
    match (done, operate) {
        (Some(done), _) => Ok(done),
        (None, Some(operate)) => Err(operate),
        (None, None) => unreachable!("what has run has a result"),
    }
}

/// Registers a slot for this thread; `false` if the thread cannot have one now.
#[cold]
#[inline(never)]
fn add_entry(state: &State) -> bool {
    if !has_own() || state.me.strong_count() == 0 {
        // In the second case, still being made.
        return false;
    }
    let is_free = HANDS.try_with(|hands| hands.try_borrow().is_ok());
    if !is_free.unwrap_or(false) {
        return false;
    }
    // Whoever frees has to get by without memory: by a shared slot, then.
    let Some(slot) = state.new_slot(Class::default()) else { return false };
    if memdesc::seeded!("a thread keeps its zones") {
        core::mem::forget(state.me.upgrade());
    }
    let mut new = Some(Entry { zone: state.id, slot, state: state.me.clone() });
    let mut gone = Vec::new();
    let added = HANDS.try_with(|hands| {
        let Ok(mut hands) = hands.try_borrow_mut() else { return false };
        // Zones that went since: what is left of them is dropped below.
        let has_gone = |entry: &Entry| entry.state.strong_count() == 0;
        if gone.try_reserve(hands.iter().filter(|entry| has_gone(entry)).count()).is_ok() {
            let room = gone.capacity();
            gone.extend(hands.extract_if(.., |entry| has_gone(entry)).take(room));
        }
        if hands.try_reserve(1).is_err() {
            return false;
        }
        hands.extend(new.take());
        true
    });
    drop((gone, new));
    added.unwrap_or(false)
}
