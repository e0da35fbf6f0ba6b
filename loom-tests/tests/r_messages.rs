//! Messages: whoever sees a change sees what its maker did before it.
//!
//! One model, many changes. A thread writes a note, plainly, and then makes one
//! change of one word; another looks once, and if it sees the change it reads
//! the note. That is a data race unless the change was released and the look
//! acquired it. So each scene has one word, one change and one look, and its
//! twins are the orderings of the two.
//!
//! ```text
//!  maker                 looker
//!    note = 7              if the look shows the change:
//!    change                    note == 7
//! ```
//!
//! This is what users of a look-up rely on when they find a block, and not only
//! a block: what its owner prepared is there. (loom follows orders, not values:
//! a stale look sees no change, and asks for nothing.)

#![cfg(loom)]

use lookup::{Addresses, LookupError, Payload, Ranges};
use loom::thread;
use loom_tests::grounds::failed_block;
use loom_tests::home::*;
use loom_tests::messages::{AT, Note, Scene, tells};
use loom_tests::{model, twin};
use memdesc::{
    Descriptor, FailedBlock, Granule, Granules, Guard, Kinds, Order, Outcome, Owner, Owners, pin,
};
use std::sync::{Arc, Mutex};

// ---- a descriptor's header ----

fn flag_is_set() {
    let change = |scene: &Scene| {
        let folio = scene.take();
        assert_eq!(folio.header().set_flags(1), 0);
        scene.put(folio);
    };
    tells(Scene::typed(18), change, |scene, _| scene.also().header().flags() == 1);
}

fn flag_is_cleared() {
    let scene = Scene::typed(18);
    let folio = scene.take();
    folio.header().set_flags(1);
    let change = |scene: &Scene| {
        let folio = scene.take();
        assert_eq!(folio.header().clear_flags(1), 1);
        scene.put(folio);
    };
    tells(scene.keep(folio), change, |scene, _| scene.also().header().flags() == 0);
}

/// Found before, and dead now: or found no more.
fn death() {
    let mut scene = Scene::typed(18);
    scene.also = None;
    tells(
        scene,
        |scene| drop(scene.take()),
        |scene, guard| {
            let found = scene.ram.tree().find(AT, guard);
            found.is_none_or(|found| found.descriptor().unwrap().header().is_dead())
        },
    );
}

fn place_shrinks() {
    let change = |scene: &Scene| {
        let folio = scene.take();
        let order = Order::new(18).unwrap();
        scene.ram.tree().shrink(&folio.lock(), order).unwrap();
        scene.put(folio);
    };
    tells(Scene::typed(19), change, |scene, _| scene.also().block() == block(0, 18));
}

fn replace_folio(scene: &Scene) {
    let folio = scene.take();
    scene.put(scene.ram.tree().replace(&folio.lock(), scene.ram.folio(3)).unwrap());
}

fn moved() {
    tells(Scene::typed(18), replace_folio, |scene, _| scene.also().header().is_moved());
}

/// The last but one reference goes: what its holder did is seen by the last.
fn unshared() {
    tells(Scene::typed(18), |scene| drop(scene.take()), |scene, _| scene.also().is_unshared());
}

#[test]
fn what_was_done_before_a_header_changed_is_seen() {
    model("messages: unshared", 3, unshared);
    model("messages: flag set", 3, flag_is_set);
    model("messages: flag cleared", 3, flag_is_cleared);
    model("messages: death", 3, death);
    model("messages: place", 3, place_shrinks);
    model("messages: moved", 3, moved);
}

#[test]
fn header_twins() {
    twin("messages: unshared", "unshared is seen relaxed", unshared);
    twin("messages: flag set", "flags are set relaxed", flag_is_set);
    twin("messages: flag set", "flags are seen relaxed", flag_is_set);
    twin("messages: flag cleared", "flags are cleared relaxed", flag_is_cleared);
    twin("messages: death", "death is seen relaxed", death);
    twin("messages: place", "place is written relaxed", place_shrinks);
    twin("messages: place", "place is seen relaxed", place_shrinks);
    twin("messages: moved", "moved is set relaxed", moved);
    twin("messages: moved", "moved is seen relaxed", moved);
}

// ---- kinds and owners ----

struct Late;

impl Descriptor for Late {
    const NAME: &'static str = "late";
}

fn kind_is_registered() {
    let change = |kinds: &Kinds| {
        kinds.register::<Late>().unwrap();
    };
    tells(Kinds::new(), change, |kinds, _| kinds.of::<Late>().is_some());
}

struct Writes(Arc<Note>);

impl Owner for Writes {
    fn memory_failure(&self, _: &FailedBlock) -> Outcome {
        self.0.write();
        Outcome::Recovered
    }
}

/// Once an owner is unregistered, what its callbacks did is seen.
fn callback_ends() {
    let (owners, note) = (Arc::new(Owners::new()), Arc::new(Note::empty()));
    let id = owners.register(Arc::new(Writes(note.clone()))).unwrap();
    let called = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let caller = {
        let (owners, called) = (owners.clone(), called.clone());
        thread::spawn(move || {
            let outcome = owners.call(id, &failed_block());
            called.store(outcome.is_some(), std::sync::atomic::Ordering::Relaxed);
        })
    };
    owners.unregister(id).unwrap();
    // Written, or never to be: either way nobody writes now.
    let was_written = note.is_written();
    caller.join().unwrap();
    assert_eq!(was_written, called.load(std::sync::atomic::Ordering::Relaxed));
}

#[test]
fn what_was_done_before_a_registration_or_its_end_is_seen() {
    model("messages: kind registered", 3, kind_is_registered);
    model("messages: owner unregistered || call", 1_000, callback_ends);
}

#[test]
fn registration_twins() {
    twin("messages: kind registered", "kind is registered relaxed", kind_is_registered);
    twin("messages: kind registered", "kind is seen relaxed", kind_is_registered);
    twin("messages: owner unregistered", "owner is awaited relaxed", callback_ends);
    twin("messages: owner unregistered", "call ends relaxed", callback_ends);
}

// ---- the slots of descriptors ----

fn published_near() {
    let change = |scene: &Scene| {
        let folio = scene.ram.folio(2);
        let folio = scene.ram.tree().publish_near(&scene.leaf, scene.block(), folio);
        scene.put(folio.ok().expect("the short cut leads there"));
    };
    tells(Scene::vacant(0), change, |scene, guard| scene.ram.tree().find(AT, guard).is_some());
}

/// A large block over a node that is empty.
fn published_over_a_link() {
    let scene = Scene { order: 18, ..Scene::vacant(0) };
    let change = |scene: &Scene| {
        scene.put(scene.ram.tree().publish(scene.block(), scene.ram.folio(2)).unwrap());
    };
    tells(scene, change, |scene, guard| scene.ram.tree().find(AT, guard).is_some());
}

fn retracted_near() {
    let scene = Scene::vacant_in(Ram::near(), 0);
    publish(&scene);
    tells(
        scene,
        |scene| drop(scene.take()),
        |scene, guard| scene.ram.tree().find(AT, guard).is_none(),
    );
}

fn publish(scene: &Scene) {
    scene.put(scene.ram.tree().publish(scene.block(), scene.ram.folio(2)).unwrap());
}

fn found_among_many() {
    tells(Scene::vacant(18), publish, |scene, guard| {
        let mut is_there = false;
        scene.ram.tree().find_many(&[AT], guard, |_, found| is_there = found.is_some());
        is_there
    });
}

fn found_as_the_next() {
    tells(Scene::vacant(18), publish, |scene, guard| scene.ram.tree().next(AT, guard).is_some());
}

#[test]
fn what_was_done_before_a_publication_is_seen() {
    model("messages: publish near", 3, published_near);
    model("messages: retract near", 3, retracted_near);
    model("messages: publish over a link", 3, published_over_a_link);
    model("messages: publish || find many", 3, found_among_many);
    model("messages: publish || next", 3, found_as_the_next);
}

#[test]
fn publication_twins() {
    twin("messages: publish near", "published near relaxed", published_near);
    twin("messages: retract near", "retracted near relaxed", retracted_near);
    twin("messages: publish over a link", "published over a link relaxed", published_over_a_link);
    twin("messages: find many", "walk of many relaxed", found_among_many);
    twin("messages: next", "next relaxed", found_as_the_next);
}

// ---- the slots of raw blocks ----

fn published_by_a_leaf(order: u32) {
    let change = |scene: &Scene| {
        let word = raw(1, scene.order);
        assert!(scene.ram.tree().publish_by(&scene.leaf, scene.block(), word));
    };
    tells(Scene::vacant(order), change, |scene, guard| scene.owner_at(0, guard).is_some());
}

fn cleared_by_a_leaf() {
    let change = |scene: &Scene| {
        assert!(scene.ram.tree().clear_by(&scene.leaf, scene.block()));
    };
    tells(Scene::raw(0), change, |scene, guard| scene.owner_at(0, guard).is_none());
}

fn cleared() {
    let change = |scene: &Scene| {
        scene.ram.tree().clear_immediate(scene.block()).unwrap();
    };
    tells(Scene::raw(18), change, |scene, guard| scene.owner_at(0, guard).is_none());
}

fn replace(scene: &Scene) {
    scene.ram.tree().set_immediate(scene.block(), raw(2, scene.order)).unwrap();
}

fn head_is_replaced() {
    tells(Scene::raw(18), replace, |scene, guard| scene.owner_at(0, guard) == Some((2, 18, false)));
}

fn rest_is_replaced() {
    tells(Scene::raw(19), replace, |scene, guard| {
        scene.owner_at(1 << 18, guard) == Some((2, 19, false))
    });
}

/// A mark is on the head; whoever looks elsewhere finds it there.
fn marked() {
    let change = |scene: &Scene| {
        scene.ram.tree().poison_immediate(AT).unwrap();
    };
    tells(Scene::raw(19), change, |scene, guard| {
        scene.owner_at(1 << 18, guard) == Some((1, 19, true))
    });
}

fn split(scene: &Scene) {
    let half = scene.order - 1;
    scene.ram.tree().split_immediate(scene.block(), raw(1, half), raw(1, half)).unwrap();
}

/// Four slots: the second is the lower half's, and not its head.
fn split_in_place() {
    tells(Scene::raw(20), split, |scene, guard| {
        scene.owner_at(1 << 18, guard) == Some((1, 19, false))
    });
}

/// Something is found throughout, and with the new word the note.
fn split_into_a_node() {
    tells(Scene::raw(18), split, |scene, guard| {
        scene.owner_at(0, guard).expect("live throughout") == (1, 17, false)
    });
}

fn split_of_arrays() {
    tells(Scene::raw(24), split, |scene, guard| {
        scene.owner_at(0, guard).expect("live throughout") == (1, 23, false)
    });
}

fn cut_into_a_node() {
    let change = |scene: &Scene| {
        let keep = Granules::new(AT, Granule((1 << 17) - 1)).unwrap();
        scene.ram.tree().cut_immediate(scene.block(), keep).unwrap();
    };
    tells(Scene::raw(18), change, |scene, guard| {
        scene.owner_at(0, guard).expect("live throughout") == (1, 17, false)
    });
}

#[test]
fn what_was_done_before_a_raw_word_changed_is_seen() {
    model("messages: publish by a leaf", 3, || published_by_a_leaf(0));
    model("messages: publish in a leaf", 3, || published_by_a_leaf(1));
    model("messages: clear by a leaf", 3, cleared_by_a_leaf);
    model("messages: clear", 3, cleared);
    model("messages: replace a head", 3, head_is_replaced);
    model("messages: replace the rest", 3, rest_is_replaced);
    model("messages: mark", 3, marked);
    model("messages: split in place", 3, split_in_place);
    model("messages: split into a node", 3, split_into_a_node);
    model("messages: split of arrays", 3, split_of_arrays);
    model("messages: cut into a node", 3, cut_into_a_node);
}

#[test]
fn raw_word_twins() {
    let by_a_leaf = "messages: publish by a leaf";
    twin(by_a_leaf, "published by a leaf relaxed", || published_by_a_leaf(0));
    twin(by_a_leaf, "published in a leaf relaxed", || published_by_a_leaf(1));
    twin("messages: clear by a leaf", "cleared by a leaf relaxed", cleared_by_a_leaf);
    twin("messages: clear", "word taken relaxed", cleared);
    twin("messages: replace a head", "head exchanged relaxed", head_is_replaced);
    twin("messages: replace the rest", "replaced relaxed", rest_is_replaced);
    twin("messages: mark", "head is seen relaxed", marked);
    twin("messages: split in place", "upper half written relaxed", split_in_place);
    twin("messages: split into a node", "word split relaxed", split_into_a_node);
    twin("messages: split of arrays", "split head cleared relaxed", split_of_arrays);
    twin("messages: cut into a node", "word cut relaxed", cut_into_a_node);
}

// ---- the nodes on the way ----

/// A neighbour's publication makes the nodes, and puts itself into the first
/// place; meanwhile the looker has something of its own to do at another.
fn nodes_are_made(look: fn(&Scene, &Guard)) {
    let ram = Ram::new();
    let scene =
        Scene { leaf: ram.tree().leaf(), ram, order: 0, folio: Mutex::default(), also: None };
    // The group of sections is there, and the levels below are not.
    scene.ram.tree().publish_immediate(block(1 << 18, 18), raw(9, 18)).unwrap();
    let shared = Arc::new(scene);
    let looker = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let guard = pin();
            thread::yield_now();
            look(&shared, &guard);
        })
    };
    shared.ram.tree().publish_immediate(block(0, 0), raw(1, 0)).unwrap();
    looker.join().unwrap();
    assert_eq!(shared.owner_at(0, &pin()), Some((1, 0, false)));
}

/// The last granule of the node, and the last 64 of the section's first 4096.
fn beside(order: u32) -> memdesc::Block {
    block(if order == 0 { 63 } else { 4096 - 64 }, order)
}

/// Nothing is there to be cleared, whoever makes the way.
fn cleared_beside() {
    nodes_are_made(|scene, _| {
        assert!(scene.ram.tree().clear_immediate(beside(0)).is_err());
    });
}

/// A short cut taken as soon as there is a section to lead to.
fn led_beside() {
    nodes_are_made(|scene, guard| {
        scene.ram.tree().lead(&scene.leaf, beside(0));
        if scene.ram.tree().publish_by(&scene.leaf, beside(0), raw(2, 0)) {
            assert_eq!(scene.owner_at(63, guard), Some((2, 0, false)));
        }
    });
}

fn pruned_beside() {
    nodes_are_made(|scene, _| {
        let tree = scene.ram.tree();
        assert_eq!(tree.prune(beside(6).granules(), beside(6).base(), 8), None);
    });
}

/// Something of one's own in the neighbour's node, by way of the section.
fn published_beside() {
    let change = |scene: &Scene| {
        scene.ram.tree().publish_immediate(block(64, 0), raw(1, 0)).unwrap();
    };
    tells(Scene::vacant(0), change, |scene, guard| {
        scene.ram.tree().publish_by(&scene.leaf, block(65, 0), raw(2, 0))
            || scene.owner_at(65, guard).is_some()
    });
}

/// A publication is refused by whatever is there, and names it.
fn refused(scene: Scene, change: fn(&Scene), found: [memdesc::Block; 2]) {
    let shared = Arc::new(scene);
    let looker = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let _guard = pin();
            thread::yield_now();
            let asked = shared.ram.tree().publish_immediate(block(0, 18), raw(2, 18));
            let Err(LookupError::Overlap { found: named, .. }) = asked else {
                panic!("occupied throughout: {asked:?}");
            };
            assert!(found.contains(&named), "{named:?}");
        })
    };
    change(&shared);
    looker.join().unwrap();
}

fn refused_by_a_replacement() {
    refused(Scene::typed(18), replace_folio, [block(0, 18); 2]);
}

fn refused_by_a_half() {
    refused(Scene::raw(18), split, [block(0, 18), block(0, 17)]);
}

#[test]
fn who_is_refused_sees_why() {
    model("messages: replace || refused publish", 3, refused_by_a_replacement);
    model("messages: split || refused publish", 3, refused_by_a_half);
}

#[test]
fn refusal_twins() {
    twin("messages: replace || refused", "overlap named relaxed", refused_by_a_replacement);
    twin("messages: split || refused", "slot checked relaxed", refused_by_a_half);
}

#[test]
fn nodes_are_whole_when_they_are_seen() {
    model("messages: nodes made || publish beside", 3, published_beside);
    model("messages: nodes made || clear", 3, cleared_beside);
    model("messages: nodes made || lead", 3, led_beside);
    model("messages: nodes made || prune", 3, pruned_beside);
}

#[test]
fn node_twins() {
    twin("messages: nodes made || clear", "way to a group relaxed", cleared_beside);
    twin("messages: nodes made || lead", "way to a leaf relaxed", led_beside);
    twin("messages: publish beside", "way by the section relaxed", published_beside);
    twin("messages: nodes made || prune", "prune looks relaxed", pruned_beside);
}

// ---- ranges ----

type Map = Ranges<Payload>;

fn addresses(first: u64, last: u64) -> Addresses {
    Addresses::new(first, last).unwrap()
}

/// The root is there: the new range hangs on a node below it.
fn range_is_inserted() {
    let map = Map::default();
    for at in 0..3 {
        map.insert(addresses(at << 12, at << 12 | 1), 1.into()).unwrap();
    }
    let change = |map: &Map| {
        map.insert(addresses(8, 8), 2.into()).unwrap();
    };
    tells(map, change, |map, guard| map.find(8, guard).is_some());
}

#[test]
fn what_was_done_before_an_insert_is_seen() {
    model("messages: insert", 3, range_is_inserted);
}

#[test]
fn range_twins() {
    twin("messages: insert", "range walk relaxed", range_is_inserted);
}
