//! The geometry against the obvious, exhaustively in a small world and at the
//! edges of the large one.

use potad_memdesc::{Block, GeometryError, Granule, Granules, MAX_GRANULES, Order, Place};

/// Three levels' worth of granules: 64^2 and a bit.
const WORLD: u64 = 2 * 64 * 64;

fn blocks_of_the_world() -> impl Iterator<Item = Block> {
    (0..=13).flat_map(|order| {
        let order = Order::new(order).unwrap();
        (0..WORLD / order.granules())
            .map(move |index| Block::new(Granule(index * order.granules()), order).unwrap())
    })
}

#[test]
fn every_block_lives_in_one_aligned_mask_of_one_word() {
    let mut seen = std::collections::HashSet::new();
    for block in blocks_of_the_world() {
        let place = block.place();
        let run = place.mask.count_ones();
        assert_eq!(run, block.order().run());
        assert_eq!(place.mask.trailing_zeros() % run, 0, "{block:?}");
        assert_eq!(place.level, block.order().get() / 6);
        // The places, spelled out granule by granule.
        let size = 64u64.pow(place.level);
        for granule in [block.base().0, block.last().0] {
            let index = granule / size;
            assert_eq!(index / 64, place.word, "{block:?}");
            assert_ne!(place.mask & 1 << (index % 64), 0, "{block:?}");
        }
        assert_eq!(u64::from(run) * size, block.order().granules());
        assert_eq!(place.block(), Some(block));
        assert!(seen.insert((place.level, place.word, place.mask)), "{block:?} shares a place");
    }
}

#[test]
fn buddy_parent_and_halves_agree() {
    for block in blocks_of_the_world() {
        let buddy = block.buddy().unwrap();
        let parent = block.parent().unwrap();
        assert_eq!(buddy.buddy(), Some(block));
        assert_eq!(buddy.parent(), Some(parent));
        assert!(!buddy.overlaps(block));
        let (low, high) = parent.halves().unwrap();
        assert!(low < high);
        assert!([low, high].contains(&block) && [low, high].contains(&buddy));
        assert!(parent.covers(block) && !block.covers(parent));
        assert!(parent.overlaps(block) && block.overlaps(parent));
    }
    assert_eq!(Block::new(Granule(5), Order::ZERO).unwrap().halves(), None);
}

#[test]
fn contains_is_the_range() {
    for block in blocks_of_the_world().filter(|block| block.order().get() % 3 == 0) {
        for at in [0, 1, 63, 64, 65, 4095, 4096, 4097, WORLD - 1] {
            let inside = (block.base().0..=block.last().0).contains(&at);
            assert_eq!(block.contains(Granule(at)), inside, "{block:?} {at}");
            assert_eq!(block.granules().contains(Granule(at)), inside);
            let holder = Block::containing(Granule(at), block.order());
            assert_eq!(holder == block, inside);
        }
    }
}

#[test]
fn cover_is_exact_and_shortest() {
    for first in 0..130u64 {
        for last in first..260 {
            let range = Granules::new(Granule(first), Granule(last)).unwrap();
            let mut next = first;
            let blocks: Vec<_> = range.cover().collect();
            for block in &blocks {
                assert_eq!(block.base().0, next, "{range:?}");
                next = block.last().0 + 1;
            }
            assert_eq!(next, last + 1);
            assert_eq!(blocks.len(), fewest(first, last + 1), "{range:?}");
        }
    }
}

/// The number of maximal aligned blocks inside `[from, to)`: a block is maximal
/// if its parent is not inside.
fn fewest(from: u64, to: u64) -> usize {
    let inside = |base: u64, size: u64| base >= from && base + size <= to;
    (0..9)
        .map(|order| 1u64 << order)
        .map(|size| {
            (0..512 / size)
                .map(|index| index * size)
                .filter(|&base| inside(base, size) && !inside(base & !(2 * size - 1), 2 * size))
                .count()
        })
        .sum()
}

#[test]
fn encode_is_exact_at_both_ends() {
    for block in blocks_of_the_world() {
        assert_eq!(Block::decode(block.encode()), Some(block));
    }
    for order in Order::all() {
        let last = Block::containing(Granule(MAX_GRANULES - 1), order);
        assert_eq!(Block::decode(last.encode()), Some(last));
        assert_eq!(last.place().block(), Some(last));
        assert_eq!(last.last(), Granule(MAX_GRANULES - 1));
    }
    assert_eq!(Block::decode(0), None);
}

#[test]
fn all_sixty_four_orders_have_a_level_below_eleven() {
    for order in Order::all() {
        assert!(order.level() <= 10);
        assert_eq!(Order::covering(order.granules()), Ok(order));
    }
    assert_eq!(Order::MAX.level(), 10);
    let whole = Block::new(Granule(0), Order::MAX).unwrap();
    assert_eq!(whole.granules().count(), MAX_GRANULES);
    assert_eq!((whole.buddy(), whole.parent()), (None, None));
}

#[test]
fn a_mask_that_is_no_block_has_none() {
    for mask in [0, 0b110, 0b1010, u64::MAX, 0b111, 0x0ff0] {
        assert_eq!(Place { level: 0, word: 0, mask }.block(), None, "{mask:#x}");
    }
    assert_eq!(Place { level: 10, word: 0, mask: 1 << 8 }.block(), None);
    assert_eq!(Place { level: 11, word: 0, mask: 1 }.block(), None);
    assert_eq!(Place { level: 10, word: 0, mask: 0xffff }.block(), None);
}

#[test]
fn refusals_carry_the_operands() {
    assert_eq!(Order::new(64), Err(GeometryError::OrderTooLarge { order: 64 }));
    assert_eq!(Order::covering(0), Err(GeometryError::Empty));
    assert_eq!(Order::covering(MAX_GRANULES + 1), Err(GeometryError::OrderTooLarge { order: 64 }));
    let nine = Order::new(9).unwrap();
    assert_eq!(
        Block::new(Granule(511), nine),
        Err(GeometryError::Misaligned { granule: 511, order: 9 })
    );
    assert_eq!(Granules::new(Granule(1), Granule(0)), Err(GeometryError::Empty));
    assert_eq!(
        Granules::new(Granule(0), Granule(MAX_GRANULES)),
        Err(GeometryError::OutsideIndexSpace { granule: MAX_GRANULES })
    );
    assert_eq!(nine.half().unwrap().get(), 8);
    assert_eq!(format!("{}", Order::new(64).unwrap_err()), "order 64 is above 63");
}

#[test]
fn sums_stay_in_the_index_space() {
    let last = Granule(MAX_GRANULES - 1);
    assert_eq!(Granule(7).checked_add(3), Some(Granule(10)));
    assert_eq!((Granule(0).checked_add(last.0), last.checked_add(0)), (Some(last), Some(last)));
    assert_eq!((last.checked_add(1), last.checked_add(u64::MAX)), (None, None));
    let over = Block::new(Granule(MAX_GRANULES), Order::ZERO).unwrap_err();
    assert_eq!(over, GeometryError::OutsideIndexSpace { granule: MAX_GRANULES });
}

#[test]
fn ranges_cover_overlap_and_share_as_their_granules_do() {
    let ranges: Vec<_> = (0..7u64)
        .flat_map(|first| (first..7).map(move |last| (first, last)))
        .map(|(first, last)| Granules::new(Granule(first), Granule(last)).unwrap())
        .collect();
    for (one, other) in ranges.iter().flat_map(|one| ranges.iter().map(move |o| (*one, *o))) {
        let (mine, theirs) = (one.first().0..=one.last().0, other.first().0..=other.last().0);
        let shared: Vec<_> = mine.clone().filter(|at| theirs.contains(at)).collect();
        assert_eq!(one.covers(other), theirs.clone().all(|at| mine.contains(&at)));
        assert_eq!(one.overlaps(other), !shared.is_empty(), "{one:?} {other:?}");
        let both = one.intersection(other);
        assert_eq!(both.map(|both| both.first().0), shared.first().copied());
        assert_eq!(both.map(|both| both.last().0), shared.last().copied());
    }
}

#[test]
fn a_single_granule_is_decoded_in_short() {
    for block in blocks_of_the_world() {
        let single = (block.order() == Order::ZERO).then_some(block.base());
        assert_eq!(Block::decode_single(block.encode()), single);
    }
    let last = Block::containing(Granule(MAX_GRANULES - 1), Order::ZERO);
    assert_eq!(Block::decode_single(last.encode()), Some(last.base()));
    assert_eq!(Block::decode_single(0), None);
}

#[test]
fn an_address_is_aligned_to_its_lowest_bit() {
    for order in Order::all() {
        assert_eq!(Order::alignment_of(order.granules()), order);
        assert_eq!(Order::alignment_of(order.granules() | 1 << 63), order);
    }
    assert_eq!(Order::alignment_of(0), Order::MAX);
}
