//! What the last owner of a block wrote, its next owner sees.
//!
//! The forest's other models ask who owns a granule; these ask what comes along
//! with it. Each granule has a cell that is written without any atomic, by its
//! owner alone: loom fails where nothing orders two owners. So these are the
//! models of the *orderings* on the free words, on the hand's bracket and on
//! the rendezvous, and their twins are those orderings made relaxed.

#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::thread;
use loom_tests::home::block;
use loom_tests::{bounded, model, twin, twin_bounded};
use memdesc::{Block, Granule, Order};
use potad::model::Ground;
use std::sync::Arc;

/// A ground of 64 granules and the memory of one or two of them.
struct World {
    ground: Ground,
    cells: [UnsafeCell<u64>; 2],
}

// SAFETY: a cell is used by the owner of its granule alone; loom checks that.
unsafe impl Sync for World {}

impl World {
    /// All granules are taken, but those of `free`.
    fn new(free: &[Block]) -> Arc<Self> {
        let ground = Ground::new(64, 1);
        let whole = ground.take(6).unwrap();
        ground.ensure(whole);
        free.iter().for_each(|&block| ground.give(block));
        Arc::new(Self { ground, cells: [0, 0].map(UnsafeCell::new) })
    }

    /// Writes to a granule, as its owner.
    fn write(&self, cell: usize) {
        // SAFETY: the caller owns the granule, which is what the model checks.
        self.cells[cell].with_mut(|word| unsafe { *word += 1 });
    }
}

/// A granule is written to and given; `take` may get it, and then it is written
/// to again.
///
/// (The giver is the model's first thread: loom looks for other orders where a
/// load meets a change that was made before, and not always where the change
/// comes later.)
fn carry(take: impl FnOnce(&Ground) -> bool + 'static) {
    let world = World::new(&[]);
    let taker = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            if take(&world.ground) {
                world.write(0);
            }
        })
    };
    world.write(0);
    world.ground.give(block(0, 0));
    taker.join().unwrap();
}

fn carry_to_take() {
    carry(|ground| ground.take(0).is_some());
}

fn carry_to_claim() {
    carry(|ground| ground.claim(0) != 0);
}

fn carry_to_exact() {
    carry(|ground| ground.take_exact(block(0, 0)));
}

fn carry_to_runs() {
    carry(|ground| ground.take_runs(0, 0, 1, 2) != 0);
}

fn carry_to_lowest() {
    carry(|ground| ground.take_lowest(0, 0, 1).is_some());
}

#[test]
fn a_write_is_seen_by_who_takes_the_granule() {
    model("carry give || take", 5, carry_to_take);
    model("carry give || take of runs", 3, carry_to_runs);
    model("carry give || take of the lowest", 3, carry_to_lowest);
}

#[test]
fn a_write_is_seen_by_who_claims_the_word() {
    model("carry give || claim", 3, carry_to_claim);
}

#[test]
fn a_write_is_seen_by_who_takes_the_very_granule() {
    model("carry give || exact", 3, carry_to_exact);
}

/// (None for the exchange of `take_in_word`: a search comes to the word with an order of
/// its own, and no model misses that of the exchange.)
#[test]
fn carry_twins_relaxed() {
    twin("carry give || claim", "claimed relaxed", carry_to_claim);
    twin("carry give || exact", "taken exactly relaxed", carry_to_exact);
    twin("carry give || take of runs", "runs taken relaxed", carry_to_runs);
    twin("carry give || take of the lowest", "lowest taken relaxed", carry_to_lowest);
}

/// Two owners complete a word; whoever gets the whole of it sees what both did,
/// also what came with the one that did *not* complete it.
fn carry_upward() {
    let free: Vec<Block> =
        (0..64).filter(|&at| at != 3 && at != 40).map(|at| block(at, 0)).collect();
    let world = World::new(&free);
    let givers = [(0, 3), (1, 40)].map(|(cell, at)| {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            world.write(cell);
            world.ground.give(block(at, 0));
        })
    });
    if world.ground.take(6).is_some() {
        world.write(0);
        world.write(1);
    }
    givers.into_iter().for_each(|giver| giver.join().unwrap());
}

#[test]
fn a_write_goes_upward_with_the_word_that_it_completes() {
    bounded("carry give || give || take of the parent", 2, 50, carry_upward);
}

#[test]
fn carry_upward_twins_relaxed() {
    let name = "carry give || give || take of the parent";
    twin_bounded(name, 2, "given relaxed", carry_upward);
}

/// A larger block is written to and given; who takes a part of it sees that.
fn carry_downward() {
    let world = World::new(&[]);
    let taker = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            if let Some(part) = world.ground.take(3) {
                assert_eq!(part.order(), Order::new(3).unwrap());
                world.write(0);
            }
        })
    };
    world.write(0);
    world.ground.give(block(0, 6));
    taker.join().unwrap();
}

#[test]
fn a_write_goes_downward_with_the_block_that_is_broken() {
    model("carry give || break", 6, carry_downward);
}

/// A granule is written to and freed into a hand; who empties the hand sees
/// that. And what the closer wrote to what it gives back, the owner sees.
fn carry_through_a_hand() {
    carry_through(0);
}

/// The same with two who empty it, and pass the granule on to each other too.
fn carry_through_two_closers() {
    carry_through(1);
}

/// Beside the model's first thread, so many others empty the hand.
fn carry_through(others: usize) {
    let world = Arc::new(World { ground: Ground::new(64, 1), cells: [0, 0].map(UnsafeCell::new) });
    let front = world.ground.front();
    let out = front.take(&world.ground, 0).unwrap();
    assert_eq!(out, block(0, 0));
    let owner = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            world.write(0);
            front.free(&world.ground, out);
            // The lowest, which is the one just freed, unless it was stolen.
            let again = front.take(&world.ground, 0);
            if again == Some(out) {
                world.write(0);
            }
            front
        })
    };
    let others: Vec<_> = (0..others)
        .map(|_| {
            let world = Arc::clone(&world);
            thread::spawn(move || steal(&world))
        })
        .collect();
    steal(&world);
    others.into_iter().for_each(|other| other.join().unwrap());
    drop(owner.join().unwrap());
}

/// Empties every hand, and is the owner of half of what is there for a while.
fn steal(world: &World) {
    if let Some(stolen) = world.ground.take_closed(5) {
        if stolen.contains(Granule(0)) {
            world.write(0);
        }
        world.ground.give(stolen);
    }
}

#[test]
fn a_write_is_seen_by_who_empties_the_hand() {
    model("carry free into a hand || close", 222_000, carry_through_a_hand);
    bounded("carry free into a hand || close || close", 1, 1484, carry_through_two_closers);
}

#[test]
fn carry_hand_twins() {
    let name = "carry free into a hand || close";
    twin_bounded(name, 3, "closer does not wait", carry_through_a_hand);
    twin_bounded(name, 3, "bracket ends relaxed", carry_through_a_hand);
    twin_bounded(name, 3, "quiet is seen relaxed", carry_through_a_hand);
    let name = "carry free into a hand || close || close";
    twin_bounded(name, 1, "bracket ends relaxed", carry_through_two_closers);
}

/// A whole word is merged while a granule of it is taken, written to and given
/// back: whoever gets the merged block sees what was written, also if the word
/// was seen whole before.
fn carry_into_a_merge() {
    let world = World::new(&[]);
    (0..64).for_each(|at| world.ground.give_warm(block(at, 0)));
    let user = {
        let world = Arc::clone(&world);
        thread::spawn(move || {
            if world.ground.take_lowest(0, 0, 1).is_some() {
                world.write(0);
                world.ground.give_warm(block(0, 0));
            }
        })
    };
    world.ground.merge(0, 0);
    if world.ground.take_exact(block(0, 6)) {
        world.write(0);
    }
    user.join().unwrap();
}

#[test]
fn a_write_is_seen_through_a_merge() {
    model("carry take, give || merge", 3, carry_into_a_merge);
}

#[test]
fn carry_twin_merged_relaxed() {
    twin("carry take, give || merge", "merged relaxed", carry_into_a_merge);
}
