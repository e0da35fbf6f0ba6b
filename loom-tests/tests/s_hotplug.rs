//! Allocator, look-up, hot-plug and reporting: a span leaves, comes back, or stays
//! after all, beside allocation, free and look-up, and beside a reporter whose
//! batches may hold what is to leave.

#![cfg(shuttle)]

use loom_tests::schedules::{choose, scenario, twin};
use loom_tests::world::{Who, World};
use memdesc::sync::thread;
use memdesc::{Granule, Granules, Order};
use reporting::backend::{Answer, Recording};
use reporting::{Control, Outcome, Policy, Range, Reporter, ZoneSource};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const GRANULES: u64 = 128;
/// What leaves.
const SPAN: std::ops::Range<u64> = 64..128;

struct Folio(Who);
memdesc::descriptors! {
    /// The one type.
    set Mm { Folio = 1 }
}

fn user(world: &World, who: Who) {
    let mut kept = None;
    for _ in 0..3 {
        let order = [0, 0, 2, 6][choose(4) as usize];
        if choose(2) == 0 {
            let ask =
                |order: Order| world.zone.alloc(order, Folio(who)).map_err(|refused| refused.why);
            let Some(block) = world.alloc(who, order, ask) else { continue };
            let found = world.zone.get::<Folio>(block.address()).expect("ours is live");
            assert_eq!(found.0, who, "found another's");
            drop(found);
            world.free(who, block.block().granules(), || drop(block));
        } else {
            let before = kept.take();
            kept = world.alloc(who, order, |order| world.zone.alloc_bare(order));
            before.into_iter().for_each(|block| world.free_bare(who, block));
        }
    }
    kept.into_iter().for_each(|block| world.free_bare(who, block));
}

/// Takes the span out, and back in: by a new one if it has left, by a cancel
/// otherwise. Whether it is gone is noted outside of the schedule's view.
fn plugger(world: &World, gone: &AtomicBool) {
    let range = Granules::new(Granule(SPAN.start), Granule(SPAN.end - 1)).unwrap();
    let (absence, removal) = world.take_away(range, || world.zone.hot_remove(SPAN).unwrap());
    let mut polls = 0;
    removal.wait(|_| {
        polls += 1;
        polls < 4
    });
    match removal.finish() {
        Ok(()) => {
            assert_eq!(world.zone.granules(), GRANULES - 64);
            gone.store(true, Relaxed);
            assert!(world.zone.get::<Folio>(SPAN.start).is_none(), "it has left");
            thread::yield_now();
            gone.store(false, Relaxed);
            world.bring_back(absence, || world.zone.hot_add(SPAN).unwrap());
        }
        Err(refused) => world.bring_back(absence, || refused.given.cancel()),
    }
}

/// A pass or two. What has left is not in any batch: a batch that holds some of it
/// was put back before.
fn reporter(world: &World, gone: &Arc<AtomicBool>) {
    let source = ZoneSource::attach(world.zone.clone(), Order::ZERO).unwrap();
    let gone = Arc::clone(gone);
    let driver = Recording::answering(move |_, range: &Range, _: &Control| {
        let is_leaving = range.at.last() >= SPAN.start;
        assert!(!is_leaving || !gone.load(Relaxed), "{range:?} has left");
        thread::yield_now();
        assert!(!is_leaving || !gone.load(Relaxed), "{range:?} left meanwhile");
        Answer::Say(match choose(3) {
            0 => Outcome::Declined,
            1 => Outcome::Failed,
            _ => Outcome::Reported,
        })
    });
    let policy = Policy::eager().batch(3).max_piece(16).interval(1);
    let mut reporter = Reporter::new(&source, driver, policy).unwrap();
    for _ in 0..6 {
        if reporter.step(0).at > 0 {
            break;
        }
    }
}

/// So many users, and one that plugs.
fn world(users: Who) -> (Arc<World>, Arc<AtomicBool>, Vec<thread::JoinHandle<()>>) {
    let (world, gone) = (World::new(GRANULES), Arc::new(AtomicBool::new(false)));
    Mm::register(world.potad.kinds()).unwrap();
    let mut threads: Vec<_> = (1..=users)
        .map(|who| {
            let world = Arc::clone(&world);
            thread::spawn(move || user(&world, who))
        })
        .collect();
    threads.push({
        let (world, gone) = (Arc::clone(&world), Arc::clone(&gone));
        thread::spawn(move || plugger(&world, &gone))
    });
    (world, gone, threads)
}

fn hotplug() {
    let (world, _, threads) = world(3);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(world.zone.granules(), GRANULES);
    world.finish(&[]);
}

fn hotplug_reported() {
    let (world, gone, mut threads) = world(2);
    threads.push({
        let (world, gone) = (Arc::clone(&world), Arc::clone(&gone));
        thread::spawn(move || reporter(&world, &gone))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(world.zone.granules(), GRANULES);
    world.finish_forgiving();
}

#[test]
fn hotplug_hands_out_nothing_that_has_left() {
    scenario("hotplug", hotplug);
}

#[test]
fn hotplug_reports_nothing_that_has_left() {
    scenario("hotplug_reported", hotplug_reported);
}

#[test]
fn hotplug_twin_put_back_without_a_look_at_the_closing_ranges() {
    let name = "hotplug_twin_put_back_without_a_look_at_the_closing_ranges";
    twin(name, "put back without a look at the closing ranges", hotplug_reported);
}

#[test]
fn hotplug_twin_began_without_a_flush() {
    twin("hotplug_twin_began_without_a_flush", "began without a flush", hotplug);
}

#[test]
fn hotplug_twin_freed_without_a_look_at_the_closing_ranges() {
    let name = "hotplug_twin_freed_without_a_look_at_the_closing_ranges";
    twin(name, "freed without a look at the closing ranges", hotplug);
}
