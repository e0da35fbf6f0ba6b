//! Whoever waits for the lock of what is at an address gets what is there by then.

mod common;

use common::*;
use memdesc::*;
use potad_lookup::Tree;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

/// The block and the owner of what was locked.
type Got = Option<(Block, OwnerId)>;

/// The three ways to a lock by address.
const WAYS: [fn(&Tree<Ram>, Granule) -> Got; 3] = [
    |tree, at| tree.lock::<Folio>(at).map(|locked| (locked.block(), locked.owner())),
    |tree, at| tree.lock_with::<Folio>(at, &pin()).map(|locked| (locked.block(), locked.owner())),
    |tree, at| tree.lock_erased(at).map(|locked| (locked.block(), locked.owner())),
];

/// What each way gets at an address, when it has waited there while `change` was made
/// under the lock. What `publish` makes and `change` returns lives until then.
fn wait<P, C>(
    order: u32,
    at: impl Fn(Block) -> Granule,
    publish: impl Fn(&Ram, Block) -> P,
    change: impl Fn(&Ram, &Locked<'_, Ram, Folio>, P) -> C,
) -> [Got; 3] {
    WAYS.map(|way| {
        let ram = Ram::new();
        let place = block(0, order);
        let published = publish(&ram, place);
        let at = at(place);
        let locked = ram.tree().lock::<Folio>(at).unwrap();
        let (tell, told) = channel();
        let theirs = ram.clone();
        std::thread::spawn(move || tell.send(way(theirs.tree(), at)));
        let start = Instant::now();
        while !format!("{:?}", locked.header()).contains("parked") {
            assert!(start.elapsed() < LONG, "nobody waits");
            std::thread::yield_now();
        }
        let changed = change(&ram, &locked, published);
        drop(locked);
        let got = told.recv_timeout(LONG).expect("its turn comes");
        drop(changed);
        assert_eq!(ram.tree().validate().unwrap().granules, 0);
        got
    })
}

fn first(place: Block) -> Granule {
    place.base()
}

fn last(place: Block) -> Granule {
    place.last()
}

fn one(ram: &Ram, place: Block) -> Ref<Ram, Folio> {
    ram.tree().publish(place, ram.folio(2)).unwrap()
}

/// Orders at and beside the seams of levels.
const ORDERS: [u32; 5] = [1, 6, 7, 18, 24];

#[test]
fn what_stayed_is_had_after_the_wait() {
    for order in ORDERS {
        let there = Some((block(0, order), OwnerId(1)));
        assert_eq!(wait(order, last, one, |_, _, folio| folio), [there; 3]);
        // Who waits has a reference: the last one may go meanwhile.
        assert_eq!(wait(order, last, one, |_, _, folio| drop(folio)), [there; 3]);
    }
}

#[test]
fn what_was_split_is_had_by_its_halves() {
    for order in ORDERS {
        let (lower, upper) = block(0, order).halves().unwrap();
        let split = |ram: &Ram, locked: &Locked<'_, Ram, Folio>, folio| {
            (folio, ram.tree().split(locked, ram.slab(3)).unwrap())
        };
        let stays = Some((lower, OwnerId(1)));
        assert_eq!(wait(order, first, one, split), [stays; 3]);
        let is_new = Some((upper, OwnerId(2)));
        assert_eq!(wait(order, last, one, split), [None, None, is_new], "of another type");
    }
}

#[test]
fn what_was_cut_off_is_not_had() {
    for order in ORDERS {
        let (lower, _) = block(0, order).halves().unwrap();
        let cut = |ram: &Ram, locked: &Locked<'_, Ram, Folio>, folio: Ref<Ram, Folio>| {
            assert_eq!(ram.tree().shrink(locked, lower.order()), Ok(lower));
            folio
        };
        assert_eq!(wait(order, first, one, cut), [Some((lower, OwnerId(1))); 3]);
        assert_eq!(wait(order, last, one, cut), [None; 3]);
    }
}

#[test]
fn what_another_took_over_is_had_from_that() {
    for order in ORDERS {
        let whole = block(0, order);
        let replace = |ram: &Ram, locked: &Locked<'_, Ram, Folio>, folio| {
            (folio, ram.tree().replace(locked, ram.slab(3)).unwrap())
        };
        let is_new = Some((whole, OwnerId(2)));
        assert_eq!(wait(order, last, one, replace), [None, None, is_new], "of another type");

        let halves = |ram: &Ram, place: Block| {
            let (lower, upper) = place.halves().unwrap();
            [lower, upper].map(|half| ram.tree().publish(half, ram.folio(2)).unwrap())
        };
        let merge = |ram: &Ram, upper: &Locked<'_, Ram, Folio>, halves: [Ref<Ram, Folio>; 2]| {
            assert_eq!(ram.tree().merge(&halves[0].lock(), upper), Ok(whole));
            halves
        };
        assert_eq!(wait(order, last, halves, merge), [Some((whole, OwnerId(1))); 3]);
    }
}
