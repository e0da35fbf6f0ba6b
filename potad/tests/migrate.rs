//! Replacing and merging live typed blocks: no gap for readers, nothing lost,
//! nothing freed twice.

use potad::memdesc::{Descriptor, FailureKind, Order, descriptors};
use potad::{Block, Error, Potad, Resource, Zone};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

struct Folio {
    id: u64,
    drops: Arc<AtomicUsize>,
}

struct Slab(u64);

descriptors! { pub set Mm { Folio = 1, Slab = 2 } }

impl Drop for Folio {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

/// Granules of one unit, so that an address is a granule.
fn ram(granules: u64) -> Zone {
    Potad::new().register(Resource::new("ram").span(0..granules)).unwrap()
}

fn wait_for_drops(drops: &AtomicUsize, expected: usize) {
    for _ in 0..1_000_000 {
        if drops.load(Ordering::Relaxed) >= expected {
            break;
        }
        potad::pin().flush();
        std::thread::yield_now();
    }
    assert_eq!(drops.load(Ordering::Relaxed), expected, "each descriptor is dropped once");
}

#[test]
fn a_replaced_descriptor_lives_for_its_references_and_keeps_no_block() {
    let ram = ram(1 << 20);
    let drops = Arc::new(AtomicUsize::new(0));
    for k in [0, 3, 5, 6, 11, 12, 18, 19] {
        let old = ram.alloc(order(k), Folio { id: 1, drops: Arc::clone(&drops) }).unwrap();
        let (address, last) = (old.address(), old.address() + (1 << k) - 1);
        let kept = old.try_ref().unwrap();
        let new = old.replace(Slab(2)).unwrap();
        assert_eq!((new.address(), new.order()), (address, order(k)));
        for at in [address, last] {
            assert_eq!(ram.get::<Slab>(at).unwrap().0, 2);
            assert!(ram.get::<Folio>(at).is_none() && ram.lock::<Folio>(at).is_none());
        }
        assert_eq!((kept.id, kept.header().is_moved()), (1, true));
        assert!(kept.lock().is_moved());
        drop(new);
        assert_eq!(ram.validate(), Ok(1 << 20), "the old one keeps nothing");
        assert_eq!(kept.id, 1);
    }
    wait_for_drops(&drops, 8);
    assert_eq!(ram.stats().free, 1 << 20);
}

#[test]
fn a_replacement_works_when_every_handle_on_the_zone_is_gone() {
    let ram = ram(64);
    let folio = ram.alloc(order(2), Slab(1)).unwrap();
    drop(ram);
    let folio = folio.replace(Slab(2)).unwrap();
    assert_eq!(folio.0, 2);
}

/// Every boundary: within a word, between nodes, into and between the arrays.
#[test]
fn buddies_join_at_every_order_and_whichever_keeps() {
    let granules = 1 << 40;
    let ram = ram(granules);
    for k in 0..40 {
        for upper_keeps in [false, true] {
            let whole = ram.alloc(order(k + 1), Slab(0)).unwrap();
            let (first, last) = (whole.address(), whole.address() + ((2 << k) - 1));
            let whole = whole.replace(Slab(1)).unwrap();
            let (lower, upper) = ram.split(whole, Slab(2)).unwrap();
            let (kept, other) = if upper_keeps { (upper, lower) } else { (lower, upper) };
            let (id, loser) = (kept.0, other.try_ref().unwrap());
            let whole = kept.merge(other).unwrap();
            assert_eq!((whole.address(), whole.order(), whole.0), (first, order(k + 1), id));
            assert!(loser.header().is_moved());
            for at in [first, first + (1 << k) - 1, first + (1 << k), last] {
                assert_eq!(ram.get::<Slab>(at).unwrap().0, id, "order {k}");
                assert_eq!(ram.lock::<Slab>(at).unwrap().0, id);
            }
            // Apart and together again, as a check of what was left where.
            let (lower, upper) = ram.split(whole, Slab(3)).unwrap();
            assert_eq!(ram.get::<Slab>(last).unwrap().0, 3);
            drop(lower.merge(upper).unwrap());
            let guard = potad::pin();
            assert!(ram.find(first, &guard).is_none() && ram.find(last, &guard).is_none());
        }
    }
    assert_eq!(ram.validate(), Ok(granules));
    assert_eq!(ram.stats().free, granules);
}

#[test]
fn what_is_refused_comes_back_as_it_was() {
    let (ram, other) = (ram(64), ram(64));
    let a = ram.alloc(order(2), Slab(1)).unwrap();
    let foreign = other.alloc(order(2), Slab(2)).unwrap();
    let refused = a.merge(foreign).unwrap_err();
    assert!(matches!(refused.why, Error::Foreign { .. }));
    let (a, foreign) = refused.given;
    drop(foreign);
    let small = ram.alloc(order(1), Slab(3)).unwrap();
    let refused = a.merge(small).unwrap_err();
    assert!(matches!(refused.why, Error::Lookup(lookup) if lookup.to_string().contains("buddies")));
    let (a, small) = refused.given;
    assert_eq!((a.0, a.order(), small.0, small.order()), (1, order(2), 3, order(1)));
    assert_eq!(ram.get::<Slab>(small.address()).unwrap().0, 3);
    drop((a, small));
    let all = ram.alloc(order(6), Slab(4)).unwrap();
    let (lower, upper) = ram.split(all, Slab(5)).unwrap();
    let whole = lower.merge(upper).unwrap();
    let page = other.alloc(order(0), Slab(6)).unwrap();
    let refused = whole.merge(page).unwrap_err();
    assert!(refused.given.0.order() == order(6));
    drop(refused);
    assert_eq!((ram.validate(), other.validate()), (Ok(64), Ok(64)));
}

#[test]
fn a_mark_of_failed_memory_goes_along() {
    let ram = ram(1 << 10);
    let (lower, upper) = ram.split(ram.alloc(order(5), Slab(1)).unwrap(), Slab(2)).unwrap();
    ram.report_failure(lower.address() + 3, 0, FailureKind::Injected).unwrap();
    assert!(lower.is_poisoned() && !upper.is_poisoned());
    let whole = upper.merge(lower).unwrap();
    assert!(whole.is_poisoned());
    let new = whole.replace(Slab(3)).unwrap();
    assert!(new.is_poisoned());
    drop(new);
    assert_eq!(ram.stats().free, (1 << 10) - 1, "the one granule is kept");
    assert_eq!(ram.validate(), Ok((1 << 10) - 1));
}

/// Readers that find, get and lock while one thread replaces, splits and
/// merges: an address of a live block is never without a descriptor.
fn readers_meet(k: u32, rounds: u64, edit: impl Fn(&Zone, Block<Slab>, u64) -> Block<Slab>) {
    let ram = ram(1 << (k + 2));
    let block = ram.alloc(order(k), Slab(0)).unwrap();
    let (first, last) = (block.address(), block.address() + (1 << k) - 1);
    let stop = AtomicBool::new(false);
    let block = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut at = first;
                while !stop.load(Ordering::Relaxed) {
                    at = if at == first { last } else { first };
                    let guard = potad::pin();
                    let found = ram.find(at, &guard).expect("live throughout");
                    assert_eq!(found.kind_name(), Slab::NAME);
                    drop(guard);
                    let got = ram.get::<Slab>(at).expect("live throughout");
                    assert!(!got.header().is_dead());
                    let locked = ram.lock::<Slab>(at).expect("live throughout");
                    assert!(locked.block().contains(ram.granule_at(at).unwrap()));
                    assert!(!locked.is_moved());
                }
            });
        }
        let mut block = block;
        for round in 0..rounds {
            block = edit(&ram, block, round);
        }
        stop.store(true, Ordering::Relaxed);
        block
    });
    drop(block);
    assert_eq!(ram.validate(), Ok(1 << (k + 2)));
    assert_eq!(ram.stats().free, 1 << (k + 2));
}

#[test]
fn readers_never_meet_a_gap_while_descriptors_are_replaced() {
    for k in [0, 4, 9] {
        readers_meet(k, 20_000, |_, block, round| block.replace(Slab(round)).unwrap());
    }
}

#[test]
fn readers_never_meet_a_gap_while_halves_join() {
    // Within a word; a node goes; a section goes into an array above it.
    for k in [4, 6, 12, 18, 24, 30] {
        readers_meet(k, 10_000, |ram, block, round| {
            let (lower, upper) = ram.split(block, Slab(round)).unwrap();
            if round % 2 == 0 { lower.merge(upper).unwrap() } else { upper.merge(lower).unwrap() }
        });
    }
}
