//! Allocator, look-up and memory failure: whatever fails is told to who has it,
//! and handed out never again.

#![cfg(shuttle)]

use loom_tests::schedules::{choose, scenario, twin};
use loom_tests::world::{Who, World, one};
use memdesc::sync::thread;
use memdesc::{FailedBlock, FailureKind, Order, Outcome, Owner, OwnerId};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

const GRANULES: u64 = 64;

struct Folio;
memdesc::descriptors! {
    /// The one type.
    set Mm { Folio = 1 }
}

/// Writes down what it is told; outside of the schedule's view.
#[derive(Default)]
struct Told(Mutex<Vec<u64>>);

impl Owner for Told {
    fn memory_failure(&self, failed: &FailedBlock) -> Outcome {
        assert_eq!(failed.granules.count(), 1, "one granule failed");
        if failed.first {
            self.0.lock().unwrap().push(failed.granules.first().0);
        }
        Outcome::Recovered
    }
}

fn user(world: &World, owner: OwnerId, who: Who) {
    for _ in 0..3 {
        let order = [0, 1, 3, 6][choose(4) as usize];
        match choose(3) {
            0 => {
                let block = world.alloc(who, order, |order| world.zone.alloc_bare(order));
                block.into_iter().for_each(|block| world.free_bare(who, block));
            }
            1 => {
                let block = world.alloc(who, order, |order| world.zone.alloc_raw(order, owner));
                block.into_iter().for_each(|block| world.free_raw(who, block));
            }
            _ => {
                let ask = |order: Order| {
                    world.zone.alloc_owned(order, owner, Folio).map_err(|refused| refused.why)
                };
                let Some(block) = world.alloc(who, order, ask) else { continue };
                let address = block.address();
                if let Some(found) = world.zone.get::<Folio>(address) {
                    assert_eq!(found.block(), block.block(), "ours is live");
                }
                // A report may have the last reference.
                world.let_go(who, block.block().granules(), || drop(block));
            }
        }
    }
}

/// Reports one granule; returns whether it was the first to.
fn report(world: &World) -> (u64, u64) {
    let at = choose(2);
    let tell = || world.zone.report_failure(at, 0, FailureKind::Injected).unwrap();
    let (_, report) = world.take_away(one(at), tell);
    assert_eq!(report.granules, 1);
    assert_eq!(report.first, report.quarantined + report.notified, "{report:?}: not proved");
    (at, report.notified)
}

fn failure() {
    let world = World::new(GRANULES);
    Mm::register(world.potad.kinds()).unwrap();
    let told = Arc::new(Told::default());
    let owner = world.potad.register_owner(told.clone()).unwrap();
    world.zone.set_own_owner(told.clone()).unwrap();
    let users: Vec<_> = (1..=3)
        .map(|who| {
            let world = Arc::clone(&world);
            thread::spawn(move || user(&world, owner, who))
        })
        .collect();
    let reports: Vec<_> = (0..2)
        .map(|_| {
            let world = Arc::clone(&world);
            thread::spawn(move || report(&world))
        })
        .collect();
    let reports: Vec<_> = reports.into_iter().map(|report| report.join().unwrap()).collect();
    users.into_iter().for_each(|user| user.join().unwrap());
    let lost: BTreeSet<u64> = reports.iter().map(|(at, _)| *at).collect();
    world.finish(&lost.into_iter().collect::<Vec<_>>());
    let notified: u64 = reports.iter().map(|(_, notified)| notified).sum();
    assert_eq!(told.0.lock().unwrap().len() as u64, notified, "told, and said to be told");
    assert_eq!(world.zone.stats().pending, 0, "everything came back");
}

#[test]
fn failure_never_circulates_again() {
    scenario("failure", failure);
}

/// Found here: a report that came second returned at once, while the granule was
/// still free and the first report on its way to it.
#[test]
fn failure_twin_a_later_report_trusts_the_first() {
    let name = "failure_twin_a_later_report_trusts_the_first";
    twin(name, "a later report trusts the first", failure);
}

#[test]
fn failure_twin_freed_without_looking_at_the_poison() {
    let name = "failure_twin_freed_without_looking_at_the_poison";
    twin(name, "freed without looking at the poison", failure);
}
