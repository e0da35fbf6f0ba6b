//! What a zone knows of its failed memory.
//!
//! # What always holds
//!
//! A granule that was ever reported is on record until the zone is gone (or it
//! is unpoisoned, which tests may ask for): *pending* while somebody owns it,
//! *quarantined* once it is nobody's, *removed* once its span has left the zone
//! (to be quarantined again should it come back). Beside the records are the exact
//! lines that failed, for export.
//!
//! The filter has the bit of every granule on record, so a block whose bit is
//! clear holds no poisoned granule. While a range is closing, every bit of the
//! filter is set: a free then looks there too.
//!
//! # Sharing and cost
//!
//! The records are behind a lock that nothing else is taken under; the filter is
//! one word that everybody reads. While nothing has failed a free pays one load
//! of a line that nobody writes. A new record allocates nothing while spare
//! memory is left, which is filled up in quiet times.
//!
//! The filter's words are stored with Release and read with Acquire, so that who
//! sees a bit finds the record. No model misses either: the records are behind
//! the lock, the gate orders one bracket after another, and within one nothing
//! but the bit is read.

mod quarantine;

use crate::error::OutOfMemory;
use crate::poison_set::{PoisonSet, PoisonedRange};
pub(crate) use crate::records::Poisoned;
use crate::records::{HIDDEN, Known, PoisonCounts, Record, whole_of};
use crate::resource::Span;
use crate::sorted::Sorted;
use alloc::vec::Vec;
use memdesc::sync::Mutex;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{Block, FailureKind, Granule, Granules, ORDERS_PER_LEVEL, seeded};
pub(crate) use quarantine::Keeping;

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Whether the granule has to be looked for: it was not on record, was not
    /// found last time, or another report of it is on its way, and a report
    /// returns only on proof.
    pub(crate) look: bool,
    /// Whether it was not on record.
    pub(crate) first: bool,
    /// Whether whoever it belongs to has to be told: by one report.
    pub(crate) tell: bool,
    /// Units that had not failed before.
    pub(crate) units: u64,
}

/// The failed memory of a zone.
#[derive(Debug)]
pub(crate) struct Poison {
    /// What everybody reads: that of the granules, or all ones.
    filter: AtomicU64,
    /// The filter of the granules alone.
    poisoned: AtomicU64,
    known: Mutex<Known>,
}

impl Poison {
    /// Nothing failed, in a resource of such granules.
    pub(crate) fn new(granule: u64) -> Self {
        let known = Known {
            records: Sorted::default(),
            lines: PoisonSet::for_granule(granule),
            corrected: Sorted::default(),
            hidden: Vec::new(),
            counts: PoisonCounts::default(),
        };
        Self { filter: AtomicU64::new(0), poisoned: AtomicU64::new(0), known: Mutex::new(known) }
    }

    /// Notes that units of a granule have failed. Without memory nothing is
    /// changed.
    pub(crate) fn note(
        &self,
        at: Granule,
        units: Span,
        kind: FailureKind,
    ) -> Result<Noted, OutOfMemory> {
        let mut known = self.known.lock();
        if !known.records.has_room(1) {
            known.records.refill(0)?;
        }
        let units = known.lines.add(units, kind)?;
        match known.records.get(at.0).copied() {
            Some(record) if !seeded!("noted without a test") => {
                let Record { delayed: tell, looking, .. } = record;
                if tell {
                    // A key that is there: no memory is needed.
                    let _there =
                        known.set(at, Some(Record { delayed: false, looking: true, ..record }));
                }
                let trusts = seeded!("a later report trusts the first");
                let look = tell || looking && !trusts;
                return Ok(Noted { look, first: false, tell, units });
            }
            Some(_) => return Ok(Noted { look: true, first: true, tell: true, units }),
            None => {}
        }
        // Before the record, under its lock: whoever finds the record finds the
        // bit. Release pairs with the Acquire in `is_suspect`.
        self.poisoned.fetch_or(filter_bit(at), Ordering::Release);
        self.filter.fetch_or(filter_bit(at), Ordering::Release);
        known.set(at, Some(Record { looking: true, ..Record::PENDING }))?;
        Ok(Noted { look: true, first: true, tell: true, units })
    }

    /// A granule that was looked for was found, or its outcome is owed for the time
    /// being.
    pub(crate) fn set_delayed(&self, at: Granule, delayed: bool) {
        let mut known = self.known.lock();
        if let Some(&record) = known.records.get(at.0) {
            // A key that is there: no memory is needed.
            let _there = known.set(at, Some(Record { delayed, looking: false, ..record }));
        }
    }

    /// The first granule from one on whose outcome is owed: the caller looks for
    /// it again, and says what it found by [`set_delayed`](Self::set_delayed).
    pub(crate) fn take_delayed(&self, from: Granule) -> Option<Granule> {
        let mut known = self.known.lock();
        let at = known.owed(from.0, |_| true)?;
        let record = known.records.get(at.0).copied()?;
        // A key that is there: no memory is needed.
        let _there = known.set(at, Some(Record { delayed: false, looking: true, ..record }));
        Some(at)
    }

    /// Settles what was delayed and is out of circulation by now: its teardown
    /// came to an end. Returns the granule, whose outcome the caller counts.
    pub(crate) fn settle_delayed(&self) -> Option<Granule> {
        let mut known = self.known.lock();
        let at = known.owed(0, |record| record.state == Poisoned::Quarantined)?;
        let record = known.records.get(at.0).copied()?;
        // A key that is there: no memory is needed.
        let _there = known.set(at, Some(Record { delayed: false, ..record }));
        Some(at)
    }

    /// Whether any block at all is suspect.
    #[inline(always)]
    pub(crate) fn is_any_suspect(&self) -> bool {
        // Acquire: as in `is_suspect`.
        self.filter.load(Ordering::Acquire) != 0
    }

    /// Whether some granule of the block may be on record, or in a closing
    /// range.
    #[cold]
    pub(crate) fn is_suspect(&self, block: Block) -> bool {
        if seeded!("given without looking at the poison") {
            return false;
        }
        passes(self.filter.load(Ordering::Acquire), block)
    }

    /// The first granule of the block that is on record.
    pub(crate) fn first_of(&self, block: Block) -> Option<Granule> {
        // Acquire: as in `is_suspect`.
        if !passes(self.poisoned.load(Ordering::Acquire), block) {
            return None;
        }
        self.first_in(block.granules())
    }

    /// Makes every block suspect. Called while every hand is closed, which
    /// orders it before every bracket that follows.
    pub(crate) fn suspect_all(&self) {
        let _known = self.known.lock();
        self.filter.store(u64::MAX, Ordering::Release);
    }

    /// Makes only those blocks suspect that may hold a granule on record.
    pub(crate) fn suspect_poisoned(&self) {
        // Under the lock, so that no insert falls between the two.
        let _known = self.known.lock();
        self.filter.store(self.poisoned.load(Ordering::Relaxed), Ordering::Release);
    }

    /// The first poisoned granule of a range.
    pub(crate) fn first_in(&self, range: Granules) -> Option<Granule> {
        let known = self.known.lock();
        let (at, _) = known.records.from(range.first().0).next()?;
        (at <= range.last().0).then_some(Granule(at))
    }

    /// Where a granule is, if it is on record.
    pub(crate) fn get(&self, at: Granule) -> Option<Poisoned> {
        self.known.lock().records.get(at.0).map(|record| record.state)
    }

    /// Counts of the granules on record.
    pub(crate) fn counts(&self) -> PoisonCounts {
        self.known.lock().counts
    }

    /// The granules on record in a range, in address order.
    pub(crate) fn in_range(&self, range: Granules) -> Vec<(Granule, Poisoned)> {
        let known = self.known.lock();
        known.in_range(range).map(|(at, record)| (Granule(at), record.state)).collect()
    }

    /// The granules on record, in address order.
    pub(crate) fn granules(&self) -> Vec<(Granule, Poisoned)> {
        let known = self.known.lock();
        known.records.from(0).map(|(at, record)| (Granule(at), record.state)).collect()
    }

    /// The lines that failed.
    pub(crate) fn lines(&self) -> PoisonSet {
        self.known.lock().lines.clone()
    }

    /// The first line that failed within some units.
    pub(crate) fn first_line_in(&self, units: Span) -> Option<PoisonedRange> {
        self.known.lock().lines.first_in(units)
    }

    /// Gets ready for so many reports.
    pub(crate) fn refill(&self, reports: usize) -> Result<(), OutOfMemory> {
        let mut known = self.known.lock();
        known.records.refill(reports)?;
        known.lines.refill(reports)?;
        let more = HIDDEN.saturating_sub(known.hidden.len());
        known.hidden.try_reserve(more).map_err(|_| OutOfMemory)?;
        known.corrected.refill(0)
    }

    /// Whether the next reports need no memory.
    pub(crate) fn is_ready(&self) -> bool {
        let known = self.known.lock();
        known.records.is_ready() && known.lines.is_ready() && known.corrected.is_ready()
    }

    /// Takes granules off the record all of whose failures were injected, with
    /// their units; returns those that are the caller's now, as blocks. Refuses,
    /// and names the range, if one of them failed in earnest.
    pub(crate) fn unpoison(
        &self,
        range: Granules,
        units: impl Fn(Granule) -> Span,
    ) -> Result<(u64, Vec<Block>), PoisonedRange> {
        let mut known = self.known.lock();
        let there: Vec<(u64, Record)> = known.in_range(range).collect();
        for &(at, _) in &there {
            let mut lines = known.lines.overlapping(units(Granule(at)));
            if let Some(real) = lines.find(|line| line.kind != FailureKind::Injected) {
                return Err(real);
            }
        }
        let mut free = Vec::new();
        for &(at, record) in &there {
            known.lines.remove(units(Granule(at)));
            let _gone = known.set(Granule(at), None);
            if record.state == Poisoned::Quarantined {
                free.push(whole_of(at, record));
            }
        }
        Ok((there.len() as u64, free))
    }

    /// Counts a corrected error; returns those of the granule so far.
    pub(crate) fn correct(&self, at: Granule) -> Result<u32, OutOfMemory> {
        let mut known = self.known.lock();
        if let Some(count) = known.corrected.get_mut(at.0) {
            *count = count.saturating_add(1);
            return Ok(*count);
        }
        known.corrected.insert(at.0, 1)?;
        Ok(1)
    }

    /// The granules with corrected errors that are not on record, and how many.
    pub(crate) fn corrected(&self) -> Vec<(Granule, u32)> {
        let known = self.known.lock();
        let sound = known.corrected.from(0).filter(|&(at, _)| known.records.get(at).is_none());
        sound.map(|(at, count)| (Granule(at), count)).collect()
    }
}

/// Whether a filter leaves it open that it has the block.
#[inline]
fn passes(filter: u64, block: Block) -> bool {
    filter != 0
        && (block.order().get() > ORDERS_PER_LEVEL || filter & filter_bit(block.base()) != 0)
}

/// The filter bit of the 64 granules around `at`.
fn filter_bit(at: Granule) -> u64 {
    // Fibonacci hashing: neighbouring words get distant bits.
    let hash = (at.0 >> ORDERS_PER_LEVEL).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    1 << (hash >> 58)
}

#[cfg(all(test, not(loom)))]
mod tests;
