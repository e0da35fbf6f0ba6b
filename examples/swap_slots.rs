//! Slots of a swap device as a resource: one granule is one slot, and a second
//! device counts in sectors of 512 bytes.

use potad::memdesc::{Descriptor, Order};
use potad::{Potad, Resource};

/// Whose page is in a cluster of slots.
#[derive(Debug)]
struct Entry {
    process: u32,
}

impl Descriptor for Entry {
    const NAME: &'static str = "entry";
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let potad = Potad::new();
    // Slots are no addresses of the bus: each device is a space of its own.
    let swap = potad.register(Resource::new("swap0").granule(1).span(0..262_144).space(1))?;
    let disk = potad.register(Resource::new("disk0").granule(512).span(0..1 << 30).space(2))?;
    assert_eq!((swap.granules(), disk.granules()), (262_144, 1 << 21));

    // One slot for a page, a cluster of 16 for read-ahead, found from any slot.
    let page = swap.alloc_bare(Order::ZERO)?;
    let cluster = swap.alloc(swap.order_for(16)?, Entry { process: 42 })?;
    let last = cluster.address() + 15;
    assert_eq!(swap.get::<Entry>(last).map(|entry| entry.process), Some(42));

    // 3 KiB are 6 sectors, so a block of 8, at a multiple of 8 sectors.
    let sectors = disk.alloc_bare(disk.order_for(3 << 10)?)?;
    assert_eq!(sectors.order().get(), 3);
    assert!(disk.address_of(sectors.base()).is_multiple_of(8 * 512));

    // A handle of one device is no use at another: it comes back.
    let refused = swap.free_bare(sectors).expect_err("of the other device");
    disk.free_bare(refused.given)?;

    // A process swaps in bulk: a hand takes whole words of slots at once.
    let mut hand = swap.hand();
    let mut slots = Vec::new();
    assert_eq!(hand.alloc_many(Order::ZERO, 1000, |slot| slots.push(slot))?, 1000);
    assert_eq!(swap.stats().free, 262_144 - 1 - 16 - 1000);
    assert_eq!(hand.free_many(slots)?, 1000);

    swap.free_bare(page)?;
    drop((cluster, hand));
    assert_eq!(swap.stats().free, 262_144);
    swap.validate()?;
    println!("{}", swap.stats());
    Ok(())
}
