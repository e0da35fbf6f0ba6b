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
//! Only the thread itself is in here, and never twice at once: nothing that can
//! run another's code (a drop, a pin, a deferred call) is called while it is
//! borrowed. Where it cannot be had (inside the global allocator's own call of
//! us, or in a thread that is ending) the slow ways are taken: the depot, the
//! anchor's count, a deferred call of its own.
//!
//! # Cost
//!
//! A thread keeps, at most: 128 free cells of each class, 127 retired ones, 8
//! bags that have come back, and 127 units.

mod bag;
mod cells;
mod units;

pub(crate) use bag::{bytes_in_bag, flush, retire};
pub(crate) use cells::give_cells;
#[cfg(not(shuttle))]
pub(crate) use cells::{give_cell, take_cell};
#[cfg(not(shuttle))]
pub(crate) use units::take_both;
pub(crate) use units::{give_back, give_unit, take_unit};

use crate::anchor::Share;
use crate::dead::Bag;
use crate::parted::{Near, Whole};
use crate::pin;
#[cfg(not(shuttle))]
use crate::slab::{CLASSES, Class, Magazines};
use crate::sync::TryArc;
#[cfg(not(shuttle))]
use crate::sync::atomic::{AtomicUsize, Ordering};
use alloc::vec::Vec;
use bag::leave;
use core::cell::RefCell;
use units::Given;

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
