//! The allocator alone: mixed orders through hands and without, in batches too,
//! frees elsewhere, and requests that cannot be met.

#![cfg(shuttle)]

use loom_tests::schedules::{choose, scenario, twin};
use loom_tests::world::{Who, World};
use memdesc::sync::{Mutex, thread};
use potad::BareBlock;
use std::sync::Arc;

const ORDERS: [u32; 6] = [0, 0, 1, 2, 4, 6];

type Mail = Arc<Mutex<Vec<(Who, BareBlock)>>>;

/// Allocates, keeps, posts to others, and frees what others have posted.
fn user(world: &World, mail: &Mail, who: Who) {
    let mut hand = (who % 2 == 0).then(|| world.zone.hand());
    let mut kept = Vec::new();
    for _ in 0..3 {
        if choose(4) == 0 {
            let many = world.alloc_many(who, choose(2) as u32, 3);
            world.free_many(who, many);
            continue;
        }
        let order = ORDERS[choose(6) as usize];
        let block = world.alloc(who, order, |order| match &mut hand {
            Some(hand) => hand.alloc_bare(order),
            None => world.zone.alloc_bare(order),
        });
        match (block, choose(3)) {
            (Some(block), 0) => mail.lock().push((who, block)),
            (Some(block), 1) => kept.push(block),
            (Some(block), _) => world.free_bare(who, block),
            (None, _) => {}
        }
        let posted = mail.lock().pop();
        if let Some((from, block)) = posted {
            world.pass_on(from, who, block.granules());
            let granules = block.granules();
            let give = || match &mut hand {
                Some(hand) => hand.free_bare(block).expect("a live block"),
                None => world.zone.free_bare(block).expect("a live block"),
            };
            world.free(who, granules, give);
        }
    }
    for block in kept {
        world.free_bare(who, block);
    }
}

fn allocator() {
    let world = World::new(128);
    let mail = Mail::default();
    let users: Vec<_> = (1..=4)
        .map(|who| {
            let (world, mail) = (Arc::clone(&world), Arc::clone(&mail));
            thread::spawn(move || user(&world, &mail, who))
        })
        .collect();
    users.into_iter().for_each(|user| user.join().unwrap());
    for (from, block) in mail.lock().drain(..) {
        world.free_bare(from, block);
    }
    world.finish(&[]);
}

#[test]
fn allocator_keeps_every_granule_one_owners() {
    scenario("allocator", allocator);
}

#[test]
fn allocator_twin_taken_without_a_compare_exchange() {
    twin(
        "allocator_twin_taken_without_a_compare_exchange",
        "taken without a compare-exchange",
        allocator,
    );
}

#[test]
fn allocator_twin_closer_does_not_wait() {
    twin("allocator_twin_closer_does_not_wait", "closer does not wait", allocator);
}
