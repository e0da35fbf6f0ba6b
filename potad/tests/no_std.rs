//! What a build without `std` rests on: pins of explicit participants, the lock
//! that does not park, and shared hands. Run by `.ci/run no_std` with
//! `--no-default-features`, where the threads below are the test's own and the
//! crates know of none; with `std` it holds as well.

use potad::memdesc::{Order, Participant, descriptors, retired_bytes};
use potad::{Potad, Resource, Zone};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread;

/// Added to by a load and a store, under the lock.
struct Folio {
    racy: AtomicU64,
}

descriptors! { set Mm { Folio = 1 } }

/// The tests below count what is retired, which is the process's.
static ALONE: Mutex<()> = Mutex::new(());

fn ram(granules: u64) -> Zone {
    let potad = Potad::new();
    let zone = potad.register(Resource::new("ram").granule(4096).span(0..granules * 4096)).unwrap();
    Mm::register(potad.kinds()).unwrap();
    zone
}

fn folio() -> Folio {
    Folio { racy: AtomicU64::new(0) }
}

/// Lets the epoch go on until nothing waits for it.
fn settle(me: &Participant) -> usize {
    for _ in 0..10_000 {
        me.pin().flush();
        if retired_bytes() == 0 {
            break;
        }
    }
    retired_bytes()
}

#[test]
fn a_participants_guard_keeps_what_it_found() {
    let _alone = ALONE.lock().unwrap();
    let ram = ram(64);
    let me = Participant::new();
    let block = ram.alloc(Order::ZERO, folio()).map_err(|refused| refused.why).unwrap();
    let address = block.address();
    let guard = me.pin();
    let found = ram.find(address, &guard).unwrap().downcast::<Folio>().unwrap();
    thread::scope(|scope| {
        let freed = scope.spawn(|| {
            drop(block);
            settle(&Participant::new())
        });
        assert_ne!(freed.join().unwrap(), 0, "freed under a guard");
    });
    assert_eq!(found.racy.load(Ordering::Relaxed), 0, "readable for as long as the guard");
    drop(guard);
    assert_eq!(settle(&me), 0, "nobody looks any more");
}

#[test]
fn the_lock_excludes_threads_nobody_knows_of() {
    const THREADS: u64 = 4;
    const TURNS: u64 = 500;
    let _alone = ALONE.lock().unwrap();
    let ram = ram(64);
    let block = ram.alloc(Order::ZERO, folio()).map_err(|refused| refused.why).unwrap();
    let address = block.address();
    let start = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..TURNS {
                    let folio = ram.lock::<Folio>(address).unwrap();
                    let before = folio.racy.load(Ordering::Relaxed);
                    // Others must wait even if the holder is not running.
                    thread::yield_now();
                    folio.racy.store(before + 1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(block.racy.load(Ordering::Relaxed), THREADS * TURNS);
}

#[test]
fn threads_allocate_find_and_free_and_nothing_is_left() {
    let _alone = ALONE.lock().unwrap();
    let ram = ram(1 << 12);
    let done = AtomicBool::new(false);
    let last = AtomicU64::new(0);
    thread::scope(|scope| {
        let users: Vec<_> = (0..3)
            .map(|user| {
                let (ram, last) = (&ram, &last);
                scope.spawn(move || {
                    for turn in 0..2000 {
                        let order = Order::new((turn + user) % 8).unwrap();
                        let block = ram.alloc(order, folio()).map_err(|no| no.why).unwrap();
                        last.store(block.address(), Ordering::Relaxed);
                        assert!(ram.get::<Folio>(block.address()).is_some());
                    }
                })
            })
            .collect();
        let (ram, done, last) = (&ram, &done, &last);
        let looker = scope.spawn(move || {
            let me = Participant::new();
            let mut guard = me.pin();
            let mut looks = 0_u64;
            while !done.load(Ordering::Relaxed) {
                let address = last.load(Ordering::Relaxed);
                if let Some(found) = ram.find(address, &guard) {
                    assert!(found.block().contains(ram.granule_at(found_at(&found)).unwrap()));
                }
                looks += 1;
                if looks.is_multiple_of(16) {
                    guard.repin();
                }
            }
        });
        users.into_iter().for_each(|user| user.join().unwrap());
        done.store(true, Ordering::Relaxed);
        looker.join().unwrap();
    });
    assert_eq!(ram.validate(), Ok(1 << 12));
    assert_eq!(settle(&Participant::new()), 0, "everything retired was freed");
}

/// Where what was found begins.
fn found_at(found: &potad::Found<'_>) -> u64 {
    found.block().base().0 * 4096
}

#[test]
fn garbage_does_not_pile_up_where_nobody_flushes() {
    let _alone = ALONE.lock().unwrap();
    let ram = ram(64);
    let mut most = 0;
    for _ in 0..20_000 {
        drop(ram.alloc(Order::ZERO, folio()).map_err(|refused| refused.why).unwrap());
        most = most.max(retired_bytes());
    }
    let each = 64;
    assert!(most < 2000 * each, "{most} bytes waited at once, of {}", 20_000 * each);
    assert_eq!(settle(&Participant::new()), 0);
}
