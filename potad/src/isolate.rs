//! The two calls that a reporter makes: isolate, and put back.
//!
//! This, the reported bits and one counter are all that the allocator knows of
//! free-page reporting.
//!
//! # What always holds
//!
//! An isolated block is an allocation by the owner *Reporting*: taken by the
//! compare-exchange that any allocation uses, inside a bracket, and in the tree
//! before that ends. What the host said of it is noted while it is still the
//! reporter's.
//!
//! # Cost
//!
//! One bracket for a batch. A block costs one RMW to take (more where a larger
//! one is broken for it), one to clear its word, one to give; those of a batch that
//! follow each other in 64 report granules share two RMWs, or three, for their
//! bits.

mod ask;
mod walk;

use crate::Zone;
use crate::error::Error;
use crate::hand::Slot;
use crate::handles::Isolated;
use crate::reported::Reported;
use crate::state::State;
use crate::stock::Stock;
use alloc::boxed::Box;
use memdesc::{Block, Granule, Immediate, Order, OwnerId, Subtype};
use smallvec::SmallVec;

/// Free blocks, or stretches of reported ones, that one call looks at, taken or
/// not.
const STEPS: usize = 256;

/// Blocks of one call that cost no heap.
const INLINE: usize = 32;

/// Which free blocks to isolate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Smaller free blocks stay where they are.
    pub min_order: Order,
    /// Larger ones are taken in pieces of this order.
    pub max_order: Order,
    /// Only what an earlier pass has seen free already; what has not been seen
    /// is marked so and left.
    pub seen_before: bool,
    /// Leaves what was reported too early last time: taken again before
    /// [`Zone::age_reports`] was called next.
    pub patient: bool,
    /// Leaves the first so many granules of what it would take: those that the
    /// next allocations get, which fill what lies low first.
    pub spare: u64,
}

/// What the host made of an isolated block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSays {
    /// Nothing: the block is as it was.
    Nothing,
    /// It took the memory back.
    Reported,
    /// It took the memory back, and it reads as zero from now on.
    Zeroed,
}

impl Zone {
    /// Gets ready for a reporter whose report granule is `order`: a block is
    /// reported in multiples of it. Costs one load per shared allocation from
    /// now on.
    pub fn attach_reporter(&self, order: Order) -> Result<(), Error> {
        let largest = self.largest_order();
        if order > largest {
            return Err(Error::NoReportGranule { order, largest });
        }
        let mut is_new = false;
        let last = self.state().last_granule().unwrap_or(Granule(0));
        self.state().stock.reported.get_or_install(|| {
            is_new = true;
            Some(Box::new(Reported::new(order, last)))
        });
        if !is_new {
            return Err(Error::ReporterAttached);
        }
        // A bracket that began before may still take without forgetting what
        // a reporter learns: once all have ended, none does.
        let state = self.state();
        state.gate.close().give_kept(&state.stock, |block| block.order() >= order);
        Ok(())
    }

    /// The report granule, once a reporter was attached.
    pub fn report_order(&self) -> Option<Order> {
        self.state().stock.reported.get().map(Reported::order)
    }

    /// Takes the next free, not reported block at or after granule `*cursor`,
    /// as an allocation of the owner *Reporting*, and moves the cursor past it.
    ///
    /// `None` with the cursor at [`Granule`]`(u64::MAX)` is the end of the
    /// pass; with another cursor the call did its share of work: call again.
    /// Bounded: looks at most at 256 free blocks. A call for a cursor at granule 0
    /// begins a pass: hands first give back the blocks of the report granule or larger
    /// that they keep (one rendezvous, if there are any).
    pub fn isolate(&self, cursor: &mut Granule, wanted: &Wanted) -> Option<Isolated> {
        let mut one = None;
        let out = &mut |isolated| one = Some(isolated);
        let _spared = self.isolate_many(cursor, wanted, 1, u64::MAX, out);
        one
    }

    /// As [`isolate`](Self::isolate), at most `blocks` blocks of at most
    /// `granules` granules together (the first may be larger), each given to
    /// `out`. Fewer need not be the end of the pass: the cursor says. Returns how
    /// many granules were spared: the next call of the pass has so many less to.
    ///
    /// ```
    /// # use potad::{HostSays, Potad, Resource, Wanted, memdesc::{Granule, Order}};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..64 << 20))?;
    /// ram.attach_reporter(Order::new(9)?)?;
    /// let order = Order::new(9)?;
    /// let wanted = Wanted { min_order: order, max_order: order, seen_before: false, patient: false, spare: 0 };
    /// let (mut cursor, mut blocks) = (Granule(0), Vec::new());
    /// ram.isolate_many(&mut cursor, &wanted, 8, u64::MAX, &mut |block| blocks.push(block));
    /// assert_eq!((blocks.len(), cursor), (8, Granule(8 * 512)));
    /// for block in blocks {
    ///     ram.put_back(block, HostSays::Reported).unwrap();
    /// }
    /// assert_eq!(ram.reported_granules(), 8 * 512);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn isolate_many(
        &self,
        cursor: &mut Granule,
        wanted: &Wanted,
        blocks: usize,
        granules: u64,
        out: &mut impl FnMut(Isolated),
    ) -> u64 {
        let state = self.state();
        if *cursor == Granule(0) {
            self.give_back_reportable();
        }
        let mut taken = SmallVec::<[Block; INLINE]>::new();
        taken.reserve(blocks.min(STEPS));
        let spared = state.with_slot(|_| {
            let room = blocks.min(STEPS);
            let spared = state.stock.isolate(cursor, wanted, room, granules, &mut taken);
            for &block in &taken {
                let word = Immediate::new(Subtype::Reporting, OwnerId::RESOURCE, block.order());
                // Out of memory for the node, lookup says nothing of it: a
                // failure inside then counts as one in a bare block.
                let _shown = state.tree.publish_immediate(block, word);
            }
            spared
        });
        // Outside the bracket: it is somebody else's code.
        taken.into_iter().for_each(|block| out(Isolated { block, zone: state.id }));
        spared
    }

    /// Gives an isolated block back, with what the host made of it. A block of
    /// another zone stays isolated and comes back as an error.
    pub fn put_back(
        &self,
        isolated: Isolated,
        says: HostSays,
    ) -> Result<(), crate::Refused<Isolated>> {
        if let Err(why) = self.check_zone(isolated.zone) {
            return Err(crate::Refused { given: isolated, why });
        }
        let state = self.state();
        state.with_slot(|slot| state.put_back(slot, isolated.block, says));
        Ok(())
    }

    /// As [`put_back`](Self::put_back) for many, in one bracket for each 32 of
    /// them; neighbours are noted at once. Blocks of another zone stay isolated;
    /// returns how many those were.
    pub fn put_back_many(&self, blocks: impl IntoIterator<Item = (Isolated, HostSays)>) -> usize {
        let (state, mut foreign) = (self.state(), 0);
        let mut blocks = blocks.into_iter().filter(|(isolated, _)| {
            let is_ours = self.check_zone(isolated.zone).is_ok();
            foreign += usize::from(!is_ours);
            is_ours
        });
        loop {
            // Gathered first: the iterator is somebody else's code.
            let batch: SmallVec<[_; INLINE]> = blocks.by_ref().take(INLINE).collect();
            if batch.is_empty() {
                break;
            }
            state.with_slot(|slot| state.put_back_all(slot, &batch));
        }
        drop(blocks);
        foreign
    }
}

impl State {
    /// Gives an isolated block back. The caller is inside the slot's bracket.
    fn put_back(&self, slot: &Slot, block: Block, says: HostSays) {
        let given = self.stock.put_back(block, says, |_| self.give_back(slot, block));
        debug_assert_eq!(given, Ok(()), "{block:?} was isolated");
    }

    /// As [`put_back`](Self::put_back) for each.
    fn put_back_all(&self, slot: &Slot, batch: &[(Isolated, HostSays)]) {
        let told = batch.iter().map(|(isolated, says)| (isolated.block, *says));
        self.stock.put_back_all(told, |block| {
            let given = self.give_back(slot, block);
            debug_assert_eq!(given, Ok(()), "{block:?} was isolated");
        });
    }

    /// Gives an isolated block back that was noted already.
    fn give_back(&self, slot: &Slot, block: Block) -> Result<(), Error> {
        let early = memdesc::seeded!("looked at the poison before the word was gone")
            .then(|| self.stock.is_suspect(block));
        // Absent only where memory for the node was out. First: a failure marks a word
        // that is there, and counts on our look.
        let _word = self.tree.clear_noted(block);
        let is_suspect = early.unwrap_or_else(|| self.stock.is_suspect(block));
        let is_blind = memdesc::seeded!("put back without a look at the closing ranges");
        match is_suspect && !is_blind {
            true => self.give(slot, block),
            false => self.stock.give_past(slot, block),
        }
    }
}

impl Stock {
    /// Notes what the host said of isolated blocks, which are the caller's still.
    fn note(&self, blocks: impl Iterator<Item = (Block, HostSays)> + Clone) {
        let Some(reported) = self.reported.get() else { return };
        let told = blocks.clone().filter(|(_, says)| *says != HostSays::Nothing);
        reported.mark_all(told.map(|(block, says)| (block, says == HostSays::Zeroed)));
        reported.note_put_back(blocks.map(|(block, _)| block.order().granules()).sum());
    }

    /// Notes what the host said of an isolated block and has `give` give it.
    ///
    /// The caller is inside a bracket.
    #[inline]
    pub(crate) fn put_back<R>(
        &self,
        block: Block,
        says: HostSays,
        give: impl FnOnce(&Self) -> R,
    ) -> R {
        let note = || self.note(core::iter::once((block, says)));
        if memdesc::seeded!("reported after it was given") {
            let given = give(self);
            note();
            return given;
        }
        // While the block is ours still: a taker finds the bits.
        note();
        give(self)
    }

    /// As [`put_back`](Self::put_back) for a batch: all of it is noted before any
    /// of it is given.
    pub(crate) fn put_back_all(
        &self,
        batch: impl Iterator<Item = (Block, HostSays)> + Clone,
        give: impl FnMut(Block),
    ) {
        let blocks = batch.clone().map(|(block, _)| block);
        if memdesc::seeded!("a batch noted after it was given") {
            blocks.for_each(give);
            return self.note(batch);
        }
        self.note(batch);
        blocks.for_each(give);
    }

    /// Gives a block past the hand: what a hand holds is handed out with no look
    /// at the bits.
    #[inline]
    pub(crate) fn give_past(&self, slot: &Slot, block: Block) -> Result<(), Error> {
        let is_warm = |level, word| {
            slot.is_warm(level, word) || memdesc::seeded!("put back and left unmerged")
        };
        let given = self.forest.give(block.place(), is_warm);
        given.map_err(|_| Error::DoubleFree { asked: block.granules() })
    }
}
