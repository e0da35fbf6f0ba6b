//! A bag of cells that goes to the epoch and comes back to the thread that
//! filled it, or stays with whoever collects it if that thread has ended.
//!
//! The value has a cell that loom watches: two that use it at once, or one that
//! does not come after the other, is a failure.

#![cfg(loom)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;
use loom_tests::{model, twin};
use memdesc::Whole;
use std::sync::Arc;

struct Bag {
    cells: UnsafeCell<u32>,
    /// How often it was taken apart.
    freed: Arc<AtomicU32>,
}

// SAFETY: used by whoever has it; loom says if two do.
unsafe impl Send for Bag {}
// SAFETY: as above.
unsafe impl Sync for Bag {}

impl Bag {
    /// Uses the cells, and says how often they were used before.
    fn used(&self) -> u32 {
        self.cells.with_mut(|cells| {
            // SAFETY: the caller's alone, or loom says so first.
            let cells = unsafe { &mut *cells };
            *cells += 1;
            *cells - 1
        })
    }

    fn free(&self, used: u32) {
        assert_eq!(self.used(), used, "what the other did is seen");
        self.freed.fetch_add(1, Relaxed);
    }
}

/// A bag that was filled, and how often it was freed.
fn filled() -> (Whole<Bag>, Arc<AtomicU32>) {
    let freed = Arc::new(AtomicU32::new(0));
    let bag = Bag { cells: UnsafeCell::new(0), freed: freed.clone() };
    assert_eq!(bag.used(), 0);
    (Whole::new(bag).unwrap(), freed)
}

/// One frees the bag, whether its thread asks once more and ends before the
/// other brings it back, at that moment, or later.
fn brought_back_and_left() {
    let (bag, freed) = filled();
    let (near, far) = bag.part();
    let collector = thread::spawn(move || {
        assert_eq!(far.used(), 1);
        if let Some(bag) = far.bring() {
            bag.free(2);
        }
    });
    match near.take() {
        Ok(bag) => bag.free(2),
        Err(near) => {
            if let Some(bag) = near.leave() {
                bag.free(2);
            }
        }
    }
    collector.join().unwrap();
    assert_eq!(freed.load(Relaxed), 1, "freed once");
}

#[test]
fn a_bag_is_freed_by_one_of_the_two() {
    model("bag brought back || left", 10, brought_back_and_left);
}

#[test]
fn twin_brought_back_relaxed() {
    twin("bag", "brought back relaxed", brought_back_and_left);
}

#[test]
fn twin_taken_back_relaxed() {
    twin("bag", "taken back relaxed", brought_back_and_left);
}

#[test]
fn twin_left_relaxed() {
    twin("bag", "left relaxed", brought_back_and_left);
}

#[test]
fn twin_left_without_a_look() {
    twin("bag", "left without a look", brought_back_and_left);
}

/// The same bag goes off twice.
fn sent_again() {
    let (bag, freed) = filled();
    let (near, far) = bag.part();
    let first = thread::spawn(move || {
        assert_eq!(far.used(), 1);
        far.bring().is_none()
    });
    let Ok(bag) = near.take() else {
        assert!(first.join().unwrap(), "the thread waits, so it has it");
        return;
    };
    assert_eq!(bag.used(), 2);
    let (near, far) = bag.part();
    let second = thread::spawn(move || {
        assert_eq!(far.used(), 3);
        if let Some(bag) = far.bring() {
            bag.free(4);
        }
    });
    if let Some(bag) = near.leave() {
        bag.free(4);
    }
    assert!(first.join().unwrap());
    second.join().unwrap();
    assert_eq!(freed.load(Relaxed), 1, "freed once");
}

#[test]
fn a_bag_that_is_back_goes_off_again() {
    model("bag sent again", 15, sent_again);
}
