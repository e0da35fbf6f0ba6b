//! A1 to A5 and A9 again, with hands between the threads and the forest.
//!
//! A hand takes whole words and keeps frees to itself, so each of the forest's
//! races has a second form: the claim is a hand's refill, the free waits in a
//! pending word until it is flushed, the warm word is one that a hand keeps
//! unmerged. (A6 to A8 are about hands in the first place.)

#![cfg(loom)]

use loom::thread;
use loom_tests::grounds::{drain, ground, singles};
use loom_tests::home::block;
use loom_tests::{bounded, model, twin, twin_bounded};
use potad::model::Ground;
use std::sync::Arc;

/// A1: a hand's refill takes what is there; a free beside it, through another
/// hand that is flushed, sets its bit: between them they have each granule once.
fn a1_refill_against_flushed_free() {
    let ground = ground(singles([0, 9]));
    let (mine, theirs) = (ground.front(), ground.front());
    let freer = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            theirs.free(&ground, block(4, 0));
            theirs.retire(&ground);
        })
    };
    let taken = mine.take(&ground, 0).expect("two are free throughout");
    freer.join().unwrap();
    let mut all = drain(&ground);
    all.push(taken.base().0);
    all.sort_unstable();
    assert_eq!(all, [0, 4, 9]);
}

#[test]
fn a1_refill_meets_free_through_another_hand() {
    model("A1 hands: refill || free, flush", 7, a1_refill_against_flushed_free);
}

#[test]
fn a1_twin_refill_without_a_swap() {
    twin("A1 hands", "claimed without a swap", a1_refill_against_flushed_free);
}

/// A2: two hands give the last two granules of a word: exactly one merges it.
fn a2_two_flushes() {
    let ground = ground(singles((0..64).filter(|&at| at != 3 && at != 40)));
    let (mine, theirs) = (ground.front(), ground.front());
    let other = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            theirs.free(&ground, block(3, 0));
            theirs.retire(&ground);
        })
    };
    mine.free(&ground, block(40, 0));
    mine.flush(&ground);
    other.join().unwrap();
    assert_eq!((ground.word(0, 0), ground.word(1, 0)), (0, 1));
}

#[test]
fn a2_two_hands_flushed_together_merge_once() {
    model("A2 hands: free, flush || free, flush", 7, a2_two_flushes);
}

#[test]
fn a2_twin_both_hands_believe_they_completed_it() {
    twin("A2 hands", "completed on a second look", a2_two_flushes);
}

/// A3: a hand's flush completes a word while another hand refills from it.
fn a3_flush_against_refill() {
    let ground = ground(singles((0..64).filter(|&at| at != 5)));
    let (mine, theirs) = (ground.front(), ground.front());
    let taker = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            let taken = theirs.take(&ground, 0);
            theirs.retire(&ground);
            taken
        })
    };
    mine.free(&ground, block(5, 0));
    mine.flush(&ground);
    let taken = taker.join().unwrap();
    let mut all = drain(&ground);
    all.extend(taken.map(|block| block.base().0));
    all.sort_unstable();
    assert_eq!(all, (0..64).collect::<Vec<_>>());
}

#[test]
fn a3_flush_that_completes_meets_a_refill() {
    bounded("A3 hands: free, flush || refill, flush", 3, 100, a3_flush_against_refill);
}

#[test]
fn a3_twin_flush_merges_without_a_compare_exchange() {
    twin_bounded("A3 hands", 3, "merge without a compare-exchange", a3_flush_against_refill);
}

/// A4: a flush into an empty word meets the refill that takes its summary bit
/// for stale: the granule can be found afterwards.
fn a4_flush_against_stale_summary() {
    let ground = ground(singles([0]));
    assert_eq!(ground.claim(0), 1);
    let (mine, theirs) = (ground.front(), ground.front());
    let searcher = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || theirs.take(&ground, 0))
    };
    mine.free(&ground, block(7, 0));
    mine.flush(&ground);
    let found = searcher.join().unwrap();
    assert_eq!(found.or_else(|| ground.take_closed(0)), Some(block(7, 0)));
}

#[test]
fn a4_flush_meets_a_refill_that_clears_the_summary() {
    model("A4 hands: free, flush || refill", 30, a4_flush_against_stale_summary);
}

#[test]
fn a4_twin_refill_clears_without_a_second_look() {
    let seed = "summary cleared without a second look";
    twin("A4 hands", seed, a4_flush_against_stale_summary);
}

/// A5: a word that a hand keeps warm is whole when it lets it go, beside
/// another hand's allocation from it.
fn a5_warm_let_go_against_take() {
    let ground = Arc::new(Ground::new(64, 1));
    let (mine, theirs) = (ground.front(), ground.front());
    // The first block of order 3 makes its word warm.
    let first = mine.take(&ground, 3).unwrap();
    let taker = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || ground.alloc(&theirs, 3))
    };
    mine.free(&ground, first);
    mine.flush(&ground);
    let taken = taker.join().unwrap();
    // In the warm word there are 56 throughout; or it was merged and is whole.
    let taken = taken.expect("some of the word is free throughout");
    assert_eq!(drain(&ground).len(), 56);
    ground.give(taken);
}

#[test]
fn a5_warm_word_of_a_hand_let_go_meets_another_hand() {
    model("A5 hands: free, flush of a warm word || take", 50, a5_warm_let_go_against_take);
}

#[test]
fn a5_twin_warm_word_merged_without_a_compare_exchange() {
    twin("A5 hands", "merge without a compare-exchange", a5_warm_let_go_against_take);
}

/// A9: two hands never give out blocks that overlap, at any order of a word.
fn a9_two_hands(order: u32) {
    let ground = Arc::new(Ground::new(64, 1));
    ground.ensure(block(0, 6));
    let (mine, theirs) = (ground.front(), ground.front());
    let other = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || ground.alloc(&theirs, order).expect("64 granules for two"))
    };
    let mine = ground.alloc(&mine, order).expect("64 granules for two");
    let theirs = other.join().unwrap();
    assert!(!mine.overlaps(theirs), "{mine:?} {theirs:?}");
    let mut all = drain(&ground);
    for taken in [mine, theirs] {
        all.extend(taken.base().0..=taken.last().0);
    }
    all.sort_unstable();
    assert_eq!(all, (0..64).collect::<Vec<_>>());
}

#[test]
fn a9_two_hands_never_overlap() {
    for order in 0..=5 {
        bounded(&format!("A9 hands: alloc || alloc, order {order}"), 2, 7, move || {
            a9_two_hands(order);
        });
    }
}

#[test]
fn a9_twin_hands_take_without_a_compare_exchange() {
    twin_bounded("A9 hands", 2, "taken without a compare-exchange", || a9_two_hands(3));
}

/// A thread ends, and its hand with it, while all hands are looked into: what
/// it held is found, once.
fn end_of_a_hand_against_close() {
    let ground = ground(singles([0, 1, 2]));
    let front = ground.front();
    let out = front.take(&ground, 0).unwrap();
    let other = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            front.free(&ground, out);
            front.retire(&ground);
        })
    };
    let found = ground.take_closed(0).expect("two are free throughout");
    other.join().unwrap();
    let mut all = drain(&ground);
    all.push(found.base().0);
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2]);
}

#[test]
fn a_hand_that_ends_meets_a_closer() {
    model("hand: end || close", 60, end_of_a_hand_against_close);
}

#[test]
fn ending_hand_twin_closer_does_not_wait() {
    twin("hand: end || close", "closer does not wait", end_of_a_hand_against_close);
}
