//! Memory failure: every granule is proved quarantined or known to its owner,
//! and never circulates again.

use potad::memdesc::{
    FailedBlock, FailureKind, Granule, Order, Outcome, Owner, OwnerId, descriptors,
};
use potad::{Error, Potad, Resource, Wanted, Zone};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

struct Folio;
descriptors! { set Mm { Folio = 1 } }

#[derive(Default)]
struct Witness {
    told: Mutex<Vec<FailedBlock>>,
}

impl Owner for Witness {
    fn memory_failure(&self, failed: &FailedBlock) -> Outcome {
        self.told.lock().unwrap().push(*failed);
        Outcome::Recovered
    }
}

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
fn a_free_granule_costs_one_granule_and_the_rest_stays_large() {
    let (potad, ram) = ram(1 << 18);
    let bad = 0x1234_5678;
    let report = potad.report_failure(bad, 6, FailureKind::Found).unwrap();
    assert_eq!((report.granules, report.first, report.quarantined), (1, 1, 1));
    let stats = ram.stats();
    assert_eq!((stats.free, stats.quarantined), ((1 << 18) - 1, 1));
    assert_eq!(stats.blocks.iter().sum::<u64>(), 18, "one block of each order below 18");
    let guard = potad::pin();
    assert_eq!(ram.find(bad, &guard).unwrap().kind_name(), "quarantine");
    let again = potad.report_failure(bad, 6, FailureKind::Found).unwrap();
    assert_eq!((again.first, again.quarantined), (0, 0));
    assert_eq!(ram.validate(), Ok((1 << 18) - 1));
}

/// What a zone has not, in the midst of what failed, hides nothing behind it.
#[test]
fn a_failure_across_a_gap_fails_the_granules_on_both_sides() {
    let ram = Resource::new("ram").granule(4096).span(0..4 * 4096).span(8 * 4096..32 * 4096);
    let ram = Potad::new().register(ram).unwrap();
    let report = ram.report_failure(2 * 4096, 16, FailureKind::Found).unwrap();
    assert_eq!((report.granules, report.quarantined, report.units), (12, 12, 12 * 4096));
    assert_eq!((ram.stats().quarantined, ram.validate()), (12, Ok(16)));
}

#[test]
fn a_granule_in_a_hand_is_taken_out_of_it() {
    let (potad, ram) = ram(64 * 4);
    let mut hand = ram.hand();
    let page = hand.alloc_bare(order(0)).unwrap();
    let claimed = page.base().0 ^ 1;
    let report = potad.report_failure(claimed * 4096, 0, FailureKind::Consumed).unwrap();
    assert_eq!(report.quarantined, 1);
    let mut seen = HashSet::new();
    while let Ok(page) = hand.alloc_bare(order(0)) {
        assert_ne!(page.base().0, claimed);
        assert!(seen.insert(page.base().0));
    }
    assert_eq!(seen.len(), 64 * 4 - 2);
}

#[test]
fn owners_of_typed_raw_and_bare_blocks_hear_once_and_the_granule_is_kept() {
    let (potad, ram) = ram(1 << 12);
    let (mine, own) = (Arc::new(Witness::default()), Arc::new(Witness::default()));
    let id = potad.register_owner(mine.clone()).unwrap();
    ram.set_own_owner(own.clone()).unwrap();

    let typed = ram.alloc_owned(order(4), id, Folio).unwrap();
    let raw = ram.alloc_raw(order(3), id).unwrap();
    let bare = ram.alloc_bare(order(2)).unwrap();
    let bad = [
        typed.address() + 5 * 4096,
        ram.address_of(raw.base()) + 4096,
        ram.address_of(bare.base()) + 3 * 4096,
    ];
    for address in bad {
        let report = potad.report_failure(address, 12, FailureKind::Injected).unwrap();
        assert_eq!((report.notified, report.quarantined), (1, 0));
        assert_eq!(report.outcome, Outcome::Recovered);
        potad.report_failure(address, 12, FailureKind::Injected).unwrap();
    }
    assert!(typed.is_poisoned());
    let names = |witness: &Witness| {
        witness.told.lock().unwrap().iter().map(|failed| failed.name).collect::<Vec<_>>()
    };
    assert_eq!(names(&mine), ["Folio", "raw"]);
    assert_eq!(names(&own), ["bare"]);
    assert_eq!(ram.stats().pending, 3);

    drop(typed);
    ram.free_raw(raw).unwrap();
    ram.free_bare(bare).unwrap();
    let stats = ram.stats();
    assert_eq!((stats.pending, stats.quarantined, stats.free), (0, 3, (1 << 12) - 3));
    assert_eq!(ram.validate(), Ok((1 << 12) - 3));
    let counts = ram.failure_counts();
    assert_eq!(counts["raw"].recovered + counts["Folio"].total() + counts["bare"].total(), 3);
}

#[test]
fn an_owner_that_left_is_replaced_by_the_resources_own() {
    let (potad, ram) = ram(64);
    let (gone, own) = (Arc::new(Witness::default()), Arc::new(Witness::default()));
    let id = potad.register_owner(gone.clone()).unwrap();
    ram.set_own_owner(own.clone()).unwrap();
    let raw = ram.alloc_raw(order(0), id).unwrap();
    potad.unregister_owner(id).unwrap();
    potad.report_failure(ram.address_of(raw.base()), 0, FailureKind::Found).unwrap();
    assert!(gone.told.lock().unwrap().is_empty());
    assert_eq!(own.told.lock().unwrap().len(), 1);
    ram.free_raw(raw).unwrap();
    assert!(matches!(potad.unregister_owner(OwnerId(77)), Err(Error::Owner(_))));
}

#[test]
fn an_owner_that_panics_counts_as_failed() {
    struct Panics;
    impl Owner for Panics {
        fn memory_failure(&self, _: &FailedBlock) -> Outcome {
            panic!("an owner's own bug");
        }
    }
    let (potad, ram) = ram(64);
    let id = potad.register_owner(Arc::new(Panics)).unwrap();
    let typed = ram.alloc_owned(order(1), id, Folio).unwrap();
    let report = potad.report_failure(typed.address(), 0, FailureKind::Found).unwrap();
    assert_eq!((report.notified, report.outcome), (1, Outcome::Failed));
    // Nothing stayed locked.
    drop(ram.lock::<Folio>(typed.address()).unwrap());
    drop(typed);
    assert_eq!(ram.validate(), Ok(63));
}

#[test]
fn an_address_of_no_resource_or_in_a_hole_is_refused() {
    let potad = Potad::new();
    let sparse =
        Resource::new("ram").granule(4096).span(0..1 << 20).span(1 << 30..(1 << 30) + 4096);
    let ram = potad.register(sparse).unwrap();
    for address in [1 << 20, (1 << 30) - 1, (1 << 30) + 4096, u64::MAX] {
        assert_eq!(
            potad.report_failure(address, 0, FailureKind::Found),
            Err(Error::Outside { address })
        );
    }
    // A range around an address is cut to the spans.
    let report = potad.report_failure(1 << 30, 21, FailureKind::Found).unwrap();
    assert_eq!(report.granules, 1);
    assert_eq!(ram.validate(), Ok(256));
}

#[test]
fn a_granule_that_a_reporter_holds_is_kept_when_it_is_put_back() {
    let (potad, ram) = ram(1 << 12);
    ram.attach_reporter(order(9)).unwrap();
    let wanted = Wanted {
        min_order: order(9),
        max_order: order(9),
        seen_before: false,
        patient: false,
        spare: 0,
    };
    let isolated = ram.isolate(&mut Granule(0), &wanted).unwrap();
    let bad = ram.address_of(isolated.block().base()) + 7 * 4096;
    let report = potad.report_failure(bad, 0, FailureKind::Found).unwrap();
    assert_eq!((report.quarantined, report.notified), (0, 1));
    ram.put_back(isolated, potad::HostSays::Nothing).unwrap();
    assert_eq!(ram.stats().quarantined, 1);
    assert_eq!(ram.validate(), Ok((1 << 12) - 1));
}

#[test]
fn failures_race_every_flavour_and_none_is_lost() {
    let granules = 1 << 11;
    let (potad, ram) = ram(granules);
    let witness = Arc::new(Witness::default());
    let id = potad.register_owner(witness.clone()).unwrap();
    ram.set_own_owner(witness.clone()).unwrap();
    let stop = AtomicBool::new(false);
    // What was reported, and by whom it was held when its report returned.
    let failed: Vec<AtomicU64> = (0..granules).map(|_| AtomicU64::new(0)).collect();
    let mut reported = HashSet::new();
    std::thread::scope(|scope| {
        for who in 0..3u32 {
            let (ram, stop, failed) = (&ram, &stop, &failed);
            scope.spawn(move || {
                let mut hand = ram.hand();
                let mut round = u64::from(who);
                let fresh = |block: potad::memdesc::Block| {
                    for at in block.base().0..=block.last().0 {
                        assert_eq!(failed[at as usize].load(Ordering::Acquire), 0, "handed out");
                    }
                };
                while !stop.load(Ordering::Relaxed) {
                    round += 1;
                    let k = order([0, 1, 2, 4, 6][(round % 5) as usize]);
                    match who {
                        0 => {
                            let Ok(block) = hand.alloc_bare(k) else { continue };
                            fresh(block.block());
                            hand.free_bare(block).unwrap();
                        }
                        1 => {
                            let Ok(block) = hand.alloc_raw(k, id) else { continue };
                            fresh(block.block());
                            hand.free_raw(block).unwrap();
                        }
                        _ => {
                            let Ok(block) = hand.alloc_owned(k, id, Folio) else { continue };
                            fresh(block.block());
                        }
                    }
                }
            });
        }
        let mut at = 1u64;
        for _ in 0..600 {
            at = (at * 1_103_515_245 + 12_345) % granules;
            let report = potad.report_failure(at * 4096, 0, FailureKind::Injected).unwrap();
            assert_eq!(report.first, u64::from(reported.insert(at)));
            assert_eq!(report.first, report.quarantined + report.notified);
            if report.quarantined == 1 {
                // From here on nobody may ever get it.
                failed[at as usize].store(1, Ordering::Release);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let stats = ram.stats();
    assert_eq!((stats.quarantined, stats.pending), (reported.len() as u64, 0));
    assert_eq!(ram.validate(), Ok(granules - reported.len() as u64));
    let told: HashSet<_> =
        witness.told.lock().unwrap().iter().map(|failed| failed.granules.first()).collect();
    assert_eq!(told.len(), witness.told.lock().unwrap().len(), "each owner is told once");
}
