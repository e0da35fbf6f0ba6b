//! Small granules in blocks of a parent: imported when needed, returned when
//! whole, and nothing lost between.

use potad::memdesc::{FailureKind, Order, OwnerId};
use potad::{BareBlock, Error, Nested, Potad, Resource, Zone};
use std::sync::atomic::{AtomicU32, Ordering};

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

fn ram(granules: u64) -> (Potad, Zone) {
    let potad = Potad::new();
    let ram = Resource::new("ram").granule(4096).span(0..granules * 4096);
    let zone = potad.register(ram).unwrap();
    (potad, zone)
}

#[test]
fn blocks_come_when_needed_and_go_when_whole() {
    for (granule, import) in [(512, 0), (512, 3), (4096, 2), (1, 0), (64, 1)] {
        let (_potad, ram) = ram(1 << 10);
        let nested = Nested::new(&ram, "small", granule, order(import)).unwrap();
        let each = (4096 / granule) << import;
        let mut small: Vec<BareBlock> = Vec::new();
        for count in 1..=5 * each {
            small.push(nested.alloc_bare(Order::ZERO).unwrap());
            assert_eq!(nested.imports() as u64, count.div_ceil(each), "{granule} in 2^{import}");
        }
        assert_eq!(ram.stats().free, (1 << 10) - (5 << import));
        assert_eq!(nested.zone().validate(), Ok(0));
        // In the parent each is a raw block whose owner is the nested zone.
        let there = nested.zone().address_of(small[0].base());
        assert_eq!(ram.find(there, &potad::pin()).unwrap().kind_name(), "raw");
        for block in small {
            nested.free_bare(block).unwrap();
        }
        assert_eq!(nested.imports(), 1, "one is kept");
        assert_eq!(nested.zone().validate(), Ok(each));
        assert_eq!(nested.shrink(), 1);
        assert_eq!((nested.zone().granules(), ram.validate()), (0, Ok(1 << 10)));
    }
}

#[test]
fn a_resource_that_breathes_by_one_does_not_flap() {
    let (_potad, ram) = ram(64);
    let nested = Nested::new(&ram, "small", 512, Order::ZERO).unwrap();
    let full: Vec<BareBlock> = (0..16).map(|_| nested.alloc_bare(Order::ZERO).unwrap()).collect();
    assert_eq!(nested.imports(), 2);
    let mut largest = 0;
    for _ in 0..100 {
        let breath = nested.alloc_bare(Order::ZERO).unwrap();
        largest = largest.max(nested.imports());
        nested.free_bare(breath).unwrap();
        assert_eq!(nested.imports(), 3, "stays");
    }
    assert_eq!(largest, 3);
    let greedy = Nested::new(&ram, "greedy", 512, Order::ZERO).unwrap().keep(0);
    let breath = greedy.alloc_bare(Order::ZERO).unwrap();
    greedy.free_bare(breath).unwrap();
    assert_eq!(greedy.imports(), 0, "returns at once, as asked");
    full.into_iter().for_each(|block| nested.free_bare(block).unwrap());
}

#[test]
fn blocks_that_are_not_whole_stay_and_go_later() {
    let (_potad, ram) = ram(64);
    let nested = Nested::new(&ram, "small", 512, Order::ZERO).unwrap().keep(0);
    let all: Vec<BareBlock> = (0..64).map(|_| nested.alloc_bare(Order::ZERO).unwrap()).collect();
    let (one, rest): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|block| block.base().0.is_multiple_of(8));
    rest.into_iter().for_each(|block| nested.free_bare(block).unwrap());
    assert_eq!((nested.imports(), nested.shrink()), (8, 0), "one of each is live");
    one.into_iter().for_each(|block| nested.free_bare(block).unwrap());
    assert!(nested.imports() <= 1, "{}", nested.imports());
    nested.shrink();
    assert_eq!(ram.validate(), Ok(64));
}

#[test]
fn exhausted_means_the_parent_too_and_too_large_means_an_import() {
    let (_potad, ram) = ram(4);
    let nested = Nested::new(&ram, "small", 512, order(1)).unwrap();
    let blocks = [(); 2].map(|()| nested.alloc_bare(order(4)).unwrap());
    assert_eq!(nested.alloc_bare(order(0)), Err(Error::Exhausted { order: order(0) }));
    let too_large = Error::OrderTooLarge { order: order(5), largest: order(4) };
    assert_eq!(nested.alloc_bare(order(5)), Err(too_large));
    blocks.into_iter().for_each(|block| nested.free_bare(block).unwrap());
    let raw = nested.alloc_raw(order(2), OwnerId(3)).unwrap();
    nested.free_raw(raw).unwrap();
    let no = |granule| Nested::new(&ram, "no", granule, order(1)).unwrap_err();
    for granule in [0, 3, 8192, 4096 / 3] {
        assert_eq!(no(granule), Error::NoNesting { granule, parent: 4096, import: order(1) });
    }
    assert!(Nested::new(&ram, "no", 512, order(61)).is_err());
}

#[test]
fn dropped_it_returns_what_is_whole_and_leaves_what_is_not() {
    let (_potad, ram) = ram(64);
    let nested = Nested::new(&ram, "small", 512, Order::ZERO).unwrap();
    let live = nested.alloc_bare(order(3)).unwrap();
    let gone = nested.alloc_bare(order(3)).unwrap();
    nested.free_bare(gone).unwrap();
    let zone = nested.zone().clone();
    drop(nested);
    assert_eq!(ram.stats().free, 63);
    zone.free_bare(live).unwrap();
    assert_eq!(zone.validate(), Ok(8), "the handle still works");
}

#[test]
fn failures_reported_to_the_parent_reach_the_granule() {
    let (potad, ram) = ram(64);
    let nested = Nested::new(&ram, "small", 512, Order::ZERO).unwrap().keep(0);
    let live = nested.alloc_bare(Order::ZERO).unwrap();
    let at = nested.zone().address_of(live.base());
    let report = potad.report_failure(at, 6, FailureKind::Consumed).unwrap();
    assert_eq!((report.first, report.notified), (1, 1));
    let stats = nested.zone().stats();
    assert_eq!((stats.quarantined, stats.pending, stats.free), (7, 1, 0));
    nested.free_bare(live).unwrap();
    assert_eq!(nested.zone().stats().quarantined, 8);
    assert_eq!((nested.imports(), nested.shrink()), (1, 0), "never goes back");
    // Others go on.
    let other = nested.alloc_bare(Order::ZERO).unwrap();
    nested.free_bare(other).unwrap();
    assert_eq!((nested.imports(), ram.validate()), (1, Ok(63)));
}

#[test]
fn a_parent_that_shrinks_names_the_nested_resource_and_waits_for_it() {
    let (_potad, ram) = ram(64);
    let nested = Nested::new(&ram, "small", 512, Order::ZERO).unwrap();
    let live = nested.alloc_bare(Order::ZERO).unwrap();
    let removal = ram.hot_remove(0..64 * 4096).unwrap();
    assert_eq!((removal.remaining_granules(), removal.holders()[0].kind), (1, "raw"));
    nested.free_bare(live).unwrap();
    nested.shrink();
    removal.finish().unwrap();
    assert_eq!(nested.alloc_bare(Order::ZERO), Err(Error::Exhausted { order: Order::ZERO }));
}

#[test]
fn threads_import_and_return_and_lose_nothing() {
    const PARENT: u64 = 128;
    let (_potad, ram) = ram(PARENT);
    let nested = Nested::new(&ram, "small", 512, order(1)).unwrap().keep(0);
    let owner: Vec<AtomicU32> = (0..PARENT * 8).map(|_| AtomicU32::new(0)).collect();
    std::thread::scope(|scope| {
        for who in 1..=4u32 {
            let (nested, owner) = (&nested, &owner);
            scope.spawn(move || {
                let mut live: Vec<BareBlock> = Vec::new();
                let mut seed = u64::from(who);
                let give = |block: BareBlock| {
                    for at in block.base().0..=block.granules().last().0 {
                        assert_eq!(owner[at as usize].swap(0, Ordering::Relaxed), who);
                    }
                    nested.free_bare(block).unwrap();
                };
                for round in 0..20_000 {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                    let pick = seed >> 33;
                    // Breathe: everything goes now and then.
                    if round % 1_000 == 999 {
                        live.drain(..).for_each(give);
                    } else if live.len() < 60 && !pick.is_multiple_of(3) {
                        let Ok(block) = nested.alloc_bare(order((pick / 3 % 5) as u32)) else {
                            continue;
                        };
                        for at in block.base().0..=block.granules().last().0 {
                            assert_eq!(owner[at as usize].swap(who, Ordering::Relaxed), 0);
                        }
                        live.push(block);
                    } else if !live.is_empty() {
                        give(live.swap_remove((pick / 3) as usize % live.len()));
                    }
                }
                live.into_iter().for_each(give);
            });
        }
    });
    nested.shrink();
    assert_eq!((nested.imports(), nested.zone().validate()), (0, Ok(0)));
    assert_eq!(ram.validate(), Ok(PARENT));
}

#[test]
fn what_is_kept_stays_whatever_else_is_whole() {
    let (_potad, ram) = ram(1 << 10);
    let nested = Nested::new(&ram, "small", 512, Order::ZERO).unwrap().keep(3);
    let blocks: Vec<_> = (0..6).map(|_| nested.alloc_bare(order(3)).unwrap()).collect();
    assert_eq!(nested.imports(), 6);
    for (live, block) in (0..6).rev().zip(blocks) {
        nested.free_bare(block).unwrap();
        assert_eq!(nested.imports(), 6.min(live + 3), "{live} are live");
    }
    assert_eq!((nested.zone().validate(), nested.shrink()), (Ok(24), 3));
}

#[test]
fn a_failure_in_the_parent_is_one_of_the_granules_inside_and_of_no_other() {
    let (potad, ram) = ram(1 << 10);
    let nested = Nested::new(&ram, "small", 512, order(3)).unwrap();
    let block = nested.alloc_bare(order(2)).unwrap();
    let base = nested.zone().spans()[0].first;
    // In use in part, and free.
    for (failed, told) in [(0, 1), (5, 1), (7, 1)] {
        let report = potad.report_failure(base + failed * 4096, 6, FailureKind::Found).unwrap();
        assert_eq!((report.first, report.notified, report.quarantined), (1, told, 0));
    }
    let stats = nested.zone().stats();
    assert_eq!((stats.pending, stats.quarantined), (4, 8 + 8 + 4));
    nested.free_bare(block).unwrap();
    assert_eq!(nested.zone().stats().quarantined, 24);
    assert_eq!(nested.zone().validate(), Ok(8 * 8 - 24));
}
