//! The forest against a plain array of granules.

use super::take::Avoid;
use super::*;
use crate::forest::runs::{lowest_run, snuggest_run};
use alloc::vec;
use alloc::vec::Vec;
use memdesc::{Block, Granules, Order};
use proptest::prelude::*;

/// Granules of the small world: two words of level 1 and a ragged end.
const WORLD: u64 = 2 * 4096 + 100;

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

fn give(forest: &Forest, block: Block) -> Result<(), AlreadyFree> {
    forest.give(block.place(), |_, _| false)
}

fn forest_with(range: Granules, top: u32) -> Forest {
    let forest = Forest::new(top, Granule(1 << 20));
    for block in range.cover() {
        forest.ensure_from(block.order().level(), block.base()).unwrap();
        assert_eq!(give(&forest, block), Ok(()));
    }
    forest
}

fn world() -> Forest {
    forest_with(Granules::new(Granule(0), Granule(WORLD - 1)).unwrap(), 3)
}

fn take(forest: &Forest, wanted: u32) -> Option<Block> {
    match forest.take(order(wanted), Granule(0), &()).unwrap() {
        Taken::Block(block) => Some(block),
        Taken::Nothing => None,
    }
}

#[test]
fn the_lowest_aligned_run_is_found_in_every_word_of_16_bits() {
    for bits in 0..1u64 << 16 {
        for run in [1, 2, 4, 8, 16] {
            let mask = (1u64 << run) - 1;
            let expected =
                (0..64).step_by(run).map(|at| mask << at).find(|mask| bits & mask == *mask);
            assert_eq!(lowest_run(bits, run as u32), expected, "{bits:#x} {run}");
            let high = bits << 48;
            let shifted =
                (0..64).step_by(run).find(|&at| high >> at & mask == mask && at + run <= 64);
            assert_eq!(lowest_run(high, run as u32), shifted.map(|at| mask << at));
        }
    }
    assert_eq!(lowest_run(u64::MAX, 32), Some(0xffff_ffff));
}

#[test]
fn a_run_comes_out_of_the_smallest_free_group() {
    for bits in 1..1u64 << 16 {
        for run in [1u32, 2, 4, 8] {
            let free = |order: u32, at: u32| {
                let size = 1u64 << order;
                let mask = ((1u128 << size) - 1) as u64;
                bits >> (u64::from(at) / size * size) & mask == mask
            };
            // The order of the largest free group around a place.
            let group = |at: u32| (0..=4).rev().find(|&order| free(order, at));
            let wanted = run.trailing_zeros();
            let candidates = (0..64).step_by(run as usize).filter(|&at| free(wanted, at));
            let expected = candidates.min_by_key(|&at| (group(at), at));
            let mask = expected.map(|at| ((1u64 << run) - 1) << at);
            assert_eq!(snuggest_run(bits, run), mask, "{bits:#x} {run}");
        }
    }
    assert_eq!(snuggest_run(u64::MAX, 32), Some(0xffff_ffff));
    assert_eq!(snuggest_run(u64::MAX << 32 | 1, 1), Some(1));
}

#[test]
fn what_was_broken_merges_when_all_is_back() {
    let forest = world();
    let mut taken = Vec::new();
    for wanted in [0, 3, 7, 12, 9, 1, 6, 0, 5] {
        taken.push(take(&forest, wanted).unwrap());
    }
    for block in taken {
        assert_eq!(give(&forest, block), Ok(()));
    }
    let blocks: Vec<_> = forest.free_blocks(Granule(0), 0).collect();
    let whole: Vec<_> = Granules::new(Granule(0), Granule(WORLD - 1)).unwrap().cover().collect();
    // The two blocks of 4096 are two places of level 2, a run of order 13.
    assert_eq!(blocks, whole);
}

#[test]
fn a_double_free_within_its_word_changes_nothing() {
    let forest = world();
    let block = take(&forest, 2).unwrap();
    assert_eq!(give(&forest, block), Ok(()));
    let before: Vec<_> = forest.free_blocks(Granule(0), 0).collect();
    let inside = take(&forest, 0).unwrap();
    assert_eq!(give(&forest, inside), Ok(()));
    assert_eq!(give(&forest, block), Err(AlreadyFree));
    assert_eq!(forest.free_blocks(Granule(0), 0).collect::<Vec<_>>(), before);
}

#[test]
fn an_exhausted_forest_has_given_every_granule_once() {
    let forest = world();
    let mut seen = vec![false; WORLD as usize];
    while let Some(block) = take(&forest, 0) {
        assert!(!core::mem::replace(&mut seen[block.base().0 as usize], true));
    }
    assert!(seen.iter().all(|&seen| seen));
}

#[test]
fn blocks_of_the_highest_levels_come_and_go() {
    for top in 3..=10 {
        let forest = Forest::new(top, Granule(1 << 20));
        let last = forest.last_granule();
        let whole = Granules::new(Granule(0), last).unwrap();
        for block in whole.cover() {
            forest.ensure_from(block.order().level(), block.base()).unwrap();
            give(&forest, block).unwrap();
        }
        let largest = whole.cover().map(Block::order).max().unwrap();
        let all = take(&forest, largest.get()).unwrap();
        assert_eq!(give(&forest, all), Ok(()));
        let one = take(&forest, 0).unwrap();
        let at_the_end = Block::containing(last, Order::ZERO);
        assert_eq!(forest.take_exact(at_the_end), Ok(Taken::Block(at_the_end)));
        give(&forest, one).unwrap();
        give(&forest, at_the_end).unwrap();
        assert_eq!(take(&forest, largest.get()).map(Block::order), Some(largest));
    }
}

#[test]
fn a_search_near_the_end_wraps_around() {
    let forest = world();
    let near = Granule(WORLD - 1);
    let Taken::Block(at_end) = forest.take(order(0), near, &()).unwrap() else { panic!() };
    assert!(at_end.base().0 >= 8192);
    let Taken::Block(wrapped) = forest.take(order(12), near, &()).unwrap() else { panic!() };
    assert_eq!(wrapped.base(), Granule(0));
}

#[test]
fn a_search_finds_the_one_word_wherever_it_lies() {
    let forest = Forest::new(2, Granule(1 << 20));
    for at in 0..130 {
        let only = Block::containing(Granule(at * 64 + 5), order(0));
        forest.ensure(0, only.base()).unwrap();
        for near in (0..130).map(|near| Granule(near * 64)) {
            give(&forest, only).unwrap();
            let found = forest.take_beside(order(0), near, 8, &());
            assert_eq!(found, Some(only), "from {near:?} on");
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Take { order: u32, near: u64 },
    Exact { base: u64, order: u32 },
    Give { which: usize },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0u32..14, 0..WORLD).prop_map(|(order, near)| Op::Take { order, near }),
        1 => (0..WORLD, 0u32..13).prop_map(|(base, order)| Op::Exact { base, order }),
        3 => any::<usize>().prop_map(|which| Op::Give { which }),
    ]
}

/// Whether some aligned block of this order is free in the array.
fn fits(free: &[bool], order: u32) -> bool {
    free.chunks_exact(1 << order).any(|block| block.iter().all(|&free| free))
}

/// Takes what stretches say is free of a range; the granules, in order.
fn take_stretches(forest: &Forest, range: Granules) -> Vec<u64> {
    let mut taken = Vec::new();
    let mut from = range.first().0;
    while let Ok(rest) = Granules::new(Granule(from), range.last()) {
        from = match forest.next_stretch(rest) {
            Stretch::Free(place) => {
                assert!(forest.take_stretch(place));
                let (size, base) = (1u64 << (6 * place.level), place.word << 6);
                let set = (0..64).filter(|bit| place.mask >> bit & 1 != 0);
                taken.extend(set.flat_map(|bit| (base + bit) * size..(base + bit + 1) * size));
                taken.last().unwrap() + 1
            }
            Stretch::Part(block) => {
                let part = block.granules().intersection(rest).unwrap();
                for block in part.cover() {
                    assert_eq!(forest.take_exact(block), Ok(Taken::Block(block)));
                }
                taken.extend(part.first().0..=part.last().0);
                part.last().0 + 1
            }
            Stretch::Empty(at) => at.0,
            Stretch::Nothing => break,
        };
    }
    taken
}

#[test]
fn an_empty_stretch_of_any_length_is_passed_in_bounded_looks() {
    let last = Granule((1 << 40) - 1);
    let forest = forest_with(Granules::new(Granule(0), last).unwrap(), 6);
    // 2^17 granules, whose words were broken and are empty.
    let taken: Vec<_> = (0..1 << 17).map(|_| take(&forest, 0).unwrap()).collect();
    for block in &taken {
        let level_0 = forest.ensure(0, block.base());
        assert_eq!(level_0, Ok(()));
    }
    let range = Granules::new(Granule(0), Granule(last.0 - 64)).unwrap();
    let mut calls = 0;
    let mut from = Granule(0);
    loop {
        calls += 1;
        match forest.next_stretch(Granules::new(from, range.last()).unwrap()) {
            Stretch::Empty(at) => from = at,
            Stretch::Free(place) => {
                assert!(place.word > 0 || place.level > 0);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(calls <= 2 + (1 << 17) / 64 / 64, "{calls} calls");
    // Their summaries are cleared now.
    assert_ne!(forest.next_stretch(range), Stretch::Empty(range.first()));
}

/// Of words that the summaries call free and that are not a call looks at so many,
/// says how far it came, and what is free behind them is found all the same.
#[test]
fn words_that_are_empty_unknown_to_the_summaries_are_passed_call_by_call() {
    let (words, left) = (1 << 12, 4090);
    let all = Granules::new(Granule(0), Granule(64 * words - 1)).unwrap();
    let forest = forest_with(all, 3);
    let large = take(&forest, 18).unwrap();
    assert_eq!(large.granules(), all);
    for word in 0..words {
        forest.ensure(0, Granule(64 * word)).unwrap();
        give(&forest, Block::containing(Granule(64 * word), order(5))).unwrap();
        if word != left {
            assert!(forest.take_mask(0, word, u64::MAX >> 32));
        }
    }
    let (mut from, mut empty) = (Granule(0), 0);
    let place = loop {
        match forest.next_stretch(Granules::new(from, all.last()).unwrap()) {
            Stretch::Free(place) => break place,
            Stretch::Empty(at) => {
                assert!(at > from && at.0 <= 64 * left, "from {from:?} on to {at:?}");
                (from, empty) = (at, empty + 1);
            }
            other => panic!("{other:?} from {from:?} on"),
        }
    };
    assert_eq!((place.level, place.word, place.mask), (0, left, u64::MAX >> 32));
    assert!(empty > 10 && empty <= words / 64, "{empty} calls");
    // All of these are cleared now: one look.
    assert_eq!(forest.next_stretch(all), Stretch::Free(place));
}

#[test]
fn a_search_in_vain_leaves_no_empty_word_known() {
    let forest = forest_with(Granules::new(Granule(0), Granule(64 * 64 - 1)).unwrap(), 2);
    let broken = take(&forest, 0).unwrap().place().word;
    assert_eq!(forest.claim_word(0, broken).count_ones(), 63);
    assert_eq!(forest.may_have(0, 1, 0), 1 << broken, "stale until somebody looks");
    let found = forest.take_beside(order(3), Granule(0), 64, &());
    assert_eq!((found, forest.may_have(0, 1, 0)), (None, 0));
}

/// Avoids every place of one word.
struct NotOf(u64);

impl Avoid for NotOf {
    fn is_any(&self) -> bool {
        true
    }

    fn places(&self, level: u32, word: u64) -> u64 {
        if (level, word) == (0, self.0) { u64::MAX } else { 0 }
    }
}

#[test]
fn what_is_to_be_avoided_is_taken_before_a_larger_block_is_broken() {
    let forest = forest_with(Granules::new(Granule(0), Granule(3 * 64 - 1)).unwrap(), 1);
    let take = |avoid: u64| match forest.take(order(3), Granule(0), &NotOf(avoid)).unwrap() {
        Taken::Block(block) => block.place().word,
        Taken::Nothing => panic!("there are free places"),
    };
    let broken = take(9);
    assert_eq!(take(broken), broken, "its word is the only one that is broken");
    let whole: Vec<u64> = (0..3).filter(|word| *word != broken).collect();
    assert_eq!(forest.load(1, 0), whole.iter().fold(0, |all, word| all | 1 << word));
    // Another that is broken, and has places that are not to be avoided, comes first.
    let other = Block::containing(Granule(64 * whole[0]), order(3));
    assert_eq!(forest.take_exact(other), Ok(Taken::Block(other)));
    assert_eq!(take(broken), whole[0]);
    assert_eq!(take(whole[0]), broken);
}

/// What is said to be empty and is not, by then, stays known; what is not known to
/// have something is left alone.
#[test]
fn words_that_are_not_empty_after_all_stay_known() {
    let forest = forest_with(Granules::new(Granule(0), Granule(64 * 64 - 1)).unwrap(), 2);
    let broken = take(&forest, 0).unwrap();
    let word = broken.place().word;
    assert_eq!(forest.may_have(0, 1, 0), 1 << word);
    forest.note_empty_words(0, 0, u64::MAX);
    assert_eq!(forest.may_have(0, 1, 0), 1 << word, "its other places are free");
    assert_eq!(forest.claim_word(0, word).count_ones(), 63);
    forest.note_empty_words(0, 0, u64::MAX);
    assert_eq!(forest.may_have(0, 1, 0), 0);
}

#[test]
fn what_is_free_below_is_met_from_any_word_on() {
    let forest = forest_with(Granules::new(Granule(0), Granule((1 << 30) - 1)).unwrap(), 5);
    assert!(take(&forest, 30).is_some());
    // Groups of 64 words: neighbours, ends of the words above, and far ones.
    let there = [0, 1, 17, 18, 63, 64, 65, 127, 128, 4095, 4096, 4100, 8191, 70_000, (1 << 18) - 1];
    for group in there {
        let at = Granule(group << 12);
        forest.ensure(0, at).unwrap();
        give(&forest, Block::containing(at, order(0))).unwrap();
        give(&forest, Block::containing(Granule(at.0 + 64 * 9), order(0))).unwrap();
    }
    let starts = there.iter().flat_map(|&group| [group.saturating_sub(1), group, group + 1]);
    for start in starts.chain([30, 100, 5_000, 1 << 17]) {
        let found: Vec<_> = forest.groups(0, start << 6).take(there.len() + 1).collect();
        let expected = there.iter().filter(|&&group| group >= start);
        let expected: Vec<_> = expected.map(|&group| (group << 6, 1 | 1 << 9)).collect();
        assert_eq!(found, expected, "from group {start} on");
        // Each group's granules are those of a word of level 1.
        let found: Vec<_> = forest.broken_from(start).take(there.len() + 1).collect();
        let (before, after): (Vec<_>, Vec<_>) = there.iter().partition(|&&word| word < start);
        assert_eq!(found, [after, before].concat(), "from word {start} on, and around");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn stretches_are_all_that_is_free_of_a_range(
        asked in prop::collection::vec((0u32..9, any::<u32>()), 0..300),
        first in 0..WORLD,
        last in 0..WORLD,
    ) {
        let forest = world();
        let mut live: Vec<Block> = Vec::new();
        for (wanted, which) in asked {
            match which % 3 {
                0 if !live.is_empty() => {
                    give(&forest, live.swap_remove(which as usize % live.len())).unwrap();
                }
                _ => live.extend(take(&forest, wanted)),
            }
        }
        let range = Granules::new(Granule(first.min(last)), Granule(first.max(last))).unwrap();
        let mut expected: Vec<u64> = (range.first().0..=range.last().0).collect();
        expected.retain(|&at| !live.iter().any(|block| block.contains(Granule(at))));
        prop_assert_eq!(take_stretches(&forest, range), expected);
        let all = Granules::new(Granule(0), Granule(WORLD - 1)).unwrap();
        let left = take_stretches(&forest, all);
        let is_left = |&at: &u64| {
            !range.contains(Granule(at)) && !live.iter().any(|block| block.contains(Granule(at)))
        };
        prop_assert_eq!(left, (0..WORLD).filter(is_left).collect::<Vec<_>>());
        prop_assert_eq!(take_stretches(&forest, all), Vec::<u64>::new());
    }

    #[test]
    fn it_agrees_with_an_array(ops in prop::collection::vec(op(), 1..200)) {
        let forest = world();
        let mut free = vec![true; WORLD as usize];
        let mut live: Vec<Block> = Vec::new();
        for op in ops {
            let taken = match op {
                Op::Take { order: wanted, near } => {
                    match forest.take(order(wanted), Granule(near), &()).unwrap() {
                        Taken::Nothing => {
                            prop_assert!(!fits(&free, wanted), "order {wanted} was there");
                            continue;
                        }
                        Taken::Block(block) => block,
                    }
                }
                Op::Exact { base, order: wanted } => {
                    let block = Block::containing(Granule(base), order(wanted));
                    let expected = block.last().0 < WORLD
                        && free[block.base().0 as usize..=block.last().0 as usize]
                            .iter()
                            .all(|&free| free);
                    prop_assert_eq!(forest.is_free(block), expected);
                    match forest.take_exact(block).unwrap() {
                        Taken::Nothing => {
                            prop_assert!(!expected);
                            continue;
                        }
                        Taken::Block(block) => block,
                    }
                }
                Op::Give { which } => {
                    if live.is_empty() {
                        continue;
                    }
                    let block = live.swap_remove(which % live.len());
                    prop_assert_eq!(give(&forest, block), Ok(()));
                    free[block.base().0 as usize..=block.last().0 as usize].fill(true);
                    continue;
                }
            };
            for granule in taken.base().0..=taken.last().0 {
                prop_assert!(core::mem::replace(&mut free[granule as usize], false));
            }
            live.push(taken);
        }
        let counted: u64 =
            forest.free_blocks(Granule(0), 0).map(|block| block.order().granules()).sum();
        prop_assert_eq!(counted, free.iter().filter(|&&free| free).count() as u64);
        for block in live {
            give(&forest, block).unwrap();
        }
        let whole = Granules::new(Granule(0), Granule(WORLD - 1)).unwrap();
        prop_assert_eq!(
            forest.free_blocks(Granule(0), 0).collect::<Vec<_>>(),
            whole.cover().collect::<Vec<_>>()
        );
    }
}

#[test]
fn what_is_free_is_told_from_a_part_of_it() {
    // All that a forest of two levels reaches.
    let forest = forest_with(Granules::new(Granule(0), Granule(2047)).unwrap(), 1);
    assert_eq!((forest.free_granules(64), forest.last_granule()), (2048, Granule(2047)));
    let all: Vec<Block> = core::iter::from_fn(|| take(&forest, 0)).collect();
    assert_eq!((all.len(), forest.free_granules(8)), (2048, 0));
    // Three of four, so that nothing merges: of 32 words 8 are looked at.
    for block in all.into_iter().filter(|block| block.base().0 % 4 != 1) {
        assert_eq!(give(&forest, block), Ok(()));
    }
    let (exact, about) = (3 << 9, forest.free_granules(8));
    assert!(about.abs_diff(exact) < exact / 10, "{about} of {exact}");
    assert_eq!(forest.free_granules(64), exact);
}

#[test]
fn what_is_free_around_a_granule_is_found_up_to_the_top() {
    let range = Granules::new(Granule(0), Granule(3 * 64 - 1)).unwrap();
    let forest = forest_with(range, 1);
    let around = |at, min| forest.free_around(Granule(at), order(min));
    let block = |at, k| Some(Block::containing(Granule(at), order(k)));
    assert_eq!((around(70, 0), around(70, 6)), (block(64, 6), block(64, 6)));
    assert_eq!((around(70, 7), around(130, 7)), (block(0, 7), None));
    assert_eq!((around(200, 0), around(70, 12)), (None, None), "taken, and beyond the top");
}

/// Where near words end within a chunk, too.
#[test]
fn what_is_present_has_its_summaries() {
    for last in [0, 63, 64 * 500, 64 * 512, 64 * 600 + 5, 64 * 5000, 1 << 20] {
        for first in [0, 64 * 65, 64 * 511, 64 * 600, 64 * 4_990, 64 * 40_000] {
            let forest = Forest::new(3, Granule(last));
            forest.ensure(0, Granule(first)).unwrap();
            let chunk = first / (64 * 512) * (64 * 512);
            let present = (chunk..chunk + 64 * 512).step_by(64).map(Granule);
            let mut count = 0;
            for at in present.filter(|&at| forest.has_word(0, at)) {
                count += 1;
                let is_there = |m| forest.has(0, m).has(word_of(m, at));
                assert!((1..=3).all(is_there), "{at:?} beside {first}, near to {last}");
            }
            assert!(count >= 8, "{first}, near to {last}");
        }
    }
}
