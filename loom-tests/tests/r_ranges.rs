//! The range map: readers beside insert, remove and replace-and-cut; nodes that
//! come back; two writers.

#![cfg(loom)]

use lookup::{Addresses, Payload, Ranges};
use loom::thread;
use loom_tests::home::{Folio, Ram, block};
use loom_tests::{model, twin};
use memdesc::sync::cell::UnsafeCell;
use memdesc::{Granule, pin};
use std::sync::Arc;

type Map = Arc<Ranges<Payload>>;

fn addresses(first: u64, last: u64) -> Addresses {
    Addresses::new(first, last).expect("in order")
}

fn at(map: &Map, at: u64) -> Option<u64> {
    let guard = pin();
    map.find(at, &guard).map(|found| found.get())
}

fn map_of(ranges: &[(u64, u64, u32)]) -> Map {
    let map = Map::default();
    for &(first, last, value) in ranges {
        map.insert(addresses(first, last), value.into()).expect("vacant");
    }
    map
}

/// Every node in use is one of the tree, and the tree is as it must be.
fn is_sound(map: &Map) {
    map.settle();
    let summary = map.validate(&pin()).expect("sound");
    assert_eq!(map.node_bytes() as u64, summary.bytes);
}

/// A range beside the one that is inserted is found throughout; the new one is
/// found whole or not at all, and certainly afterwards.
fn find_against_insert() {
    let map = map_of(&[(1, 2, 1)]);
    let reader = {
        let map = map.clone();
        thread::spawn(move || {
            let guard = pin();
            assert_eq!(map.find(2, &guard).expect("live throughout").get(), 1);
            // Two slots and a node below: what is seen at the far end is seen
            // at the near one.
            let late = map.find(70, &guard).map(|found| found.get());
            let then = map.find(10, &guard).map(|found| found.get());
            assert!([None, Some(2)].contains(&late));
            assert!(late.is_none() || then == late, "seen in part");
        })
    };
    map.insert(addresses(10, 70), 2.into()).unwrap();
    reader.join().unwrap();
    assert_eq!((at(&map, 1), at(&map, 10), at(&map, 70)), (Some(1), Some(2), Some(2)));
}

#[test]
fn a_reader_beside_an_insert_finds_what_is_there() {
    model("ranges: find || insert", 200, find_against_insert);
}

#[test]
fn insert_twin_linked_relaxed() {
    twin("ranges: find || insert", "range node linked relaxed", find_against_insert);
    twin("ranges: find || insert", "range root seen relaxed", find_against_insert);
}

/// Replace-and-cut: what is left of the old range is found throughout, and an
/// address that one range or the other names is never found empty.
fn find_against_replace() {
    let map = map_of(&[(0, 9, 1)]);
    let reader = {
        let map = map.clone();
        thread::spawn(move || {
            let guard = pin();
            let named = |at| map.find(at, &guard).expect("named throughout").get();
            assert!([1, 2].contains(&named(5)));
            assert_eq!(named(8), 1);
        })
    };
    map.set(addresses(4, 6), 2.into()).unwrap();
    reader.join().unwrap();
    let values = [3, 4, 6, 7].map(|address| at(&map, address));
    assert_eq!(values, [Some(1), Some(2), Some(2), Some(1)]);
}

#[test]
fn a_reader_beside_a_replacement_finds_one_or_the_other() {
    model("ranges: find || replace and cut", 140, find_against_replace);
}

#[test]
fn replace_twin_in_two_steps() {
    let seed = "range replaced in two steps";
    twin("ranges: find || replace", seed, find_against_replace);
}

/// A node that is replaced and made again elsewhere: a reader on its way
/// through it never answers with what lives there then, and a range that is
/// there throughout is found while its neighbours come and go.
fn node_goes_and_comes() {
    let map = map_of(&[(0, 0, 1), (2, 2, 2)]);
    let reader = {
        let map = map.clone();
        thread::spawn(move || {
            let guard = pin();
            let found = map.find(0, &guard).map(|found| found.get());
            assert!(found.is_none() || found == Some(1), "{found:?}");
            assert_eq!(map.find(2, &guard).expect("live throughout").get(), 2);
        })
    };
    map.remove(addresses(0, 0)).unwrap();
    map.insert(addresses(1, 1), 3.into()).unwrap();
    reader.join().unwrap();
    assert_eq!((at(&map, 0), at(&map, 1), at(&map, 2)), (None, Some(3), Some(2)));
    is_sound(&map);
}

#[test]
fn a_range_node_is_not_reused_under_a_reader() {
    model("ranges: node reuse || find", 2_600, node_goes_and_comes);
}

#[test]
fn range_node_twin_without_a_grace_period() {
    let seed = "range node reused without a grace period";
    twin("ranges: node reuse", seed, node_goes_and_comes);
}

/// Nodes are given back by whoever collects, while the writer takes them over:
/// none is lost, none is there twice.
fn collector_against_writer() {
    let map = map_of(&[(0, 0, 1)]);
    let collector = {
        let map = map.clone();
        thread::spawn(move || {
            // What is retired meanwhile is given back when this ends.
            drop(pin());
            drop(map);
        })
    };
    for value in [2u32, 3, 4] {
        map.set(addresses(0, 0), value.into()).unwrap();
    }
    collector.join().unwrap();
    assert_eq!(at(&map, 0), Some(4));
    is_sound(&map);
}

#[test]
fn a_returned_node_is_taken_over_once() {
    model("ranges: give back || take over", 1_400, collector_against_writer);
}

#[test]
fn returned_twin_plain_store() {
    let seed = "range node returned by a plain store";
    twin("ranges: give back || take over", seed, collector_against_writer);
}

#[test]
fn returned_twins_relaxed() {
    for seed in ["range node returned relaxed", "range nodes taken over relaxed"] {
        twin("ranges: give back || take over", seed, collector_against_writer);
    }
}

/// Of two inserts that overlap one is refused.
fn insert_against_insert() {
    let map = Map::default();
    let other = {
        let map = map.clone();
        thread::spawn(move || map.insert(addresses(3, 7), 1.into()).is_ok())
    };
    let ours = map.insert(addresses(7, 9), 2.into()).is_ok();
    let theirs = other.join().unwrap();
    assert!(ours != theirs, "one and one only");
    assert_eq!(at(&map, 7), Some(if ours { 2 } else { 1 }));
    assert_eq!(map.validate(&pin()).unwrap().pieces, 1);
}

#[test]
fn of_two_inserts_that_overlap_one_is_refused() {
    model("ranges: insert || insert", 5, insert_against_insert);
}

#[test]
fn inserts_twin_asked_before_the_lock() {
    twin("ranges: insert || insert", "range asked before the lock", insert_against_insert);
}

/// A step of an iteration beside a cut: what is there throughout is not missed.
fn iterate_against_cut() {
    let map = map_of(&[(0, 2, 1), (4, 8, 2), (10, 11, 3)]);
    let reader = {
        let map = map.clone();
        thread::spawn(move || {
            let guard = pin();
            let all: Vec<u64> = map.iter(Addresses::ALL, &guard).map(|found| found.get()).collect();
            assert!(all.starts_with(&[1]) && all.ends_with(&[3]), "{all:?}");
            assert!(all.contains(&2), "{all:?}");
        })
    };
    map.remove(addresses(5, 6)).unwrap();
    reader.join().unwrap();
}

#[test]
fn an_iteration_beside_a_cut_misses_nothing() {
    model("ranges: iter || cut", 300, iterate_against_cut);
}

#[test]
fn iteration_twin_in_two_steps() {
    /// The same with a replacement, which the seed takes apart.
    fn against_replace() {
        let map = map_of(&[(0, 2, 1), (4, 8, 2)]);
        let reader = {
            let map = map.clone();
            thread::spawn(move || {
                let guard = pin();
                assert!(map.next(4, &guard).expect("named throughout").range().contains(4));
            })
        };
        map.set(addresses(4, 8), 5.into()).unwrap();
        reader.join().unwrap();
    }
    model("ranges: next || replace", 95, against_replace);
    twin("ranges: next || replace", "range replaced in two steps", against_replace);
}

/// A value whose number is overwritten when it is dropped, without any atomic:
/// loom sees if nothing orders that after the last reader.
struct Named {
    number: UnsafeCell<u64>,
}

// SAFETY: written by its maker and by its drop; that readers come between,
// loom checks.
unsafe impl Sync for Named {}

impl Named {
    fn new(number: u64) -> Arc<Self> {
        Arc::new(Self { number: UnsafeCell::new(number) })
    }

    fn number(&self) -> u64 {
        // SAFETY: nobody writes until it is dropped.
        self.number.with(|number| unsafe { *number })
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: being dropped.
        self.number.with_mut(|number| unsafe { *number = u64::MAX });
    }
}

/// A value that is replaced is dropped after whoever found it has let go.
fn value_against_replace() {
    let map = Arc::new(Ranges::<Arc<Named>>::new());
    map.insert(addresses(0, 5), Named::new(1)).unwrap();
    let reader = {
        let map = map.clone();
        thread::spawn(move || {
            let guard = pin();
            let found = map.find(3, &guard).expect("named throughout");
            assert!([1, 2].contains(&found.number()));
        })
    };
    map.set(addresses(0, 5), Named::new(2)).unwrap();
    reader.join().unwrap();
}

#[test]
fn a_value_outlives_who_found_it() {
    model("ranges: value || replace", 90, value_against_replace);
}

#[test]
fn value_twin_without_a_grace_period() {
    let seed = "range node reused without a grace period";
    twin("ranges: value || replace", seed, value_against_replace);
}

/// A descriptor that a range names can be counted by whoever found it there,
/// though the range is taken out meanwhile; and it is torn down once.
fn reference_against_remove() {
    let ram = Ram::new();
    let map = Arc::new(Ranges::new());
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    map.insert(addresses(0, 5), folio).unwrap();
    let reader = {
        let map = map.clone();
        thread::spawn(move || {
            let guard = pin();
            let found = map.find(3, &guard)?;
            let counted = found.try_clone().expect("the range's own is not given up yet");
            drop(guard);
            assert!(!counted.header().is_dead());
            assert_eq!(counted.number(), 7);
            Some(())
        })
    };
    map.remove(addresses(0, 5)).unwrap();
    map.settle();
    let _ = reader.join().unwrap();
    drop(map);
    assert_eq!(ram.torn_down(), 1);
    assert!(ram.tree().get::<Folio>(Granule(0)).is_none());
}

#[test]
fn a_descriptor_found_by_a_range_can_be_counted() {
    model("ranges: reference || remove", 300, reference_against_remove);
}

#[test]
fn reference_twin_without_a_grace_period() {
    let seed = "range node reused without a grace period";
    twin("ranges: reference || remove", seed, reference_against_remove);
}

/// Two maps that copy each other at once end alike: one copies first; neither waits
/// for ever.
fn copy_against_copy() {
    let maps = [map_of(&[(0, 3, 1)]), map_of(&[(2, 9, 2)])];
    let other = {
        let [one, two] = maps.clone();
        thread::spawn(move || one.copy_from(&two).unwrap())
    };
    maps[1].copy_from(&maps[0]).unwrap();
    other.join().unwrap();
    let ends = [at(&maps[0], 2), at(&maps[1], 2)];
    assert!([[Some(1); 2], [Some(2); 2]].contains(&ends), "{ends:?}");
}

#[test]
fn maps_that_copy_each_other_end_alike() {
    model("ranges: copy || copy", 240, copy_against_copy);
}

#[test]
fn copies_twin_locks_in_the_order_of_the_call() {
    let seed = "locks taken in the order of the call";
    twin("ranges: copy || copy", seed, copy_against_copy);
}
