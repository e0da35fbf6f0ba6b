//! Threads that die of a panic with something in their hands: nothing is lost,
//! and nobody waits for them.

use potad::memdesc::{Descriptor, Order};
use potad::{Potad, Resource, Zone};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Folio(Arc<AtomicUsize>);

impl Drop for Folio {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}

const GRANULES: u64 = 64 * 4;

fn ram() -> Zone {
    Potad::new().register(Resource::new("ram").granule(4096).span(0..GRANULES * 4096)).unwrap()
}

/// Runs `work` in a thread of its own, where it dies of a panic.
fn dies(zone: &Zone, work: impl FnOnce(&Zone) + Send + 'static) {
    let there = zone.clone();
    let thread = std::thread::spawn(move || work(&there));
    let why = thread.join().expect_err("it was to die");
    assert_eq!(why.downcast_ref::<&str>(), Some(&"dead"));
}

/// A body goes once no guard of that moment is left; for ever, if a dead
/// thread's were.
fn is_dropped(drops: &AtomicUsize) -> bool {
    (0..100_000).any(|_| {
        potad::pin().flush();
        std::thread::yield_now();
        drops.load(Ordering::Relaxed) == 1
    })
}

#[test]
fn a_thread_that_dies_with_a_hand_gives_back_what_it_held() {
    let zone = ram();
    let hands = zone.stats().hands;
    dies(&zone, |zone| {
        let mut hand = zone.hand();
        let page = hand.alloc_bare(Order::ZERO).unwrap();
        hand.free_bare(page).unwrap();
        assert!(zone.stats().hidden > 0);
        std::panic::panic_any("dead");
    });
    let stats = zone.stats();
    assert_eq!((stats.hands, stats.hidden, stats.free), (hands, 0, GRANULES));
    assert_eq!(zone.validate(), Ok(GRANULES));
}

#[test]
fn a_thread_that_dies_with_a_descriptors_lock_lets_go_of_it() {
    let (zone, drops) = (ram(), Arc::new(AtomicUsize::new(0)));
    let block = zone.alloc(Order::ZERO, Folio(Arc::clone(&drops))).unwrap();
    let address = zone.address_of(block.block().base());
    dies(&zone, move |zone| {
        let _locked = zone.lock::<Folio>(address).unwrap();
        std::panic::panic_any("dead");
    });
    // Would wait for ever.
    assert!(zone.lock::<Folio>(address).is_some());
    zone.free(block).unwrap();
    assert!(is_dropped(&drops));
    assert_eq!(zone.validate(), Ok(GRANULES));
}

#[test]
fn a_thread_that_dies_with_a_pin_and_a_reference_holds_up_nothing() {
    let (zone, drops) = (ram(), Arc::new(AtomicUsize::new(0)));
    let block = zone.alloc(Order::ZERO, Folio(Arc::clone(&drops))).unwrap();
    let address = zone.address_of(block.block().base());
    dies(&zone, move |zone| {
        let guard = potad::pin();
        let found = zone.find(address, &guard);
        let _counted = zone.get::<Folio>(address).unwrap();
        assert!(found.is_some());
        std::panic::panic_any("dead");
    });
    zone.free(block).unwrap();
    assert!(is_dropped(&drops));
    assert!(zone.find(address, &potad::pin()).is_none());
    assert_eq!(zone.validate(), Ok(GRANULES));
}
