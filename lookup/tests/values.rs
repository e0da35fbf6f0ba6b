//! Values of every sort, and what is printed of maps and trees.

mod common;

use common::*;
use memdesc::{Granule, Granules, MAX_GRANULES, pin};
use potad_lookup::{Addresses, Leaf, LookupError, Pages, Payload, Ranges, RangesError, Tree};
use std::fmt::Debug;
use std::sync::Arc;

fn print(what: &impl Debug) -> String {
    format!("{what:?}")
}

fn addresses(first: u64, last: u64) -> Addresses {
    Addresses::new(first, last).unwrap()
}

/// What lives for ever needs no counting, and is compared by where it is.
#[test]
fn references_for_ever_are_values() {
    static NAMES: [u32; 2] = [7, 8];
    let map = Ranges::<&'static u32>::with_pages(Pages::Any);
    assert_eq!(map.pages(), Pages::Any);
    map.set(addresses(0, 99), &NAMES[0]).unwrap();
    map.set(addresses(50, 59), &NAMES[1]).unwrap();
    let guard = pin();
    let found = |at| map.find(at, &guard).map(|found| (**found, found.range()));
    assert_eq!(found(55), Some((8, addresses(50, 59))));
    assert_eq!(found(100), None);
    assert!([0, 49, 60, 99].iter().all(|&at| found(at).unwrap().0 == 7));
    let other = Ranges::with_pages(Pages::Any);
    other.copy_from(&map).unwrap();
    map.remove(addresses(0, 99)).unwrap();
    assert!(map.find(55, &guard).is_none());
    assert!(std::ptr::eq(*other.find(55, &guard).unwrap(), &raw const NAMES[1]));
    assert_eq!(print(&other), format!("Ranges {{ bytes: {}, .. }}", other.bytes()));
}

#[test]
fn payloads_and_addresses() {
    let most = (1 << 63) - 1;
    assert_eq!(Payload::new(most).unwrap().get(), most);
    assert_eq!(Payload::new(1 << 63), Err(RangesError::PayloadTooLarge { payload: 1 << 63 }));
    let all = Granules::new(Granule(3), Granule(MAX_GRANULES - 1)).unwrap();
    let range = Addresses::from(all);
    assert_eq!((range.first(), range.last()), (3, MAX_GRANULES - 1));
    assert_eq!((print(&range), range.to_string()).0, range.to_string());
    assert_eq!(addresses(16, 31).to_string(), print(&addresses(16, 31)));

    let map = Ranges::<Payload>::new();
    map.set(addresses(16, 31), Payload::from(5)).unwrap();
    let guard = pin();
    let found = map.find(20, &guard).unwrap();
    assert_eq!(print(&found), format!("{:?} of {:?}", Payload::from(5), addresses(16, 31)));
    let mut walk = map.iter(addresses(0, 100), &guard);
    assert_eq!(print(&walk), format!("Iter(Some({:?}))", addresses(0, 100)));
    assert_eq!(walk.by_ref().count(), 1);
    assert_eq!(print(&walk), "Iter(None)");
}

#[test]
fn a_tree_says_how_large_it_is() {
    let empty = Tree::<Ram>::default();
    assert_eq!((empty.bytes(), empty.nodes()), (size_of::<Tree<Ram>>(), 0), "no tables, no nodes");
    assert_eq!(print(&empty), format!("Tree {{ nodes: 0, bytes: {}, .. }}", empty.bytes()));
    let ram = Ram::new();
    let tree = ram.tree();
    let kept = tree.publish(block(64, 3), ram.folio(1)).unwrap();
    let said = format!("Tree {{ nodes: {}, bytes: {}, .. }}", tree.nodes(), tree.bytes());
    assert_eq!(print(tree), said);
    assert!(tree.nodes() > 0 && tree.bytes() > 0);
    let refused = tree.publish(block(66, 1), ram.folio(2)).unwrap_err();
    let why = LookupError::Overlap { asked: block(66, 1), found: block(64, 3) };
    assert_eq!(print(&refused), format!("PublishError {{ why: {why:?}, .. }}"));
    assert_eq!(
        refused.to_string(),
        "order 1 at granule 0x42 overlaps order 3 at granule 0x40, which is published"
    );
    let guard = pin();
    let range = Granules::new(Granule(0), Granule(80)).unwrap();
    let mut walk = tree.iter(range, &guard);
    assert_eq!(print(&walk), "Iter(Some(g0x0..=0x50))");
    assert_eq!(walk.next().unwrap().0, block(64, 3));
    assert_eq!(print(&walk), "Iter(Some(g0x48..=0x50))");
    assert!(walk.next().is_none());
    drop(kept);
}

/// A short cut of no tree, or of another, leads nowhere; one that does needs the
/// word's order to be the block's.
#[test]
fn a_short_cut_of_another_tree_is_not_followed() {
    let (ram, other) = (Ram::new(), Ram::new());
    let own = ram.tree().leaf();
    ram.tree().publish_immediate(block(0, 0), raw(1, 0)).unwrap();
    other.tree().publish_immediate(block(0, 0), raw(1, 0)).unwrap();
    ram.tree().lead(&own, block(0, 0));
    let strangers = [Leaf::default(), other.tree().leaf()];
    for stranger in &strangers {
        ram.tree().lead(stranger, block(0, 0));
        assert!(!ram.tree().publish_by(stranger, block(1, 0), raw(1, 0)));
        assert!(!ram.tree().clear_by(stranger, block(0, 0)));
    }
    assert!(!ram.tree().publish_by(&own, block(1, 0), raw(1, 3)), "of another order");
    assert!(!ram.tree().publish_if_there(block(1, 0), raw(1, 3)));
    assert!(!ram.tree().publish_if_there(block(8, 3), raw(1, 3)), "for single granules only");
    assert!(ram.tree().publish_by(&own, block(1, 0), raw(1, 0)));
    assert_eq!(print(&own), "leaf(0x0)");
    assert!(ram.tree().clear_by(&own, block(0, 0)) && ram.tree().clear_by(&own, block(1, 0)));
    assert_eq!(ram.tree().validate().unwrap().granules, 0);
}

/// A range that goes on beyond a node which has its part of it already, or comes
/// to be one value: what lies outside is set, and no unit is left over.
#[test]
fn a_range_beyond_a_node_is_set_outside_too() {
    let values = [Arc::new(1u16), Arc::new(2)];
    let guard = pin();
    let beyond = [(40, 100), (0, 100), (20, 100), (32, 100), (40, 4000), (32, 4000)];
    for (first, last) in beyond {
        for number in [1, 2] {
            let map = Ranges::<Arc<u16>>::with_pages(Pages::Any);
            let mut plain = [0u16; 4100];
            for (first, last, number) in [(0, 31, 2), (32, 63, 1), (first, last, number)] {
                let value = values[usize::from(number) - 1].clone();
                map.set(addresses(first, last), value).unwrap();
                plain[first as usize..=last as usize].fill(number);
            }
            map.validate(&guard).unwrap();
            for (at, &expected) in (0..).zip(&plain) {
                let found = map.find(at, &guard).map_or(0, |found| **found);
                assert_eq!(found, expected, "{at} after {number} in {first}..={last}");
            }
        }
    }
    drop(guard);
    let started = std::time::Instant::now();
    while values.iter().any(|value| Arc::strong_count(value) > 1) {
        assert!(started.elapsed().as_secs() < 60, "a unit is left over");
        pin().flush();
        std::thread::yield_now();
    }
}

/// A range that begins in a node of a node and goes on beyond both.
#[test]
fn a_range_from_deep_inside_goes_on_outside() {
    let map = Ranges::<Payload>::new();
    for first in [0, 4032, 4050] {
        map.set(addresses(first, first + 7), Payload::from(1)).unwrap();
    }
    map.set(addresses(4055, 5000), Payload::from(2)).unwrap();
    let guard = pin();
    map.validate(&guard).unwrap();
    let found = map.iter(Addresses::ALL, &guard).map(|found| (found.get(), found.range()));
    let expected = [(1, 0, 7), (1, 4032, 4039), (1, 4050, 4054), (2, 4055, 5000)];
    assert!(found.eq(expected.map(|(value, first, last)| (value, addresses(first, last)))));
}

/// What was found is equal where both its value and its range are.
#[test]
fn what_is_found_is_compared_by_value_and_range() {
    let map = Ranges::<Arc<u16>>::with_pages(Pages::Any);
    for (first, last, value) in [(0, 9, 1), (20, 29, 1), (40, 49, 2)] {
        map.set(addresses(first, last), Arc::new(value)).unwrap();
    }
    let other = Ranges::<Arc<u16>>::with_pages(Pages::Any);
    other.set(addresses(0, 9), Arc::new(2)).unwrap();
    let guard = pin();
    let find = |at| map.find(at, &guard).unwrap();
    assert!(find(0) == find(9), "one range, one value");
    assert!(find(0) != find(20), "another range");
    assert!(find(20) != find(40), "another of both");
    assert!(other.find(0, &guard).unwrap() != find(0), "another value");
    assert_eq!(print(&find(20)), "1 of 0x14..=0x1d");
    assert_eq!(print(&addresses(0x14, 0x1d)), "0x14..=0x1d");
    assert_eq!(addresses(0x14, 0x1d).to_string(), "0x14..=0x1d");
}
