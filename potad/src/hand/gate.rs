//! The rendezvous: reaching into every hand at once.
//!
//! # What always holds
//!
//! While a [`Closed`] exists, no owner is inside a bracket and none gets in: no
//! granule is in transit, and forest and slots are the whole truth about what
//! is free. So out-of-memory is decided here, and exact counts, exact requests
//! and memory failure are served here.
//!
//! # Sharing and cost
//!
//! One closer at a time; owners that find their slot closed wait on the same
//! lock. One heavy barrier (8 us beside a running thread) and a look at each
//! slot. Nothing is called out of here.

use super::slot::{Inside, Slot};
use crate::stock::Stock;
use alloc::vec::Vec;
use core::ptr;
use memdesc::Block;
use memdesc::sync::{Mutex, MutexGuard, TryArc, barrier};

/// The slots of a zone.
#[derive(Debug)]
pub(crate) struct Gate {
    slots: Mutex<Vec<TryArc<Slot>>>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { slots: Mutex::new(Vec::new()) }
    }

    /// Adds a slot, open; `None` without memory for it.
    pub(crate) fn register(&self, slot: Slot) -> Option<TryArc<Slot>> {
        let slot = TryArc::new(slot)?;
        let mut slots = self.slots.lock();
        slots.try_reserve(1).ok()?;
        slots.push(slot.clone());
        Some(slot)
    }

    /// Removes a slot that holds nothing any more.
    pub(crate) fn unregister(&self, slot: &Slot) {
        self.slots.lock().retain(|other| ptr::from_ref::<Slot>(other) != ptr::from_ref(slot));
    }

    /// Enters the bracket of `slot`, waiting while it is closed.
    #[inline]
    pub(crate) fn enter<'s>(&self, slot: &'s Slot) -> Inside<'s> {
        match slot.enter() {
            Some(inside) => inside,
            None => self.enter_slow(slot),
        }
    }

    #[cold]
    fn enter_slow<'s>(&self, slot: &'s Slot) -> Inside<'s> {
        loop {
            // The closer holds the lock until it has opened every slot.
            drop(self.slots.lock());
            if let Some(inside) = slot.enter() {
                return inside;
            }
        }
    }

    /// Has hands give back the blocks that they keep and that a reporter could report,
    /// if there may be any.
    pub(crate) fn let_go(&self, stock: &Stock) {
        let Some(reported) = stock.reported.get().filter(|reported| reported.is_any_kept()) else {
            return;
        };
        // Before the gate closes: a hand that keeps one after that notes it anew.
        let late = memdesc::seeded!("noted too late that none is kept");
        if !late {
            reported.note_none_kept();
        }
        self.close().give_kept(stock, |block| block.order() >= reported.order());
        if late {
            reported.note_none_kept();
        }
    }

    /// Closes every slot and waits until nobody is inside.
    pub(crate) fn close(&self) -> Closed<'_> {
        let slots = self.slots.lock();
        for slot in slots.iter() {
            slot.close();
        }
        // Pairs with the light barrier of every bracket.
        barrier::heavy();
        for slot in slots.iter() {
            if !memdesc::seeded!("closer does not wait") {
                slot.wait_until_quiet();
            }
        }
        Closed { slots }
    }
}

/// Every hand is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct Closed<'a> {
    slots: MutexGuard<'a, Vec<TryArc<Slot>>>,
}

impl Closed<'_> {
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().map(|slot| &**slot)
    }

    /// Gives to the forest what hands keep and `is_wanted`.
    pub(crate) fn give_kept(&self, stock: &Stock, is_wanted: impl Fn(Block) -> bool) {
        self.slots().for_each(|slot| {
            slot.give_kept(stock, &is_wanted);
        });
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        for slot in self.slots() {
            slot.open();
        }
    }
}
