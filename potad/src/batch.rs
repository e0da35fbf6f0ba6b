//! Batches: many blocks of one order out, many blocks back.
//!
//! # How
//!
//! Up to 512 blocks are taken in one bracket: whole words, and a run of whole
//! words with one read-modify-write of the word above. What the caller wants
//! done with each block is done outside. Frees pass one by one: neighbours meet
//! in their pending word, so they are given together all the same, and the
//! bracket costs less than gathering them before (4.3 ns a granule in address
//! order, where one by one it is 2.4).
//!
//! # Cost
//!
//! Order 0 out of whole memory, given back in address order: 1 RMW per 64
//! granules each way, less where whole words lie side by side.

use crate::error::{Error, Refused};
use crate::hand::{BATCH, Batch, Code, Slot};
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
        free_all(blocks, |block| self.free_bare(block))
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
        free_all(blocks, |block| self.free_bare(block))
    }
}

/// Frees blocks by `free`; those that are refused come back together.
fn free_all(
    blocks: impl IntoIterator<Item = BareBlock>,
    mut free: impl FnMut(BareBlock) -> Result<(), Refused<BareBlock>>,
) -> Result<usize, Refused<Vec<BareBlock>>> {
    let (mut freed, mut refused, mut first) = (0, Vec::new(), None);
    for block in blocks {
        match free(block) {
            Ok(()) => freed += 1,
            Err(Refused { given, why }) => {
                refused.push(given);
                first.get_or_insert(why);
            }
        }
    }
    match first {
        None => Ok(freed),
        Some(why) => Err(Refused { given: refused, why }),
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
            let mut batch = Batch::new();
            let room = (count - taken).min(BATCH);
            let more = with_slot(&mut |slot| {
                let took = {
                    let _inside = self.gate.enter(slot);
                    slot.take_many(&self.stock, order, room, &mut batch)
                };
                took?;
                if batch.is_empty() {
                    // Nothing at hand: look everywhere, for one.
                    let one = self.take_with(slot, order, |block| Ok(Code::of(block)));
                    batch.push(one?);
                }
                Ok(())
            });
            taken += batch.len();
            batch.iter().for_each(|&code| out(BareBlock { code, zone: self.id }));
            match more {
                Ok(()) => {}
                Err(Error::Exhausted { .. }) => break,
                Err(why) => return Err(why),
            }
        }
        Ok(taken)
    }
}
