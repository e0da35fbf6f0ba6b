//! R1, R2, R6 and R17 on the real epoch.
//!
//! The other models use an abstract reclamation that promises what an epoch
//! does and nothing more (`memdesc::reclaim`); its own lock orders a little more
//! than that. These run on crossbeam's epoch, instrumented. Bounded at two
//! preemptions; a twin that is found cannot be taken apart, so it runs in a
//! process of its own.
//!
//! ```sh
//! cargo loom-epoch        # see .cargo/config.toml
//! ```

#![cfg(all(loom, crossbeam_loom))]

use loom::thread;
use loom_tests::home::*;
use loom_tests::{bounded, twin_in_child};
use memdesc::{Granule, Participant, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const AT: Granule = Granule(0);
const EARLY: &str = "freed without a grace period";

/// R1: a get meets the last put, as in `r_counts`.
fn r1_get_against_last_put() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            if let Some(folio) = ram.tree().get::<Folio>(AT) {
                assert_eq!(folio.number(), 7);
                assert!(!folio.header().is_dead());
            }
        })
    };
    drop(folio);
    reader.join().unwrap();
    assert_eq!(ram.torn_down(), 1);
}

/// R2: a peek meets a free and another type, as in `r_counts`.
fn r2_peek_against_free_and_reuse() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            let guard = pin();
            match ram.tree().find(AT, &guard).as_ref().and_then(Mm::of) {
                Some(Mm::Folio(folio)) => assert_eq!(folio.number(), 7),
                Some(Mm::Slab(slab)) => assert_eq!(slab.number(), 8),
                None => {}
            }
        })
    };
    drop(folio);
    drop(ram.tree().publish(block(0, 18), ram.slab(8)).unwrap());
    reader.join().unwrap();
    assert_eq!(ram.torn_down(), 2);
}

/// R6: a publication meets a reader, as in `r_lock`.
fn r6_publish_against_find() {
    let ram = Ram::new();
    ram.tree().publish_immediate(block(0, 18), raw(1, 18)).unwrap();
    ram.tree().clear_immediate(block(0, 18)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            let guard = pin();
            if let Some(found) = ram.tree().find(AT, &guard) {
                assert_eq!(found.block(), block(0, 18));
                assert_eq!(found.downcast::<Folio>().unwrap().number(), 7);
            }
        })
    };
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    reader.join().unwrap();
    drop(folio);
}

/// R17: a reader stays pinned over two advances of the epoch, by a thread that
/// retires and collects and ends: what it looks at is there to the end.
fn r17_pinned_over_two_advances() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let guard = pin();
    let found = ram.tree().find(AT, &guard).expect("published");
    let peeked = found.downcast::<Folio>().expect("a folio");
    let retirer = thread::spawn(move || {
        drop(folio);
        for _ in 0..3 {
            pin().flush();
        }
    });
    // The header looks whether its cell is still alive; the body does not.
    assert_eq!((found.block(), peeked.number()), (block(0, 18), 7));
    retirer.join().unwrap();
    assert_eq!((found.block(), peeked.number()), (block(0, 18), 7), "three rounds later");
    assert_eq!(ram.torn_down(), 1);
}

/// R17: a participant ends with calls that it deferred and did not hand over;
/// they run all the same, once each, when others collect, and not under a pin.
/// (Not a thread of its own: loom drops a thread's locals after it was joined,
/// other than the system.)
fn r17_end_with_a_full_bag() {
    let ran = Arc::new(AtomicUsize::new(0));
    let guard = pin();
    let collector = thread::spawn(|| {
        let other = Participant::new();
        other.pin().flush();
    });
    let me = Participant::new();
    let mine = me.pin();
    for _ in 0..3 {
        let ran = Arc::clone(&ran);
        mine.defer(move || {
            ran.fetch_add(1, Relaxed);
        });
    }
    drop(mine);
    drop(me);
    collector.join().unwrap();
    (0..3).for_each(|_| guard.flush());
    assert_eq!(ran.load(Relaxed), 0, "run under a pin");
    drop(guard);
    for _ in 0..8 {
        pin().flush();
    }
    assert_eq!(ran.load(Relaxed), 3, "lost with its participant");
}

#[test]
fn real_r1_get_meets_last_put() {
    bounded("real R1 get || last put", 2, 8_000, r1_get_against_last_put);
}

#[test]
fn real_r1_twin_early_free() {
    twin_in_child("real_r1_twin_early_free", 2, EARLY, r1_get_against_last_put);
}

#[test]
fn real_r2_peek_meets_free_and_reuse() {
    let name = "real R2 peek || free, other type, free";
    bounded(name, 2, 6_000, r2_peek_against_free_and_reuse);
}

#[test]
fn real_r2_twin_early_free() {
    twin_in_child("real_r2_twin_early_free", 2, EARLY, r2_peek_against_free_and_reuse);
}

#[test]
fn real_r6_publish_meets_find() {
    bounded("real R6 publish || find", 2, 500, r6_publish_against_find);
}

#[test]
fn real_r6_twin_relaxed_publish() {
    twin_in_child("real_r6_twin_relaxed_publish", 2, "relaxed publish", r6_publish_against_find);
}

#[test]
fn real_r17_a_pin_holds_over_two_advances() {
    bounded("real R17 pin || retire, two advances", 2, 50, r17_pinned_over_two_advances);
}

#[test]
fn real_r17_twin_early_free() {
    twin_in_child("real_r17_twin_early_free", 2, EARLY, r17_pinned_over_two_advances);
}

#[test]
fn real_r17_garbage_outlives_its_participant() {
    bounded("real R17 end with a full bag || collect", 2, 2_000, r17_end_with_a_full_bag);
}

#[test]
fn real_r17_twin_deferred_call_runs_at_once() {
    let seed = "deferred call runs at once";
    twin_in_child("real_r17_twin_deferred_call_runs_at_once", 2, seed, r17_end_with_a_full_bag);
}
