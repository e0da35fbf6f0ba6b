//! Owners: no callback outlives its registration.

#![cfg(loom)]

use loom::thread;
use loom_tests::grounds::failed_block;
use loom_tests::{model, twin};
use memdesc::{FailedBlock, Outcome, Owner, Owners};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

struct Once {
    gone: Arc<AtomicBool>,
}

impl Owner for Once {
    fn memory_failure(&self, _: &FailedBlock) -> Outcome {
        thread::yield_now();
        assert!(!self.gone.load(Relaxed), "called after unregister returned");
        Outcome::Recovered
    }
}

/// R14: no callback runs once `unregister` has returned.
fn r14_unregister_against_call() {
    let owners = Arc::new(Owners::new());
    let gone = Arc::new(AtomicBool::new(false));
    let id = owners.register(Arc::new(Once { gone: gone.clone() })).unwrap();
    let caller = {
        let owners = owners.clone();
        thread::spawn(move || {
            let outcome = owners.call(id, &failed_block());
            assert!(matches!(outcome, None | Some(Outcome::Recovered)));
        })
    };
    owners.unregister(id).unwrap();
    gone.store(true, Relaxed);
    caller.join().unwrap();
}

#[test]
fn r14_unregister_meets_call() {
    model("R14 unregister || call", 1_000, r14_unregister_against_call);
}

#[test]
fn r14_twin_unregister_does_not_wait() {
    twin("R14", "unregister does not wait", r14_unregister_against_call);
}
