//! Falling back over zones: in order, to the truth, and home again.

use potad::memdesc::{Granule, Order, OwnerId, descriptors};
use potad::{BareBlock, Error, Potad, Resource, Zone, Zonelist};
use std::collections::HashSet;

struct Folio(u32);
descriptors! { set Mm { Folio = 1 } }

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

/// Zones of so many granules each, 1 GiB apart.
fn zones(sizes: &[u64]) -> (Potad, Vec<Zone>, Zonelist) {
    let potad = Potad::new();
    let zone = |(start, size): (u64, &u64)| {
        let span = start << 30..(start << 30) + size * 4096;
        potad.register(Resource::new("node").granule(4096).span(span)).unwrap()
    };
    let zones: Vec<Zone> = (0..).zip(sizes).map(zone).collect();
    let list = potad.zonelist(&zones).unwrap();
    (potad, zones, list)
}

#[test]
fn zones_fill_in_order_and_exhausted_means_all_of_them() {
    let (_potad, zones, list) = zones(&[64, 16, 32]);
    let mut pages = Vec::new();
    while let Ok(page) = list.alloc_bare(Order::ZERO) {
        pages.push(page);
    }
    assert_eq!(pages.len(), 112);
    let is_of = |page: &BareBlock, zone: usize| page.base().0 >> 18 == zone as u64;
    assert!(pages[..64].iter().all(|page| is_of(page, 0)));
    assert!(pages[64..80].iter().all(|page| is_of(page, 1)));
    assert!(pages[80..].iter().all(|page| is_of(page, 2)));
    assert_eq!(list.alloc_bare(Order::ZERO), Err(Error::Exhausted { order: Order::ZERO }));
    pages.into_iter().for_each(|page| list.free_bare(page).unwrap());
    let free: Vec<u64> = zones.iter().map(|zone| zone.validate().unwrap()).collect();
    assert_eq!(free, [64, 16, 32]);
}

#[test]
fn an_order_goes_to_the_zone_that_can_hold_it() {
    let (_potad, _zones, list) = zones(&[16, 64, 32]);
    let block = list.alloc_bare(order(6)).unwrap();
    assert_eq!(block.base(), Granule(1 << 18));
    assert_eq!(list.alloc_bare(order(6)), Err(Error::Exhausted { order: order(6) }));
    let too_large = Error::OrderTooLarge { order: order(7), largest: order(6) };
    assert_eq!(list.alloc_bare(order(7)), Err(too_large));
    list.free_bare(block).unwrap();
}

#[test]
fn raw_and_typed_blocks_fall_back_and_go_home() {
    let (potad, zones, list) = zones(&[4, 4]);
    Mm::register(potad.kinds()).unwrap();
    let raw = list.alloc_raw(order(2), OwnerId(9)).unwrap();
    let typed = list.alloc(order(2), Folio(7)).unwrap();
    assert_eq!(zones[1].get::<Folio>(typed.address()).unwrap().0, 7);
    let refused = list.alloc(order(2), Folio(8)).unwrap_err();
    assert_eq!((refused.given.0, refused.why), (8, Error::Exhausted { order: order(2) }));
    assert_eq!(list.alloc_raw(order(0), OwnerId(9)), Err(Error::Exhausted { order: order(0) }));
    list.free_raw(raw).unwrap();
    list.free(typed).unwrap();
    assert_eq!(zones.iter().map(|zone| zone.stats().free).sum::<u64>(), 8);
}

#[test]
fn foreign_zones_and_foreign_blocks_are_refused() {
    let (potad, zones, _list) = zones(&[16, 16]);
    let other = Potad::new();
    let foreign = other.register(Resource::new("x").granule(4096).span(0..4096)).unwrap();
    assert_eq!(
        potad.zonelist([&zones[0], &foreign]).unwrap_err(),
        Error::NotOfPotad { zone: foreign.id() }
    );
    assert_eq!(
        potad.zonelist([&zones[0], &zones[0]]).unwrap_err(),
        Error::ZoneTwice { zone: zones[0].id() }
    );
    assert_eq!(potad.zonelist([]).unwrap_err(), Error::NoZone);
    let short = potad.zonelist([&zones[0]]).unwrap();
    let block = zones[1].alloc_bare(order(0)).unwrap();
    let refused = short.free_bare(block).unwrap_err();
    assert!(matches!(refused.why, Error::Foreign { .. }));
    zones[1].free_bare(refused.given).unwrap();
}

#[test]
fn what_hides_in_another_threads_hand_counts_as_free() {
    let (_potad, zones, list) = zones(&[64, 64]);
    let mut hand = zones[0].hand();
    let page = hand.alloc_bare(order(0)).unwrap();
    hand.free_bare(page).unwrap();
    // The near zone hides all of itself: the far one serves meanwhile.
    let far = list.alloc_bare(order(6)).unwrap();
    assert_eq!(far.base().0 >> 18, 1);
    let near = list.alloc_bare(order(6)).expect("taken from the hand before anybody is refused");
    assert_eq!(near.base().0 >> 18, 0);
    list.free_bare(far).unwrap();
    list.free_bare(near).unwrap();
}

#[test]
fn threads_share_a_list_and_lose_nothing() {
    let (_potad, zones, list) = zones(&[64, 128, 256]);
    std::thread::scope(|scope| {
        for who in 0..4u64 {
            let list = &list;
            scope.spawn(move || {
                let mut live: Vec<BareBlock> = Vec::new();
                let mut seed = who;
                for _ in 0..20_000 {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                    let pick = seed >> 33;
                    if live.len() < 60 && pick.is_multiple_of(2) {
                        live.extend(list.alloc_bare(order((pick / 2 % 4) as u32)));
                        let granules = live.iter().flat_map(|b| b.base().0..=b.granules().last().0);
                        let all: Vec<u64> = granules.collect();
                        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
                    } else if !live.is_empty() {
                        let block = live.swap_remove((pick / 2) as usize % live.len());
                        list.free_bare(block).unwrap();
                    }
                }
                live.into_iter().for_each(|block| list.free_bare(block).unwrap());
            });
        }
    });
    let free: Vec<u64> = zones.iter().map(|zone| zone.validate().unwrap()).collect();
    assert_eq!(free, [64, 128, 256]);
}
