//! Where an order was freed it is served again: the last word first, and nothing
//! larger is broken for it.

use potad::memdesc::{Granule, Order};
use potad::{BareBlock, Class, Hand, Potad, Resource, Zone};

/// Granules below one word of level 1.
const WORD: u64 = 1 << 12;

fn ram(granules: u64) -> Zone {
    Potad::new().register(Resource::new("ram").granule(4096).span(0..granules * 4096)).unwrap()
}

/// All of it in blocks of an order.
fn fill(hand: &mut Hand, order: Order) -> Vec<Option<BareBlock>> {
    let mut live: Vec<_> = std::iter::from_fn(|| hand.alloc_bare(order).ok()).map(Some).collect();
    live.sort_by_key(|block| block.as_ref().map(BareBlock::base));
    live
}

/// Frees a block in each of these words of level 1, and returns where they were.
fn free_in(hand: &mut Hand, live: &mut [Option<BareBlock>], words: &[u64]) -> Vec<Granule> {
    let free = |&word: &u64| {
        let found = live
            .iter_mut()
            .find(|block| block.as_ref().is_some_and(|block| block.base().0 / WORD == word));
        let block = found.and_then(Option::take).unwrap();
        let at = block.base();
        hand.free_bare(block).unwrap();
        at
    };
    words.iter().map(free).collect()
}

#[test]
fn the_words_that_an_order_was_freed_into_serve_it_last_first() {
    for order in [6, 7, 8].map(|k| Order::new(k).unwrap()) {
        let ram = ram(32 * WORD);
        let mut hand = ram.hand();
        let mut live = fill(&mut hand, order);
        assert_eq!(ram.stats().free, 0);
        let freed = free_in(&mut hand, &mut live, &[3, 20, 11, 29, 7, 14]);
        let got: Vec<_> = freed.iter().map(|_| hand.alloc_bare(order).unwrap()).collect();
        let at: Vec<_> = got.iter().map(BareBlock::base).collect();
        assert_eq!(at, freed.into_iter().rev().collect::<Vec<_>>(), "{order:?}");
        assert!(hand.alloc_bare(order).is_err(), "nothing else is free");
        live.into_iter().flatten().chain(got).for_each(|block| hand.free_bare(block).unwrap());
        assert_eq!(ram.validate(), Ok(32 * WORD));
    }
}

#[test]
fn what_merged_or_was_taken_meanwhile_is_passed_by() {
    let six = Order::new(6).unwrap();
    let ram = ram(32 * WORD);
    let mut hand = ram.hand();
    let mut live = fill(&mut hand, six);
    let mut other = ram.hand();
    let freed = free_in(&mut hand, &mut live, &[20, 3]);
    // Of the last two words one is given away, and one is whole.
    free_in(&mut hand, &mut live, &[11]);
    let taken = other.alloc_bare(six).unwrap();
    free_in(&mut hand, &mut live, &[29; 64]);
    // (The last one freed is the hand's own, and first of all.)
    let last = free_in(&mut hand, &mut live, &[7]);
    let kept = hand.alloc_bare(six).unwrap();
    assert_eq!([kept.base()], last[..]);
    let got = hand.alloc_bare(six).unwrap();
    assert!(freed.contains(&got.base()) || got.base().0 / WORD == 11, "{:?}", got.base());
    assert_eq!(ram.stats().blocks[12], 1, "what is whole stays so while something else fits");
    live.into_iter()
        .flatten()
        .chain([kept, got, taken])
        .for_each(|block| hand.free_bare(block).unwrap());
    assert_eq!(ram.validate(), Ok(32 * WORD));
}

/// A full resource of small blocks, some of which were replaced one by one, and a hole that
/// `other` has left in the last region, where the hand is.
fn with_a_hole_nearby(
    hand: &mut Hand,
    other: &mut Hand,
    order: Order,
) -> (Vec<Option<BareBlock>>, Granule) {
    let mut live = fill(hand, order);
    replace_one_by_one(hand, &mut live, order);
    let [hole] = free_at(other, &mut live, [60 * 64])[..] else { unreachable!("one") };
    other.flush();
    (live, hole)
}

/// Frees the blocks at these granules.
fn free_at<const N: usize>(
    hand: &mut Hand,
    live: &mut [Option<BareBlock>],
    at: [u64; N],
) -> Vec<Granule> {
    let free = |at: u64| {
        let found = live
            .iter_mut()
            .find(|block| block.as_ref().is_some_and(|block| block.base() == Granule(at)));
        hand.free_bare(found.and_then(Option::take).unwrap()).unwrap();
        Granule(at)
    };
    at.map(free).to_vec()
}

/// Replaces the first block of each of 16 words, one by one, of a resource that is full: the
/// hand learns that a claim brings it nothing else.
fn replace_one_by_one(hand: &mut Hand, live: &mut [Option<BareBlock>], order: Order) {
    let begins_a_word = |block: &BareBlock| block.base().0.is_multiple_of(64);
    let firsts = live.iter_mut().filter(|block| block.as_ref().is_some_and(begins_a_word));
    for first in firsts.skip(40).take(16) {
        let block = first.take().unwrap();
        let at = block.base();
        hand.free_bare(block).unwrap();
        *first = Some(hand.alloc_bare(order).unwrap());
        assert_eq!(first.as_ref().map(BareBlock::base), Some(at), "nothing else is free");
    }
}

#[test]
fn a_block_whose_word_is_else_in_use_is_replaced_in_its_place() {
    for order in [0, 1, 2].map(|k| Order::new(k).unwrap()) {
        let ram = ram(4096);
        let (mut hand, mut other) = (ram.hand(), ram.hand());
        let (mut live, hole) = with_a_hole_nearby(&mut hand, &mut other, order);
        // Words that do not wait at one place.
        let freed = free_at(&mut hand, &mut live, [40 * 64 + 8, 21 * 64, 6 * 64 + 60]);
        let got: Vec<_> = (0..4).map(|_| hand.alloc_bare(order).unwrap()).collect();
        let mut at: Vec<_> = got.iter().map(BareBlock::base).collect();
        assert_eq!(at.first(), freed.last(), "{order:?}: what was freed last comes first");
        assert_eq!(at.last(), Some(&hole), "{order:?}: what others left comes last");
        at[..3].sort();
        assert_eq!(at[..3], [freed[2], freed[1], freed[0]]);
        assert!(hand.alloc_bare(order).is_err(), "nothing else is free");
        live.into_iter().flatten().chain(got).for_each(|block| hand.free_bare(block).unwrap());
        assert_eq!(ram.validate(), Ok(4096));
    }
}

#[test]
fn a_word_that_is_about_to_be_whole_is_left_to_become_so() {
    let ram = ram(4096);
    let (mut hand, mut other) = (ram.hand(), ram.hand());
    let (mut live, hole) = with_a_hole_nearby(&mut hand, &mut other, Order::ZERO);
    // Four are few, five are not, and those that others freed count as well.
    free_at(&mut other, &mut live, [40 * 64, 40 * 64 + 1]);
    other.flush();
    free_at(&mut hand, &mut live, [40 * 64 + 2, 40 * 64 + 3, 40 * 64 + 4]);
    let got = hand.alloc_bare(Order::ZERO).unwrap();
    assert_eq!(got.base(), hole);
    live.into_iter().flatten().chain([got]).for_each(|block| hand.free_bare(block).unwrap());
    assert_eq!(ram.validate(), Ok(4096));
}

#[test]
fn what_lies_in_another_class_s_region_is_not_taken_before_its_own() {
    let ram = ram(4096);
    let [mut hand, mut other] = [1, 2].map(|class| ram.hand_for(Class::new(class)));
    // A region for each at least, and the rest is the other one's.
    let own: Vec<_> = (0..512).map(|_| hand.alloc_bare(Order::ZERO).unwrap()).collect();
    let mut live = fill(&mut other, Order::ZERO);
    live.extend(own.into_iter().map(Some));
    let own = live.last().and_then(Option::as_ref).unwrap().base();
    let others = live[0].as_ref().unwrap().base();
    assert_ne!(own.0 / 512, others.0 / 512, "of two regions");
    let freed = free_at(&mut hand, &mut live, [own.0, others.0]);
    let got = [(); 2].map(|()| hand.alloc_bare(Order::ZERO).unwrap());
    assert_eq!(got.each_ref().map(BareBlock::base)[..], freed[..]);
    live.into_iter().flatten().chain(got).for_each(|block| hand.free_bare(block).unwrap());
    assert_eq!(ram.validate(), Ok(4096));
}
