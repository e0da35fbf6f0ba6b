//! Quarantine: what of the failed memory is nobody's, and is kept.
//!
//! # What always holds
//!
//! - A granule is kept alone. Where memory for tables was out a whole block is
//!   quarantined around it: the record says of which order. Others on record in there
//!   are *inside* it, and not counted again. What breaks the block up takes it first.
//! - A granule that is kept alone is *hidden* until look-ups find a word that says so,
//!   for which memory may be out. Some of these are remembered one by one, all are
//!   counted: who finds nothing remembered searches the records.
//!
//! # Cost
//!
//! A search of the records for a granule; all of them for a block, where one is
//! quarantined whole.

use super::Poison;
use crate::records::{Known, Poisoned, Record, whole_of};
use alloc::vec::Vec;
use memdesc::{Block, Granule, Granules, Order};

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

impl Poison {
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

    /// A granule that is quarantined has its word.
    pub(crate) fn shown(&self, at: Granule) {
        let mut known = self.known.lock();
        if let Some(record) = known.records.get(at.0).copied().filter(|record| record.is_hidden()) {
            // A key that is there: no memory is needed.
            let _there = known.set(at, Some(Record { shown: true, ..record }));
        }
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
}
