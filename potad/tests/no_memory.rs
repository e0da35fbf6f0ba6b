//! Memory failure while memory is out: a report asks for none before the owner
//! has heard, a free asks for none at all, and nothing is lost.

#[path = "../../memdesc/tests/meter/mod.rs"]
mod meter;

use meter::{made, with_memory_for};
use potad::memdesc::{Descriptor, FailedBlock, FailureKind, Order, Outcome, Owner, OwnerId};
use potad::{Align, Error, Nested, Potad, Resource, Run, Zone};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

struct Folio;
impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}

/// Remembers how many allocations its thread had made when it was called.
#[derive(Default)]
struct Witness {
    made: AtomicU64,
    calls: AtomicU64,
}

impl Owner for Witness {
    fn memory_failure(&self, _: &FailedBlock) -> Outcome {
        self.made.store(made(), Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        Outcome::Recovered
    }
}

/// Of which all but the first word's is added later: it hangs in tables, for which
/// memory is needed. (What is there from the start needs none.)
fn ram(granules: u64) -> (Potad, Zone, Arc<Witness>) {
    let (first, rest) = (0..64 * 4096, 64 * 4096..granules * 4096);
    let (potad, ram, witness) = near(first);
    ram.hot_add(rest).unwrap();
    (potad, ram, witness)
}

fn near(span: std::ops::Range<u64>) -> (Potad, Zone, Arc<Witness>) {
    let potad = Potad::new();
    let ram = potad.register(Resource::new("ram").granule(4096).span(span)).unwrap();
    let witness = Arc::new(Witness::default());
    ram.set_own_owner(witness.clone()).unwrap();
    drop(potad::pin());
    (potad, ram, witness)
}

/// Free, quarantined and kept beside: all there is, if nobody holds anything.
fn accounted(ram: &Zone) -> u64 {
    let stats = ram.stats();
    assert_eq!(stats.pending, 0);
    assert_eq!(ram.validate(), Ok(stats.free));
    stats.free + stats.quarantined + stats.kept_whole
}

#[test]
fn nothing_is_allocated_before_the_owner_is_called() {
    let (potad, ram, witness) = ram(1 << 18);
    let owner = potad.register_owner(witness.clone()).unwrap();
    let typed = ram.alloc_owned(order(9), owner, Folio).unwrap();
    let raw = ram.alloc_raw(order(9), owner).unwrap();
    let bare = ram.alloc_bare(order(9)).unwrap();
    let bases = [typed.address(), ram.address_of(raw.base()), ram.address_of(bare.base())];
    for (calls, at) in
        (1..).zip(bases.into_iter().flat_map(|base| (0..200).map(move |i| base + i * 4096)))
    {
        let before = made();
        let report = potad.report_failure(at, 6, FailureKind::Consumed).unwrap();
        assert_eq!((report.first, report.notified), (1, 1));
        assert_eq!(witness.made.load(Ordering::Relaxed), before, "report {calls}");
        assert_eq!(witness.calls.load(Ordering::Relaxed), calls);
        // Known: nothing at all.
        let before = made();
        assert_eq!(potad.report_failure(at, 6, FailureKind::Consumed).unwrap().first, 0);
        assert_eq!(made(), before);
    }
    let before = made();
    ram.free_raw(raw).unwrap();
    ram.free_bare(bare).unwrap();
    assert_eq!(made(), before, "a free allocates nothing");
    drop(typed);
    assert_eq!(ram.stats().quarantined, 600);
    assert_eq!(accounted(&ram), 1 << 18);
}

#[test]
fn without_memory_one_granule_is_carved_out_of_an_untouched_tebibyte() {
    for at in [0, 0x12_3456_7890, (1 << 40) - 1] {
        let (potad, ram, _) = ram(1 << 28);
        assert_eq!(ram.stats().reserve_bytes, 23 * 4096, "of an untouched tebibyte");
        let report =
            with_memory_for(0, || potad.report_failure(at, 6, FailureKind::Found)).unwrap();
        assert_eq!((report.first, report.quarantined), (1, 1));
        let stats = ram.stats();
        assert_eq!((stats.quarantined, stats.kept_whole), (1, 0), "what was put by is enough");
        assert_eq!(stats.blocks.iter().sum::<u64>(), 28, "the rest is in 28 blocks");
        assert_eq!(accounted(&ram), 1 << 28);
    }
}

#[test]
fn what_is_there_from_the_start_is_carved_without_memory_and_without_a_reserve() {
    let (potad, ram, _) = near(0..1 << 40);
    assert_eq!(ram.stats().reserve_bytes, 0);
    with_memory_for(0, || {
        for i in 0..100 {
            let at = i * 0x2_3456_7000;
            assert_eq!(potad.report_failure(at, 6, FailureKind::Found).unwrap().quarantined, 1);
        }
    });
    let stats = ram.stats();
    assert_eq!((stats.quarantined, stats.kept_whole), (100, 0));
    assert_eq!(accounted(&ram), 1 << 28);
}

#[test]
fn without_memory_a_freed_block_of_any_order_keeps_one_granule() {
    for k in 0..=24 {
        let (potad, ram, witness) = ram(1 << 24);
        let block = ram.alloc_bare(order(k)).unwrap();
        let at = ram.address_of(block.base()) + ((1 << k) * 5 / 7) * 4096;
        with_memory_for(0, || {
            potad.report_failure(at, 12, FailureKind::Found).unwrap();
            ram.free_bare(block).unwrap();
        });
        assert_eq!(witness.calls.load(Ordering::Relaxed), 1);
        let stats = ram.stats();
        assert_eq!((stats.quarantined, stats.kept_whole), (1, 0), "order {k}");
        assert_eq!(stats.blocks.iter().sum::<u64>(), 24, "at most one block of each order");
        assert_eq!(accounted(&ram), 1 << 24);
    }
}

#[test]
fn what_was_put_by_runs_out_and_blocks_are_kept_whole_until_memory_is_back() {
    let (potad, ram, witness) = ram(1 << 28);
    let live = ram.alloc_bare(order(22)).unwrap();
    let inside = ram.address_of(live.base()) + (1 << 33);
    // Far from each other: each needs tables of its own.
    let far: Vec<u64> = (1..12).map(|i| (i << 36) + 0x12_3000).collect();
    with_memory_for(0, || {
        for &at in &far {
            let report = potad.report_failure(at, 6, FailureKind::Found).unwrap();
            assert_eq!(report.quarantined, 1);
        }
        potad.report_failure(inside, 6, FailureKind::Found).unwrap();
        ram.free_bare(live).unwrap();
    });
    assert_eq!(witness.calls.load(Ordering::Relaxed), 1);
    let stats = ram.stats();
    assert_eq!(stats.quarantined, 12);
    assert!(stats.kept_whole >= 64, "{} granules beside the failed ones", stats.kept_whole);
    assert_eq!(accounted(&ram), 1 << 28);
    // A second granule of a block that is kept whole is out of circulation too,
    // and told to nobody.
    let beside = with_memory_for(0, || {
        let near = far[10] + 4096;
        potad.report_failure(near, 6, FailureKind::Found).unwrap()
    });
    assert_eq!((beside.first, beside.quarantined), (1, 1));
    assert_eq!(witness.calls.load(Ordering::Relaxed), 1);
    assert_eq!(ram.stats().kept_whole, stats.kept_whole - 1, "it is sound no more");
    assert_eq!(accounted(&ram), 1 << 28);
    // Neither is anybody's, though for a word of its own there is no memory.
    with_memory_for(0, || {
        for (at, k) in [(far[10], 0), (far[10] + 4096, 0), (far[10] + 8192, 0), (far[10], 2)] {
            let kept = ram.adopt_bare(at >> (12 + k) << (12 + k), order(k));
            assert!(matches!(kept, Err(Error::DoubleFree { .. })), "{kept:?}");
        }
    });

    // Memory is back: the next slow path breaks them.
    let page = ram.alloc_bare(order(0)).unwrap();
    ram.free_bare(page).unwrap();
    let stats = ram.stats();
    assert_eq!((stats.quarantined, stats.kept_whole), (13, 0));
    assert_eq!(stats.free, (1 << 28) - 13);
    let guard = potad::pin();
    for at in far {
        assert_eq!(ram.find(at, &guard).unwrap().kind_name(), "quarantine");
    }
    assert_eq!(accounted(&ram), 1 << 28);
}

#[test]
fn wherever_memory_runs_out_nothing_is_lost() {
    for allocations in 0..60 {
        let (potad, ram, witness) = ram(1 << 24);
        let blocks: Vec<_> = (12..18).map(|k| ram.alloc_bare(order(k)).unwrap()).collect();
        let bases: Vec<u64> = blocks.iter().map(|block| ram.address_of(block.base())).collect();
        with_memory_for(allocations, || {
            for (i, &base) in (1..).zip(&bases) {
                potad.report_failure(base + i * 4096, 6, FailureKind::Found).unwrap();
                potad.report_failure((1 << 35) + (i << 31), 6, FailureKind::Found).unwrap();
            }
            for block in blocks {
                ram.free_bare(block).unwrap();
            }
        });
        assert_eq!(witness.calls.load(Ordering::Relaxed), 6);
        assert_eq!(ram.stats().quarantined, 12);
        assert_eq!(accounted(&ram), 1 << 24, "memory for {allocations} allocations");
        ram.retry_failures();
        assert_eq!(ram.stats().kept_whole, 0);
        assert_eq!(accounted(&ram), 1 << 24);
    }
}

/// What a removal claims has tables of its own, and as much is put by for it.
#[test]
fn without_memory_one_granule_is_carved_out_of_what_a_removal_claims() {
    // For what is there from the start nothing is put by.
    let (potad, ram, _) = near(0..1 << 26);
    potad.report_failure(0, 6, FailureKind::Injected).unwrap();
    assert_eq!(ram.stats().reserve_bytes, 0);
    let removal = ram.hot_remove(1 << 25..1 << 26).unwrap();
    assert_ne!(ram.stats().reserve_bytes, 0);
    let at = (1 << 25) + 0x12_3000;
    let report = with_memory_for(0, || potad.report_failure(at, 6, FailureKind::Found)).unwrap();
    assert_eq!((report.first, report.quarantined), (1, 1));
    let stats = ram.stats();
    assert_eq!((stats.quarantined, stats.kept_whole), (2, 0), "what was put by is enough");
    assert_eq!(removal.remaining_granules(), 0);
    removal.cancel();
    assert_eq!(accounted(&ram), 1 << 14);
}

#[test]
fn a_range_leaves_with_blocks_that_were_kept_whole() {
    let (potad, ram, _) = ram(1 << 24);
    with_memory_for(0, || {
        for i in 0..12 {
            potad.report_failure(i << 32, 6, FailureKind::Found).unwrap();
        }
    });
    assert!(ram.stats().kept_whole > 0);
    // What is kept whole elsewhere keeps nobody; what lies across an end does.
    let last = (1 << 36) - (1 << 21);
    assert_eq!(ram.hot_remove(last..1 << 36).unwrap().remaining_granules(), 0);
    let removal = ram.hot_remove(0..1 << 33).unwrap();
    assert_eq!(removal.remaining_granules(), 0);
    removal.finish().unwrap();
    let stats = ram.stats();
    assert_eq!((stats.quarantined, stats.kept_whole), (10, 0));
    assert_eq!(accounted(&ram), (1 << 24) - (1 << 21));
}

#[test]
fn what_would_cut_a_block_that_is_kept_whole_is_refused_until_memory_is_back() {
    let (potad, ram, _) = ram(1 << 24);
    let failed = |i: u64| i << 32;
    let (cut, beside) = (failed(11) + 4096..1 << 36, failed(11) + 4096..failed(11) + 8192);
    with_memory_for(0, || {
        for i in 0..12 {
            potad.report_failure(failed(i), 6, FailureKind::Injected).unwrap();
        }
        assert_eq!(ram.hot_remove(cut.clone()).unwrap_err(), Error::OutOfMemory);
        assert_eq!(ram.unpoison(beside.clone()), Err(Error::OutOfMemory));
    });
    assert!(ram.stats().kept_whole > 0);
    assert_eq!(ram.unpoison(beside), Ok(0));
    assert_eq!(ram.stats().kept_whole, 0);
    let removal = ram.hot_remove(cut).unwrap();
    assert_eq!(removal.remaining_granules(), 0);
    removal.cancel();
    assert_eq!(accounted(&ram), 1 << 24);
}

#[test]
fn what_remains_of_a_removal_is_counted_without_memory() {
    let (potad, ram, _) = ram(1 << 24);
    let removal = ram.hot_remove(0..1 << 35).unwrap();
    with_memory_for(0, || {
        // Those of the range have a second one beside them.
        for at in (0..12).map(|i| i << 32).chain((0..8).map(|i| (i << 32) + 4096)) {
            potad.report_failure(at, 6, FailureKind::Found).unwrap();
        }
        assert_eq!(removal.remaining_granules(), 0, "what is kept whole counts once");
    });
    assert!(ram.stats().kept_whole > 0);
    removal.finish().unwrap();
    assert_eq!(accounted(&ram), (1 << 24) - (1 << 23));
}

#[test]
fn an_owner_may_free_in_its_callback_without_memory() {
    struct Frees {
        ram: Zone,
        block: std::sync::Mutex<Option<potad::RawBlock>>,
    }
    impl Owner for Frees {
        fn memory_failure(&self, _: &FailedBlock) -> Outcome {
            let block = self.block.lock().unwrap().take();
            block.map_or(Outcome::Failed, |block| match self.ram.free_raw(block) {
                Ok(()) => Outcome::Recovered,
                Err(_) => Outcome::Failed,
            })
        }
    }
    let (potad, ram, _) = ram(1 << 20);
    let frees = Arc::new(Frees { ram: ram.clone(), block: std::sync::Mutex::new(None) });
    let owner = potad.register_owner(frees.clone()).unwrap();
    let block = ram.alloc_raw(order(15), owner).unwrap();
    let at = ram.address_of(block.base()) + 77 * 4096;
    *frees.block.lock().unwrap() = Some(block);
    let report = with_memory_for(0, || potad.report_failure(at, 6, FailureKind::Consumed)).unwrap();
    assert_eq!((report.notified, report.outcome), (1, Outcome::Recovered));
    assert_eq!(ram.stats().quarantined, 1);
    assert_eq!(accounted(&ram), 1 << 20);
}

#[test]
fn a_free_that_would_return_an_import_leaves_it_without_memory() {
    for allocations in 0..3 {
        let (_potad, ram, _) = ram(1 << 10);
        let sectors = Nested::new(&ram, "sectors", 512, order(0)).unwrap().keep(0);
        let block = sectors.alloc_bare(order(2)).unwrap();
        with_memory_for(allocations, || sectors.free_bare(block).unwrap());
        let left = usize::from(allocations < 2);
        assert_eq!((sectors.imports(), sectors.shrink()), (left, left), "with {allocations}");
        assert_eq!((sectors.zone().granules(), accounted(&ram)), (0, 1 << 10));
    }
}

/// Whether a refusal says that memory is out.
fn is_memory(why: &Error) -> bool {
    use potad::lookup::LookupError;
    matches!(why, Error::OutOfMemory | Error::Lookup(LookupError::OutOfMemory { .. }))
}

/// A range is taken piece by piece: what was taken before memory ran out goes
/// back.
#[test]
fn a_range_that_cannot_be_taken_to_its_end_is_not_taken_at_all() {
    let granules = (1 << 29) + 12_345 - 77;
    let exactly = |ram: &Zone| ram.alloc_at(4096 * 77..4096 * (77 + granules));
    let anywhere = |ram: &Zone| ram.alloc_run(4096 * granules, Align::new(4096)?);
    for alloc in [&exactly as &dyn Fn(&Zone) -> Result<Run, Error>, &anywhere] {
        let mut refused = 0;
        for allocations in 0.. {
            let (_potad, ram, _) = ram(1 << 30);
            let before = ram.free_blocks();
            let done = with_memory_for(allocations, || alloc(&ram));
            let is_done = done.is_ok();
            match done {
                Ok(run) => {
                    assert_eq!(run.granules().count(), granules);
                    assert_eq!(accounted(&ram), (1 << 30) - granules);
                    ram.free_run(run).unwrap();
                }
                Err(why) => assert!(is_memory(&why), "{why}"),
            }
            let after = (accounted(&ram), ram.free_blocks());
            assert_eq!(after, (1 << 30, before), "with {allocations}");
            assert!(ram.runs().is_empty());
            if is_done {
                break;
            }
            refused += 1;
        }
        assert!(refused > 5, "{refused}");
    }
}

/// A span begins to leave window by window: what was claimed before memory ran
/// out goes back.
#[test]
fn a_removal_that_cannot_begin_leaves_the_zone_as_it_was() {
    let (first, end) = (77, (1 << 29) + 12_345);
    let mut refused = 0;
    for allocations in 0.. {
        let (_potad, ram, _) = ram(1 << 30);
        // Live across both ends, whose words are there then, and inside.
        let held = [1 << 20, first, 5 << 21, end]
            .map(|at| ram.alloc_at(4096 * (at - 3)..4096 * (at + 4)).unwrap());
        let before = (ram.free_blocks(), accounted(&ram));
        let span = 4096 * first..4096 * end;
        let begun = with_memory_for(allocations, || ram.hot_remove(span.clone()));
        let is_done = begun.is_ok();
        match begun {
            Ok(removal) => assert_eq!(removal.remaining_granules(), 7 + 4 + 7 + 3),
            Err(why) => assert!(is_memory(&why), "{why}"),
        }
        let after = (ram.free_blocks(), accounted(&ram));
        assert_eq!(after, before, "with {allocations}");
        // What is freed is kept by nobody.
        held.into_iter().for_each(|run| ram.free_run(run).unwrap());
        assert_eq!((ram.free_blocks().len(), accounted(&ram)), (1, 1 << 30));
        if is_done {
            break;
        }
        let again = ram.hot_remove(span).unwrap();
        assert_eq!(again.remaining_granules(), 0);
        again.cancel();
        assert_eq!(accounted(&ram), 1 << 30);
        refused += 1;
    }
    assert!(refused > 5, "{refused}");
}

/// A block that is taken and cannot get its word goes back.
#[test]
fn a_block_whose_word_cannot_be_published_is_not_lost() {
    type Get = fn(&Potad, &Zone, u64) -> Result<(), Error>;
    let ways: [(&str, Get); 7] = [
        ("typed", |_, ram, memory| {
            let block = with_memory_for(memory, || ram.alloc(order(3), Folio));
            block.map(drop).map_err(|refused| refused.why)
        }),
        ("raw", |_, ram, memory| {
            let raw = with_memory_for(memory, || ram.alloc_raw(order(0), OwnerId::RESOURCE))?;
            ram.free_raw(raw).map_err(|refused| refused.why)
        }),
        ("large raw", |_, ram, memory| {
            let raw = with_memory_for(memory, || ram.alloc_raw(order(20), OwnerId::RESOURCE))?;
            ram.free_raw(raw).map_err(|refused| refused.why)
        }),
        ("run of one block", |_, ram, memory| {
            let align = Align::new(4096)?;
            let run = with_memory_for(memory, || ram.alloc_run(64 * 4096, align))?;
            ram.free_run(run).map_err(|refused| refused.why)
        }),
        ("raw by a hand", |_, ram, memory| {
            let mut hand = ram.hand();
            let raw = with_memory_for(memory, || hand.alloc_raw(order(7), OwnerId::RESOURCE))?;
            hand.free_raw(raw).map_err(|refused| refused.why)
        }),
        ("typed by a hand", |_, ram, memory| {
            let mut hand = ram.hand();
            let block = with_memory_for(memory, || hand.alloc(order(7), Folio));
            block.map(drop).map_err(|refused| refused.why)
        }),
        ("raw of a list", |potad, ram, memory| {
            let list = potad.zonelist([ram])?;
            let raw = with_memory_for(memory, || list.alloc_raw(order(2), OwnerId::RESOURCE))?;
            list.free_raw(raw).map_err(|refused| refused.why)
        }),
    ];
    for (name, get) in ways {
        let mut refused = 0;
        for memory in 0.. {
            let (potad, ram, _) = ram(1 << 24);
            let done = get(&potad, &ram, memory);
            assert_eq!(accounted(&ram), 1 << 24, "{name} with {memory}");
            match done {
                Ok(()) => break,
                Err(why) => assert!(is_memory(&why), "{name}: {why}"),
            }
            refused += 1;
        }
        assert!(refused > 0, "{name}");
    }
}

/// A thread's first call makes it a slot, for which there may be no memory.
#[test]
fn a_thread_frees_what_others_took_without_memory() {
    let (_potad, ram, _) = ram(1 << 14);
    let typed = ram.alloc(order(0), Folio).unwrap();
    let large = ram.alloc(order(9), Folio).unwrap();
    let raw = ram.alloc_raw(order(3), OwnerId::RESOURCE).unwrap();
    let bare = ram.alloc_bare(order(12)).unwrap();
    let before = ram.stats().hands;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // What a pin makes for a thread is not ours to refuse.
            drop(potad::pin());
            with_memory_for(0, || {
                drop(typed);
                ram.free_raw(raw).unwrap();
                ram.free_bare(bare).unwrap();
                drop(large);
                let page = ram.alloc_bare(order(0)).unwrap();
                ram.free_bare(page).unwrap();
            });
            assert_eq!(ram.stats().hands, before, "it has none of its own");
            ram.free_bare(ram.alloc_bare(order(0)).unwrap()).unwrap();
            assert_eq!(ram.stats().hands, before + 1, "and now it has");
        });
        // Until the thread has ended, and its hand with it.
        thread.join().unwrap();
    });
    assert_eq!((ram.stats().hands, accounted(&ram)), (before, 1 << 14));
}

/// As far as nothing is free a removal claims nothing, and yet what is freed there
/// later has its place.
#[test]
fn what_is_live_deep_inside_a_range_that_leaves_is_freed_without_memory() {
    let (_potad, ram, _) = ram(1 << 24);
    let (first, deep, end) = (77, (1 << 21) + 1001, (1 << 22) + 5);
    let run = |first: u64, end: u64| ram.alloc_at(4096 * first..4096 * end).unwrap();
    let live = [run(first, deep), run(deep, deep + 3), run(deep + 3, end)];
    let removal = ram.hot_remove(0..1 << 36).unwrap();
    assert_eq!(removal.remaining_granules(), end - first);
    with_memory_for(0, || {
        let [before, amid, after] = live;
        ram.free_run(amid).unwrap();
        assert_eq!(removal.remaining_granules(), end - first - 3);
        [before, after].into_iter().for_each(|run| ram.free_run(run).unwrap());
    });
    assert_eq!(removal.remaining_granules(), 0);
    removal.finish().unwrap();
    assert_eq!((ram.granules(), ram.validate()), (0, Ok(0)));
}
