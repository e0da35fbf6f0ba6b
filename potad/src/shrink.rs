//! Shrinking a live block or run where it is.
//!
//! # How
//!
//! ```text
//!  order 5 -> 3     [ kept ][ free  ][     free      ]      at most one block per order goes back
//!  run 48 -> 19     [16      ][2][1].................
//! ```
//!
//! What is kept is the lower part, under the same handle, word or descriptor;
//! the rest goes back in one bracket, as if it had been freed.
//!
//! # What always holds
//!
//! All memory that is needed (free words of the smaller parts, nodes for their
//! words) is at hand before anything is changed: a call that is refused hands
//! back the block as it was. What is kept is found by look-up at any moment;
//! poisoned granules of the rest are kept out, as by any free.
//!
//! # Cost
//!
//! That of freeing the rest; a raw block or run one RMW more, a typed one its
//! lock.

use crate::error::{Error, Refused};
use crate::hand::Slot;
use crate::handles::{BareBlock, RawBlock, Run};
use crate::state::State;
use crate::{Block, Zone};
use memdesc::{Block as Place, Descriptor, Granule, Granules, Order};

impl Zone {
    /// Gives back all of a live bare block but its lower `1 << order` granules.
    ///
    /// Refused, with the block as it was: an order above the block's, a block of
    /// another zone, and when memory for tables is out.
    ///
    /// ```
    /// # use potad::{Error, Potad, Resource, memdesc::Order};
    /// # let potad = Potad::new();
    /// let slots = potad.register(Resource::new("swap").span(0..1 << 20))?;
    /// let block = slots.alloc_bare(Order::new(9)?)?;
    /// let first = block.base();
    /// let block = slots.shrink_bare(block, Order::new(2)?)?;
    /// assert_eq!((block.base(), block.order().get()), (first, 2));
    /// assert_eq!(slots.stats().free, (1 << 20) - 4);
    /// let refused = slots.shrink_bare(block, Order::new(3)?).unwrap_err();
    /// assert_eq!(refused.why, Error::NoShrink { asked: 8, granules: 4 });
    /// slots.free_bare(refused.given)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shrink_bare(
        &self,
        block: BareBlock,
        order: Order,
    ) -> Result<BareBlock, Refused<BareBlock>> {
        match self.shrink_place(block.zone, block.block(), order, |_| Ok(())) {
            Ok(lower) => Ok(self.state().bare(lower)),
            Err(why) => Err(Refused { given: block, why }),
        }
    }

    /// As [`shrink_bare`](Self::shrink_bare), for a raw block: it keeps its
    /// owner. A poison hint stays, wherever memory failed.
    ///
    /// ```
    /// # use potad::{Potad, Resource, memdesc::{Order, OwnerId}};
    /// # let potad = Potad::new();
    /// let bus = potad.register(Resource::new("bus").span(0..1 << 20))?;
    /// let bar = bus.alloc_raw(Order::new(12)?, OwnerId(7))?;
    /// let bar = bus.shrink_raw(bar, Order::new(5)?)?;
    /// let guard = potad::pin();
    /// let first = bus.address_of(bar.base());
    /// assert_eq!(bus.find(first + 31, &guard).unwrap().owner(), OwnerId(7));
    /// assert!(bus.find(first + 32, &guard).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shrink_raw(&self, block: RawBlock, order: Order) -> Result<RawBlock, Refused<RawBlock>> {
        let place = block.block();
        let cut = |lower: Place| {
            self.state().tree.cut_immediate(place, lower.granules()).map_err(Error::Lookup)
        };
        match self.shrink_place(block.zone, place, order, cut) {
            Ok(lower) => Ok(RawBlock::new(lower, block.zone)),
            Err(why) => Err(Refused { given: block, why }),
        }
    }

    /// As [`shrink_bare`](Self::shrink_bare), for a typed block: it keeps its
    /// descriptor, and every [`Ref`](crate::Ref) stays good. Waits for the
    /// descriptor's lock, so the caller must not hold it.
    ///
    /// ```
    /// # use potad::{Potad, Resource, memdesc::{Descriptor, Order}};
    /// # struct Folio;
    /// # impl Descriptor for Folio { const NAME: &'static str = "folio"; }
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let folio = ram.alloc(Order::new(9)?, Folio)?;
    /// let folio = ram.shrink(folio, Order::new(4)?)?;
    /// assert_eq!(folio.order().get(), 4);
    /// assert!(ram.get::<Folio>(folio.address() + (15 << 12)).is_some());
    /// assert!(ram.get::<Folio>(folio.address() + (16 << 12)).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shrink<T: Descriptor>(
        &self,
        block: Block<T>,
        order: Order,
    ) -> Result<Block<T>, Refused<Block<T>>> {
        if let Err(why) = self.check_zone(block.zone()) {
            return Err(Refused { given: block, why });
        }
        let state = self.state();
        // Before the lock: a pin may run drops, which may ask for the lock.
        let pinned = memdesc::pin();
        let locked = block.lock();
        let place = locked.block();
        let shrunk = state.ready_to_shrink(place, order).and_then(|lower| {
            state.tree.shrink(&locked, order).map_err(Error::Lookup)?;
            // Nobody's until it is given: as if it were a bare block of ours.
            state.with_slot(|slot| state.give_rest(slot, rest_of(place, lower.last())))
        });
        drop((locked, pinned));
        state.mend();
        match shrunk {
            Ok(()) => Ok(block),
            Err(why) => Err(Refused { given: block, why }),
        }
    }

    /// Gives back all of a live run but its first `units` units, in whole
    /// granules.
    ///
    /// Refused, with the run as it was: nothing or more than it has, a run of
    /// another zone, and when memory for tables is out.
    ///
    /// ```
    /// # use potad::{Align, Potad, Resource};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..64 << 20))?;
    /// let run = ram.alloc_run(8 << 20, Align::new(1 << 20)?)?;
    /// let run = ram.shrink_run(run, 5_000_000)?;
    /// assert_eq!(run.granules().count(), 1221);
    /// assert_eq!(ram.stats().free, (64 << 8) - 1221);
    /// ram.free_run(run)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shrink_run(&self, run: Run, units: u64) -> Result<Run, Refused<Run>> {
        let kept = self.check_zone(run.zone).and_then(|()| {
            let state = self.state();
            let kept = state.kept_of(run.granules, units)?;
            if kept != run.granules {
                state.shrink_run(run.granules, kept)?;
            }
            Ok(kept)
        });
        match kept {
            Ok(granules) => Ok(Run { granules, zone: run.zone }),
            Err(why) => Err(Refused { given: run, why }),
        }
    }

    /// Shrinks a block without a descriptor, whose word `cut` sees to; returns
    /// what is left.
    fn shrink_place(
        &self,
        zone: u32,
        block: Place,
        order: Order,
        cut: impl FnOnce(Place) -> Result<(), Error>,
    ) -> Result<Place, Error> {
        self.check_zone(zone)?;
        let state = self.state();
        let lower = state.ready_to_shrink(block, order)?;
        let shrunk = state.with_slot(|slot| {
            let rest = rest_of(block, lower.last());
            // A handle made of an address may lie: look before anything moves.
            if let Some(twice) = rest.clone().find(|&part| state.stock.forest.is_any_free(part)) {
                return Err(Error::DoubleFree { asked: twice.granules() });
            }
            cut(lower)?;
            state.give_rest(slot, rest)?;
            Ok(lower)
        });
        state.mend();
        shrunk
    }
}

/// The blocks of `block` behind `kept`, which lies in it: at most one an order.
fn rest_of(block: Place, kept: Granule) -> impl Iterator<Item = Place> + Clone {
    let rest = kept.checked_add(1).and_then(|first| Granules::new(first, block.last()).ok());
    rest.into_iter().flat_map(Granules::cover)
}

impl State {
    /// Checks the order, and makes present what freeing the parts will touch;
    /// returns the lower part.
    fn ready_to_shrink(&self, block: Place, order: Order) -> Result<Place, Error> {
        if order > block.order() {
            let (asked, granules) = (order.granules(), block.order().granules());
            return Err(Error::NoShrink { asked, granules });
        }
        let lower = Place::containing(block.base(), order);
        self.ensure_parts(block, lower.last())?;
        Ok(lower)
    }

    /// Makes the words present in which the parts of `block`, up to `kept` and
    /// behind it, live. (Those of larger parts are: the block was given out.)
    fn ensure_parts(&self, block: Place, kept: Granule) -> Result<(), Error> {
        let lower = Granules::new(block.base(), kept).map_err(|_| Error::NoHalves)?;
        for part in lower.cover().chain(rest_of(block, kept)) {
            self.stock.forest.ensure(part.order().level(), part.base())?;
        }
        Ok(())
    }

    /// The part of a run that so many units need.
    fn kept_of(&self, run: Granules, units: u64) -> Result<Granules, Error> {
        let asked = self.units.granules_for(units);
        if asked == 0 {
            return Err(Error::NoSize { units });
        }
        if asked > run.count() {
            return Err(Error::NoShrink { asked, granules: run.count() });
        }
        let last = Granule(run.first().0 + (asked - 1));
        Granules::new(run.first(), last).map_err(|_| Error::NoSize { units })
    }

    fn shrink_run(&self, run: Granules, kept: Granules) -> Result<(), Error> {
        let last = kept.last();
        // The cover of a beginning is the beginning of the cover, but for the
        // piece in which it ends.
        let cut = run.cover().find(|piece| piece.contains(last) && piece.last() != last);
        if let Some(piece) = cut {
            self.ensure_parts(piece, last)?;
        }
        let shrunk = self.with_slot(|slot| {
            if let Some(piece) = cut
                && let Ok(lower) = Granules::new(piece.base(), last)
            {
                self.tree.cut_immediate(piece, lower).map_err(Error::Lookup)?;
            }
            // It is there, so no memory is asked for; and from here on nothing fails:
            // handles on runs cannot be forged.
            self.runs.lock().insert(run.first().0, last)?;
            for piece in run.cover().filter(|piece| piece.base() > last) {
                let cleared = self.tree.clear_immediate(piece);
                debug_assert!(cleared.is_ok(), "{piece:?} is a piece of a live run");
            }
            let behind = run.cover().filter(|piece| piece.base() > last);
            self.give_rest(
                slot,
                cut.into_iter().flat_map(|piece| rest_of(piece, last)).chain(behind),
            )
        });
        self.mend();
        shrunk
    }

    /// Gives back parts of a live block, inside the slot's bracket.
    fn give_rest(&self, slot: &Slot, mut parts: impl Iterator<Item = Place>) -> Result<(), Error> {
        parts.try_for_each(|part| self.give(slot, part))
    }
}
