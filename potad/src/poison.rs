//! Which granules have failed.
//!
//! # What always holds
//!
//! A granule that was ever reported is in the set until the zone is gone:
//! *pending* while somebody owns it, *quarantined* once it is nobody's. The
//! filter has the bit of every granule in the set, so a block whose bit is
//! clear holds no poisoned granule.
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
}

/// The poisoned granules of a zone.
#[derive(Debug, Default)]
pub(crate) struct PoisonSet {
    filter: AtomicU64,
    granules: Mutex<BTreeMap<u64, Poisoned>>,
}

impl PoisonSet {
    /// Inserts a granule; returns whether it is new.
    pub(crate) fn insert(&self, at: Granule) -> bool {
        let mut granules = self.granules.lock();
        // Before the map, under its lock: whoever finds the granule in the map
        // finds the bit. Release pairs with the Acquire in `is_suspect`.
        self.filter.fetch_or(filter_bit(at), Ordering::Release);
        let mut is_new = false;
        granules.entry(at.0).or_insert_with(|| {
            is_new = true;
            Poisoned::Pending
        });
        is_new
    }

    /// Whether some granule of the block may be in the set.
    #[inline]
    pub(crate) fn is_suspect(&self, block: Block) -> bool {
        let filter = self.filter.load(Ordering::Acquire);
        filter != 0
            && (block.order().get() > ORDERS_PER_LEVEL || filter & filter_bit(block.base()) != 0)
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

    /// Granules in the set, and how many of them are quarantined.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let granules = self.granules.lock();
        let quarantined = granules.values().filter(|&&at| at == Poisoned::Quarantined).count();
        (granules.len() as u64, quarantined as u64)
    }

    /// The granules of the set, in address order.
    pub(crate) fn granules(&self) -> alloc::vec::Vec<(Granule, Poisoned)> {
        self.granules.lock().iter().map(|(&at, &state)| (Granule(at), state)).collect()
    }
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
        assert_eq!(set.counts(), (1, 1));
        assert_eq!(set.get(Granule(77)), Some(Poisoned::Quarantined));
        assert_eq!(set.get(Granule(78)), None);
    }
}
