//! Single behaviours: refusals, both ends of the index space, nodes, misuse.

mod common;

use common::*;
use memdesc::*;
use potad_lookup::{LookupError, Tree};
use std::sync::atomic::Ordering::Relaxed;

#[test]
fn every_order_at_both_ends() {
    for order in Order::all() {
        let ram = Ram::new();
        let low = Block::containing(Granule(0), order);
        let high = Block::containing(Granule(MAX_GRANULES - 1), order);
        let tag = u64::from(order.get());
        let first = ram.tree().publish(low, ram.folio(tag)).unwrap();
        let guard = pin();
        for at in [low.base(), low.last()] {
            assert_eq!(ram.tree().find(at, &guard).unwrap().block(), low);
        }
        if high != low {
            let raw = raw(3, order.get());
            ram.tree().publish_immediate(high, raw).unwrap();
            for at in [high.base(), high.last()] {
                assert_eq!(ram.tree().find(at, &guard).unwrap().immediate(), Some(raw));
            }
            assert_eq!(ram.tree().next(Granule(low.last().0 + 1), &guard).unwrap().0, high);
            assert_eq!(ram.tree().clear_immediate(high), Ok(raw));
        }
        assert_eq!(ram.tree().validate().unwrap().descriptors, 1);
        drop(first);
        assert_eq!(ram.back(), [(low, false)]);
        assert_eq!(ram.tree().validate().unwrap().granules, 0);
    }
}

#[test]
fn outside_the_index_space_is_nothing() {
    let ram = Ram::new();
    let whole = block(0, 63);
    ram.tree().publish_immediate(whole, raw(1, 63)).unwrap();
    let guard = pin();
    assert!(ram.tree().find(Granule(MAX_GRANULES - 1), &guard).is_some());
    for at in [MAX_GRANULES, u64::MAX] {
        assert!(ram.tree().find(Granule(at), &guard).is_none());
        assert!(ram.tree().next(Granule(at), &guard).is_none());
        assert!(ram.tree().poison_immediate(Granule(at)).is_none());
    }
}

#[test]
fn a_refused_publication_hands_the_descriptor_back() {
    let ram = Ram::new();
    let _kept = ram.tree().publish(block(64, 6), ram.folio(1)).unwrap();
    let refused = ram.tree().publish(block(0, 7), ram.folio(2)).unwrap_err();
    assert_eq!(refused.why, LookupError::Overlap { asked: block(0, 7), found: block(64, 6) });
    assert_eq!(refused.fresh.into_body().tag, 2);
    struct Stranger;
    impl Descriptor for Stranger {
        const NAME: &'static str = "stranger";
    }
    let fresh = Fresh::new(ram.clone(), OwnerId(0), Stranger).ok().unwrap();
    let refused = ram.tree().publish(block(0, 0), fresh).unwrap_err();
    assert_eq!(refused.why, LookupError::UnknownKind { name: "stranger" });
    assert_eq!(refused.to_string(), "the type stranger is not registered");
}

#[test]
fn immediates_are_taken_out_only_as_they_are() {
    let ram = Ram::new();
    let tree = ram.tree();
    tree.publish_immediate(block(8, 3), raw(1, 3)).unwrap();
    let wrong = |asked| Err(LookupError::WrongWord { asked });
    assert_eq!(tree.clear_immediate(block(8, 2)), wrong(block(8, 2)));
    assert_eq!(tree.clear_immediate(block(0, 4)), wrong(block(0, 4)));
    assert_eq!(tree.clear_immediate(block(1 << 40, 3)), wrong(block(1 << 40, 3)));
    let order = Order::new(2).unwrap();
    let mismatch = LookupError::WrongOrder { asked: block(8, 3), word: order };
    assert_eq!(tree.set_immediate(block(8, 3), raw(1, 2)), Err(mismatch));
    assert_eq!(tree.publish_immediate(block(8, 3), raw(1, 2)), Err(mismatch));
    let single = block(5, 0);
    tree.publish_immediate(single, raw(1, 0)).unwrap();
    let refused = tree.split_immediate(single, raw(1, 0), raw(1, 0));
    assert_eq!(refused, Err(LookupError::Indivisible { asked: single }));
    assert_eq!(tree.poison_immediate(Granule(13)).map(|raw| raw.poisoned), Some(true));
    let guard = pin();
    for at in 8..16 {
        assert!(tree.find(Granule(at), &guard).unwrap().immediate().unwrap().poisoned);
    }
    assert!(tree.set_immediate(block(8, 3), raw(2, 3)).unwrap().poisoned);
    tree.split_immediate(block(8, 3), raw(2, 2), raw(3, 2)).unwrap();
    assert!(tree.clear_immediate(block(8, 2)).unwrap().poisoned);
    assert!(tree.clear_immediate(block(12, 2)).unwrap().poisoned, "the hint goes to both");
}

#[test]
fn an_empty_node_goes_when_its_block_is_published_and_comes_back() {
    let ram = Ram::new();
    let tree = ram.tree();
    for _ in 0..2_000 {
        tree.publish_immediate(block(64, 0), raw(1, 0)).unwrap();
        tree.clear_immediate(block(64, 0)).unwrap();
        tree.publish_immediate(block(0, 18), raw(1, 18)).unwrap();
        tree.clear_immediate(block(0, 18)).unwrap();
        tree.settle();
    }
    assert_eq!(tree.validate().unwrap().attached_nodes, 0);
    // Other tests pin too: as many rounds as it takes, but not for ever.
    for _ in 0..100_000 {
        if tree.nodes() == 0 {
            return;
        }
        pin().flush();
        std::thread::yield_now();
    }
    panic!("{} of 6000 nodes do not come back", tree.nodes());
}

/// Whoever gives up much of a tree does so in steps of bounded length.
#[test]
fn a_prune_stops_at_its_budget_and_says_where_to_go_on() {
    let ram = Ram::new();
    let tree = ram.tree();
    for at in 0..64 {
        tree.publish_immediate(block(at << 12, 0), raw(1, 0)).unwrap();
        tree.clear_immediate(block(at << 12, 0)).unwrap();
    }
    let nodes = || tree.validate().unwrap().attached_nodes;
    assert_eq!(nodes(), 1 + 2 * 64);
    let section = block(0, 18).granules();
    let (mut from, mut rounds) = (Some(Granule(0)), 0);
    while let Some(start) = from {
        let before = nodes();
        from = tree.prune(section, start, 10);
        // Each with what is below it, which is one here.
        assert!(before - nodes() <= 20, "{} at once", before - nodes());
        rounds += 1;
    }
    assert_eq!(nodes(), 0);
    assert!(rounds > 6, "{rounds}");
}

/// A range may be gone through by steps of any length, down to its last granule.
#[test]
fn a_prune_from_any_granule_on_takes_the_empty_nodes_around_it() {
    let ram = Ram::new();
    let tree = ram.tree();
    let section = block(3 << 18, 18).granules();
    let (first, last) = (section.first(), section.last());
    let nodes = || tree.validate().unwrap().attached_nodes;
    for from in [first.0, first.0 + 1, last.0 - 64, last.0 - 63, last.0 - 1, last.0] {
        let one = Block::containing(last, Order::ZERO);
        tree.publish_immediate(one, raw(1, 0)).unwrap();
        assert_eq!((tree.prune(section, Granule(from), 1000), nodes()), (None, 3), "in use");
        tree.clear_immediate(one).unwrap();
        assert_eq!((tree.prune(section, Granule(last.0 + 1), 1000), nodes()), (None, 3), "beyond");
        assert_eq!(
            (tree.prune(section, Granule(from), 1000), nodes()),
            (None, 0),
            "from {from:#x}"
        );
    }
}

/// Pages go back once all nodes on them are free, and none where something lives.
#[cfg(all(target_os = "linux", not(miri)))]
#[test]
fn what_is_pruned_goes_to_the_system_and_what_lives_stays() {
    let ram = Ram::new();
    let tree = ram.tree();
    let at = |index: u64| block(index << 6, 0);
    (0..512).for_each(|index| tree.publish_immediate(at(index), raw(1, 0)).unwrap());
    (256..512).for_each(|index| assert!(tree.clear_immediate(at(index)).is_ok()));
    let bytes = tree.bytes();
    let upper = Granules::new(at(256).base(), Granule((512 << 6) - 1)).unwrap();
    assert_eq!(tree.prune(upper, upper.first(), u32::MAX), None);
    tree.settle();
    for _ in 0..100_000 {
        if tree.bytes() < bytes {
            break;
        }
        pin().flush();
        std::thread::yield_now();
    }
    // 512 bytes each, and the last pages have neighbours.
    assert!(bytes - tree.bytes() > 200 * 512, "{} bytes", bytes - tree.bytes());
    let guard = pin();
    for index in 0..256 {
        let found = tree.find(at(index).base(), &guard);
        assert_eq!(found.and_then(|found| found.immediate()), Some(raw(1, 0)), "{index}");
    }
    (256..512).for_each(|index| tree.publish_immediate(at(index), raw(1, 0)).unwrap());
    assert_eq!(tree.validate().unwrap().immediates, 512);
}

#[test]
fn a_marked_descriptor_tells_its_teardown() {
    let ram = Ram::new();
    let folio = ram.tree().publish(block(32, 5), ram.folio(1)).unwrap();
    ram.tree().lock_erased(Granule(40)).unwrap().poison();
    drop(folio);
    assert_eq!(ram.back(), [(block(32, 5), true)]);
    collect(&ram, 0);
}

/// Misuse: a descriptor dies in another tree than its own, or after somebody
/// published over it. It leaks; nothing is read after it was freed.
#[test]
fn what_is_not_published_here_leaks_and_is_reported() {
    #[derive(Clone)]
    struct Astray(std::sync::Arc<(Kinds, Tree<Astray>, Tree<Astray>)>);
    impl Home for Astray {
        fn kinds(&self) -> &Kinds {
            &self.0.0
        }
        fn teardown(dead: Dead<Self>) {
            dead.with_home(|home, dead, _| {
                let block = dead.block().unwrap();
                let refused = home.0.2.retract(dead).unwrap_err();
                assert_eq!(refused, LookupError::WrongWord { asked: block });
            });
        }
    }
    let home = Astray(std::sync::Arc::new((Kinds::new(), Tree::new(), Tree::new())));
    home.0.0.register::<Slab>().unwrap();
    let fresh = Fresh::new(home.clone(), OwnerId(0), Slab(7.into())).unwrap();
    drop(home.0.1.publish(block(0, 0), fresh).unwrap());
    for _ in 0..64 {
        pin().flush();
    }
    let guard = pin();
    let found = home.0.1.find(Granule(0), &guard).unwrap();
    assert_eq!(found.downcast::<Slab>().unwrap().0.load(Relaxed), 7);
    assert!(home.0.1.get::<Slab>(Granule(0)).is_none(), "dead");
}

#[test]
fn statistics_start_at_nothing() {
    let ram = Ram::new();
    assert_eq!(ram.tree().nodes(), 0);
    let empty = ram.tree().bytes();
    ram.tree().publish_immediate(block(0, 0), raw(1, 0)).unwrap();
    assert_eq!(ram.tree().nodes(), 3);
    assert!(ram.tree().bytes() > empty);

    // A word above the sections is in a table, and no node is made for it.
    let ram = Ram::new();
    ram.tree().publish_immediate(block(0, 24), raw(1, 24)).unwrap();
    assert_eq!(ram.tree().nodes(), 0);
    assert!(ram.tree().bytes() >= empty + 64 * size_of::<u64>(), "{} bytes", ram.tree().bytes());
}

#[test]
fn what_cannot_be_cut_is_refused_and_stays() {
    let ram = Ram::new();
    let tree = ram.tree();
    tree.publish_immediate(block(64, 6), raw(1, 6)).unwrap();
    let range = |first, last| Granules::new(Granule(first), Granule(last)).unwrap();
    let wrong = Err(LookupError::WrongWord { asked: block(64, 5) });
    assert_eq!(tree.cut_immediate(block(64, 5), range(64, 70)), wrong);
    let no_part = Err(LookupError::Indivisible { asked: block(64, 6) });
    assert_eq!(tree.cut_immediate(block(64, 6), range(65, 70)), no_part);
    assert_eq!(tree.cut_immediate(block(64, 6), range(64, 128)), no_part);
    assert_eq!(tree.clear_immediate(block(64, 6)), Ok(raw(1, 6)));

    let folio = tree.publish(block(64, 4), ram.folio(1)).unwrap();
    let larger = Order::new(5).unwrap();
    let refused = LookupError::WrongOrder { asked: block(64, 4), word: larger };
    assert_eq!(tree.shrink(&folio.lock(), larger), Err(refused));
    let elsewhere = Ram::new();
    let unknown = LookupError::WrongWord { asked: block(64, 4) };
    assert_eq!(elsewhere.tree().shrink(&folio.lock(), Order::ZERO), Err(unknown));
    assert_eq!(folio.block(), block(64, 4));
    drop(folio);
    assert_eq!(ram.back(), [(block(64, 4), false)]);
}

#[test]
fn a_mark_goes_to_every_piece_of_a_cut() {
    for (order, keep) in [(5, 21), (7, 100), (13, 5000), (24, (1 << 23) + 77), (30, 3)] {
        let ram = Ram::new();
        let tree = ram.tree();
        tree.publish_immediate(block(0, order), raw(1, order)).unwrap();
        tree.poison_immediate(Granule((1 << order) - 1)).unwrap();
        let keep = Granules::new(Granule(0), Granule(keep - 1)).unwrap();
        tree.cut_immediate(block(0, order), keep).unwrap();
        for piece in keep.cover() {
            assert!(tree.clear_immediate(piece).unwrap().poisoned, "{piece} of {keep}");
        }
        assert_eq!(tree.validate().unwrap().granules, 0);
    }
}

/// A slot that names a descriptor which lives elsewhere is no answer, and nobody
/// waits for it to become one.
#[test]
fn a_stray_word_is_no_answer() {
    let ram = Ram::new();
    let (here, there) = (block(64, 3), block(1 << 20, 3));
    let folio = ram.tree().publish(here, ram.folio(1)).unwrap();
    // SAFETY: it is not safe, which is what is tried; nothing follows the word to
    // the place meanwhile, and it is set right below.
    unsafe { folio.lock().set_place(there) };
    assert!(ram.tree().get::<Folio>(here.base()).is_none());
    assert!(ram.tree().get_erased(here.last()).is_none());
    assert!(ram.tree().lock::<Folio>(here.base()).is_none());
    assert!(ram.tree().lock_erased(here.base()).is_none());
    let guard = pin();
    assert!(ram.tree().lock_with::<Folio>(here.base(), &guard).is_none());
    let again = folio.try_clone().unwrap();
    assert_eq!(again.header().refs(), 2, "every look gave back what it took");
    // Under somebody's lock too, who could be at moving it: not for ever.
    let locked = again.lock();
    assert!(ram.tree().get::<Folio>(here.base()).is_none());
    // SAFETY: the slots that name it are those of this block.
    unsafe { locked.set_place(here) };
    drop(locked);
    assert_eq!(ram.tree().get::<Folio>(here.base()).unwrap().block(), here);
    drop((folio, again));
    assert_eq!(ram.back(), [(here, false)]);
}

/// A node that was left empty is no sign that nothing lives here: what is above
/// it counts, by whichever way a granule is asked for. And it does not stay.
#[test]
fn a_granule_of_a_large_block_is_refused_by_every_way() {
    let ram = Ram::new();
    let (tree, one, other) = (ram.tree(), block(5, 0), block(6, 0));
    let leaf = tree.leaf();
    for order in [24, 63] {
        tree.publish_immediate(one, raw(1, 0)).unwrap();
        tree.lead(&leaf, one);
        tree.clear_immediate(one).unwrap();
        assert_eq!(tree.validate().unwrap().attached_nodes, 3);
        let large = block(0, order);
        tree.publish_immediate(large, raw(2, order)).unwrap();
        let overlap = LookupError::Overlap { asked: other, found: large };
        assert_eq!(tree.publish_immediate(other, raw(3, 0)), Err(overlap));
        assert!(!tree.publish_by(&leaf, other, raw(3, 0)));
        assert!(!tree.publish_if_there(other, raw(3, 0)), "order {order} lives there");
        let summary = tree.validate().unwrap();
        assert_eq!((summary.immediates, summary.attached_nodes), (1, 0));
        assert_eq!(tree.clear_immediate(large), Ok(raw(2, order)));
    }
    assert!(!tree.publish_if_there(other, raw(3, 0)), "no node is there");
    tree.publish_immediate(one, raw(1, 0)).unwrap();
    assert!(tree.publish_if_there(other, raw(3, 0)));
}

/// Where a block may lie above, no short cut is taken, old or new.
#[test]
fn no_short_cut_leads_past_a_higher_array() {
    let ram = Ram::new();
    let (tree, one, other) = (ram.tree(), block(5, 0), block(6, 0));
    let leaf = tree.leaf();
    tree.publish_immediate(one, raw(1, 0)).unwrap();
    tree.lead(&leaf, one);
    assert!(tree.publish_by(&leaf, other, raw(1, 0)));
    let far = block(1 << 40, 24);
    tree.publish_immediate(far, raw(2, 24)).unwrap();
    assert!(!tree.clear_by(&leaf, other), "made before");
    tree.clear_immediate(far).unwrap();
    tree.lead(&leaf, one);
    assert!(!tree.clear_by(&leaf, other), "the level is known for good");
    assert_eq!(tree.clear_noted(other), Ok(()));
}

/// Nodes under a block above the sections go only when nothing is in its way.
#[test]
fn a_refused_large_block_unlinks_nothing() {
    let ram = Ram::new();
    let tree = ram.tree();
    let (one, far) = (block(5, 0), block(200 << 18, 0));
    tree.publish_immediate(one, raw(1, 0)).unwrap();
    tree.clear_immediate(one).unwrap();
    tree.publish_immediate(far, raw(2, 0)).unwrap();
    let large = block(0, 30);
    let overlap = LookupError::Overlap { asked: large, found: far };
    assert_eq!(tree.publish_immediate(large, raw(3, 30)), Err(overlap));
    assert!(tree.publish_if_there(one, raw(1, 0)), "its node is there");
    tree.clear_immediate(one).unwrap();
    tree.clear_immediate(far).unwrap();
    tree.publish_immediate(large, raw(3, 30)).unwrap();
    tree.clear_immediate(large).unwrap();
    // All six come back once no reader is left.
    while tree.nodes() != 0 {
        tree.settle();
        pin().flush();
    }
    tree.publish_immediate(far, raw(2, 0)).unwrap();
    let guard = pin();
    let found = tree.find(far.base(), &guard).and_then(|found| found.immediate());
    assert_eq!(found, Some(raw(2, 0)));
}

#[test]
fn a_short_cut_to_a_node_that_was_unlinked_leads_nowhere() {
    let (ram, guard) = (Ram::new(), pin());
    let tree = ram.tree();
    let leaf = tree.leaf();
    for (one, large) in [(block(5, 0), block(0, 6)), (block(70, 1), block(0, 12))] {
        let small = raw(3, one.order().get());
        tree.publish_immediate(one, small).unwrap();
        tree.lead(&leaf, one);
        assert!(tree.clear_by(&leaf, one));
        assert!(tree.publish_by(&leaf, one, small) && tree.clear_by(&leaf, one));
        tree.publish_immediate(large, raw(7, large.order().get())).unwrap();
        tree.clear_immediate(large).unwrap();
        assert!(!tree.publish_by(&leaf, one, small), "its node is gone");
        assert!(tree.find(one.base(), &guard).is_none());
        tree.publish_immediate(one, small).unwrap();
        assert!(!tree.clear_by(&leaf, one), "until it is led there again");
        tree.lead(&leaf, one);
        assert!(tree.clear_by(&leaf, one));
    }
}

/// A short cut to a section leads to that section, whichever it is, and to nodes
/// of the level that is asked for.
#[test]
fn short_cuts_to_sections_lead_each_to_its_own() {
    let (ram, guard) = (Ram::new(), pin());
    let tree = ram.tree();
    for section in [0, 1, 2, 3, 5, 64, 1000] {
        let leaf = tree.leaf();
        let base = section << 18;
        // A node of each level: kept by a block of its own.
        let kept = [block(base, 0), block(base + 4096, 6), block(base + (2 << 12), 12)];
        for (one, order) in kept.into_iter().zip([0, 6, 12]) {
            tree.publish_immediate(one, raw(1, order)).unwrap();
        }
        tree.lead(&leaf, kept[0]);
        let inner = [block(base + 4096 + 128, 7), block(base + (3 << 12), 12), block(base + 1, 0)];
        for (one, order) in inner.into_iter().zip([7, 12, 0]) {
            assert!(tree.publish_by(&leaf, one, raw(2, order)), "{one} in section {section}");
            assert!(!tree.publish_by(&leaf, one, raw(2, order)), "{one} is there");
            let found = tree.find(one.last(), &guard).unwrap();
            assert_eq!((found.block(), found.immediate()), (one, Some(raw(2, order))));
            let half = Block::new(one.base(), one.order().half().unwrap_or(Order::ZERO)).unwrap();
            assert_eq!(tree.clear_by(&leaf, half), half == one, "half of a block is none");
            assert_eq!(tree.clear_by(&leaf, one), half != one);
            assert!(tree.find(one.base(), &guard).is_none());
        }
        tree.validate().unwrap();
        for one in kept {
            assert!(tree.clear_by(&leaf, one), "{one}");
        }
    }
    assert_eq!(tree.validate().unwrap().granules, 0);
}

/// A tree makes the short cuts of its own leaves alone.
#[test]
fn no_tree_leads_the_leaf_of_another() {
    let (ram, other) = (Ram::new(), Ram::new());
    let leaf = other.tree().leaf();
    for ram in [&ram, &other] {
        ram.tree().publish_immediate(block(0, 0), raw(1, 0)).unwrap();
    }
    ram.tree().lead(&leaf, block(0, 0));
    assert!(!other.tree().publish_by(&leaf, block(1, 0), raw(1, 0)), "it was led nowhere");
    other.tree().lead(&leaf, block(0, 0));
    assert!(other.tree().publish_by(&leaf, block(1, 0), raw(1, 0)));
    assert_eq!(ram.tree().validate().unwrap().granules, 1);
    assert_eq!(other.tree().validate().unwrap().granules, 2);
}
