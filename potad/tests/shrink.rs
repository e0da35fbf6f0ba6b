//! Shrinking live blocks and runs: what is kept stays what it was, what is not
//! is free at once, and what is refused comes back whole.

use potad::memdesc::{Descriptor, FailureKind, Granule, Order, OwnerId};
use potad::{Align, Error, Potad, Resource, Zone};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Atomic};

struct Folio(u32);
impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

fn slots(potad: &Potad, space: u16, granules: u64) -> Zone {
    potad.register(Resource::new("slots").space(space).span(0..granules)).unwrap()
}

#[test]
fn every_order_shrinks_to_every_smaller_one() {
    let potad = Potad::new();
    let all = slots(&potad, 0, 1 << 63);
    for from in [1, 5, 6, 7, 12, 18, 23, 24, 25, 30, 31, 36, 48, 60, 63] {
        for to in (0..=from).step_by(if from > 30 { 7 } else { 1 }) {
            let (from, to) = (order(from), order(to));
            let free = |kept: u64| all.stats().free == (1 << 63) - kept;
            let bare = all.shrink_bare(all.alloc_bare(from).unwrap(), to).unwrap();
            assert!(bare.order() == to && free(to.granules()));
            all.free_bare(bare).unwrap();
            let raw = all.shrink_raw(all.alloc_raw(from, OwnerId(3)).unwrap(), to).unwrap();
            assert!(raw.order() == to && free(to.granules()));
            all.free_raw(raw).unwrap();
            let typed = all.alloc(from, Folio(from.get())).unwrap_or_else(|why| panic!("{why}"));
            let reference = typed.try_ref().unwrap();
            let typed = all.shrink(typed, to).unwrap();
            assert!(typed.order() == to && free(to.granules()));
            assert_eq!((reference.0, reference.block()), (from.get(), typed.block()));
            let last = typed.block().last().0;
            assert!(all.lock::<Folio>(last).is_some() && all.get::<Folio>(last + 1).is_none());
            drop((typed, reference));
            assert_eq!(all.validate(), Ok(1 << 63), "{from} to {to}");
            assert_eq!(all.free_blocks().len(), 1, "{from} to {to}: merged");
        }
    }
}

#[test]
fn what_cannot_shrink_comes_back_as_it_was() {
    let potad = Potad::new();
    let (here, there) = (slots(&potad, 0, 4096), slots(&potad, 1, 4096));
    let foreign = Error::Foreign { asked: there.id(), found: here.id() };
    let grow = Error::NoShrink { asked: 32, granules: 16 };

    let bare = here.alloc_bare(order(4)).unwrap();
    let refused = there.shrink_bare(bare, order(1)).unwrap_err();
    assert_eq!(refused.why, foreign);
    let refused = here.shrink_bare(refused.given, order(5)).unwrap_err();
    assert_eq!((refused.why, refused.given.order()), (grow, order(4)));
    here.free_bare(refused.given).unwrap();

    let raw = here.alloc_raw(order(4), OwnerId(3)).unwrap();
    let refused = there.shrink_raw(raw, order(1)).unwrap_err();
    assert_eq!(refused.why, foreign);
    let refused = here.shrink_raw(refused.given, order(5)).unwrap_err();
    assert_eq!((refused.why, refused.given.order()), (grow, order(4)));
    here.free_raw(refused.given).unwrap();

    let typed = here.alloc(order(4), Folio(1)).unwrap_or_else(|why| panic!("{why}"));
    let refused = there.shrink(typed, order(1)).unwrap_err();
    assert_eq!(refused.why, foreign);
    let refused = here.shrink(refused.given, order(5)).unwrap_err();
    assert_eq!((refused.why, refused.given.order()), (grow, order(4)));
    here.free(refused.given).unwrap();

    let run = here.alloc_run(100, Align::new(1).unwrap()).unwrap();
    let refused = there.shrink_run(run, 10).unwrap_err();
    assert_eq!(refused.why, foreign);
    let refused = here.shrink_run(refused.given, 101).unwrap_err();
    assert_eq!(refused.why, Error::NoShrink { asked: 101, granules: 100 });
    assert_eq!(refused.why.to_string(), "100 granules cannot shrink to 101");
    let refused = here.shrink_run(refused.given, 0).unwrap_err();
    assert_eq!(refused.why, Error::NoSize { units: 0 });
    let run = here.shrink_run(refused.given, 100).unwrap();
    assert_eq!((run.granules().count(), here.runs()), (100, vec![run.granules()]));
    here.free_run(run).unwrap();

    // A handle made of an address that lies.
    let kept = here.alloc_bare(order(2)).unwrap();
    let lie = here.bare_at(kept.base(), order(6)).unwrap();
    let refused = here.shrink_bare(lie, order(2)).unwrap_err();
    assert!(matches!(refused.why, Error::DoubleFree { .. }), "{}", refused.why);
    here.free_bare(kept).unwrap();
    // One without a word.
    let bare = here.alloc_bare(order(3)).unwrap();
    let lie = here.raw_at(bare.base(), order(3)).unwrap();
    let refused = here.shrink_raw(lie, order(0)).unwrap_err();
    assert!(matches!(refused.why, Error::Lookup(_)), "{}", refused.why);
    here.free_bare(bare).unwrap();
    assert_eq!((here.validate(), there.validate()), (Ok(4096), Ok(4096)));
}

#[test]
fn failed_granules_of_the_rest_are_kept_out() {
    let potad = Potad::new();
    let ram = slots(&potad, 0, 1 << 14);
    let raw = ram.alloc_raw(order(9), OwnerId(3)).unwrap();
    let bare = ram.alloc_bare(order(9)).unwrap();
    let typed = ram.alloc(order(9), Folio(1)).unwrap_or_else(|why| panic!("{why}"));
    let run = ram.alloc_run(300, Align::new(1).unwrap()).unwrap();
    let bases = [raw.base().0, bare.base().0, typed.block().base().0, run.base().0];
    for base in bases {
        potad.report_failure(base + 200, 0, FailureKind::Found).unwrap();
    }
    let raw = ram.shrink_raw(raw, order(7)).unwrap();
    let bare = ram.shrink_bare(bare, order(7)).unwrap();
    let typed = ram.shrink(typed, order(7)).unwrap();
    let run = ram.shrink_run(run, 100).unwrap();
    let stats = ram.stats();
    assert_eq!((stats.quarantined, stats.pending), (4, 0));
    assert_eq!(stats.free, (1 << 14) - 3 * 128 - 100 - 4);
    for base in bases {
        let guard = potad::pin();
        assert_eq!(ram.find(base + 200, &guard).unwrap().kind_name(), "quarantine");
    }
    // What is kept is as sound as it says, and a failure in it is the owner's.
    let report = potad.report_failure(bases[0] + 100, 0, FailureKind::Found).unwrap();
    assert_eq!((report.notified, report.quarantined), (1, 0));
    ram.free_raw(raw).unwrap();
    ram.free_bare(bare).unwrap();
    drop(typed);
    ram.free_run(run).unwrap();
    assert_eq!(ram.validate(), Ok((1 << 14) - 5));
}

#[test]
fn what_shrinks_in_a_span_that_leaves_is_claimed() {
    let potad = Potad::new();
    let ram = slots(&potad, 0, 1 << 12);
    let bare = ram.alloc_bare(order(11)).unwrap();
    let base = bare.base().0;
    let run = ram.alloc_run(1000, Align::new(1).unwrap()).unwrap();
    let removal = ram.hot_remove(0..1 << 12).unwrap();
    let bare = ram.shrink_bare(bare, order(3)).unwrap();
    let run = ram.shrink_run(run, 17).unwrap();
    assert_eq!(removal.remaining_granules(), 8 + 17);
    assert!(ram.alloc_bare(Order::ZERO).is_err(), "nothing of it is handed out");
    let holders: Vec<_> = removal.holders().iter().map(|holder| holder.granules.count()).collect();
    assert_eq!(holders.iter().sum::<u64>(), 25);
    ram.free_run(run).unwrap();
    assert_eq!(removal.holders()[0].granules.first(), Granule(base));
    ram.free_bare(bare).unwrap();
    removal.finish().unwrap();
    ram.hot_add(0..1 << 12).unwrap();
    assert_eq!((ram.validate(), ram.free_blocks().len()), (Ok(1 << 12), 1));
}

#[test]
fn references_and_readers_follow_a_block_that_shrinks() {
    let potad = Potad::new();
    let ram = slots(&potad, 0, 1 << 16);
    let stop = AtomicBool::new(false);
    let refused = AtomicU64::new(0);
    let (ram, stop, refused) = (&ram, &stop, &refused);
    std::thread::scope(|scope| {
        let mut folio = ram.alloc(order(13), Folio(9)).unwrap_or_else(|why| panic!("{why}"));
        let base = folio.block().base().0;
        let reader = scope.spawn(move || {
            while !stop.load(Atomic::Acquire) {
                // The lower end is there throughout.
                assert_eq!(ram.get::<Folio>(base).expect("never gone").0, 9);
                for far in [1u64, 63, 64, 4095, 4096, 8191] {
                    match ram.lock::<Folio>(base + far) {
                        Some(locked) => assert!(locked.block().contains(Granule(base + far))),
                        None => _ = refused.fetch_add(1, Atomic::Relaxed),
                    }
                }
            }
        });
        for to in (0..13).rev() {
            folio = ram.shrink(folio, order(to)).unwrap();
            // Others use what was given back.
            let taken: Vec<_> = (0..50).map(|_| ram.alloc_bare(order(3)).unwrap()).collect();
            taken.into_iter().for_each(|block| ram.free_bare(block).unwrap());
        }
        let seen = refused.load(Atomic::Relaxed);
        while refused.load(Atomic::Relaxed) < seen + 6 {
            std::thread::yield_now();
        }
        stop.store(true, Atomic::Release);
        reader.join().unwrap();
        drop(folio);
    });
    assert_eq!(ram.validate(), Ok(1 << 16));
}
