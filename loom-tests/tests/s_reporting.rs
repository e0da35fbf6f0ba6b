//! Allocator and reporter: batches are isolated, discarded and put back while
//! others allocate, write and free.

#![cfg(shuttle)]

use loom_tests::schedules::{choose, scenario, twin};
use loom_tests::world::{RAW, Who, World};
use memdesc::Order;
use memdesc::sync::thread;
use reporting::backend::{Answer, Recording};
use reporting::{Control, Outcome, Policy, Range, Reporter, ZoneSource};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const GRANULES: u64 = 64;

/// What is in each granule; outside of the schedule's view.
type Memory = Arc<Vec<AtomicU32>>;

fn user(world: &World, memory: &Memory, who: Who) {
    for _ in 0..3 {
        let order = [0, 1, 2, 4][choose(4) as usize];
        let is_raw = choose(2) == 0;
        let (mut raw, mut bare) = (None, None);
        // What a reporter has isolated may be refused: not looked into here.
        let granules = if is_raw {
            raw = world.alloc(who, order, |order| world.zone.alloc_raw(order, RAW));
            raw.as_ref().map(|block| block.granules())
        } else {
            bare = world.alloc(who, order, |order| world.zone.alloc_bare(order));
            bare.as_ref().map(|block| block.granules())
        };
        let Some(granules) = granules else { continue };
        let mine = granules.first().0 as usize..=granules.last().0 as usize;
        memory[mine.clone()].iter().for_each(|at| at.store(who, Relaxed));
        thread::yield_now();
        for at in &memory[mine] {
            assert_eq!(at.load(Relaxed), who, "{granules:?} of {who} was discarded");
        }
        raw.into_iter().for_each(|block| world.free_raw(who, block));
        bare.into_iter().for_each(|block| world.free_bare(who, block));
    }
}

/// A pass or two, by a driver that discards, declines or fails.
fn reporter(world: &World, memory: &Memory, discarded: &Arc<AtomicU64>) {
    let source = ZoneSource::attach(world.zone.clone(), Order::ZERO).unwrap();
    let (memory, discarded) = (Arc::clone(memory), Arc::clone(discarded));
    let driver = Recording::answering(move |_, range: &Range, _: &Control| match choose(4) {
        0 => Answer::Say(Outcome::Declined),
        1 => Answer::Say(Outcome::Failed),
        _ => {
            for at in range.at.first()..=range.at.last() {
                memory[at as usize].store(0, Relaxed);
                discarded.fetch_add(1, Relaxed);
            }
            Answer::Say(Outcome::ReportedZeroed)
        }
    });
    let policy = Policy::eager().batch(3).max_piece(8).interval(1);
    let mut reporter = Reporter::new(&source, driver, policy).unwrap();
    for _ in 0..6 {
        let next = reporter.step(0);
        if next.at > 0 {
            break;
        }
    }
}

fn reporting() {
    let world = World::new(GRANULES);
    let memory: Memory = Arc::new((0..GRANULES).map(|_| AtomicU32::new(0)).collect());
    let discarded = Arc::new(AtomicU64::new(0));
    let mut threads: Vec<_> = (1..=3)
        .map(|who| {
            let (world, memory) = (Arc::clone(&world), Arc::clone(&memory));
            thread::spawn(move || user(&world, &memory, who))
        })
        .collect();
    threads.push({
        let (world, memory) = (Arc::clone(&world), Arc::clone(&memory));
        let discarded = Arc::clone(&discarded);
        thread::spawn(move || reporter(&world, &memory, &discarded))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    world.finish_forgiving();
    let reported = world.zone.reported_granules();
    assert!(reported <= discarded.load(Relaxed), "{reported} reported, fewer discarded");
}

#[test]
fn reporting_discards_nothing_that_is_in_use() {
    scenario("reporting", reporting);
}

#[test]
fn reporting_twin_isolated_without_taking() {
    twin("reporting_twin_isolated_without_taking", "isolated without taking", reporting);
}

#[test]
fn reporting_twin_put_back_and_left_unmerged() {
    twin("reporting_twin_put_back_and_left_unmerged", "put back and left unmerged", reporting);
}
