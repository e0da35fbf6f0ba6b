//! The tree: immediate words, splits across levels, nodes that go and come.

#![cfg(loom)]

use loom::thread;
use loom_tests::home::*;
use loom_tests::{model, twin};
use memdesc::{Block, Granule, OwnerId, pin};

/// R8, raw: of marking a block as failed and freeing it, one sees the other.
fn r8_mark_against_free() {
    let ram = Ram::new();
    // Two slots: the mark comes in by the second, and is kept at the first.
    ram.tree().publish_immediate(block(0, 19), raw(1, 19)).unwrap();
    let marker = {
        let ram = ram.clone();
        thread::spawn(move || ram.tree().poison_immediate(Granule(1 << 18)).is_some())
    };
    let freed = ram.tree().clear_immediate(block(0, 19)).unwrap();
    assert_eq!(freed.poisoned, marker.join().unwrap());
}

#[test]
fn r8_mark_meets_free_of_a_raw_block() {
    model("R8 mark || free, raw", 40, r8_mark_against_free);
}

#[test]
fn r8_twin_free_does_not_look() {
    twin("R8", "freed without looking at the mark", r8_mark_against_free);
}

/// R12: a mark beside a split reaches one of the halves, and beside a
/// replacement the new word.
fn r12_mark_against_split() {
    let ram = Ram::new();
    ram.tree().publish_immediate(block(0, 19), raw(1, 19)).unwrap();
    let marker = {
        let ram = ram.clone();
        thread::spawn(move || {
            let marked = ram.tree().poison_immediate(Granule(1 << 18));
            assert!(marked.expect("live throughout").poisoned);
        })
    };
    ram.tree().set_immediate(block(0, 19), raw(2, 19)).unwrap();
    ram.tree().split_immediate(block(0, 19), raw(3, 18), raw(4, 18)).unwrap();
    marker.join().unwrap();
    // The lower half may carry it too, for the old word cannot tell.
    assert!(ram.tree().clear_immediate(block(1 << 18, 18)).unwrap().poisoned);
}

#[test]
fn r12_mark_meets_replace_and_split() {
    model("R12 mark || replace, split", 1_700, r12_mark_against_split);
}

#[test]
fn r12_twin_mark_dropped() {
    twin("R12", "replaced without the mark", r12_mark_against_split);
}

/// R10, arrays: a block of level 4 that is split into level 3 is found
/// throughout.
fn r10_find_against_split_of_arrays() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 24), ram.folio(7)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            let guard = pin();
            let upper = Granule(1 << 23);
            let found = ram.tree().find(upper, &guard).expect("live throughout");
            match Mm::of(&found) {
                Some(Mm::Folio(folio)) => assert_eq!(folio.number(), 7),
                Some(Mm::Slab(slab)) => assert_eq!(slab.number(), 8),
                None => panic!("neither"),
            }
        })
    };
    let slab = ram.tree().split(&folio.lock(), ram.slab(8)).unwrap();
    reader.join().unwrap();
    drop((folio, slab));
    assert_eq!(ram.torn_down(), 2);
}

#[test]
fn r10_reader_meets_split_across_arrays() {
    model("R10 find || split, level 4 to 3", 50, r10_find_against_split_of_arrays);
}

#[test]
fn r10_twin_cleared_too_early() {
    let seed = "cleared above before published below";
    twin("R10, arrays", seed, r10_find_against_split_of_arrays);
}

/// R10, nodes: the same for a split that puts a node below a slot.
fn r10_find_against_split_of_nodes() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(0, 18), ram.folio(7)).unwrap();
    let reader = {
        let ram = ram.clone();
        thread::spawn(move || {
            let guard = pin();
            let upper = Granule(1 << 17);
            let found = ram.tree().find(upper, &guard).expect("live throughout");
            match Mm::of(&found) {
                Some(Mm::Folio(folio)) => assert_eq!(folio.number(), 7),
                Some(Mm::Slab(slab)) => assert_eq!(slab.number(), 8),
                None => panic!("neither"),
            }
        })
    };
    let slab = ram.tree().split(&folio.lock(), ram.slab(8)).unwrap();
    reader.join().unwrap();
    drop((folio, slab));
    assert_eq!(ram.torn_down(), 2);
}

#[test]
fn r10_reader_meets_split_into_a_node() {
    model("R10 find || split, section to node", 50, r10_find_against_split_of_nodes);
}

#[test]
fn r10_twin_linked_before_filled() {
    twin("R10, nodes", "node linked before it is filled", r10_find_against_split_of_nodes);
}

/// A node that is unlinked and used elsewhere: a reader on its way through it
/// never answers with what lives there then.
fn node_goes_and_comes() {
    node_goes_for(block(0, 18));
}

/// The same for a block above the sections, under which nodes are unlinked too.
fn node_goes_for_a_large_block() {
    node_goes_for(block(0, 24));
}

fn node_goes_for(whole: Block) {
    let ram = Ram::new();
    let tree = ram.tree();
    let order = whole.order().get();
    let (here, elsewhere) = (block(0, 12), block(1 << order, 12));
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
    tree.publish_immediate(whole, raw(2, order)).unwrap();
    tree.clear_immediate(whole).unwrap();
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

#[test]
fn a_node_is_not_reused_under_a_reader() {
    model("node reuse || find", 450, node_goes_and_comes);
}

#[test]
fn node_twin_without_a_grace_period() {
    twin("node reuse", "node reused without a grace period", node_goes_and_comes);
}

/// The same for a node that is pruned because nothing is in it any more.
fn node_is_pruned_and_comes() {
    let ram = Ram::new();
    let tree = ram.tree();
    let (here, section, elsewhere) = (block(0, 12), block(0, 18), block(1 << 18, 12));
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
    assert_eq!(tree.prune(section.granules(), Granule(0), 9), None);
    tree.settle();
    tree.publish_immediate(elsewhere, raw(3, 12)).unwrap();
    reader.join().unwrap();
    assert!(tree.find(Granule(0), &pin()).is_none());
}

#[test]
fn a_pruned_node_is_not_reused_under_a_reader() {
    model("node pruned || find", 455, node_is_pruned_and_comes);
}

#[test]
fn prune_twin_without_a_grace_period() {
    twin("prune", "node reused without a grace period", node_is_pruned_and_comes);
}

/// Two neighbours want the same node at once: one installs it, both use it.
fn neighbours_install_one_node() {
    let ram = Ram::new();
    let other = {
        let ram = ram.clone();
        thread::spawn(move || {
            ram.tree().publish_immediate(block(0, 12), raw(1, 12)).unwrap();
        })
    };
    ram.tree().publish_immediate(block(1 << 12, 12), raw(2, 12)).unwrap();
    other.join().unwrap();
    let guard = pin();
    let owner_of = |at| ram.tree().find(Granule(at), &guard).map(|found| found.owner());
    assert_eq!(owner_of(0), Some(OwnerId(1)));
    assert_eq!(owner_of(1 << 12), Some(OwnerId(2)));
    assert_eq!(ram.tree().nodes(), 1);
}

#[test]
fn neighbours_share_the_node_that_one_installs() {
    model("publish || publish, one node", 320, neighbours_install_one_node);
}

#[test]
fn neighbours_twin_plain_install() {
    twin("publish || publish", "link installed by a plain store", neighbours_install_one_node);
}

#[test]
fn tree_twins_relaxed() {
    for seed in ["cleared relaxed", "walk above relaxed"] {
        twin("R10, arrays", seed, r10_find_against_split_of_arrays);
    }
    for seed in ["split linked relaxed", "walk relaxed"] {
        twin("R10, nodes", seed, r10_find_against_split_of_nodes);
    }
    for seed in ["once is seen relaxed", "once is installed relaxed"] {
        twin("publish || publish", seed, neighbours_install_one_node);
    }
    for seed in ["link installed relaxed", "step down relaxed"] {
        twin("publish || publish", seed, neighbours_install_one_node);
    }
}
