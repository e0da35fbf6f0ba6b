//! What stands before a zone: the list to fall back over, and the resource
//! nested in another one.
//!
//! Both are made of whole zone calls, so these models are bounded: what a call
//! does inside is for the other files.

#![cfg(loom)]

use loom::thread;
use loom_tests::{bounded, twin_bounded};
use memdesc::{Order, OwnerId};
use potad::{Nested, Potad, Resource, Zone};

fn zone(potad: &Potad, name: &str, first: u64, granules: u64) -> Zone {
    let resource = Resource::new(name).granule(8).reach(8 * 64 - 1);
    potad.register(resource.span(8 * first..8 * (first + granules))).unwrap()
}

/// A list falls back: two threads, two granules in two zones, one of them
/// hidden in a third one's hand: nobody is refused, and both zones are whole
/// afterwards.
fn zonelist_falls_back() {
    let potad = Potad::new();
    let (near, far) = (zone(&potad, "near", 0, 2), zone(&potad, "far", 2, 1));
    let list = potad.zonelist([&near, &far]).unwrap();
    // This hand claims both of the first zone's and gives one out.
    let mut hand = near.hand();
    let held = hand.alloc_bare(Order::ZERO).unwrap();
    let other = {
        let list = list.clone();
        thread::spawn(move || list.alloc_bare(Order::ZERO).expect("one for each"))
    };
    let mine = list.alloc_bare(Order::ZERO).expect("one for each");
    let theirs = other.join().unwrap();
    assert!(mine != theirs && mine != held && theirs != held, "given twice");
    for block in [mine, theirs] {
        list.free_bare(block).expect("its zone is of the list");
    }
    hand.free_bare(held).unwrap();
    drop(hand);
    assert_eq!((near.stats().free, far.stats().free), (2, 1));
    assert_eq!((near.validate(), far.validate()), (Ok(2), Ok(1)));
}

#[test]
fn a_zonelist_refuses_nobody_while_a_zone_has_room() {
    bounded("zonelist: alloc || alloc", 2, 13, zonelist_falls_back);
}

/// A raw block of a list is found in its zone, whoever else falls back, and a
/// free brings it back to the zone it came from.
fn zonelist_free_against_alloc() {
    let potad = Potad::new();
    let (near, far) = (zone(&potad, "near", 0, 1), zone(&potad, "far", 1, 1));
    let list = potad.zonelist([&near, &far]).unwrap();
    let first = list.alloc_raw(Order::ZERO, OwnerId(1)).unwrap();
    let other = {
        let list = list.clone();
        thread::spawn(move || list.free_raw(first).expect("its zone is of the list"))
    };
    let second = list.alloc_raw(Order::ZERO, OwnerId(2)).expect("one is free throughout");
    other.join().unwrap();
    list.free_raw(second).unwrap();
    assert_eq!((near.stats().free, far.stats().free), (1, 1));
}

#[test]
fn a_zonelist_frees_beside_an_allocation() {
    bounded("zonelist: free || alloc", 2, 5, zonelist_free_against_alloc);
}

/// The same with a descriptor.
fn zonelist_free_typed() {
    use loom_tests::home::Folio;
    let potad = Potad::new();
    let near = zone(&potad, "near", 0, 2);
    let list = potad.zonelist([&near]).unwrap();
    let first = list.alloc(Order::ZERO, Folio::of(7)).ok().expect("two are free");
    let other = thread::spawn(move || drop(first));
    let second = list.alloc(Order::ZERO, Folio::of(8)).ok().expect("one is free throughout");
    other.join().unwrap();
    drop(second);
    assert_eq!(near.validate(), Ok(2));
}

#[test]
fn a_zonelist_buries_beside_a_publication() {
    bounded("zonelist: put || publish", 2, 5, zonelist_free_typed);
}

/// A nested resource imports when it is empty and returns what is whole: two
/// threads take and free beside each other, and the parent gets all back.
fn nested_breathes() {
    let potad = Potad::new();
    let ram = zone(&potad, "ram", 0, 2);
    let sectors =
        std::sync::Arc::new(Nested::new(&ram, "sectors", 4, Order::ZERO).unwrap().keep(0));
    let first = sectors.alloc_bare(Order::ZERO).unwrap();
    let other = {
        let sectors = sectors.clone();
        thread::spawn(move || sectors.free_bare(first).expect("its own"))
    };
    let second = sectors.alloc_bare(Order::ZERO).expect("two granules of two sectors");
    other.join().unwrap();
    sectors.free_bare(second).unwrap();
    sectors.shrink();
    assert_eq!(sectors.imports(), 0, "all of it is whole");
    assert_eq!((ram.stats().free, ram.validate()), (2, Ok(2)));
}

#[test]
fn a_nested_resource_returns_what_is_whole() {
    bounded("nested: free, return || alloc, import", 1, 4, nested_breathes);
}

/// The parent has one block, and it is the nested resource's: it goes back while
/// another allocation looks here, and then there. One sector is free throughout,
/// so nobody is refused.
fn nested_refuses_nobody() {
    let potad = Potad::new();
    let ram = zone(&potad, "ram", 0, 1);
    let sectors = Nested::new(&ram, "sectors", 4, Order::ZERO).unwrap().keep(0);
    let sectors = std::sync::Arc::new(sectors);
    let first = sectors.alloc_bare(Order::ZERO).unwrap();
    let other = {
        let sectors = sectors.clone();
        thread::spawn(move || sectors.alloc_bare(Order::ZERO).expect("one of two is free"))
    };
    sectors.free_bare(first).expect("its own");
    let second = other.join().unwrap();
    sectors.free_bare(second).unwrap();
    sectors.shrink();
    assert_eq!((sectors.imports(), ram.stats().free), (0, 1));
}

#[test]
fn a_nested_resource_refuses_nobody_amid_a_return() {
    bounded("nested: free, return the only block || alloc", 2, 1, nested_refuses_nobody);
}

#[test]
fn nested_twin_exhausted_amid_a_return() {
    let name = "nested: free, return the only block || alloc";
    twin_bounded(name, 2, "exhausted amid a return", nested_refuses_nobody);
}

#[test]
fn front_twins() {
    let seed = "words left behind";
    twin_bounded("zonelist: put || publish", 2, seed, zonelist_free_typed);
}
