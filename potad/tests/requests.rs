//! Runs, exact requests, batches, hot-add, and every refusal.

use potad::memdesc::{Granule, Order, OwnerId};
use potad::{Align, BareBlock, Error, Potad, Resource, Span, Zone};

const MIB: u64 = 1 << 20;

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

fn ram(bytes: u64) -> Zone {
    Potad::new().register(Resource::new("ram").granule(4096).span(0..bytes)).unwrap()
}

#[test]
fn a_run_is_one_block_else_two_else_four_else_eight_else_refused() {
    let align = Align::new(MIB).unwrap();
    // Free: a hole of 8 MiB that starts at an odd multiple of so much.
    for (step, pieces) in [(8, 1), (4, 2), (2, 4), (1, 8)] {
        let ram = ram(32 * MIB);
        let first = 8 + step % 8;
        let below = ram.alloc_at(0..first * MIB).unwrap();
        let above = ram.alloc_at((first + 8) * MIB..32 * MIB).unwrap();
        let run = ram.alloc_run(8 * MIB, align).unwrap();
        assert_eq!(ram.address_of(run.base()), first * MIB);
        assert_eq!(run.granules().count(), 2048);
        let cover: Vec<_> = run.granules().cover().map(|block| block.order().get()).collect();
        assert!(cover.len() <= pieces.max(2) && cover.iter().all(|&k| k >= 8), "{cover:?}");
        assert_eq!(ram.alloc_run(MIB, align).unwrap_err(), Error::NoRun { granules: 256 });
        assert_eq!(ram.run_at(first * MIB + 5), Some(run.granules()));
        assert_eq!(ram.runs().len(), 3);
        ram.validate().unwrap();
        for run in [run, below, above] {
            ram.free_run(run).unwrap();
        }
        assert_eq!(ram.validate(), Ok(ram.granules()));
        assert_eq!(ram.free_blocks().len(), 1);
    }
}

#[test]
fn runs_come_at_the_highest_alignment_and_the_lowest_first_among_equals() {
    let ram = ram(512 * 4096);
    let taken = [(0, 37), (40, 64), (72, 256), (264, 512)];
    let taken = taken.map(|(first, end)| ram.alloc_at(first * 4096..end * 4096).unwrap());
    let run = || ram.alloc_run(3 * 4096, Align::new(4096).unwrap()).map(|run| run.base().0);
    for at in [64, 68, 256, 260, 37] {
        assert_eq!(run(), Ok(at));
    }
    assert_eq!(run(), Err(Error::NoRun { granules: 3 }));
    taken.into_iter().for_each(|run| ram.free_run(run).unwrap());
}

#[test]
fn a_run_that_is_smaller_than_its_alignment_is_aligned_all_the_same() {
    let ram = ram(MIB);
    for (granules, align) in [(1, 16), (2, 8), (4, 4), (8, 64)] {
        let run = || ram.alloc_run(granules * 4096, Align::new(align * 4096).unwrap()).unwrap();
        let runs = [run(), run(), run()];
        for run in &runs {
            assert_eq!(run.base().0 % align, 0, "{granules} granules at {align}: {run:?}");
            assert_eq!(run.granules().count(), granules);
        }
        runs.into_iter().for_each(|run| ram.free_run(run).unwrap());
    }
    assert_eq!(ram.free_blocks().len(), 1);
}

#[test]
fn a_refused_run_leaves_nothing_behind() {
    let ram = ram(16 * MIB);
    // Every other MiB is taken.
    let taken: Vec<_> =
        (0..8).map(|index| ram.alloc_at(index * 2 * MIB..(index * 2 + 1) * MIB).unwrap()).collect();
    let before = ram.free_blocks();
    let refused = ram.alloc_run(2 * MIB, Align::new(4096).unwrap());
    assert_eq!(refused.unwrap_err(), Error::NoRun { granules: 512 });
    assert_eq!(
        ram.alloc_at(MIB / 2..3 * MIB / 2).unwrap_err().to_string(),
        "granules 0x80..=0x17f are not all free"
    );
    assert_eq!(ram.free_blocks(), before);
    taken.into_iter().for_each(|run| ram.free_run(run).unwrap());
    assert_eq!(ram.validate(), Ok(ram.granules()));
}

#[test]
fn runs_of_any_size_at_any_alignment() {
    let ram = ram(64 * MIB);
    let mut live = Vec::new();
    let mut state = 7u64;
    for round in 0..400u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let units = 1 + (state >> 33) % (3 * MIB);
        let align = Align::new(4096 << ((state >> 20) % 9)).unwrap();
        match ram.alloc_run(units, align) {
            Ok(run) => {
                assert_eq!(run.granules().count(), units.div_ceil(4096));
                live.push(run);
            }
            Err(Error::NoRun { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        if live.len() > 12 {
            ram.free_run(live.swap_remove((round % 12) as usize)).unwrap();
        }
        if round % 50 == 0 {
            ram.validate().unwrap();
        }
    }
    live.into_iter().for_each(|run| ram.free_run(run).unwrap());
    assert_eq!(ram.validate(), Ok(ram.granules()));
}

#[test]
fn batches_take_and_give_whole_words_at_every_order() {
    let ram = ram(256 * MIB);
    let mut hand = ram.hand();
    for k in 0..=12 {
        let mut blocks: Vec<BareBlock> = Vec::new();
        let wanted = 300.min((ram.granules() >> k) as usize + 5);
        let given = hand.alloc_many(order(k), wanted, |block| blocks.push(block)).unwrap();
        assert_eq!(given, blocks.len());
        assert_eq!(given, wanted.min((ram.granules() >> k) as usize), "order {k}");
        let mut bases: Vec<_> = blocks.iter().map(|block| block.base()).collect();
        bases.sort();
        bases.dedup();
        assert_eq!(bases.len(), given, "each once");
        assert_eq!(hand.free_many(blocks).unwrap(), given);
    }
    drop(hand);
    assert_eq!(ram.validate(), Ok(ram.granules()));
    assert_eq!(ram.free_blocks().len(), 1);
}

#[test]
fn hot_added_memory_merges_with_what_it_touches() {
    let ram = ram(MIB);
    assert_eq!(
        ram.alloc_bare(order(9)).unwrap_err(),
        Error::OrderTooLarge { order: order(9), largest: order(8) }
    );
    ram.hot_add(MIB..2 * MIB).unwrap();
    let both = ram.alloc_bare(order(9)).unwrap();
    ram.hot_add(1 << 40..(1 << 40) + MIB).unwrap();
    ram.free_bare(both).unwrap();
    let span = |first, last| Span { first, last };
    assert_eq!(ram.spans(), [span(0, 2 * MIB - 1), span(1 << 40, (1 << 40) + MIB - 1)]);
    assert_eq!(ram.validate(), Ok(768));
}

#[test]
fn one_tebibyte_out_of_one_and_a_half_and_all_sixty_four_orders() {
    let potad = Potad::new();
    let big = Resource::new("big").granule(4096).span(0..3 << 39);
    let big = potad.register(big).unwrap();
    let tib = big.alloc_bare(big.order_for(1 << 40).unwrap()).unwrap();
    let half = big.alloc_bare(big.order_for(1 << 39).unwrap()).unwrap();
    assert!(matches!(big.alloc_bare(order(0)), Err(Error::Exhausted { .. })));
    big.free_bare(tib).unwrap();
    big.free_bare(half).unwrap();

    let all = Resource::new("all").granule(1).span(0..1 << 63).space(1);
    let all = potad.register(all).unwrap();
    for k in Order::all() {
        let block = all.alloc_bare(k).unwrap();
        assert_eq!(block.order(), k);
        let raw = if k < Order::MAX {
            Some(all.alloc_raw(k, potad::memdesc::OwnerId(3)).unwrap())
        } else {
            None
        };
        all.free_bare(block).unwrap();
        if let Some(raw) = raw {
            all.free_raw(raw).unwrap();
        }
    }
    assert_eq!(all.validate(), Ok(1 << 63));

    let top = Resource::new("top").granule(1).span(1 << 63..=u64::MAX).space(2);
    let top = potad.register(top).unwrap();
    let last = top.alloc_at(u64::MAX..=u64::MAX).unwrap();
    assert_eq!(top.address_of(last.base()), u64::MAX);
    top.free_run(last).unwrap();
    assert_eq!(top.validate(), Ok(1 << 63));
}

#[test]
fn odd_spans_are_handed_out_to_the_last_granule() {
    let potad = Potad::new();
    let odd = Resource::new("odd").granule(512).span(512 * 3..512 * 77).span(512 * 100..512 * 101);
    let odd = potad.register(odd).unwrap();
    let pages: Vec<_> = std::iter::from_fn(|| odd.alloc_bare(order(0)).ok()).collect();
    assert_eq!(pages.len(), 75);
    pages.into_iter().for_each(|page| odd.free_bare(page).unwrap());
    assert_eq!(odd.validate(), Ok(75));
}

#[test]
fn spans_that_are_none_are_refused_and_nothing_is_registered() {
    let potad = Potad::new();
    let ram = || Resource::new("ram").granule(4096);
    let refused = |resource: Resource| potad.register(resource).unwrap_err();
    assert_eq!(refused(ram()), Error::NoSpan);
    assert_eq!(refused(ram().span(4096..4096)), Error::EmptySpan { first: 4096, end: 4096 });
    assert_eq!(refused(Resource::new("none").granule(0).span(0..1)), Error::NoGranule);
    let misaligned = refused(ram().span(0..5000));
    assert_eq!(misaligned, Error::MisalignedSpan { first: 0, last: 4999, granule: 4096 });
    let overlap = refused(ram().span(0..8192).span(4096..12288));
    assert!(matches!(overlap, Error::Overlap { with_first: 0, with_last: 8191, .. }), "{overlap}");
    let wraps = refused(Resource::new("slots").span(5..=u64::MAX));
    assert!(matches!(wraps, Error::OutsideReach { .. }), "{wraps}");
    assert!(potad.zones().is_empty());

    let zone = potad.register(ram().span(0..1 << 20)).unwrap();
    assert!(matches!(refused(ram().span(1 << 19..1 << 21)), Error::Overlap { .. }));
    potad.register(ram().span(1 << 19..1 << 21).space(1)).unwrap();
    let before = zone.spans();
    assert!(matches!(zone.hot_add(0..4096), Err(Error::Overlap { .. })));
    assert!(matches!(zone.hot_add(1 << 20..1 << 20), Err(Error::EmptySpan { .. })));
    assert!(matches!(zone.hot_add(1 << 62..(1 << 62) + 4096), Err(Error::OutsideReach { .. })));
    assert_eq!(zone.spans(), before);
    assert_eq!(zone.validate(), Ok(256));
    let near = potad.register(ram().span(1 << 30..1 << 31)).unwrap();
    assert!(matches!(potad.hot_add(&near, 0..8192), Err(Error::Overlap { .. })));
    potad.hot_add(&near, 1 << 31..(1 << 31) + 8192).unwrap();
}

#[test]
fn handles_made_of_addresses_are_checked() {
    let ram = ram(MIB);
    let page = ram.alloc_bare(order(2)).unwrap();
    let address = ram.address_of(page.base());
    let kept = page.block();
    drop(page);
    assert!(matches!(ram.adopt_bare(address + 1, order(2)), Err(Error::NoBlock { .. })));
    assert!(matches!(ram.adopt_bare(2 * MIB, order(2)), Err(Error::Outside { .. })));
    assert!(matches!(ram.adopt_bare(address, order(3)), Err(Error::DoubleFree { .. })));
    let again = ram.adopt_bare(address, order(2)).unwrap();
    assert_eq!(again.block(), kept);
    ram.free_bare(again).unwrap();
    let twice = ram.adopt_bare(address, order(2)).unwrap_err();
    assert!(matches!(twice, Error::DoubleFree { .. }), "{twice}");
    // Even without the check a second free within the word is found.
    let unchecked = ram.bare_at(Granule(address / 4096), order(2)).unwrap();
    let refused = ram.free_bare(unchecked).unwrap_err();
    assert!(matches!(refused.why, Error::DoubleFree { .. }));
    assert_eq!(ram.validate(), Ok(256));
}

/// A hand holds the word of what it frees, eight words at a time.
#[test]
fn a_second_free_is_found_where_the_first_has_left_the_hand() {
    let ram = ram(16 * MIB);
    let mut hand = ram.hand();
    let pages: Vec<_> = (0..4096).map(|_| hand.alloc_bare(order(0)).unwrap()).collect();
    let again = |at| ram.bare_at(Granule(at), order(0)).unwrap();
    let free = |hand: &mut potad::Hand, at| hand.free_bare(again(at));
    for at in [1000, 1000 + 8 * 64, 1001] {
        free(&mut hand, at).unwrap();
    }
    // The word is held again since the second, and 1000 is in no mask.
    assert!(matches!(free(&mut hand, 1000).unwrap_err().why, Error::DoubleFree { .. }));
    // What was free when the hand began to hold the word may be taken meanwhile.
    let mut other = ram.hand();
    let taken = other.alloc_bare(order(0)).unwrap();
    assert_eq!(taken.base(), Granule(1000));
    hand.free_bare(taken).unwrap();
    drop((pages, other));
    hand.flush();
    assert_eq!(ram.validate(), Ok(3));
}

/// Where it is too late to say so, the places beside it are not lost.
#[test]
fn a_second_free_of_what_another_hand_freed_loses_nothing_else() {
    let ram = ram(16 * MIB);
    let (mut hand, mut other) = (ram.hand(), ram.hand());
    let pages: Vec<_> = (0..4096).map(|_| hand.alloc_bare(order(0)).unwrap()).collect();
    let again = |at| ram.bare_at(Granule(at), order(0)).unwrap();
    hand.free_bare(again(1001)).unwrap();
    other.free_bare(again(1000)).unwrap();
    other.flush();
    // The hand has looked at the word before that.
    let _unseen = hand.free_bare(again(1000));
    hand.free_bare(again(1002)).unwrap();
    drop(pages);
    hand.flush();
    assert_eq!(ram.validate(), Ok(3));
}

#[test]
fn a_nested_resource_imports_a_block_of_its_parent() {
    let potad = Potad::new();
    let ram = potad.register(Resource::new("ram").granule(4096).span(0..16 * MIB)).unwrap();
    let page = ram.alloc_bare(order(6)).unwrap();
    let first = ram.address_of(page.base());
    let sectors = Resource::new("sectors").granule(512).span(first..first + (64 << 12)).space(1);
    let sectors = potad.register(sectors).unwrap();
    let sector = sectors.alloc_bare(order(0)).unwrap();
    assert!((first..first + (64 << 12)).contains(&sectors.address_of(sector.base())));
    sectors.free_bare(sector).unwrap();
    assert_eq!(sectors.validate(), Ok(512));
    ram.free_bare(page).unwrap();
}

#[test]
fn a_place_beyond_the_reach_has_no_handle() {
    // The tables for so far a reach end here.
    let end = 1 << 23;
    let resource = Resource::new("ram").granule(4096).span(0..MIB).reach((1 << 18) * 4096 - 1);
    let ram = Potad::new().register(resource).unwrap();
    for (at, k) in [(end, 0), (end, 3), (1 << 40, 9), (u64::MAX >> 1, 0), (0, 24), (0, 63)] {
        let no_block = Error::NoBlock { address: at, order: order(k) };
        assert_eq!(ram.bare_at(Granule(at), order(k)).unwrap_err(), no_block);
        assert_eq!(ram.raw_at(Granule(at), order(k)).unwrap_err(), no_block);
    }
    // Up to there it is the caller who knows.
    for (at, k) in [(end - 1, 0), (end - 8, 3), (0, 23)] {
        let there = ram.bare_at(Granule(at), order(k)).unwrap();
        assert_eq!((there.base(), there.order()), (Granule(at), order(k)));
    }
}

/// Handles say of which zone they are: what another zone has at the same place is
/// not touched by them.
#[test]
fn a_handle_of_another_zone_frees_nothing_here() {
    let potad = Potad::new();
    let zone = |name, space| {
        potad.register(Resource::new(name).granule(4096).space(space).span(0..MIB)).unwrap()
    };
    for (k, space) in [(0, 0), (2, 2), (5, 4)] {
        let (here, there) = (zone("here", space), zone("there", space + 1));
        let mut hand = here.hand();
        let list = potad.zonelist([&here]).unwrap();
        let (k, owner) = (order(k), OwnerId::RESOURCE);
        // Fresh zones give the same places.
        let own = (here.alloc_raw(k, owner).unwrap(), here.alloc_bare(k).unwrap());
        let raw = there.alloc_raw(k, owner).unwrap();
        let bare = there.alloc_bare(k).unwrap();
        assert_eq!((own.0.base(), own.1.base()), (raw.base(), bare.base()));
        let free = here.stats().free;
        let is_foreign = |why| matches!(why, Error::Foreign { .. } | Error::NotOfPotad { .. });

        let raw = here.free_raw(raw).unwrap_err();
        assert!(is_foreign(raw.why), "{}", raw.why);
        let raw = hand.free_raw(raw.given).unwrap_err();
        assert!(is_foreign(raw.why), "{}", raw.why);
        let raw = list.free_raw(raw.given).unwrap_err().given;
        let bare = here.free_bare(bare).unwrap_err();
        assert!(is_foreign(bare.why), "{}", bare.why);
        let bare = hand.free_bare(bare.given).unwrap_err();
        assert!(is_foreign(bare.why), "{}", bare.why);
        let bare = list.free_bare(bare.given).unwrap_err().given;

        assert_eq!(here.stats().free, free);
        here.free_raw(own.0).unwrap();
        here.free_bare(own.1).unwrap();
        there.free_raw(raw).unwrap();
        there.free_bare(bare).unwrap();
        assert_eq!((here.validate(), there.validate()), (Ok(256), Ok(256)));
    }
}
