//! The hands that threads have without asking: they give back what they hold,
//! and keep no zone alive.

use potad::memdesc::{Descriptor, Order};
use potad::{Potad, Resource, Zone};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

fn ram(granules: u64) -> Zone {
    let ram = Resource::new("ram").granule(4096).span(0..granules * 4096);
    Potad::new().register(ram).unwrap()
}

#[test]
fn a_thread_that_ends_gives_back_what_its_hand_holds() {
    let ram = ram(1 << 12);
    let hands = ram.stats().hands;
    for _ in 0..20 {
        let there = ram.clone();
        std::thread::spawn(move || {
            let pages: Vec<_> = (0..100).map(|_| there.alloc_bare(Order::ZERO).unwrap()).collect();
            assert_eq!(there.stats().hands, hands + 1);
            pages.into_iter().for_each(|page| there.free_bare(page).unwrap());
        })
        .join()
        .unwrap();
    }
    let stats = ram.stats();
    assert_eq!((stats.hands, stats.hidden, stats.free), (hands, 0, 1 << 12));
}

/// Whichever it used last, and between two calls on the same.
#[test]
fn a_thread_has_one_hand_on_each_zone_that_it_goes_between() {
    let zones = [64, 128, 256].map(ram);
    let before = zones.each_ref().map(|zone| zone.stats().hands);
    for which in [0, 1, 1, 2, 0, 2, 1, 0, 0, 2] {
        let page = zones[which].alloc_bare(Order::ZERO).unwrap();
        zones[which].free_bare(page).unwrap();
    }
    assert_eq!(zones.each_ref().map(|zone| zone.stats().hands), before.map(|hands| hands + 1));
}

#[test]
fn what_a_threads_hand_holds_is_taken_before_anybody_is_refused() {
    let ram = ram(64);
    let stop = AtomicBool::new(false);
    let ready = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let page = ram.alloc_bare(Order::ZERO).unwrap();
            ram.free_bare(page).unwrap();
            ready.store(true, Ordering::Release);
            while !stop.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        });
        while !ready.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let whole = ram.alloc_bare(order(6)).expect("the other thread's hand gives it up");
        ram.free_bare(whole).unwrap();
        stop.store(true, Ordering::Release);
    });
    assert_eq!(ram.validate(), Ok(64));
}

/// Says when it is dropped.
struct Folio(Arc<AtomicUsize>);

impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}

impl Drop for Folio {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_thread_keeps_no_zone_alive() {
    // The owner is dropped with the potad that has it, which goes with its
    // last zone's state.
    struct Witness(Arc<AtomicUsize>);
    impl potad::memdesc::Owner for Witness {
        fn memory_failure(&self, _: &potad::memdesc::FailedBlock) -> potad::memdesc::Outcome {
            potad::memdesc::Outcome::Ignored
        }
    }
    impl Drop for Witness {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let gone = Arc::new(AtomicUsize::new(0));
    for round in 0..100 {
        let ram = ram(256);
        ram.register_owner(Arc::new(Witness(Arc::clone(&gone)))).unwrap();
        let page = ram.alloc_bare(Order::ZERO).unwrap();
        ram.free_bare(page).unwrap();
        assert_eq!(gone.load(Ordering::Relaxed), round);
        drop(ram);
        assert_eq!(gone.load(Ordering::Relaxed), round + 1, "gone with its last handle");
    }
}

/// The drop of a descriptor, run by a retirement, calls the same zone.
#[test]
fn calls_from_within_the_drop_of_a_descriptor_work() {
    struct Nested(Option<Zone>, Arc<AtomicUsize>);
    impl Descriptor for Nested {
        const NAME: &'static str = "nested";
    }
    impl Drop for Nested {
        fn drop(&mut self) {
            let Some(ram) = self.0.take() else { return };
            let page = ram.alloc_bare(Order::ZERO).unwrap();
            ram.free_bare(page).unwrap();
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }
    let ram = ram(1 << 12);
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..5_000 {
        drop(ram.alloc(order(1), Nested(Some(ram.clone()), Arc::clone(&ran))).unwrap());
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    for _ in 0..5_000 {
        drop(ram.alloc(order(1), Folio(Arc::clone(&dropped))).unwrap());
    }
    assert!(ran.load(Ordering::Relaxed) > 1_000);
    assert_eq!(ram.validate(), Ok(1 << 12));
}

#[test]
fn a_thread_local_of_the_users_may_free_while_the_thread_ends() {
    struct Kept(Option<(Zone, potad::BareBlock)>);
    impl Drop for Kept {
        fn drop(&mut self) {
            let (ram, page) = self.0.take().unwrap();
            ram.free_bare(page).unwrap();
        }
    }
    thread_local! {
        static KEPT: std::cell::RefCell<Vec<Kept>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    let ram = ram(256);
    for before in [true, false] {
        let there = ram.clone();
        std::thread::spawn(move || {
            // Registered before the thread's hand, and after it: destroyed
            // after it, and before it.
            if before {
                KEPT.with_borrow_mut(|_| ());
            }
            let page = there.alloc_bare(Order::ZERO).unwrap();
            let zone = there.clone();
            KEPT.with_borrow_mut(|kept| kept.push(Kept(Some((zone, page)))));
        })
        .join()
        .unwrap();
        assert_eq!(ram.stats().free, 256);
        ram.validate().unwrap();
    }
}
