//! What may be in the way of a block above the sections: notes of groups and of
//! tables, made by who publishes there and taken back by who found them empty, and
//! nodes under which nothing is published, which go.

#![cfg(loom)]

use loom::thread;
use loom_tests::home::*;
use loom_tests::{model, twin};
use memdesc::{Granule, OwnerId, pin};

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

/// The same, a table up: a block that covers a last table takes back what is noted
/// of the table, while a neighbour notes the next table, in the same word.
fn forget_table_against_note() {
    let ram = Ram::new();
    let tree = ram.tree();
    // Tables of models have 128 words: sections 128 to 255 are one, 256 the next.
    let (mine, theirs) = (block(128 << 18, 25), block(256 << 18, 25));
    tree.publish_immediate(block(128 << 18, 18), raw(1, 18)).unwrap();
    tree.clear_immediate(block(128 << 18, 18)).unwrap();
    let neighbour = {
        let ram = ram.clone();
        thread::spawn(move || {
            ram.tree().publish_immediate(block(256 << 18, 18), raw(2, 18)).unwrap();
        })
    };
    tree.publish_immediate(mine, raw(3, 25)).unwrap();
    tree.clear_immediate(mine).unwrap();
    neighbour.join().unwrap();
    let refused = tree.publish_immediate(theirs, raw(4, 25));
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn a_note_of_a_table_beside_one_taken_back_stays() {
    model("note || forget, tables", 3, forget_table_against_note);
}

#[test]
fn twin_table_taken_back_by_a_plain_store() {
    twin("note, tables", "table forgotten by a plain store", forget_table_against_note);
}

/// A node that is unlinked for a block above the sections, and used elsewhere: a
/// reader on its way through it never answers with what lives there then.
fn node_goes_for_a_large_block() {
    let ram = Ram::new();
    let tree = ram.tree();
    let (here, large, elsewhere) = (block(0, 12), block(0, 24), block(1 << 24, 12));
    tree.publish_immediate(here, raw(1, 12)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            let guard = pin();
            let found = ram.tree().find(Granule(0), &guard);
            assert_ne!(found.map(|found| found.owner()), Some(OwnerId(3)));
        })
    };
    tree.clear_immediate(here).unwrap();
    tree.publish_immediate(large, raw(2, 24)).unwrap();
    tree.clear_immediate(large).unwrap();
    tree.settle();
    tree.publish_immediate(elsewhere, raw(3, 12)).unwrap();
    reader.join().unwrap();
}

#[test]
fn a_node_under_a_large_block_is_not_reused_under_a_reader() {
    model("node below || find", 450, node_goes_for_a_large_block);
}

#[test]
fn twin_node_below_without_a_grace_period() {
    twin("node below", "node reused without a grace period", node_goes_for_a_large_block);
}
