//! The stock of a zone: the forest and what rides along with it.
//!
//! The two seams between the forest and everybody else are here: [`on_take`]
//! runs after bits were taken from the shared forest and before the block is
//! used; whether a block may go back at all is asked of the [`Poison`] by
//! whoever gives ([`is_suspect`]).
//!
//! [`on_take`]: Stock::on_take
//! [`is_suspect`]: Stock::is_suspect

use crate::error::OutOfMemory;
use crate::forest::{Avoid, Forest, Taken, block_of};
use crate::hand::Code;
use crate::placement::{Class, Placement};
use crate::poison::Poison;
use crate::regions::{self, Homes, Search, Site, is_same_region};
use crate::reported::Reported;
use crate::reserve::Reserve;
use memdesc::sync::{Arc, Mutex};
use memdesc::{Block, Granule, Granules, ORDERS_PER_LEVEL, OnceSlot, Order, Place};

/// What a zone has to lend, and what is known about it.
#[derive(Debug)]
pub(crate) struct Stock {
    pub(crate) forest: Forest,
    pub(crate) poison: Poison,
    /// Tables put by for carving and freeing; a leaf lock.
    pub(crate) reserve: Mutex<Reserve>,
    /// Present once a reporter was attached.
    pub(crate) reported: OnceSlot<Reported>,
    /// Which classes the regions are homes of, and the policy that says what
    /// follows from it.
    pub(crate) homes: Homes,
    placement: Arc<dyn Placement>,
}

impl Avoid for Stock {
    fn is_any(&self) -> bool {
        self.reported.get().is_some()
    }

    fn places(&self, level: u32, word: u64) -> u64 {
        self.avoided(level, word)
    }

    fn pick(&self, larger: Block) -> Granule {
        self.reported.get().map_or(larger.base(), |reported| reported.first_unreported(larger))
    }
}

impl Stock {
    /// Of a resource whose granules will mostly be at `last` and below.
    pub(crate) fn new(
        top: u32,
        last: Granule,
        granule: u64,
        placement: Arc<dyn Placement>,
    ) -> Self {
        Self {
            forest: Forest::new(top, last),
            poison: Poison::new(granule),
            reserve: Mutex::new(Reserve::default()),
            reported: OnceSlot::new(),
            homes: Homes::up_to(last),
            placement,
        }
    }

    /// The policy.
    pub(crate) fn placement(&self) -> Arc<dyn Placement> {
        Arc::clone(&self.placement)
    }

    /// Places whose memory the host has taken back: taken last.
    #[inline(always)]
    pub(crate) fn avoided(&self, level: u32, word: u64) -> u64 {
        match self.reported.get() {
            None => 0,
            Some(reported) => reported.places(level, word),
        }
    }

    /// Whether a reporter is attached and its granule is no larger than this.
    #[inline]
    pub(crate) fn is_reportable(&self, order: Order) -> bool {
        self.reported.get().is_some_and(|reported| reported.order() <= order)
    }

    /// Takes a block from the forest; [`on_take`](Self::on_take) must follow.
    pub(crate) fn take(&self, order: Order, near: Granule) -> Result<Taken, OutOfMemory> {
        self.forest.take(order, near, self)
    }

    /// Takes a block out of a word of its own level, near by;
    /// [`on_take`](Self::on_take) must follow.
    pub(crate) fn take_beside(&self, order: Order, near: Granule, budget: u32) -> Option<Block> {
        self.forest.take_beside(order, near, budget, self)
    }

    /// Takes a block out of a larger one, else from anywhere;
    /// [`on_take`](Self::on_take) must follow.
    pub(crate) fn take_beyond(&self, order: Order, near: Granule) -> Result<Taken, OutOfMemory> {
        self.forest.take_beyond(order, near, self)
    }

    /// Bits were taken from the shared forest, and nobody uses the block yet:
    /// what the reporter knew of it no longer holds.
    #[inline]
    pub(crate) fn on_take(&self, block: Block) {
        if let Some(reported) = self.reported.get() {
            reported.forget(block);
        }
    }

    /// As [`on_take`](Self::on_take), for the places of a claimed word.
    #[inline]
    pub(crate) fn on_claim(&self, word: u64) {
        if self.reported.get().is_some()
            && let Ok(order) = Order::new(ORDERS_PER_LEVEL)
        {
            self.on_take(Block::containing(Granule(word << ORDERS_PER_LEVEL), order));
        }
    }

    /// As [`on_take`](Self::on_take), for places of one word.
    pub(crate) fn on_take_place(&self, place: Place) {
        if self.reported.get().is_none() {
            return;
        }
        if place.level == 0 {
            return self.on_claim(place.word);
        }
        let mut mask = place.mask;
        while mask != 0 {
            self.on_take(block_of(place.level, place.word, mask & mask.wrapping_neg(), 1));
            mask &= mask - 1;
        }
    }

    /// Whether some granule of the block may be poisoned: ask the set.
    #[inline]
    pub(crate) fn is_suspect(&self, block: Block) -> bool {
        self.poison.is_suspect(block)
    }

    /// As [`is_suspect`](Self::is_suspect), in one load where nothing is.
    #[inline(always)]
    pub(crate) fn may_suspect(&self, code: Code) -> bool {
        self.poison.is_any_suspect() && self.is_suspect(code.block())
    }

    /// Where a class should take a run of `run` places of level 0 next, having
    /// taken last at `near`; `None` if nothing near is fit to say so.
    pub(crate) fn site(&self, class: Class, near: Granule, run: u32) -> Option<Site> {
        let search = Search {
            forest: &self.forest,
            homes: &self.homes,
            policy: &*self.placement,
            class,
            run,
            avoided: &|level, word| self.avoided(level, word),
        };
        search.site(near)
    }

    /// Whether a word of level 0 is in the region of `near`, and that is a home
    /// of the class.
    pub(crate) fn is_at_home(&self, class: Class, near: Granule, word: u64) -> bool {
        is_same_region(near, word) && self.homes.of(word) == Some(class)
    }

    /// A large block was just taken in a word of level 0: if that opened the
    /// region, small blocks are to stay out of it.
    pub(crate) fn note_large(&self, word: u64) {
        if regions::is_fresh_but_for(&self.forest, word) {
            self.homes.settle(word, Class::LARGE);
        }
    }

    /// Takes a block of `order` out of one of a level above `level`.
    pub(crate) fn take_above(
        &self,
        order: Order,
        level: u32,
        near: Granule,
    ) -> Result<Taken, OutOfMemory> {
        self.forest.take_above(order, level, near, self)
    }

    /// Bytes of tables of what is free.
    pub(crate) fn bytes(&self, holes: impl Iterator<Item = Granules> + Clone) -> usize {
        self.forest.bytes(holes) + self.homes.bytes()
    }
}
