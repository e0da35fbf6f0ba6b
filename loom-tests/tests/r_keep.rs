//! R18: references that outlive the block, and the last handle on its home.
//!
//! A descriptor keeps its home by a unit of a counter, not by a count of its
//! own: units are handed out in shares, and added up when the last handle goes.
//! The home ends once, after everything that was done with it.

#![cfg(loom)]

use lookup::Tree;
use loom::thread;
use loom_tests::home::*;
use loom_tests::{model, twin};
use memdesc::sync::cell::UnsafeCell;
use memdesc::{Dead, Fresh, Home, Keep, Kinds, OwnerId, Ref};
use std::sync::Arc;

/// R18: a reference outlives the block and the last handle on the home: what it
/// gives back to is there, and goes once. Both threads make descriptors of the
/// one home, and each drops its handle and what the other made.
fn r18_late_put_against_the_last_keep() {
    let ram = Ram::new();
    let keep = Keep::new(ram.clone());
    let folio = kept_folio(&ram, &keep, 0);
    let other = {
        let (ram, keep) = (ram.clone(), keep.clone());
        thread::spawn(move || {
            let slab = kept_folio(&ram, &keep, 1 << 18);
            drop(keep);
            drop(folio);
            slab
        })
    };
    let page = kept_folio(&ram, &keep, 2 << 18);
    drop(keep);
    drop(page);
    let late = other.join().unwrap();
    assert_eq!(late.home().torn_down(), 2);
    assert_eq!(Arc::strong_count(&ram.0), 2, "ours, and the home");
    drop(late);
    assert_eq!(ram.torn_down(), 3);
    assert_eq!(Arc::strong_count(&ram.0), 1, "the home is gone, once");
}

fn kept_folio(ram: &Ram, keep: &Keep<Ram>, base: u64) -> Ref<Ram, Folio> {
    let fresh = Fresh::of(keep, OwnerId(1), Folio::of(7)).expect("memory");
    ram.tree().publish(block(base, 18), fresh).unwrap()
}

#[test]
fn r18_late_put_meets_the_last_keep() {
    model("R18 put || last handle", 1_600, r18_late_put_against_the_last_keep);
}

#[test]
fn r18_twin_freed_while_units_are_out() {
    twin("R18", "anchor freed while units are out", r18_late_put_against_the_last_keep);
}

#[test]
fn r18_twin_shares_not_added_up() {
    twin("R18", "shares not added up", r18_late_put_against_the_last_keep);
}

/// A home that is looked at without any atomic, and written when it goes: loom
/// sees if nothing orders the two.
struct Plain {
    kinds: Kinds,
    seen: UnsafeCell<u32>,
}

// SAFETY: written by its drop alone; that the rest comes before, loom checks.
unsafe impl Sync for Plain {}

impl Home for Plain {
    fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Leaves the words, and the memory, where they are.
    fn teardown(dead: Dead<Self>) {
        // SAFETY: nobody writes while a unit is out; loom checks that.
        let seen = dead.home().seen.with(|seen| unsafe { *seen });
        assert_eq!(seen, 0, "the home is there to the end");
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        // SAFETY: the last use; loom checks that.
        self.seen.with_mut(|seen| unsafe { *seen = 1 });
    }
}

/// R18: of two late puts the last ends the home, after all that the other did.
fn r18_late_put_against_late_put() {
    let kinds = Kinds::new();
    Mm::register(&kinds).expect("two types");
    let keep = Keep::new(Plain { kinds, seen: UnsafeCell::new(0) });
    let tree = Tree::<Plain>::new();
    let [mine, others] = [0, 1 << 18].map(|base| {
        let fresh = Fresh::of(&keep, OwnerId(1), Folio::of(7)).expect("memory");
        tree.publish(block(base, 18), fresh).unwrap()
    });
    drop(keep);
    let other = thread::spawn(move || drop(others));
    drop(mine);
    other.join().unwrap();
}

#[test]
fn r18_late_put_meets_late_put() {
    model("R18 put || put", 4, r18_late_put_against_late_put);
}

#[test]
fn r18_twin_units_given_back_relaxed() {
    twin("R18 put", "units given back relaxed", r18_late_put_against_late_put);
}
