//! Batches: many blocks of one order out, many blocks back.
//!
//! # How
//!
//! The places of up to 64 words are taken in one bracket: whole words, and a run
//! of whole words with one read-modify-write of the word above. What the caller
//! wants done with each block is done outside. Frees are gathered outside too,
//! those of one word that follow each other into one group, and 64 groups are
//! given in one bracket.
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

/// Groups of blocks that are given in one bracket.
const GROUPS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 64 };

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
        zone.state().give_batches(blocks, |give| {
            let _inside = zone.state().gate.enter(slot);
            give(slot)
        })
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
        self.state().give_batches(blocks, |give| self.state().with_slot(give))
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

    /// Frees blocks, a batch at a time; `with_slot` runs each on a slot, inside
    /// its bracket.
    fn give_batches(
        &self,
        blocks: impl IntoIterator<Item = BareBlock>,
        mut with_slot: impl FnMut(&mut dyn FnMut(&Slot)),
    ) -> Result<usize, Refused<Vec<BareBlock>>> {
        let mut back = Back {
            state: self,
            with_slot: &mut with_slot,
            freed: 0,
            refused: Vec::new(),
            why: None,
        };
        gather(blocks.into_iter(), self.id, &mut back);
        match back.why {
            None => Ok(back.freed),
            Some(why) => Err(Refused { given: back.refused, why }),
        }
    }
}

/// Gathers blocks into groups, and gives these whenever there are enough.
///
/// The loop over all blocks: what it calls are functions of their own, so that
/// little wants registers.
#[inline(always)]
fn gather(blocks: impl Iterator<Item = BareBlock>, zone: u32, back: &mut Back<'_>) {
    let (mut groups, mut len, mut open) = ([Group::NONE; GROUPS], 0, Group::NONE);
    blocks.for_each(|block| {
        if block.zone != zone {
            return back.refuse_foreign(block);
        }
        if let Some(more) = open.with(block.code) {
            open = more;
            return;
        }
        match groups.get_mut(len) {
            Some(next) => {
                *next = open;
                len += 1;
            }
            None => {
                back.give(&mut groups);
                groups[0] = open;
                len = 1;
            }
        }
        open = Group::of(block.code);
    });
    back.give(&mut groups[..len]);
    back.give(&mut [open]);
}

/// Runs what it is given on a slot, inside its bracket.
type WithSlot<'a> = dyn FnMut(&mut dyn FnMut(&Slot)) + 'a;

/// Blocks on their way back.
struct Back<'a> {
    state: &'a State,
    with_slot: &'a mut WithSlot<'a>,
    freed: usize,
    refused: Vec<BareBlock>,
    /// Why the first of them was refused.
    why: Option<Error>,
}

impl Back<'_> {
    /// Gives groups, in one bracket.
    #[inline(never)]
    fn give(&mut self, groups: &mut [Group]) {
        let (stock, mut given) = (&self.state.stock, (0, 0));
        (self.with_slot)(&mut |slot| given = slot.give_many(stock, groups));
        let (blocks, left) = given;
        self.freed += blocks;
        for group in &groups[..left] {
            group.for_each(|code| self.give_far(code));
        }
    }

    /// Gives a block that must go the long way. Outside the batch's bracket, for it
    /// may take its time.
    #[cold]
    fn give_far(&mut self, code: Code) {
        let (state, mut given) = (self.state, Ok(()));
        (self.with_slot)(&mut |slot| given = state.give(slot, code.block()));
        if let Err(why) = given {
            self.freed -= 1;
            self.refuse(BareBlock::new(code, state.id), why);
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
