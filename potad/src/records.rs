//! The records of failed granules: what stands behind the lock of `poison`.
//!
//! # What always holds
//!
//! The counts are those of the records: both change in [`Known::set`] alone. To
//! change the record of a key that is there takes no memory.

use crate::error::OutOfMemory;
use crate::poison_set::PoisonSet;
use crate::sorted::Sorted;
use alloc::vec::Vec;
use memdesc::{Block, Granule, Granules, Order};

/// Where a poisoned granule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Poisoned {
    /// Somebody may still use it; it is kept when it comes back.
    Pending,
    /// It is out of circulation for good.
    Quarantined,
    /// It was, when its span left the zone.
    Removed,
}

/// What is on record of a granule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) state: Poisoned,
    /// Of the block that is quarantined around it, for want of memory to break
    /// it.
    pub(crate) order: u8,
    /// Its outcome is owed. While it is pending, it was not proved to be known to
    /// its owner, and is to be looked for again; once it is quarantined there is
    /// nobody to be told, and the outcome only to be counted.
    pub(crate) delayed: bool,
    /// Pending, and a report of it is still on its way.
    pub(crate) looking: bool,
    /// Look-ups find a word that says so.
    pub(crate) shown: bool,
    /// It is in a block that is quarantined around another.
    pub(crate) inside: bool,
}

impl Record {
    /// Of a granule that is somebody's, and is to be kept.
    pub(crate) const PENDING: Self = Self {
        state: Poisoned::Pending,
        order: 0,
        delayed: false,
        looking: false,
        shown: false,
        inside: false,
    };

    pub(crate) fn is_hidden(self) -> bool {
        self.state == Poisoned::Quarantined && self.order == 0 && !self.shown
    }
}

#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) records: Sorted<Record>,
    pub(crate) lines: PoisonSet,
    /// Corrected errors per granule.
    pub(crate) corrected: Sorted<u32>,
    /// Some of the granules that are quarantined and not shown, if there are any.
    pub(crate) hidden: Vec<u64>,
    pub(crate) counts: PoisonCounts,
}

/// Granules to be shown that are remembered one by one.
pub(crate) const HIDDEN: usize = 256;

/// Granules on record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoisonCounts {
    pub(crate) pending: u64,
    pub(crate) quarantined: u64,
    /// Those that are quarantined with a block around a failed one.
    pub(crate) beside: u64,
    /// Of these, the ones that have failed, too.
    pub(crate) inside: u64,
    /// Those whose outcome is owed.
    pub(crate) delayed: u64,
    /// Of the quarantined ones, those without a word that says so.
    pub(crate) hidden: u64,
}

impl Known {
    pub(crate) fn in_range(&self, range: Granules) -> impl Iterator<Item = (u64, Record)> + '_ {
        let last = range.last().0;
        self.records.from(range.first().0).take_while(move |&(at, _)| at <= last)
    }

    /// A granule whose outcome is owed, from one on.
    pub(crate) fn owed(&self, from: u64, suits: impl Fn(Record) -> bool) -> Option<Granule> {
        if self.counts.delayed == 0 {
            return None;
        }
        let mut owed = self.records.from(from);
        owed.find(|&(_, record)| record.delayed && suits(record)).map(|(at, _)| Granule(at))
    }

    /// The blocks that are quarantined whole around a granule.
    pub(crate) fn whole(&self) -> impl Iterator<Item = Block> + '_ {
        let whole = self.records.from(0).filter(|(_, record)| record.order != 0);
        whole.map(|(at, record)| whole_of(at, record))
    }

    /// Quarantines a granule, and the block of an order around it.
    pub(crate) fn keep(&mut self, at: Granule, record: Record, order: u8) {
        let kept = Record { order, looking: false, state: Poisoned::Quarantined, ..record };
        // A key that is there: no memory is needed.
        let _there = self.set(at, Some(kept));
        if kept.is_hidden() && self.hidden.len() < self.hidden.capacity() {
            self.hidden.push(at.0);
        }
    }

    /// Changes a record, and the counts with it.
    pub(crate) fn set(&mut self, at: Granule, record: Option<Record>) -> Result<(), OutOfMemory> {
        let old = match record {
            Some(record) => self.records.insert(at.0, record)?,
            None => self.records.remove(at.0),
        };
        let counts = &mut self.counts;
        for (record, step) in [(old, u64::MAX), (record, 1)] {
            let Some(record) = record else { continue };
            let Record { state, order, delayed, .. } = record;
            let add = |count: &mut u64, by: u64| {
                *count = count.wrapping_add(by.wrapping_mul(step));
            };
            match state {
                Poisoned::Pending => add(&mut counts.pending, 1),
                Poisoned::Quarantined => add(&mut counts.quarantined, 1),
                Poisoned::Removed => {}
            }
            add(&mut counts.beside, (1 << order) - 1);
            add(&mut counts.inside, u64::from(record.inside));
            add(&mut counts.delayed, u64::from(delayed));
            add(&mut counts.hidden, u64::from(record.is_hidden()));
        }
        Ok(())
    }
}

/// The block that is quarantined around a granule.
pub(crate) fn whole_of(at: u64, record: Record) -> Block {
    let order = Order::new(u32::from(record.order)).unwrap_or(Order::ZERO);
    Block::containing(Granule(at), order)
}
