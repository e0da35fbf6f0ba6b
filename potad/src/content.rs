//! What a block's memory reads as when it is handed out.
//!
//! A block that the host took back reads as zeros until somebody writes it, if
//! the host said so ([`HostSays::Zeroed`](crate::HostSays::Zeroed)). The calls
//! here pass that on, so that whoever needs zeros need not write them.
//!
//! # Cost
//!
//! They go past the hand, for a claimed word forgets what was known of it: one
//! compare-exchange, as for orders from 3 on.

use crate::Zone;
use crate::error::Error;
use crate::forest::Taken;
use crate::hand::Slot;
use crate::handles::{BareBlock, RawBlock};
use crate::state::State;
use crate::stock::Stock;
use memdesc::sync::atomic::Ordering;
use memdesc::{Block, Granule, Order, OwnerId};

/// What a block's memory reads as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Whatever was there last, or anything.
    Unknown,
    /// Zeros.
    Zero,
}

impl Zone {
    /// As [`alloc_bare`](Self::alloc_bare), and says whether the block is known
    /// to read as zeros.
    ///
    /// ```
    /// # use potad::{Content, HostSays, Potad, Resource, Wanted, memdesc::{Granule, Order}};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..2 << 20))?;
    /// let order = Order::new(9)?;
    /// ram.attach_reporter(order)?;
    /// let wanted = Wanted { min_order: order, max_order: order, seen_before: false, patient: false, spare: 0 };
    /// let isolated = ram.isolate(&mut Granule(0), &wanted).unwrap();
    /// ram.put_back(isolated, HostSays::Zeroed).unwrap();
    /// let (block, content) = ram.alloc_bare_telling(order)?;
    /// assert_eq!(content, Content::Zero);
    /// // Its user may have written to it.
    /// ram.free_bare(block)?;
    /// assert_eq!(ram.alloc_bare_telling(order)?.1, Content::Unknown);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn alloc_bare_telling(&self, order: Order) -> Result<(BareBlock, Content), Error> {
        let state = self.state();
        state.take_telling(order, |_, block| Ok(state.bare(block)))
    }

    /// As [`alloc_raw`](Self::alloc_raw), and says whether the block is known to
    /// read as zeros.
    pub fn alloc_raw_telling(
        &self,
        order: Order,
        owner: OwnerId,
    ) -> Result<(RawBlock, Content), Error> {
        let state = self.state();
        let raw = state.take_telling(order, |slot, block| state.publish_raw(slot, block, owner));
        state.tree.settle();
        raw
    }
}

impl Stock {
    /// What is known of a block that was taken and not yet forgotten.
    fn content(&self, block: Block) -> Content {
        match self.reported.get() {
            Some(reported) if reported.is_zeroed(block) => Content::Zero,
            _ => Content::Unknown,
        }
    }
}

impl State {
    /// Takes a block from the shared forest; where it has none, as any other
    /// call does, which knows nothing of the content.
    fn take_telling<R>(
        &self,
        order: Order,
        mut then: impl FnMut(&Slot, Block) -> Result<R, Error>,
    ) -> Result<(R, Content), Error> {
        self.check_order(order)?;
        let taken = self.with_slot(|slot| {
            if self.stock.reported.get().is_none() {
                return Ok(None);
            }
            // Relaxed: where to begin to search.
            let near = Granule(slot.near.load(Ordering::Relaxed));
            let Taken::Block(block) = self.stock.take(order, near)? else { return Ok(None) };
            // Before what was known is forgotten. The bits were set before the
            // block was given, and the take has seen that give.
            let content = self.stock.content(block);
            self.stock.on_take(block);
            let given = then(slot, block).inspect_err(|_| {
                let given = self.give(slot, block);
                debug_assert_eq!(given, Ok(()), "{block:?} was just taken");
            })?;
            Ok::<_, Error>(Some((given, content)))
        })?;
        match taken {
            Some(told) => Ok(told),
            None => self
                .with_idle_slot(|slot| self.take_with(slot, order, |block| then(slot, block)))
                .map(|given| (given, Content::Unknown)),
        }
    }
}
