//! R4 to R6: the lock, what shares its word, and what a publication shows.
//!
//! The lock is one bit of the word that has the count and the flags. It keeps
//! what it locks, wakes who waits, and orders what its holders write; and what
//! is found by any slot was initialised before.
//!
//! Blocks are of order 18 and up: their words lie in the section array, so that
//! a model makes few atomics.

#![cfg(loom)]

use loom::thread;
use loom_tests::home::*;
use loom_tests::{model, twin};
use memdesc::{Granule, pin};

const AT: Granule = Granule(0);

/// R4: a locker that waits is woken, also when the last reference goes under
/// the lock; the lock keeps what it locks, and somebody tears it down.
fn r4_lock_against_death_under_the_lock() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let locker = {
        let ram = ram.clone();
        thread::spawn(move || {
            if let Some(folio) = ram.tree().lock::<Folio>(AT) {
                assert!(!folio.header().is_dead());
                folio.add_one();
            }
        })
    };
    // Whoever was first, the other waits; our lock outlives our reference.
    let locked = folio.into_locked();
    locked.add_one();
    drop(locked);
    locker.join().unwrap();
    assert_eq!(ram.torn_down(), 1);
}

#[test]
fn r4_locker_meets_death_under_the_lock() {
    model(
        "R4 waiting locker || last reference and unlock",
        15_000,
        r4_lock_against_death_under_the_lock,
    );
}

#[test]
fn r4_twin_nobody_is_woken() {
    twin("R4", "unlock wakes nobody", r4_lock_against_death_under_the_lock);
}

/// R5: the lock bit, the count and the flags share a word, and none loses the
/// other's change.
fn r5_lock_against_flags_and_counts() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let other = {
        let folio = folio.try_clone().unwrap();
        thread::spawn(move || {
            folio.header().set_flags(2);
            folio.lock().add_one();
        })
    };
    folio.lock().add_one();
    other.join().unwrap();
    assert_eq!(folio.header().flags(), 2);
    assert!(folio.is_unshared());
    assert_eq!(folio.number(), 9);
    drop(folio);
    assert_eq!(ram.torn_down(), 1);
}

#[test]
fn r5_lock_meets_flags_and_counts() {
    model("R5 lock || flags and counts", 3_000, r5_lock_against_flags_and_counts);
}

#[test]
fn r5_twin_plain_unlock() {
    twin("R5", "unlock by a plain store", r5_lock_against_flags_and_counts);
}

/// R6: what is found by any slot is initialised.
fn r6_publish_against_get() {
    let ram = Ram::new();
    // The table is there before the threads are.
    ram.tree().publish_immediate(block(0, 18), raw(1, 18)).unwrap();
    ram.tree().clear_immediate(block(0, 18)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            let guard = pin();
            let upper = Granule((1 << 18) + 5);
            if let Some(found) = ram.tree().find(upper, &guard) {
                assert_eq!(found.block(), block(0, 19));
                assert_eq!(found.downcast::<Folio>().unwrap().number(), 7);
            }
            if let Some(folio) = ram.tree().get::<Folio>(AT) {
                assert_eq!(folio.number(), 7);
            }
        })
    };
    let folio = ram.tree().publish(block(0, 19), ram.folio(7)).unwrap();
    reader.join().unwrap();
    drop(folio);
    assert_eq!(ram.torn_down(), 1);
}

#[test]
fn r6_publish_meets_readers_of_two_slots() {
    model("R6 publish of two slots || find, get", 14, r6_publish_against_get);
}

#[test]
fn r6_twin_relaxed_publish() {
    twin("R6", "relaxed publish", r6_publish_against_get);
}
