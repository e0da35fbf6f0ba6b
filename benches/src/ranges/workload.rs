//! A million ranges, and addresses to look up.

use crate::workload::Random;
use lookup::{Addresses, Pages, Payload, Ranges};

/// Ranges of a workload.
pub const RANGES: usize = 1_000_000;
/// Pages of 4 KiB in 2^48 bytes.
const SPACE: u32 = 36;
const ZONES: u64 = 64;
/// Blocks of 1 GiB in a workload.
const LARGEST: usize = 8;

/// Ranges of pages, in the order in which they are to be inserted, and pages
/// inside of them.
#[derive(Debug)]
pub struct Workload {
    /// The ranges: disjoint, at random.
    pub ranges: Vec<Addresses>,
    /// Pages of random ranges.
    pub queries: Vec<u64>,
}

/// The order of a block, in pages: half of them single pages, one in twelve
/// 2 MiB.
fn order(random: &mut Random) -> u32 {
    match random.below(100) {
        0..50 => 0,
        50..80 => 1 + random.below(4) as u32,
        80..92 => 5 + random.below(4) as u32,
        _ => 9,
    }
}

fn block(base: u64, order: u32) -> Addresses {
    Addresses::starting(base, 1 << order).expect("far from the end")
}

impl Workload {
    fn new(mut ranges: Vec<Addresses>, count: usize, random: &mut Random) -> Self {
        random.shuffle(&mut ranges);
        ranges.truncate(count);
        let queries = (0..count).map(|_| {
            let range = ranges[random.below(ranges.len() as u64) as usize];
            range.first() + random.below(range.last() - range.first() + 1)
        });
        let queries = queries.collect();
        Self { ranges, queries }
    }

    /// A map of the ranges, inserted one by one in this order: each names its
    /// number and one.
    pub fn map(&self, pages: Pages) -> Ranges<Payload> {
        let map = Ranges::with_pages(pages);
        for (number, range) in (1..=u32::MAX).zip(&self.ranges) {
            map.insert(*range, Payload::from(number)).expect("disjoint, and there is memory");
        }
        map.settle();
        map
    }
}

/// Blocks packed into 64 zones at random places, a third left out.
pub fn clustered() -> Workload {
    clustered_of(RANGES)
}

/// So many of them.
pub fn clustered_of(count: usize) -> Workload {
    let mut random = Random::new(48);
    // Each zone within its own part of the space, so that they do not meet.
    let part = 1u64 << (SPACE - ZONES.ilog2());
    let mut ranges = Vec::with_capacity(count + 64);
    for zone in 0..ZONES {
        let per_zone = count / ZONES as usize + 1;
        let mut at = zone * part + (random.below(part / 4) & !0x3_ffff);
        let mut made = 0;
        let largest = (zone as usize) < LARGEST;
        while made < per_zone {
            let order = if largest && made == per_zone / 2 { 18 } else { order(&mut random) };
            at = at.next_multiple_of(1 << order);
            if order == 18 || random.below(100) >= 35 {
                ranges.push(block(at, order));
                made += 1;
            }
            at += 1 << order;
        }
        assert!(at < (zone + 1) * part, "a zone fits its part");
    }
    Workload::new(ranges, count, &mut random)
}

/// The same sizes at random places of the whole space.
pub fn scattered() -> Workload {
    scattered_of(RANGES)
}

/// So many of them.
pub fn scattered_of(count: usize) -> Workload {
    let mut random = Random::new(36);
    let mut ranges: Vec<Addresses> = (0..count + count / 8)
        .map(|_| {
            let order = order(&mut random);
            block((random.next_u64() >> (64 - SPACE)) & !((1 << order) - 1), order)
        })
        .collect();
    ranges.sort_unstable();
    // Whatever overlaps the one before is left out.
    let mut end = None;
    ranges.retain(|range| {
        let is_free = end.is_none_or(|end| range.first() > end);
        end = if is_free { Some(range.last()) } else { end };
        is_free
    });
    Workload::new(ranges, count, &mut random)
}

#[cfg(test)]
mod tests {
    use super::super::{Flat, StaticTree};
    use super::*;

    #[test]
    fn maps_and_floors_agree() {
        for mut workload in [clustered(), scattered()] {
            assert_eq!(workload.ranges.len(), RANGES);
            workload.ranges.retain(|range| range.count() < 1 << 18);
            workload.ranges.truncate(20_000);
            let (map, tree) = (workload.map(Pages::Any), StaticTree::new(&workload).unwrap());
            let flat = Flat::new(&workload).unwrap();
            let guard = memdesc::pin();
            let ends = workload.ranges.iter().flat_map(|range| {
                [range.first(), range.last(), range.first().saturating_sub(1), range.last() + 1]
            });
            for page in ends.chain(workload.queries[..20_000].iter().copied()) {
                let ours = map.find(page, &guard).map_or(0, |found| found.get());
                assert_eq!((ours, ours), (flat.find(page), tree.find(page)), "{page:#x}");
            }
            assert!(tree.bytes() > 20_000 * 24);
        }
    }
}
