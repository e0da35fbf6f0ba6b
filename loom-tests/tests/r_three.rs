//! Three at once on one descriptor: what two cannot show.
//!
//! The claims are those of `r_counts`, `r_lock` and `r_tree`, with one more who
//! reads, counts, waits for the lock or changes. Bounded.

#![cfg(loom)]

use loom::thread::{self, JoinHandle};
use loom_tests::home::*;
use loom_tests::{bounded, twin_bounded};
use memdesc::{Granule, pin};

const AT: Granule = Granule(0);

/// Another thread on the tree.
fn beside<R: 'static>(ram: &Ram, does: impl FnOnce(&Ram) -> R + 'static) -> JoinHandle<R> {
    let ram = ram.clone();
    thread::spawn(move || does(&ram))
}

/// Counts what is there, and looks at it.
fn get(ram: &Ram) {
    if let Some(folio) = ram.tree().get::<Folio>(AT) {
        assert_eq!(folio.number(), 7);
        assert!(!folio.header().is_dead(), "counted, and dead");
    }
}

/// Peeks at a granule of what is live throughout.
fn find(ram: &Ram, at: u64) {
    let guard = pin();
    let found = ram.tree().find(Granule(at), &guard).expect("live throughout");
    match Mm::of(&found) {
        Some(Mm::Folio(folio)) => assert!([7, 9].contains(&folio.number())),
        Some(Mm::Slab(slab)) => assert_eq!(slab.number(), 8),
        None => panic!("neither"),
    }
}

/// R1: two get while the last known reference goes: whoever counts has it alive,
/// and it is torn down once.
fn r1_two_gets_against_last_put() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let readers = [(); 2].map(|()| beside(&ram, get));
    drop(folio);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert_eq!(ram.torn_down(), 1);
}

/// R4: two wait for the lock under which the last reference goes: both are
/// woken, and it is torn down once.
fn r4_two_lockers_against_death() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let lockers = [(); 2].map(|()| {
        beside(&ram, |ram| {
            if let Some(folio) = ram.tree().lock::<Folio>(AT) {
                assert!(!folio.header().is_dead());
                folio.add_one();
            }
        })
    });
    drop(folio.into_locked());
    lockers.into_iter().for_each(|locker| locker.join().unwrap());
    assert_eq!(ram.torn_down(), 1);
}

/// R5: three use the lock and the flags beside it: no change is lost.
fn r5_three_at_a_header() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let others = [1, 2].map(|flag| {
        let folio = folio.try_clone().unwrap();
        thread::spawn(move || {
            folio.header().set_flags(flag);
            folio.lock().add_one();
        })
    });
    folio.lock().add_one();
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!((folio.header().flags(), folio.number()), (3, 10));
    drop(folio);
    assert_eq!(ram.torn_down(), 1);
}

/// R10: two look at either half of what is split: something is there throughout.
fn r10_two_finds_against_split(order: u32) {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, order), ram.folio(7)).unwrap();
    let readers = [0, 1 << (order - 1)].map(|at| beside(&ram, move |ram| find(ram, at)));
    let slab = ram.tree().split(&folio.lock(), ram.slab(8)).unwrap();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    drop((folio, slab));
    assert_eq!(ram.torn_down(), 2);
}

/// R10: one peeks and one locks while another descriptor takes the block over.
fn r10_find_lock_against_replace() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let reader = beside(&ram, |ram| find(ram, 0));
    let locker = beside(&ram, |ram| {
        let folio = ram.tree().lock::<Folio>(AT).expect("a folio throughout");
        assert!(!folio.is_moved(), "locked, and lives elsewhere");
        assert!([7, 9].contains(&folio.number()));
    });
    let next = ram.tree().replace(&folio.lock(), ram.folio(9)).unwrap();
    reader.join().unwrap();
    locker.join().unwrap();
    drop((folio, next));
    assert_eq!(ram.torn_down(), 1, "of the one that has the block");
}

/// R12: two marks of one block beside its replacement: the new word has them.
fn r12_two_marks_against_replace() {
    let ram = Ram::new();
    ram.tree().publish_immediate(block(0, 19), raw(1, 19)).unwrap();
    let markers = [0, 1 << 18].map(|at| {
        beside(&ram, move |ram| {
            let marked = ram.tree().poison_immediate(Granule(at));
            assert!(marked.expect("live throughout").poisoned);
        })
    });
    ram.tree().set_immediate(block(0, 19), raw(2, 19)).unwrap();
    markers.into_iter().for_each(|marker| marker.join().unwrap());
    assert!(ram.tree().clear_immediate(block(0, 19)).unwrap().poisoned, "the mark was dropped");
}

#[test]
fn three_that_count() {
    bounded("R1 get || get || last put", 3, 19_000, r1_two_gets_against_last_put);
}

#[test]
fn three_at_a_lock() {
    bounded(
        "R4 waiting lockers || last reference and unlock",
        2,
        14_500,
        r4_two_lockers_against_death,
    );
    bounded("R5 lock || lock, flag || lock, flag", 3, 107_000, r5_three_at_a_header);
}

#[test]
fn three_at_a_block_that_changes() {
    for (order, levels) in [(18, "section to node"), (24, "level 4 to 3")] {
        let name = format!("R10 find || find || split, {levels}");
        bounded(&name, 4, 2300, move || r10_two_finds_against_split(order));
    }
    bounded("R10 find || lock || replace", 3, 14_000, r10_find_lock_against_replace);
    bounded("R12 mark || mark || replace", 4, 21_000, r12_two_marks_against_replace);
}

#[test]
fn twins_of_three() {
    let name = "R1 get || get || last put";
    twin_bounded(name, 2, "get ignores death", r1_two_gets_against_last_put);
    twin_bounded(name, 2, "freed without a grace period", r1_two_gets_against_last_put);
    let name = "R4 waiting lockers || last reference and unlock";
    twin_bounded(name, 2, "unlock wakes nobody", r4_two_lockers_against_death);
    let name = "R5 lock || lock, flag || lock, flag";
    twin_bounded(name, 2, "unlock by a plain store", r5_three_at_a_header);
    let name = "R10 find || find || split";
    let seed = "node linked before it is filled";
    twin_bounded(name, 2, seed, || r10_two_finds_against_split(18));
    let seed = "cleared above before published below";
    twin_bounded(name, 2, seed, || r10_two_finds_against_split(24));
    let name = "R10 find || lock || replace";
    twin_bounded(name, 2, "re-check left out", r10_find_lock_against_replace);
    let name = "R12 mark || mark || replace";
    twin_bounded(name, 2, "replaced without the mark", r12_two_marks_against_replace);
}
