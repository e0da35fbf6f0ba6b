//! A8: hot-remove against allocation and free.

#![cfg(loom)]

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use loom_tests::grounds::{self, drain, singles};
use loom_tests::{bounded, model, twin, twin_bounded};
use memdesc::{Block, Granule, Order};
use potad::model::{Front, Ground};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The range that leaves: granules 0 to 3 of 64.
const LAST: u64 = 3;

fn leaves(block: Block) -> bool {
    block.base().0 <= LAST
}

/// A ground of 64 granules whose hand has claimed granules 0, 1, 3 and 4, and
/// has given out 0; the rest is out for good.
fn ground() -> (Arc<Ground>, Front, Block) {
    // 2 is of the range: so that the range is free but for what is given out.
    let ground = grounds::ground(singles(0..5));
    let front = ground.front();
    let out = front.take(&ground, 0).unwrap();
    assert_eq!(out.base(), Granule(0));
    (ground, front, out)
}

/// A8: a free into the range, and an allocation after it, race with the
/// beginning of the removal: once it has begun, nothing of the range is handed
/// out; once nothing is held, the removal finishes, and what stays is there
/// once.
fn a8_begin() {
    let (ground, front, out) = ground();
    free_beside_begin(&ground, front, out, 0..=LAST, 4);
}

/// Begins to remove a range while another thread gives a block of it back and
/// takes one; granule `stays`, outside, is free throughout.
fn free_beside_begin(
    ground: &Arc<Ground>,
    front: Front,
    out: Block,
    range: RangeInclusive<u64>,
    stays: u64,
) {
    let (first, last) = range.clone().into_inner();
    let leaves = move |block: Block| range.contains(&block.base().0);
    let begun = Arc::new(AtomicBool::new(false));
    let other = {
        let (ground, begun, leaves) = (Arc::clone(ground), Arc::clone(&begun), leaves.clone());
        thread::spawn(move || {
            let begun = begun.load(Ordering::Acquire);
            front.free(&ground, out);
            let again = front.take(&ground, 0);
            assert!(!(begun && again.is_some_and(leaves)), "handed out of a closing range");
            (again, front)
        })
    };
    let leaving = ground.begin_removal(first, last);
    begun.store(true, Ordering::Release);
    let (again, front) = other.join().unwrap();
    let again = again.expect("a granule is free throughout, and nobody else wants it");
    let held = u64::from(leaves(again));
    assert_eq!(ground.finish_removal(&leaving), held, "held by nobody else");
    if held != 0 {
        front.free(ground, again);
        assert_eq!(ground.finish_removal(&leaving), 0);
    }
    let left = drain(ground);
    assert_eq!(left, if held != 0 { vec![stays] } else { vec![] }, "what stays, once");
}

#[test]
fn a8_removal_begins_beside_a_free_into_its_range() {
    model("A8 begin || free, take", 1387, a8_begin);
}

#[test]
fn a8_twin_free_looks_at_no_closing_range() {
    twin("A8", "freed without a look at the closing ranges", a8_begin);
}

#[test]
fn a8_twin_kept_and_given() {
    twin("A8", "kept and given", a8_begin);
}

#[test]
fn a8_twin_began_without_a_flush() {
    twin("A8", "began without a flush", a8_begin);
}

/// A8: the last free into the range races with the finish: either the finish is
/// refused, or the granule has left; it is handed out in neither case.
fn a8_finish() {
    let (ground, front, out) = ground();
    let leaving = ground.begin_removal(0, LAST);
    let other = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            let kept = front.free(&ground, out);
            let again = front.take(&ground, 0);
            assert!(kept && again.is_some_and(|block| !leaves(block)), "{again:?}");
            front
        })
    };
    let early = ground.finish_removal(&leaving);
    let _front = other.join().unwrap();
    if early != 0 {
        assert_eq!(ground.finish_removal(&leaving), 0, "held by nobody any more");
    }
    assert_eq!(drain(&ground), [], "the range has left, and granule 4 is out");
}

#[test]
fn a8_removal_finishes_beside_the_last_free() {
    model("A8 finish || free, take", 1313, a8_finish);
}

#[test]
fn a8_twin_the_last_free_is_kept_and_given() {
    twin("A8", "kept and given", a8_finish);
}

/// A8: a free into the range races with the removal's being cancelled: nothing
/// is lost.
fn a8_cancel() {
    let (ground, front, out) = ground();
    let mine = ground.front();
    let leaving = ground.begin_removal(0, LAST);
    let other = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            front.free(&ground, out);
            front
        })
    };
    ground.cancel_removal(&leaving, &mine);
    let _front = other.join().unwrap();
    let mut left = drain(&ground);
    left.sort_unstable();
    assert_eq!(left, [0, 1, 2, 3, 4], "all came back");
}

#[test]
fn a8_cancelled_removal_meets_a_free() {
    model("A8 cancel || free", 2570, a8_cancel);
}

#[test]
fn a8_twin_given_back_before_it_left_the_list() {
    twin("A8", "given back before it left the list", a8_cancel);
}

/// A8: a removal in two windows, of granules 62 and 63 and of 64 and 65. What is
/// not closing yet may be freed and taken again between the two; once the
/// removal has begun nothing of either part is handed out, and all of both is
/// claimed or held.
fn a8_windows() {
    let ground = Arc::new(Ground::new(128, 1));
    let whole = ground.take(7).unwrap();
    ground.ensure(whole);
    let give = |at| ground.give(Block::containing(Granule(at), Order::ZERO));
    (64..67).for_each(give);
    let front = ground.front();
    let out = front.take(&ground, 0).unwrap();
    assert_eq!(out.base(), Granule(64), "of the second part");
    (62..64).for_each(give);
    free_beside_begin(&ground, front, out, 62..=65, 66);
}

#[test]
fn a8_removal_in_two_windows_meets_a_free_and_a_take() {
    bounded("A8 begin in windows || free, take", 2, 477, a8_windows);
}

#[test]
fn a8_twin_advanced_without_a_flush() {
    twin_bounded("A8, windows", 2, "advanced without a flush", a8_windows);
}

/// A8: the tables of a range that has left go to the system while a part of it
/// comes back: what comes back is there.
fn a8_tables() {
    // Words of level 0 from the fourth on are in chunks that can go.
    let ground = Arc::new(Ground::new(64, 1));
    let page = Block::containing(Granule(300), Order::ZERO);
    ground.ensure(page);
    let front = ground.front();
    let other = {
        let ground = Arc::clone(&ground);
        thread::spawn(move || {
            ground.hot_add(&front, page);
            front
        })
    };
    ground.give_tables_back(256, 511);
    let _front = other.join().unwrap();
    let left = drain(&ground);
    assert!(left.contains(&300) && left.len() == 65, "{} of 65 granules", left.len());
}

#[test]
fn a8_tables_go_while_the_range_comes_back() {
    model("A8 tables || hot-add", 5, a8_tables);
}

#[test]
fn a8_twin_spans_let_go_before_the_tables() {
    twin("A8, tables", "spans let go before the tables", a8_tables);
}
