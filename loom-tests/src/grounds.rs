//! What models stand on: free granules with hands, zones, and owners that count.

use crate::home::block;
use memdesc::{Block, FailedBlock, FailureKind, Granule, Granules, Order, Outcome, Owner, OwnerId};
use potad::model::Ground;
use potad::{Potad, Resource, Zone};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The granules of a block.
pub fn granules(block: Block) -> impl Iterator<Item = u64> {
    block.base().0..=block.last().0
}

/// A ground of 64 granules of which `free` is free.
pub fn ground(free: impl IntoIterator<Item = Block>) -> Arc<Ground> {
    let ground = Arc::new(Ground::new(64, 1));
    let whole = ground.take(6).expect("all is free");
    ground.ensure(whole);
    free.into_iter().for_each(|block| ground.give(block));
    ground
}

/// The same, with a reporter of single granules.
pub fn reported_ground(free: impl IntoIterator<Item = Block>) -> Arc<Ground> {
    let ground = ground([]);
    ground.attach(0);
    free.into_iter().for_each(|block| ground.give(block));
    ground
}

/// The single granules at these places.
pub fn singles(at: impl IntoIterator<Item = u64>) -> impl Iterator<Item = Block> {
    at.into_iter().map(|at| block(at, 0))
}

/// Everything that can be had, one granule each, in order.
pub fn drain(ground: &Ground) -> Vec<u64> {
    let all = core::iter::from_fn(|| ground.take_closed(0));
    let mut all: Vec<u64> = all.map(|block| block.base().0).collect();
    all.sort_unstable();
    all
}

/// A zone of so many granules, one unit each, with small tables.
pub fn zone(potad: &Potad, granules: u64) -> Zone {
    let resource = Resource::new("ram").reach(255).span(0..granules);
    potad.register(resource).expect("a span")
}

/// Counts what it is told. Outside of loom's view.
struct Counting(Arc<AtomicUsize>);

impl Owner for Counting {
    fn memory_failure(&self, _: &FailedBlock) -> Outcome {
        self.0.fetch_add(1, Relaxed);
        Outcome::Delayed
    }
}

/// An owner, and how often it was told.
pub fn owner(potad: &Potad) -> (OwnerId, Arc<AtomicUsize>) {
    let told = Arc::new(AtomicUsize::new(0));
    let id = potad.register_owner(Arc::new(Counting(Arc::clone(&told)))).expect("an id");
    (id, told)
}

/// Granule 0 has failed, and everybody has freed: it is out of circulation.
pub fn is_out_of_circulation(ram: &Zone) {
    let stats = ram.stats();
    assert_eq!((stats.quarantined, stats.pending), (1, 0), "{stats:?}");
    assert_eq!(stats.free, stats.granules - 1);
    ram.validate().expect("sound");
    while let Ok(block) = ram.alloc_bare(Order::ZERO) {
        assert_ne!(block.base(), Granule(0), "it circulates");
    }
}

/// A failure of granule 0, as an owner is told of it.
pub fn failed_block() -> FailedBlock {
    FailedBlock {
        resource: 0,
        granules: Granules::new(Granule(0), Granule(0)).expect("in order"),
        first_unit: 0,
        last_unit: 4095,
        block: None,
        kind: FailureKind::Injected,
        name: "raw",
        first: true,
    }
}
