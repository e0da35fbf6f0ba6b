//! Every pair of operations on a zone, side by side.
//!
//! The other models ask one question each, with as little around it as can be.
//! These ask the same of all: two threads run two operations on the *real*
//! zone, aimed at the same block, hand or word where they can meet; each keeps
//! its own promise; then everything is given back, and the whole is sound, with
//! no granule lost and free space whole again.
//!
//! Bounded at two preemptions; at one a report that comes first, and those of
//! `LONG`: with two each takes minutes, and hundreds of thousands of interleavings.
//! (`LOOM_MAX_PREEMPTIONS=2` runs them so.) Each pair runs with either operation in the
//! first thread: loom looks for other orders from where the first run has been,
//! so the two are not the same. A pair with few interleavings shares little (a
//! count of 1: nothing but what its setting-up ordered).
//!
//! Twins: a pair is marked with a seeded bug that it finds with one preemption, and
//! that neither operation alone trips over. Which have none, and why, is in
//! `docs/verification.md`.

#![cfg(loom)]

mod op;
mod table;
mod world;

use loom::thread;
use loom_tests::{apart, bounded, twin_bounded};
use memdesc::sync::seed;
use op::Op;
use potad::model::OwnHand;
use table::{LONG, TABLE};
use world::{Side, World};

fn pair(ops: [Op; 2]) {
    let (world, sides) = World::new(ops);
    let own_hands = world.own_hands();
    let sides = run(&world, sides, own_hands);
    world.settle(sides);
}

/// The same without what is the models' own: while the two run loom sees no pin,
/// and they borrow no hand from each other. The second thread's was made before, for
/// what makes a hand looks at the spans.
fn bared_pair(ops: [Op; 2]) {
    let (world, sides) = World::new(ops);
    let own_hand = OwnHand::begin();
    world.make_hand();
    let out_of_sight = seed::plant(seed::PINS_OUT_OF_SIGHT);
    let sides = run(&world, sides, [false; 2]);
    drop((out_of_sight, own_hand));
    world.settle(sides);
}

/// Runs the two beside each other; which of them has a hand for calls without one.
fn run(world: &World, [mut one, mut other]: [Side; 2], own_hands: [bool; 2]) -> [Side; 2] {
    let ops = world.ops;
    let beside = {
        let world = world.clone();
        thread::spawn(move || {
            let _own = own_hands[0].then(OwnHand::begin);
            ops[0].run(&world, &mut one);
            one
        })
    };
    let own = own_hands[1].then(OwnHand::begin);
    ops[1].run(world, &mut other);
    drop(own);
    [beside.join().unwrap(), other]
}

/// Runs a row of the table, and its twins; every operation is in it.
fn row(one: Op) {
    let row = TABLE.iter().find(|row| row.one == one).expect("every operation has a row");
    assert_eq!(row.pairs.len(), Op::ALL.len());
    for (&other, &minimum) in Op::ALL.iter().zip(row.pairs) {
        let name = format!("{one:?} || {other:?}");
        if minimum == 0 {
            apart(&name, move || pair([one, other]));
            continue;
        }
        let bound = if LONG.contains(&(one, other)) { 1 } else { row.bound };
        bounded(&name, bound, minimum, move || pair([one, other]));
        if row.bared.contains(&other) {
            apart(&format!("{name}, bared"), move || bared_pair([one, other]));
        }
    }
    for &(other, seed) in row.twins {
        let name = format!("{one:?} || {other:?}");
        twin_bounded(&name, 1, seed, move || pair([one, other]));
    }
}

#[test]
fn alloc_beside_every_operation() {
    row(Op::Alloc);
}

#[test]
fn free_beside_every_operation() {
    row(Op::Free);
}

#[test]
fn claim_beside_every_operation() {
    row(Op::Claim);
}

#[test]
fn merge_beside_every_operation() {
    row(Op::Merge);
}

#[test]
fn flush_beside_every_operation() {
    row(Op::Flush);
}

#[test]
fn lookup_beside_every_operation() {
    row(Op::Lookup);
}

#[test]
fn get_beside_every_operation() {
    row(Op::Get);
}

#[test]
fn lock_beside_every_operation() {
    row(Op::Lock);
}

#[test]
fn publish_beside_every_operation() {
    row(Op::Publish);
}

#[test]
fn clear_beside_every_operation() {
    row(Op::Clear);
}

#[test]
fn replace_beside_every_operation() {
    row(Op::Replace);
}

#[test]
fn split_beside_every_operation() {
    row(Op::Split);
}

#[test]
fn report_batch_beside_every_operation() {
    row(Op::Report);
}

#[test]
fn put_back_beside_every_operation() {
    row(Op::PutBack);
}

#[test]
fn hot_add_beside_every_operation() {
    row(Op::HotAdd);
}

#[test]
fn hot_remove_beside_every_operation() {
    row(Op::HotRemove);
}

#[test]
fn failure_beside_every_operation() {
    row(Op::Failure);
}

#[test]
fn owner_unregister_beside_every_operation() {
    row(Op::Unregister);
}
