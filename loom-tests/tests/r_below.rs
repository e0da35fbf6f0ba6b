//! What may be in the way of a block above the sections: notes of groups and of
//! tables, made by who publishes there and taken back by who found them empty. (The
//! nodes that go with them: `r_tree`.)

#![cfg(loom)]

use loom::thread;
use loom_tests::home::*;
use loom_tests::{model, twin};
use memdesc::Block;

/// A block takes back the note of what is below it and was in use once, while a
/// neighbour notes what is below `theirs`, in the same word: what the neighbour
/// published is found to be in the way later.
fn note_against_forget(mine: Block, theirs: Block, large: Block) {
    let ram = Ram::new();
    let tree = ram.tree();
    let first_of = |of: Block| block(of.base().0, 18);
    tree.publish_immediate(first_of(mine), raw(1, 18)).unwrap();
    tree.clear_immediate(first_of(mine)).unwrap();
    let neighbour = {
        let ram = ram.clone();
        thread::spawn(move || {
            ram.tree().publish_immediate(first_of(theirs), raw(2, 18)).unwrap();
        })
    };
    let order = mine.order().get();
    tree.publish_immediate(mine, raw(3, order)).unwrap();
    tree.clear_immediate(mine).unwrap();
    neighbour.join().unwrap();
    let refused = tree.publish_immediate(large, raw(4, large.order().get()));
    assert!(refused.is_err(), "{refused:?}");
}

/// Groups of one last table: a neighbour's is in the way of a block around both.
fn forget_against_note() {
    note_against_forget(block(0, 24), block(1 << 24, 24), block(0, 25));
}

/// A table up. Tables of models have 128 words: sections 128 to 255 are one, 256 is
/// of the next.
fn forget_table_against_note() {
    let theirs = block(256 << 18, 25);
    note_against_forget(block(128 << 18, 25), theirs, theirs);
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

#[test]
fn a_note_of_a_table_beside_one_taken_back_stays() {
    model("note || forget, tables", 3, forget_table_against_note);
}

#[test]
fn twin_table_taken_back_by_a_plain_store() {
    twin("note, tables", "table forgotten by a plain store", forget_table_against_note);
}
