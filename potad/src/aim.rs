//! Directed requests: the lowest or the highest that fits, and within a range.
//!
//! # How
//!
//! What a hand holds may be the lowest free block, so a directed request closes
//! and flushes every hand, as an exact one does. Then the forest is the whole
//! truth, free space is maximal blocks, and one search that goes by the
//! summaries decides: see `forest::directed`.
//!
//! # What always holds
//!
//! A request fails only if nothing that fits was free at that moment; and what
//! it gets is the lowest (highest) that was.
//!
//! # Cost
//!
//! One rendezvous, and a search that passes empty stretches of any length in a
//! step per level: a single free granule at the end of 1 EiB takes microseconds.

use crate::error::{Error, Refused};
use crate::forest::{End, Taken};
use crate::handles::{BareBlock, RawBlock, Run};
use crate::resource::{IntoSpan, Span};
use crate::state::State;
use crate::{Align, Block, Zone};
use memdesc::{Block as Place, Descriptor, Granule, Granules, Immediate, MAX_GRANULES, Order};
use memdesc::{OwnerId, Subtype};

/// Where to allocate: from which end, and between which units.
///
/// ```
/// use potad::{Aim, Align, Error, Potad, Resource, memdesc::Order};
///
/// let potad = Potad::new();
/// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 40))?;
/// // For a device that sees 32 bits, and for what shall not stand in its way.
/// let dma = Aim::lowest().within(0..1 << 32);
/// let buffer = ram.alloc_bare_by(Order::new(4)?, &dma)?;
/// assert_eq!(ram.address_of(buffer.base()), 0);
/// let page = ram.alloc_bare_by(Order::ZERO, &Aim::highest())?;
/// assert_eq!(ram.address_of(page.base()), (1 << 40) - 4096);
/// let ring = ram.alloc_run_by(5 << 20, Align::new(4096)?, &Aim::highest().within(0..1 << 32))?;
/// assert_eq!(ram.address_of(ring.base()), (1 << 32) - (5 << 20));
///
/// let none = ram.alloc_bare_by(Order::ZERO, &Aim::lowest().within(0..4096));
/// assert_eq!(
///     none.unwrap_err(),
///     Error::ExhaustedWithin { order: Order::ZERO, first: 0, last: 4095 }
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Aim {
    end: End,
    within: Option<Result<Span, Error>>,
}

impl Aim {
    /// The lowest that fits.
    pub const fn lowest() -> Self {
        Self { end: End::Lowest, within: None }
    }

    /// The highest that fits.
    pub const fn highest() -> Self {
        Self { end: End::Highest, within: None }
    }

    /// Nothing that reaches outside these units. The range may go beyond the
    /// resource, and need not start or end at a granule.
    pub fn within(mut self, span: impl IntoSpan) -> Self {
        self.within = Some(span.into_span());
        self
    }
}

impl Zone {
    /// As [`alloc_bare`](Self::alloc_bare), where `aim` says. Fails with
    /// [`Error::ExhaustedWithin`] (without a range: [`Error::Exhausted`]) only
    /// if no block that fits is free, and with [`Error::NothingWithin`] for a
    /// range that the resource has nothing of.
    pub fn alloc_bare_by(&self, order: Order, aim: &Aim) -> Result<BareBlock, Error> {
        let state = self.state();
        state.take_by(order, aim, |block| Ok(state.bare(block)))
    }

    /// As [`alloc_raw`](Self::alloc_raw), where `aim` says.
    ///
    /// ```
    /// # use potad::{Aim, Potad, Resource, memdesc::{Order, OwnerId}};
    /// # let potad = Potad::new();
    /// let bus = potad.register(Resource::new("bus").span(0x1000..0x9000))?;
    /// let bar = bus.alloc_raw_by(Order::covering(0x1000)?, OwnerId(7), &Aim::highest())?;
    /// assert_eq!(bus.address_of(bar.base()), 0x8000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn alloc_raw_by(&self, order: Order, owner: OwnerId, aim: &Aim) -> Result<RawBlock, Error> {
        let state = self.state();
        let raw = state.take_by(order, aim, |block| {
            let word = Immediate::new(Subtype::Raw, owner, order);
            state.tree.publish_immediate(block, word).map_err(Error::Lookup)?;
            Ok(RawBlock::new(block, state.id))
        });
        state.tree.settle();
        raw
    }

    /// As [`alloc_owned`](Self::alloc_owned), where `aim` says.
    ///
    /// ```
    /// # use potad::{Aim, Potad, Resource, memdesc::{Descriptor, Order, OwnerId}};
    /// # struct Folio;
    /// # impl Descriptor for Folio { const NAME: &'static str = "folio"; }
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let upper = Aim::lowest().within(1 << 29..1 << 30);
    /// let folio = ram.alloc_by(Order::new(9)?, OwnerId::RESOURCE, Folio, &upper)?;
    /// assert_eq!(folio.address(), 1 << 29);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn alloc_by<T: Descriptor>(
        &self,
        order: Order,
        owner: OwnerId,
        body: T,
        aim: &Aim,
    ) -> Result<Block<T>, Refused<T>> {
        let fresh = self.fresh(owner, body)?;
        self.publish_typed(fresh, |publish| self.state().take_by(order, aim, publish))
    }

    /// As [`alloc_run`](Self::alloc_run), where `aim` says: not the run that
    /// costs the fewest blocks, but the lowest or highest at that alignment.
    pub fn alloc_run_by(&self, units: u64, align: Align, aim: &Aim) -> Result<Run, Error> {
        let state = self.state();
        let granules = state.units.granules_for(units);
        if granules == 0 || granules > MAX_GRANULES {
            return Err(Error::NoSize { units });
        }
        let align = state.alignment(align)?;
        let (end, within) = (aim.end, state.granules_within(aim)?);
        let run = {
            let _closed = state.close_and_flush();
            match state.stock.forest.run_in(granules, align, within, end) {
                None => Err(aim.no_run(granules)),
                Some(range) => state.take_run(range),
            }
        };
        state.tree.settle();
        run
    }
}

impl Aim {
    fn exhausted(&self, order: Order) -> Error {
        match self.within {
            Some(Ok(Span { first, last })) => Error::ExhaustedWithin { order, first, last },
            _ => Error::Exhausted { order },
        }
    }

    fn no_run(&self, granules: u64) -> Error {
        match self.within {
            Some(Ok(Span { first, last })) => Error::NoRunWithin { granules, first, last },
            _ => Error::NoRun { granules },
        }
    }
}

impl State {
    /// The granules that a request may use.
    fn granules_within(&self, aim: &Aim) -> Result<Granules, Error> {
        let Some(within) = aim.within else {
            let all = Granules::new(Granule(0), self.stock.forest.last_granule());
            return all.map_err(|_| Error::NoSpan);
        };
        let span = within?;
        let inside = self.units.granules_inside(span);
        inside
            .filter(|&range| self.spans.lock().overlapping(range).is_some())
            .ok_or(Error::NothingWithin { first: span.first, last: span.last })
    }

    /// Takes the lowest or highest block that fits and hands it to `then` while
    /// it is in transit; if `then` refuses, the block goes back.
    fn take_by<R>(
        &self,
        order: Order,
        aim: &Aim,
        then: impl FnOnce(Place) -> Result<R, Error>,
    ) -> Result<R, Error> {
        self.check_order(order)?;
        let within = self.granules_within(aim)?;
        let _closed = self.close_and_flush();
        let found = self.stock.forest.block_in(order, within, aim.end);
        let block = found.ok_or(aim.exhausted(order))?;
        let Taken::Block(block) = self.stock.forest.take_exact(block)? else {
            debug_assert!(false, "{block:?} was free, and every hand is closed");
            return Err(aim.exhausted(order));
        };
        self.stock.on_take(block);
        then(block).inspect_err(|_| self.give_closed_block(block))
    }
}
