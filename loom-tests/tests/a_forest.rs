//! The forest: what two threads do to the same words.

#![cfg(loom)]

use loom::thread;
use loom_tests::grounds::ground;
use loom_tests::home::block;
use loom_tests::{model, twin};
use memdesc::{Block, Granule};
use potad::model::Ground;
use std::sync::Arc;

/// All granules below 64 but these two.
fn all_but(one: u64, other: u64) -> Vec<Block> {
    (0..64).filter(|&at| at != one && at != other).map(|at| block(at, 0)).collect()
}

/// A1: a claim takes what is there, a free beside it sets its bit; between
/// them they have every granule once.
fn a1_claim_against_free() {
    let ground = ground([block(0, 0), block(9, 0)]);
    let freer = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || ground.give(block(4, 0)))
    };
    let claimed = ground.claim(0);
    freer.join().unwrap();
    let left = ground.word(0, 0);
    assert_eq!(claimed & left, 0);
    assert_eq!(claimed | left, 1 << 0 | 1 << 9 | 1 << 4);
}

#[test]
fn a1_claim_meets_free_into_the_claimed_word() {
    model("A1 claim || free", 7, a1_claim_against_free);
}

#[test]
fn a1_twin_claimed_without_a_swap() {
    twin("A1", "claimed without a swap", a1_claim_against_free);
}

/// A2: two frees complete a word: exactly one moves it up, and no granule is
/// lost.
fn a2_two_frees() {
    let ground = ground(all_but(3, 40));
    let freer = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || ground.give(block(3, 0)))
    };
    ground.give(block(40, 0));
    freer.join().unwrap();
    assert_eq!((ground.word(0, 0), ground.word(1, 0)), (0, 1));
}

#[test]
fn a2_buddies_freed_together_merge_once() {
    model("A2 free || free", 7, a2_two_frees);
}

#[test]
fn a2_twin_both_believe_they_completed_it() {
    twin("A2", "completed on a second look", a2_two_frees);
}

/// A3: the free that completes a word meets an allocation: it gets a granule of
/// the word, or of the parent, or none, and nobody else gets the same.
fn a3_merge_against_take() {
    let ground = ground(all_but(5, 5));
    let taker = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || ground.take(0))
    };
    ground.give(block(5, 0));
    let taken = taker.join().unwrap();
    let free = ground.free_granules();
    assert_eq!(free.len() + usize::from(taken.is_some()), 64);
    assert!(taken.is_none_or(|taken| !free.contains(&taken.base().0)), "given twice");
}

#[test]
fn a3_merge_meets_allocation() {
    model("A3 merge || take", 114, a3_merge_against_take);
}

#[test]
fn a3_twin_merge_without_a_compare_exchange() {
    twin("A3", "merge without a compare-exchange", a3_merge_against_take);
}

/// A3, the other way: the parent's bit is taken while its word merges.
fn a3_merge_against_take_of_the_parent() {
    let ground = ground(all_but(5, 5));
    let taker = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || ground.take(6))
    };
    ground.give(block(5, 0));
    let taken = taker.join().unwrap();
    let free = ground.free_granules();
    assert_eq!(free.len(), if taken.is_some() { 0 } else { 64 });
}

#[test]
fn a3_merge_meets_allocation_of_the_parent() {
    model("A3 merge || take of the parent", 10, a3_merge_against_take_of_the_parent);
}

/// A4: a free into an empty word meets a search that takes its summary bit for
/// stale: the free granule can be found afterwards.
fn a4_clear_against_set() {
    let ground = ground([block(0, 0)]);
    // The word is empty, its summary bit is still set.
    assert_eq!(ground.claim(0), 1);
    let searcher = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || ground.take(0))
    };
    ground.give(block(7, 0));
    let found = searcher.join().unwrap();
    // Another search, now that both have returned.
    assert_eq!(found.or_else(|| ground.take(0)), Some(block(7, 0)));
}

#[test]
fn a4_summary_clear_meets_set() {
    model("A4 clear || set", 49, a4_clear_against_set);
}

#[test]
fn a4_twin_cleared_without_a_second_look() {
    twin("A4", "summary cleared without a second look", a4_clear_against_set);
}

/// A4: a free into an empty region meets a refill's search, which takes the
/// region's summary bits for stale, all at once: the region can be found
/// afterwards.
fn a4_region_note_against_set() {
    let ground = ground([block(0, 0)]);
    assert_eq!(ground.claim(0), 1);
    let searcher = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || ground.site())
    };
    ground.give(block(7, 0));
    searcher.join().unwrap();
    assert_eq!(ground.site(), Some(0));
}

#[test]
fn a4_region_noted_empty_meets_set() {
    model("A4 note || set", 27, a4_region_note_against_set);
}

#[test]
fn a4_twin_region_noted_without_a_second_look() {
    twin("A4 region", "summary cleared without a second look", a4_region_note_against_set);
}

/// A5: a warm word that is whole and is let go meets an allocation from it.
fn a5_warm_merge_against_take() {
    let ground = ground(all_but(5, 5));
    ground.give_warm(block(5, 0));
    assert_eq!(ground.word(0, 0), u64::MAX);
    let taker = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || ground.take(0))
    };
    ground.merge(0, 0);
    let taken = taker.join().unwrap();
    let free = ground.free_granules();
    assert_eq!(free.len() + usize::from(taken.is_some()), 64);
    assert!(taken.is_none_or(|taken| !free.contains(&taken.base().0)), "given twice");
}

#[test]
fn a5_warm_word_let_go_meets_allocation() {
    model("A5 warm merge || take", 32, a5_warm_merge_against_take);
}

#[test]
fn a5_twin_merge_without_a_compare_exchange() {
    twin("A5", "merge without a compare-exchange", a5_warm_merge_against_take);
}

/// A9: two allocations of one order never overlap, whether they find blocks of
/// their size or have to break a larger one.
fn a9_two_takes(order: u32, whole: bool) {
    let ground = if whole {
        let ground = Ground::new(64, 1);
        ground.ensure(block(0, 6));
        Arc::new(ground)
    } else {
        ground([block(0, order), block(32, order)])
    };
    let taker = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || ground.take(order))
    };
    let mine = ground.take(order);
    let theirs = taker.join().unwrap();
    if let (Some(mine), Some(theirs)) = (mine, theirs) {
        assert!(!mine.overlaps(theirs), "{mine:?} {theirs:?}");
    }
    let free = ground.free_granules();
    for taken in [mine, theirs].into_iter().flatten() {
        assert!(!free.iter().any(|&at| taken.contains(Granule(at))), "taken and free");
    }
    let taken = [mine, theirs].into_iter().flatten().map(|block| block.order().granules());
    let total = if whole { 64 } else { 2u64 << order };
    assert_eq!(free.len() as u64 + taken.sum::<u64>(), total);
}

#[test]
fn a9_two_allocations_never_overlap() {
    for order in [0, 1, 3, 5] {
        model("A9 take || take", 7, move || a9_two_takes(order, false));
        model("A9 break || break", 71, move || a9_two_takes(order, true));
    }
}

#[test]
fn a9_twin_taken_without_a_compare_exchange() {
    twin("A9", "taken without a compare-exchange", || a9_two_takes(3, false));
}

/// An exact request meets an allocation of a granule inside it.
fn a9_exact_against_take() {
    let ground = Arc::new(Ground::new(64, 1));
    ground.ensure(block(0, 6));
    let taker = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || ground.take(2))
    };
    let exact = ground.take_exact(block(0, 3));
    let taken = taker.join().unwrap();
    if exact && let Some(taken) = taken {
        assert!(!taken.overlaps(block(0, 3)));
    }
    let expected = 64 - if exact { 8 } else { 0 } - if taken.is_some() { 4 } else { 0 };
    assert_eq!(ground.free_granules().len(), expected);
}

#[test]
fn a9_exact_request_meets_allocation() {
    model("A9 exact || take", 64, a9_exact_against_take);
}

#[test]
fn a9_twin_exact_taken_without_a_compare_exchange() {
    twin("A9 exact", "taken without a compare-exchange", a9_exact_against_take);
}
