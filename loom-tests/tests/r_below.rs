//! What may be in the way of a block above the sections: notes of groups, made
//! by who publishes there and taken back by who found the group empty.

#![cfg(loom)]

use loom::thread;
use loom_tests::home::*;
use loom_tests::{model, twin};

/// A block above the sections takes back the note of the group below it, while
/// a neighbour notes that of the next group, in the same word: what the
/// neighbour published is found to be in the way later.
fn forget_against_note() {
    let ram = Ram::new();
    let tree = ram.tree();
    // The first group was in use once.
    tree.publish_immediate(block(0, 18), raw(1, 18)).unwrap();
    tree.clear_immediate(block(0, 18)).unwrap();
    let neighbour = {
        let ram = ram.clone();
        thread::spawn(move || {
            ram.tree().publish_immediate(block(1 << 24, 18), raw(2, 18)).unwrap();
        })
    };
    tree.publish_immediate(block(0, 24), raw(3, 24)).unwrap();
    tree.clear_immediate(block(0, 24)).unwrap();
    neighbour.join().unwrap();
    let refused = tree.publish_immediate(block(0, 25), raw(4, 25));
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn a_note_beside_one_taken_back_stays() {
    model("note || forget", 3, forget_against_note);
}

#[test]
fn twin_note_taken_back_by_a_plain_store() {
    twin("note", "group forgotten by a plain store", forget_against_note);
}

#[test]
fn twin_notes_counted_by_a_plain_store() {
    twin("note", "noted groups counted by a plain store", forget_against_note);
}
