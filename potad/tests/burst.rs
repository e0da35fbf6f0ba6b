//! A burst of failures beside threads that allocate and free: none is lost, and
//! each granule is told once.

use potad::memdesc::{FailedBlock, FailureKind, Order, Outcome, Owner, OwnerId, descriptors};
use potad::{Hand, Potad, Resource, Zone};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

struct Folio;
descriptors! { set Mm { Folio = 1 } }

/// Reports, and granules that they are about: a million over a hundred thousand
/// where it is fast.
const REPORTS: u64 = if cfg!(debug_assertions) { 30_000 } else { 1_000_000 };
const DISTINCT: u64 = REPORTS / 10;
const GRANULES: u64 = DISTINCT * 4;

/// How often each granule was told, to anybody.
struct Tally(Vec<AtomicU32>);

impl Owner for Tally {
    fn memory_failure(&self, failed: &FailedBlock) -> Outcome {
        self.0[failed.granules.first().0 as usize].fetch_add(1, Ordering::Relaxed);
        Outcome::Recovered
    }
}

fn churn(who: u64, hand: &mut Hand, owner: OwnerId) {
    let order = |order| Order::new(order).unwrap();
    let (mut bare, mut raw, mut typed) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..64 {
        let k = order([0, 0, 1, 3, 0, 6][(round + who as usize) % 6]);
        match round % 3 {
            0 => bare.extend(hand.alloc_bare(k)),
            1 => raw.extend(hand.alloc_raw(k, owner)),
            _ => typed.extend(hand.alloc_owned(k, owner, Folio)),
        }
    }
    bare.into_iter().for_each(|block| hand.free_bare(block).unwrap());
    raw.into_iter().for_each(|block| hand.free_raw(block).unwrap());
}

fn ram(tally: &Arc<Tally>) -> (Potad, Zone, OwnerId) {
    let potad = Potad::new();
    let ram = potad.register(Resource::new("ram").granule(4096).span(0..GRANULES * 4096)).unwrap();
    let owner = potad.register_owner(tally.clone()).unwrap();
    ram.set_own_owner(tally.clone()).unwrap();
    (potad, ram, owner)
}

#[test]
fn a_burst_loses_no_failure_and_tells_each_granule_once() {
    let tally = Arc::new(Tally((0..GRANULES).map(|_| AtomicU32::new(0)).collect()));
    let (potad, ram, owner) = ram(&tally);
    let stop = AtomicBool::new(false);
    let (quarantined, notified, first) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for who in 0..2 {
            let (ram, stop) = (&ram, &stop);
            scope.spawn(move || {
                let mut hand = ram.hand();
                while !stop.load(Ordering::Relaxed) {
                    churn(who, &mut hand, owner);
                }
            });
        }
        let reporters = [0, 1].map(|who| {
            let (potad, quarantined, notified, first) = (&potad, &quarantined, &notified, &first);
            scope.spawn(move || {
                let mut random = 77 + who;
                for _ in 0..REPORTS / 2 {
                    random = 6_364_136_223_846_793_005u64.wrapping_mul(random).wrapping_add(1);
                    // Every third granule or so, from all over the zone.
                    let at = (random >> 20) % DISTINCT * 3 + DISTINCT / 2;
                    let kind = FailureKind::Consumed;
                    let report = potad.report_failure(at * 4096 + 64, 6, kind).unwrap();
                    assert_eq!((report.granules, report.delayed), (1, 0));
                    assert_eq!(report.first, report.quarantined + report.notified);
                    first.fetch_add(report.first, Ordering::Relaxed);
                    quarantined.fetch_add(report.quarantined, Ordering::Relaxed);
                    notified.fetch_add(report.notified, Ordering::Relaxed);
                }
            })
        });
        // Stopped before anything is asked, so that a failure does not hang.
        let reporters = reporters.map(|reporter| reporter.join());
        stop.store(true, Ordering::Relaxed);
        reporters.into_iter().for_each(|ended| ended.unwrap());
    });
    let (quarantined, notified) = (quarantined.into_inner(), notified.into_inner());
    let (first, poison) = (first.into_inner(), ram.poison());
    assert_eq!((poison.lines(), poison.granules(4096)), (first, first), "each counted once");
    assert!(first > DISTINCT * 9 / 10, "{first} granules of {DISTINCT}");
    assert_eq!(first, quarantined + notified);
    let told: Vec<u32> = tally.0.iter().map(|calls| calls.load(Ordering::Relaxed)).collect();
    assert!(told.iter().all(|&calls| calls <= 1), "told twice");
    assert_eq!(told.iter().map(|&calls| u64::from(calls)).sum::<u64>(), notified);
    let stats = ram.stats();
    assert_eq!((stats.quarantined, stats.pending), (first, 0));
    assert_eq!((stats.free, stats.kept_whole), (GRANULES - first, 0));
    assert_eq!(ram.validate(), Ok(GRANULES - first));
    let kinds = ram.failure_kinds()[&FailureKind::Consumed];
    assert_eq!((kinds.reported, kinds.first), (REPORTS, first));
    assert_eq!(kinds.outcomes.recovered, first);
}

#[test]
fn one_granule_a_million_times_is_one_failure() {
    let tally = Arc::new(Tally((0..GRANULES).map(|_| AtomicU32::new(0)).collect()));
    let (potad, ram, owner) = ram(&tally);
    let raw = ram.alloc_raw(Order::ZERO, owner).unwrap();
    let at = ram.address_of(raw.base());
    let first: u64 =
        (0..REPORTS).map(|_| potad.report_failure(at, 6, FailureKind::Found).unwrap().first).sum();
    assert_eq!(first, 1);
    assert_eq!(tally.0[raw.base().0 as usize].load(Ordering::Relaxed), 1);
    assert_eq!((ram.stats().pending, ram.poison().lines()), (1, 1));
    assert_eq!(ram.failure_kinds()[&FailureKind::Found].reported, REPORTS);
    ram.free_raw(raw).unwrap();
    assert_eq!(ram.stats().quarantined, 1);
}
