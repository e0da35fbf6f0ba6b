//! The hands that threads have without asking for one.
//!
//! A call without a hand goes through the slot that its thread has of the zone
//! (`potad/src/local.rs`): made by the thread's first call, given up where the
//! thread ends, and never a reason for a zone to stay. In the other models such
//! calls share one slot behind a lock; here each thread says that it has its
//! own, and what runs is the code of a thread of the system. So these are the
//! claims of `a_hands` again for that code, its own hot paths for raw and typed
//! blocks included, and those that only it can break: a hand that comes into
//! being, ends, or meets the end of its zone.
//!
//! A thread's end is seen twice: before it is joined, as a join of the system
//! waits for it, and after, as the end of a scope does not.

#![cfg(loom)]

use loom::thread::{self, JoinHandle};
use loom_tests::grounds::{is_out_of_circulation, owner, zone};
use loom_tests::home::{Folio, Slab};
use loom_tests::{bounded, twin_bounded};
use memdesc::{FailedBlock, FailureKind, Granule, Order, Outcome, Owner};
use potad::model::OwnHand;
use potad::{BareBlock, FailureReport, Potad, Zone};
use std::mem::forget;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

/// All is free, in blocks as large as can be.
fn is_whole(ram: &Zone) {
    assert_eq!(ram.validate(), Ok(ram.granules()));
    let whole = ram.alloc_bare(ram.largest_order()).expect("all of it is free");
    ram.free_bare(whole).unwrap();
}

fn give_back<const N: usize>(ram: &Zone, blocks: [BareBlock; N]) {
    blocks.into_iter().for_each(|block| ram.free_bare(block).unwrap());
}

/// A thread that uses the zone and is looked into meanwhile; it ends before it is
/// joined.
fn user<R: 'static>(ram: &Zone, uses: impl FnOnce(&Zone) -> R + 'static) -> JoinHandle<R> {
    let ram = ram.clone();
    thread::spawn(move || {
        let _own = OwnHand::begin();
        uses(&ram)
    })
}

/// A granule, taken out of a hand that has claimed all.
fn one(ram: &Zone) -> BareBlock {
    ram.alloc_bare(Order::ZERO).expect("more are free, whoever has a pair")
}

/// Two in a row, which need all hands emptied.
fn pair(ram: &Zone) -> BareBlock {
    ram.alloc_bare(order(1)).expect("two in a row are free throughout")
}

/// A6: a thread's hand is emptied for another thread's sake, while it takes out of
/// it; what both have in the end does not overlap, and none is lost.
fn emptied_beside_takes() {
    let own = OwnHand::begin();
    let ram = zone(&Potad::new(), 4);
    let other = user(&ram, |ram| [one(ram), one(ram)]);
    let mine = ram.alloc_bare(order(1));
    let [first, second] = other.join().unwrap();
    assert_ne!(first.base(), second.base(), "given twice");
    if let Ok(mine) = mine {
        assert!(![&first, &second].iter().any(|one| one.block().overlaps(mine.block())));
        ram.free_bare(mine).unwrap();
    }
    give_back(&ram, [first, second]);
    drop(own);
    is_whole(&ram);
}

/// A6: the same while it gives into it, and takes out again what it gave.
fn emptied_beside_give() {
    let own = OwnHand::begin();
    let ram = zone(&Potad::new(), 4);
    let other = user(&ram, |ram| {
        ram.free_bare(one(ram)).unwrap();
        one(ram)
    });
    let mine = pair(&ram);
    let theirs = other.join().unwrap();
    assert!(!mine.block().overlaps(theirs.block()));
    give_back(&ram, [mine, theirs]);
    drop(own);
    is_whole(&ram);
}

/// A6: the same beside somebody who wants nothing but that all hands are empty.
fn flushed_beside_give() {
    let ram = zone(&Potad::new(), 4);
    let other = user(&ram, |ram| ram.free_bare(one(ram)).unwrap());
    ram.flush_hands();
    other.join().unwrap();
    let stats = ram.stats();
    assert_eq!((stats.free, stats.hidden), (4, 0), "the thread has ended");
    is_whole(&ram);
}

#[test]
fn a6_a_threads_hand_is_emptied_while_it_is_hot() {
    bounded("A6 own hand: close || take, take", 2, 1000, emptied_beside_takes);
    bounded("A6 own hand: close || give, take", 2, 1200, emptied_beside_give);
    bounded("A6 own hand: flush of all || take, give", 2, 45, flushed_beside_give);
}

#[test]
fn a6_twins_own_hand() {
    for seed in ["closer does not wait", "bracket without a barrier"] {
        twin_bounded("A6 own hand: close || take, take", 2, seed, emptied_beside_takes);
        twin_bounded("A6 own hand: close || give, take", 2, seed, emptied_beside_give);
        twin_bounded("A6 own hand: flush of all || take, give", 2, seed, flushed_beside_give);
    }
}

/// A7: two threads each want one of two granules, at their first calls: nobody
/// is refused, though each hand comes into being while the other one has claimed
/// everything, or is being looked for.
fn two_first_calls() {
    let ram = zone(&Potad::new(), 2);
    let other = {
        let ram = ram.clone();
        thread::spawn(move || {
            let _own = OwnHand::begin();
            ram.alloc_bare(Order::ZERO).expect("two for two")
        })
    };
    let own = OwnHand::begin();
    let mine = ram.alloc_bare(Order::ZERO).expect("two for two");
    let theirs = other.join().unwrap();
    assert_ne!(mine.base(), theirs.base());
    give_back(&ram, [mine, theirs]);
    drop(own);
    is_whole(&ram);
}

#[test]
fn a7_a_threads_first_call_meets_anothers() {
    bounded("A7 own hands: first call || first call", 2, 600, two_first_calls);
}

#[test]
fn a7_twins_own_hands() {
    let name = "A7 own hands: first call || first call";
    twin_bounded(name, 2, "used before it is registered", two_first_calls);
    twin_bounded(name, 2, "closer does not wait", two_first_calls);
}

/// How a thread ends, as its hands see it.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Before it is joined.
    Joined,
    /// After that, beside whoever goes on.
    Late,
}

impl End {
    /// The end of the calling thread.
    fn come(self, own: OwnHand) {
        match self {
            Self::Joined => drop(own),
            // The list goes with the thread.
            Self::Late => forget(own),
        }
    }
}

/// A thread has used the zone and ends, while another wants two in a row of the
/// four that it hides: they are there throughout, and none is lost.
fn ends_beside_close(end: End) {
    let ram = zone(&Potad::new(), 4);
    let user = {
        let ram = ram.clone();
        thread::spawn(move || {
            let own = OwnHand::begin();
            let one = ram.alloc_bare(Order::ZERO).expect("one is free but for a pair");
            ram.free_bare(one).unwrap();
            end.come(own);
        })
    };
    let _own = OwnHand::begin();
    let pair = ram.alloc_bare(order(1)).expect("two in a row are free throughout");
    user.join().unwrap();
    ram.free_bare(pair).unwrap();
    is_whole(&ram);
}

#[test]
fn a_thread_that_ends_meets_who_looks_into_its_hand() {
    bounded("own hand: end || close", 2, 1000, || ends_beside_close(End::Joined));
    bounded("own hand: late end || close", 2, 5563, || ends_beside_close(End::Late));
}

#[test]
fn ending_thread_twins() {
    for seed in ["ends outside its bracket", "closer does not wait"] {
        twin_bounded("own hand: end || close", 2, seed, || ends_beside_close(End::Joined));
        twin_bounded("own hand: late end || close", 2, seed, || ends_beside_close(End::Late));
    }
}

/// Says when it is dropped, which is when its zone's state is. Outside of loom's
/// view.
struct Witness(Arc<AtomicUsize>);

impl Owner for Witness {
    fn memory_failure(&self, _: &FailedBlock) -> Outcome {
        Outcome::Ignored
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A zone of two granules, and how many of such are gone.
fn witnessed() -> (Zone, Arc<AtomicUsize>) {
    let (ram, gone) = (zone(&Potad::new(), 2), Arc::new(AtomicUsize::new(0)));
    ram.register_owner(Arc::new(Witness(Arc::clone(&gone)))).unwrap();
    (ram, gone)
}

/// Takes one granule and gives it back.
fn touch(ram: &Zone) {
    let one = ram.alloc_bare(Order::ZERO).unwrap();
    ram.free_bare(one).unwrap();
}

/// A zone's last two handles go, one with its thread, whose hand is hot: the zone
/// goes with them, once, whichever comes last.
fn zone_ends_beside_thread(end: End) {
    let (ram, gone) = witnessed();
    let user = {
        let ram = ram.clone();
        thread::spawn(move || {
            let own = OwnHand::begin();
            touch(&ram);
            drop(ram);
            end.come(own);
        })
    };
    ram.flush_hands();
    drop(ram);
    user.join().unwrap();
    if matches!(end, End::Joined) {
        assert_eq!(gone.load(Relaxed), 1, "the zone is still there, or was twice");
    }
}

/// The zone goes while a thread that has a hand of it comes upon another one,
/// and throws away what it has of zones that are gone.
fn zone_ends_beside_another() {
    let ((ram, gone), (next, next_gone)) = (witnessed(), witnessed());
    let user = {
        let (ram, next) = (ram.clone(), next.clone());
        thread::spawn(move || {
            let _own = OwnHand::begin();
            touch(&ram);
            drop(ram);
            touch(&next);
            touch(&next);
        })
    };
    ram.flush_hands();
    drop(ram);
    user.join().unwrap();
    assert_eq!(gone.load(Relaxed), 1, "the zone is still there, or was twice");
    assert_eq!((next.stats().free, next.stats().hidden), (2, 0));
    drop(next);
    assert_eq!(next_gone.load(Relaxed), 1, "the second one is still there");
}

#[test]
fn a_zone_that_ends_meets_a_thread_that_used_it() {
    bounded("own hand: end || end of the zone", 2, 50, || zone_ends_beside_thread(End::Joined));
    bounded("own hand: late end || end of the zone", 2, 50, || zone_ends_beside_thread(End::Late));
    bounded("own hand: another zone || end of the zone", 2, 50, zone_ends_beside_another);
}

#[test]
fn ending_zone_twins() {
    let seed = "a thread keeps its zones";
    let name = "own hand: end || end of the zone";
    twin_bounded(name, 2, seed, || zone_ends_beside_thread(End::Joined));
    twin_bounded("own hand: another zone || end of the zone", 2, seed, zone_ends_beside_another);
}

/// A8: the lower half of a zone leaves while a thread, whose hand has claimed all
/// of it, gives a granule of that half back and takes one again.
fn removal_beside_reuse() {
    let own = OwnHand::begin();
    let ram = zone(&Potad::new(), 8);
    let out = one(&ram);
    let other = {
        let ram = ram.clone();
        thread::spawn(move || ram.hot_remove(0..4).expect("in the zone"))
    };
    ram.free_bare(out).unwrap();
    let again = ram.alloc_bare(Order::ZERO).expect("four stay");
    let is_held = again.base().0 < 4;
    match other.join().unwrap().finish() {
        Ok(()) => {
            assert!(!is_held, "it has left, and somebody has a part of it");
            ram.free_bare(again).unwrap();
        }
        Err(refused) => {
            assert!(is_held, "refused, and nobody has a part of it: {:?}", refused.why);
            ram.free_bare(again).unwrap();
            refused.given.finish().expect("nobody has a part of it now");
        }
    }
    drop(own);
    assert_eq!(ram.granules(), 4);
    is_whole(&ram);
}

#[test]
fn a8_a_range_leaves_beside_a_threads_own_hand() {
    bounded("A8 own hand: begin || free, take", 2, 250, removal_beside_reuse);
}

#[test]
fn a8_twins_own_hand() {
    let name = "A8 own hand: begin || free, take";
    let seed = "freed without a look at the closing ranges";
    twin_bounded(name, 2, seed, removal_beside_reuse);
    twin_bounded(name, 2, "began without a flush", removal_beside_reuse);
}

/// Granule 0 fails, for another thread.
fn failure(ram: &Zone) -> JoinHandle<FailureReport> {
    let ram = ram.clone();
    thread::spawn(move || ram.report_failure(0, 0, FailureKind::Injected).unwrap())
}

/// R7: granule 0 fails while a thread allocates it with a word, out of its own
/// hand, which has claimed it.
fn failure_beside_raw_alloc() {
    let own = OwnHand::begin();
    let potad = Potad::new();
    let (ram, (id, told)) = (zone(&potad, 2), owner(&potad));
    touch(&ram);
    let report = failure(&ram);
    let block = ram.alloc_raw(Order::ZERO, id).expect("two are free, one fails");
    let report = report.join().unwrap();
    if block.base() == Granule(0) {
        assert_eq!((told.load(Relaxed), report.notified), (1, 1), "live, and not told");
    } else {
        assert_eq!((report.quarantined, told.load(Relaxed)), (1, 0));
    }
    ram.free_raw(block).unwrap();
    drop(own);
    is_out_of_circulation(&ram);
}

/// R7: the same with a descriptor.
fn failure_beside_typed_alloc() {
    let own = OwnHand::begin();
    let potad = Potad::new();
    let (ram, (id, told)) = (zone(&potad, 2), owner(&potad));
    touch(&ram);
    let report = failure(&ram);
    let folio = ram.alloc_owned(Order::ZERO, id, Folio::of(7)).ok();
    let folio = folio.expect("two are free, one fails");
    let report = report.join().unwrap();
    if folio.block().base() == Granule(0) {
        assert!(folio.is_poisoned(), "live, and not marked");
        assert_eq!((told.load(Relaxed), report.notified), (1, 1), "live, and not told");
    } else {
        assert_eq!((report.quarantined, told.load(Relaxed)), (1, 0));
    }
    drop(folio);
    drop(own);
    is_out_of_circulation(&ram);
}

/// R8: granule 0 fails while a thread gives it into its own hand and has it again:
/// whoever has it afterwards was told. With words.
fn failure_beside_raw_reuse() {
    let own = OwnHand::begin();
    let potad = Potad::new();
    let ram = zone(&potad, 1);
    let ((first, told_first), (second, told_second)) = (owner(&potad), owner(&potad));
    let raw = ram.alloc_raw(Order::ZERO, first).unwrap();
    let report = failure(&ram);
    ram.free_raw(raw).unwrap();
    let again = ram.alloc_raw(Order::ZERO, second).ok();
    is_told_rightly(&report.join().unwrap(), [told_first, told_second], again.is_some());
    if let Some(raw) = again {
        ram.free_raw(raw).unwrap();
    }
    drop(own);
    is_out_of_circulation(&ram);
}

/// R8: the same with descriptors.
fn failure_beside_typed_reuse() {
    let own = OwnHand::begin();
    let potad = Potad::new();
    let ram = zone(&potad, 1);
    let ((first, told_first), (second, told_second)) = (owner(&potad), owner(&potad));
    let folio = ram.alloc_owned(Order::ZERO, first, Folio::of(7)).ok().unwrap();
    let report = failure(&ram);
    drop(folio);
    let again = ram.alloc_owned(Order::ZERO, second, Slab::of(8)).ok();
    is_told_rightly(&report.join().unwrap(), [told_first, told_second], again.is_some());
    drop(again);
    drop(own);
    is_out_of_circulation(&ram);
}

/// Of two owners, the second of which has the granule now or nobody has.
fn is_told_rightly(report: &FailureReport, told: [Arc<AtomicUsize>; 2], is_had_again: bool) {
    let told = told.map(|told| told.load(Relaxed));
    assert_eq!(told[0] + told[1], usize::from(report.notified == 1), "told once, if at all");
    if is_had_again {
        assert_eq!(told, [0, 1], "who has it now was not told");
    }
}

#[test]
fn a_failure_meets_a_threads_own_hand() {
    bounded("R7 own hand: fail || alloc with a word", 2, 1900, failure_beside_raw_alloc);
    bounded("R7 own hand: fail || alloc with a descriptor", 2, 1900, failure_beside_typed_alloc);
    bounded("R8 own hand: fail || free, alloc", 2, 1100, failure_beside_raw_reuse);
    bounded("R8 own hand: fail || last put, alloc", 2, 8000, failure_beside_typed_reuse);
}

#[test]
fn failure_twins_own_hand() {
    let seed = "closer does not wait";
    twin_bounded("R7 own hand: fail || alloc with a word", 2, seed, failure_beside_raw_alloc);
    let name = "R7 own hand: fail || alloc with a descriptor";
    twin_bounded(name, 2, seed, failure_beside_typed_alloc);
    let name = "R8 own hand: fail || free, alloc";
    let seed = "freed without looking at the poison";
    twin_bounded(name, 2, seed, failure_beside_raw_reuse);
    let seed = "get ignores death";
    twin_bounded("R8 own hand: fail || last put, alloc", 2, seed, failure_beside_typed_reuse);
}
