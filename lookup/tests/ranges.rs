//! The range map against a `BTreeMap`, driven by the same random operations.

use memdesc::pin;
use potad_lookup::{Addresses, Payload, Ranges, RangesError, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

fn addresses(first: u64, last: u64) -> Addresses {
    Addresses::new(first, last).unwrap()
}

/// Addresses near where something could go wrong.
fn any_at() -> BoxedStrategy<u64> {
    let region = prop_oneof![
        4 => Just(0u64),
        2 => (0u32..11).prop_map(|level| 1u64 << (6 * level)),
        2 => (0u32..64).prop_map(|order| 1u64 << order),
        1 => Just(7u64 << 36),
        1 => Just(0xffff_8000_0000_0000),
        2 => Just(u64::MAX),
        1 => any::<u64>(),
    ];
    let near = prop_oneof![0u64..10, 0u64..200, 0u64..9000];
    (region, near, any::<bool>())
        .prop_map(|(region, near, down)| match down {
            true => region.saturating_sub(near),
            false => region.saturating_add(near),
        })
        .boxed()
}

fn any_range() -> BoxedStrategy<Addresses> {
    let block = (any_at(), 0u32..64).prop_map(|(at, order)| {
        let mask = (1u64 << order) - 1;
        addresses(at & !mask, at | mask)
    });
    let short = (any_at(), prop_oneof![0u64..5, 0u64..300, 0u64..20_000])
        .prop_map(|(at, more)| addresses(at, at.saturating_add(more)));
    let any =
        (any_at(), any_at()).prop_map(|(one, other)| addresses(one.min(other), one.max(other)));
    prop_oneof![3 => block, 5 => short, 1 => any, 1 => Just(Addresses::ALL)].boxed()
}

#[derive(Clone, Debug)]
enum Op {
    Insert(Addresses, u32),
    Set(Addresses, u32),
    Remove(Addresses),
    RemoveAt(u64),
    Clear,
    Find(u64),
    Gap(Addresses, u64, u64),
    Iter(Addresses),
}

fn any_op() -> BoxedStrategy<Op> {
    prop_oneof![
        6 => (any_range(), 0u32..6).prop_map(|(range, value)| Op::Insert(range, value)),
        5 => (any_range(), 0u32..6).prop_map(|(range, value)| Op::Set(range, value)),
        4 => any_range().prop_map(Op::Remove),
        2 => any_at().prop_map(Op::RemoveAt),
        1 => Just(Op::Clear),
        4 => any_at().prop_map(Op::Find),
        2 => (any_range(), any_at(), 0u32..64).prop_map(|(range, count, order)| Op::Gap(range, count, 1 << order)),
        1 => (any_range(), 0u64..50, 0u64..9).prop_map(|(range, count, align)| Op::Gap(range, count, align)),
        2 => any_range().prop_map(Op::Iter),
    ].boxed()
}

/// Maximal ranges of equal values, by first address.
#[derive(Default)]
struct Oracle(BTreeMap<u64, (u64, u32)>);

impl Oracle {
    fn at(&self, at: u64) -> Option<(Addresses, u32)> {
        let (&first, &(last, value)) = self.0.range(..=at).next_back()?;
        (at <= last).then_some((addresses(first, last), value))
    }

    fn next(&self, from: u64) -> Option<(Addresses, u32)> {
        self.at(from).or_else(|| {
            let (&first, &(last, value)) = self.0.range(from..).next()?;
            Some((addresses(first, last), value))
        })
    }

    fn remove(&mut self, range: Addresses) {
        while let Some((found, value)) = self.next(range.first()).filter(|f| f.0.overlaps(range)) {
            self.0.remove(&found.first());
            if found.first() < range.first() {
                self.0.insert(found.first(), (range.first() - 1, value));
            }
            if found.last() > range.last() {
                self.0.insert(range.last() + 1, (found.last(), value));
                break;
            }
        }
    }

    fn set(&mut self, range: Addresses, value: u32) {
        self.remove(range);
        let (mut first, mut last) = (range.first(), range.last());
        if let Some((before, _)) =
            first.checked_sub(1).and_then(|at| self.at(at)).filter(|found| found.1 == value)
        {
            first = before.first();
        }
        if let Some((after, _)) =
            last.checked_add(1).and_then(|at| self.at(at)).filter(|found| found.1 == value)
        {
            self.0.remove(&after.first());
            last = after.last();
        }
        self.0.insert(first, (last, value));
    }

    fn first_gap(&self, range: Addresses, count: u64, align: u64) -> Option<u64> {
        let more = count.checked_sub(1)?;
        let mut from = Some(range.first());
        while let Some(at) = from {
            // Gap by gap.
            let end = match self.next(at) {
                Some((found, _)) if found.contains(at) => {
                    from = found.last().checked_add(1);
                    continue;
                }
                Some((found, _)) => {
                    from = Some(found.first());
                    found.first() - 1
                }
                None => {
                    from = None;
                    u64::MAX
                }
            };
            let end = end.min(range.last());
            let at = at.checked_next_multiple_of(align.max(1))?;
            if at.checked_add(more).is_some_and(|last| last <= end) {
                return Some(at);
            }
            if from.is_some_and(|from| from > range.last()) {
                return None;
            }
        }
        None
    }
}

fn agree<V: Value + Debug + Clone>(
    map: &Ranges<V>,
    oracle: &Oracle,
    at: u64,
    is: &impl Fn(&V, u32) -> bool,
) {
    let guard = pin();
    let expected = oracle.at(at);
    let found = map.find(at, &guard);
    match (&expected, &found) {
        (None, None) => {}
        (Some((range, value)), Some(found)) => {
            assert!(is(found, *value), "at {at:#x}: {found:?} for {value}");
            assert!(found.range().contains(at) && range.covers(found.range()));
        }
        _ => panic!("at {at:#x}: {found:?} for {expected:?}"),
    }
    let whole = map.range_at(at, &guard).map(|found| found.range());
    assert_eq!(whole, expected.map(|found| found.0), "at {at:#x}");
    let next = map.next(at, &guard);
    assert_eq!(
        next.as_ref().map(|found| found.range()),
        oracle.next(at).map(|found| found.0),
        "next of {at:#x}"
    );
}

/// Once all garbage is collected, the nodes in use are those of the tree.
fn nothing_is_lost<V: Value>(map: &Ranges<V>) {
    let start = std::time::Instant::now();
    let used = map.validate(&pin()).unwrap().bytes;
    map.settle();
    // Other tests of the process pin too, so this may take a while.
    while map.node_bytes() as u64 != used {
        pin().flush();
        std::thread::yield_now();
        assert!(start.elapsed().as_secs() < 20, "{} bytes for {used}", map.node_bytes());
    }
}

fn run<V: Value + Debug + Clone>(
    ops: Vec<Op>,
    make: impl Fn(u32) -> V,
    is: impl Fn(&V, u32) -> bool,
) {
    let map = Ranges::new();
    let mut oracle = Oracle::default();
    for op in ops {
        let mut ends = None;
        match op.clone() {
            Op::Insert(range, value) => {
                let done = map.insert(range, make(value));
                match oracle.next(range.first()).filter(|found| found.0.overlaps(range)) {
                    Some((found, _)) => {
                        assert_eq!(done, Err(RangesError::Overlap { asked: range, found }));
                    }
                    None => {
                        assert_eq!(done, Ok(()));
                        oracle.set(range, value);
                    }
                }
                ends = Some(range);
            }
            Op::Set(range, value) => {
                map.set(range, make(value)).unwrap();
                oracle.set(range, value);
                ends = Some(range);
            }
            Op::Remove(range) => {
                map.remove(range).unwrap();
                oracle.remove(range);
                ends = Some(range);
            }
            Op::RemoveAt(at) => {
                let expected = oracle.at(at).map(|found| found.0);
                assert_eq!(map.remove_at(at), Ok(expected));
                if let Some(range) = expected {
                    oracle.remove(range);
                }
                ends = expected;
            }
            Op::Clear => {
                map.clear();
                oracle.0.clear();
            }
            Op::Find(at) => agree(&map, &oracle, at, &is),
            Op::Gap(range, count, align) => {
                let expected = oracle.first_gap(range, count, align);
                assert_eq!(map.first_gap(range, count, align, &pin()), expected, "{op:?}");
            }
            Op::Iter(range) => {
                let guard = pin();
                let found: Vec<_> = map.iter(range, &guard).map(|found| found.range()).collect();
                let all = oracle.0.iter().map(|(&first, &(last, _))| addresses(first, last));
                let expected: Vec<_> = all.filter(|found| found.overlaps(range)).collect();
                assert_eq!(found, expected);
                assert_eq!(map.is_empty_range(range, &guard), expected.is_empty());
            }
        }
        if let Some(range) = ends {
            let (first, last) = (range.first(), range.last());
            for at in [first, last, first.saturating_sub(1), last.saturating_add(1)] {
                agree(&map, &oracle, at, &is);
            }
            agree(&map, &oracle, first / 2 + last / 2, &is);
        }
        let guard = pin();
        let summary = map.validate(&guard).unwrap();
        let all = oracle.0.iter().map(|(first, (last, _))| u128::from(last - first) + 1);
        assert_eq!(summary.addresses, all.sum::<u128>(), "after {op:?}");
    }
    nothing_is_lost(&map);
    let copy = Ranges::new();
    copy.set(Addresses::ALL, make(0)).unwrap();
    copy.copy_from(&map).unwrap();
    copy.copy_from(&copy).unwrap();
    let ranges = |map: &Ranges<V>| -> Vec<_> {
        map.iter(Addresses::ALL, &pin()).map(|found| found.range()).collect()
    };
    assert_eq!(ranges(&copy), ranges(&map));
    nothing_is_lost(&copy);
    // The same by building.
    let sorted =
        oracle.0.iter().map(|(&first, &(last, value))| (addresses(first, last), make(value)));
    let built = Ranges::from_sorted(sorted).unwrap();
    let guard = pin();
    built.validate(&guard).unwrap();
    let ranges = |map: &Ranges<V>| -> Vec<_> {
        map.iter(Addresses::ALL, &guard).map(|found| (found.range(), V::clone(&found))).collect()
    };
    let (built, expected) = (ranges(&built), ranges(&map));
    assert_eq!(format!("{built:?}"), format!("{expected:?}"));
    assert_eq!(built.len(), oracle.0.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn payloads_agree_with_the_oracle(ops in vec(any_op(), 1..80)) {
        run(ops, Payload::from, |found, value| *found == Payload::from(value));
    }

    /// Counted values: each is dropped once nothing names it any more.
    #[test]
    fn counted_values_agree_and_are_dropped(ops in vec(any_op(), 1..60)) {
        let values: Vec<_> = (0..6u32).map(Arc::new).collect();
        run(ops, |value| values[value as usize].clone(), |found, value| **found == value);
        let start = std::time::Instant::now();
        while values.iter().any(|value| Arc::strong_count(value) != 1) {
            pin().flush();
            std::thread::yield_now();
            let counts: Vec<_> = values.iter().map(Arc::strong_count).collect();
            assert!(start.elapsed().as_secs() < 20, "{counts:?}");
        }
    }
}

#[test]
fn every_order_at_both_ends_of_the_addresses() {
    let guard = pin();
    for order in 0..64u32 {
        let mask = (1u64 << order) - 1;
        for range in [addresses(0, mask), addresses(u64::MAX - mask, u64::MAX)] {
            let map = Ranges::new();
            map.insert(range, Payload::from(order)).unwrap();
            for at in [range.first(), range.last()] {
                assert_eq!(map.range_at(at, &guard).unwrap().range(), range);
                assert_eq!(map.find(at, &guard).unwrap().get(), order.into());
            }
            let beside = [range.first().checked_sub(1), range.last().checked_add(1)];
            for at in beside.into_iter().flatten() {
                assert_eq!(map.find(at, &guard), None);
            }
            assert_eq!(map.remove_at(range.first()), Ok(Some(range)));
            assert!(map.is_empty_range(Addresses::ALL, &guard));
        }
    }
}

#[test]
fn a_range_cut_again_and_again_leaves_the_parts() {
    let map = Ranges::new();
    let guard = pin();
    map.insert(Addresses::ALL, Payload::from(1)).unwrap();
    let cuts: Vec<u64> = (0..64).map(|order| 1u64 << order).collect();
    for &at in &cuts {
        map.set(addresses(at, at), Payload::from(2)).unwrap();
    }
    let summary = map.validate(&guard).unwrap();
    assert_eq!(summary.addresses, 1 << 64);
    for &at in &cuts {
        assert_eq!(map.find(at, &guard).unwrap().get(), 2);
    }
    map.set(Addresses::ALL, Payload::from(3)).unwrap();
    assert_eq!(map.iter(Addresses::ALL, &guard).count(), 1);
    assert_eq!(map.validate(&guard).unwrap().nodes, 1);
}

#[test]
fn what_is_unsorted_is_refused_and_dropped() {
    let dropped = Arc::new(AtomicUsize::new(7));
    let pairs = [(5, 9), (9, 12)].map(|(first, last)| (addresses(first, last), dropped.clone()));
    let refused = Ranges::from_sorted(pairs).unwrap_err();
    let (before, next) = (addresses(5, 9), addresses(9, 12));
    assert_eq!(refused, RangesError::Unsorted { before, next });
    assert_eq!((Arc::strong_count(&dropped), dropped.load(Relaxed)), (1, 7));
}

#[test]
fn many_at_once_are_found_as_one_by_one() {
    let map = Ranges::new();
    for at in 0..3000u64 {
        map.insert(addresses(at * at, at * at + at), Payload::from(at as u32)).unwrap();
    }
    let guard = pin();
    let all: Vec<u64> = (0..9_000_000).step_by(997).chain([u64::MAX, 1 << 40]).collect();
    let mut count = 0;
    map.find_many(&all, &guard, |number, found| {
        assert_eq!(number, count);
        count += 1;
        assert_eq!(found, map.find(all[number], &guard));
    });
    assert_eq!(count, all.len());
    Ranges::<Payload>::new().find_many(&all, &guard, |_, found| assert_eq!(found, None));
}

#[test]
fn memory_comes_back() {
    let map = Ranges::new();
    for round in 0..100u64 {
        for at in 0..500u64 {
            map.set(addresses(at * 100, at * 100 + (at + round) % 99), Payload::from(3)).unwrap();
        }
        nothing_is_lost(&map);
    }
    // A round's garbage at most: each ends with everything collected.
    assert!(map.bytes() < 4 << 20, "{} bytes", map.bytes());
    map.clear();
    nothing_is_lost(&map);
    assert_eq!(map.node_bytes(), 0);
}

/// A small generator, for threads.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Readers beside two writers: what is there throughout is found, and what is
/// found is what was set there. The values are counted: whoever reads one that
/// was dropped reads what its drop left.
#[test]
fn readers_beside_writers_find_what_is_there() {
    struct Named(u64);
    impl Drop for Named {
        fn drop(&mut self) {
            self.0 = u64::MAX;
        }
    }
    const ROUNDS: u64 = if cfg!(debug_assertions) { 4000 } else { 100_000 };
    // Of every 100 addresses the first ten stay, the rest come and go.
    let map = Ranges::<Arc<Named>>::new();
    for stretch in 0..300 {
        map.insert(addresses(stretch * 100, stretch * 100 + 9), Arc::new(Named(stretch))).unwrap();
    }
    let writing = AtomicUsize::new(2);
    std::thread::scope(|scope| {
        for writer in 0..2u64 {
            let (map, writing) = (&map, &writing);
            scope.spawn(move || {
                let mut state = 77 + writer;
                for _ in 0..ROUNDS {
                    let stretch = random(&mut state) % 300;
                    let first = stretch * 100 + 10 + random(&mut state) % 80;
                    let last = (first + random(&mut state) % 50).min(stretch * 100 + 99);
                    let range = addresses(first, last);
                    match random(&mut state) % 3 {
                        0 => map.remove(range).unwrap(),
                        // A refusal is as good.
                        1 => drop(map.insert(range, Arc::new(Named(stretch)))),
                        _ => map.set(range, Arc::new(Named(stretch))).unwrap(),
                    }
                }
                writing.fetch_sub(1, Relaxed);
            });
        }
        for reader in 0..2u64 {
            let (map, writing) = (&map, &writing);
            scope.spawn(move || {
                let mut state = 99 + reader;
                while writing.load(Relaxed) != 0 {
                    let guard = pin();
                    let at = random(&mut state) % 30_000;
                    let found = map.find(at, &guard);
                    assert!(found.is_some() || at % 100 > 9, "{at} was there throughout");
                    let next = map.next(at, &guard);
                    for found in found.iter().chain(&next) {
                        assert_eq!(found.0, found.range().first() / 100);
                    }
                    let many = [0; 40].map(|_| random(&mut state) % 30_000);
                    map.find_many(&many, &guard, |number, found| {
                        let at = many[number];
                        assert!(found.is_some() || at % 100 > 9, "{at} was there throughout");
                        assert!(found.is_none_or(|found| found.0 == at / 100));
                    });
                }
            });
        }
    });
    nothing_is_lost(&map);
}
