//! New handles on granules that are live already: of a place that an embedder kept
//! instead of the handle, and of the halves of a block.
//!
//! # What always holds
//!
//! - No granule is allocated or freed here. What is made of a place rests on a promise
//!   of the caller's, of which each call says how much it checks.
//! - The words that the frees of two halves touch are present before a block is split:
//!   a free needs no table.
//!
//! # Cost
//!
//! [`Zone::bare_at`] looks at nothing but the reach; [`Zone::adopt_bare`] looks
//! everywhere, with every hand closed. A split of a bare block stores nothing, others
//! what lookup needs.

use super::Zone;
use crate::Block;
use crate::error::{Error, Refused};
use crate::hand::Code;
use crate::handles::{BareBlock, RawBlock};
use crate::state::{State, immediate};
use memdesc::{Block as Place, Descriptor, Granule, Order, OwnerId, Subtype};

/// The halves of a block, lower first; refused, the block and the descriptor
/// that was meant for the upper half.
pub type Split<T, U> = Result<(Block<T>, Block<U>), Refused<(Block<T>, U)>>;

impl Zone {
    /// Makes a handle of an address and an order that an embedder kept instead
    /// of the handle that it got by [`BareBlock::block`].
    ///
    /// Refuses what cannot be a live block: outside the spans, misaligned, free
    /// in whole or in part, or with a word. That the address came from an
    /// allocation that was not freed since, and of this order, is the caller's
    /// promise: a wrong one wastes or doubles granules, but breaks no memory of
    /// ours.
    pub fn adopt_bare(&self, address: u64, order: Order) -> Result<BareBlock, Error> {
        let state = self.state();
        let block = state.block_at(address, order)?;
        let guard = memdesc::pin();
        if let Some((there, _)) = state.tree.next(block.base(), &guard)
            && there.overlaps(block)
        {
            return Err(Error::NoBlock { address, order });
        }
        drop(guard);
        let closed = state.gate.close();
        let held = closed.slots().any(|slot| slot.holds_any_of(block));
        let claimed = state.closing.removals().iter().any(|leaving| leaving.has_any_of(block));
        let kept = state.stock.poison.has_kept(block);
        if held || claimed || kept || state.stock.forest.is_any_free(block) {
            return Err(Error::DoubleFree { asked: block.granules() });
        }
        Ok(state.bare(block))
    }

    /// Makes a handle of a granule and an order that an embedder kept instead of
    /// the handle. No look-up at all: that the block is live, and of this order,
    /// is the caller's promise, and [`adopt_bare`](Self::adopt_bare) the call
    /// that checks it. A broken promise can hand a granule out twice; it breaks
    /// no memory of ours.
    ///
    /// ```
    /// # use potad::{Potad, Resource, memdesc::{Granule, Order}};
    /// # let potad = Potad::new();
    /// let slots = potad.register(Resource::new("swap").span(0..64))?;
    /// let kept: u64 = slots.alloc_bare(Order::ZERO)?.base().0;
    /// slots.free_bare(slots.bare_at(Granule(kept), Order::ZERO)?)?;
    /// assert!(slots.bare_at(Granule(3), Order::new(1)?).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn bare_at(&self, base: Granule, order: Order) -> Result<BareBlock, Error> {
        let inner = order.granules() - 1;
        // Aligned, so its last granule is at most as far as the reach's last.
        if base.0 & inner != 0 || base.0 | inner > self.state().stock.forest.last_granule().0 {
            return Err(Error::NoBlock { address: base.0, order });
        }
        Ok(self.state().bare(Place::containing(base, order)))
    }

    /// As [`bare_at`](Self::bare_at), for a raw block. The free looks at the
    /// block's word, and refuses where there is none.
    #[inline]
    pub fn raw_at(&self, base: Granule, order: Order) -> Result<RawBlock, Error> {
        let bare = self.bare_at(base, order)?;
        Ok(RawBlock { code: bare.code, zone: bare.zone })
    }

    /// Splits a live typed block: the lower half keeps the descriptor, the
    /// upper half gets `upper` and the same owner. Readers see one or the other
    /// at every address, and never a gap.
    pub fn split<T: Descriptor, U: Descriptor>(&self, block: Block<T>, upper: U) -> Split<T, U> {
        if let Err(why) = self.check_zone(block.zone()) {
            return Err(Refused { given: (block, upper), why });
        }
        if let Err(why) = self.state().ensure_halves(block.block()) {
            return Err(Refused { given: (block, upper), why });
        }
        let fresh = match self.fresh(block.owner(), upper) {
            Ok(fresh) => fresh,
            Err(Refused { given, why }) => return Err(Refused { given: (block, given), why }),
        };
        // Before the lock: a pin may run drops, which may ask for the lock.
        let pinned = memdesc::pin();
        let locked = block.lock();
        let split = self.state().tree.split(&locked, fresh);
        drop((locked, pinned));
        match split {
            Ok(upper) => Ok((block, Block::new(upper))),
            Err(refused) => Err(Refused {
                given: (block, refused.fresh.into_body()),
                why: Error::Lookup(refused.why),
            }),
        }
    }

    /// Splits a live raw block into its halves, lower first.
    pub fn split_raw(&self, block: RawBlock) -> Result<(RawBlock, RawBlock), Refused<RawBlock>> {
        if let Err(why) = self.check_zone(block.zone) {
            return Err(Refused { given: block, why });
        }
        let (lower, upper) = match self.state().ensure_halves(block.block()) {
            Ok(halves) => halves,
            Err(why) => return Err(Refused { given: block, why }),
        };
        let guard = memdesc::pin();
        let word = self.state().tree.find(block.base(), &guard).and_then(|found| found.immediate());
        drop(guard);
        let word = word.unwrap_or(immediate(Subtype::Raw, OwnerId::RESOURCE));
        let half = word.with_order(lower.order());
        match self.state().tree.split_immediate(block.block(), half, half) {
            Ok(()) => {
                let zone = block.zone;
                Ok((RawBlock::new(lower, zone), RawBlock::new(upper, zone)))
            }
            Err(why) => Err(Refused { given: block, why: Error::Lookup(why) }),
        }
    }

    /// Splits a live bare block into its halves, lower first.
    pub fn split_bare(
        &self,
        block: BareBlock,
    ) -> Result<(BareBlock, BareBlock), Refused<BareBlock>> {
        if let Err(why) = self.check_zone(block.zone) {
            return Err(Refused { given: block, why });
        }
        match self.state().ensure_halves(block.block()) {
            Ok((lower, upper)) => Ok((self.state().bare(lower), self.state().bare(upper))),
            Err(why) => Err(Refused { given: block, why }),
        }
    }
}

impl State {
    pub(crate) fn bare(&self, block: Place) -> BareBlock {
        BareBlock::new(Code::of(block), self.id)
    }

    /// The halves of a live block, once the words that their frees will touch
    /// are present.
    fn ensure_halves(&self, block: Place) -> Result<(Place, Place), Error> {
        let (lower, upper) = block.halves().ok_or(Error::NoHalves)?;
        let level = lower.order().level();
        self.stock.forest.ensure(level, lower.base())?;
        self.stock.forest.ensure(level, upper.base())?;
        Ok((lower, upper))
    }
}
