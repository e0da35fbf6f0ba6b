//! Threads: owners publish, split and drop; readers peek, get and lock.

mod common;

use common::*;
use memdesc::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

const ROUNDS: u64 = if cfg!(debug_assertions) { 3_000 } else { 60_000 };

/// A small generator: the tests must not need one more crate.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Readers ask for random addresses until told to stop, and check that what
/// they find fits.
fn readers(ram: &Ram, done: &Arc<AtomicBool>, span: u64) -> Vec<thread::JoinHandle<u64>> {
    (0..2u64)
        .map(|which| {
            let (ram, done) = (ram.clone(), done.clone());
            thread::spawn(move || {
                let mut state = 0x9e37_79b9 + which;
                let mut hits = 0;
                while !done.load(Relaxed) {
                    let at = Granule(random(&mut state) % span);
                    match random(&mut state) % 4 {
                        0 => hits += u64::from(peek(&ram, at)),
                        1 => {
                            if let Some(folio) = ram.tree().get::<Folio>(at) {
                                assert_eq!(folio.tag % 2, 0);
                                hits += 1;
                            }
                        }
                        2 => {
                            if let Some(slab) = ram.tree().lock::<Slab>(at) {
                                assert!(slab.block().contains(at));
                                assert!(!slab.header().is_dead());
                                slab.0.fetch_add(2, Relaxed);
                                hits += 1;
                            }
                        }
                        _ => {
                            let guard = pin();
                            let last = Granule(span - 1);
                            let rest = Granules::new(at, last).unwrap();
                            hits += ram.tree().iter(rest, &guard).take(8).count() as u64;
                        }
                    }
                }
                hits
            })
        })
        .collect()
}

fn peek(ram: &Ram, at: Granule) -> bool {
    let guard = pin();
    let Some(found) = ram.tree().find(at, &guard) else { return false };
    match Mm::of(&found) {
        Some(Mm::Folio(folio)) => assert_eq!(folio.tag % 2, 0),
        Some(Mm::Slab(slab)) => assert_eq!(slab.0.load(Relaxed) % 2, 1),
        None => assert_eq!(found.immediate().unwrap().subtype, Subtype::Raw),
    }
    true
}

/// Each owner has an arena of its own, publishes at every order in it, splits
/// what it published and lets go in another order.
#[test]
fn owners_beside_readers() {
    for arena_order in [9u32, 20, 26] {
        let ram = Ram::new();
        let done = Arc::new(AtomicBool::new(false));
        let readers = readers(&ram, &done, 2 << arena_order);
        let owners: Vec<_> = (0..2u64)
            .map(|which| {
                let ram = ram.clone();
                thread::spawn(move || own(&ram, block(which << arena_order, arena_order)))
            })
            .collect();
        owners.into_iter().for_each(|owner| owner.join().unwrap());
        done.store(true, Relaxed);
        let hits: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(hits > 0);
        assert_eq!(ram.0.refused.load(Relaxed), 0);
        assert_eq!(ram.tree().validate().unwrap().granules, 0);
        collect(&ram, 0);
    }
}

fn own(ram: &Ram, arena: Block) {
    let mut state = arena.base().0 + 88172645463325252;
    let tree = ram.tree();
    for _ in 0..ROUNDS {
        let order = random(&mut state) % u64::from(arena.order().get() + 1);
        let order = Order::new(u32::try_from(order).unwrap()).unwrap();
        let at = arena.base().0 + (random(&mut state) & (arena.order().granules() - 1));
        let block = Block::containing(Granule(at), order);
        if random(&mut state).is_multiple_of(2) {
            let raw = raw(1, order.get());
            tree.publish_immediate(block, raw).unwrap();
            if let Some((lower, upper)) = block.halves() {
                let half = raw.with_order(lower.order());
                tree.split_immediate(block, half, half).unwrap();
                assert_eq!(tree.clear_immediate(upper), Ok(half));
                assert_eq!(tree.clear_immediate(lower), Ok(half));
            } else {
                assert_eq!(tree.clear_immediate(block), Ok(raw));
            }
            continue;
        }
        // An owner alone must always find its own block, whatever is split.
        let folio = tree.publish(block, ram.folio(2)).unwrap();
        let mut uppers = Vec::new();
        for step in 0..random(&mut state) % 8 {
            let Some((lower, _)) = folio.block().halves() else { break };
            let upper = if step.is_multiple_of(2) {
                tree.split(&folio.lock(), ram.slab(1)).map(Ref::erase).unwrap()
            } else {
                let locked = tree.lock::<Folio>(lower.base()).unwrap();
                tree.split(&locked, ram.folio(4)).map(Ref::erase).unwrap()
            };
            assert_eq!(folio.block(), lower);
            uppers.push(upper);
        }
        drop(folio);
        drop(uppers);
        // Wait until readers let go: the arena is published anew.
        while !tree.is_empty_range(arena.granules()) {
            thread::yield_now();
        }
    }
}

/// A block that lives throughout is found throughout, however it is split.
#[test]
fn a_live_block_is_never_missed() {
    for order in [8u32, 13, 19, 26, 31] {
        let ram = Ram::new();
        let done = Arc::new(AtomicBool::new(false));
        let whole = block(1 << order, order);
        let kept = ram.tree().publish(whole, ram.folio(2)).unwrap();
        let reader = {
            let (ram, done) = (ram.clone(), done.clone());
            thread::spawn(move || {
                let mut state = 77;
                while !done.load(Relaxed) {
                    let at = whole.base().0 + (random(&mut state) & (whole.order().granules() - 1));
                    assert!(peek(&ram, Granule(at)), "missed {at:#x}");
                    assert!(ram.tree().get_erased(Granule(at)).is_some());
                }
            })
        };
        let mut parts = vec![kept.erase()];
        while let Some(part) = parts.iter().position(|part| part.block().order() != Order::ZERO) {
            let at = parts[part].block().base();
            if parts.len() > if cfg!(debug_assertions) { 200 } else { 4_000 } {
                break;
            }
            // Depth first, so that every level is crossed.
            let upper = match ram.tree().lock::<Folio>(at) {
                Some(locked) => ram.tree().split(&locked, ram.slab(1)).map(Ref::erase).unwrap(),
                None => {
                    let locked = ram.tree().lock::<Slab>(at).unwrap();
                    ram.tree().split(&locked, ram.folio(2)).map(Ref::erase).unwrap()
                }
            };
            parts.push(upper);
        }
        done.store(true, Relaxed);
        reader.join().unwrap();
        let parts_count = parts.len() as u64;
        assert_eq!(ram.tree().validate().unwrap().descriptors, parts_count);
        drop(parts);
        assert_eq!(ram.back().len() as u64, parts_count);
        collect(&ram, 0);
    }
}

/// Failure against free of a raw block: the mark is seen by the one who frees,
/// or the one who marks sees that the block is gone.
#[test]
fn a_mark_or_a_free_is_seen_by_the_other() {
    let ram = Ram::new();
    let target = block(64, 4);
    let done = Arc::new(AtomicBool::new(false));
    let marker = {
        let (ram, done) = (ram.clone(), done.clone());
        thread::spawn(move || {
            let (mut state, mut marked) = (5, 0u64);
            while !done.load(Relaxed) {
                let at = 64 + random(&mut state) % 16;
                if let Some(raw) = ram.tree().poison_immediate(Granule(at)) {
                    assert!(raw.poisoned);
                    marked += 1;
                    // Only after the free do we mark again: each mark counts.
                    while !done.load(Relaxed) && marked_now(&ram) {
                        thread::yield_now();
                    }
                }
            }
            marked
        })
    };
    let mut seen = 0;
    for round in 0..ROUNDS {
        ram.tree().publish_immediate(target, raw(1, 4)).unwrap();
        if round % 3 == 0 {
            seen += u64::from(ram.tree().set_immediate(target, raw(1, 4)).unwrap().poisoned);
            // The hint stays, and is seen again.
            let again = ram.tree().clear_immediate(target).unwrap().poisoned;
            seen = if again { seen.max(1) } else { seen };
            continue;
        }
        seen += u64::from(ram.tree().clear_immediate(target).unwrap().poisoned);
    }
    done.store(true, Relaxed);
    let marked = marker.join().unwrap();
    assert!(marked == 0 || seen > 0, "{marked} marks, none seen");
}

fn marked_now(ram: &Ram) -> bool {
    let guard = pin();
    let found = ram.tree().find(Granule(64), &guard);
    found.and_then(|found| found.immediate()).is_some_and(|raw| raw.poisoned)
}

/// Misuse: threads publish, split, mark and clear the same addresses without
/// owning them. Words are lost and descriptors leak; but whoever reads, reads
/// what is alive.
#[test]
fn without_ownership_things_leak_but_nothing_dangles() {
    let ram = Ram::new();
    let done = Arc::new(AtomicBool::new(false));
    // Spans nodes of all levels and the border of two sections.
    let base = (1u64 << 18) - 256;
    let reader = {
        let (ram, done) = (ram.clone(), done.clone());
        thread::spawn(move || {
            let mut state = 3;
            while !done.load(Relaxed) {
                let at = Granule(base + random(&mut state) % 512);
                peek(&ram, at);
                if let Some(folio) = ram.tree().get::<Folio>(at) {
                    assert_eq!(folio.tag % 2, 0);
                }
            }
        })
    };
    let owners: Vec<_> = (0..3u64)
        .map(|which| {
            let ram = ram.clone();
            thread::spawn(move || trespass(&ram, base, which))
        })
        .collect();
    owners.into_iter().for_each(|owner| owner.join().unwrap());
    done.store(true, Relaxed);
    reader.join().unwrap();
}

fn trespass(ram: &Ram, base: u64, which: u64) {
    let mut state = which + 0x51ed;
    let tree = ram.tree();
    let mut kept = Vec::new();
    for _ in 0..ROUNDS * 4 {
        let at = Granule(base + random(&mut state) % 512);
        let order = [0u64, 2, 5, 6, 7, 12, 18][(random(&mut state) % 7) as usize];
        let order = Order::new(u32::try_from(order).unwrap()).unwrap();
        let block = Block::containing(at, order);
        match random(&mut state) % 6 {
            0 | 1 => kept.extend(tree.publish(block, ram.folio(2)).ok().map(Ref::erase)),
            2 => drop(tree.publish_immediate(block, raw(1, order.get()))),
            3 => drop(tree.clear_immediate(block)),
            4 => {
                if let Some(locked) = tree.lock::<Folio>(at) {
                    kept.extend(tree.split(&locked, ram.slab(1)).ok().map(Ref::erase));
                }
            }
            _ if !kept.is_empty() => {
                let which = random(&mut state) as usize % kept.len();
                drop(kept.swap_remove(which));
            }
            _ => {}
        }
        if random(&mut state).is_multiple_of(64) {
            tree.settle();
        }
    }
}
