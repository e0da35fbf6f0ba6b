//! The state of a registered resource: what its handles share.
//!
//! # What always holds
//!
//! Every change of the forest or of a slot happens inside a bracket of some
//! slot or while the gate is closed. Calls without a hand use the thread's own
//! slot (see `local`), or borrow one of a few shared ones, each behind a lock.
//! No callback (owner, descriptor's drop, driver) runs inside a bracket or under
//! the gate.
//!
//! # Lock order
//!
//! shared slot, then gate, then one of the leaf locks (spans, runs, closing
//! ranges, poison set, epoch; the poison set's also under that of the ranges); a
//! descriptor's lock is never waited for under any of them.

use crate::closing::Closing;
use crate::error::{Error, OutOfMemory, end_without_memory_for};
use crate::forest::{Forest, Taken};
use crate::hand::{Closed, Gate, Slot};
use crate::home::Home;
use crate::outcomes::FailureCounts;
use crate::placement::Class;
use crate::resource::{Resource, Span, Spans, Units};
use crate::sorted::Sorted;
use crate::stock::Stock;
use alloc::string::String;
use lookup::Tree;
use memdesc::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use memdesc::sync::{Arc, Mutex, MutexGuard, TryArc, unique_id};
use memdesc::{Block, Granule, Granules, Immediate, Kinds, Order, OwnerId};
use memdesc::{Owners, Subtype};

/// Slots that calls without a hand share.
#[cfg(not(any(loom, shuttle)))]
const SHARED: usize = 8;
#[cfg(any(loom, shuttle))]
const SHARED: usize = 1;

/// A reach below this level would save nothing.
#[cfg(not(any(loom, shuttle)))]
const LEAST_TOP: u32 = 5;
#[cfg(any(loom, shuttle))]
const LEAST_TOP: u32 = 1;

/// What the handles of one resource share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) id: u32,
    /// A handle on this very state, for the hands that threads have; dangling
    /// until it is shared.
    #[cfg(feature = "std")]
    pub(crate) me: memdesc::sync::Weak<State>,
    pub(crate) name: String,
    pub(crate) space: u16,
    pub(crate) units: Units,
    pub(crate) stock: Stock,
    pub(crate) tree: Tree<Home>,
    pub(crate) gate: Gate,
    shared: [Mutex<TryArc<Slot>>; SHARED],
    next_shared: AtomicUsize,
    pub(crate) spans: Mutex<Spans>,
    /// What is being removed.
    pub(crate) closing: Closing,
    /// The largest order that a span can hold; follows hot-adds and hot-removes.
    largest: AtomicU64,
    /// First granule -> last granule of the live runs.
    pub(crate) runs: Mutex<Sorted<Granule>>,
    pub(crate) kinds: Kinds,
    pub(crate) owners: Arc<Owners>,
    /// Who hears of failures in bare blocks, and of owners that have left.
    pub(crate) own_owner: Mutex<Option<OwnerId>>,
    pub(crate) failures: FailureCounts,
    /// There is something to mend: see `mend`.
    pub(crate) due: AtomicBool,
}

impl State {
    pub(crate) fn new(
        resource: Resource,
        kinds: Kinds,
        owners: Arc<Owners>,
    ) -> Result<Self, Error> {
        let mut ranges = Spans::default();
        let mut units = None;
        for span in &resource.spans {
            let span = (*span)?;
            let units = match units {
                Some(known) => known,
                None => *units.insert(Units::new(resource.granule, span.first)?),
            };
            let range = units.granules(span)?;
            if let Some(there) = ranges.overlapping(range) {
                return Err(overlap(units, range, there));
            }
            ranges.insert(range);
        }
        let (Some(units), Some(last)) = (units, ranges.iter().last()) else {
            return Err(Error::NoSpan);
        };
        let top = match resource.reach {
            None => (Forest::top_for(last.last()) + 1).clamp(LEAST_TOP, 10),
            Some(reach) => {
                let reach = units.index(reach).unwrap_or(last.last());
                Forest::top_for(reach.max(last.last()))
            }
        };
        let first = ranges.iter().next().map_or(Granule(0), Granules::first);
        let stock = Stock::new(top, last.last(), resource.granule, resource.placement);
        let state = Self::empty(resource.name, resource.space, units, stock, first, kinds, owners);
        for range in ranges.iter() {
            state.add(range)?;
        }
        Ok(state)
    }

    /// A state without a span; hands start to search at `first`.
    fn empty(
        name: String,
        space: u16,
        units: Units,
        stock: Stock,
        first: Granule,
        kinds: Kinds,
        owners: Arc<Owners>,
    ) -> Self {
        let (gate, tree) = (Gate::new(), Tree::new());
        let slot = || gate.register(Slot::new(first.0, Class::default(), tree.leaf()));
        let shared = core::array::from_fn(|_| {
            Mutex::new(slot().unwrap_or_else(|| end_without_memory_for::<Slot>()))
        });
        Self {
            id: unique_id(),
            #[cfg(feature = "std")]
            me: memdesc::sync::Weak::new(),
            name,
            space,
            units,
            stock,
            tree,
            gate,
            shared,
            next_shared: AtomicUsize::new(0),
            spans: Mutex::new(Spans::default()),
            closing: Closing::default(),
            largest: AtomicU64::new(0),
            runs: Mutex::new(Sorted::default()),
            kinds,
            owners,
            own_owner: Mutex::new(None),
            failures: FailureCounts::default(),
            due: AtomicBool::new(true),
        }
    }

    /// A state without a span, of `1 << finer` granules per granule of this
    /// one, with its units, kinds and owners, and as far a reach.
    pub(crate) fn nested(&self, name: String, granule: u64, finer: u32) -> Self {
        let reach = self.stock.forest.last_granule().0;
        let last = (reach.leading_zeros() > finer).then(|| (reach << finer) | ((1 << finer) - 1));
        let top = Forest::top_for(Granule(last.unwrap_or(u64::MAX >> 1)));
        let units = self.units.nested(granule);
        let (kinds, owners) = (self.kinds.clone(), Arc::clone(&self.owners));
        let there = self.last_granule().unwrap_or(Granule(0));
        let wanted = Granule(there.0.saturating_add(1).saturating_mul(1 << finer) - 1);
        let stock = Stock::new(top, wanted, granule, self.stock.placement());
        Self::empty(name, self.space, units, stock, Granule(0), kinds, owners)
    }

    /// The last granule of a span.
    pub(crate) fn last_granule(&self) -> Option<Granule> {
        self.spans.lock().iter().last().map(Granules::last)
    }

    /// Adds a range of free granules: all of it, or nothing.
    fn add(&self, range: Granules) -> Result<(), Error> {
        let mut spans = self.spans.lock();
        if let Some(there) = spans.overlapping(range) {
            return Err(overlap(self.units, range, there));
        }
        let reach = self.stock.forest.last_granule();
        if range.last() > reach {
            return Err(Error::OutsideReach {
                first: self.units.unit(range.first()),
                last: self.units.last_unit(range.last()),
                reach_first: self.units.unit(Granule(0)),
                reach_last: self.units.last_unit(reach),
            });
        }
        // All the tables first: from here on nothing can fail. A block may
        // merge upward, so the levels above it are made present too.
        for block in range.cover() {
            self.stock.forest.ensure_from(block.order().level(), block.base())?;
        }
        // Granules that failed before their span was removed stay out.
        for (at, _) in self.stock.poison.in_range(range) {
            self.ensure_carve(at)?;
        }
        spans.insert(range);
        self.note_largest(&spans);
        drop(spans);
        self.with_slot(|slot| {
            for block in range.cover() {
                let given = self.give(slot, block);
                debug_assert_eq!(given, Ok(()), "{block:?} was never given before");
            }
            // Small ends of the range are for everybody, not for this hand.
            slot.flush(&self.stock);
        });
        self.due();
        self.mend();
        Ok(())
    }

    /// The spans have changed.
    pub(crate) fn note_largest(&self, spans: &Spans) {
        // Relaxed: whoever reads the old value asked before the change.
        self.largest.store(u64::from(spans.largest_order().get()), Ordering::Relaxed);
    }

    /// Adds a span of units.
    pub(crate) fn hot_add(&self, span: Span) -> Result<(), Error> {
        self.add(self.units.granules(span)?)
    }

    /// Refuses an order that no span can ever hold.
    #[inline]
    pub(crate) fn check_order(&self, order: Order) -> Result<(), Error> {
        let largest = self.largest_order();
        if order > largest {
            return Err(Error::OrderTooLarge { order, largest });
        }
        Ok(())
    }

    /// The largest order that a span can hold.
    #[inline]
    pub(crate) fn largest_order(&self) -> Order {
        // Relaxed: a hot-add that this misses has not returned yet.
        Order::new(self.largest.load(Ordering::Relaxed) as u32).unwrap_or(Order::MAX)
    }

    /// The state, shared.
    pub(crate) fn share(self) -> Arc<Self> {
        #[cfg(feature = "std")]
        return Arc::new_cyclic(|me| {
            let mut state = self;
            state.me = me.clone();
            state
        });
        #[cfg(not(feature = "std"))]
        return Arc::new(self);
    }

    /// Runs `operate` inside the bracket of this thread's slot, or of a shared
    /// one.
    pub(crate) fn with_slot<R>(&self, operate: impl FnOnce(&Slot) -> R) -> R {
        self.with_idle_slot(|slot| {
            let _inside = self.gate.enter(slot);
            operate(slot)
        })
    }

    /// Runs `operate` on this thread's slot, or on a shared one, outside its
    /// bracket.
    pub(crate) fn with_idle_slot<R>(&self, operate: impl FnOnce(&Slot) -> R) -> R {
        #[cfg(feature = "std")]
        let operate = match crate::local::with_slot(self, operate) {
            Ok(done) => return done,
            Err(operate) => operate,
        };
        let slot = self.shared_slot();
        operate(&slot)
    }

    /// As [`with_slot`](Self::with_slot), for what must not allocate: the thread's
    /// own slot is made by its first call.
    pub(crate) fn with_shared_slot<R>(&self, operate: impl FnOnce(&Slot) -> R) -> R {
        let slot = self.shared_slot();
        let _inside = self.gate.enter(&slot);
        operate(&slot)
    }

    /// A hand is no more: gives back what its slot holds.
    pub(crate) fn retire_slot(&self, slot: &Slot) {
        {
            let is_inside = !memdesc::seeded!("ends outside its bracket");
            let _inside = is_inside.then(|| self.gate.enter(slot));
            slot.flush(&self.stock);
        }
        self.gate.unregister(slot);
    }

    /// One of the shared slots, locked.
    fn shared_slot(&self) -> MutexGuard<'_, TryArc<Slot>> {
        let start = self.next_shared.load(Ordering::Relaxed);
        let mut slots = self.shared.iter().cycle().skip(start & (SHARED - 1)).take(SHARED);
        let free = slots.find_map(Mutex::try_lock);
        free.unwrap_or_else(|| {
            // Spread the waiters; the number orders nothing.
            let next = self.next_shared.fetch_add(1, Ordering::Relaxed);
            self.shared[next & (SHARED - 1)].lock()
        })
    }

    /// Takes a block through `slot` and hands it to `then` while it is in
    /// transit; if `then` refuses, the block goes back.
    ///
    /// The caller is *not* inside the slot's bracket.
    #[inline]
    pub(crate) fn take_with<R>(
        &self,
        slot: &Slot,
        order: Order,
        then: impl FnOnce(Block) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.take_or_close(Self::take_own, slot, order, then)
    }

    /// As [`take_with`](Self::take_with), of what the caller has not found at
    /// hand.
    #[inline]
    pub(crate) fn take_missed_with<R>(
        &self,
        slot: &Slot,
        order: Order,
        then: impl FnOnce(Block) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.take_or_close(Self::take_slow, slot, order, then)
    }

    /// As [`take_with`](Self::take_with), by `take` inside the slot's bracket.
    #[inline(always)]
    fn take_or_close<R>(
        &self,
        take: impl FnOnce(&Self, &Slot, Order) -> Result<Option<Block>, Error>,
        slot: &Slot,
        order: Order,
        then: impl FnOnce(Block) -> Result<R, Error>,
    ) -> Result<R, Error> {
        {
            let _inside = self.gate.enter(slot);
            if let Some(block) = take(self, slot, order)? {
                return then(block).inspect_err(|_| self.give_own(slot, block));
            }
        }
        self.take_closed(order, then)
    }

    /// Takes a block that is at hand, or not, inside the slot's bracket.
    #[inline(always)]
    pub(crate) fn take_own(&self, slot: &Slot, order: Order) -> Result<Option<Block>, Error> {
        match slot.take_at_hand(&self.stock, order) {
            Some(code) => Ok(Some(code.block())),
            None => self.take_slow(slot, order),
        }
    }

    /// Takes a block that was not found at hand, inside the slot's bracket.
    #[inline(never)]
    pub(crate) fn take_slow(&self, slot: &Slot, order: Order) -> Result<Option<Block>, Error> {
        self.check_order(order)?;
        match slot.take(&self.stock, order)? {
            Taken::Block(block) => Ok(Some(block)),
            // What is to be broken, or to merge, may be kept by this very hand.
            Taken::Nothing if slot.give_kept(&self.stock, |_| true) => self.take_slow(slot, order),
            Taken::Nothing => Ok(None),
        }
    }

    /// As [`take_with`](Self::take_with), once nothing was found: closes every
    /// hand, flushes them, and looks again. What this does not find is not
    /// there.
    #[cold]
    fn take_closed<R>(
        &self,
        order: Order,
        then: impl FnOnce(Block) -> Result<R, Error>,
    ) -> Result<R, Error> {
        // What was kept whole for want of memory may be what is asked for.
        self.mend();
        let closed = self.close_and_flush();
        let Taken::Block(block) = self.stock.take(order, Granule(0))? else {
            return Err(Error::Exhausted { order });
        };
        self.stock.on_take(block);
        let result = then(block).inspect_err(|_| self.give_closed(&closed, block));
        drop(closed);
        result
    }

    /// Closes every hand and empties it into the forest.
    pub(crate) fn close_and_flush(&self) -> Closed<'_> {
        let closed = self.gate.close();
        for slot in closed.slots() {
            slot.flush(&self.stock);
        }
        closed
    }

    /// Gives back a block that was never used.
    pub(crate) fn give_own(&self, slot: &Slot, block: Block) {
        let given = self.give(slot, block);
        debug_assert_eq!(given, Ok(()), "{block:?} was just taken");
    }

    fn give_closed(&self, _closed: &Closed<'_>, block: Block) {
        self.give_closed_block(block);
    }

    /// Gives back a block that was never used, while every hand is closed.
    pub(crate) fn give_closed_block(&self, block: Block) {
        let given = self.stock.forest.give(block.place(), |_, _| false);
        debug_assert_eq!(given, Ok(()), "{block:?} was just taken");
    }

    /// As [`take_with`](Self::take_with), through this thread's slot or a shared
    /// one.
    pub(crate) fn take_with_any<R>(
        &self,
        order: Order,
        then: impl FnOnce(Block) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.with_idle_slot(|slot| self.take_with(slot, order, then))
    }

    /// As [`take_with_any`](Self::take_with_any), but looks into no other hand:
    /// *exhausted* means no more than that nothing is at hand.
    pub(crate) fn take_at_hand<R>(
        &self,
        order: Order,
        then: impl FnOnce(&Slot, Block) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.with_slot(|slot| {
            let block = self.take_own(slot, order)?.ok_or(Error::Exhausted { order })?;
            then(slot, block).inspect_err(|_| self.give_own(slot, block))
        })
    }

    /// A slot for a new hand, which starts to search in the first span; `None`
    /// without memory for it.
    pub(crate) fn new_slot(&self, class: Class) -> Option<TryArc<Slot>> {
        let first = self.spans.lock().iter().next().map_or(0, |span| span.first().0);
        let slot = Slot::new(first, class, self.tree.leaf());
        if memdesc::seeded!("used before it is registered") {
            return TryArc::new(slot);
        }
        self.gate.register(slot)
    }

    /// Gives a block back through `slot`, inside its bracket; what of it is
    /// poisoned, or in a range that is being removed, is kept.
    #[inline]
    pub(crate) fn give(&self, slot: &Slot, block: Block) -> Result<(), Error> {
        if self.stock.is_suspect(block) {
            return self.give_suspect(slot, block);
        }
        slot.give(&self.stock, block).map_err(|_| Error::DoubleFree { asked: block.granules() })
    }

    /// Makes present what giving the rest of a block around granule `at` needs.
    pub(crate) fn ensure_carve(&self, at: Granule) -> Result<(), OutOfMemory> {
        self.stock.forest.ensure_from(0, at)
    }

    /// Whether every granule of the block is in a span.
    pub(crate) fn is_in_span(&self, range: Granules) -> bool {
        self.spans.lock().covers(range)
    }

    /// The geometry block at a unit, if the resource has it.
    pub(crate) fn block_at(&self, address: u64, order: Order) -> Result<Block, Error> {
        let at = self.granule_at(address)?;
        let block = Block::new(at, order).map_err(|_| Error::NoBlock { address, order })?;
        if self.units.unit(at) != address || !self.is_in_span(block.granules()) {
            return Err(Error::NoBlock { address, order });
        }
        Ok(block)
    }

    /// The granule that holds a unit, if the resource has it.
    pub(crate) fn granule_at(&self, address: u64) -> Result<Granule, Error> {
        let at = self.units.index(address).ok_or(Error::Outside { address })?;
        let one = Block::containing(at, Order::ZERO).granules();
        if !self.is_in_span(one) {
            return Err(Error::Outside { address });
        }
        Ok(at)
    }
}

/// An immediate word of order 0.
pub(crate) fn immediate(subtype: Subtype, owner: OwnerId) -> Immediate {
    Immediate::new(subtype, owner, Order::ZERO)
}

fn overlap(units: Units, asked: Granules, there: Granules) -> Error {
    Error::Overlap {
        first: units.unit(asked.first()),
        last: units.last_unit(asked.last()),
        with_first: units.unit(there.first()),
        with_last: units.last_unit(there.last()),
    }
}
