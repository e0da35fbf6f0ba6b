//! The hands: what an owner does in its bracket, and who reaches in.

#![cfg(loom)]

use loom::thread;
use loom_tests::{model, twin};
use memdesc::{Block, Granule};
use potad::model::{Front, Ground};
use std::sync::Arc;

/// A ground of 64 granules whose hand has claimed all of them but one, which it
/// has given out.
fn claimed() -> (Arc<Ground>, Front, Block) {
    let ground = Arc::new(Ground::new(64, 1));
    let front = ground.front();
    let out = front.take(&ground, 0).unwrap();
    assert!(ground.free_granules().is_empty());
    (ground, front, out)
}

/// A6: a closer empties a hand beside the hand's own allocation: nobody gets
/// the same granule, none is lost.
fn a6_steal_against_take() {
    let (ground, front, out) = claimed();
    let owner = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || (front.take(&ground, 0), front))
    };
    let stolen = ground.take_closed(5);
    let (taken, front) = owner.join().unwrap();
    let taken = taken.expect("63 are free, and the closer takes 32");
    let stolen = stolen.expect("32 in a row are free, whatever the owner takes");
    assert!(!stolen.overlaps(taken) && !stolen.overlaps(out) && taken != out);
    front.give(&ground, taken);
    front.give(&ground, out);
    ground.give(stolen);
    assert_eq!(ground.take_closed(6).map(Block::base), Some(Granule(0)), "all came back");
}

#[test]
fn a6_closer_meets_the_hands_own_allocation() {
    model("A6 close || take", 67, a6_steal_against_take);
}

#[test]
fn a6_twin_bracket_without_a_barrier() {
    twin("A6", "bracket without a barrier", a6_steal_against_take);
}

#[test]
fn a6_twin_closer_does_not_wait() {
    twin("A6", "closer does not wait", a6_steal_against_take);
}

/// A6: the same where what the hand allocates is what it freed and has not given:
/// a block of order 4, which waits.
fn a6_steal_against_what_waits() {
    let ground = Arc::new(Ground::new(64, 1));
    let front = ground.front();
    let freed = ground.alloc_warm(&front, 4).unwrap();
    front.free(&ground, freed);
    assert!(!ground.free_granules().contains(&freed.base().0), "it waits in the hand");
    let owner = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || (ground.alloc_warm(&front, 4), front))
    };
    let stolen = ground.take_closed(5);
    let (taken, front) = owner.join().unwrap();
    let (taken, stolen) = (taken.expect("48 are free"), stolen.expect("two of 32 are free"));
    assert!(!stolen.overlaps(taken));
    front.give(&ground, taken);
    ground.give(stolen);
    assert_eq!(ground.take_closed(6).map(Block::base), Some(Granule(0)), "all came back");
}

#[test]
fn a6_closer_meets_what_waits_for_the_hand() {
    model("A6 close || take what waits", 67, a6_steal_against_what_waits);
}

#[test]
fn a6_twin_bracket_without_a_barrier_around_what_waits() {
    twin("A6 what waits", "bracket without a barrier", a6_steal_against_what_waits);
}

/// A ground of two words, both there, and a hand.
fn two_words() -> (Arc<Ground>, Front) {
    let ground = Arc::new(Ground::new(128, 1));
    ground.ensure(Block::containing(Granule(0), memdesc::Order::ZERO));
    ground.ensure(Block::containing(Granule(64), memdesc::Order::ZERO));
    let front = ground.front();
    (ground, front)
}

/// All is out but one granule, in a word of which all else is out: it waits where it
/// was freed.
fn waiting() -> (Arc<Ground>, Front, Granule) {
    let (ground, front) = two_words();
    let first = front.take(&ground, 0).unwrap();
    // So that the claim is of another word.
    (1..128).for_each(|_| assert!(front.take(&ground, 0).is_some()));
    front.free(&ground, first);
    assert!(ground.free_granules().is_empty(), "it waits in the hand");
    (ground, front, first.base())
}

/// A6: a closer meets the hot allocation of the one granule that waits.
fn a6_steal_against_what_waits_in_a_full_word() {
    let (ground, front, freed) = waiting();
    let owner = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || (front.take_hot(&ground, 0), front))
    };
    let stolen = ground.take_closed(0);
    let (taken, front) = owner.join().unwrap();
    assert!(stolen.is_some() != taken.is_some(), "one of two: {stolen:?}, {taken:?}");
    assert!(stolen.or(taken).is_some_and(|block| block.base() == freed));
    drop(front);
}

#[test]
fn a6_closer_meets_what_waits_in_a_full_word() {
    model(
        "A6 close || take what waits in a full word",
        67,
        a6_steal_against_what_waits_in_a_full_word,
    );
}

#[test]
fn a6_twins_of_what_waits_in_a_full_word() {
    for seed in ["bracket without a barrier", "closer does not wait"] {
        twin("A6 full word", seed, a6_steal_against_what_waits_in_a_full_word);
    }
}

/// R7: the granule fails meanwhile: it is carved out of the hand, or the allocation
/// has it.
fn r7_failure_against_what_waits_in_a_full_word() {
    let (ground, front, freed) = waiting();
    let owner = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || (front.take_hot(&ground, 0), front))
    };
    let carved = ground.fail(freed);
    let (taken, front) = owner.join().unwrap();
    assert!(carved != taken.is_some(), "carved {carved}, allocated {taken:?}");
    drop(front);
}

#[test]
fn r7_failure_meets_what_waits_in_a_full_word() {
    model(
        "R7 fail || take what waits in a full word",
        67,
        r7_failure_against_what_waits_in_a_full_word,
    );
}

#[test]
fn r7_twin_closer_does_not_wait_for_what_waits_in_a_full_word() {
    let broken = r7_failure_against_what_waits_in_a_full_word;
    twin("R7 full word", "closer does not wait", broken);
}

/// Two blocks of order 6 are all there is, and a hand keeps one of them.
fn kept() -> (Arc<Ground>, Front, Block) {
    let (ground, front) = two_words();
    let freed = ground.alloc_warm(&front, 6).unwrap();
    front.free(&ground, freed);
    assert!(!ground.free_granules().contains(&freed.base().0), "the hand keeps it");
    (ground, front, freed)
}

/// A6: the same beside an allocation of the block that the hand keeps.
fn a6_steal_against_what_is_kept() {
    let (ground, front, _) = kept();
    let owner = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || (ground.alloc_warm(&front, 6), front))
    };
    let stolen = ground.take_closed(6);
    let (taken, front) = owner.join().unwrap();
    let (taken, stolen) = (taken.expect("two for two"), stolen.expect("two for two"));
    assert!(!stolen.overlaps(taken));
    front.give(&ground, taken);
    ground.give(stolen);
    let all = ground.take_closed(7);
    assert_eq!(all.map(Block::base), Some(Granule(0)), "all came back, and merged");
}

#[test]
fn a6_closer_meets_what_the_hand_keeps() {
    model("A6 close || take what is kept", 67, a6_steal_against_what_is_kept);
}

#[test]
fn a6_twin_bracket_without_a_barrier_around_what_is_kept() {
    twin("A6 what is kept", "bracket without a barrier", a6_steal_against_what_is_kept);
}

/// R7: a failure meets the allocation of the block that the hand keeps around it.
fn r7_failure_against_what_is_kept() {
    let (ground, front, freed) = kept();
    let bad = Granule(freed.base().0 + 3);
    let owner = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || (ground.alloc_warm(&front, 6).expect("one is whole"), front))
    };
    let carved = ground.fail(bad);
    let (taken, front) = owner.join().unwrap();
    let has_it = taken.granules().contains(bad);
    assert!(carved != has_it, "carved {carved}, allocated {taken:?}");
    front.give(&ground, taken);
    let whole = usize::from(has_it);
    assert_eq!(ground.free_granules().len() + 64, 127 + whole, "the other block is kept now");
}

#[test]
fn r7_failure_meets_what_the_hand_keeps() {
    model("R7 fail || take what is kept", 67, r7_failure_against_what_is_kept);
}

#[test]
fn r7_twin_closer_does_not_wait_for_what_is_kept() {
    twin("R7 what is kept", "closer does not wait", r7_failure_against_what_is_kept);
}

/// A6: the same beside the hand's own free.
fn a6_steal_against_give() {
    let (ground, front, out) = claimed();
    let owner = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            front.give(&ground, out);
            front
        })
    };
    let stolen = ground.take_closed(5).expect("32 in a row are free either way");
    let front = owner.join().unwrap();
    ground.give(stolen);
    assert_eq!(ground.take_closed(6).map(Block::base), Some(Granule(0)), "none was lost");
    drop(front);
}

#[test]
fn a6_closer_meets_the_hands_own_free() {
    model("A6 close || give", 67, a6_steal_against_give);
}

#[test]
fn a6_twin_free_meets_a_closer_that_does_not_wait() {
    twin("A6", "closer does not wait", a6_steal_against_give);
}

/// R8, with hands: a failure meets the free of the granule. It is carved out of
/// the hand, or kept by the free, and never circulates again.
fn r8_failure_against_free() {
    let (ground, front, out) = claimed();
    let owner = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || (front.free(&ground, out), front))
    };
    let carved = ground.fail(out.base());
    let (kept, front) = owner.join().unwrap();
    assert!(carved != kept, "carved {carved}, kept {kept}");
    assert!(ground.take_closed(6).is_none(), "it circulates");
    assert_eq!(ground.free_granules().len(), 63);
    drop(front);
}

#[test]
fn r8_failure_meets_free_into_a_hand() {
    model("R8 fail || free into a hand", 2_700, r8_failure_against_free);
}

#[test]
fn r8_twin_freed_without_a_look() {
    twin("R8 hand", "freed without looking at the poison", r8_failure_against_free);
}

/// R7, with hands: a failure meets the allocation of the granule out of the
/// hand: it is carved out, or the allocation has it, and then the free keeps it.
fn r7_failure_against_take() {
    let (ground, front, out) = claimed();
    let bad = Granule(out.base().0 ^ 1);
    let owner = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            let taken = front.take(&ground, 0).expect("63 are free, one fails");
            (taken.base() == bad && front.free(&ground, taken), taken, front)
        })
    };
    let carved = ground.fail(bad);
    let (kept, taken, front) = owner.join().unwrap();
    assert!(carved != kept, "carved {carved}, kept {kept}");
    if taken.base() != bad {
        front.give(&ground, taken);
    }
    front.give(&ground, out);
    assert!(ground.take_closed(6).is_none(), "it circulates");
    assert_eq!(ground.free_granules().len(), 63);
}

#[test]
fn r7_failure_meets_allocation_out_of_a_hand() {
    model("R7 fail || take out of a hand", 25_000, r7_failure_against_take);
}

#[test]
fn r7_twin_closer_does_not_wait() {
    twin("R7 hand", "closer does not wait", r7_failure_against_take);
}

/// A7: two threads each want one of two blocks: nobody is refused, though each
/// may find everything in the other's hand or in transit.
fn a7_nobody_is_refused(order: u32) {
    let ground = Arc::new(Ground::new(2 << order, 1));
    ground.ensure(Block::containing(Granule(0), memdesc::Order::ZERO));
    let (mine, theirs) = (ground.front(), ground.front());
    let other = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || ground.alloc(&theirs, order).expect("two blocks for two"))
    };
    let mine = ground.alloc(&mine, order).expect("two blocks for two");
    assert!(!mine.overlaps(other.join().unwrap()));
}

/// A7: all that is free hides in the hand of a thread that allocates too.
fn a7_found_in_the_others_hand() {
    let (ground, hot, out) = claimed();
    let mine = ground.front();
    let other = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            let taken = ground.alloc(&hot, 0).expect("63 are free, 32 of them wanted");
            hot.give(&ground, taken);
            hot
        })
    };
    let stolen = ground.alloc(&mine, 5).expect("32 in a row are free throughout");
    assert!(!stolen.overlaps(out));
    let hot = other.join().unwrap();
    ground.give(stolen);
    hot.give(&ground, out);
    assert_eq!(ground.take_closed(6).map(Block::base), Some(Granule(0)), "all came back");
}

#[test]
fn a7_exhausted_is_the_truth() {
    model("A7 alloc || alloc, order 0", 35, || a7_nobody_is_refused(0));
    model("A7 alloc || alloc, order 3", 7, || a7_nobody_is_refused(3));
    model("A7 alloc || alloc, order 5", 35, || a7_nobody_is_refused(5));
    model("A7 alloc || alloc, hidden in a hand", 35, a7_found_in_the_others_hand);
}

#[test]
fn a7_twin_closer_does_not_wait() {
    twin("A7", "closer does not wait", || a7_nobody_is_refused(5));
}

#[test]
fn r7_twins_relaxed() {
    twin("R7 hand", "entered relaxed", r7_failure_against_take);
    twin("R7 hand", "reopened relaxed", r7_failure_against_take);
}
