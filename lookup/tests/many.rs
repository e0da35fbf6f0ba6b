//! Many look-ups at once, and gaps, in the tree of blocks.

mod common;

use common::*;
use memdesc::*;

/// Blocks of many orders at both ends of everything, some granules apart.
fn some_blocks() -> Vec<Block> {
    let low = (0..200u64).map(|at| block(at * 37 / 4 * 4, (at % 3) as u32));
    let levels = (0..20u64).map(|at| block(1 << 20 | at << 13, (at % 13) as u32));
    let large = [24, 30, 36, 59].map(|order| block(1 << (order + 2), order));
    let top = [block((1 << 63) - 64, 5)];
    low.chain(levels).chain(large).chain(top).collect()
}

#[test]
fn many_are_found_as_one_by_one() {
    let ram = Ram::new();
    let blocks = some_blocks();
    let folios: Vec<_> = blocks
        .iter()
        .map(|&block| {
            // Every third with a descriptor, the others with a word.
            if block.base().0 % 3 == 0 {
                return Some(ram.tree().publish(block, ram.folio(2)).unwrap());
            }
            let raw = raw(3, block.order().get());
            ram.tree().publish_immediate(block, raw).unwrap();
            None
        })
        .collect();
    let near = |at: Granule| [at.0.saturating_sub(1), at.0, at.0 + 1].map(Granule);
    let all: Vec<Granule> = blocks
        .iter()
        .flat_map(|block| [near(block.base()), near(block.last())].concat())
        .chain([Granule(u64::MAX), Granule(1 << 63)])
        .collect();
    let guard = pin();
    let mut count = 0;
    ram.tree().find_many(&all, &guard, |number, found| {
        assert_eq!(number, count);
        count += 1;
        let alone = ram.tree().find(all[number], &guard);
        let told = |found: Option<Found<'_, Ram>>| found.map(|f| (f.block(), f.owner()));
        assert_eq!(told(found), told(alone), "{}", all[number]);
    });
    assert_eq!(count, all.len());
    drop(guard);
    assert!(folios.iter().flatten().count() > 10);
}

#[test]
fn the_first_gap_is_the_first() {
    let ram = Ram::new();
    for (number, block) in some_blocks().into_iter().enumerate() {
        let raw = raw(number as u16 % 9 + 1, block.order().get());
        ram.tree().publish_immediate(block, raw).unwrap();
    }
    let guard = pin();
    let is_free = |at: u64| ram.tree().find(Granule(at), &guard).is_none();
    let last = Granule(2500);
    for from in (0..2400).step_by(7) {
        let range = Granules::new(Granule(from), last).unwrap();
        for (count, align) in [(1, 1), (2, 1), (5, 0), (9, 8), (31, 1), (32, 32), (40, 3), (0, 1)] {
            let fits = |at: &u64| at + count <= last.0 + 1 && (*at..at + count).all(is_free);
            let mut all = (from..=last.0).filter(|at| at.is_multiple_of(align.max(1)));
            let expected = all.find(fits).filter(|_| count > 0);
            let found = ram.tree().first_gap(range, count, align, &guard).map(|at| at.0);
            assert_eq!(found, expected, "{count} at {align} from {from}");
        }
    }
    let top = Granules::new(Granule((1 << 63) - 70), Granule(MAX_GRANULES - 1)).unwrap();
    assert_eq!(ram.tree().first_gap(top, 32, 1, &guard), Some(Granule((1 << 63) - 32)));
    assert_eq!(ram.tree().first_gap(top, 33, 1, &guard), None);
}
