//! The leaf: a short cut that outlives the node it led to.

#![cfg(loom)]

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use loom_tests::home::*;
use loom_tests::{model, twin};
use memdesc::{Granule, pin};
use std::sync::Arc;

/// Publishes by the short cut, else the long way.
fn publish(ram: &Ram, leaf: &lookup::Leaf, at: u64, owner: u16) {
    let (block, word) = (block(at, 0), raw(owner, 0));
    if !ram.tree().publish_by(leaf, block, word) {
        ram.tree().publish_immediate(block, word).unwrap();
        ram.tree().lead(leaf, block);
    }
}

/// While one thread has no granule below a node, another owns them all, puts a
/// block of `order` there (the node is unlinked) and gives them on: what the
/// first then publishes is found, whichever way its short cuts led.
fn leaf_against_unlink(order: u32) {
    let ram = Ram::new();
    let leaf = ram.tree().leaf();
    // The first leads to the section, the second to the node.
    for _ in 0..2 {
        publish(&ram, &leaf, 0, 1);
        assert!(ram.tree().clear_by(&leaf, block(0, 0)), "the short cut leads there");
    }
    // Granule 0 is free now; who takes it takes it with all before.
    let mine = Arc::new(AtomicBool::new(false));
    let other = {
        let (ram, mine) = (ram.clone(), Arc::clone(&mine));
        thread::spawn(move || {
            ram.tree().publish_immediate(block(0, order), raw(2, order)).unwrap();
            ram.tree().clear_immediate(block(0, order)).unwrap();
            mine.store(true, Ordering::Release);
        })
    };
    if !mine.load(Ordering::Acquire) {
        other.join().unwrap();
    }
    publish(&ram, &leaf, 0, 3);
    {
        let guard = pin();
        let found = ram.tree().find(Granule(0), &guard).and_then(|found| found.immediate());
        assert_eq!(found, Some(raw(3, 0)));
    }
    assert!(ram.tree().clear_by(&leaf, block(0, 0)));
}

fn node_unlinked() {
    leaf_against_unlink(6);
}

fn section_unlinked() {
    leaf_against_unlink(18);
}

#[test]
fn a_stale_short_cut_is_not_taken() {
    model("leaf || unlink", 3, node_unlinked);
}

#[test]
fn a_stale_short_cut_to_a_section_is_not_taken() {
    model("leaf || unlink of a section", 3, section_unlinked);
}

#[test]
fn twin_unlink_is_not_counted() {
    twin("leaf", "unlinked without counting", node_unlinked);
}

#[test]
fn twin_unlink_of_a_section_is_not_counted() {
    twin("leaf of a section", "unlinked without counting", section_unlinked);
}
