//! Cutting the upper part off a live block: what is kept is found throughout,
//! and a mark is not lost.

#![cfg(loom)]

use loom::thread;
use loom_tests::home::*;
use loom_tests::{bounded, model, twin, twin_bounded};
use memdesc::{Granule, Granules, Order, pin};

/// R12: a mark beside a cut reaches the piece that is kept, wherever it came in.
fn r12_mark_against_cut() {
    let ram = Ram::new();
    // Four slots, of which three are kept: two pieces.
    ram.tree().publish_immediate(block(0, 20), raw(1, 20)).unwrap();
    let marker = {
        let ram = ram.clone();
        thread::spawn(move || {
            let marked = ram.tree().poison_immediate(Granule(2 << 18));
            assert!(marked.expect("live throughout").poisoned);
        })
    };
    let keep = Granules::new(Granule(0), Granule((3 << 18) - 1)).unwrap();
    ram.tree().cut_immediate(block(0, 20), keep).unwrap();
    marker.join().unwrap();
    // The lower piece may carry it too, for the old word cannot tell.
    assert!(ram.tree().clear_immediate(block(2 << 18, 18)).unwrap().poisoned);
    ram.tree().clear_immediate(block(0, 19)).unwrap();
    assert!(ram.tree().is_empty_range(block(0, 20).granules()));
}

#[test]
fn r12_mark_meets_cut() {
    model("R12 mark || cut", 39, r12_mark_against_cut);
}

#[test]
fn r12_twin_mark_dropped_by_a_cut() {
    twin("R12, cut", "cut without the mark", r12_mark_against_cut);
}

/// R10: a block that is shrunk across a node boundary is found throughout in
/// what it keeps.
fn r10_find_against_shrink() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 19), ram.folio(7)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            let guard = pin();
            let found = ram.tree().find(Granule(5), &guard).expect("live throughout");
            assert!(matches!(Mm::of(&found), Some(Mm::Folio(folio)) if folio.number() == 7));
        })
    };
    let order = Order::new(17).unwrap();
    assert_eq!(ram.tree().shrink(&folio.lock(), order), Ok(block(0, 17)));
    assert!(ram.tree().get::<Folio>(Granule(1 << 17)).is_none());
    reader.join().unwrap();
    drop(folio);
    assert_eq!(ram.torn_down(), 1);
    assert!(ram.tree().is_empty_range(block(0, 19).granules()));
}

#[test]
fn r10_reader_meets_shrink_into_a_node() {
    model("R10 find || shrink", 100, r10_find_against_shrink);
}

/// R10: whoever locks above what is kept came before, or finds nothing.
fn r10_lock_against_shrink() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 19), ram.folio(7)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            if let Some(folio) = ram.tree().lock::<Folio>(Granule(1 << 18)) {
                assert_eq!(folio.block(), block(0, 19), "proved by the lock");
            }
        })
    };
    let order = Order::new(18).unwrap();
    assert_eq!(ram.tree().shrink(&folio.lock(), order), Ok(block(0, 18)));
    reader.join().unwrap();
    drop(folio);
    assert_eq!(ram.torn_down(), 1);
}

#[test]
fn r10_lock_meets_shrink() {
    bounded("R10 lock || shrink", 2, 68, r10_lock_against_shrink);
}

#[test]
fn r10_twin_cut_linked_before_filled() {
    twin("R10, shrink", "cut linked before it is filled", r10_find_against_shrink);
}

#[test]
fn cut_twins_relaxed() {
    twin("R10, shrink", "cut linked relaxed", r10_find_against_shrink);
    twin_bounded("R10 lock || shrink", 2, "lock relaxed", r10_lock_against_shrink);
    twin_bounded("R10 lock || shrink", 2, "unlock relaxed", r10_lock_against_shrink);
}
