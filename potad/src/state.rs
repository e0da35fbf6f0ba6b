//! The state of a registered resource: what its handles share.
//!
//! # What always holds
//!
//! Every change of the forest or of a slot happens inside a bracket of some
//! slot or while the gate is closed. No callback (owner, descriptor's drop, driver)
//! runs inside a bracket or under the gate.
//!
//! # Lock order
//!
//! shared slot, then gate, then one of the leaf locks (spans, runs, closing
//! ranges, poison set, epoch; the poison set's also under that of the ranges); a
//! descriptor's lock is never waited for under any of them.

mod slots;

use crate::closing::Closing;
use crate::error::{Error, OutOfMemory, end_without_memory_for};
use crate::forest::Forest;
use crate::hand::{Gate, Slot};
use crate::home::Home;
use crate::outcomes::FailureCounts;
use crate::placement::Class;
use crate::resource::{Resource, Span, Spans, Units};
use crate::sorted::Sorted;
use crate::stock::Stock;
use alloc::string::String;
use lookup::Tree;
use memdesc::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use memdesc::sync::{Arc, Mutex, TryArc, unique_id};
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
