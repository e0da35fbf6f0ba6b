//! Hot-remove: taking a span out of a zone that is in use.
//!
//! # How
//!
//! ```text
//!  hot_remove  window by window: every hand closed and flushed, what is free of
//!              the next part is claimed, and that part is closing from here on
//!     |        frees into it are kept, nobody allocates from it
//!     |  holders  who has the rest, by name
//!     v
//!  finish      all claimed or quarantined: the span leaves; else refused
//!  cancel      everything claimed goes back; so does dropping the handle
//! ```
//!
//! # What always holds
//!
//! - A granule that has left is in no span, in no forest and in no hand: every
//!   one of them was counted as claimed or quarantined while the hands were
//!   closed, and what is claimed is out of everybody's reach.
//! - Until it has left, the span is the zone's: look-ups, failure reports and
//!   frees work as ever, and a cancelled removal leaves it as it was. (Only
//!   what a reporter knew of the free memory is forgotten.)
//! - Quarantined granules count as removed. They stay in the poison set and are
//!   quarantined again if they ever come back.
//!
//! # Cost
//!
//! One rendezvous per window. To begin, a window is at most 256 words of the
//! forest, whatever they hold. Between windows others run, and may allocate what is
//! not closing yet. Nothing while no span is closing; while one is, frees skip the hot
//! path.
//!
//! The forest's tables stay bound to their addresses, so that late readers need
//! no pin; but their memory, and that of lookup's nodes, goes to the system, and
//! a span that comes back takes it again. Cycles add nothing.

mod holders;

use crate::Zone;
use crate::closing::Removing;
use crate::error::{Error, Refused};
use crate::poison::Poisoned;
use crate::resource::{IntoSpan, Span};
use crate::shed::give_tables_back;
use crate::state::State;
use alloc::vec::Vec;
use core::fmt;
pub use holders::Holder;
use memdesc::sync::{TryArc, thread};
use memdesc::{Block, Granule, Granules, Order};

/// Blocks that a cancelled removal gives back per bracket.
const BATCH: usize = 64;

/// Nodes of lookup, each with those below it, that are looked at per window.
const NODES: u32 = 16;

impl Zone {
    /// Begins to take a span out of the zone: claims what is free of it, and
    /// keeps what is freed into it. Once this has returned nobody allocates from
    /// the span; while it runs, others are stopped for a few words at a time.
    ///
    /// Refused for a span that is not wholly the zone's, or that shares units
    /// with one that is being removed already; and when memory for tables is out,
    /// with all as it was.
    ///
    /// ```
    /// use potad::{Error, Potad, Resource, memdesc::Order};
    ///
    /// let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..64 << 20))?;
    /// let page = ram.alloc_bare(Order::ZERO)?;
    /// let there = ram.address_of(page.base());
    /// let upper_half = there & !((32 << 20) - 1);
    ///
    /// let removal = ram.hot_remove(upper_half..upper_half + (32 << 20))?;
    /// assert_eq!(removal.remaining_granules(), 1);
    /// assert_eq!(removal.holders()[0].kind, "bare");
    /// let refused = removal.finish().unwrap_err();
    /// assert_eq!(refused.why, Error::StillHeld { granules: 1 });
    ///
    /// ram.free_bare(page)?;
    /// refused.given.finish()?;
    /// assert_eq!(ram.granules(), 8192);
    /// ram.hot_add(upper_half..upper_half + (32 << 20))?;
    /// assert_eq!(ram.stats().free, 16384);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hot_remove(&self, span: impl IntoSpan) -> Result<Removal, Error> {
        let state = self.state();
        let range = state.units.granules(span.into_span()?)?;
        let removing = state.begin_removal(range)?;
        Ok(Removal { zone: self.clone(), removing, ended: false })
    }
}

/// A span on its way out of a zone.
///
/// Dropped without [`finish`](Self::finish), it is cancelled.
#[must_use = "dropping it cancels the removal"]
pub struct Removal {
    zone: Zone,
    removing: TryArc<Removing>,
    /// Nothing is left to cancel.
    ended: bool,
}

impl Removal {
    /// The zone that the span is leaving.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The span, in units.
    pub fn span(&self) -> Span {
        let (units, range) = (self.zone.state().units, self.removing.range);
        Span { first: units.unit(range.first()), last: units.last_unit(range.last()) }
    }

    /// Granules that are still held: neither claimed nor quarantined. Looks at
    /// two counts, and stops nobody.
    pub fn remaining_granules(&self) -> u64 {
        self.zone.state().remaining(&self.removing)
    }

    /// Counts again with every hand closed, so exact for a moment of the call;
    /// returns how many granules remain. What is freed is claimed at once, so
    /// there is nothing else to sweep up.
    pub fn sweep(&self) -> u64 {
        let state = self.zone.state();
        let _closed = state.gate.close();
        state.remaining(&self.removing)
    }

    /// Who holds what remains, in address order. Each entry held for a moment of
    /// the call; a long list is made in parts, between which others run.
    pub fn holders(&self) -> Vec<Holder> {
        self.zone.state().holders(&self.removing)
    }

    /// Waits until nothing is held, or until `again`, asked with what remains,
    /// says no; returns whether nothing is held.
    ///
    /// ```
    /// # use potad::{Potad, Resource, memdesc::Order};
    /// # let potad = Potad::new();
    /// # let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 20))?;
    /// let page = ram.alloc_bare(Order::ZERO)?;
    /// let removal = ram.hot_remove(0..1 << 20)?;
    /// let mut polls = 0;
    /// let gone = removal.wait(|remaining| {
    ///     polls += 1;
    ///     remaining == 1 && polls < 100
    /// });
    /// assert!(!gone && polls == 100);
    /// removal.cancel();
    /// ram.free_bare(page)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait(&self, mut again: impl FnMut(u64) -> bool) -> bool {
        loop {
            let remaining = self.remaining_granules();
            if remaining == 0 || !again(remaining) {
                return self.sweep() == 0;
            }
            thread::yield_now();
        }
    }

    /// As [`wait`](Self::wait), for at most so long; sleeps between looks.
    #[cfg(all(feature = "std", not(loom)))]
    pub fn wait_for(&self, time: core::time::Duration) -> bool {
        let started = std::time::Instant::now();
        let mut pause = core::time::Duration::from_micros(50);
        self.wait(|_| {
            let left = time.saturating_sub(started.elapsed());
            std::thread::sleep(pause.min(left));
            pause = (2 * pause).min(core::time::Duration::from_millis(1));
            !left.is_zero()
        })
    }

    /// Takes the span out of the zone: from now on no look-up finds it, no
    /// allocation returns it, and it may be added again. Refused with
    /// [`Error::StillHeld`], and the removal as it was, while any granule is
    /// held.
    pub fn finish(mut self) -> Result<(), Refused<Self>> {
        match self.zone.state().finish_removal(&self.removing) {
            Ok(()) => {
                self.ended = true;
                Ok(())
            }
            Err(granules) => Err(Refused { given: self, why: Error::StillHeld { granules } }),
        }
    }

    /// Gives everything claimed back: the span is the zone's as before.
    pub fn cancel(self) {
        drop(self);
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        if !self.ended {
            self.zone.state().cancel_removal(&self.removing);
        }
    }
}

impl fmt::Debug for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Removal")
            .field("zone", &self.zone)
            .field("granules", &self.removing.range)
            .field("claimed", &self.removing.claimed_granules())
            .finish()
    }
}

impl State {
    fn begin_removal(&self, range: Granules) -> Result<TryArc<Removing>, Error> {
        self.mend();
        let mut closed = self.gate.close();
        self.check_spanned(range)?;
        if let Some(there) = self.closing.overlapping(range)
            && !memdesc::seeded!("removed twice at once")
        {
            return Err(Error::Removing {
                first: self.units.unit(range.first()),
                last: self.units.last_unit(range.last()),
                with_first: self.units.unit(there.first()),
                with_last: self.units.last_unit(there.last()),
            });
        }
        // Its sound part outside would stay with the failed one.
        let is_cut =
            |whole: Block| whole.granules().overlaps(range) && !range.covers(whole.granules());
        if self.stock.poison.has_whole(is_cut) {
            return Err(Error::OutOfMemory);
        }
        // A block across an end of the range comes back in parts: they live in
        // words that hold a granule at that end.
        self.ensure_carve(range.first())?;
        self.ensure_carve(range.last())?;
        let removing = self.closing.begin(&self.stock, &closed, range)?;
        loop {
            match self.closing.advance(&self.stock, &closed, &removing) {
                Ok(true) => break,
                Ok(false) => {}
                Err(why) => {
                    drop(closed);
                    self.cancel_removal(&removing);
                    return Err(why.into());
                }
            }
            drop(closed);
            // Whoever waited goes first.
            thread::yield_now();
            closed = self.gate.close();
        }
        drop(closed);
        // For what fails in what is claimed now.
        self.due();
        self.mend();
        Ok(removing)
    }

    /// Refuses a range that no span covers; names the first unit outside.
    fn check_spanned(&self, range: Granules) -> Result<(), Error> {
        let spans = self.spans.lock();
        if spans.covers(range) {
            return Ok(());
        }
        let around = spans.iter().find(|span| span.contains(range.first()));
        let outside = around.map_or(range.first(), |span| Granule(span.last().0 + 1));
        Err(Error::Outside { address: self.units.unit(outside) })
    }

    fn remaining(&self, removing: &Removing) -> u64 {
        let quarantined = self.stock.poison.quarantined_in(removing.range);
        removing.range.count() - (removing.claimed_granules() + quarantined)
    }

    fn finish_removal(&self, removing: &Removing) -> Result<(), u64> {
        let range = removing.range;
        let mut closed = self.gate.close();
        let remaining = self.remaining(removing);
        if remaining != 0 {
            return Err(remaining);
        }
        // All of it is ours: nobody frees into it or allocates from it, and what
        // fails is carved out of what is claimed.
        self.forget_quarantined(range);
        let mut from = range.first();
        while let Some(next) = self.tree.prune(range, from, NODES) {
            from = next;
            drop(closed);
            thread::yield_now();
            closed = self.gate.close();
        }
        self.forget_quarantined(range);
        let mut spans = self.spans.lock();
        spans.remove(range);
        self.note_largest(&spans);
        drop(spans);
        self.closing.end(&self.stock, removing);
        drop(closed);
        give_tables_back(&self.spans, &self.stock.forest, range);
        self.tree.settle();
        Ok(())
    }

    /// Takes the words of quarantined granules out; the set remembers them.
    fn forget_quarantined(&self, range: Granules) {
        for (at, poisoned) in self.stock.poison.in_range(range) {
            if poisoned == Poisoned::Quarantined {
                // Absent only where memory for the node was out.
                let _word = self.tree.clear_immediate(Block::containing(at, Order::ZERO));
                self.stock.poison.remove(at);
            }
        }
    }

    /// Takes those of `ranges` that are wholly free out of the zone at once,
    /// until `enough` of their granules are out; adds them to `out`, which has room
    /// for them. One rendezvous for all.
    pub(crate) fn withdraw(
        &self,
        ranges: impl Iterator<Item = Granules>,
        enough: u64,
        out: &mut Vec<Granules>,
    ) {
        let mut granules = 0;
        let _closed = self.close_and_flush();
        for range in ranges {
            if granules >= enough {
                break;
            }
            let is_free = range.cover().all(|block| self.stock.forest.is_free(block));
            let is_leaving = self.closing.overlapping(range).is_some();
            if is_leaving || !is_free || self.take_range(range).is_err() {
                continue;
            }
            let mut spans = self.spans.lock();
            spans.remove(range);
            self.note_largest(&spans);
            granules += range.count();
            out.push(range);
        }
    }

    fn cancel_removal(&self, removing: &Removing) {
        // Nobody adds to it or carves from it once it is off the list.
        let mut claimed = self.closing.cancel(&self.stock, removing).peekable();
        while claimed.peek().is_some() {
            // It may be memory that ran out: a slot of this thread would ask for some.
            self.with_shared_slot(|slot| {
                for block in claimed.by_ref().take(BATCH) {
                    let given = self.give(slot, block);
                    debug_assert_eq!(given, Ok(()), "{block:?} was claimed");
                }
            });
        }
    }
}
