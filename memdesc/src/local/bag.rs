//! The bag: what a thread has retired goes to the epoch 128 cells at a time.
//!
//! # What always holds
//!
//! - What is in the bag is unreachable: it is handed to the epoch when the bag
//!   is full, when the thread flushes, and when it ends.
//! - A bag that has come back holds free cells, whose bodies have been dropped.
//!
//! # Cost
//!
//! A cell that is neither the first of a bag nor its last: plain operations.

use super::{AWAY, Local, give_back, with};
use crate::dead::{Bag, Garbage};
use crate::parted::{Far, Near};
use crate::{Guard, pin};

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

impl Local {
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
}

/// Waits no more for a bag that cannot be back yet.
pub(super) fn leave(near: Near<Bag>) {
    let left = near.leave();
    debug_assert!(left.is_none(), "its other end is still here");
}
