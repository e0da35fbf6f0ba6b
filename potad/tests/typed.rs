//! Typed and raw blocks: found from any address inside, freed by the last
//! reference, split while live, and never freed under a reader.

use potad::memdesc::{Descriptor, Order, OwnerId, descriptors};
use potad::{Error, Potad, Ref, Resource, Zone};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

struct Folio {
    id: u64,
    drops: Arc<AtomicUsize>,
}

impl Drop for Folio {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
    }
}

struct Slab {
    objects: AtomicU64,
}

struct XfsBuf {
    payload: [u8; 360],
}

descriptors! { pub set Mm { Folio = 1, Slab = 2, XfsBuf = 3 } }

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

fn ram() -> (Potad, Zone) {
    let potad = Potad::new();
    let ram = Resource::new("ram").granule(4096).span(0x1000_0000..0x5000_0000);
    let zone = potad.register(ram).unwrap();
    (potad, zone)
}

/// Other tests pin too: collects for as many rounds as it takes, but not for
/// ever; never more drops than descriptors.
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
fn every_address_of_a_block_finds_its_descriptor_and_no_other_does() {
    let (_potad, ram) = ram();
    let drops = Arc::new(AtomicUsize::new(0));
    for k in [0, 1, 5, 6, 9, 11, 12, 15, 17] {
        let folio = ram.alloc(order(k), Folio { id: 7, drops: Arc::clone(&drops) }).unwrap();
        let (first, bytes) = (folio.address(), 4096u64 << k);
        assert!(first.is_multiple_of(bytes), "alignment is absolute");
        let guard = potad::pin();
        for address in [first, first + bytes / 2, first + bytes - 1] {
            let found = ram.find(address, &guard).unwrap();
            let Some(Mm::Folio(peek)) = Mm::of(&found) else { panic!("{found:?}") };
            assert_eq!(peek.id, 7);
            assert_eq!(found.block(), folio.block());
            assert!(ram.get::<Slab>(address).is_none(), "another type");
        }
        assert!(ram.find(first - 1, &guard).is_none());
        assert!(ram.find(first + bytes, &guard).is_none());
        drop(guard);
        ram.free(folio).unwrap();
        assert!(ram.get::<Folio>(first).is_none());
    }
    wait_for_drops(&drops, 9);
    assert_eq!(ram.validate(), Ok(ram.granules()));
}

#[test]
fn a_reference_keeps_the_block_until_it_is_gone() {
    let (potad, ram) = ram();
    let buffer = ram.alloc(order(3), XfsBuf { payload: [5; 360] }).unwrap();
    let address = buffer.address();
    let reference: Ref<XfsBuf> = ram.get(address).unwrap();
    drop(buffer);
    assert_eq!(ram.stats().free, ram.granules() - 8);
    assert_eq!(ram.get::<XfsBuf>(address).unwrap().payload[359], 5, "findable while referenced");
    // The reference outlives every handle.
    drop((potad, ram));
    assert_eq!(reference.payload[0], 5);
    drop(reference);
}

#[test]
fn a_lock_outlives_the_drop_of_the_block_and_frees_it() {
    let (_potad, ram) = ram();
    let slab = ram.alloc(order(0), Slab { objects: AtomicU64::new(1) }).unwrap();
    let address = slab.address();
    let locked = ram.lock::<Slab>(address).unwrap();
    drop(slab);
    locked.objects.fetch_add(1, Ordering::Relaxed);
    drop(locked);
    assert!(ram.lock::<Slab>(address).is_none());
    assert_eq!(ram.validate(), Ok(ram.granules()));
}

#[test]
fn a_live_block_splits_down_to_granules_with_a_descriptor_each() {
    let (_potad, ram) = ram();
    let mut whole = vec![ram.alloc(order(9), Slab { objects: AtomicU64::new(0) }).unwrap()];
    let base = whole[0].address();
    let mut next = 1;
    while whole[0].order() > Order::ZERO {
        whole = whole
            .into_iter()
            .flat_map(|block| {
                let upper = Slab { objects: AtomicU64::new(next) };
                next += 1;
                let (lower, upper) = ram.split(block, upper).unwrap();
                [lower, upper]
            })
            .collect();
    }
    assert_eq!(whole.len(), 512);
    for (index, block) in (0..).zip(&whole) {
        assert_eq!(block.address(), base + index * 4096);
        let found = ram.get::<Slab>(base + index * 4096 + 17).unwrap();
        assert_eq!(found.block(), block.block());
    }
    ram.validate().unwrap();
    let single = whole.pop().unwrap();
    let refused = ram.split(single, Slab { objects: AtomicU64::new(0) }).unwrap_err();
    drop(refused.given);
    drop(whole);
    assert_eq!(ram.validate(), Ok(ram.granules()));
}

#[test]
fn raw_blocks_have_an_owner_and_split() {
    let (_potad, ram) = ram();
    let raw = ram.alloc_raw(order(7), OwnerId(42)).unwrap();
    let address = ram.address_of(raw.base());
    let guard = potad::pin();
    let word = ram.find(address + 100 * 4096, &guard).unwrap();
    assert_eq!((word.owner(), word.kind_name()), (OwnerId(42), "raw"));
    let (lower, upper) = ram.split_raw(raw).unwrap();
    for block in [&lower, &upper] {
        let found = ram.find(ram.address_of(block.base()), &guard).unwrap();
        assert_eq!((found.block(), found.owner()), (block.block(), OwnerId(42)));
    }
    ram.free_raw(upper).unwrap();
    assert!(ram.find(address + 64 * 4096, &guard).is_none());
    ram.free_raw(lower).unwrap();
    assert_eq!(ram.validate(), Ok(ram.granules()));
}

#[test]
fn what_belongs_to_another_zone_comes_back() {
    let (potad, ram) = ram();
    let swap = potad.register(Resource::new("swap").span(0..1024)).unwrap();
    let slot = swap.alloc_bare(order(2)).unwrap();
    let refused = ram.free_bare(slot).unwrap_err();
    assert_eq!(refused.why, Error::Foreign { asked: ram.id(), found: swap.id() });
    swap.free_bare(refused.given).unwrap();
    let raw = swap.alloc_raw(order(2), OwnerId::RESOURCE).unwrap();
    swap.free_raw(ram.free_raw(raw).unwrap_err().given).unwrap();
    let typed = swap.alloc(order(1), XfsBuf { payload: [0; 360] }).unwrap();
    swap.free(ram.free(typed).unwrap_err().given).unwrap();
    assert_eq!(swap.validate(), Ok(1024));
    assert_eq!(ram.validate(), Ok(ram.granules()));
}

#[test]
fn a_refused_allocation_gives_the_body_back() {
    let potad = Potad::new();
    let slots = potad.register(Resource::new("slots").span(0..4)).unwrap();
    let all = slots.alloc_bare(order(2)).unwrap();
    let refused = slots.alloc(order(0), XfsBuf { payload: [9; 360] }).err().unwrap();
    assert_eq!(refused.why, Error::Exhausted { order: order(0) });
    assert_eq!(refused.given.payload[3], 9);
    let refused = slots.alloc(order(3), refused.given).err().unwrap();
    assert_eq!(refused.why, Error::OrderTooLarge { order: order(3), largest: order(2) });
    slots.free_bare(all).unwrap();
}

#[test]
fn thirty_one_kinds_fit_and_the_thirty_second_is_refused() {
    macro_rules! kinds {
        ($($name:ident)*) => {
            $(
                struct $name;
                impl Descriptor for $name {
                    const NAME: &'static str = stringify!($name);
                }
            )*
            fn allocate(zone: &Zone) -> Vec<Result<(), Error>> {
                vec![$(zone.alloc(Order::ZERO, $name).map(drop).map_err(|refused| refused.why)),*]
            }
        };
    }
    kinds!(K01 K02 K03 K04 K05 K06 K07 K08 K09 K10 K11 K12 K13 K14 K15 K16 K17 K18 K19 K20 K21
        K22 K23 K24 K25 K26 K27 K28 K29 K30 K31 K32);
    let (_potad, ram) = ram();
    let results = allocate(&ram);
    assert!(results[..31].iter().all(Result::is_ok));
    assert!(matches!(results[31], Err(Error::Kind(_))));
    let mut hand = ram.hand();
    assert!(matches!(hand.alloc(Order::ZERO, K32).unwrap_err().why, Error::Kind(_)));
    drop(hand.alloc(Order::ZERO, K31).unwrap());
    assert_eq!(ram.validate(), Ok(ram.granules()));
}

#[test]
fn readers_race_allocations_and_never_see_a_stranger() {
    let (_potad, ram) = ram();
    let drops = Arc::new(AtomicUsize::new(0));
    let stop = AtomicUsize::new(0);
    let found = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for who in 0..2u64 {
            let (ram, drops, stop) = (&ram, &drops, &stop);
            scope.spawn(move || {
                let mut hand = ram.hand();
                let mut live = Vec::new();
                for round in 0..60_000u64 {
                    let k = [0, 0, 1, 3, 6][(round % 5) as usize];
                    // The descriptor says where it lives: the readers check.
                    let folio = Folio { id: k, drops: Arc::clone(drops) };
                    live.push(hand.alloc(order(k as u32), folio).unwrap());
                    if live.len() > 40 {
                        let _freed = live.swap_remove((round * 7 + who) as usize % 40);
                    }
                }
                stop.fetch_add(1, Ordering::Release);
            });
        }
        let (ram, stop, found) = (&ram, &stop, &found);
        scope.spawn(move || {
            let mut address = 0x1000_0000;
            while stop.load(Ordering::Acquire) < 2 {
                address = 0x1000_0000 + (address * 5 + 4096 * 13) % (4096 * 8192);
                if let Some(folio) = ram.get::<Folio>(address) {
                    let block = folio.block();
                    assert_eq!(u64::from(block.order().get()), folio.id);
                    assert!(block.contains(ram.granule_at(address).unwrap()));
                    found.fetch_add(1, Ordering::Relaxed);
                }
                if let Some(folio) = ram.lock::<Folio>(address) {
                    assert!(folio.block().contains(ram.granule_at(address).unwrap()));
                }
            }
        });
    });
    assert!(found.load(Ordering::Relaxed) > 0);
    assert_eq!(ram.validate(), Ok(ram.granules()));
    wait_for_drops(&drops, 120_000);
}

struct Table {
    node: u32,
}
impl Descriptor for Table {
    const NAME: &'static str = "table";
    const TAIL: Option<potad::memdesc::Tail> = Some(potad::memdesc::Tail::of::<u64>());
}

#[test]
fn a_table_goes_with_its_tail_and_one_that_does_not_fit_comes_back() {
    let (_potad, ram) = ram();
    let make = |order, len| {
        ram.alloc_tailed(order, OwnerId(4), Table { node: 1 }, len, |at| 1000 + at as u64)
    };
    let table = make(order(3), 512).unwrap();
    assert_eq!((table.node, table.owner(), table.tail::<u64>().len()), (1, OwnerId(4), 512));
    assert!(table.tail::<u32>().is_empty(), "of another type there is none");
    let guard = potad::pin();
    let found = ram.get_with::<Table>(table.address() + 9999, &guard).unwrap();
    assert_eq!(found.tail::<u64>()[7], 1007);
    assert!(ram.get_with::<Folio>(table.address(), &guard).is_none(), "of another type");
    assert!(ram.get_with::<Table>(u64::MAX, &guard).is_none(), "of no resource");
    // No cell is so large, and no block.
    let refused = make(order(3), usize::MAX / 8).unwrap_err();
    assert_eq!((refused.why, refused.given.node), (Error::OutOfMemory, 1));
    let refused = make(order(63), 1).unwrap_err();
    let largest = Error::OrderTooLarge { order: order(63), largest: order(17) };
    assert_eq!((refused.why, refused.given.node), (largest, 1));
    drop((table, found));
    assert_eq!(ram.validate(), Ok(ram.granules()));
}

#[test]
fn flags_are_the_users_and_marks_of_failure_are_not_among_them() {
    let (_potad, ram) = ram();
    let slab = ram.alloc(order(2), Slab { objects: AtomicU64::new(0) }).unwrap();
    assert_eq!((slab.flags(), slab.is_poisoned()), (0, false));
    assert_eq!((slab.set_flags(0b1010), slab.set_flags(0b0110)), (0, 0b1010));
    assert_eq!((slab.clear_flags(0b0010), slab.flags()), (0b1110, 0b1100));
    ram.report_failure(slab.address(), 0, potad::memdesc::FailureKind::Injected).unwrap();
    assert_eq!((slab.flags(), slab.is_poisoned()), (0b1100, true));
    assert_eq!(slab.clear_flags(u8::MAX), 0b1100);
    assert!(slab.is_poisoned());
}

/// Waiting for a lock with a pin, and without: either proves the place.
#[test]
fn a_lock_waits_for_whoever_holds_it() {
    let (_potad, ram) = ram();
    let slab = ram.alloc(order(4), Slab { objects: AtomicU64::new(0) }).unwrap();
    let address = slab.address() + 5 * 4096;
    for pinned in [false, true] {
        let held = slab.lock();
        let before = held.objects.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let locked = match pinned {
                    true => ram.lock_with::<Slab>(address, &potad::pin()),
                    false => ram.lock::<Slab>(address),
                };
                let locked = locked.unwrap();
                assert_eq!(locked.objects.load(Ordering::Relaxed), before + 1, "it waited");
                locked.block()
            });
            // A reference more: the other one waits by it.
            while held.header().refs() < 2 {
                std::thread::yield_now();
            }
            held.objects.fetch_add(1, Ordering::Relaxed);
            drop(held);
            assert_eq!(waits.join().unwrap(), slab.block());
        });
    }
    let guard = potad::pin();
    assert!(ram.lock_with::<Folio>(address, &guard).is_none(), "of another type");
    assert!(ram.lock_with::<Slab>(u64::MAX, &guard).is_none(), "of no resource");
    assert!(ram.lock_with::<Slab>(slab.address() + (16 << 12), &guard).is_none(), "of no block");
}

#[test]
fn many_are_dropped_and_each_once() {
    let (_potad, ram) = ram();
    let drops = Arc::new(AtomicUsize::new(0));
    for count in [0usize, 1, 7, 8, 9, 100] {
        let before = drops.load(Ordering::Relaxed);
        let folios: Vec<_> = (0..count)
            .map(|id| ram.alloc(order(0), Folio { id: id as u64, drops: drops.clone() }).unwrap())
            .collect();
        // One that somebody else still reads is kept.
        let kept = folios.first().map(|folio| folio.try_ref().unwrap());
        potad::Block::drop_many(folios);
        let live = u64::from(kept.is_some());
        assert_eq!(ram.stats().free, ram.granules() - live, "of {count}");
        assert_eq!(kept.map(|folio| folio.id), (count > 0).then_some(0));
        wait_for_drops(&drops, before + count);
    }
}
