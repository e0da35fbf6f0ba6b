//! Descriptors as values of a range map: what counts, and when it ends.

mod common;

use common::*;
use memdesc::*;
use potad_lookup::{Addresses, Ranges, RangesError, Value};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

fn addresses(first: u64, last: u64) -> Addresses {
    Addresses::new(first, last).unwrap()
}

#[test]
fn a_descriptor_lives_as_long_as_a_range_names_it() {
    let ram = Ram::new();
    let maps = [Ranges::new(), Ranges::new()];
    let folio = ram.tree().publish(block(64, 3), ram.folio(7)).unwrap();
    let before = folio.try_clone().unwrap();
    maps[0].insert(addresses(0x1000, 0x8fff), folio).unwrap();
    // A hole makes pieces, a copy doubles them; each is a reference.
    maps[0].remove(addresses(0x4321, 0x4567)).unwrap();
    maps[1].copy_from(&maps[0]).unwrap();
    assert!(before.header().refs() > 4, "{before:?}");
    drop(before);
    let guard = pin();
    let ranges: Vec<_> = maps[1].iter(Addresses::ALL, &guard).map(|found| found.range()).collect();
    assert_eq!(ranges, [addresses(0x1000, 0x4320), addresses(0x4568, 0x8fff)]);
    let found = maps[1].find(0x8000, &guard).unwrap();
    assert_eq!((found.tag, found.block()), (7, block(64, 3)));

    // Gone from both maps: whoever found it may still count it.
    for map in &maps {
        map.remove(Addresses::ALL).unwrap();
        map.settle();
    }
    let mine = found.try_clone().unwrap();
    drop(guard);
    while mine.header().refs() > 1 {
        pin().flush();
        std::thread::yield_now();
    }
    assert_eq!(ram.tree().get::<Folio>(Granule(70)).unwrap().tag, 7, "allocated still");
    assert!(ram.back().is_empty());
    drop(mine);
    assert_eq!(ram.back(), [(block(64, 3), false)]);
    collect(&ram, 0);
}

#[test]
fn a_map_that_goes_gives_its_references_up() {
    let ram = Ram::new();
    let map = Ranges::new();
    for at in 0..100 {
        let folio = ram.tree().publish(block(at, 0), ram.folio(at)).unwrap();
        map.set(addresses(at * 10, at * 10 + 19), folio).unwrap();
    }
    drop(map);
    // Those that were replaced before wait for the epoch.
    collect(&ram, 0);
    assert_eq!(ram.back().len(), 100);
    assert_eq!(ram.tree().validate().unwrap().granules, 0);
}

/// Every kind survives the way through a word.
#[test]
fn two_types_are_told_apart_by_their_maps() {
    let ram = Ram::new();
    let (folios, slabs) = (Ranges::new(), Ranges::new());
    folios.insert(addresses(0, 9), ram.tree().publish(block(0, 0), ram.folio(1)).unwrap()).unwrap();
    slabs.insert(addresses(0, 9), ram.tree().publish(block(1, 0), ram.slab(2)).unwrap()).unwrap();
    let guard = pin();
    assert_eq!(folios.find(5, &guard).unwrap().tag, 1);
    assert_eq!(slabs.find(5, &guard).unwrap().0.load(Relaxed), 2);
    assert_eq!(slabs.find(5, &guard).unwrap().block(), block(1, 0));
}

/// Units out of a few.
struct Few(&'static AtomicUsize);

// SAFETY: a static's address is even, and lives for ever; the number decides
// nothing but when there is no more.
unsafe impl Value for Few {
    const COUNTED: bool = true;

    fn into_raw(self) -> *mut () {
        std::ptr::from_ref(std::mem::ManuallyDrop::new(self).0).cast_mut().cast()
    }

    unsafe fn from_raw(raw: *mut ()) -> Self {
        // SAFETY: made of a `&'static`.
        Self(unsafe { &*raw.cast_const().cast() })
    }

    unsafe fn again(raw: *mut ()) -> Option<()> {
        // SAFETY: made of a `&'static`.
        let left: &AtomicUsize = unsafe { &*raw.cast_const().cast() };
        left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).ok().map(|_| ())
    }
}

impl Drop for Few {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn a_change_that_a_value_has_no_unit_for_is_refused() {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    let map = Ranges::new();
    let range = addresses(0, 63);
    LEFT.store(1, Relaxed);
    map.insert(range, Few(&LEFT)).unwrap();
    assert_eq!(LEFT.load(Relaxed), 1, "one that the map has, one that was given and dropped");
    // Two pieces are needed where one is.
    LEFT.store(0, Relaxed);
    let hole = addresses(20, 29);
    assert_eq!(map.remove(hole), Err(RangesError::TooManyUnits { asked: hole }));
    let other = Ranges::new();
    let refused = RangesError::TooManyUnits { asked: Addresses::ALL };
    assert_eq!(other.copy_from(&map), Err(refused));
    {
        let guard = pin();
        assert_eq!(map.find(25, &guard).unwrap().range(), range, "nothing was changed");
        assert!(other.find(25, &guard).is_none());
        map.validate(&guard).unwrap();
    }
    LEFT.store(2, Relaxed);
    map.remove(hole).unwrap();
    assert!(map.find(25, &pin()).is_none());
}

/// What is left of a node when a piece goes is taken along with its unit: a
/// value of which there are no more stands in nobody's way.
#[test]
fn what_a_removal_leaves_alone_needs_no_unit() {
    static LEFT: AtomicUsize = AtomicUsize::new(8);
    let map = Ranges::new();
    for (first, last) in [(0, 9), (20, 29), (1000, 1009)] {
        map.insert(addresses(first, last), Few(&LEFT)).unwrap();
    }
    LEFT.store(0, Relaxed);
    map.remove(addresses(20, 29)).unwrap();
    let guard = pin();
    map.validate(&guard).unwrap();
    let found = |at| map.find(at, &guard).map(|found| found.range());
    assert_eq!((found(5), found(25)), (Some(addresses(0, 9)), None));
}
