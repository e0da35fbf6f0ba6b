//! The poison set: exact, counted once, taken along, taken back; claims of
//! ranges that no resource has; and bad input to all of it.

use potad::lookup::{LookupError, Tree};
use potad::memdesc::FailureKind::{Consumed, Corrected, Found, Injected, Predicted};
use potad::memdesc::{
    Block, Dead, Descriptor, FailedBlock, FailureKind, Granule, Home, Immediate, KindError, Kinds,
    Order, Outcome, Owner, OwnerId, Subtype,
};
use potad::{
    ClaimError, Error, PoisonError, PoisonSet, PoisonedRange, Potad, Refused, Resource, Scope,
    Span, Zone,
};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, mpsc};

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

struct Panics;
impl Owner for Panics {
    fn memory_failure(&self, _: &FailedBlock) -> Outcome {
        panic!("an owner's own bug");
    }
}

struct Folio;
impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

fn ram(granules: u64) -> (Potad, Zone) {
    let potad = Potad::new();
    let ram = potad.register(Resource::new("ram").granule(4096).span(0..granules * 4096)).unwrap();
    (potad, ram)
}

#[test]
fn a_poisoned_granule_that_is_freed_is_seen_quarantined_at_once() {
    let (_potad, ram) = ram(1 << 12);
    // Beside a sound one, so that the node of their words is there.
    let (block, _sound) = (
        ram.alloc_raw(order(0), OwnerId(0)).unwrap(),
        ram.alloc_raw(order(0), OwnerId(0)).unwrap(),
    );
    let address = block.block().base().0 * 4096;
    assert_eq!(ram.report_failure(address, 12, Found).unwrap().notified, 1);
    ram.free_raw(block).unwrap();
    // No call comes between: nothing that puts memory by.
    let guard = potad::memdesc::pin();
    let seen = ram.find(address, &guard).and_then(|found| found.immediate()).unwrap();
    assert_eq!((seen.subtype, seen.poisoned), (Subtype::Quarantine, true));
    drop(guard);
    assert_eq!(ram.stats().quarantined, 1);
    assert!(ram.validate().is_ok());
}

#[test]
fn a_set_counts_every_line_once_as_a_plain_set_does() {
    let mut set = PoisonSet::new(64).unwrap();
    let mut lines = BTreeSet::new();
    let mut earnest = BTreeSet::new();
    let mut random = 1u64;
    for _ in 0..3_000 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let first = (random >> 40) % 200_000;
        let last = first + (random >> 20) % 700;
        let kind = if random >> 63 == 0 { Injected } else { Found };
        let before = lines.len();
        for line in first / 64..=last / 64 {
            lines.insert(line);
            if kind == Found {
                earnest.insert(line);
            }
        }
        let new = set.insert(first..=last, kind).unwrap();
        assert_eq!(new, 64 * (lines.len() - before) as u64);
        assert_eq!(set.lines(), lines.len() as u64);
    }
    let known: BTreeSet<u64> =
        set.iter().flat_map(|range| range.span.first / 64..=range.span.last / 64).collect();
    assert_eq!(known, lines);
    let granules: BTreeSet<u64> = lines.iter().map(|line| line / 64).collect();
    assert_eq!(set.granules(4096), granules.len() as u64);
    // What failed in earnest is never said to be injected.
    let said = set.iter().filter(|range| range.kind == Injected);
    let tests: Vec<u64> =
        said.flat_map(|range| range.span.first / 64..=range.span.last / 64).collect();
    assert!(!tests.is_empty() && tests.iter().all(|line| !earnest.contains(line)));
}

#[test]
fn what_is_no_poison_set_is_refused_and_changes_nothing() {
    assert_eq!(PoisonSet::new(0).unwrap_err(), PoisonError::NoLine);
    let mut set = PoisonSet::new(64).unwrap();
    set.insert(0..1, Found).unwrap();
    assert_eq!(set.insert(5..5, Found), Err(PoisonError::Empty { first: 5, end: 5 }));
    assert_eq!(set.insert(64..128, Corrected), Err(PoisonError::Corrected));
    assert_eq!((set.lines(), set.len(), set.is_empty()), (1, 1, false));
    let range = |first, last| PoisonedRange { span: Span { first, last }, kind: Found };
    let from = |ranges: &[PoisonedRange]| PoisonSet::from_ranges(64, ranges.iter().copied());
    let refused = from(&[range(1, 63)]).unwrap_err();
    assert_eq!(refused, PoisonError::Misaligned { first: 1, last: 63, line: 64 });
    let refused = from(&[range(0, 127), range(64, 191)]).unwrap_err();
    assert_eq!(refused, PoisonError::Twice { first: 64, last: 191 });
    assert!(matches!(from(&[range(64, 63)]), Err(PoisonError::Empty { .. })));
    let top = from(&[range(u64::MAX - 63, u64::MAX)]).unwrap();
    assert_eq!((top.lines(), top.granules(1)), (1, 64));
}

#[test]
fn an_import_that_does_not_fit_changes_nothing() {
    let potad = Potad::new();
    let sparse = Resource::new("ram").granule(4096).span(0..1 << 20).span(1 << 30..2 << 30);
    let ram = potad.register(sparse).unwrap();
    let before = ram.stats();
    let import = |line, ranges: &[(u64, u64)]| {
        let ranges = ranges.iter().map(|&(first, last)| PoisonedRange {
            span: Span { first, last },
            kind: FailureKind::Found,
        });
        ram.import_poison(&PoisonSet::from_ranges(line, ranges).unwrap())
    };
    // Beyond, in the hole, across its edge; each behind one that would fit.
    let fits = (0x40, 0x7f);
    for (bad, address) in [
        ((4 << 30, (4 << 30) + 63), 4 << 30),
        ((1 << 21, (1 << 21) + 63), 1 << 21),
        (((1 << 20) - 64, (1 << 20) + 63), 1 << 20),
        (((1 << 20) - 64, (1 << 30) + 63), 1 << 20),
    ] {
        assert_eq!(import(64, &[fits, bad]), Err(Error::Outside { address }));
    }
    let misaligned = Error::MisalignedPoison { first: 0x20, last: 0x3f, line: 64 };
    assert_eq!(import(32, &[(0x20, 0x3f)]), Err(misaligned));
    assert_eq!(ram.stats(), before);
    assert!(ram.poison().is_empty());
    // And one that does: coarser lines are whole ones too.
    let report = import(128, &[(0, 127), ((1 << 20) - 4096, (1 << 20) - 1)]).unwrap();
    assert_eq!((report.first, report.quarantined, report.units), (2, 2, 128 + 4096));
    assert_eq!(ram.poison().granules(4096), 2);
    assert_eq!(ram.validate(), Ok(before.free - 2));
}

#[test]
fn what_was_exported_is_kept_out_elsewhere_and_owners_there_are_told() {
    let (potad, old) = ram(1 << 12);
    for at in [0u64, 77, 78, 4095] {
        potad.report_failure(at * 4096 + 0x100, 7, Consumed).unwrap();
    }
    let (there, new) = ram(1 << 12);
    let witness = Arc::new(Witness::default());
    let owner = there.register_owner(witness.clone()).unwrap();
    let block = new.alloc_at(64 * 4096..128 * 4096).unwrap();
    new.free_run(block).unwrap();
    let raw = new.alloc_raw(order(12), owner).unwrap();
    let report = new.import_poison(&old.poison()).unwrap();
    assert_eq!((report.first, report.notified, report.units), (4, 4, 4 * 128));
    let told: Vec<_> = witness.told.lock().unwrap().clone();
    let lines: Vec<_> = told.iter().map(|failed| (failed.first_unit, failed.last_unit)).collect();
    assert_eq!(lines[1], (77 * 4096 + 0x100, 77 * 4096 + 0x17f));
    // A second time it says nothing new.
    assert_eq!(new.import_poison(&old.poison()).unwrap().first, 0);
    new.free_raw(raw).unwrap();
    assert!(new.poison().iter().eq(old.poison().iter()));
    assert_eq!((new.stats().quarantined, new.stats().free), (4, 4092));
}

#[cfg(feature = "serde")]
#[test]
fn a_set_is_written_and_read_and_what_is_read_is_checked() {
    let mut set = PoisonSet::new(64).unwrap();
    set.insert(0x1040..0x1080, Consumed).unwrap();
    set.insert(0x3000..0x4000, Injected).unwrap();
    let text = serde_json::to_string(&set).unwrap();
    assert_eq!(text, r#"{"line":64,"ranges":[[4160,4223,"consumed"],[12288,16383,"injected"]]}"#);
    let back: PoisonSet = serde_json::from_str(&text).unwrap();
    assert!(back.iter().eq(set.iter()));
    for bad in [
        r#"{"line":0,"ranges":[]}"#,
        r#"{"line":64,"ranges":[[1,63,"found"]]}"#,
        r#"{"line":64,"ranges":[[0,63,"found"],[0,63,"found"]]}"#,
        r#"{"line":64,"ranges":[[0,63,"corrected"]]}"#,
        r#"{"line":64,"ranges":[[0,63,"felt"]]}"#,
    ] {
        assert!(serde_json::from_str::<PoisonSet>(bad).is_err(), "{bad}");
    }
}

#[test]
fn only_injected_failures_are_taken_back() {
    let (potad, ram) = ram(1 << 12);
    let block = ram.alloc_bare(order(6)).unwrap();
    let live = ram.address_of(block.base());
    for at in [live, live + 4096, 0x80_0000] {
        potad.report_failure(at, 12, Injected).unwrap();
    }
    potad.report_failure(0x90_0040, 6, Injected).unwrap();
    potad.report_failure(0x90_0080, 6, Found).unwrap();
    let real = Error::NotInjected { first: 0x90_0080, last: 0x90_00bf };
    assert_eq!(ram.unpoison(0..1 << 24), Err(real));
    assert_eq!((ram.stats().pending, ram.stats().quarantined), (2, 2));
    // The live one: its free gives all of it back.
    assert_eq!(ram.unpoison(live..live + 4096), Ok(1));
    assert_eq!(ram.unpoison(0x80_0000..0x80_1000), Ok(1));
    assert_eq!(ram.unpoison(0x80_0000..0x80_1000), Ok(0));
    assert!(matches!(ram.unpoison(9..9), Err(Error::EmptySpan { .. })));
    ram.free_bare(block).unwrap();
    let stats = ram.stats();
    assert_eq!((stats.pending, stats.quarantined, stats.free), (0, 2, 4094));
    assert_eq!(ram.validate(), Ok(4094));
    assert_eq!(ram.poison().lines(), 64 + 2);
    // It can fail again, as if for the first time.
    assert_eq!(potad.report_failure(0x80_0000, 6, Found).unwrap().first, 1);
    // And while its span leaves it stays with what leaves.
    potad.report_failure(0x40_0000, 6, Injected).unwrap();
    let removal = ram.hot_remove(0x40_0000..0x50_0000).unwrap();
    assert_eq!(ram.unpoison(0x40_0000..0x40_1000), Ok(1));
    assert_eq!((removal.remaining_granules(), ram.validate().is_ok()), (0, true));
    removal.finish().unwrap();
    assert_eq!(ram.stats().granules, 4096 - 256);
}

#[test]
fn corrected_errors_add_up_to_a_prediction_and_poison_nothing() {
    let (potad, ram) = ram(1 << 20);
    let witness = Arc::new(Witness::default());
    let owner = potad.register_owner(witness.clone()).unwrap();
    let raw = ram.alloc_raw(order(4), owner).unwrap();
    let weak = ram.address_of(raw.base()) + 3 * 4096;
    let section = (1 << 18) * 4096;
    for (at, times) in [(weak, 50), (weak + 4096, 7), (2 * section, 20), (3 * section, 9)] {
        for so_far in 1..=times {
            let report = potad.report_failure(at, 6, Corrected).unwrap();
            assert_eq!((report.corrected, report.first, report.units), (so_far, 0, 0));
        }
    }
    assert!(ram.poison().is_empty() && witness.told.lock().unwrap().is_empty());
    let counts = |scope, least| {
        let found = ram.predicted(scope, least).into_iter();
        found.map(|found| (found.granules.count(), found.corrected)).collect::<Vec<_>>()
    };
    assert_eq!(counts(Scope::Granule, 10), [(1, 50), (1, 20)]);
    assert_eq!(counts(Scope::Section, 10), [(2, 57), (1, 20)]);
    assert_eq!(counts(Scope::Resource, 86).as_slice(), [(3 * (1 << 18) - 2, 86)].as_slice());
    assert_eq!(counts(Scope::Resource, 87), []);
    // Soft offline: the owner hears of it before anybody reads bad memory.
    potad.report_failure(weak, 12, Predicted).unwrap();
    assert_eq!(witness.told.lock().unwrap()[0].kind, Predicted);
    assert_eq!(counts(Scope::Granule, 10), [(1, 20)]);
    let kinds = ram.failure_kinds();
    assert_eq!((kinds[&Corrected].reported, kinds[&Corrected].outcomes.total()), (86, 0));
    assert_eq!((kinds[&Predicted].first, kinds[&Predicted].outcomes.recovered), (1, 1));
    ram.free_raw(raw).unwrap();
    assert_eq!(ram.stats().quarantined, 1);
}

#[test]
fn a_poisoned_granule_in_a_block_costs_one_block_of_each_order_and_one_granule() {
    for k in [1, 5, 6, 7, 9, 12, 18, 20] {
        let (potad, ram) = ram(1 << k);
        let typed = ram.alloc(order(k), Folio).unwrap();
        let at = ((1u64 << k) * 3 / 5) * 4096;
        potad.report_failure(at, 6, Found).unwrap();
        drop(typed);
        let stats = ram.stats();
        assert_eq!(stats.blocks[..k as usize], vec![1; k as usize], "order {k}");
        assert_eq!((stats.quarantined, stats.free), (1, (1 << k) - 1));
        assert_eq!(ram.validate(), Ok((1 << k) - 1));
    }
}

#[test]
fn claims_are_refused_where_something_is_and_given_up_when_dropped() {
    let (potad, ram) = ram(1 << 12);
    let witness = Arc::new(Witness::default());
    let owner = potad.register_owner(witness.clone()).unwrap();
    let busy = |claimed: Result<potad::Claim, ClaimError>| match claimed {
        Err(ClaimError::Busy { with_first, name, .. }) => (with_first, name),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        busy(potad.claim_range(0xff_f000..0x100_1000, owner, "a")),
        (0xff_f000, "ram".into())
    );
    let first = 0xe000_0000;
    let bar = potad.claim_range(first..first + 100, owner, "bar 0").unwrap();
    assert_eq!(
        busy(potad.claim_range(first + 99..=first + 99, owner, "b")),
        (first, "bar 0".into())
    );
    let empty = potad.claim_range(7..7, owner, "c").unwrap_err();
    assert_eq!(empty, ClaimError::NoRange { first: 7, end: 7 });
    assert!(matches!(potad.claim_range(1..=u64::MAX, owner, "d"), Err(ClaimError::NoRange { .. })));
    let unknown = potad.claim_range(1 << 40..2 << 40, OwnerId(999), "e").unwrap_err();
    assert_eq!(unknown, ClaimError::UnknownOwner { owner: OwnerId(999) });
    // No resource comes where a claim is, and none grows there.
    let over = Resource::new("more").span(first + 50..first + 200);
    assert!(matches!(potad.register(over), Err(Error::Claimed { name: "bar 0", .. })));
    let grown = potad.hot_add(&ram, 0xdfff_f000..0xe000_1000);
    assert!(matches!(grown, Err(Error::Claimed { with_first, .. }) if with_first == first));
    potad.register(Resource::new("slots").space(1).span(first..first + 1)).unwrap();

    assert_eq!(potad.claimed_at(first + 99), Some(("bar 0", owner)));
    assert_eq!(potad.claimed_at(first + 100), None);
    let report = potad.report_failure(first + 70, 12, Consumed).unwrap();
    assert_eq!((report.first, report.notified, report.units), (1, 1, 128));
    assert_eq!(potad.report_failure(first + 3, 0, Consumed).unwrap().first, 0);
    let told = witness.told.lock().unwrap().clone();
    assert_eq!((told.len(), told[0].name, told[0].resource), (1, "bar 0", bar.id()));
    assert_eq!((told[0].first_unit, told[0].last_unit), (first, first + 99));
    assert_eq!(bar.outcomes().recovered, 1);

    drop(bar);
    assert_eq!(potad.claimed_at(first), None);
    let outside = Error::Outside { address: first };
    assert_eq!(potad.report_failure(first, 6, Found), Err(outside));
    potad.hot_add(&ram, 0xdfff_f000..0xe000_1000).unwrap();
}

#[test]
fn an_owner_that_is_unknown_has_left_or_panics_loses_nothing() {
    let (potad, ram) = ram(1 << 12);
    let unknown = ram.alloc_raw(order(0), OwnerId(999)).unwrap();
    let at = ram.address_of(unknown.base());
    let report = potad.report_failure(at, 6, Found).unwrap();
    assert_eq!((report.notified, report.outcome), (1, Outcome::Ignored), "nobody to tell");
    ram.free_raw(unknown).unwrap();

    let id = potad.register_owner(Arc::new(Panics)).unwrap();
    let typed = ram.alloc_owned(order(2), id, Folio).unwrap();
    let raw = ram.alloc_raw(order(2), id).unwrap();
    let bar = potad.claim_range(1 << 40..2 << 40, id, "bar").unwrap();
    for at in [typed.address(), ram.address_of(raw.base()), 1 << 40] {
        for (line, kind) in [(0, Found), (64, Consumed)] {
            let report = potad.report_failure(at + line, 6, kind).unwrap();
            let failed = line == 0 || at == 1 << 40;
            assert_eq!(report.outcome == Outcome::Failed, failed);
        }
    }
    assert_eq!(bar.outcomes().failed, 2);
    assert_eq!(ram.failure_counts()["folio"].failed, 1);
    drop(ram.lock::<Folio>(typed.address()).unwrap());
    potad.unregister_owner(id).unwrap();
    // It has left: the claim's owner is nobody, and that is counted.
    assert_eq!(potad.report_failure((1 << 40) + 128, 6, Found).unwrap().outcome, Outcome::Ignored);
    drop(typed);
    ram.free_raw(raw).unwrap();
    assert_eq!((ram.stats().quarantined, ram.stats().pending), (3, 0));
    assert_eq!(ram.validate(), Ok(4093));
}

#[test]
fn unregistering_an_owner_waits_for_the_report_that_calls_it() {
    struct Slow(Mutex<mpsc::Receiver<()>>, mpsc::Sender<()>);
    impl Owner for Slow {
        fn memory_failure(&self, _: &FailedBlock) -> Outcome {
            self.1.send(()).unwrap();
            self.0.lock().unwrap().recv().unwrap();
            Outcome::Delayed
        }
    }
    let (potad, ram) = ram(64);
    let (go, wait) = mpsc::channel();
    let (inside, is_inside) = mpsc::channel();
    let id = potad.register_owner(Arc::new(Slow(Mutex::new(wait), inside))).unwrap();
    let raw = ram.alloc_raw(order(0), id).unwrap();
    let at = ram.address_of(raw.base());
    std::thread::scope(|scope| {
        let report = scope.spawn(|| potad.report_failure(at, 6, Found).unwrap());
        is_inside.recv().unwrap();
        let left = scope.spawn(|| potad.unregister_owner(id));
        assert!(!left.is_finished());
        go.send(()).unwrap();
        assert_eq!(report.join().unwrap().outcome, Outcome::Delayed);
        assert_eq!(left.join().unwrap(), Ok(()));
    });
    assert!(matches!(potad.unregister_owner(id), Err(Error::Owner(_))));
    ram.free_raw(raw).unwrap();
}

#[test]
fn failures_of_nothing_are_refused() {
    let (potad, ram) = ram(16);
    for (address, lsb) in [(1 << 16, 0), (u64::MAX, 63), (1 << 40, 200)] {
        let outside = Error::Outside { address };
        assert_eq!(potad.report_failure(address, lsb, Found), Err(outside));
        assert_eq!(ram.report_failure(address, lsb, Corrected), Err(outside));
    }
    // More bits than an address has: everything.
    let all = potad.report_failure(0, 200, Found).unwrap();
    assert_eq!((all.granules, all.quarantined, all.units), (16, 16, 1 << 16));
    assert_eq!((ram.stats().free, ram.validate()), (0, Ok(0)));
    assert!(matches!(ram.alloc_bare(order(0)), Err(Error::Exhausted { .. })));
}

struct Numbered<const N: u8>;
impl<const N: u8> Descriptor for Numbered<N> {
    const NAME: &'static str = "numbered";
}

#[test]
fn kinds_too_many_or_twice_are_refused_with_the_body() {
    let (potad, ram) = ram(64);
    macro_rules! register {
        ($($number:literal)*) => {
            $(potad.register_kind::<Numbered<$number>>().unwrap();)*
        };
    }
    register!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);
    let twice = KindError::Registered { number: 7, name: "numbered" };
    assert_eq!(potad.register_kind::<Numbered<7>>(), Err(Error::Kind(twice)));
    let Refused { given: Folio, why } = ram.alloc(order(0), Folio).unwrap_err();
    assert_eq!(why, Error::Kind(KindError::Full { name: "folio" }));
    assert_eq!(ram.stats().free, 64);
    drop(ram.alloc(order(0), Numbered::<31>).unwrap());
}

/// A home for a tree without an allocator.
#[derive(Clone)]
struct Nobody(Kinds);
impl Home for Nobody {
    fn kinds(&self) -> &Kinds {
        &self.0
    }
    fn teardown(_: Dead<Self>) {}
}

#[test]
fn words_of_others_are_neither_overwritten_nor_cleared() {
    let tree = Tree::<Nobody>::new();
    let block = |base, k| Block::new(Granule(base), order(k)).unwrap();
    let raw = |k| Immediate::new(Subtype::Raw, OwnerId(7), order(k));
    tree.publish_immediate(block(64, 3), raw(3)).unwrap();
    for asked in [block(64, 0), block(68, 2), block(64, 3), block(64, 6), block(0, 20)] {
        let overlap = LookupError::Overlap { asked, found: block(64, 3) };
        assert_eq!(tree.publish_immediate(asked, raw(asked.order().get())), Err(overlap));
    }
    for asked in [block(64, 2), block(72, 3), block(64, 4), block(128, 6)] {
        assert_eq!(tree.clear_immediate(asked), Err(LookupError::WrongWord { asked }));
    }
    assert_eq!(tree.clear_immediate(block(64, 3)).unwrap().owner, OwnerId(7));
}
