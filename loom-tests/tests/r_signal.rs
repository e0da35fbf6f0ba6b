//! Signal handlers: a look-up through the gate, and the queue of failures.
//!
//! A handler is modelled as a thread of its own: it may run at any moment, and
//! shares nothing with a thread that it would not share with the one it
//! interrupts. That includes a handler on top of another push or look-up: it is
//! the interleaving in which the lower one stands still.

#![cfg(loom)]

use lookup::{Addresses, Ranges};
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use loom_tests::home::*;
use loom_tests::{bounded, model, twin, twin_bounded};
use memdesc::sync::cell::UnsafeCell;
use memdesc::{FailureKind, Granule, InSignal, OwnerId, Seen, pin};
use potad::{FailureEvent, FailureQueue};
use std::sync::Arc;

// ---- the gate ---------------------------------------------------------------

/// A descriptor that a handler found is not freed before it has left.
fn find_against_last_put() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let handler = {
        let ram = ram.clone();
        thread::spawn(move || {
            let Some(seen) = ram.tree().find_signal(Granule(5)) else { return };
            assert_eq!((seen.block, seen.owner), (block(0, 18), OwnerId(1)));
            assert!(matches!(seen.seen, Seen::Descriptor { name: "Folio", .. }));
        })
    };
    drop(folio);
    handler.join().unwrap();
    assert_eq!(ram.torn_down(), 1);
    assert_eq!(ram.tree().find_signal(Granule(5)), None);
}

#[test]
fn a_handler_meets_the_last_put() {
    model("find_signal || last put", 340, find_against_last_put);
}

#[test]
fn gate_twin_not_looked_at() {
    twin("find_signal", "freed without a look at the gate", find_against_last_put);
}

#[test]
fn gate_twin_entered_without_a_fence() {
    twin("find_signal", "gate entered without a fence", find_against_last_put);
}

#[test]
fn gate_twin_looked_at_without_a_fence() {
    twin("find_signal", "gate looked at without a fence", find_against_last_put);
}

#[test]
fn gate_twin_left_relaxed() {
    twin("find_signal", "gate left relaxed", find_against_last_put);
}

/// Something that is unlinked, then freed.
struct Thing {
    linked: AtomicBool,
    alive: UnsafeCell<bool>,
}

// SAFETY: loom checks that nobody frees while others read.
unsafe impl Sync for Thing {}
// SAFETY: as above.
unsafe impl Send for Thing {}

impl Thing {
    fn new() -> Arc<Self> {
        Arc::new(Self { linked: AtomicBool::new(true), alive: UnsafeCell::new(true) })
    }

    /// What a handler does that finds it.
    fn read(&self) {
        let inside = InSignal::enter();
        if self.linked.load(Ordering::Acquire) {
            // SAFETY: loom checks that nobody writes at once.
            assert!(self.alive.with(|alive| unsafe { *alive }), "used after it was freed");
        }
        drop(inside);
    }

    /// Unlinks it, and frees it once nobody can be looking.
    fn retire(self: &Arc<Self>) {
        self.linked.store(false, Ordering::Release);
        let this = Arc::clone(self);
        pin().defer(move || {
            // SAFETY: loom checks that nobody reads at once.
            this.alive.with_mut(|alive| unsafe { *alive = false });
        });
    }

    fn is_freed(&self) -> bool {
        // SAFETY: as in `read`.
        !self.alive.with(|alive| unsafe { *alive })
    }
}

/// Handlers that come in on one side and on the other: each is waited for, and
/// once they have left everything is freed by the next flush.
fn handlers_on_both_sides() {
    let (first, second) = (Thing::new(), Thing::new());
    let handlers = {
        let (first, second) = (Arc::clone(&first), Arc::clone(&second));
        thread::spawn(move || {
            first.read();
            second.read();
        })
    };
    // Meets the first handler, or not: then later ones use the other side.
    first.retire();
    second.retire();
    handlers.join().unwrap();
    pin().flush();
    assert!(first.is_freed() && second.is_freed(), "held up for ever");
}

#[test]
fn handlers_of_both_sides_are_waited_for() {
    model("gate: two handlers || two frees", 6_400, handlers_on_both_sides);
}

#[test]
fn sides_twin_one_looked_at() {
    twin("gate: sides", "one side of the gate looked at", handlers_on_both_sides);
}

// ---- what is freed through it -----------------------------------------------

/// A node that is unlinked and used elsewhere: a handler on its way through it
/// never answers with what lives there then.
fn node_goes_and_comes() {
    let ram = Ram::new();
    let tree = ram.tree();
    let (here, whole, elsewhere) = (block(0, 12), block(0, 18), block(1 << 18, 12));
    tree.publish_immediate(here, raw(1, 12)).unwrap();
    let handler = {
        let ram = ram.clone();
        thread::spawn(move || {
            let seen = ram.tree().find_signal(Granule(0));
            assert_ne!(seen.map(|seen| seen.owner), Some(OwnerId(3)));
        })
    };
    tree.clear_immediate(here).unwrap();
    tree.publish_immediate(whole, raw(2, 18)).unwrap();
    tree.clear_immediate(whole).unwrap();
    tree.settle();
    tree.publish_immediate(elsewhere, raw(3, 12)).unwrap();
    handler.join().unwrap();
}

#[test]
fn a_node_is_not_reused_under_a_handler() {
    model("node reuse || find_signal", 340, node_goes_and_comes);
}

#[test]
fn node_twin_gate_not_looked_at() {
    twin("node reuse", "freed without a look at the gate", node_goes_and_comes);
}

/// A block that is split, and one that changes hands, is found throughout.
fn find_against_split() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let handler = {
        let ram = ram.clone();
        thread::spawn(move || {
            let seen = ram.tree().find_signal(Granule(1 << 17)).expect("live throughout");
            assert!([block(0, 18), block(1 << 17, 17)].contains(&seen.block));
        })
    };
    let slab = ram.tree().split(&folio.lock(), ram.slab(8)).unwrap();
    handler.join().unwrap();
    let seen = ram.tree().find_signal(Granule(1 << 17)).expect("split");
    assert_eq!((seen.kind_name(), seen.owner), ("Slab", slab.owner()));
}

#[test]
fn a_handler_meets_split() {
    model("find_signal || split", 870, find_against_split);
}

#[test]
fn split_twin_linked_before_filled() {
    twin("find_signal || split", "node linked before it is filled", find_against_split);
}

/// A range's value, written without any atomic.
struct Named {
    number: UnsafeCell<u64>,
}

// SAFETY: loom checks that nobody drops while others read.
unsafe impl Sync for Named {}
// SAFETY: as above.
unsafe impl Send for Named {}

impl Named {
    fn new(number: u64) -> Arc<Self> {
        Arc::new(Self { number: UnsafeCell::new(number) })
    }

    fn number(&self) -> u64 {
        // SAFETY: loom checks that nobody writes at once.
        self.number.with(|number| unsafe { *number })
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: being dropped.
        self.number.with_mut(|number| unsafe { *number = u64::MAX });
    }
}

/// A value that is replaced is dropped after the handler that reads it has left.
fn value_against_replace() {
    let map = Arc::new(Ranges::<Arc<Named>>::new());
    let range = Addresses::new(0, 5).unwrap();
    map.insert(range, Named::new(1)).unwrap();
    let handler = {
        let map = map.clone();
        thread::spawn(move || {
            let seen = map.find_signal(3, |named, at| (named.number(), at));
            let (number, at) = seen.expect("named throughout");
            assert!([1, 2].contains(&number) && at == range);
        })
    };
    map.set(range, Named::new(2)).unwrap();
    handler.join().unwrap();
}

#[test]
fn a_value_outlives_the_handler_that_reads_it() {
    model("ranges: value || replace, find_signal", 40, value_against_replace);
}

#[test]
fn value_twin_gate_not_looked_at() {
    twin("ranges: find_signal", "freed without a look at the gate", value_against_replace);
}

// ---- the queue --------------------------------------------------------------

/// An event all of whose parts say which it is.
fn event(number: u32) -> FailureEvent {
    let kinds = [FailureKind::Found, FailureKind::Predicted, FailureKind::Injected];
    FailureEvent { address: 100 + u64::from(number), lsb: number, kind: kinds[number as usize] }
}

fn push(queue: &FailureQueue, number: u32) -> bool {
    let FailureEvent { address, lsb, kind } = event(number);
    let pushed = queue.push(address, lsb, kind);
    assert!(pushed.is_ok() || pushed.unwrap_err().dropped == event(number));
    pushed.is_ok()
}

/// What was popped is whole, and together with what was dropped it is what was
/// pushed, each once.
fn is_complete(queue: &FailureQueue, popped: &[FailureEvent], pushed: &[bool]) {
    let mut seen: Vec<u32> = popped.iter().map(|popped| popped.lsb).collect();
    popped.iter().for_each(|popped| assert_eq!(*popped, event(popped.lsb), "torn"));
    seen.sort_unstable();
    let expected = (0..).zip(pushed).filter(|&(_, &pushed)| pushed).map(|(number, _)| number);
    assert_eq!(seen, expected.collect::<Vec<_>>(), "lost, or twice");
    assert_eq!(queue.dropped(), pushed.iter().filter(|&&pushed| !pushed).count() as u64);
}

/// R16: two handlers push beside a consumer.
fn r16_two_pushes_and_a_pop() {
    let queue = Arc::new(FailureQueue::new(2).unwrap());
    let handlers = [0, 1].map(|number| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || push(&queue, number))
    });
    let mut popped: Vec<_> = queue.pop().into_iter().collect();
    let pushed = handlers.map(|handler| handler.join().unwrap());
    popped.extend(queue.drain());
    is_complete(&queue, &popped, &pushed);
    assert_eq!(pushed, [true, true], "there is room for both");
}

#[test]
fn r16_pushes_meet_a_consumer() {
    bounded("R16 push || push || pop", 3, 270, r16_two_pushes_and_a_pop);
}

#[test]
fn r16_twin_published_relaxed_beside_another() {
    twin_bounded("R16", 3, "event published relaxed", r16_two_pushes_and_a_pop);
}

/// R16, one cell: of two pushes one gets it, and the other is counted.
fn r16_two_pushes_for_one_cell() {
    let queue = Arc::new(FailureQueue::new(1).unwrap());
    let handler = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || push(&queue, 0))
    };
    let second = push(&queue, 1);
    let first = handler.join().unwrap();
    assert!(first != second);
    is_complete(&queue, &queue.drain().collect::<Vec<_>>(), &[first, second]);
}

#[test]
fn r16_pushes_meet_at_one_cell() {
    model("R16 push || push; room for one", 31, r16_two_pushes_for_one_cell);
}

#[test]
fn r16_twin_claimed_by_a_plain_store() {
    twin("R16, one cell", "cell claimed by a plain store", r16_two_pushes_for_one_cell);
}

/// R16, full: with room for one, a push finds room or is counted; what it gets
/// has been read.
fn r16_pushes_to_a_full_queue() {
    let queue = Arc::new(FailureQueue::new(1).unwrap());
    let handler = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || [0, 1].map(|number| push(&queue, number)))
    };
    let mut popped: Vec<_> = queue.pop().into_iter().collect();
    popped.extend(queue.pop());
    let [first, second] = handler.join().unwrap();
    popped.extend(queue.drain());
    assert!(first, "it was empty");
    is_complete(&queue, &popped, &[first, second]);
}

#[test]
fn r16_pushes_meet_a_consumer_of_a_full_queue() {
    model("R16 push, push || pop, pop; room for one", 29, r16_pushes_to_a_full_queue);
}

#[test]
fn r16_twin_published_relaxed() {
    twin("R16, full", "event published relaxed", r16_pushes_to_a_full_queue);
    twin("R16, full", "cell claimed relaxed", r16_pushes_to_a_full_queue);
}

#[test]
fn r16_twin_dropped_and_not_counted() {
    twin("R16, full", "dropped event not counted", r16_pushes_to_a_full_queue);
}

/// R16, consumers: two of them take each event once.
fn r16_two_pops() {
    let queue = Arc::new(FailureQueue::new(2).unwrap());
    let pushed = [push(&queue, 0), push(&queue, 1)];
    let other = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || queue.pop())
    };
    let mut popped: Vec<_> = queue.pop().into_iter().collect();
    popped.extend(other.join().unwrap());
    popped.extend(queue.drain());
    is_complete(&queue, &popped, &pushed);
}

#[test]
fn r16_consumers_share() {
    model("R16 pop || pop", 100, r16_two_pops);
}

#[test]
fn r16_twin_taken_twice() {
    twin("R16, consumers", "cell claimed by a plain store", r16_two_pops);
}
