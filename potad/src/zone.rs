//! The zone: a registered resource, and what can be asked of it.

use crate::error::{Error, Refused};
use crate::hand::Code;
use crate::handles::{BareBlock, RawBlock};
use crate::home::Home;
#[cfg(feature = "std")]
use crate::local;
use crate::placement::Class;
use crate::resource::{IntoSpan, Span};
use crate::state::{State, immediate};
use crate::{Block, Hand, Ref};
use core::fmt;
use memdesc::sync::Arc;
use memdesc::{
    Block as Place, Descriptor, Fresh, Granule, Granules, Keep, Kind, Order, Owner, OwnerId,
    Subtype, WeakKeep,
};

/// The halves of a block, lower first; refused, the block and the descriptor
/// that was meant for the upper half.
pub type Split<T, U> = Result<(Block<T>, Block<U>), Refused<(Block<T>, U)>>;

/// A registered resource. Cheap to clone; every clone is the same zone.
///
/// Every call may be made from any thread at any time. Calls that allocate or
/// free use a hand that the thread gets at its first such call and keeps until
/// it ends: it costs no RMW either, hides as much as a [`Hand`] of one's own,
/// and keeps no zone alive. Without the feature `std` they borrow one of a few
/// shared hands, behind a lock (two RMWs more).
///
/// ```
/// # use potad::{Potad, Resource, memdesc::Order};
/// # let potad = Potad::new();
/// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
/// let hands = ram.stats().hands;
/// let page = ram.alloc_bare(Order::ZERO)?;
/// ram.free_bare(page)?;
/// let threads = if cfg!(feature = "std") { 1 } else { 0 };
/// assert_eq!(ram.stats().hands, hands + threads);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Zone {
    pub(crate) state: Home,
    /// What typed blocks hold on to the state by.
    pub(crate) keep: Keep<Home>,
}

impl Zone {
    pub(crate) fn new(state: State) -> Self {
        Self::of(Keep::new(Home(state.share())))
    }

    pub(crate) fn of(keep: Keep<Home>) -> Self {
        Self { state: (*keep).clone(), keep }
    }

    /// A handle that keeps no zone alive.
    pub(crate) fn downgrade(&self) -> WeakKeep<Home> {
        self.keep.downgrade()
    }

    pub(crate) fn state(&self) -> &State {
        &self.state.0
    }

    /// The name it was registered with.
    pub fn name(&self) -> &str {
        &self.state().name
    }

    /// A number that no other zone of this process has.
    pub fn id(&self) -> u32 {
        self.state().id
    }

    /// Units per granule.
    pub fn granule(&self) -> u64 {
        self.state().units.granule()
    }

    /// The granules of all spans.
    pub fn granules(&self) -> u64 {
        self.state().spans.lock().count()
    }

    /// The spans, in units, in address order; adjacent ones joined.
    pub fn spans(&self) -> alloc::vec::Vec<Span> {
        let units = self.state().units;
        let spans = self.state().spans.lock();
        let span = |range: Granules| Span {
            first: units.unit(range.first()),
            last: units.last_unit(range.last()),
        };
        spans.iter().map(span).collect()
    }

    /// The largest order of a block that a span can hold.
    pub fn largest_order(&self) -> Order {
        self.state().largest_order()
    }

    /// The unit at which a granule of this zone starts.
    pub fn address_of(&self, at: Granule) -> u64 {
        self.state().units.unit(at)
    }

    /// The granule that holds a unit, or [`Error::Outside`].
    pub fn granule_at(&self, address: u64) -> Result<Granule, Error> {
        self.state().granule_at(address)
    }

    /// The smallest order that holds so many units.
    ///
    /// ```
    /// # use potad::{Potad, Resource};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// assert_eq!(ram.order_for(2 << 20)?.get(), 9);
    /// assert_eq!(ram.order_for(1)?.get(), 0);
    /// assert!(ram.order_for(0).is_err());
    /// # Ok::<(), potad::Error>(())
    /// ```
    pub fn order_for(&self, units: u64) -> Result<Order, Error> {
        let granules = self.state().units.granules_for(units);
        Order::covering(granules).map_err(|_| Error::NoSize { units })
    }

    /// A hand of one's own: one per thread or vCPU.
    pub fn hand(&self) -> Hand {
        self.hand_for(Class::default())
    }

    /// A hand for the blocks of one class, which keeps to regions of its class
    /// where it can: what dies together then leaves whole regions free.
    ///
    /// ```
    /// # use potad::{Class, Potad, Resource, memdesc::Order};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let (mut files, mut users) = (ram.hand_for(Class::new(0)), ram.hand_for(Class::new(1)));
    /// let mut kept = Vec::new();
    /// files.alloc_many(Order::ZERO, 480, |page| kept.push(page))?;
    /// let page = users.alloc_bare(Order::ZERO)?;
    /// assert!(kept.iter().all(|kept| kept.base().0 / 512 != page.base().0 / 512));
    /// # users.free_bare(page)?;
    /// # files.free_many(kept)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hand_for(&self, class: Class) -> Hand {
        Hand::new(self.clone(), class)
    }

    /// Adds a span while the zone is in use: all of it, or an error and
    /// nothing.
    ///
    /// ```
    /// # use potad::{Potad, Resource};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 20))?;
    /// ram.hot_add(1 << 20..1 << 21)?;
    /// assert_eq!(ram.largest_order().get(), 9);
    /// assert!(ram.hot_add(0..4096).is_err());
    /// # Ok::<(), potad::Error>(())
    /// ```
    pub fn hot_add(&self, span: impl IntoSpan) -> Result<(), Error> {
        self.state().hot_add(span.into_span()?)
    }

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

    /// Registers a type of descriptor; done by the first allocation too.
    pub fn register_kind<T: Descriptor>(&self) -> Result<Kind, Error> {
        self.state().register_kind::<T>()
    }

    /// Registers an owner, to be named by allocations of any zone of the potad.
    pub fn register_owner(&self, owner: Arc<dyn Owner>) -> Result<OwnerId, Error> {
        self.state().owners.register(owner).map_err(Error::Owner)
    }

    /// Makes `owner` the one who hears of failures in bare blocks, and in those
    /// of owners that have left.
    pub fn set_own_owner(&self, owner: Arc<dyn Owner>) -> Result<OwnerId, Error> {
        let id = self.register_owner(owner)?;
        *self.state().own_owner.lock() = Some(id);
        Ok(id)
    }

    pub(crate) fn check_zone(&self, found: u32) -> Result<(), Error> {
        let asked = self.id();
        if asked == found { Ok(()) } else { Err(Error::Foreign { asked, found }) }
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

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zone").field("name", &self.name()).field("id", &self.id()).finish()
    }
}
