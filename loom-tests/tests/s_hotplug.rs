//! Allocator, look-up and hot-plug: a span leaves, comes back, or stays after
//! all, beside allocation, free and look-up.

#![cfg(shuttle)]

use loom_tests::schedules::{choose, scenario, twin};
use loom_tests::world::{Who, World};
use memdesc::sync::thread;
use memdesc::{Granule, Granules, Order};
use std::sync::Arc;

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
/// otherwise.
fn plugger(world: &World) {
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
            assert!(world.zone.get::<Folio>(SPAN.start).is_none(), "it has left");
            world.bring_back(absence, || world.zone.hot_add(SPAN).unwrap());
        }
        Err(refused) => world.bring_back(absence, || refused.given.cancel()),
    }
}

fn hotplug() {
    let world = World::new(GRANULES);
    Mm::register(world.potad.kinds()).unwrap();
    let mut threads: Vec<_> = (1..=3)
        .map(|who| {
            let world = Arc::clone(&world);
            thread::spawn(move || user(&world, who))
        })
        .collect();
    threads.push({
        let world = Arc::clone(&world);
        thread::spawn(move || plugger(&world))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(world.zone.granules(), GRANULES);
    world.finish(&[]);
}

#[test]
fn hotplug_hands_out_nothing_that_has_left() {
    scenario("hotplug", hotplug);
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
