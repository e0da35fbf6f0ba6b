//! R1 to R3: counting a descriptor that others give up.
//!
//! A reader loads a word under a pin and adds one to the count; meanwhile the
//! last reference goes, the block is freed, and given out again with another
//! type. Whoever counts has something alive of the type it asked for, and each
//! descriptor is torn down once: the count has a sticky zero, and the edge to it
//! is one compare-exchange with death.
//!
//! Blocks are of order 18 and up: their words lie in the section array, so that
//! a model makes few atomics. (The same on the real epoch: `r_epoch`.)

#![cfg(loom)]

use loom::thread;
use loom_tests::home::*;
use loom_tests::{model, twin};
use memdesc::{Found, Granule, pin};

const AT: Granule = Granule(0);

/// R1: a reader that loaded the word may count or not, but what it counts is
/// readable, and the teardown runs once.
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
    assert!(ram.tree().get::<Folio>(AT).is_none());
}

#[test]
fn r1_get_meets_last_put() {
    model("R1 get || last put", 1_600, r1_get_against_last_put);
}

#[test]
fn r1_twin_without_a_pin() {
    twin("R1", "read without a pin", r1_get_against_last_put);
}

#[test]
fn r1_twin_early_free() {
    twin("R1", "freed without a grace period", r1_get_against_last_put);
}

#[test]
fn r1_twin_get_ignores_death() {
    twin("R1", "get ignores death", r1_get_against_last_put);
}

/// R2: while a reader holds the old word the block is freed, published anew
/// with another type and freed again: a peek shows what its type says.
fn r2_peek_against_free_and_reuse() {
    r2(|ram| {
        let guard = pin();
        match ram.tree().find(AT, &guard).as_ref().and_then(Mm::of) {
            Some(Mm::Folio(folio)) => assert_eq!(folio.number(), 7),
            Some(Mm::Slab(slab)) => assert_eq!(slab.number(), 8),
            None => {}
        }
    });
}

/// R2: and a get gives what was asked for, alive, or nothing.
fn r2_get_against_free_and_reuse() {
    r2(|ram| {
        if let Some(slab) = ram.tree().get::<Slab>(AT) {
            assert_eq!(slab.number(), 8);
            assert!(!slab.header().is_dead());
        }
    });
}

fn r2(read: impl FnOnce(Ram) + 'static) {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || read(ram))
    };
    drop(folio);
    // No reader counts folios, so this was the last reference.
    let slab = ram.tree().publish(block(0, 18), ram.slab(8)).unwrap();
    drop(slab);
    reader.join().unwrap();
    assert_eq!(ram.torn_down(), 2);
}

#[test]
fn r2_peek_meets_free_and_reuse() {
    model("R2 peek || free, other type, free", 700, r2_peek_against_free_and_reuse);
}

#[test]
fn r2_get_meets_free_and_reuse() {
    model("R2 get || free, other type, free", 1_000, r2_get_against_free_and_reuse);
}

#[test]
fn r2_twin_early_free() {
    twin("R2", "freed without a grace period", r2_peek_against_free_and_reuse);
}

#[test]
fn r2_twin_without_a_pin() {
    twin("R2", "read without a pin", r2_get_against_free_and_reuse);
}

#[test]
fn r2_twin_words_left_behind() {
    twin("R2", "words left behind", r2_get_against_free_and_reuse);
}

/// R3: of a last put and a get exactly one wins: it lives on or is torn down,
/// and torn down once.
fn r3_put_against_try_get() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            let guard = pin();
            let Some(Found::Descriptor(peeked)) = ram.tree().find(AT, &guard) else { return };
            let Some(got) = peeked.try_get() else { return };
            drop(guard);
            assert!(!got.header().is_dead(), "counted, and dead");
            assert_eq!(ram.torn_down(), 0, "counted, and torn down");
        })
    };
    drop(folio);
    reader.join().unwrap();
    assert_eq!(ram.torn_down(), 1);
}

#[test]
fn r3_put_meets_try_get() {
    model("R3 put to 0 || try_get", 1_600, r3_put_against_try_get);
}

#[test]
fn r3_twin_death_in_two_steps() {
    twin("R3", "death not in one step", r3_put_against_try_get);
}

#[test]
fn r3_twin_get_ignores_death() {
    twin("R3", "get ignores death", r3_put_against_try_get);
}

#[test]
fn r1_twin_put_relaxed() {
    twin("R1", "put relaxed", r1_get_against_last_put);
}
