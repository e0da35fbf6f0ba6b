//! What a zone knows of its failed memory.
//!
//! # What always holds
//!
//! A granule that was ever reported is on record until the zone is gone (or it
//! is unpoisoned, which tests may ask for): *pending* while somebody owns it,
//! *quarantined* once it is nobody's, *removed* once its span has left the zone
//! (to be quarantined again should it come back). Where memory for tables was
//! out a whole block is quarantined around it: the record says of which order.
//! Beside the records are the exact lines that failed, for export.
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

use crate::error::OutOfMemory;
use crate::poison_set::{PoisonSet, PoisonedRange};
pub(crate) use crate::records::Poisoned;
use crate::records::{HIDDEN, Known, PoisonCounts, Record, whole_of};
use crate::resource::Span;
use crate::sorted::Sorted;
use alloc::vec::Vec;
use memdesc::sync::Mutex;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{Block, FailureKind, Granule, Granules, ORDERS_PER_LEVEL, Order, seeded};

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

/// What became of a granule that is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// It is quarantined now.
    Done,
    /// It was already.
    Twice,
    /// It is not on record (any more).
    Sound,
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

    /// A granule that is quarantined has its word.
    pub(crate) fn shown(&self, at: Granule) {
        let mut known = self.known.lock();
        if let Some(record) = known.records.get(at.0).copied().filter(|record| record.is_hidden()) {
            // A key that is there: no memory is needed.
            let _there = known.set(at, Some(Record { shown: true, ..record }));
        }
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

    /// A granule on record is nobody's any more, and neither is the block of
    /// `order` around it.
    pub(crate) fn keep(&self, at: Granule, order: Order) -> Keeping {
        let mut known = self.known.lock();
        let Some(&record) = known.records.get(at.0) else { return Keeping::Sound };
        let order = order.get() as u8;
        if record.state == Poisoned::Quarantined && record.order >= order {
            return Keeping::Twice;
        }
        known.keep(at, record, order);
        Keeping::Done
    }

    /// Keeps a granule on record that lies in a block that is quarantined whole
    /// around another; `false` if it does not.
    pub(crate) fn keep_beside(&self, at: Granule) -> bool {
        let mut known = self.known.lock();
        if known.counts.beside == 0 || !known.whole().any(|block| block.contains(at)) {
            return false;
        }
        match known.records.get(at.0).copied() {
            Some(record) if record.state == Poisoned::Pending => {
                known.keep(at, Record { inside: true, ..record }, 0);
            }
            Some(_) => {}
            None => return false,
        }
        true
    }

    /// A granule around which a block is quarantined whole.
    pub(crate) fn first_whole(&self) -> Option<Granule> {
        let known = self.known.lock();
        if known.counts.beside == 0 {
            return None;
        }
        let whole = known.records.from(0).find(|(_, record)| record.order != 0);
        whole.map(|(at, _)| Granule(at))
    }

    /// The block that is quarantined whole around a granule, if it still is: the
    /// caller's now, and all on record in it are pending.
    pub(crate) fn take_whole(&self, at: Granule) -> Option<Block> {
        let mut known = self.known.lock();
        let record = known.records.get(at.0).copied().filter(|record| record.order != 0)?;
        let block = whole_of(at.0, record);
        let mut from = block.base().0;
        loop {
            let next = known.records.from(from).next();
            let Some((at, _)) = next.filter(|&(at, _)| at <= block.last().0) else { break };
            // A key that is there: no memory is needed.
            let _there = known.set(Granule(at), Some(Record::PENDING));
            from = at + 1;
        }
        Some(block)
    }

    /// A granule that is quarantined, and that look-ups are to find so.
    pub(crate) fn take_hidden(&self) -> Option<Granule> {
        let mut known = self.known.lock();
        loop {
            let Some(at) = known.hidden.pop() else {
                let Known { records, hidden, counts, .. } = &mut *known;
                let room = hidden.capacity();
                if counts.hidden == 0 || room == 0 {
                    return None;
                }
                let all = records.from(0).filter(|(_, record)| record.is_hidden());
                hidden.extend(all.map(|(at, _)| at).take(room));
                continue;
            };
            match known.records.get(at).copied() {
                Some(record) if record.is_hidden() => {
                    // A key that is there: no memory is needed.
                    let _there = known.set(Granule(at), Some(Record { shown: true, ..record }));
                    return Some(Granule(at));
                }
                _ => {}
            }
        }
    }

    /// It could not be shown after all.
    pub(crate) fn hide(&self, at: Granule) {
        let mut known = self.known.lock();
        if let Some(record) = known.records.get(at.0).copied() {
            // A key that is there: no memory is needed.
            let _there = known.set(at, Some(Record { shown: false, ..record }));
        }
    }

    /// The blocks that are quarantined, single granules or whole, around granules
    /// of a range.
    pub(crate) fn kept_in(&self, range: Granules) -> Vec<Block> {
        let known = self.known.lock();
        let inside = known.in_range(range);
        let kept = inside.filter(|(_, record)| record.state == Poisoned::Quarantined);
        kept.map(|(at, record)| whole_of(at, record)).collect()
    }

    /// Whether some block that is quarantined whole around a granule is so.
    pub(crate) fn has_whole(&self, is_so: impl Fn(Block) -> bool) -> bool {
        let known = self.known.lock();
        known.counts.beside != 0 && known.whole().any(is_so)
    }

    /// Whether some granule of a block is quarantined.
    pub(crate) fn has_kept(&self, block: Block) -> bool {
        let known = self.known.lock();
        let mut inside = known.in_range(block.granules());
        inside.any(|(_, record)| record.state == Poisoned::Quarantined)
            || known.counts.beside != 0 && known.whole().any(|whole| whole.overlaps(block))
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

    /// How many granules of a range are quarantined. (No block that is
    /// quarantined whole lies across an end of it.)
    pub(crate) fn quarantined_in(&self, range: Granules) -> u64 {
        let known = self.known.lock();
        let kept = known.in_range(range).filter(|(_, at)| at.state == Poisoned::Quarantined);
        // Granules on record inside a block around another are counted with it. Both
        // come in address order, so no list is needed.
        let whole = (known.counts.beside != 0).then(|| known.whole());
        let mut whole = whole.into_iter().flatten().peekable();
        let single = kept.filter(|&(at, record)| {
            while whole.next_if(|block| block.last().0 < at).is_some() {}
            let is_inside = whole.peek().is_some_and(|block| block.contains(Granule(at)));
            record.order != 0 || !is_inside
        });
        single.map(|(_, record)| 1 << record.order).sum()
    }

    /// A quarantined granule has left the zone with its span.
    pub(crate) fn remove(&self, at: Granule) {
        let mut known = self.known.lock();
        let removed = Record { state: Poisoned::Removed, ..Record::PENDING };
        // A key that is there: no memory is needed.
        let _there = known.set(at, Some(removed));
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
mod tests {
    use super::*;

    const HERE: Span = Span { first: 77 * 4096, last: 77 * 4096 + 63 };

    #[test]
    fn a_granule_is_new_once_and_suspect_for_ever() {
        let poison = Poison::new(4096);
        poison.refill(0).unwrap();
        let block = Block::containing(Granule(77), Order::ZERO);
        assert!(!poison.is_suspect(block));
        let first = poison.note(Granule(77), HERE, FailureKind::Found).unwrap();
        assert_eq!(first, Noted { look: true, first: true, tell: true, units: 64 });
        let amid = poison.note(Granule(77), HERE, FailureKind::Found).unwrap();
        assert_eq!(amid, Noted { look: true, first: false, tell: false, units: 0 });
        poison.set_delayed(Granule(77), false);
        let again = poison.note(Granule(77), HERE, FailureKind::Found).unwrap();
        assert_eq!(again, Noted { look: false, first: false, tell: false, units: 0 });
        assert!(poison.is_suspect(block));
        for order in 0..=40 {
            let around = Block::containing(Granule(77), Order::new(order).unwrap());
            assert!(poison.is_suspect(around), "order {order}");
            assert_eq!(poison.first_in(around.granules()), Some(Granule(77)));
        }
        assert_eq!(poison.keep(Granule(77), Order::ZERO), Keeping::Done);
        assert_eq!(poison.keep(Granule(77), Order::ZERO), Keeping::Twice);
        assert_eq!(poison.keep(Granule(78), Order::ZERO), Keeping::Sound);
        let counts = PoisonCounts { quarantined: 1, hidden: 1, ..Default::default() };
        assert_eq!(poison.counts(), counts);
        assert_eq!(poison.take_hidden(), Some(Granule(77)));
        assert_eq!((poison.take_hidden(), poison.counts().hidden), (None, 0));
        assert_eq!(poison.get(Granule(77)), Some(Poisoned::Quarantined));
        assert_eq!(poison.get(Granule(78)), None);
        // Who reports it again takes over what is owed; the next waits for that.
        poison.note(Granule(76), HERE, FailureKind::Found).unwrap();
        poison.set_delayed(Granule(76), true);
        for tell in [true, false] {
            let again = poison.note(Granule(76), HERE, FailureKind::Found).unwrap();
            assert_eq!(again, Noted { look: true, first: false, tell, units: 0 });
        }
        // Kept while it is looked for: that is all there is to know.
        assert!(poison.note(Granule(79), HERE, FailureKind::Found).unwrap().look);
        assert_eq!(poison.keep(Granule(79), Order::ZERO), Keeping::Done);
        assert!(!poison.note(Granule(79), HERE, FailureKind::Found).unwrap().look);
    }

    #[test]
    fn what_is_kept_beside_is_counted_and_taken_back() {
        let poison = Poison::new(4096);
        poison.note(Granule(77), HERE, FailureKind::Found).unwrap();
        let order = Order::new(6).unwrap();
        assert_eq!(poison.keep(Granule(77), order), Keeping::Done);
        assert_eq!(poison.counts().beside, 63);
        for at in [63, 64] {
            poison.note(Granule(at), HERE, FailureKind::Found).unwrap();
        }
        assert!(poison.keep_beside(Granule(64)) && !poison.keep_beside(Granule(63)));
        assert!(poison.keep_beside(Granule(77)) && poison.keep_beside(Granule(64)), "they are");
        assert_eq!(poison.counts().beside, 63);
        let all = Block::containing(Granule(77), Order::new(20).unwrap()).granules();
        assert_eq!(poison.quarantined_in(all), 64);
        let block = Block::containing(Granule(77), order);
        assert_eq!(poison.first_whole(), Some(Granule(77)));
        assert_eq!(poison.take_whole(Granule(77)), Some(block));
        assert_eq!(poison.counts(), PoisonCounts { pending: 3, ..Default::default() });
        assert_eq!(poison.take_whole(Granule(77)), None);
    }

    #[test]
    fn only_what_was_injected_is_unpoisoned() {
        let poison = Poison::new(4096);
        let units = |at: Granule| Span { first: at.0 * 4096, last: at.0 * 4096 + 4095 };
        for (at, kind) in [(3, FailureKind::Injected), (4, FailureKind::Found)] {
            poison.note(Granule(at), units(Granule(at)), kind).unwrap();
        }
        let range = |first, last| Granules::new(Granule(first), Granule(last)).unwrap();
        let refused = poison.unpoison(range(0, 9), units).unwrap_err();
        assert_eq!(refused.span, units(Granule(4)));
        assert_eq!(poison.counts().pending, 2);
        assert_eq!(poison.unpoison(range(0, 3), units), Ok((1, Vec::new())));
        assert_eq!((poison.counts().pending, poison.lines().units()), (1, 4096));
    }
}
