//! Raw blocks: taking and giving granules together with their word.
//!
//! # What always holds
//!
//! The word is stored and cleared inside the bracket in which the granules are
//! taken or given: whoever reaches in finds both or neither.
//!
//! # Cost
//!
//! A single granule, nearly all of every trace, has a way of its own, on which
//! the order is a constant: no level, no run and no loop over slots. Whatever it
//! meets that is not hot is a call, so that little is kept for it.

use crate::error::Error;
use crate::hand::{Code, Slot};
use crate::handles::RawBlock;
use crate::state::State;
use memdesc::{Block, Immediate, Order, OwnerId, Subtype};

impl State {
    /// The whole of a hot raw allocation: enters, takes, publishes, leaves.
    /// `None` if anything else is to be done.
    #[inline(always)]
    pub(crate) fn take_raw_hot(&self, slot: &Slot, order: Order, owner: OwnerId) -> Option<Code> {
        match order {
            Order::ZERO => self.take_raw_of(slot, Order::ZERO, owner),
            _ => self.take_raw_larger(slot, order, owner),
        }
    }

    #[inline(never)]
    fn take_raw_larger(&self, slot: &Slot, order: Order, owner: OwnerId) -> Option<Code> {
        self.take_raw_of(slot, order, owner)
    }

    #[inline(always)]
    fn take_raw_of(&self, slot: &Slot, order: Order, owner: OwnerId) -> Option<Code> {
        let _inside = slot.enter()?;
        let code = slot.take_at_hand(&self.stock, order)?;
        let block = Block::containing(code.base(), order);
        if self.tree.publish_by(&slot.leaf, block, raw_word(owner, order)) {
            return Some(code);
        }
        self.publish_far(slot, code, owner)
    }

    /// Publishes the long way; what cannot be published goes back.
    #[cold]
    #[inline(never)]
    fn publish_far(&self, slot: &Slot, code: Code, owner: OwnerId) -> Option<Code> {
        let block = code.block();
        if self.tree.publish_immediate(block, raw_word(owner, block.order())).is_err() {
            self.give_own(slot, block);
            return None;
        }
        self.tree.lead(&slot.leaf, block);
        Some(code)
    }

    /// After a hot allocation, outside the bracket. What is published over a
    /// single granule unlinks no node, and the way that is not hot settles too.
    #[inline(always)]
    pub(crate) fn settle_after(&self, order: Order) {
        if order != Order::ZERO {
            self.tree.settle();
        }
    }

    /// The whole of a hot raw free: enters, clears, gives, leaves. `false` if
    /// anything else is to be done.
    #[inline(always)]
    pub(crate) fn give_raw_hot(&self, slot: &Slot, code: Code) -> bool {
        match code.order() {
            Order::ZERO => self.give_raw_of(slot, Block::containing(code.base(), Order::ZERO)),
            _ => self.give_raw_larger(slot, code),
        }
    }

    #[inline(never)]
    fn give_raw_larger(&self, slot: &Slot, code: Code) -> bool {
        self.give_raw_of(slot, code.block())
    }

    #[inline(always)]
    fn give_raw_of(&self, slot: &Slot, block: Block) -> bool {
        let Some(_inside) = slot.enter() else { return false };
        self.tree.clear_by(&slot.leaf, block)
            && (slot.give_at_hand(&self.stock, Code::of(block)) || self.give_far(slot, block))
    }

    #[cold]
    #[inline(never)]
    fn give_far(&self, slot: &Slot, block: Block) -> bool {
        self.give(slot, block).is_ok()
    }

    /// As [`give`](Self::give), for a block whose word is cleared first.
    #[inline]
    pub(crate) fn give_raw(&self, slot: &Slot, code: Code) -> Result<(), Error> {
        if !self.tree.clear_by(&slot.leaf, code.block()) {
            // While the granules are still the caller's.
            self.tree.lead(&slot.leaf, code.block());
            self.tree.clear_noted(code.block()).map_err(Error::Lookup)?;
        }
        if slot.give_at_hand(&self.stock, code) {
            return Ok(());
        }
        self.give(slot, code.block())
    }

    #[inline]
    pub(crate) fn publish_raw(
        &self,
        slot: &Slot,
        block: Block,
        owner: OwnerId,
    ) -> Result<RawBlock, Error> {
        let word = raw_word(owner, block.order());
        if !self.tree.publish_by(&slot.leaf, block, word) {
            self.tree.publish_immediate(block, word).map_err(Error::Lookup)?;
            self.tree.lead(&slot.leaf, block);
        }
        Ok(RawBlock::new(block, self.id))
    }
}

/// The word of a raw block.
#[inline(always)]
fn raw_word(owner: OwnerId, order: Order) -> Immediate {
    Immediate::new(Subtype::Raw, owner, order)
}
