//! Batches against a plain array, and what comes back when some are refused.

use potad::memdesc::{FailureKind, Granule, Order};
use potad::{BareBlock, Error, Potad, Resource, Zone};

fn zone(granules: u64) -> Zone {
    Potad::new().register(Resource::new("ram").granule(4096).span(0..granules * 4096)).unwrap()
}

fn order(k: u32) -> Order {
    Order::new(k).unwrap()
}

/// The next of a fixed sequence, below `bound`.
fn next(seed: &mut u64, bound: u64) -> u64 {
    *seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*seed >> 33) % bound
}

/// Marks the block's granules in the array; none was marked before.
fn mark(array: &mut [bool], block: &BareBlock) {
    for at in block.base().0..block.base().0 + block.order().granules() {
        assert!(!std::mem::replace(&mut array[at as usize], true), "granule {at} twice");
    }
}

#[test]
fn batches_agree_with_an_array() {
    let total = 1 << 13;
    let ram = zone(total);
    let mut hand = ram.hand();
    let (mut array, mut held, mut seed) = (vec![false; total as usize], Vec::new(), 7);
    for step in 0..400 {
        if next(&mut seed, 2) == 0 {
            let k = [0, 0, 0, 1, 2, 3, 5, 6, 9][next(&mut seed, 9) as usize];
            let wanted = next(&mut seed, 1500) as usize;
            let mut new = Vec::new();
            let got = match step % 2 {
                0 => hand.alloc_many(order(k), wanted, |block| new.push(block)),
                _ => ram.alloc_many(order(k), wanted, |block| new.push(block)),
            };
            assert_eq!(got.unwrap(), new.len());
            new.iter().for_each(|block| mark(&mut array, block));
            let fits =
                array.chunks(1 << k).filter(|blocks| blocks.iter().all(|&used| !used)).count();
            assert!(new.len() == wanted || fits == 0, "{} of {wanted}, {fits} fit", new.len());
            held.extend(new);
        } else {
            let mut count = (next(&mut seed, 1500) as usize).min(held.len());
            if step % 3 == 0 {
                held.sort_by_key(|block: &BareBlock| block.base());
                count = held.len() / 2;
            }
            let gone: Vec<_> = held.drain(..count).collect();
            for block in &gone {
                let first = block.base().0 as usize;
                array[first..first + block.order().granules() as usize].fill(false);
            }
            let freed = match step % 2 {
                0 => hand.free_many(gone).unwrap(),
                _ => ram.free_many(gone).unwrap(),
            };
            assert_eq!(freed, count);
        }
        ram.validate().unwrap();
        let used = array.iter().filter(|&&used| used).count() as u64;
        assert_eq!(ram.stats().free, total - used);
    }
    hand.free_many(held).unwrap();
    assert_eq!(ram.stats().free, total);
    assert!(ram.alloc_bare(order(13)).is_ok(), "all merged again");
}

#[test]
fn a_batch_takes_all_that_there_is() {
    let ram = zone(5000);
    let mut pages = Vec::new();
    assert_eq!(ram.alloc_many(order(0), usize::MAX, |page| pages.push(page)), Ok(5000));
    assert_eq!(ram.alloc_many(order(0), 1, |page| pages.push(page)), Ok(0));
    assert_eq!(ram.alloc_many(order(0), 0, |page| pages.push(page)), Ok(0));
    let mut seen = vec![false; 5000];
    pages.iter().for_each(|page| mark(&mut seen, page));
    let too_large = ram.alloc_many(order(20), 1, |page| pages.push(page));
    assert!(matches!(too_large, Err(Error::OrderTooLarge { .. })));
    assert_eq!(ram.free_many(pages).unwrap(), 5000);
}

#[test]
fn what_is_refused_comes_back_and_the_rest_is_freed() {
    let (ram, other) = (zone(1 << 10), zone(1 << 10));
    let mut pages = Vec::new();
    ram.alloc_many(order(0), 100, |page| pages.push(page)).unwrap();
    let foreign = other.alloc_bare(order(0)).unwrap();
    let twice = ram.bare_at(pages[10].base(), order(0)).unwrap();
    pages.insert(50, foreign);
    pages.insert(70, twice);
    let refused = ram.free_many(pages).unwrap_err();
    assert!(matches!(refused.why, Error::Foreign { .. }), "{:?}", refused.why);
    assert_eq!(refused.given.len(), 2);
    assert_eq!(ram.stats().free, 1 << 10);
    ram.validate().unwrap();
    let mut given = refused.given;
    assert_eq!(other.free_many(given.drain(..1)).unwrap(), 1);
    assert_eq!(other.stats().free, 1 << 10);
    // The handle made of an address alone is no block any more.
    let address = ram.address_of(given[0].base());
    assert!(matches!(ram.adopt_bare(address, order(0)), Err(Error::DoubleFree { .. })));
}

#[test]
fn of_a_group_in_part_free_already_the_rest_is_freed() {
    let ram = zone(1 << 12);
    let mut hand = ram.hand();
    for k in [0, 1, 2, 3, 5] {
        let (mut blocks, mut kept) = (Vec::new(), Vec::new());
        hand.alloc_many(order(k), 18, |block| blocks.push(block)).unwrap();
        // Every other one stays, so that nothing merges.
        let mut gone = Vec::new();
        for (number, block) in blocks.into_iter().enumerate() {
            if number % 2 == 0 { gone.push(block) } else { kept.push(block) }
        }
        let free = ram.stats().free;
        // One is free already when the batch comes, one is in it twice, apart, and
        // one is twice in a row.
        let again = |block: &BareBlock| ram.bare_at(block.base(), block.order()).unwrap();
        let twice = [again(&gone[1]), again(&gone[4]), again(&gone[6])];
        let bases: Vec<_> = twice.iter().map(BareBlock::base).collect();
        hand.free_bare(again(&gone[1])).unwrap();
        let [_, apart, next] = twice;
        gone.push(apart);
        gone.insert(7, next);
        let refused = hand.free_many(gone).unwrap_err();
        assert!(matches!(refused.why, Error::DoubleFree { .. }), "{:?}", refused.why);
        let mut given: Vec<_> = refused.given.iter().map(BareBlock::base).collect();
        given.sort();
        assert_eq!(given, bases, "order {k}");
        assert!(refused.given.iter().all(|block| block.order() == order(k)));
        assert_eq!(ram.stats().free, free + (9 << k));
        ram.validate().unwrap();
        assert_eq!(ram.free_many(kept).unwrap(), 9);
    }
    assert_eq!(ram.stats().free, 1 << 12);
}

#[test]
fn a_failed_granule_in_a_batch_is_kept() {
    let potad = Potad::new();
    let ram = potad.register(Resource::new("ram").granule(4096).span(0..(1 << 10) * 4096)).unwrap();
    let mut pages = Vec::new();
    ram.alloc_many(order(0), 256, |page| pages.push(page)).unwrap();
    let failed = pages[77].base();
    potad.report_failure(ram.address_of(failed), 12, FailureKind::Found).unwrap();
    assert_eq!(ram.free_many(pages).unwrap(), 256);
    assert_eq!((ram.stats().free, ram.stats().quarantined), ((1 << 10) - 1, 1));
    let mut again = Vec::new();
    assert_eq!(ram.alloc_many(order(0), 2000, |page| again.push(page)), Ok((1 << 10) - 1));
    assert!(again.iter().all(|page| page.base() != failed), "granule {failed:?} again");
    assert_eq!(again.iter().map(|page| page.base()).max(), Some(Granule((1 << 10) - 1)));
    ram.free_many(again).unwrap();
}

#[test]
fn batches_of_several_threads_share_out_everything() {
    let total = 1 << 14;
    let ram = zone(total);
    for _ in 0..20 {
        let got: Vec<_> = std::thread::scope(|scope| {
            let take = || {
                let mut hand = ram.hand();
                let mut pages = Vec::new();
                while hand.alloc_many(order(0), 700, |page| pages.push(page)).unwrap() != 0 {}
                pages
            };
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(take)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let mut seen = vec![false; total as usize];
        got.iter().for_each(|page| mark(&mut seen, page));
        assert_eq!(got.len() as u64, total);
        assert_eq!(ram.free_many(got).unwrap(), total as usize);
        ram.validate().unwrap();
    }
    assert_eq!(ram.stats().free, total);
}
