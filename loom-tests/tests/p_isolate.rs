//! P1 to P4: isolated blocks against allocation, free and removal.
//!
//! To isolate is to allocate: a granule that the host may discard has one owner,
//! the reporter, from before the host is asked until after the answer is noted.
//! So no write of a user is ever discarded, nobody believes reported what is in
//! use, and a range that leaves waits for the batch.

#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use loom_tests::grounds::{drain, granules, reported_ground as ground};
use loom_tests::home::block;
use loom_tests::{model, twin};
use memdesc::Granule;
use potad::HostSays;
use potad::model::Ground;
use std::sync::Arc;

/// P1: a pass isolates while a hand claims the same word: each granule has one
/// owner, and none is lost.
fn p1_claim() {
    let ground = ground([block(0, 2)]);
    let front = ground.front();
    let user = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            let mine = front.take(&ground, 1);
            (mine, front)
        })
    };
    let reporter = ground.front();
    let mut cursor = Granule(0);
    if let Some(early) = ground.isolate(&reporter, &mut cursor, 0) {
        ground.put_back(&reporter, early, HostSays::Reported);
    }
    let isolated = ground.isolate(&reporter, &mut cursor, 1);
    let (mine, _front) = user.join().unwrap();
    let mut all: Vec<u64> = isolated.into_iter().chain(mine).flat_map(granules).collect();
    all.extend(drain(&ground));
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3], "isolated {isolated:?}, allocated {mine:?}");
}

#[test]
fn p1_isolate_meets_a_claim() {
    model("P1 isolate || claim", 8701, p1_claim);
}

#[test]
fn p1_twin_isolated_without_taking() {
    twin("P1", "isolated without taking", p1_claim);
}

/// P1: the same against an allocation of a block of its own level, which is
/// taken out of a larger one by whoever comes first.
fn p1_shared() {
    let ground = Arc::new(Ground::new(64, 1));
    ground.attach(3);
    let front = ground.front();
    let user = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            let mine = ground.alloc_shared(&front, 5);
            (mine, front)
        })
    };
    let reporter = ground.front();
    let isolated = ground.isolate(&reporter, &mut Granule(0), 5);
    let (mine, _front) = user.join().unwrap();
    if let (Some(isolated), Some(mine)) = (isolated, mine) {
        assert!(!isolated.overlaps(mine), "isolated {isolated:?}, allocated {mine:?}");
    }
    for owned in isolated.into_iter().chain(mine) {
        ground.give(owned);
    }
    assert_eq!(ground.take(6), Some(block(0, 6)), "all came back and merged");
}

#[test]
fn p1_isolate_meets_an_allocation_out_of_the_same_block() {
    model("P1 isolate || take", 60, p1_shared);
}

#[test]
fn p1_twin_isolated_out_of_a_block_without_taking() {
    twin("P1", "isolated without taking", p1_shared);
}

/// P2: a block is put back while its buddy is freed: they merge, and what was
/// reported is the one and not the other.
fn p2() {
    let ground = ground([block(0, 5)]);
    let reporter = ground.front();
    let isolated = ground.isolate(&reporter, &mut Granule(0), 5).unwrap();
    assert_eq!(isolated, block(0, 5));
    let other = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || ground.give(block(32, 5)))
    };
    ground.put_back(&reporter, isolated, HostSays::Reported);
    other.join().unwrap();
    assert!(ground.is_reported(block(0, 5)), "kept across the merge");
    assert!((32..64).all(|at| !ground.is_reported(block(at, 0))), "the buddy was not reported");
    assert_eq!(ground.take(6), Some(block(0, 6)), "reported or not, buddies merge");
}

#[test]
fn p2_put_back_meets_a_free_of_the_buddy() {
    model("P2 put back || free", 7, p2);
}

#[test]
fn p2_twin_put_back_and_left_unmerged() {
    twin("P2", "put back and left unmerged", p2);
}

/// P3: a range leaves while a batch holds a part of it: nothing of the range is
/// handed out once the removal has begun, and the removal ends with the batch.
fn p3_removal() {
    // A pair that stays, so that a take has no reason to prefer it.
    let ground = ground([block(0, 2), block(4, 1)]);
    let reporter = ground.front();
    let isolated = ground.isolate(&reporter, &mut Granule(0), 1).unwrap();
    let begun = Arc::new(AtomicBool::new(false));
    let other = {
        let (ground, begun) = (Arc::clone(&ground), Arc::clone(&begun));
        thread::spawn(move || {
            let begun = begun.load(Ordering::Acquire);
            // Not reported, or the allocation would rather take the others.
            ground.put_back(&reporter, isolated, HostSays::Nothing);
            let again = ground.alloc_shared(&reporter, 0);
            let leaves = again.is_some_and(|block| block.base().0 < 4);
            assert!(!(begun && leaves), "handed out of a closing range");
            (again, reporter)
        })
    };
    let leaving = ground.begin_removal(0, 3);
    begun.store(true, Ordering::Release);
    let (again, reporter) = other.join().unwrap();
    let held = again.filter(|block| block.base().0 < 4);
    assert_eq!(ground.finish_removal(&leaving), held.map_or(0, |_| 1), "the batch is back");
    if let Some(held) = held {
        reporter.free(&ground, held);
        assert_eq!(ground.finish_removal(&leaving), 0);
    }
    let left = drain(&ground);
    assert!(left.iter().all(|&at| at >= 4), "the range has left: {left:?}");
}

#[test]
fn p3_a_batch_is_put_back_into_a_range_that_leaves() {
    model("P3 put back || removal", 505, p3_removal);
}

#[test]
fn p3_twin_put_back_without_a_look_at_the_closing_ranges() {
    twin("P3", "put back without a look at the closing ranges", p3_removal);
}

/// P4: the host discards a block while it is isolated; a user who gets it
/// writes to it. The write is not discarded, and nobody believes that the block
/// is reported still.
fn p4() {
    let ground = ground([block(0, 1)]);
    let memory = Arc::new(UnsafeCell::new(1));
    let front = ground.front();
    let user = {
        let (ground, memory) = (Arc::clone(&ground), Arc::clone(&memory));
        thread::spawn(move || {
            let mine = ground.alloc_shared(&front, 1);
            if let Some(mine) = mine {
                // SAFETY: the block is ours, which is what the model checks:
                // loom fails if the host is in it too.
                memory.with_mut(|word| unsafe { *word = 7 });
                assert!(!ground.is_reported(mine), "in use, and believed reported");
            }
            (mine, front)
        })
    };
    let reporter = ground.front();
    let isolated = ground.isolate(&reporter, &mut Granule(0), 1);
    if let Some(isolated) = isolated {
        // SAFETY: the block is ours until it is put back; as above.
        memory.with_mut(|word| unsafe { *word = 0 });
        ground.put_back(&reporter, isolated, HostSays::Zeroed);
    }
    let (mine, _front) = user.join().unwrap();
    if let Some(mine) = mine {
        // SAFETY: nobody else is left.
        let word = memory.with(|word| unsafe { *word });
        assert_eq!(word, 7, "a write after the allocation was discarded");
        assert!(!ground.is_reported(mine), "in use, and believed reported");
    } else {
        assert!(ground.is_reported(block(0, 1)));
    }
}

#[test]
fn p4_a_write_after_an_allocation_is_never_discarded() {
    model("P4 isolate, discard, put back || alloc, write", 1529, p4);
}

#[test]
fn p4_twin_isolated_without_taking() {
    twin("P4", "isolated without taking", p4);
}

#[test]
fn p4_twin_reported_after_it_was_given() {
    twin("P4", "reported after it was given", p4);
}

#[test]
fn p4_twin_taken_without_forgetting() {
    twin("P4", "taken without forgetting", p4);
}

/// P4: a hand has found its warm word bare of reported bits, and no longer looks
/// for them. What is reported in that word all the same is forgotten when the
/// hand takes it.
fn p4_bare(is_known_before: bool) {
    let ground = ground([block(0, 2)]);
    let front = ground.front();
    let reporter = ground.front();
    // Warm from now on, and found to be bare.
    let first = ground.alloc_warm(&front, 1).unwrap();
    if !is_known_before {
        // Counted as a mark: whoever takes next looks again.
        let other = ground.isolate(&reporter, &mut Granule(2), 1).unwrap();
        ground.put_back(&reporter, other, HostSays::Nothing);
    }
    ground.give(first);
    let isolated = ground.isolate(&reporter, &mut Granule(2), 1);
    let user = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            for _ in 0..2 {
                let Some(mine) = ground.take_warm(&front, 1) else { continue };
                assert!(!ground.is_reported(mine), "in use, and believed reported");
            }
            front
        })
    };
    if let Some(isolated) = isolated {
        ground.put_back(&reporter, isolated, HostSays::Zeroed);
    }
    user.join().unwrap();
}

#[test]
fn p4_a_bare_warm_word_meets_a_report() {
    model("P4 warm and bare || put back", 2940, || p4_bare(true));
}

#[test]
fn p4_twin_marked_without_a_count() {
    twin("P4", "marked without a count", || p4_bare(true));
}

#[test]
fn p4_a_warm_word_is_found_bare_beside_a_report() {
    model("P4 found bare || put back", 21426, || p4_bare(false));
}

#[test]
fn p4_weakened_marks_are_counted_relaxed() {
    twin("P4", "marks are counted relaxed", || p4_bare(false));
}

/// P4: a batch goes back while somebody allocates: whichever of it is had first,
/// its bits were set before that.
fn p4_batch() {
    let ground = ground([block(0, 0), block(2, 0)]);
    let reporter = ground.front();
    let isolated = [0, 2].map(|at| ground.isolate(&reporter, &mut Granule(at), 0).unwrap());
    let front = ground.front();
    let user = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            let mine = ground.alloc_shared(&front, 0);
            if let Some(mine) = mine {
                assert!(!ground.is_reported(mine), "in use, and believed reported");
            }
            (mine, front)
        })
    };
    ground.put_back_all(&reporter, &isolated.map(|block| (block, HostSays::Zeroed)));
    let (mine, _front) = user.join().unwrap();
    for block in isolated {
        assert_eq!(ground.is_reported(block), Some(block) != mine, "{block:?}, {mine:?} in use");
    }
}

#[test]
fn p4_a_batch_put_back_meets_an_allocation() {
    model("P4 put back a batch || alloc", 285, p4_batch);
}

#[test]
fn p4_twin_a_batch_noted_after_it_was_given() {
    twin("P4", "a batch noted after it was given", p4_batch);
}

/// P1: a pass begins while a hand frees a block and keeps it, as it kept one before:
/// that pass or the next one has it, and each block once.
fn p1_kept() {
    let ground = Arc::new(Ground::new(128, 1));
    ground.attach(6);
    let front = ground.front();
    let [first, second] = [(); 2].map(|()| ground.alloc_warm(&front, 6).expect("two are free"));
    front.free(&ground, first);
    let user = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            front.free(&ground, second);
            front
        })
    };
    let reporter = ground.front();
    let pass = || {
        ground.begin_pass();
        let mut cursor = Granule(0);
        let blocks = || ground.isolate(&reporter, &mut cursor, 6);
        core::iter::from_fn(blocks).collect::<Vec<_>>()
    };
    let mut isolated = pass();
    let _front = user.join().unwrap();
    isolated.extend(pass());
    isolated.sort_unstable_by_key(|block| block.base());
    assert_eq!(isolated, [block(0, 6), block(64, 6)], "a pass sees what hands keep");
}

#[test]
fn p1_pass_meets_what_a_hand_keeps() {
    model("P1 pass || free that is kept", 5_600, p1_kept);
}

#[test]
fn p1_twin_noted_too_late_that_none_is_kept() {
    twin("P1 kept", "noted too late that none is kept", p1_kept);
}
