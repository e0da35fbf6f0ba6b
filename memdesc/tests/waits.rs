//! Whoever waits for a lock or an owner sleeps, is woken, and comes to its turn.
#![cfg(target_os = "linux")]

use potad_memdesc::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::time::Duration;

struct Count(AtomicU64);
impl Descriptor for Count {
    const NAME: &'static str = "count";
}

struct Ram(Kinds);
impl Home for Ram {
    fn kinds(&self) -> &Kinds {
        &self.0
    }
    fn teardown(dead: Dead<Self>) {
        // SAFETY: no slot ever named it.
        drop(unsafe { dead.into_garbage() });
    }
}

fn count() -> Ref<Ram, Count> {
    let kinds = Kinds::new();
    let kind = kinds.register::<Count>().unwrap();
    let ram = Keep::new(Ram(kinds));
    let fresh = Fresh::of(&ram, OwnerId(1), Count(AtomicU64::new(0))).ok().unwrap();
    fresh.set_place(Block::containing(Granule(8), Order::ZERO));
    // SAFETY: the kind was given by the home's set.
    unsafe { fresh.into_ref(kind) }
}

const LONG: Duration = Duration::from_secs(20);
const HELD: Duration = Duration::from_millis(300);

/// Processor time of the calling thread.
fn spent() -> Duration {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(said.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn whoever_waits_for_a_lock_sleeps_and_is_woken() {
    const WAITERS: u64 = 4;
    let count = count();
    let locked = count.lock();
    let (told, tells) = channel();
    for _ in 0..WAITERS {
        let (mine, told) = (count.try_clone().unwrap(), told.clone());
        std::thread::spawn(move || {
            let before = spent();
            let locked = mine.lock();
            let spent = spent() - before;
            // Under the lock, in two steps.
            let seen = locked.0.load(Relaxed);
            std::thread::yield_now();
            locked.0.store(seen + 1, Relaxed);
            drop(locked);
            drop(mine);
            told.send(spent).unwrap();
        });
    }
    std::thread::sleep(HELD);
    assert!(tells.try_recv().is_err(), "the lock is held");
    assert_eq!(count.header().refs(), WAITERS as u32 + 1);
    drop(locked);
    for _ in 0..WAITERS {
        let spent = tells.recv_timeout(LONG).expect("woken");
        assert!(spent < HELD / 3, "spent {spent:?} asleep");
    }
    assert_eq!((count.0.load(Relaxed), count.header().refs()), (WAITERS, 1));
    assert!(count.is_unshared());
}

#[test]
fn many_threads_in_one_lock_lose_nothing() {
    const ROUNDS: u64 = if cfg!(miri) { 10 } else { 3000 };
    let count = count();
    let (told, tells) = channel();
    for _ in 0..3 {
        let (mine, told) = (count.try_clone().unwrap(), told.clone());
        std::thread::spawn(move || {
            for round in 0..ROUNDS {
                let locked = mine.lock();
                let seen = locked.0.load(Relaxed);
                if round % 64 == 0 {
                    std::thread::yield_now();
                }
                locked.0.store(seen + 1, Relaxed);
            }
            drop(mine);
            told.send(()).unwrap();
        });
    }
    (0..3).for_each(|_| tells.recv_timeout(LONG).expect("none is left asleep"));
    assert_eq!(count.0.load(Relaxed), 3 * ROUNDS);
    assert!(count.is_unshared());
}

struct Slow(Arc<AtomicUsize>);
impl Owner for Slow {
    fn memory_failure(&self, _: &FailedBlock) -> Outcome {
        self.0.store(1, Relaxed);
        std::thread::sleep(HELD);
        Outcome::Recovered
    }
}

#[test]
fn whoever_unregisters_sleeps_while_a_call_runs() {
    let owners = Arc::new(Owners::new());
    let began = Arc::new(AtomicUsize::new(0));
    let id = owners.register(Arc::new(Slow(Arc::clone(&began)))).unwrap();
    let caller = std::thread::spawn({
        let owners = Arc::clone(&owners);
        let failed = FailedBlock {
            resource: 0,
            granules: Granules::new(Granule(1), Granule(1)).unwrap(),
            first_unit: 0,
            last_unit: 4095,
            block: None,
            kind: FailureKind::Injected,
            name: "raw",
            first: true,
        };
        move || owners.call(id, &failed)
    });
    while began.load(Relaxed) == 0 {
        std::thread::yield_now();
    }
    let before = spent();
    assert_eq!(owners.unregister(id), Ok(()));
    let spent = spent() - before;
    assert!(spent < HELD / 3, "spent {spent:?} asleep");
    assert_eq!(caller.join().unwrap(), Some(Outcome::Recovered));
    assert!(owners.unregister(id).is_err() && !owners.is_registered(id));
}
