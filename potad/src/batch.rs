//! Batches: many blocks of one order out, many blocks back.
//!
//! # How
//!
//! The places of up to 64 words are taken in one bracket: whole words, and a run
//! of whole words with one read-modify-write of the word above. What the caller
//! wants done with each block is done outside. Frees are gathered outside too:
//! those of one word that follow each other are one group, and given as one free.
//! (One by one: read-modify-writes in a row overlap with nothing, so that many
//! groups in one bracket took longer than a bracket for each.)
//!
//! # Cost
//!
//! Order 0 out of whole memory, given back in address order: 1 RMW per 64
//! granules each way, less where whole words lie side by side.

use crate::error::{Error, Refused};
use crate::hand::{Batch, Code, Group, Slot};
use crate::handles::BareBlock;
use crate::state::State;
use crate::{Hand, Zone};
use alloc::vec::Vec;
use memdesc::Order;

impl Hand {
    /// Allocates up to `count` bare blocks of one order, each given to `out`;
    /// returns how many. Fewer only if no more are free.
    ///
    /// Whole words are taken at once: orders 0 to 5 cost a fraction of an RMW
    /// each. An error is about the block that would have come next.
    ///
    /// ```
    /// # use potad::{Potad, Resource, memdesc::Order};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 20))?;
    /// let mut hand = ram.hand();
    /// let mut pages = Vec::new();
    /// assert_eq!(hand.alloc_many(Order::ZERO, 300, |page| pages.push(page))?, 256);
    /// assert_eq!(hand.free_many(pages)?, 256);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn alloc_many(
        &mut self,
        order: Order,
        count: usize,
        out: impl FnMut(BareBlock),
    ) -> Result<usize, Error> {
        let (zone, slot) = self.parts();
        zone.state().take_batches(order, count, out, |take| take(slot))
    }

    /// Frees bare blocks; returns how many. In address order, neighbours share
    /// one RMW.
    ///
    /// All that can be freed are; those that are refused (of another zone, free
    /// already) come back together, with why the first of them was.
    pub fn free_many(
        &mut self,
        blocks: impl IntoIterator<Item = BareBlock>,
    ) -> Result<usize, Refused<Vec<BareBlock>>> {
        let (zone, slot) = self.parts();
        zone.state().give_batches(blocks, slot)
    }
}

impl Zone {
    /// As [`Hand::alloc_many`], through this thread's hand.
    ///
    /// ```
    /// # use potad::{Potad, Resource, memdesc::Order};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let mut huge = Vec::new();
    /// assert_eq!(ram.alloc_many(Order::new(9)?, 8, |block| huge.push(block))?, 8);
    /// assert_eq!(ram.free_many(huge)?, 8);
    /// assert_eq!(ram.stats().free, 1 << 18);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn alloc_many(
        &self,
        order: Order,
        count: usize,
        out: impl FnMut(BareBlock),
    ) -> Result<usize, Error> {
        self.state().take_batches(order, count, out, |take| self.state().with_idle_slot(take))
    }

    /// As [`Hand::free_many`], through this thread's hand.
    pub fn free_many(
        &self,
        blocks: impl IntoIterator<Item = BareBlock>,
    ) -> Result<usize, Refused<Vec<BareBlock>>> {
        self.state().give_batches(blocks, self.state())
    }
}

impl State {
    /// Takes up to `count` blocks, a batch at a time; `with_slot` runs each on
    /// a slot, outside its bracket.
    fn take_batches(
        &self,
        order: Order,
        count: usize,
        mut out: impl FnMut(BareBlock),
        mut with_slot: impl FnMut(&mut dyn FnMut(&Slot) -> Result<(), Error>) -> Result<(), Error>,
    ) -> Result<usize, Error> {
        self.check_order(order)?;
        let mut taken = 0;
        while taken < count {
            let mut batch = Batch::new(order);
            let room = count - taken;
            let mut one = None;
            let more = with_slot(&mut |slot| {
                let took = {
                    let _inside = self.gate.enter(slot);
                    slot.take_many(&self.stock, room, &mut batch)
                };
                took?;
                if batch.blocks() == 0 {
                    // Nothing at hand: look everywhere, for one.
                    one = Some(self.take_with(slot, order, |block| Ok(Code::of(block)))?);
                }
                Ok(())
            });
            taken += batch.blocks() + usize::from(one.is_some());
            let mut tell = |code| out(BareBlock::new(code, self.id));
            batch.for_each(&mut tell);
            one.into_iter().for_each(tell);
            match more {
                Ok(()) => {}
                Err(Error::Exhausted { .. }) => break,
                Err(why) => return Err(why),
            }
        }
        Ok(taken)
    }

    /// Frees blocks, a group at a time, each through a slot that `through` has.
    #[inline(always)]
    fn give_batches(
        &self,
        blocks: impl IntoIterator<Item = BareBlock>,
        through: &impl HasSlot,
    ) -> Result<usize, Refused<Vec<BareBlock>>> {
        let mut back = Back { state: self, through, refused: Vec::new(), why: None };
        let (mut given, mut open) = (0, Group::NONE);
        blocks.into_iter().for_each(|block| {
            if block.zone != self.id {
                return back.refuse_foreign(block);
            }
            given += 1;
            if let Some(more) = open.with(block.code) {
                open = more;
                return;
            }
            back.give(open);
            open = Group::of(block.code);
        });
        back.give(open);
        back.end(given)
    }
}

/// What a slot can be had from.
trait HasSlot {
    /// Runs `operate` on it, outside its bracket.
    fn on_slot<R>(&self, operate: impl FnOnce(&Slot) -> R) -> R;
}

impl HasSlot for Slot {
    #[inline(always)]
    fn on_slot<R>(&self, operate: impl FnOnce(&Slot) -> R) -> R {
        operate(self)
    }
}

/// This thread's, or a shared one.
impl HasSlot for State {
    fn on_slot<R>(&self, operate: impl FnOnce(&Slot) -> R) -> R {
        self.with_idle_slot(operate)
    }
}

/// Blocks on their way back.
struct Back<'a, S> {
    state: &'a State,
    through: &'a S,
    refused: Vec<BareBlock>,
    /// Why the first of them was refused.
    why: Option<Error>,
}

impl<S: HasSlot> Back<'_, S> {
    /// Gives a group.
    #[inline(always)]
    fn give(&mut self, group: Group) {
        let stock = &self.state.stock;
        if !self.through.on_slot(|slot| slot.give_group_hot(stock, group)) {
            self.give_slow(group);
        }
    }

    /// The same where a hand is closed, or something is not in order: one by one, for
    /// some may be.
    #[cold]
    #[inline(never)]
    fn give_slow(&mut self, group: Group) {
        let state = self.state;
        let rest = self.through.on_slot(|slot| {
            let _inside = state.gate.enter(slot);
            slot.give_each(&state.stock, group)
        });
        if let Some(rest) = rest {
            rest.for_each(|code| self.give_far(code));
        }
    }

    /// Gives a block that must go the long way, in a bracket of its own, for it may
    /// take its time.
    fn give_far(&mut self, code: Code) {
        let state = self.state;
        let given = self.through.on_slot(|slot| {
            let _inside = state.gate.enter(slot);
            state.give(slot, code.block())
        });
        if let Err(why) = given {
            self.refuse(BareBlock::new(code, state.id), why);
        }
    }

    /// How many of `given` were freed.
    fn end(self, given: usize) -> Result<usize, Refused<Vec<BareBlock>>> {
        match self.why {
            None => Ok(given),
            Some(why) => Err(Refused { given: self.refused, why }),
        }
    }

    fn refuse(&mut self, block: BareBlock, why: Error) {
        self.refused.push(block);
        self.why.get_or_insert(why);
    }

    #[cold]
    #[inline(never)]
    fn refuse_foreign(&mut self, block: BareBlock) {
        let (asked, found) = (self.state.id, block.zone);
        self.refuse(block, Error::Foreign { asked, found });
    }
}
