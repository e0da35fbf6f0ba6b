//! What a log line says of what the allocator hands out, and the figures that
//! are read off by people.

use potad::memdesc::{
    Descriptor, FailedBlock, FailureKind, Granule, Order, Outcome, Owner, OwnerId,
};
use potad::{
    Align, Class, Error, FailureQueue, HostSays, Nested, Potad, Refused, Resource, Wanted, Zone,
    Zonelist,
};
use std::error::Error as _;
use std::fmt::Debug;
use std::sync::Arc;

struct Folio;
impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}

struct Nobody;
impl Owner for Nobody {
    fn memory_failure(&self, _: &FailedBlock) -> Outcome {
        Outcome::Ignored
    }
}

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

fn ram(granules: u64) -> (Potad, Zone) {
    let potad = Potad::new();
    let ram = potad.register(Resource::new("ram").granule(4096).span(0..granules * 4096)).unwrap();
    (potad, ram)
}

fn print(what: &impl Debug) -> String {
    format!("{what:?}")
}

#[test]
fn handles_say_what_they_are_and_where() {
    let (_potad, ram) = ram(1 << 10);
    let bare = ram.alloc_bare(order(9)).unwrap();
    assert_eq!(print(&bare), "bare(g0x0+2^9)");
    let raw = ram.alloc_raw(order(8), OwnerId(2)).unwrap();
    assert_eq!((raw.order(), raw.granules()), (order(8), raw.block().granules()));
    assert_eq!(print(&raw), "raw(g0x200+2^8)");
    let run = ram.alloc_run(3 * 4096, Align::new(4096).unwrap()).unwrap();
    assert_eq!(print(&run), format!("run({:?})", run.granules()));
    let folio = ram.alloc(order(6), Folio).unwrap();
    assert_eq!(print(&folio), format!("folio({:?})", folio.block()));
    assert_eq!(folio.owner(), OwnerId::RESOURCE);
    let shared = ram.get::<Folio>(folio.address()).unwrap();
    assert_eq!(print(shared.home()), "Home(ram)");

    let id = ram.id();
    assert_eq!(print(&ram), format!("Zone {{ name: \"ram\", id: {id} }}"));
    let hand = ram.hand();
    assert!(print(&hand).starts_with(&format!("Hand {{ zone: {ram:?}, near: ")));
    assert_eq!(hand.zone().id(), id);

    let (wrong, other) = (self::ram(1).1, ram.id());
    let refused = wrong.free_bare(bare).unwrap_err();
    let asked = wrong.id();
    let text = format!("the block belongs to resource {other}, not to {asked}");
    assert_eq!(refused.to_string(), text);
    assert_eq!(print(&refused), format!("Refused {{ why: {:?}, .. }}", refused.why));
    assert_eq!(refused.source().unwrap().to_string(), text);
    let Refused { given, .. } = refused;
    ram.free_bare(given).unwrap();
    ram.free_raw(raw).unwrap();
    ram.free_run(run).unwrap();
}

#[test]
fn classes_queues_removals_and_nested_resources() {
    let (potad, ram) = ram(1 << 10);
    assert_eq!(print(&Class::LARGE), "class large");
    assert_eq!(print(&Class::default()), "class 0");

    let queue = FailureQueue::new(4).unwrap();
    assert_eq!(print(&queue), "FailureQueue { capacity: 4, dropped: 0, .. }");
    let kinds = [
        FailureKind::Consumed,
        FailureKind::Found,
        FailureKind::Predicted,
        FailureKind::Injected,
        FailureKind::Corrected,
        FailureKind::Found,
    ];
    let taken = kinds.map(|kind| queue.push(0x1000, 0, kind).is_ok());
    assert_eq!(taken, [true, true, true, true, false, false]);
    assert_eq!(print(&queue), "FailureQueue { capacity: 4, dropped: 2, .. }");
    for kind in &kinds[..4] {
        assert_eq!(queue.pop().map(|event| (event.address, event.kind)), Some((0x1000, *kind)));
    }
    queue.push(0x2000, 12, FailureKind::Corrected).unwrap();
    assert_eq!(
        queue.pop().map(|event| (event.lsb, event.kind)),
        Some((12, FailureKind::Corrected))
    );
    assert!(queue.pop().is_none());

    let held = ram.alloc_bare(order(3)).unwrap();
    let removal = ram.hot_remove(0..64 * 4096).unwrap();
    assert_eq!(removal.zone().id(), ram.id());
    assert_eq!((removal.span().first, removal.span().last), (0, 64 * 4096 - 1));
    let said = format!("Removal {{ zone: {ram:?}, granules: g0x0..=0x3f, claimed: 56 }}");
    assert_eq!(print(&removal), said);
    removal.cancel();
    ram.free_bare(held).unwrap();

    let nested = Nested::new(&ram, "small", 512, order(1)).unwrap();
    assert_eq!((nested.parent().id(), nested.largest_order()), (ram.id(), order(4)));
    let small = nested.zone();
    let said = format!("Nested {{ zone: {small:?}, parent: {ram:?}, import: 2^1, .. }}");
    assert_eq!(print(&nested), said);
    let raw = nested.alloc_raw(order(2), OwnerId(1)).unwrap();
    nested.free_raw(raw).unwrap();

    let owner = potad.register_owner(Arc::new(Nobody)).unwrap();
    let claim = potad.claim_range(0x4000_0000..0x4000_1000, owner, "bios").unwrap();
    assert_eq!(claim.to_string(), "bios at 0x40000000..=0x40000fff");
    assert_eq!((claim.name(), claim.span().first), ("bios", 0x4000_0000));
    assert_eq!(claim.poison().units(), 0);
    assert_eq!(potad.claimed_at(0x4000_0800), Some(("bios", owner)));
    potad.report_failure(0x4000_0800, 0, FailureKind::Found).unwrap();
    assert!(claim.poison().contains(0x4000_083f) && !claim.poison().contains(0x4000_0840));
    // An error that was corrected poisons nothing.
    let corrected = potad.report_failure(0x4000_0000, 0, FailureKind::Corrected).unwrap();
    assert_eq!((corrected.granules, corrected.units), (1, 0));
    assert!(!claim.poison().contains(0x4000_0000));
}

#[test]
fn an_isolated_block_and_the_order_of_reports() {
    let (_potad, ram) = ram(1 << 10);
    assert_eq!(ram.report_order(), None);
    ram.attach_reporter(order(4)).unwrap();
    assert_eq!(ram.report_order(), Some(order(4)));
    let wanted = Wanted {
        min_order: order(10),
        max_order: order(10),
        seen_before: false,
        patient: false,
        spare: 0,
    };
    let isolated = ram.isolate(&mut Granule(0), &wanted).unwrap();
    assert_eq!(print(&isolated), "isolated(g0x0+2^10)");
    ram.put_back(isolated, HostSays::Zeroed).unwrap();

    // Raw blocks tell of their content as bare ones do.
    let (raw, content) = ram.alloc_raw_telling(order(5), OwnerId(1)).unwrap();
    assert_eq!(print(&content), "Zero");
    ram.free_raw(raw).unwrap();
    let too_large = ram.alloc_raw_telling(order(11), OwnerId(1)).unwrap_err();
    assert_eq!(too_large, Error::OrderTooLarge { order: order(11), largest: order(10) });
    // What is in hands only is found as well, and nothing is known of it.
    let whole: Vec<_> =
        (0..1 << 10).map(|_| ram.alloc_raw_telling(Order::ZERO, OwnerId(1)).unwrap().0).collect();
    assert_eq!(
        ram.alloc_raw_telling(Order::ZERO, OwnerId(1)).unwrap_err(),
        Error::Exhausted { order: Order::ZERO }
    );
    whole.into_iter().for_each(|raw| ram.free_raw(raw).unwrap());
    assert_eq!(ram.validate(), Ok(1 << 10));
}

/// Without a reporter nothing is known of any block, and both flavours come.
#[test]
fn without_a_reporter_content_is_unknown() {
    let (_potad, ram) = ram(64);
    let (bare, content) = ram.alloc_bare_telling(order(2)).unwrap();
    assert_eq!(print(&content), "Unknown");
    let (raw, content) = ram.alloc_raw_telling(order(2), OwnerId(3)).unwrap();
    assert_eq!(print(&content), "Unknown");
    assert_eq!(ram.find(ram.address_of(raw.base()), &potad::pin()).unwrap().owner(), OwnerId(3));
    ram.free_bare(bare).unwrap();
    ram.free_raw(raw).unwrap();
}

#[test]
fn figures_of_fragmentation() {
    let (_potad, ram) = ram(1 << 10);
    let stats = ram.stats();
    assert_eq!((stats.unusable(order(10)), stats.fragmentation()), (0.0, 0.0));
    // The name, and the free blocks of each order, at least to order 10.
    let counts: Vec<&str> = vec!["      0"; 10];
    assert_eq!(stats.to_string(), format!("ram         {}      1", counts.concat()));
    // Every other granule of the lower half is taken: half a half is dust.
    let taken: Vec<_> =
        (0..256).map(|at| ram.alloc_at(at * 8192..at * 8192 + 4096).unwrap()).collect();
    let stats = ram.stats();
    assert_eq!((stats.free, stats.blocks[0], stats.blocks[9]), (768, 256, 1));
    assert_eq!(stats.free_runs, 256, "the last granule of dust joins the upper half");
    assert!((stats.unusable(order(9)) - 256.0 / 768.0).abs() < 1e-9);
    assert_eq!((stats.unusable(order(0)), stats.unusable(order(10))), (0.0, 1.0));
    assert!((stats.fragmentation() - (1.0 - 513.0 / 768.0)).abs() < 1e-9);
    let rest = ram.alloc_bare(order(9)).unwrap();
    let dust: Vec<_> = (0..256).map(|_| ram.alloc_bare(Order::ZERO).unwrap()).collect();
    let stats = ram.stats();
    assert_eq!((stats.free, stats.unusable(Order::ZERO), stats.fragmentation()), (0, 0.0, 0.0));
    dust.into_iter().for_each(|block| ram.free_bare(block).unwrap());
    ram.free_bare(rest).unwrap();
    taken.into_iter().for_each(|run| ram.free_run(run).unwrap());
    ram.flush_hands();
    assert!(ram.has_free(1 << 10) && !ram.has_free((1 << 10) + 1));
}

/// Whatever is handed to the wrong zone comes back, and can be freed where it
/// belongs.
#[test]
fn what_is_handed_to_a_stranger_comes_back() {
    let (potad, ram) = ram(1 << 10);
    let other =
        potad.register(Resource::new("other").granule(4096).span(1 << 40..(1 << 40) + 4096));
    let other = other.unwrap();
    let why = Error::Foreign { asked: other.id(), found: ram.id() };
    let mut hand = other.hand();
    let list: Zonelist = potad.zonelist([&other]).unwrap();
    assert_eq!(list.zones().len(), 1);

    let bare = || ram.alloc_bare(order(4)).unwrap();
    let raw = || ram.alloc_raw(order(4), OwnerId(1)).unwrap();
    let typed = || ram.alloc(order(4), Folio).unwrap();
    let run = || ram.alloc_run(3 * 4096, Align::new(4096).unwrap()).unwrap();

    let bares = [
        hand.free_bare(bare()).unwrap_err(),
        other.free_bare(bare()).unwrap_err(),
        list.free_bare(bare()).unwrap_err(),
        other.split_bare(bare()).unwrap_err(),
        other.shrink_bare(bare(), Order::ZERO).unwrap_err(),
    ];
    for refused in bares {
        assert_eq!(refused.why, why);
        ram.free_bare(refused.given).unwrap();
    }
    let raws = [
        hand.free_raw(raw()).unwrap_err(),
        other.free_raw(raw()).unwrap_err(),
        list.free_raw(raw()).unwrap_err(),
        other.split_raw(raw()).unwrap_err(),
        other.shrink_raw(raw(), Order::ZERO).unwrap_err(),
    ];
    for refused in raws {
        assert_eq!(refused.why, why);
        ram.free_raw(refused.given).unwrap();
    }
    let typeds = [
        other.free(typed()).unwrap_err(),
        list.free(typed()).unwrap_err(),
        other.shrink(typed(), Order::ZERO).unwrap_err(),
    ];
    for refused in typeds {
        assert_eq!(refused.why, why);
        ram.free(refused.given).unwrap();
    }
    let refused = other.split(typed(), Folio).unwrap_err();
    assert_eq!(refused.why, why);
    ram.free(refused.given.0).unwrap();
    let runs = [other.free_run(run()).unwrap_err(), other.shrink_run(run(), 4096).unwrap_err()];
    for refused in runs {
        assert_eq!(refused.why, why);
        ram.free_run(refused.given).unwrap();
    }
    assert_eq!((ram.validate(), other.validate()), (Ok(1 << 10), Ok(1)));
}
