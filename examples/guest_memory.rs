//! An owner that cannot recover by itself: a host whose guest uses the memory.
//! It notes the failure and says *Delayed*; its event loop tells the guest, and
//! gives the block up once the guest has let go of it.

use potad::memdesc::{Descriptor, FailedBlock, FailureKind, Order, Outcome, Owner};
use potad::{Block, Potad, Resource};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

/// Describes guest memory: where the guest sees it.
struct Backing {
    guest_address: u64,
    /// Machine checks that were sent to the guest for it.
    told: AtomicU64,
}

impl Descriptor for Backing {
    const NAME: &'static str = "guest memory";
}

/// The side that hears: it takes no lock and asks nobody.
struct Host(Mutex<mpsc::Sender<FailedBlock>>);

impl Owner for Host {
    fn memory_failure(&self, failed: &FailedBlock) -> Outcome {
        match self.0.lock().expect("no panic").send(*failed) {
            Ok(()) => Outcome::Delayed,
            Err(_) => Outcome::Failed,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let potad = Potad::new();
    let ram = potad.register(Resource::new("dram0").granule(4096).span(0..1 << 30))?;
    let (events, inbox) = mpsc::channel();
    let host = potad.register_owner(Arc::new(Host(Mutex::new(events))))?;
    let backing = Backing { guest_address: 0x4000_0000, told: AtomicU64::new(0) };
    let huge: Block<Backing> = ram.alloc_owned(Order::new(9)?, host, backing)?;

    // Two reports of one line, as a scrubber and a processor may send them.
    let bad = huge.address() + 0x12_3440;
    let report = potad.report_failure(bad, 6, FailureKind::Found)?;
    assert_eq!((report.first, report.outcome), (1, Outcome::Delayed));
    assert_eq!(potad.report_failure(bad, 6, FailureKind::Consumed)?.first, 0);

    // The event loop: locked and re-checked, so that it is still the block meant.
    let failed = inbox.try_recv()?;
    assert!(inbox.try_recv().is_err(), "the owner hears once");
    let locked = ram.lock::<Backing>(failed.first_unit).ok_or("it has gone meanwhile")?;
    let offset = failed.first_unit - ram.address_of(locked.block().base());
    let in_guest = locked.guest_address + offset;
    locked.told.fetch_add(1, Ordering::Relaxed);
    drop(locked);
    assert_eq!((in_guest, failed.last_unit - failed.first_unit), (0x4012_3440, 63));

    // Until the guest lets go, the rest of its 2 MiB stays where it is.
    assert_eq!((ram.stats().pending, ram.stats().quarantined), (1, 0));
    assert!(huge.is_poisoned() && huge.told.load(Ordering::Relaxed) == 1);
    drop(huge);
    let stats = ram.stats();
    assert_eq!((stats.pending, stats.quarantined, stats.free), (0, 1, (1 << 18) - 1));
    assert_eq!(ram.failure_counts()["guest memory"].delayed, 1);
    println!("the guest was told of {in_guest:#x}; 511 granules of its block are free again");
    Ok(())
}
