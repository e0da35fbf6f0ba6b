//! Which granules have failed.
//!
//! # What always holds
//!
//! A granule that was ever reported is in the set until the zone is gone:
//! *pending* while somebody owns it, *quarantined* once it is nobody's,
//! *removed* once its span has left the zone (to be quarantined again should it
//! come back). The filter has the bit of every granule in the set, so a block
//! whose bit is clear holds no poisoned granule. While a range is closing,
//! every bit of the filter is set: a free then looks there too.
//!
//! # Sharing and cost
//!
//! The set is behind a lock that nothing else is taken under; the filter is one
//! word that everybody reads. While nothing has failed a free pays one load of
//! a line that nobody writes.

use alloc::collections::BTreeMap;
use memdesc::sync::Mutex;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{Block, Granule, Granules, ORDERS_PER_LEVEL};

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

/// The poisoned granules of a zone.
#[derive(Debug, Default)]
pub(crate) struct PoisonSet {
    /// What everybody reads: that of the granules, or all ones.
    filter: AtomicU64,
    /// The filter of the granules alone.
    poisoned: AtomicU64,
    granules: Mutex<BTreeMap<u64, Poisoned>>,
}

impl PoisonSet {
    /// Inserts a granule; returns whether it is new.
    pub(crate) fn insert(&self, at: Granule) -> bool {
        let mut granules = self.granules.lock();
        // Before the map, under its lock: whoever finds the granule in the map
        // finds the bit. Release pairs with the Acquire in `is_suspect`.
        self.poisoned.fetch_or(filter_bit(at), memdesc::weakened!("poison noted relaxed", Release));
        self.filter
            .fetch_or(filter_bit(at), memdesc::weakened!("suspicion noted relaxed", Release));
        let mut is_new = false;
        granules.entry(at.0).or_insert_with(|| {
            is_new = true;
            Poisoned::Pending
        });
        is_new
    }

    /// Whether any block at all is suspect.
    #[inline(always)]
    pub(crate) fn is_any_suspect(&self) -> bool {
        // Acquire: as in `is_suspect`.
        self.filter.load(memdesc::weakened!("any suspicion seen relaxed", Acquire)) != 0
    }

    /// Whether some granule of the block may be in the set, or in a closing
    /// range.
    #[cold]
    pub(crate) fn is_suspect(&self, block: Block) -> bool {
        passes(self.filter.load(memdesc::weakened!("suspicion seen relaxed", Acquire)), block)
    }

    /// Whether some granule of the block is in the set.
    pub(crate) fn is_poisoned(&self, block: Block) -> bool {
        // Acquire: as in `is_suspect`.
        passes(self.poisoned.load(memdesc::weakened!("poison seen relaxed", Acquire)), block)
            && self.first_in(block.granules()).is_some()
    }

    /// Makes every block suspect. Called while every hand is closed, which
    /// orders it before every bracket that follows.
    pub(crate) fn suspect_all(&self) {
        let _granules = self.granules.lock();
        self.filter.store(u64::MAX, memdesc::weakened!("all suspected relaxed", Release));
    }

    /// Makes only those blocks suspect that may hold a granule of the set.
    pub(crate) fn suspect_poisoned(&self) {
        // Under the lock, so that no insert falls between the two.
        let _granules = self.granules.lock();
        self.filter.store(
            self.poisoned.load(Ordering::Relaxed),
            memdesc::weakened!("suspicion ends relaxed", Release),
        );
    }

    /// The first poisoned granule of a range.
    pub(crate) fn first_in(&self, range: Granules) -> Option<Granule> {
        let granules = self.granules.lock();
        granules.range(range.first().0..=range.last().0).next().map(|(&at, _)| Granule(at))
    }

    /// Where a granule is, if it is in the set.
    pub(crate) fn get(&self, at: Granule) -> Option<Poisoned> {
        self.granules.lock().get(&at.0).copied()
    }

    /// A granule of the set is nobody's any more.
    pub(crate) fn quarantine(&self, at: Granule) {
        self.granules.lock().insert(at.0, Poisoned::Quarantined);
    }

    /// Granules of the set that are pending, and that are quarantined.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let granules = self.granules.lock();
        let count = |state| granules.values().filter(|&&at| at == state).count() as u64;
        (count(Poisoned::Pending), count(Poisoned::Quarantined))
    }

    /// The granules of the set in a range, in address order.
    pub(crate) fn in_range(&self, range: Granules) -> alloc::vec::Vec<(Granule, Poisoned)> {
        let granules = self.granules.lock();
        let inside = granules.range(range.first().0..=range.last().0);
        inside.map(|(&at, &state)| (Granule(at), state)).collect()
    }

    /// How many granules of a range are quarantined.
    pub(crate) fn quarantined_in(&self, range: Granules) -> u64 {
        let granules = self.granules.lock();
        let inside = granules.range(range.first().0..=range.last().0);
        inside.filter(|&(_, &state)| state == Poisoned::Quarantined).count() as u64
    }

    /// A quarantined granule has left the zone with its span.
    pub(crate) fn remove(&self, at: Granule) {
        self.granules.lock().insert(at.0, Poisoned::Removed);
    }

    /// The granules of the set, in address order.
    pub(crate) fn granules(&self) -> alloc::vec::Vec<(Granule, Poisoned)> {
        self.granules.lock().iter().map(|(&at, &state)| (Granule(at), state)).collect()
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
    use memdesc::Order;

    #[test]
    fn a_granule_is_new_once_and_suspect_for_ever() {
        let set = PoisonSet::default();
        let block = Block::containing(Granule(77), Order::ZERO);
        assert!(!set.is_suspect(block));
        assert!(set.insert(Granule(77)));
        assert!(!set.insert(Granule(77)));
        assert!(set.is_suspect(block));
        for order in 0..=40 {
            let around = Block::containing(Granule(77), Order::new(order).unwrap());
            assert!(set.is_suspect(around), "order {order}");
            assert_eq!(set.first_in(around.granules()), Some(Granule(77)));
        }
        set.quarantine(Granule(77));
        assert_eq!(set.counts(), (0, 1));
        assert_eq!(set.get(Granule(77)), Some(Poisoned::Quarantined));
        assert_eq!(set.get(Granule(78)), None);
    }
}
