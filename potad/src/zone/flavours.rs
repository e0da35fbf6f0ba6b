//! Allocating and freeing in a zone, in the three flavours.
//!
//! # How
//!
//! What is hot is tried first: the hand that the thread has already, and what is in
//! it. Whatever is in the way (no hand yet, nothing at hand, a kind that is not
//! registered, a block that is suspect, a handle of another zone) is left to a cold
//! `..._slow`, which starts from the beginning.
//!
//! # What always holds
//!
//! - What has a word is published in the bracket in which its granules were taken, or
//!   under the gate. Refused there, the granules go back, and a body to its caller.
//! - A handle of another zone comes back unused.

use super::Zone;
use crate::error::{Error, Refused};
use crate::handles::{BareBlock, RawBlock};
use crate::home::Home;
#[cfg(feature = "std")]
use crate::local;
use crate::{Block, Ref};
use memdesc::{Block as Place, Descriptor, Fresh, Order, OwnerId};

impl Zone {
    /// Allocates a block described by `body`, owned by the resource itself.
    ///
    /// Freed when the handle and every [`Ref`] of it are gone. Refused, the
    /// body comes back.
    pub fn alloc<T: Descriptor>(&self, order: Order, body: T) -> Result<Block<T>, Refused<T>> {
        self.alloc_owned(order, OwnerId::RESOURCE, body)
    }

    /// As [`alloc`](Self::alloc), with an owner that hears of memory failure.
    pub fn alloc_owned<T: Descriptor>(
        &self,
        order: Order,
        owner: OwnerId,
        body: T,
    ) -> Result<Block<T>, Refused<T>> {
        let fresh = self.unnamed(owner, body)?;
        #[cfg(feature = "std")]
        let fresh = {
            let state = self.state();
            let take = |slot: &_, fresh| state.take_typed_hot(slot, order, fresh);
            match local::if_slot_with(state, fresh, take) {
                Ok(Ok(published)) => {
                    state.tree.settle();
                    return Ok(Block::new(published));
                }
                Ok(Err(fresh)) | Err(fresh) => fresh,
            }
        };
        self.alloc_slow(order, fresh)
    }

    #[cold]
    #[inline(never)]
    fn alloc_slow<T: Descriptor>(
        &self,
        order: Order,
        fresh: Fresh<Home, T>,
    ) -> Result<Block<T>, Refused<T>> {
        let fresh = self.name_kind(fresh)?;
        self.state().mend();
        self.publish_typed(fresh, |publish| self.state().take_with_any(order, publish))
    }

    /// Allocates a block with an immediate word: an owner, and lookup finds it.
    #[inline]
    pub fn alloc_raw(&self, order: Order, owner: OwnerId) -> Result<RawBlock, Error> {
        #[cfg(feature = "std")]
        if let state = self.state()
            && let Some(Some(code)) =
                local::if_slot(state, |slot| state.take_raw_hot(slot, order, owner))
        {
            state.settle_after(order);
            return Ok(RawBlock { code, zone: state.id });
        }
        self.alloc_raw_slow(order, owner)
    }

    #[cold]
    #[inline(never)]
    fn alloc_raw_slow(&self, order: Order, owner: OwnerId) -> Result<RawBlock, Error> {
        let state = self.state();
        state.mend();
        let raw = state.with_idle_slot(|slot| {
            state.take_with(slot, order, |block| state.publish_raw(slot, block, owner))
        });
        state.tree.settle();
        raw
    }

    /// Allocates a block without a word.
    #[inline]
    pub fn alloc_bare(&self, order: Order) -> Result<BareBlock, Error> {
        #[cfg(feature = "std")]
        if let Some(Some(code)) =
            local::if_slot(self.state(), |slot| slot.take_hot(&self.state().stock, order))
        {
            return Ok(BareBlock::new(code, self.id()));
        }
        self.alloc_bare_slow(order)
    }

    #[cold]
    #[inline(never)]
    fn alloc_bare_slow(&self, order: Order) -> Result<BareBlock, Error> {
        self.state().mend();
        self.state().take_with_any(order, |block| Ok(self.state().bare(block)))
    }

    /// Frees a typed block: the range goes back at once if no [`Ref`] is left,
    /// else with the last one. Refused only by a zone it is not of.
    pub fn free<T: Descriptor>(&self, block: Block<T>) -> Result<(), Refused<Block<T>>> {
        if let Err(why) = self.check_zone(block.zone()) {
            return Err(Refused { given: block, why });
        }
        drop(block);
        Ok(())
    }

    /// Frees a raw block; its poisoned granules are kept.
    #[inline]
    pub fn free_raw(&self, block: RawBlock) -> Result<(), Refused<RawBlock>> {
        #[cfg(feature = "std")]
        if block.zone == self.id()
            && let state = self.state()
            && local::if_slot(state, |slot| state.give_raw_hot(slot, block.code)) == Some(true)
        {
            return Ok(());
        }
        self.free_raw_slow(block)
    }

    #[cold]
    #[inline(never)]
    fn free_raw_slow(&self, block: RawBlock) -> Result<(), Refused<RawBlock>> {
        if let Err(why) = self.check_zone(block.zone) {
            return Err(Refused { given: block, why });
        }
        let state = self.state();
        let code = block.code;
        state
            .with_slot(|slot| state.give_raw(slot, code))
            .map_err(|why| Refused { given: block, why })
    }

    /// Frees a bare block; its poisoned granules are kept.
    #[inline]
    pub fn free_bare(&self, block: BareBlock) -> Result<(), Refused<BareBlock>> {
        #[cfg(feature = "std")]
        if block.zone == self.id()
            && let given =
                local::if_slot(self.state(), |slot| slot.give_hot(&self.state().stock, block.code))
            && given == Some(true)
        {
            return Ok(());
        }
        self.free_bare_slow(block)
    }

    #[cold]
    #[inline(never)]
    fn free_bare_slow(&self, block: BareBlock) -> Result<(), Refused<BareBlock>> {
        if let Err(why) = self.check_zone(block.zone) {
            return Err(Refused { given: block, why });
        }
        let state = self.state();
        let place = block.block();
        state.with_slot(|slot| state.give(slot, place)).map_err(|why| Refused { given: block, why })
    }

    /// A descriptor around `body`, its kind registered.
    pub(crate) fn fresh<T: Descriptor>(
        &self,
        owner: OwnerId,
        body: T,
    ) -> Result<Fresh<Home, T>, Refused<T>> {
        // First, so that nothing but the publication orders what is written into it.
        if let Err(why) = self.register_kind::<T>() {
            return Err(Refused { given: body, why });
        }
        self.unnamed(owner, body)
    }

    /// A descriptor, its kind registered. One that is was published the hot way,
    /// if nothing else was in the way.
    pub(crate) fn name_kind<T: Descriptor>(
        &self,
        fresh: Fresh<Home, T>,
    ) -> Result<Fresh<Home, T>, Refused<T>> {
        match self.register_kind::<T>() {
            Ok(_) => Ok(fresh),
            Err(why) => Err(Refused { given: fresh.into_body(), why }),
        }
    }

    /// A descriptor around `body`, whose kind need not be registered.
    #[inline(always)]
    pub(crate) fn unnamed<T: Descriptor>(
        &self,
        owner: OwnerId,
        body: T,
    ) -> Result<Fresh<Home, T>, Refused<T>> {
        Fresh::of(&self.keep, owner, body)
            .map_err(|(_, given)| Refused { given, why: Error::OutOfMemory })
    }

    /// Allocates by `take`, which hands the block to the publishing of `fresh`.
    pub(crate) fn publish_typed<T: Descriptor>(
        &self,
        fresh: Fresh<Home, T>,
        take: impl FnOnce(&mut dyn FnMut(Place) -> Result<Ref<T>, Error>) -> Result<Ref<T>, Error>,
    ) -> Result<Block<T>, Refused<T>> {
        let mut fresh = Some(fresh);
        let published = take(&mut |block| {
            let Some(unpublished) = fresh.take() else {
                return Err(Error::Exhausted { order: block.order() });
            };
            self.state().tree.publish(block, unpublished).map_err(|refused| {
                fresh = Some(refused.fresh);
                Error::Lookup(refused.why)
            })
        });
        self.state().tree.settle();
        match (published, fresh) {
            (Ok(published), _) => Ok(Block::new(published)),
            (Err(why), Some(fresh)) => Err(Refused { given: fresh.into_body(), why }),
            (Err(_), None) => unreachable!("publishing gives back what it refuses"),
        }
    }
}
