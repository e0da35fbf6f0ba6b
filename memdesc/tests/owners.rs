//! Owners: ids, unregistering beside callbacks, panics.

use potad_memdesc::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

struct With<F>(F);

impl<F: Fn(&FailedBlock) -> Outcome + Send + Sync> Owner for With<F> {
    fn memory_failure(&self, failed: &FailedBlock) -> Outcome {
        self.0(failed)
    }
}

fn failed() -> FailedBlock {
    FailedBlock {
        resource: 0,
        granules: Granules::new(Granule(1), Granule(1)).unwrap(),
        first_unit: 0,
        last_unit: 4095,
        block: None,
        kind: FailureKind::Injected,
        name: "raw",
        first: true,
    }
}

#[test]
fn ids_are_never_reused_and_run_out() {
    let owners = Owners::new();
    let idle = Arc::new(With(|_: &FailedBlock| Outcome::Ignored));
    for expected in 1..=u16::MAX {
        let id = owners.register(idle.clone()).unwrap();
        assert_eq!(id, OwnerId(expected));
        assert!(owners.is_registered(id));
        owners.unregister(id).unwrap();
        assert!(!owners.is_registered(id));
    }
    assert_eq!(owners.register(idle), Err(OwnerError::Exhausted));
    assert_eq!(owners.unregister(OwnerId(9)), Err(OwnerError::Unknown { id: 9 }));
    assert_eq!(owners.call(OwnerId::RESOURCE, &failed()), None);
}

#[test]
fn unregister_inside_the_own_callback_is_refused() {
    let owners = Arc::new(Owners::new());
    let id = Arc::new(OnceLock::new());
    let (inner, inner_id) = (owners.clone(), id.clone());
    let owner = With(move |_: &FailedBlock| {
        let id = *inner_id.get().unwrap();
        assert_eq!(inner.unregister(id), Err(OwnerError::WouldDeadlock { id: id.0 }));
        Outcome::Delayed
    });
    id.set(owners.register(Arc::new(owner)).unwrap()).unwrap();
    let id = *id.get().unwrap();
    assert_eq!(owners.call(id, &failed()), Some(Outcome::Delayed));
    assert_eq!(owners.unregister(id), Ok(()));
}

#[test]
fn a_panic_in_a_callback_counts_as_failed() {
    let owners = Owners::new();
    let id = owners.register(Arc::new(With(|_: &FailedBlock| panic!("seeded")))).unwrap();
    assert_eq!(owners.call(id, &failed()), Some(Outcome::Failed));
    assert_eq!(owners.unregister(id), Ok(()), "the panic counted itself out");
}

#[test]
fn unregister_waits_for_running_callbacks() {
    let owners = Arc::new(Owners::new());
    let (entered, finished) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (e, f) = (entered.clone(), finished.clone());
    let owner = With(move |_: &FailedBlock| {
        e.store(true, SeqCst);
        std::thread::sleep(Duration::from_millis(30));
        f.fetch_add(1, SeqCst);
        Outcome::Recovered
    });
    let id = owners.register(Arc::new(owner)).unwrap();
    let caller = {
        let owners = owners.clone();
        std::thread::spawn(move || owners.call(id, &failed()))
    };
    while !entered.load(SeqCst) {
        std::thread::yield_now();
    }
    owners.unregister(id).unwrap();
    assert_eq!(finished.load(SeqCst), 1);
    assert_eq!(owners.call(id, &failed()), None);
    assert_eq!(caller.join().unwrap(), Some(Outcome::Recovered));
}

#[test]
fn no_callback_starts_after_unregister_returned() {
    for _ in 0..if cfg!(miri) { 3 } else { 300 } {
        let owners = Arc::new(Owners::new());
        let gone = Arc::new(AtomicBool::new(false));
        let late = gone.clone();
        let owner = With(move |_: &FailedBlock| {
            assert!(!late.load(SeqCst));
            Outcome::Ignored
        });
        let id = owners.register(Arc::new(owner)).unwrap();
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let owners = owners.clone();
                std::thread::spawn(move || {
                    while let Some(outcome) = owners.call(id, &failed()) {
                        assert_eq!(outcome, Outcome::Ignored, "a late call panics");
                    }
                })
            })
            .collect();
        owners.unregister(id).unwrap();
        gone.store(true, SeqCst);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    }
}
