//! Runs and exact requests.
//!
//! A run is any number of adjacent granules at a chosen alignment: "8 MiB at
//! 1 MiB" is one block of 8 MiB if there is one, else 2 adjacent of 4 MiB, else
//! 4 of 2 MiB, else 8 of 1 MiB, else it is refused. An exact request names the
//! granules themselves. Both, where a single block does not do, are served
//! while every hand is closed: what they look at holds still, so there is
//! nothing to roll back.

use crate::Zone;
use crate::error::{Error, Refused};
use crate::forest::Taken;
use crate::handles::Run;
use crate::resource::IntoSpan;
use crate::state::State;
use memdesc::{Granule, Granules, Immediate, MAX_GRANULES, Order, OwnerId, Subtype};

/// An alignment in units: a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Align(u64);

impl Align {
    /// Returns the alignment, or [`Error::NoAlignment`].
    pub const fn new(units: u64) -> Result<Self, Error> {
        if units.is_power_of_two() {
            Ok(Self(units))
        } else {
            Err(Error::NoAlignment { units, granule: 0 })
        }
    }
}

impl Zone {
    /// Allocates `units` adjacent units at a multiple of `align`, owned by the
    /// resource itself: as one block if one is free, else as the fewest blocks
    /// that are adjacent.
    ///
    /// ```
    /// # use potad::{Align, Potad, Resource};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..64 << 20))?;
    /// let run = ram.alloc_run(8 << 20, Align::new(1 << 20)?)?;
    /// assert_eq!(run.granules().count(), 2048);
    /// assert_eq!(ram.run_at(ram.address_of(run.base()) + 5_000_000), Some(run.granules()));
    /// ram.free_run(run)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn alloc_run(&self, units: u64, align: Align) -> Result<Run, Error> {
        let state = self.state();
        let granules = state.units.granules_for(units);
        if granules == 0 || granules > MAX_GRANULES {
            return Err(Error::NoSize { units });
        }
        let align = state.alignment(align)?;
        // One block, if the size is a power of two: no need to stop anybody.
        if granules.is_power_of_two() && granules >= align.granules() {
            let order = Order::covering(granules).map_err(|_| Error::NoSize { units })?;
            let one = state.take_with_any(order, |block| state.publish_run(block.granules()));
            match one {
                Err(Error::Exhausted { .. } | Error::OrderTooLarge { .. }) => {}
                other => return other,
            }
        }
        let _closed = state.close_and_flush();
        let range = state.find_run(granules, align).ok_or(Error::NoRun { granules })?;
        state.take_run(range)
    }

    /// Allocates exactly these units, if all of them are free.
    ///
    /// ```
    /// # use potad::{Potad, Resource};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let here = ram.alloc_at(0x20_0000..0x23_0000)?;
    /// assert_eq!(ram.address_of(here.base()), 0x20_0000);
    /// assert!(ram.alloc_at(0x22_0000..0x24_0000).is_err());
    /// ram.free_run(here)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn alloc_at(&self, span: impl IntoSpan) -> Result<Run, Error> {
        let state = self.state();
        let range = state.units.granules(span.into_span()?)?;
        if !state.is_in_span(range) {
            return Err(Error::Outside { address: state.units.unit(range.first()) });
        }
        let _closed = state.close_and_flush();
        if !range.cover().all(|block| state.stock.forest.is_free(block)) {
            return Err(Error::NotFree { asked: range });
        }
        state.take_run(range)
    }

    /// The run that an address lies in, if any.
    pub fn run_at(&self, address: u64) -> Option<Granules> {
        let at = self.state().units.index(address)?;
        let runs = self.state().runs.lock();
        let (first, last) = runs.before(at.0 + 1)?;
        let range = Granules::new(Granule(first), last).ok()?;
        range.contains(at).then_some(range)
    }

    /// Frees a run, whole; its poisoned granules are kept.
    pub fn free_run(&self, run: Run) -> Result<(), Refused<Run>> {
        if let Err(why) = self.check_zone(run.zone) {
            return Err(Refused { given: run, why });
        }
        let state = self.state();
        let range = run.granules;
        let freed = state.with_slot(|slot| {
            state.runs.lock().remove(range.first().0);
            range.cover().try_for_each(|block| {
                state.tree.clear_noted(block).map_err(Error::Lookup)?;
                state.give(slot, block)
            })
        });
        freed.map_err(|why| Refused { given: run, why })
    }
}

impl State {
    /// An alignment in granules, as an order.
    pub(crate) fn alignment(&self, align: Align) -> Result<Order, Error> {
        let granule = self.units.granule();
        let refused = Error::NoAlignment { units: align.0, granule };
        if align.0 <= granule {
            return if granule.is_multiple_of(align.0) { Ok(Order::ZERO) } else { Err(refused) };
        }
        if !align.0.is_multiple_of(granule) {
            return Err(refused);
        }
        Order::covering(align.0 / granule).map_err(|_| refused)
    }

    /// The best place for a run while everything holds still: the one that
    /// starts at the highest alignment, lowest first among equals.
    fn find_run(&self, granules: u64, align: Order) -> Option<Granules> {
        let mut best: Option<(u32, Granule)> = None;
        let mut consider = |free: Granules| {
            let size = Order::covering(granules).map_or(Order::MAX, |order| order).get();
            for order in (align.get()..=size.max(align.get())).rev() {
                let step = 1u64 << order;
                let Some(first) = free.first().0.checked_next_multiple_of(step) else { continue };
                let fits = first <= free.last().0 && free.last().0 - first >= granules - 1;
                if fits {
                    if best.is_none_or(|(found, _)| found < order) {
                        best = Some((order, Granule(first)));
                    }
                    return;
                }
            }
        };
        let mut run: Option<Granules> = None;
        for block in self.stock.forest.free_blocks(Granule(0), 0) {
            run = match run {
                Some(before) if before.last().0 + 1 == block.base().0 => {
                    Granules::new(before.first(), block.last()).ok()
                }
                other => {
                    if let Some(whole) = other {
                        consider(whole);
                    }
                    Some(block.granules())
                }
            };
        }
        if let Some(whole) = run {
            consider(whole);
        }
        let (_, first) = best?;
        Granules::new(first, Granule(first.0 + (granules - 1))).ok()
    }

    /// Takes a range that is free, while every hand is closed.
    pub(crate) fn take_range(&self, range: Granules) -> Result<(), Error> {
        for block in range.cover() {
            let taken = self.stock.forest.take_exact(block);
            if let Ok(Taken::Block(block)) = taken {
                self.stock.on_take(block);
                continue;
            }
            // What was taken so far goes back.
            let before = range.cover().take_while(|earlier| earlier.base() < block.base());
            before.for_each(|earlier| self.give_closed_block(earlier));
            return Err(match taken {
                Ok(_) => Error::NotFree { asked: range },
                Err(why) => why.into(),
            });
        }
        Ok(())
    }

    /// Takes a range that is free and makes it a run, while every hand is closed.
    pub(crate) fn take_run(&self, range: Granules) -> Result<Run, Error> {
        self.take_range(range)?;
        self.publish_run(range).inspect_err(|_| self.give_range(range))
    }

    fn give_range(&self, range: Granules) {
        range.cover().for_each(|block| self.give_closed_block(block));
    }

    /// Notes a run, and gives every piece of it a word.
    fn publish_run(&self, range: Granules) -> Result<Run, Error> {
        self.runs.lock().insert(range.first().0, range.last())?;
        for block in range.cover() {
            let word = Immediate::new(Subtype::Raw, OwnerId::RESOURCE, block.order());
            let Err(why) = self.tree.publish_immediate(block, word) else { continue };
            for earlier in range.cover().take_while(|earlier| earlier.base() < block.base()) {
                let cleared = self.tree.clear_immediate(earlier);
                debug_assert!(cleared.is_ok(), "published just above");
            }
            self.runs.lock().remove(range.first().0);
            return Err(Error::Lookup(why));
        }
        Ok(Run { granules: range, zone: self.id })
    }
}
