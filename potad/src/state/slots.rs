//! The way in and out: blocks are taken and given through a slot.
//!
//! # What always holds
//!
//! - Calls without a hand use the thread's own slot (see `local`), or borrow one of a
//!   few shared ones, each behind a lock.
//! - A block that was taken goes to whoever asked while it is in transit: inside
//!   the slot's bracket, or under the gate. Refused there, it goes back at once.
//! - *Exhausted* is said once every hand was closed and flushed and the forest had
//!   nothing still; [`State::take_at_hand`] alone says it sooner.
//!
//! # Cost
//!
//! A bracket, and what the hand or the forest costs; a rendezvous with every hand
//! where those had nothing.

use super::{SHARED, State};
use crate::error::Error;
use crate::forest::Taken;
use crate::hand::{Closed, Slot};
use crate::placement::Class;
use memdesc::sync::atomic::Ordering;
use memdesc::sync::{Mutex, MutexGuard, TryArc};
use memdesc::{Block, Granule, Order};

impl State {
    /// Runs `operate` inside the bracket of this thread's slot, or of a shared
    /// one.
    pub(crate) fn with_slot<R>(&self, operate: impl FnOnce(&Slot) -> R) -> R {
        self.with_idle_slot(|slot| {
            let _inside = self.gate.enter(slot);
            operate(slot)
        })
    }

    /// Runs `operate` on this thread's slot, or on a shared one, outside its
    /// bracket.
    pub(crate) fn with_idle_slot<R>(&self, operate: impl FnOnce(&Slot) -> R) -> R {
        #[cfg(feature = "std")]
        let operate = match crate::local::with_slot(self, operate) {
            Ok(done) => return done,
            Err(operate) => operate,
        };
        let slot = self.shared_slot();
        operate(&slot)
    }

    /// As [`with_slot`](Self::with_slot), for what must not allocate: the thread's
    /// own slot is made by its first call.
    pub(crate) fn with_shared_slot<R>(&self, operate: impl FnOnce(&Slot) -> R) -> R {
        let slot = self.shared_slot();
        let _inside = self.gate.enter(&slot);
        operate(&slot)
    }

    /// A hand is no more: gives back what its slot holds.
    pub(crate) fn retire_slot(&self, slot: &Slot) {
        {
            let is_inside = !memdesc::seeded!("ends outside its bracket");
            let _inside = is_inside.then(|| self.gate.enter(slot));
            slot.flush(&self.stock);
        }
        self.gate.unregister(slot);
    }

    /// One of the shared slots, locked.
    fn shared_slot(&self) -> MutexGuard<'_, TryArc<Slot>> {
        let start = self.next_shared.load(Ordering::Relaxed);
        let mut slots = self.shared.iter().cycle().skip(start & (SHARED - 1)).take(SHARED);
        let free = slots.find_map(Mutex::try_lock);
        free.unwrap_or_else(|| {
            // Spread the waiters; the number orders nothing.
            let next = self.next_shared.fetch_add(1, Ordering::Relaxed);
            self.shared[next & (SHARED - 1)].lock()
        })
    }

    /// Takes a block through `slot` and hands it to `then` while it is in
    /// transit; if `then` refuses, the block goes back.
    ///
    /// The caller is *not* inside the slot's bracket.
    #[inline]
    pub(crate) fn take_with<R>(
        &self,
        slot: &Slot,
        order: Order,
        then: impl FnOnce(Block) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.take_or_close(Self::take_own, slot, order, then)
    }

    /// As [`take_with`](Self::take_with), of what the caller has not found at
    /// hand.
    #[inline]
    pub(crate) fn take_missed_with<R>(
        &self,
        slot: &Slot,
        order: Order,
        then: impl FnOnce(Block) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.take_or_close(Self::take_slow, slot, order, then)
    }

    /// As [`take_with`](Self::take_with), by `take` inside the slot's bracket.
    #[inline(always)]
    fn take_or_close<R>(
        &self,
        take: impl FnOnce(&Self, &Slot, Order) -> Result<Option<Block>, Error>,
        slot: &Slot,
        order: Order,
        then: impl FnOnce(Block) -> Result<R, Error>,
    ) -> Result<R, Error> {
        {
            let _inside = self.gate.enter(slot);
            if let Some(block) = take(self, slot, order)? {
                return then(block).inspect_err(|_| self.give_own(slot, block));
            }
        }
        self.take_closed(order, then)
    }

    /// Takes a block that is at hand, or not, inside the slot's bracket.
    #[inline(always)]
    pub(crate) fn take_own(&self, slot: &Slot, order: Order) -> Result<Option<Block>, Error> {
        match slot.take_at_hand(&self.stock, order) {
            Some(code) => Ok(Some(code.block())),
            None => self.take_slow(slot, order),
        }
    }

    /// Takes a block that was not found at hand, inside the slot's bracket.
    #[inline(never)]
    pub(crate) fn take_slow(&self, slot: &Slot, order: Order) -> Result<Option<Block>, Error> {
        self.check_order(order)?;
        match slot.take(&self.stock, order)? {
            Taken::Block(block) => Ok(Some(block)),
            // What is to be broken, or to merge, may be kept by this very hand.
            Taken::Nothing if slot.give_kept(&self.stock, |_| true) => self.take_slow(slot, order),
            Taken::Nothing => Ok(None),
        }
    }

    /// As [`take_with`](Self::take_with), once nothing was found: closes every
    /// hand, flushes them, and looks again. What this does not find is not
    /// there.
    #[cold]
    fn take_closed<R>(
        &self,
        order: Order,
        then: impl FnOnce(Block) -> Result<R, Error>,
    ) -> Result<R, Error> {
        // What was kept whole for want of memory may be what is asked for.
        self.mend();
        let closed = self.close_and_flush();
        let Taken::Block(block) = self.stock.take(order, Granule(0))? else {
            return Err(Error::Exhausted { order });
        };
        self.stock.on_take(block);
        let result = then(block).inspect_err(|_| self.give_closed(&closed, block));
        drop(closed);
        result
    }

    /// Closes every hand and empties it into the forest.
    pub(crate) fn close_and_flush(&self) -> Closed<'_> {
        let closed = self.gate.close();
        for slot in closed.slots() {
            slot.flush(&self.stock);
        }
        closed
    }

    /// Gives back a block that was never used.
    pub(crate) fn give_own(&self, slot: &Slot, block: Block) {
        let given = self.give(slot, block);
        debug_assert_eq!(given, Ok(()), "{block:?} was just taken");
    }

    fn give_closed(&self, _closed: &Closed<'_>, block: Block) {
        self.give_closed_block(block);
    }

    /// Gives back a block that was never used, while every hand is closed.
    pub(crate) fn give_closed_block(&self, block: Block) {
        let given = self.stock.forest.give(block.place(), |_, _| false);
        debug_assert_eq!(given, Ok(()), "{block:?} was just taken");
    }

    /// As [`take_with`](Self::take_with), through this thread's slot or a shared
    /// one.
    pub(crate) fn take_with_any<R>(
        &self,
        order: Order,
        then: impl FnOnce(Block) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.with_idle_slot(|slot| self.take_with(slot, order, then))
    }

    /// As [`take_with_any`](Self::take_with_any), but looks into no other hand:
    /// *exhausted* means no more than that nothing is at hand.
    pub(crate) fn take_at_hand<R>(
        &self,
        order: Order,
        then: impl FnOnce(&Slot, Block) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.with_slot(|slot| {
            let block = self.take_own(slot, order)?.ok_or(Error::Exhausted { order })?;
            then(slot, block).inspect_err(|_| self.give_own(slot, block))
        })
    }

    /// A slot for a new hand, which starts to search in the first span; `None`
    /// without memory for it.
    pub(crate) fn new_slot(&self, class: Class) -> Option<TryArc<Slot>> {
        let first = self.spans.lock().iter().next().map_or(0, |span| span.first().0);
        let slot = Slot::new(first, class, self.tree.leaf());
        if memdesc::seeded!("used before it is registered") {
            return TryArc::new(slot);
        }
        self.gate.register(slot)
    }

    /// Gives a block back through `slot`, inside its bracket; what of it is
    /// poisoned, or in a range that is being removed, is kept.
    #[inline]
    pub(crate) fn give(&self, slot: &Slot, block: Block) -> Result<(), Error> {
        if self.stock.is_suspect(block) {
            return self.give_suspect(slot, block);
        }
        slot.give(&self.stock, block).map_err(|_| Error::DoubleFree { asked: block.granules() })
    }
}
