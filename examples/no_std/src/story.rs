//! A day without an operating system: every flavour of block, look-up through
//! an explicit participant, a failure, a report, a span that leaves.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use potad::memdesc::{
    Descriptor, FailedBlock, FailureKind, Order, Outcome, Owner, Participant, retired_bytes,
};
use potad::{Error, Potad, Resource, Zone};
use potad_reporting::backend::Recording;
use potad_reporting::{Policy, Reporter, State, ZoneSource};

struct Folio {
    mapped: u32,
}

impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}

/// Counts what it is told.
#[derive(Default)]
struct Told(AtomicU64);

impl Owner for Told {
    fn memory_failure(&self, _: &FailedBlock) -> Outcome {
        self.0.fetch_add(1, Ordering::Relaxed);
        Outcome::Recovered
    }
}

const GRANULE: u64 = 4096;
const GRANULES: u64 = 1 << 14;

/// Tells it; panics where something is not as it should be.
pub fn tell() -> Result<(), Error> {
    let potad = Potad::new();
    let ram = Resource::new("ram").granule(GRANULE).span(0..GRANULES * GRANULE);
    let ram = potad.register(ram)?;
    blocks(&ram)?;
    look_up(&ram)?;
    failure(&potad, &ram)?;
    reports(&ram)?;
    leaves(&ram)?;
    assert_eq!(ram.validate(), Ok(GRANULES - 1));
    Ok(())
}

/// Every order, until nothing is left, by a hand and without.
fn blocks(ram: &Zone) -> Result<(), Error> {
    let mut hand = ram.hand();
    let mut all = Vec::new();
    for order in (0..=10).cycle() {
        match hand.alloc_bare(Order::new(order).expect("below 64")) {
            Ok(block) => all.push(block),
            Err(Error::Exhausted { .. }) if order == 0 => break,
            Err(Error::Exhausted { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    let granules: u64 = all.iter().map(|block| block.order().granules()).sum();
    assert_eq!(granules, GRANULES, "exhausted is the truth");
    for block in all {
        ram.free_bare(block).map_err(|refused| refused.why)?;
    }
    drop(hand);
    assert_eq!(ram.validate(), Ok(GRANULES));
    assert_eq!(ram.free_blocks().len(), 1, "all free is one block");
    Ok(())
}

/// Peek, get and lock, with pins of an explicit participant.
fn look_up(ram: &Zone) -> Result<(), Error> {
    let me = Participant::new();
    let folio = ram.alloc(Order::new(9).expect("below 64"), Folio { mapped: 7 });
    let folio = folio.map_err(|refused| refused.why)?;
    let inside = folio.address() + 123 * GRANULE + 45;
    let mut guard = me.pin();
    let found = ram.find(inside, &guard).expect("it is there");
    assert_eq!(found.downcast::<Folio>().map(|folio| folio.mapped), Some(7));
    let counted = ram.get::<Folio>(inside).expect("it is there");
    let locked = ram.lock::<Folio>(inside).expect("it is there");
    assert_eq!(locked.block(), folio.block());
    drop((locked, folio));
    assert!(ram.get::<Folio>(inside).is_some(), "findable while it is referenced");
    drop(counted);
    assert!(ram.find(inside, &guard).is_none());
    assert_ne!(retired_bytes(), 0, "the guard keeps it readable");
    for _ in 0..8 {
        guard.repin();
    }
    drop(guard);
    (0..8).for_each(|_| me.pin().flush());
    assert_eq!(retired_bytes(), 0, "nobody looks any more");
    Ok(())
}

/// A granule fails in a block, whose owner hears of it, and is kept.
fn failure(potad: &Potad, ram: &Zone) -> Result<(), Error> {
    let told = Arc::new(Told::default());
    let owner = potad.register_owner(told.clone())?;
    let block = ram.alloc_raw(Order::new(3).expect("below 64"), owner)?;
    let bad = ram.address_of(block.base()) + GRANULE;
    let report = potad.report_failure(bad, 0, FailureKind::Consumed)?;
    assert_eq!((report.first, report.notified), (1, 1));
    assert_eq!(told.0.load(Ordering::Relaxed), 1);
    ram.free_raw(block).map_err(|refused| refused.why)?;
    assert_eq!(ram.stats().quarantined, 1);
    Ok(())
}

/// The engine is stepped by whoever has a clock.
fn reports(ram: &Zone) -> Result<(), Error> {
    let source = ZoneSource::attach(ram.clone(), Order::new(4).expect("below 64"))?;
    let Ok(mut reporter) = Reporter::new(&source, Recording::new(), Policy::eager()) else {
        panic!("the engine refuses its own defaults");
    };
    while reporter.step(0).state == State::Active {}
    assert_eq!(ram.reported_granules(), GRANULES - 16, "all but what has the bad granule");
    Ok(())
}

/// The upper half leaves and comes back.
fn leaves(ram: &Zone) -> Result<(), Error> {
    let upper = GRANULES / 2 * GRANULE..GRANULES * GRANULE;
    ram.hot_remove(upper.clone())?.finish().map_err(|refused| refused.why)?;
    assert_eq!(ram.granules(), GRANULES / 2);
    ram.hot_add(upper)
}
