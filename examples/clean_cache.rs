//! An owner that recovers: a page cache. What is clean can be read again, so a
//! failed block is dropped and its page fetched into another one.

use potad::memdesc::{Descriptor, FailedBlock, FailureKind, Order, Outcome, Owner};
use potad::{Block, PoisonSet, Potad, Resource, Zone};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Describes a cached page: which one of the file it is.
struct Page {
    index: u64,
}

impl Descriptor for Page {
    const NAME: &'static str = "cached page";
}

/// Pages of a file by their index; all clean.
struct Cache {
    ram: Zone,
    pages: Mutex<BTreeMap<u64, Block<Page>>>,
}

impl Cache {
    /// "Reads" a page of the file into a fresh block.
    fn fetch(&self, index: u64, owner: potad::memdesc::OwnerId) -> Result<(), potad::Error> {
        let block = self.ram.alloc_owned(Order::ZERO, owner, Page { index });
        self.pages.lock().expect("no panic").insert(index, block.map_err(|refused| refused.why)?);
        Ok(())
    }
}

impl Owner for Cache {
    fn memory_failure(&self, failed: &FailedBlock) -> Outcome {
        let at = self.ram.address_of(failed.granules.first());
        let Some(page) = self.ram.get::<Page>(at) else { return Outcome::Ignored };
        let (index, owner) = (page.index, page.owner());
        drop(page);
        // The last reference goes: the block is freed, and its granule kept.
        drop(self.pages.lock().expect("no panic").remove(&index));
        match self.fetch(index, owner) {
            Ok(()) => Outcome::Recovered,
            Err(_) => Outcome::Failed,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let potad = Potad::new();
    let ram = potad.register(Resource::new("dram0").granule(4096).span(0..1 << 20))?;
    let cache = Arc::new(Cache { ram: ram.clone(), pages: Mutex::default() });
    let owner = potad.register_owner(cache.clone())?;
    (0..100).try_for_each(|index| cache.fetch(index, owner))?;

    // A line of page 42 is bad: somebody has read it.
    let bad = cache.pages.lock().expect("no panic")[&42].address();
    let report = potad.report_failure(bad + 0x140, 6, FailureKind::Consumed)?;
    assert_eq!((report.notified, report.outcome), (1, Outcome::Recovered));

    // Page 42 is there again, elsewhere, and nobody ever gets the granule.
    let now = cache.pages.lock().expect("no panic")[&42].address();
    assert_ne!(now, bad);
    assert_eq!(ram.get::<Page>(now).map(|page| page.index), Some(42));
    let stats = ram.stats();
    assert_eq!((stats.free, stats.quarantined), (256 - 100 - 1, 1));
    assert!(ram.get::<Page>(bad).is_none());

    // What failed is kept over a restart, to the line.
    let kept = serde_json::to_string(&ram.poison())?;
    let again = Potad::new().register(Resource::new("dram0").granule(4096).span(0..1 << 20))?;
    again.import_poison(&serde_json::from_str::<PoisonSet>(&kept)?)?;
    assert_eq!((again.poison().lines(), again.stats().free), (1, 255));
    println!("page 42 moved from {bad:#x} to {now:#x}; poison: {kept}");
    Ok(())
}
