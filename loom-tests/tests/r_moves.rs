//! R10: blocks that are split, replaced and merged while they are read.
//!
//! A lock got through an address proves that the descriptor describes that
//! address, whatever moves meanwhile; an address that is live throughout is
//! never found empty; the loop that gets and re-checks ends. The one that lost
//! its block is marked as moved under its lock, and a word that changes its
//! level is stored where it goes before it is cleared where it was.

#![cfg(loom)]

use loom::thread;
use loom_tests::home::*;
use loom_tests::{bounded, model, twin, twin_bounded};
use memdesc::{Granule, pin};

const AT: Granule = Granule(0);

/// R10: whoever holds a lock got through an address holds the descriptor of
/// that address, whatever is split meanwhile.
fn r10_lock_against_split() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 19), ram.folio(7)).unwrap();
    let locker = {
        let ram = ram.clone();
        thread::spawn(move || {
            let upper = Granule(1 << 18);
            let locked = ram.tree().lock_erased(upper).expect("live throughout");
            assert!(locked.contains(upper));
        })
    };
    let slab = ram.tree().split(&folio.lock(), ram.slab(8)).unwrap();
    locker.join().unwrap();
    drop((folio, slab));
    assert_eq!(ram.torn_down(), 2);
}

#[test]
fn r10_locker_meets_split() {
    model("R10 lock || split", 11_000, r10_lock_against_split);
}

#[test]
fn r10_twin_re_check_left_out() {
    twin("R10", "re-check left out", r10_lock_against_split);
}

/// What R10 asks of whoever reads an address that is live throughout: a get
/// gives something, and a lock is the tree's own answer, for as long as it is
/// held.
fn r10_read(ram: &Ram, at: Granule) {
    let got = ram.tree().get_erased(at).expect("live throughout");
    assert!(!got.header().is_dead());
    drop(got);
    let locked = ram.tree().lock_erased(at).expect("live throughout");
    assert!(locked.contains(at));
    let guard = pin();
    let found = ram.tree().find(at, &guard).expect("live throughout");
    let found = found.descriptor().expect("typed throughout");
    assert_eq!(found.word(), locked.word(), "the lock proves membership");
}

/// R10: another descriptor takes a block over while it is got and locked; the
/// old one goes without a trace on the slots.
fn r10_read_against_replace() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || r10_read(&ram, AT))
    };
    let slab = ram.tree().replace(&folio.lock(), ram.slab(8)).unwrap();
    drop(folio);
    assert_eq!(slab.number(), 8);
    reader.join().unwrap();
    assert_eq!(ram.tree().get::<Slab>(AT).unwrap().number(), 8);
    drop(slab);
    assert_eq!(ram.torn_down(), 1, "of the old one nothing was left to tear down");
    assert!(ram.tree().get_erased(AT).is_none());
}

#[test]
fn r10_reader_meets_replace() {
    bounded("R10 get, lock || replace", 3, 6_000, r10_read_against_replace);
}

#[test]
fn r10_twin_replaced_and_nobody_told() {
    twin_bounded("R10 replace", 3, "moved, and nobody told", r10_read_against_replace);
}

#[test]
fn r10_twin_replaced_and_retracted() {
    twin_bounded("R10 replace", 3, "moved, and retracted all the same", r10_read_against_replace);
}

#[test]
fn r10_twin_moved_and_dead_means_gone() {
    twin_bounded("R10 replace", 3, "moved and dead means gone", r10_read_against_replace);
}

/// R10: two halves become one block while the upper one is got and locked.
fn r10_read_against_merge() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let slab = ram.tree().publish(block(1 << 18, 18), ram.slab(8)).unwrap();
    let upper = Granule(1 << 18);
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || r10_read(&ram, upper))
    };
    assert_eq!(ram.tree().merge(&folio.lock(), &slab.lock()), Ok(block(0, 19)));
    drop(slab);
    reader.join().unwrap();
    assert_eq!(ram.tree().get::<Folio>(upper).unwrap().number(), 7);
    drop(folio);
    assert_eq!(ram.torn_down(), 1);
    assert!(ram.tree().get_erased(upper).is_none());
}

#[test]
fn r10_reader_meets_merge() {
    bounded("R10 get, lock || merge", 3, 10_000, r10_read_against_merge);
}

#[test]
fn r10_twin_merged_and_nobody_told() {
    twin_bounded("R10 merge", 3, "moved, and nobody told", r10_read_against_merge);
}

/// R10: the word of a live block goes up between two arrays; a look-up goes down
/// and does not pass it.
fn r10_find_against_rise() {
    rise(23);
}

/// The same where no block was ever so small that it has a section.
fn r10_find_against_rise_above() {
    rise(29);
}

/// The same from a node into the section above it: who is in the node already
/// still finds the words there.
fn r10_find_against_unlinked_node() {
    rise(17);
}

fn rise(order: u32) {
    let ram = Ram::new();
    let half = 1 << order;
    let folio = ram.tree().publish(block(0, order), ram.folio(7)).unwrap();
    let slab = ram.tree().publish(block(half, order), ram.slab(8)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            let guard = pin();
            assert!(ram.tree().find(Granule(half), &guard).is_some(), "live throughout");
        })
    };
    assert_eq!(ram.tree().merge(&folio.lock(), &slab.lock()), Ok(block(0, order + 1)));
    reader.join().unwrap();
}

#[test]
fn r10_find_meets_rise() {
    bounded("R10 find || merge into the array above", 3, 1_900, r10_find_against_rise);
}

#[test]
fn r10_find_meets_rise_above() {
    bounded("R10 find || merge two arrays above", 3, 1_900, r10_find_against_rise_above);
}

#[test]
fn r10_find_meets_unlinked_node() {
    bounded("R10 find || merge, a node goes", 3, 25, r10_find_against_unlinked_node);
}

#[test]
fn r10_twin_node_reused_at_once() {
    let seed = "node reused without a grace period";
    twin_bounded("R10 node", 3, seed, r10_find_against_unlinked_node);
}

#[test]
fn r10_twin_rise_not_counted() {
    twin_bounded("R10 rise", 3, "rise not counted", r10_find_against_rise);
    twin_bounded("R10 rise", 3, "rise counted relaxed", r10_find_against_rise);
    twin_bounded("R10 rise", 3, "rises are seen relaxed", r10_find_against_rise);
}
