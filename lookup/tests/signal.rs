//! Looking up as signal handlers do: the same answers, and nothing is freed
//! under a handler.

mod common;

use common::{Folio, Ram, block, raw};
use memdesc::{Found, Granule, Immediate, InSignal, MAX_GRANULES, OwnerId, Seen, Subtype, pin};
use potad_lookup::{Addresses, Ranges};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// The gate is the process's: tests that look at what it holds up go one by one.
static GATE: memdesc::sync::Mutex<()> = memdesc::sync::Mutex::new(());

/// Whether it comes to hold while what was retired has every chance to be freed.
fn happens(mut holds: impl FnMut() -> bool) -> bool {
    (0..2000).any(|_| {
        pin().flush();
        holds()
    })
}

/// Whether it comes to hold at all: another test's thread may be pinned, and not
/// running, for as long as the machine is busy.
fn settles(mut holds: impl FnMut() -> bool) -> bool {
    let begun = std::time::Instant::now();
    while begun.elapsed().as_secs() < 60 {
        pin().flush();
        if holds() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn a_handler_is_told_what_a_find_finds() {
    let ram = Ram::new();
    let orders = [0, 3, 5, 6, 11, 12, 17, 18, 23, 24, 36];
    let mut kept = Vec::new();
    for (number, order) in (1..).zip(orders) {
        // Each in a stretch of its own, twice as large.
        let base = 1u64 << (order + 1);
        let at = block(base << 3, order);
        let word = Immediate::new(Subtype::User9, OwnerId(number), at.order());
        ram.tree().publish_immediate(at, word.with_cookie(0xffff_0000 | order)).unwrap();
        kept.push(
            ram.tree().publish(block(base << 3 | base, order), ram.folio(number.into())).unwrap(),
        );
    }
    kept[0].header().set_flags(0x81);
    let guard = pin();
    let edges = orders.iter().flat_map(|order| {
        let base = 1u64 << (order + 1);
        let first = [base << 3, base << 3 | base];
        first.into_iter().flat_map(move |first| {
            let size = 1 << order;
            [first - 1, first, first + size / 2, first + size - 1, first + size]
        })
    });
    let mut hits = 0;
    for at in edges.chain([0, MAX_GRANULES - 1, MAX_GRANULES, u64::MAX]).map(Granule) {
        let seen = ram.tree().find_signal(at);
        let found = ram.tree().find(at, &guard);
        let (Some(seen), Some(found)) = (seen, &found) else {
            assert!(seen.is_none() && found.is_none(), "{at:?}: {seen:?}, {found:?}");
            continue;
        };
        hits += 1;
        assert_eq!((seen.block, seen.owner), (found.block(), found.owner()));
        assert_eq!((seen.kind_name(), seen.poisoned), (found.kind_name(), false));
        match (seen.seen, found) {
            (Seen::Immediate(word), Found::Immediate(other, _)) => assert_eq!(word, *other),
            (Seen::Descriptor { flags, dying, .. }, Found::Descriptor(peeked)) => {
                assert_eq!((flags, dying), (peeked.header().flags(), false));
                assert_eq!(seen.word, peeked.word());
            }
            _ => panic!("{seen:?} is not {found:?}"),
        }
    }
    assert!(hits >= 6 * orders.len(), "{hits} hits");
}

#[test]
fn marks_are_seen_from_anywhere_in_the_block() {
    let ram = Ram::new();
    ram.tree().publish_immediate(block(64, 5), raw(1, 5)).unwrap();
    let folio = ram.tree().publish(block(128, 4), ram.folio(1)).unwrap();
    ram.tree().poison_immediate(Granule(70)).unwrap();
    folio.lock().poison();
    for at in [64, 70, 95, 128, 143] {
        let seen = ram.tree().find_signal(Granule(at)).unwrap();
        assert!(seen.poisoned && !seen.word.is_poisoned(), "{at}");
    }
}

#[test]
fn halves_are_found_by_themselves_and_the_dead_not_at_all() {
    let ram = Ram::new();
    let lower = ram.tree().publish(block(2, 1), ram.folio(2)).unwrap();
    let upper = ram.tree().split(&lower.lock(), ram.slab(3)).unwrap();
    let seen = [2, 3].map(|at| ram.tree().find_signal(Granule(at)).unwrap());
    assert_eq!(seen.map(|seen| seen.kind_name()), ["Folio", "Slab"]);
    assert_eq!(seen.map(|seen| seen.block), [block(2, 0), block(3, 0)]);
    drop((lower, upper));
    assert_eq!([2, 3].map(|at| ram.tree().find_signal(Granule(at))), [None, None]);
}

#[test]
fn nothing_dies_under_a_handler_and_all_of_it_afterwards() {
    let _alone = GATE.lock();
    let ram = Ram::new();
    let inside = InSignal::enter();
    for at in 0..500 {
        let folio: memdesc::Ref<Ram, Folio> =
            ram.tree().publish(block(at, 0), ram.folio(at)).unwrap();
        drop(folio);
    }
    let live = || ram.0.live.load(Relaxed);
    assert!(!happens(|| live() != 500), "{} of 500 are left", live());
    assert!(memdesc::retired_bytes() >= 500 * 64, "and it can be seen");
    // Others come and go meanwhile, on either side.
    for _ in 0..3 {
        assert_eq!(ram.tree().find_signal(Granule(7)), None);
        pin().flush();
    }
    assert!(!happens(|| live() != 500));
    drop(inside);
    assert!(settles(|| live() == 0), "{} of 500 are held up", live());
}

/// Handlers that overlap without end, so that some handler is in at any moment,
/// hold up what was retired until those of then have left, and no longer.
#[test]
fn handlers_that_never_pause_do_not_starve_collections() {
    let _alone = GATE.lock();
    let ram = Ram::new();
    let mut inside = InSignal::enter();
    drop(ram.tree().publish(block(0, 0), ram.folio(0)).unwrap());
    let live = || ram.0.live.load(Relaxed);
    assert!(!happens(|| live() == 0));
    assert!(settles(|| {
        // The next one comes before this one leaves.
        let next = InSignal::enter();
        inside = next;
        live() == 0
    }));
    drop(inside);
}

#[test]
fn ranges_are_read_in_place_and_outlive_the_reading() {
    let _alone = GATE.lock();
    let map = Ranges::<Arc<u64>>::new();
    for at in 0..100 {
        map.insert(Addresses::new(at * 64 + 3, at * 64 + 40).unwrap(), Arc::new(at)).unwrap();
    }
    let guard = pin();
    for at in (0..6500).chain([u64::MAX]) {
        let seen = map.find_signal(at, |value, piece| (**value, piece));
        let found = map.find(at, &guard).map(|found| (**found, found.range()));
        assert_eq!(seen, found, "{at}");
    }
    drop(guard);
    let value = Arc::new(7);
    let range = Addresses::new(1 << 40, 1 << 41).unwrap();
    map.insert(range, Arc::clone(&value)).unwrap();
    let kept = map.find_signal(range.first(), |inside, _| {
        // Replaced while the handler reads: what it reads stays.
        map.set(range, Arc::new(8)).unwrap();
        map.settle();
        let kept = !happens(|| Arc::strong_count(&value) == 1);
        (kept, **inside)
    });
    assert_eq!(kept, Some((true, 7)));
    assert!(settles(|| Arc::strong_count(&value) == 1), "held up");
    assert_eq!(Ranges::<Arc<u64>>::new().find_signal(0, |_, _| ()), None);
}
