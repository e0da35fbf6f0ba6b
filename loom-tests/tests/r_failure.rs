//! Memory failure: each granule once, marked or kept, whoever holds it. The
//! lookup tree and the forest meet here as they do in a zone.

#![cfg(loom)]

use loom::thread;
use loom_tests::grounds::{self, drain, singles};
use loom_tests::home::*;
use loom_tests::{bounded, model, twin, twin_bounded};
use memdesc::{Block, Granule, Immediate, Order, OwnerId, Subtype};
use potad::HostSays;
use potad::model::{Front, Ground};
use std::sync::Arc;

/// What a report comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Known,
    Quarantined,
    Told(OwnerId),
    /// No word: the resource's own owner is told.
    Bare,
}

const AT: Granule = Granule(0);

fn one() -> Block {
    Block::containing(AT, Order::ZERO)
}

/// As a zone deals with a failure of one granule.
fn report(ground: &Ground, ram: &Ram, shared: &Front) -> Said {
    if !ground.note(AT) {
        return Said::Known;
    }
    if ground.carve_open(shared, AT) {
        return Said::Quarantined;
    }
    let mark = || ram.tree().poison_immediate(AT).map(|word| word.owner);
    if let Some(owner) = mark() {
        return Said::Told(owner);
    }
    match ground.carve_closed(AT, mark) {
        None => Said::Quarantined,
        Some(owner) => owner.map_or(Said::Bare, Said::Told),
    }
}

/// A ground of which granules 0 and 1 are free, the rest out for good, and a
/// hand for the calls that have none.
fn ground() -> (Arc<Ground>, Ram, Front) {
    let ground = grounds::ground(singles(0..2));
    let shared = ground.front();
    (ground, Ram::new(), shared)
}

/// R11: of two failures of one granule one is the first, and one owner call or
/// one quarantine follows.
fn r11_two_failures() {
    let (ground, ram, shared) = ground();
    assert!(ground.take_exact(one()), "free");
    ram.tree().publish_immediate(one(), raw(7, 0)).unwrap();
    let mine = ground.front();
    let other = {
        let (ground, ram) = (Arc::clone(&ground), ram.clone());
        thread::spawn(move || report(&ground, &ram, &shared))
    };
    let mut said = [report(&ground, &ram, &mine), other.join().unwrap()];
    said.sort_by_key(|said| *said != Said::Known);
    assert_eq!(said, [Said::Known, Said::Told(OwnerId(7))]);
    assert_eq!(ground.poisoned(), (1, 0), "one count");
}

#[test]
fn r11_two_failures_of_one_granule_are_one() {
    model("R11 failure || failure", 10, r11_two_failures);
}

#[test]
fn r11_twin_noted_without_a_test() {
    twin("R11", "noted without a test", r11_two_failures);
}

/// R12, R8: a mark, made while everybody runs, beside the free of the block: its
/// owner is told or the granule is quarantined, and it never circulates again.
fn r12_mark_against_free() {
    r12_free(|ram| {
        let ram = ram.clone();
        Box::new(move || {
            ram.tree().clear_immediate(one()).expect("ours");
        })
    });
}

/// The same, where the hand has a short cut to the word.
fn r12_mark_against_short_free() {
    r12_free(|ram| {
        let (ram, leaf) = (ram.clone(), ram.tree().leaf());
        ram.tree().lead(&leaf, one());
        Box::new(move || assert!(ram.tree().clear_by(&leaf, one()), "ours"))
    });
}

/// The same, where it looks afterwards at what the marker noted, and takes the word
/// by plain stores.
fn r12_mark_against_plain_free() {
    r12_free(|ram| {
        let ram = ram.clone();
        Box::new(move || ram.tree().clear_noted(one()).expect("ours"))
    });
}

fn r12_free(clear: fn(&Ram) -> Box<dyn FnOnce() + Send>) {
    let (ground, ram, shared) = ground();
    assert!(ground.take_exact(one()), "free");
    ram.tree().publish_immediate(one(), raw(7, 0)).unwrap();
    let front = ground.front();
    let clear = clear(&ram);
    let other = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            let kept = front.free_named(&ground, one(), clear);
            (kept, front)
        })
    };
    let said = report(&ground, &ram, &shared);
    let (kept, _front) = other.join().unwrap();
    match said {
        Said::Told(owner) => assert!(kept && owner == OwnerId(7), "told, and kept when freed"),
        Said::Quarantined => {}
        Said::Known | Said::Bare => panic!("{said:?}"),
    }
    assert_eq!(ground.poisoned(), (0, 1), "out of circulation, once");
    assert_eq!(drain(&ground), [1], "and never handed out");
}

#[test]
fn r12_mark_meets_a_free() {
    model("R12 failure || free", 477, r12_mark_against_free);
}

#[test]
fn r12_mark_meets_a_free_by_a_short_cut() {
    model("R12 failure || free by a short cut", 223, r12_mark_against_short_free);
}

#[test]
fn r12_twin_cleared_without_a_barrier() {
    twin("R12, short cut", "cleared without a barrier", r12_mark_against_short_free);
}

#[test]
fn r12_mark_meets_a_free_by_plain_stores() {
    model("R12 failure || free by plain stores", 223, r12_mark_against_plain_free);
}

#[test]
fn r12_twin_cleared_plainly_without_a_barrier() {
    twin("R12, plain stores", "cleared without a barrier", r12_mark_against_plain_free);
}

#[test]
fn r12_twin_freed_plainly_without_looking_at_the_poison() {
    twin("R12, plain stores", "freed without looking at the poison", r12_mark_against_plain_free);
}

#[test]
fn r12_twin_freed_without_looking_at_the_poison() {
    twin("R12, free", "freed without looking at the poison", r12_mark_against_free);
}

#[test]
fn r12_twin_closer_does_not_wait_for_a_free() {
    twin("R12, free", "closer does not wait", r12_mark_against_free);
}

/// R12, R7: a failure beside the allocation of the granule: it is quarantined
/// and not handed out, or its word is marked and its new owner told.
fn r12_mark_against_publish() {
    let (ground, ram, shared) = ground();
    let front = ground.front();
    let other = {
        let (ground, ram) = (Arc::clone(&ground), ram.clone());
        thread::spawn(move || {
            let block = front.take_named(&ground, 0, |block| {
                let word = Immediate::new(Subtype::Raw, OwnerId(7), block.order());
                ram.tree().publish_immediate(block, word).expect("ours");
            });
            (block, front)
        })
    };
    let said = report(&ground, &ram, &shared);
    let (block, front) = other.join().unwrap();
    let block = block.expect("the other granule is free");
    if block == one() {
        assert_eq!(said, Said::Told(OwnerId(7)), "whoever has it knows");
    } else {
        assert_eq!(said, Said::Quarantined);
    }
    let clear = || {
        ram.tree().clear_immediate(block).expect("ours");
    };
    assert_eq!(front.free_named(&ground, block, clear), block == one());
    assert_eq!(ground.poisoned(), (0, 1));
    assert_eq!(drain(&ground), [1]);
}

#[test]
fn r12_mark_meets_an_allocation() {
    model("R12 failure || allocation", 1717, r12_mark_against_publish);
}

#[test]
fn r12_twin_closer_does_not_wait_for_an_allocation() {
    twin("R12, allocation", "closer does not wait", r12_mark_against_publish);
}

/// R13: a reporter takes the granule, which fails, and puts it back, and somebody
/// allocates: it is carved out before, or kept when it is put back.
fn r13_reporter() {
    let (ground, ram, shared) = ground();
    ground.attach(0);
    let front = ground.front();
    let other = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            let isolated = ground.isolate(&front, &mut Granule(0), 0);
            if let Some(block) = isolated {
                ground.put_back(&front, block, HostSays::Nothing);
            }
            let block = ground.alloc_shared(&front, 0);
            (block, front)
        })
    };
    let said = report(&ground, &ram, &shared);
    let (block, front) = other.join().unwrap();
    match said {
        Said::Quarantined => assert_ne!(block, Some(one()), "handed out though quarantined"),
        Said::Bare => {}
        Said::Known | Said::Told(_) => panic!("{said:?}"),
    }
    if let Some(block) = block {
        assert_eq!(front.free(&ground, block), block == one());
    }
    assert_eq!(ground.poisoned(), (0, 1));
    assert_eq!(drain(&ground), [1]);
}

#[test]
fn r13_failure_meets_a_reporter_and_an_allocation() {
    bounded("R13 failure || isolate, put back, allocate", 3, 612, r13_reporter);
}

#[test]
fn r13_twin_put_back_without_looking_at_the_poison() {
    twin_bounded("R13", 3, "given without looking at the poison", r13_reporter);
}
