//! R7, R8, R9 and R15 on the real zone: blocks that change hands while their
//! memory fails, their words are written anew, or their span leaves.
//!
//! # What is claimed
//!
//! - R7: a granule that fails while it is being allocated is found after its
//!   publication, or taken out of circulation: never neither.
//! - R8: of a free and a failure, one sees the other; what is *live afterwards*
//!   has had its owner told, or the granule is quarantined. (That the former
//!   owner was told is not enough: it answers "not mine".)
//! - R9: every clear of a slot comes before the free that lets the next owner
//!   publish, so that its word is never wiped out and never refused.
//! - R15: a look-up beside a removal finds what was there, or nothing; after it,
//!   nothing, and a failure there is outside.
//!
//! Each with a hand per thread, for a hand is where granules hide. Bounded: a
//! report is a rendezvous and a look-up.

#![cfg(loom)]

use loom::thread;
use loom_tests::grounds::{is_out_of_circulation, owner, zone};
use loom_tests::home::{Folio, Mm, Slab};
use loom_tests::{bounded, twin_bounded};
use memdesc::{FailureKind, Granule, Order, OwnerId};
use potad::{Aim, Error, Potad};
use std::sync::atomic::Ordering::Relaxed;

/// R7: granule 0 fails while a hand allocates it with a word.
fn r7_failure_against_allocation() {
    let potad = Potad::new();
    let (ram, (id, told)) = (zone(&potad, 2), owner(&potad));
    let mut hand = ram.hand();
    let user = thread::spawn(move || {
        let block = hand.alloc_raw(Order::ZERO, id).expect("two are free, one fails");
        (block, hand)
    });
    let report = ram.report_failure(0, 0, FailureKind::Injected).unwrap();
    let (block, mut hand) = user.join().unwrap();
    if block.base() == Granule(0) {
        assert_eq!((told.load(Relaxed), report.notified), (1, 1), "live, and not told");
    } else {
        assert_eq!((report.quarantined, told.load(Relaxed)), (1, 0));
    }
    hand.free_raw(block).unwrap();
    drop(hand);
    is_out_of_circulation(&ram);
}

/// R7: the same with a descriptor.
fn r7_failure_against_publication() {
    let potad = Potad::new();
    let (ram, (id, told)) = (zone(&potad, 2), owner(&potad));
    let mut hand = ram.hand();
    let user = thread::spawn(move || {
        let folio = hand.alloc_owned(Order::ZERO, id, Folio::of(7)).ok();
        (folio.expect("two are free, one fails"), hand)
    });
    let report = ram.report_failure(0, 0, FailureKind::Injected).unwrap();
    let (folio, hand) = user.join().unwrap();
    if folio.block().base() == Granule(0) {
        assert!(folio.is_poisoned(), "live, and not marked");
        assert_eq!((told.load(Relaxed), report.notified), (1, 1), "live, and not told");
    } else {
        assert_eq!((report.quarantined, told.load(Relaxed)), (1, 0));
    }
    drop((folio, hand));
    is_out_of_circulation(&ram);
}

#[test]
fn r7_failure_meets_a_block_in_transit() {
    bounded("R7 fail || alloc with a word", 2, 990, r7_failure_against_allocation);
    bounded("R7 fail || alloc with a descriptor", 2, 960, r7_failure_against_publication);
}

#[test]
fn r7_twin_closer_does_not_wait() {
    let seed = "closer does not wait";
    twin_bounded("R7 fail || alloc with a word", 2, seed, r7_failure_against_allocation);
    twin_bounded("R7 fail || alloc with a descriptor", 2, seed, r7_failure_against_publication);
}

/// R8: granule 0 fails while its owner frees it and another allocates it again.
/// Whoever has it afterwards was told.
fn r8_failure_against_free_and_reuse() {
    let potad = Potad::new();
    let ram = zone(&potad, 1);
    let ((first, told_first), (second, told_second)) = (owner(&potad), owner(&potad));
    let mut hand = ram.hand();
    let block = hand.alloc_raw(Order::ZERO, first).unwrap();
    let user = thread::spawn(move || {
        hand.free_raw(block).unwrap();
        let again = hand.alloc_raw(Order::ZERO, second).ok();
        (again, hand)
    });
    let report = ram.report_failure(0, 0, FailureKind::Injected).unwrap();
    assert_eq!(report.first, 1);
    let (again, mut hand) = user.join().unwrap();
    let told = (told_first.load(Relaxed), told_second.load(Relaxed));
    assert_eq!(told.0 + told.1, usize::from(report.notified == 1), "told once, if at all");
    match again {
        Some(again) => {
            assert_eq!(told, (0, 1), "who has it now was not told");
            hand.free_raw(again).unwrap();
        }
        None => assert_eq!(ram.stats().quarantined, 1, "nobody has it, and it is not kept"),
    }
    drop(hand);
    is_out_of_circulation(&ram);
}

/// R8: the same with descriptors.
fn r8_failure_against_put_and_reuse() {
    let potad = Potad::new();
    let ram = zone(&potad, 1);
    let ((first, told_first), (second, told_second)) = (owner(&potad), owner(&potad));
    let folio = ram.alloc_owned(Order::ZERO, first, Folio::of(7)).ok().unwrap();
    let user = {
        let ram = ram.clone();
        thread::spawn(move || {
            drop(folio);
            ram.alloc_owned(Order::ZERO, second, Slab::of(8)).ok()
        })
    };
    let report = ram.report_failure(0, 0, FailureKind::Injected).unwrap();
    let again = user.join().unwrap();
    let told = (told_first.load(Relaxed), told_second.load(Relaxed));
    assert_eq!(told.0 + told.1, usize::from(report.notified == 1), "told once, if at all");
    if again.is_some() {
        assert_eq!(told, (0, 1), "who has it now was not told");
    }
    drop(again);
    is_out_of_circulation(&ram);
}

#[test]
fn r8_failure_meets_free_and_reuse() {
    bounded("R8 fail || free, alloc", 2, 1700, r8_failure_against_free_and_reuse);
    bounded("R8 fail || last put, alloc", 2, 2290, r8_failure_against_put_and_reuse);
}

#[test]
fn r8_twins() {
    let seed = "closer does not wait";
    twin_bounded("R8 fail || free, alloc", 2, seed, r8_failure_against_free_and_reuse);
    let seed = "freed without looking at the poison";
    twin_bounded("R8 fail || free, alloc", 2, seed, r8_failure_against_free_and_reuse);
    let seed = "get ignores death";
    twin_bounded("R8 fail || last put, alloc", 2, seed, r8_failure_against_put_and_reuse);
}

/// R9: a block goes from one hand to another, with its word: the clear never
/// wipes the new owner's word out, and never makes its publication refused.
fn r9_clear_against_publish() {
    let potad = Potad::new();
    let ram = zone(&potad, 1);
    let (mut theirs, mut mine) = (ram.hand(), ram.hand());
    let block = theirs.alloc_raw(Order::ZERO, OwnerId(1)).unwrap();
    let other = thread::spawn(move || {
        theirs.free_raw(block).unwrap();
        theirs
    });
    match mine.alloc_raw(Order::ZERO, OwnerId(2)) {
        Ok(block) => {
            let guard = memdesc::pin();
            let found = ram.find(0, &guard).expect("published");
            assert_eq!(found.owner(), OwnerId(2), "wiped out, or the old one");
            drop(guard);
            mine.free_raw(block).expect("its word is there");
        }
        Err(why) => assert_eq!(why, Error::Exhausted { order: Order::ZERO }),
    }
    let theirs = other.join().unwrap();
    drop((mine, theirs));
    assert_eq!(ram.validate(), Ok(1));
}

/// R9: the same on the shared path, for a block of two slots and descriptors.
fn r9_teardown_against_publish() {
    let potad = Potad::new();
    let ram = zone(&potad, 2);
    let order = Order::new(1).unwrap();
    let (mut theirs, mut mine) = (ram.hand(), ram.hand());
    let folio = theirs.alloc(order, Folio::of(7)).ok().unwrap();
    let other = thread::spawn(move || {
        drop(folio);
        theirs.flush();
        theirs
    });
    match mine.alloc(order, Slab::of(8)) {
        Ok(slab) => {
            let guard = memdesc::pin();
            for at in [0, 1] {
                let found = ram.find(at, &guard).expect("published");
                assert!(matches!(Mm::of(&found), Some(Mm::Slab(slab)) if slab.number() == 8));
            }
            drop(guard);
            drop(slab);
        }
        Err(refused) => assert_eq!(refused.why, Error::Exhausted { order }),
    }
    let theirs = other.join().unwrap();
    drop((mine, theirs));
    assert_eq!(ram.validate(), Ok(2));
}

#[test]
fn r9_clear_meets_the_next_owners_publish() {
    bounded("R9 clear, free || alloc, publish", 2, 60, r9_clear_against_publish);
    bounded("R9 teardown, free || alloc, publish", 2, 53, r9_teardown_against_publish);
}

#[test]
fn r9_twins() {
    let name = "R9 clear, free || alloc, publish";
    twin_bounded(name, 2, "closer does not wait", r9_clear_against_publish);
    twin_bounded(name, 2, "bracket ends relaxed", r9_clear_against_publish);
    let name = "R9 teardown, free || alloc, publish";
    twin_bounded(name, 2, "words left behind", r9_teardown_against_publish);
}

/// R15: a span leaves, its words and nodes with it, and the node is used again
/// elsewhere, while a reader looks an address of it up.
fn r15_unplug_against_lookup() {
    let potad = Potad::new();
    let ram = zone(&potad, 2);
    ram.hot_add(64..128).unwrap();
    let within = Aim::lowest().within(64..66);
    let order = Order::new(1).unwrap();
    let folio = ram.alloc_by(order, OwnerId::RESOURCE, Folio::of(7), &within).ok().unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            let guard = memdesc::pin();
            let Some(found) = ram.find(65, &guard) else { return };
            let Some(Mm::Folio(folio)) = Mm::of(&found) else { panic!("another's word") };
            assert_eq!(folio.number(), 7);
        })
    };
    drop(folio);
    ram.hot_remove(64..128).unwrap().finish().expect("nobody holds a part of it");
    assert_eq!(ram.find(65, &memdesc::pin()).map(|found| found.owner()), None);
    // What has been shed may be what this uses.
    let slab = ram.alloc(Order::ZERO, Slab::of(8)).ok().unwrap();
    let gone = ram.report_failure(65, 0, FailureKind::Injected);
    assert!(matches!(gone, Err(Error::Outside { address: 65 })), "{gone:?}");
    reader.join().unwrap();
    drop(slab);
    assert_eq!(ram.validate(), Ok(2));
}

#[test]
fn r15_unplug_meets_lookup() {
    bounded("R15 unplug, reuse || find", 2, 50, r15_unplug_against_lookup);
}

#[test]
fn r15_twins() {
    let name = "R15 unplug, reuse || find";
    twin_bounded(name, 2, "freed without a grace period", r15_unplug_against_lookup);
}
