//! Memory for nodes and tables is out: what is asked is refused, nothing is
//! changed, and the same call works once there is some.

mod common;
#[path = "../../memdesc/tests/meter/mod.rs"]
mod meter;

use common::*;
use memdesc::{Granule, Granules, pin};
use meter::with_memory_for;
use potad_lookup::{Addresses, LookupError, Pages, Payload, Ranges, RangesError};

/// Runs with memory for 0, 1, .. allocations until it is done; how often it was
/// refused. `check` says whether all is as it was.
fn until_done<R, E>(mut run: impl FnMut() -> Result<R, E>, mut check: impl FnMut(E)) -> (R, u64) {
    for allocations in 0..100 {
        match with_memory_for(allocations, &mut run) {
            Ok(done) => return (done, allocations),
            Err(why) => check(why),
        }
    }
    panic!("it is never done");
}

#[test]
fn a_publication_that_finds_no_room_changes_nothing() {
    let mut refusals = 0;
    for (base, order) in [(0, 0), (5 << 18, 3), (7 << 24, 6), (9 << 18, 18), (1 << 40, 30), (0, 63)]
    {
        let ram = Ram::new();
        drop(pin());
        let asked = block(base, order);
        let whole = |why| {
            assert_eq!(why, LookupError::OutOfMemory { asked });
            let summary = ram.tree().validate().unwrap();
            assert_eq!((summary.immediates, summary.descriptors), (0, 0));
            assert!(ram.tree().find(Granule(base), &pin()).is_none());
        };
        let raw = raw(3, order);
        let ((), refused) = until_done(|| ram.tree().publish_immediate(asked, raw), whole);
        refusals += refused;
        assert_eq!(ram.tree().find(Granule(base), &pin()).unwrap().immediate(), Some(raw));
        assert_eq!(ram.tree().clear_immediate(asked), Ok(raw));
    }
    assert!(refusals > 6, "{refusals}");
}

#[test]
fn a_descriptor_that_is_refused_comes_back() {
    let ram = Ram::new();
    drop(pin());
    let asked = block(3 << 18, 2);
    let mut fresh = Some(ram.folio(9));
    let publish = || {
        let given = fresh.take().unwrap();
        ram.tree().publish(asked, given).map_err(|refused| {
            assert_eq!(refused.fresh.tag, 9);
            fresh = Some(refused.fresh);
            refused.why
        })
    };
    let (kept, refused) =
        until_done(publish, |why| assert_eq!(why, LookupError::OutOfMemory { asked }));
    assert!(refused > 0);
    assert_eq!((kept.block(), kept.tag), (asked, 9));
    drop(kept);
    assert_eq!(ram.back(), [(asked, false)]);
}

/// Halves and cuts above the sections need tables below; those that live in
/// nodes have theirs from the slab.
#[test]
fn what_cannot_be_split_stays_whole() {
    let ram = Ram::new();
    drop(pin());
    let asked = block(1 << 40, 24);
    ram.tree().publish_immediate(asked, raw(3, 24)).unwrap();
    let whole = |why| {
        assert_eq!(why, LookupError::OutOfMemory { asked });
        let guard = pin();
        let found = ram.tree().find(asked.last(), &guard).unwrap();
        assert_eq!((found.block(), ram.tree().validate().unwrap().immediates), (asked, 1));
    };
    let split = || ram.tree().split_immediate(asked, raw(4, 23), raw(5, 23));
    let ((), refused) = until_done(split, whole);
    assert!(refused > 0);
    assert_eq!(ram.tree().validate().unwrap().immediates, 2);

    let other = block(1 << 50, 24);
    ram.tree().publish_immediate(other, raw(3, 24)).unwrap();
    let keep = Granules::new(other.base(), Granule(other.base().0 + 100)).unwrap();
    let whole = |why| {
        assert_eq!(why, LookupError::OutOfMemory { asked: why_block(why) });
        let guard = pin();
        let found = ram.tree().find(other.last(), &guard).unwrap();
        assert_eq!((found.block(), ram.tree().validate().unwrap().immediates), (other, 3));
    };
    let ((), refused) = until_done(|| ram.tree().cut_immediate(other, keep), whole);
    assert!(refused > 0);
    assert!(ram.tree().find(Granule(other.base().0 + 101), &pin()).is_none());
    assert_eq!(ram.tree().validate().unwrap().granules, (1 << 24) + 101);
}

/// The block that a refusal names: of a cut it may be a piece.
fn why_block(why: LookupError) -> memdesc::Block {
    match why {
        LookupError::OutOfMemory { asked } => asked,
        other => panic!("{other}"),
    }
}

#[test]
fn a_map_of_ranges_stays_as_it_was() {
    let at = |first, last| Addresses::new(first, last).unwrap();
    let map = Ranges::<Payload>::with_pages(Pages::Any);
    let guard = pin();
    let mut refusals = 0;
    let all = |map: &Ranges<Payload>| -> Vec<_> {
        map.iter(Addresses::ALL, &guard).map(|found| (found.range(), found.get())).collect()
    };
    for step in 0..400u64 {
        // Far apart for the first levels, and in the midst of what is there, now and then taken out.
        let first = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (44 + step % 16);
        let range = at(first, first.saturating_add(step));
        let before = all(&map);
        let check = |why| {
            assert!(matches!(why, RangesError::OutOfMemory { .. }), "{why}");
            assert_eq!(all(&map), before, "at step {step}");
            map.validate(&guard).unwrap();
        };
        let value = Payload::from(step as u32);
        let ((), refused) = match step % 5 {
            4 => until_done(|| map.remove(range), check),
            _ => until_done(|| map.set(range, value), check),
        };
        refusals += refused;
        // With memory, and before there is a batch: the epoch's own queue (of
        // crossbeam) has no way to refuse.
        map.settle();
        assert_eq!(
            map.find(first, &guard).map(|found| found.get()),
            (step % 5 != 4).then_some(step)
        );
    }
    assert!(refusals > 10, "{refusals}");
    let copy = Ranges::with_pages(Pages::Any);
    copy.set(at(1, 2), Payload::from(1)).unwrap();
    let stays = |why| {
        assert!(matches!(why, RangesError::OutOfMemory { .. }), "{why}");
        assert_eq!(all(&copy), [(at(1, 2), 1)]);
    };
    let ((), refused) = until_done(|| copy.copy_from(&map), stays);
    assert!(refused > 0);
    assert_eq!(all(&copy), all(&map));
    let units: Vec<_> = all(&map);
    let build = || {
        let units = units.iter().map(|&(range, value)| (range, Payload::from(value as u32)));
        Ranges::from_sorted_with(Pages::Any, units)
    };
    // An empty map takes one allocation, and has no way to say no.
    let one = || with_memory_for(1, build).map(|_| ());
    assert!(matches!(one(), Err(RangesError::OutOfMemory { .. })));
    let built = (2..100).find_map(|allocations| with_memory_for(allocations, build).ok()).unwrap();
    assert_eq!(all(&built), units);
}

/// Changes go on for as long as the slab has nodes; what they replace waits.
#[test]
fn what_is_replaced_waits_while_it_cannot_be_handed_over() {
    let map = Ranges::<Payload>::with_pages(Pages::Any);
    let range = Addresses::new(100, 200).unwrap();
    // Room for more than are retired together, and nothing handed over yet.
    let with = 28;
    (0..with).for_each(|value| map.set(range, Payload::from(value)).unwrap());
    drop(pin());
    let refused = with_memory_for(0, || {
        (with..).find(|&value| map.set(range, Payload::from(value)).is_err()).unwrap()
    });
    assert!(refused > 40, "a batch was full long before: {refused}");
    let guard = pin();
    assert_eq!(map.find(150, &guard).map(|found| found.get()), Some(u64::from(refused) - 1));
    drop(guard);
    // With memory again all of it goes.
    let before = map.node_bytes();
    map.set(range, Payload::from(0)).unwrap();
    map.settle();
    // Other tests of the process pin too.
    let started = std::time::Instant::now();
    while map.node_bytes() >= before / 2 {
        assert!(started.elapsed().as_secs() < 60, "{} of {before} bytes", map.node_bytes());
        pin().flush();
        std::thread::yield_now();
    }
}
