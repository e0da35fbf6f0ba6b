//! The hand: an allocator front of one's own.

use crate::error::{Error, Refused, end_without_memory_for};
use crate::hand::{HIDDEN_GRANULES, Slot};
use crate::handles::{BareBlock, RawBlock};
use crate::home::Home;
use crate::placement::Class;
use crate::{Block, Zone};
use core::fmt;
use memdesc::sync::TryArc;
use memdesc::sync::atomic::Ordering;
use memdesc::{Descriptor, Fresh, Order, OwnerId};

/// A front on a zone for one thread or vCPU: orders 0 to 2 cost no
/// read-modify-write while it is hot.
///
/// It may hold up to [`Hand::HIDDEN_GRANULES`] free granules away from others, and
/// of each order from 6 on the last block that was freed through it: a pair of those
/// costs no read-modify-write either. All that is taken from it before anybody is told
/// that nothing is free. Dropping it gives everything back.
///
/// ```
/// use potad::{Potad, Resource, memdesc::Order};
///
/// let potad = Potad::new();
/// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
/// let mut hand = ram.hand();
/// let page = hand.alloc_bare(Order::ZERO)?;
/// hand.free_bare(page)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Hand {
    zone: Zone,
    slot: TryArc<Slot>,
}

impl Hand {
    /// Granules that one hand can hold away from everybody else, beside the last block of
    /// each order from 6 on that it freed.
    pub const HIDDEN_GRANULES: u64 = HIDDEN_GRANULES;

    pub(crate) fn new(zone: Zone, class: Class) -> Self {
        let slot = zone.state().new_slot(class).unwrap_or_else(|| end_without_memory_for::<Slot>());
        Self { zone, slot }
    }

    /// The zone it is a hand of.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// As [`Zone::alloc_bare`].
    #[inline(always)]
    pub fn alloc_bare(&mut self, order: Order) -> Result<BareBlock, Error> {
        let state = self.zone.state();
        if let Some(code) = self.slot.take_hot(&state.stock, order) {
            return Ok(BareBlock::new(code, state.id));
        }
        self.alloc_bare_slow(order)
    }

    #[cold]
    #[inline(never)]
    fn alloc_bare_slow(&mut self, order: Order) -> Result<BareBlock, Error> {
        let state = self.zone.state();
        state.take_missed_with(&self.slot, order, |block| Ok(state.bare(block)))
    }

    /// As [`Zone::free_bare`].
    #[inline(always)]
    pub fn free_bare(&mut self, block: BareBlock) -> Result<(), Refused<BareBlock>> {
        let state = self.zone.state();
        if block.zone == state.id && self.slot.give_hot(&state.stock, block.code) {
            return Ok(());
        }
        self.free_bare_slow(block)
    }

    #[cold]
    #[inline(never)]
    fn free_bare_slow(&mut self, block: BareBlock) -> Result<(), Refused<BareBlock>> {
        let state = self.zone.state();
        if let Err(why) = self.zone.check_zone(block.zone) {
            return Err(Refused { given: block, why });
        }
        let _inside = state.gate.enter(&self.slot);
        state.give(&self.slot, block.block()).map_err(|why| Refused { given: block, why })
    }

    /// As [`Zone::alloc_raw`].
    #[inline(always)]
    pub fn alloc_raw(&mut self, order: Order, owner: OwnerId) -> Result<RawBlock, Error> {
        let state = self.zone.state();
        if let Some(code) = state.take_raw_hot(&self.slot, order, owner) {
            state.settle_after(order);
            return Ok(RawBlock { code, zone: state.id });
        }
        self.alloc_raw_slow(order, owner)
    }

    #[cold]
    #[inline(never)]
    fn alloc_raw_slow(&mut self, order: Order, owner: OwnerId) -> Result<RawBlock, Error> {
        let (state, slot) = (self.zone.state(), &*self.slot);
        let raw =
            state.take_missed_with(slot, order, |block| state.publish_raw(slot, block, owner));
        state.tree.settle();
        raw
    }

    /// As [`Zone::free_raw`].
    #[inline(always)]
    pub fn free_raw(&mut self, block: RawBlock) -> Result<(), Refused<RawBlock>> {
        let state = self.zone.state();
        if block.zone == state.id && state.give_raw_hot(&self.slot, block.code) {
            return Ok(());
        }
        self.free_raw_slow(block)
    }

    #[cold]
    #[inline(never)]
    fn free_raw_slow(&mut self, block: RawBlock) -> Result<(), Refused<RawBlock>> {
        let state = self.zone.state();
        if let Err(why) = self.zone.check_zone(block.zone) {
            return Err(Refused { given: block, why });
        }
        let _inside = state.gate.enter(&self.slot);
        state.give_raw(&self.slot, block.code).map_err(|why| Refused { given: block, why })
    }

    /// As [`Zone::alloc_owned`].
    pub fn alloc_owned<T: Descriptor>(
        &mut self,
        order: Order,
        owner: OwnerId,
        body: T,
    ) -> Result<Block<T>, Refused<T>> {
        // The type is named before anything is taken: what was taken for a type
        // without a name would go back at once.
        let fresh = self.zone.fresh(owner, body)?;
        let state = self.zone.state();
        match state.take_typed_hot(&self.slot, order, fresh) {
            Ok(published) => {
                state.tree.settle();
                Ok(Block::new(published))
            }
            Err(fresh) => self.alloc_slow(order, fresh),
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow<T: Descriptor>(
        &mut self,
        order: Order,
        fresh: Fresh<Home, T>,
    ) -> Result<Block<T>, Refused<T>> {
        self.zone
            .publish_typed(fresh, |publish| self.zone.state().take_with(&self.slot, order, publish))
    }

    /// As [`Zone::alloc`].
    pub fn alloc<T: Descriptor>(&mut self, order: Order, body: T) -> Result<Block<T>, Refused<T>> {
        self.alloc_owned(order, OwnerId::RESOURCE, body)
    }

    /// The zone, and the slot in it.
    pub(crate) fn parts(&mut self) -> (&Zone, &Slot) {
        (&self.zone, &self.slot)
    }

    /// Gives back everything that the hand holds.
    pub fn flush(&mut self) {
        let state = self.zone.state();
        let _inside = state.gate.enter(&self.slot);
        self.slot.flush(&state.stock);
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.zone.state().retire_slot(&self.slot);
    }
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let near = self.slot.near.load(Ordering::Relaxed);
        f.debug_struct("Hand").field("zone", &self.zone).field("near", &near).finish()
    }
}
