//! Taking and giving many blocks inside one bracket.

use super::code::Code;
use super::slot::{CLAIMED_ORDERS, Slot};
use crate::error::OutOfMemory;
use crate::forest::{Taken, block_of, lowest_run};
use crate::stock::Stock;
use memdesc::{Block, Order};
use smallvec::SmallVec;

impl Slot {
    /// Takes up to `room` blocks at once: whole words, without a search for
    /// each. Fewer, or none, only where the next word has to be searched.
    pub(crate) fn take_many<const N: usize>(
        &self,
        stock: &Stock,
        order: Order,
        room: usize,
        out: &mut SmallVec<[Block; N]>,
    ) -> Result<(), OutOfMemory> {
        if order.get() <= CLAIMED_ORDERS {
            while out.len() < room {
                match self.take_claimed(order).map(Code::block) {
                    Some(block) => out.push(block),
                    None if self.refill(stock, order)? => {}
                    None => break,
                }
            }
            return Ok(());
        }
        let (level, run) = (order.level(), order.run());
        while out.len() < room {
            let Taken::Block(block) = self.take_shared(stock, order)? else { break };
            out.push(block);
            // The rest of the same word in one go.
            let word = block.place().word;
            let more = (room - out.len()).min((64 / run) as usize);
            let mut taken = stock.forest.take_runs(level, word, run, more as u32);
            while let Some(mask) = lowest_run(taken, run) {
                taken &= !mask;
                let block = block_of(level, word, mask, run);
                stock.on_take(block);
                out.push(block);
            }
        }
        Ok(())
    }
}
