//! `lookup::Ranges` against a sorted list.
//!
//! Two maps, each beside its reference: a list of ranges with neighbours of one
//! value joined, which is what a map calls a range. Every answer of every call
//! is compared; after each step the map is walked by `validate`, and now and
//! then from end to end. Values are numbers, or counted pointers of which none
//! may be left over at the end.

use crate::{Bytes, Tally};
use lookup::{Addresses, Payload, Ranges, RangesError, Value};
use std::sync::Arc;

/// What a story is made of.
pub const OPERATIONS: [&str; 15] = [
    "set",
    "insert",
    "remove",
    "remove_at",
    "find",
    "find_many",
    "next",
    "range_at",
    "iter",
    "is_empty_range",
    "first_gap",
    "clear",
    "copy_from",
    "from_sorted",
    "settle",
];

/// Values that there are: few, so that neighbours have the same now and then.
const NUMBERS: u8 = 4;

/// Tells one story.
///
/// # Panics
///
/// If a map does not do as its reference does.
pub fn run(data: &[u8]) -> Tally {
    let mut bytes = Bytes::new(data);
    match bytes.byte() & 1 {
        0 => Story::new(|number| Payload::from(u32::from(number)), |value| value.get() as u8)
            .tell(bytes),
        _ => {
            let table: [Arc<u16>; NUMBERS as usize] = std::array::from_fn(|at| Arc::new(at as u16));
            let make = |number: u8| table[usize::from(number)].clone();
            let tally = Story::new(make, |value| **value as u8).tell(bytes);
            crate::collect(|| table.iter().all(|value| Arc::strong_count(value) == 1));
            tally
        }
    }
}

/// Ranges in order, and their values; neighbours of one value are one.
#[derive(Clone, Debug, Default, PartialEq)]
struct Reference(Vec<(Addresses, u8)>);

impl Reference {
    fn at(&self, at: u64) -> Option<(Addresses, u8)> {
        self.0.iter().copied().find(|(range, _)| range.contains(at))
    }

    fn next(&self, from: u64) -> Option<(Addresses, u8)> {
        self.0.iter().copied().find(|(range, _)| range.last() >= from)
    }

    fn overlapping(&self, with: Addresses) -> Vec<(Addresses, u8)> {
        self.0.iter().copied().filter(|(range, _)| range.overlaps(with)).collect()
    }

    fn remove(&mut self, out: Addresses) {
        let mut left = Vec::with_capacity(self.0.len() + 1);
        for &(range, value) in &self.0 {
            if !range.overlaps(out) {
                left.push((range, value));
                continue;
            }
            if range.first() < out.first() {
                left.push((known(range.first(), out.first() - 1), value));
            }
            if range.last() > out.last() {
                left.push((known(out.last() + 1, range.last()), value));
            }
        }
        self.0 = left;
    }

    fn set(&mut self, range: Addresses, value: u8) {
        self.remove(range);
        let at = self.0.partition_point(|(before, _)| before.first() < range.first());
        self.0.insert(at, (range, value));
        let mut joined: Vec<(Addresses, u8)> = Vec::with_capacity(self.0.len());
        for &(next, value) in &self.0 {
            match joined.last_mut() {
                Some((before, same))
                    if *same == value && before.last().checked_add(1) == Some(next.first()) =>
                {
                    *before = known(before.first(), next.last());
                }
                _ => joined.push((next, value)),
            }
        }
        self.0 = joined;
    }

    fn first_gap(&self, within: Addresses, count: u64, align: u64) -> Option<u64> {
        let align = u128::from(align.max(1));
        let mut at = u128::from(within.first()).next_multiple_of(align);
        if count == 0 {
            return None;
        }
        loop {
            let last = at + u128::from(count) - 1;
            if last > u128::from(within.last()) {
                return None;
            }
            let inside = |(range, _): &&(Addresses, u8)| {
                u128::from(range.first()) <= last && u128::from(range.last()) >= at
            };
            match self.0.iter().rev().find(inside) {
                Some((range, _)) => at = (u128::from(range.last()) + 1).next_multiple_of(align),
                None => return Some(at as u64),
            }
        }
    }
}

fn known(first: u64, last: u64) -> Addresses {
    Addresses::new(first, last).expect("in order")
}

/// Two maps and what they must be.
struct Story<V: Value, M, N> {
    maps: [Ranges<V>; 2],
    references: [Reference; 2],
    make: M,
    number: N,
    tally: Tally,
}

impl<V: Value, M: Fn(u8) -> V, N: Fn(&V) -> u8> Story<V, M, N> {
    fn new(make: M, number: N) -> Self {
        Self {
            maps: [new_map(), new_map()],
            references: Default::default(),
            make,
            number,
            tally: Tally::new(&OPERATIONS),
        }
    }

    fn tell(mut self, mut bytes: Bytes<'_>) -> Tally {
        let mut steps = 0;
        while !bytes.is_empty() {
            let choice = bytes.byte();
            let which = usize::from(choice >> 7);
            let operation = usize::from(choice & 127) % OPERATIONS.len();
            let was_done = self.step(operation, which, &mut bytes);
            self.tally.count(operation, was_done);
            self.check(which);
            steps += 1;
            if steps % 8 == 0 {
                self.check_whole(which);
            }
        }
        self.check_whole(0);
        self.check_whole(1);
        self.tally
    }

    /// One operation; returns whether it did or found anything.
    fn step(&mut self, operation: usize, which: usize, bytes: &mut Bytes<'_>) -> bool {
        let guard = memdesc::pin();
        let (map, reference) = (&self.maps[which], &mut self.references[which]);
        match operation {
            0 => {
                let (range, value) = (any_range(bytes), bytes.byte() % NUMBERS);
                map.set(range, (self.make)(value)).expect("there is memory");
                reference.set(range, value);
                true
            }
            1 => {
                let (range, value) = (any_range(bytes), bytes.byte() % NUMBERS);
                let inserted = map.insert(range, (self.make)(value));
                match reference.overlapping(range).first() {
                    Some(&(found, _)) => {
                        assert_eq!(inserted, Err(RangesError::Overlap { asked: range, found }));
                        false
                    }
                    None => {
                        assert_eq!(inserted, Ok(()));
                        reference.set(range, value);
                        true
                    }
                }
            }
            2 => {
                let range = any_range(bytes);
                let was_there = !reference.overlapping(range).is_empty();
                map.remove(range).expect("there is memory");
                reference.remove(range);
                was_there
            }
            3 => {
                let at = any_address(bytes);
                let there = reference.at(at).map(|(range, _)| range);
                assert_eq!(map.remove_at(at), Ok(there));
                if let Some(range) = there {
                    reference.remove(range);
                }
                there.is_some()
            }
            4 => {
                let at = any_address(bytes);
                let found =
                    map.find(at, &guard).map(|found| (found.range(), (self.number)(&found)));
                compare(reference, at, found)
            }
            5 => {
                let count = bytes.below(70);
                let (first, step) = (any_address(bytes), any_address(bytes) | 1);
                let all: Vec<u64> =
                    (0..count as u64).map(|at| first.wrapping_add(at.wrapping_mul(step))).collect();
                let mut answers = 0;
                let mut any = false;
                map.find_many(&all, &guard, |index, found| {
                    assert_eq!(index, answers);
                    answers += 1;
                    let found = found.map(|found| (found.range(), (self.number)(&found)));
                    any |= compare(reference, all[index], found);
                });
                assert_eq!(answers, count);
                any
            }
            6 => {
                let from = any_address(bytes);
                let found =
                    map.next(from, &guard).map(|found| (found.range(), (self.number)(&found)));
                assert_eq!(found, reference.next(from), "next of {from:#x}");
                found.is_some()
            }
            7 => {
                let at = any_address(bytes);
                let found =
                    map.range_at(at, &guard).map(|found| (found.range(), (self.number)(&found)));
                assert_eq!(found, reference.at(at), "range at {at:#x}");
                found.is_some()
            }
            8 => {
                let range = any_range(bytes);
                let walked: Vec<_> = map
                    .iter(range, &guard)
                    .map(|found| (found.range(), (self.number)(&found)))
                    .collect();
                assert_eq!(walked, reference.overlapping(range));
                !walked.is_empty()
            }
            9 => {
                let range = any_range(bytes);
                let is_empty = reference.overlapping(range).is_empty();
                assert_eq!(map.is_empty_range(range, &guard), is_empty);
                is_empty
            }
            10 => {
                let (within, count) = (any_range(bytes), any_count(bytes));
                let align = match bytes.byte() {
                    0 => 0,
                    byte if byte < 128 => 1 << (byte & 63),
                    byte => u64::from(byte),
                };
                let gap = map.first_gap(within, count, align, &guard);
                assert_eq!(
                    gap,
                    reference.first_gap(within, count, align),
                    "{count} at {align} within {within}"
                );
                gap.is_some()
            }
            11 => {
                let was_there = !reference.0.is_empty();
                // Seldom: a story about nothing is dull.
                if bytes.once_in(4) {
                    map.clear();
                    reference.0.clear();
                }
                was_there
            }
            12 => {
                let from = bytes.below(2);
                map.copy_from(&self.maps[from]).expect("there is memory");
                self.references[which] = self.references[from].clone();
                from != which
            }
            13 => {
                let mut units = self.references[which].0.clone();
                let spoilt = bytes.once_in(3) && units.len() > 1;
                if spoilt {
                    units.swap(0, 1);
                }
                let built = Ranges::from_sorted_with(
                    lookup::Pages::Any,
                    units.iter().map(|&(range, value)| (range, (self.make)(value))),
                );
                match built {
                    Ok(built) => {
                        assert!(!spoilt);
                        self.maps[which] = built;
                        true
                    }
                    Err(why) => {
                        let (before, next) = (units[0].0, units[1].0);
                        assert_eq!(why, RangesError::Unsorted { before, next });
                        assert!(spoilt);
                        false
                    }
                }
            }
            _ => {
                map.settle();
                map.node_bytes() <= map.bytes()
            }
        }
    }

    /// The map is whole, and names as many addresses as it must.
    fn check(&self, which: usize) {
        let guard = memdesc::pin();
        let summary = self.maps[which].validate(&guard).expect("whole");
        let addresses: u128 = self.references[which].0.iter().map(|(range, _)| range.count()).sum();
        assert_eq!(summary.addresses, addresses);
    }

    fn check_whole(&self, which: usize) {
        let guard = memdesc::pin();
        let all: Vec<_> = self.maps[which]
            .iter(Addresses::ALL, &guard)
            .map(|found| (found.range(), (self.number)(&found)))
            .collect();
        assert_eq!(all, self.references[which].0);
    }
}

/// A map of small pages: a huge one per story would be all that it does.
fn new_map<V: Value>() -> Ranges<V> {
    Ranges::with_pages(lookup::Pages::Any)
}

/// A piece that a look-up met must be of the range that is there.
fn compare(reference: &Reference, at: u64, found: Option<(Addresses, u8)>) -> bool {
    match (reference.at(at), found) {
        (None, None) => false,
        (Some((range, value)), Some((piece, found))) => {
            assert!(piece.contains(at) && range.covers(piece), "{piece} of {range} at {at:#x}");
            assert_eq!(found, value);
            true
        }
        (expected, found) => panic!("at {at:#x}: {expected:?}, found {found:?}"),
    }
}

/// Where slots of all levels begin and end, and the ends of everything.
fn any_address(bytes: &mut Bytes<'_>) -> u64 {
    let region = bytes.byte();
    let near = u64::from(bytes.byte());
    let shift = u32::from(region >> 4) * 4;
    match region & 15 {
        0..6 => near << (shift / 8),
        6..9 => (1u64 << 18).wrapping_add(near << (shift / 6)).wrapping_sub(64),
        9 => (1u64 << 24).wrapping_sub(128).wrapping_add(near),
        10 => (1u64 << 36).wrapping_sub(128).wrapping_add(near),
        11 => (1u64 << 63).wrapping_sub(128).wrapping_add(near),
        12 => u64::MAX - near,
        13 => near << shift.min(56),
        14 => u64::MAX - (near << shift.min(56)),
        _ => bytes.long(),
    }
}

fn any_count(bytes: &mut Bytes<'_>) -> u64 {
    let (count, shift) = (u64::from(bytes.byte()), u32::from(bytes.byte()));
    match shift & 3 {
        0..3 => count,
        _ => count << (shift >> 2).min(56),
    }
}

fn any_range(bytes: &mut Bytes<'_>) -> Addresses {
    let first = any_address(bytes);
    known(first, first.saturating_add(any_count(bytes)))
}
