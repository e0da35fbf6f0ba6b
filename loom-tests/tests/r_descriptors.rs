//! Descriptors: counting, dying, locking, splitting.
//!
//! Blocks are of order 18 and up: their words lie in the section array, so that
//! a model makes few atomics.

#![cfg(loom)]

use lookup::Tree;
use loom::thread;
use loom_tests::home::*;
use loom_tests::{bounded, model, twin, twin_bounded};
use memdesc::sync::cell::UnsafeCell;
use memdesc::{Dead, Found, Fresh, Granule, Home, Keep, Kinds, OwnerId, Ref, pin};
use std::sync::Arc;

const AT: Granule = Granule(0);

/// R1: a reader that loaded the word may count or not, but what it counts is
/// readable, and the teardown runs once.
fn r1_get_against_last_put() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            if let Some(folio) = ram.tree().get::<Folio>(AT) {
                assert_eq!(folio.number(), 7);
                assert!(!folio.header().is_dead());
            }
        })
    };
    drop(folio);
    reader.join().unwrap();
    assert_eq!(ram.torn_down(), 1);
    assert!(ram.tree().get::<Folio>(AT).is_none());
}

#[test]
fn r1_get_meets_last_put() {
    model("R1 get || last put", 1_600, r1_get_against_last_put);
}

#[test]
fn r1_twin_without_a_pin() {
    twin("R1", "read without a pin", r1_get_against_last_put);
}

#[test]
fn r1_twin_early_free() {
    twin("R1", "freed without a grace period", r1_get_against_last_put);
}

#[test]
fn r1_twin_get_ignores_death() {
    twin("R1", "get ignores death", r1_get_against_last_put);
}

/// R2: while a reader holds the old word the block is freed, published anew
/// with another type and freed again: a peek shows what its type says.
fn r2_peek_against_free_and_reuse() {
    r2(|ram| {
        let guard = pin();
        match ram.tree().find(AT, &guard).as_ref().and_then(Mm::of) {
            Some(Mm::Folio(folio)) => assert_eq!(folio.number(), 7),
            Some(Mm::Slab(slab)) => assert_eq!(slab.number(), 8),
            None => {}
        }
    });
}

/// R2: and a get gives what was asked for, alive, or nothing.
fn r2_get_against_free_and_reuse() {
    r2(|ram| {
        if let Some(slab) = ram.tree().get::<Slab>(AT) {
            assert_eq!(slab.number(), 8);
            assert!(!slab.header().is_dead());
        }
    });
}

fn r2(read: impl FnOnce(Ram) + 'static) {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || read(ram))
    };
    drop(folio);
    // No reader counts folios, so this was the last reference.
    let slab = ram.tree().publish(block(0, 18), ram.slab(8)).unwrap();
    drop(slab);
    reader.join().unwrap();
    assert_eq!(ram.torn_down(), 2);
}

#[test]
fn r2_peek_meets_free_and_reuse() {
    model("R2 peek || free, other type, free", 700, r2_peek_against_free_and_reuse);
}

#[test]
fn r2_get_meets_free_and_reuse() {
    model("R2 get || free, other type, free", 1_000, r2_get_against_free_and_reuse);
}

#[test]
fn r2_twin_early_free() {
    twin("R2", "freed without a grace period", r2_peek_against_free_and_reuse);
}

#[test]
fn r2_twin_without_a_pin() {
    twin("R2", "read without a pin", r2_get_against_free_and_reuse);
}

#[test]
fn r2_twin_words_left_behind() {
    twin("R2", "words left behind", r2_get_against_free_and_reuse);
}

/// R3: of a last put and a get exactly one wins: it lives on or is torn down,
/// and torn down once.
fn r3_put_against_try_get() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            let guard = pin();
            let Some(Found::Descriptor(peeked)) = ram.tree().find(AT, &guard) else { return };
            let Some(got) = peeked.try_get() else { return };
            drop(guard);
            assert!(!got.header().is_dead(), "counted, and dead");
            assert_eq!(ram.torn_down(), 0, "counted, and torn down");
        })
    };
    drop(folio);
    reader.join().unwrap();
    assert_eq!(ram.torn_down(), 1);
}

#[test]
fn r3_put_meets_try_get() {
    model("R3 put to 0 || try_get", 1_600, r3_put_against_try_get);
}

#[test]
fn r3_twin_death_in_two_steps() {
    twin("R3", "death not in one step", r3_put_against_try_get);
}

#[test]
fn r3_twin_get_ignores_death() {
    twin("R3", "get ignores death", r3_put_against_try_get);
}

/// R4: a locker that waits is woken, also when the last reference goes under
/// the lock; the lock keeps what it locks, and somebody tears it down.
fn r4_lock_against_death_under_the_lock() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let locker = {
        let ram = ram.clone();
        thread::spawn(move || {
            if let Some(folio) = ram.tree().lock::<Folio>(AT) {
                assert!(!folio.header().is_dead());
                folio.add_one();
            }
        })
    };
    // Whoever was first, the other waits; our lock outlives our reference.
    let locked = folio.into_locked();
    locked.add_one();
    drop(locked);
    locker.join().unwrap();
    assert_eq!(ram.torn_down(), 1);
}

#[test]
fn r4_locker_meets_death_under_the_lock() {
    model(
        "R4 waiting locker || last reference and unlock",
        15_000,
        r4_lock_against_death_under_the_lock,
    );
}

#[test]
fn r4_twin_nobody_is_woken() {
    twin("R4", "unlock wakes nobody", r4_lock_against_death_under_the_lock);
}

/// R5: the lock bit, the count and the flags share a word, and none loses the
/// other's change.
fn r5_lock_against_flags_and_counts() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let other = {
        let folio = folio.try_clone().unwrap();
        thread::spawn(move || {
            folio.header().set_flags(2);
            folio.lock().add_one();
        })
    };
    folio.lock().add_one();
    other.join().unwrap();
    assert_eq!(folio.header().flags(), 2);
    assert!(folio.is_unshared());
    assert_eq!(folio.number(), 9);
    drop(folio);
    assert_eq!(ram.torn_down(), 1);
}

#[test]
fn r5_lock_meets_flags_and_counts() {
    model("R5 lock || flags and counts", 18_000, r5_lock_against_flags_and_counts);
}

#[test]
fn r5_twin_plain_unlock() {
    twin("R5", "unlock by a plain store", r5_lock_against_flags_and_counts);
}

/// R6: what is found by any slot is initialised.
fn r6_publish_against_get() {
    let ram = Ram::new();
    // The table is there before the threads are.
    ram.tree().publish_immediate(block(0, 18), raw(1, 18)).unwrap();
    ram.tree().clear_immediate(block(0, 18)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            let guard = pin();
            let upper = Granule((1 << 18) + 5);
            if let Some(found) = ram.tree().find(upper, &guard) {
                assert_eq!(found.block(), block(0, 19));
                assert_eq!(found.downcast::<Folio>().unwrap().number(), 7);
            }
            if let Some(folio) = ram.tree().get::<Folio>(AT) {
                assert_eq!(folio.number(), 7);
            }
        })
    };
    let folio = ram.tree().publish(block(0, 19), ram.folio(7)).unwrap();
    reader.join().unwrap();
    drop(folio);
    assert_eq!(ram.torn_down(), 1);
}

#[test]
fn r6_publish_meets_readers_of_two_slots() {
    model("R6 publish of two slots || find, get", 14, r6_publish_against_get);
}

#[test]
fn r6_twin_relaxed_publish() {
    twin("R6", "relaxed publish", r6_publish_against_get);
}

/// R10: whoever holds a lock got through an address holds the descriptor of
/// that address, whatever is split meanwhile.
fn r10_lock_against_split() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 19), ram.folio(7)).unwrap();
    let locker = {
        let ram = ram.clone();
        thread::spawn(move || {
            let upper = Granule(1 << 18);
            let locked = ram.tree().lock_erased(upper).expect("live throughout");
            assert!(locked.contains(upper));
        })
    };
    let slab = ram.tree().split(&folio.lock(), ram.slab(8)).unwrap();
    locker.join().unwrap();
    drop((folio, slab));
    assert_eq!(ram.torn_down(), 2);
}

#[test]
fn r10_locker_meets_split() {
    model("R10 lock || split", 11_000, r10_lock_against_split);
}

#[test]
fn r10_twin_re_check_left_out() {
    twin("R10", "re-check left out", r10_lock_against_split);
}

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

/// What R10 asks of whoever reads an address that is live throughout: a get
/// gives something, and a lock is the tree's own answer, for as long as it is
/// held.
fn r10_read(ram: &Ram, at: Granule) {
    let got = ram.tree().get_erased(at).expect("live throughout");
    assert!(!got.header().is_dead());
    drop(got);
    let locked = ram.tree().lock_erased(at).expect("live throughout");
    assert!(locked.contains(at));
    let guard = pin();
    let found = ram.tree().find(at, &guard).expect("live throughout");
    let found = found.descriptor().expect("typed throughout");
    assert_eq!(found.word(), locked.word(), "the lock proves membership");
}

/// R10: another descriptor takes a block over while it is got and locked; the
/// old one goes without a trace on the slots.
fn r10_read_against_replace() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || r10_read(&ram, AT))
    };
    let slab = ram.tree().replace(&folio.lock(), ram.slab(8)).unwrap();
    drop(folio);
    assert_eq!(slab.number(), 8);
    reader.join().unwrap();
    assert_eq!(ram.tree().get::<Slab>(AT).unwrap().number(), 8);
    drop(slab);
    assert_eq!(ram.torn_down(), 1, "of the old one nothing was left to tear down");
    assert!(ram.tree().get_erased(AT).is_none());
}

#[test]
fn r10_reader_meets_replace() {
    bounded("R10 get, lock || replace", 3, 6_000, r10_read_against_replace);
}

#[test]
fn r10_twin_replaced_and_nobody_told() {
    twin_bounded("R10 replace", 3, "moved, and nobody told", r10_read_against_replace);
}

#[test]
fn r10_twin_replaced_and_retracted() {
    twin_bounded("R10 replace", 3, "moved, and retracted all the same", r10_read_against_replace);
}

#[test]
fn r10_twin_moved_and_dead_means_gone() {
    twin_bounded("R10 replace", 3, "moved and dead means gone", r10_read_against_replace);
}

/// R10: two halves become one block while the upper one is got and locked.
fn r10_read_against_merge() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let slab = ram.tree().publish(block(1 << 18, 18), ram.slab(8)).unwrap();
    let upper = Granule(1 << 18);
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || r10_read(&ram, upper))
    };
    assert_eq!(ram.tree().merge(&folio.lock(), &slab.lock()), Ok(block(0, 19)));
    drop(slab);
    reader.join().unwrap();
    assert_eq!(ram.tree().get::<Folio>(upper).unwrap().number(), 7);
    drop(folio);
    assert_eq!(ram.torn_down(), 1);
    assert!(ram.tree().get_erased(upper).is_none());
}

#[test]
fn r10_reader_meets_merge() {
    bounded("R10 get, lock || merge", 3, 10_000, r10_read_against_merge);
}

#[test]
fn r10_twin_merged_and_nobody_told() {
    twin_bounded("R10 merge", 3, "moved, and nobody told", r10_read_against_merge);
}

/// R10: the word of a live block goes up between two arrays; a look-up goes down
/// and does not pass it.
fn r10_find_against_rise() {
    rise(23);
}

/// The same where no block was ever so small that it has a section.
fn r10_find_against_rise_above() {
    rise(29);
}

/// The same from a node into the section above it: who is in the node already
/// still finds the words there.
fn r10_find_against_unlinked_node() {
    rise(17);
}

fn rise(order: u32) {
    let ram = Ram::new();
    let half = 1 << order;
    let folio = ram.tree().publish(block(0, order), ram.folio(7)).unwrap();
    let slab = ram.tree().publish(block(half, order), ram.slab(8)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            let guard = pin();
            assert!(ram.tree().find(Granule(half), &guard).is_some(), "live throughout");
        })
    };
    assert_eq!(ram.tree().merge(&folio.lock(), &slab.lock()), Ok(block(0, order + 1)));
    reader.join().unwrap();
}

#[test]
fn r10_find_meets_rise() {
    bounded("R10 find || merge into the array above", 3, 1_900, r10_find_against_rise);
}

#[test]
fn r10_find_meets_rise_above() {
    bounded("R10 find || merge two arrays above", 3, 1_900, r10_find_against_rise_above);
}

#[test]
fn r10_find_meets_unlinked_node() {
    bounded("R10 find || merge, a node goes", 3, 25, r10_find_against_unlinked_node);
}

#[test]
fn r10_twin_node_reused_at_once() {
    let seed = "node reused without a grace period";
    twin_bounded("R10 node", 3, seed, r10_find_against_unlinked_node);
}

#[test]
fn r10_twin_rise_not_counted() {
    twin_bounded("R10 rise", 3, "rise not counted", r10_find_against_rise);
}

#[cfg(crossbeam_loom)]
mod real_epoch {
    //! On the real epoch, bounded: see the crate's documentation.

    use super::*;
    use loom_tests::twin_in_child;

    #[test]
    fn real_r1_get_meets_last_put() {
        bounded("real R1 get || last put", 2, 8_000, r1_get_against_last_put);
    }

    #[test]
    fn real_r2_peek_meets_free_and_reuse() {
        let name = "real R2 peek || free, other type, free";
        bounded(name, 2, 6_000, r2_peek_against_free_and_reuse);
    }

    #[test]
    fn real_r1_twin_early_free() {
        let test = "real_epoch::real_r1_twin_early_free";
        twin_in_child(test, 2, "freed without a grace period", r1_get_against_last_put);
    }

    #[test]
    fn real_r6_twin_relaxed_publish() {
        let test = "real_epoch::real_r6_twin_relaxed_publish";
        twin_in_child(test, 2, "relaxed publish", r6_publish_against_get);
    }
}
