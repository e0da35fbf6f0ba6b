//! 8 MiB at an alignment of 1 MiB, out of memory that is in pieces.

use potad::memdesc::Order;
use potad::{Align, Potad, Resource};

const MIB: u64 = 1 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let potad = Potad::new();
    let ram = potad.register(Resource::new("dram0").granule(4096).span(0..32 * MIB))?;
    let whole = ram.alloc_run(8 * MIB, Align::new(MIB)?)?;
    assert_eq!(whole.granules().count(), 2048);
    ram.free_run(whole)?;

    // A page in use in each 8 MiB: no free block of that size is left.
    let pages = [0, 15, 16, 24].map(|at| ram.alloc_at(at * MIB..at * MIB + 4096));
    assert!(ram.alloc_bare(Order::covering(2048)?).is_err());

    // But two of 4 MiB lie side by side, from 4 MiB on.
    let run = ram.alloc_run(8 * MIB, Align::new(MIB)?)?;
    let first = ram.address_of(run.base());
    assert_eq!((run.granules().count(), first), (2048, 4 * MIB));
    assert_eq!(ram.run_at(first + 5 * MIB + 123), Some(run.granules()));

    // Any size will do: 3 MiB and a page.
    let odd = ram.alloc_run(3 * MIB + 1, Align::new(MIB)?)?;
    assert_eq!(odd.granules().count(), 3 * 256 + 1);

    // Nothing is that long: nothing was taken.
    let before = ram.stats().free;
    assert!(ram.alloc_run(16 * MIB, Align::new(MIB)?).is_err());
    assert_eq!(ram.stats().free, before);

    ram.free_run(run)?;
    ram.free_run(odd)?;
    for page in pages {
        ram.free_run(page?)?;
    }
    assert_eq!(ram.stats().free, 8192);
    ram.validate()?;
    println!("{}", ram.stats());
    Ok(())
}
