//! Descriptors with a tail: every length, size and alignment of items, dropped
//! once each with the body, and not before a reader lets them.

use potad_memdesc::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Ram(Kinds);
impl Home for Ram {
    fn kinds(&self) -> &Kinds {
        &self.0
    }
    fn teardown(dead: Dead<Self>) {
        // SAFETY: no slot ever named it.
        drop(unsafe { dead.into_garbage() });
    }
}

struct Item(u64, Arc<AtomicUsize>);
impl Drop for Item {
    fn drop(&mut self) {
        self.1.fetch_add(1, Relaxed);
    }
}

/// A body that leaves padding before the items.
struct Named([u8; 5]);
impl Descriptor for Named {
    const NAME: &'static str = "named";
    const TAIL: Option<Tail> = Some(Tail::of::<Item>());
}

#[repr(align(256))]
struct Wide(u8);
struct Wides;
impl Descriptor for Wides {
    const NAME: &'static str = "wides";
    const TAIL: Option<Tail> = Some(Tail::of::<Wide>());
}

struct Plain;
impl Descriptor for Plain {
    const NAME: &'static str = "plain";
}

fn publish<T: Descriptor>(ram: &Keep<Ram>, fresh: Fresh<Ram, T>) -> Ref<Ram, T> {
    fresh.set_place(Block::containing(Granule(8), Order::ZERO));
    let kind = ram.kinds().of::<T>().unwrap();
    // SAFETY: the kind was given by the home's set.
    unsafe { fresh.into_ref(kind) }
}

fn ram() -> Keep<Ram> {
    let kinds = Kinds::new();
    kinds.register::<Named>().unwrap();
    kinds.register::<Wides>().unwrap();
    kinds.register::<Plain>().unwrap();
    Keep::new(Ram(kinds))
}

fn named(ram: &Keep<Ram>, len: usize, drops: &Arc<AtomicUsize>) -> Fresh<Ram, Named> {
    let item = |at| Item(at as u64, Arc::clone(drops));
    Fresh::with_tail(ram, OwnerId(1), Named(*b"table"), len, item).ok().unwrap()
}

#[test]
fn every_length_is_kept_and_dropped() {
    let ram = ram();
    let drops = Arc::new(AtomicUsize::new(0));
    let mut made = 0;
    // Within the first line, across the slab's classes, and beyond them.
    for len in (0..40).chain([100, 1000]) {
        let table = publish(&ram, named(&ram, len, &drops));
        made += len;
        assert_eq!(&table.0, b"table");
        let items = table.tail::<Item>();
        assert!(items.len() == len && items.iter().zip(0..).all(|(item, at)| item.0 == at));
        assert!(table.tail::<u64>().is_empty(), "another type");
        assert_eq!(table.lock().tail::<Item>().len(), len);
    }
    for _ in 0..1_000_000 {
        if drops.load(Relaxed) == made {
            return;
        }
        pin().flush();
    }
    panic!("{} of {made} dropped", drops.load(Relaxed));
}

#[test]
fn what_was_never_published_drops_its_tail_at_once() {
    let ram = ram();
    let drops = Arc::new(AtomicUsize::new(0));
    drop(named(&ram, 7, &drops));
    assert_eq!(drops.load(Relaxed), 7);
    let body = named(&ram, 3, &drops).into_body();
    assert_eq!((&body.0, drops.load(Relaxed)), (b"table", 10));
    let without = Fresh::of(&ram, OwnerId(0), Named([0; 5])).ok().unwrap();
    assert!(without.tail::<Item>().is_empty());
}

#[test]
fn items_are_aligned() {
    let ram = ram();
    for len in [0, 1, 5] {
        let fresh = Fresh::with_tail(&ram, OwnerId(0), Wides, len, |at| Wide(at as u8));
        let wides = publish(&ram, fresh.ok().unwrap());
        for (at, wide) in wides.tail::<Wide>().iter().enumerate() {
            assert!(std::ptr::from_ref(wide).addr().is_multiple_of(256));
            assert_eq!(usize::from(wide.0), at);
        }
        assert_eq!(wides.tail::<Wide>().len(), len);
    }
}

#[test]
fn more_than_there_is_memory_is_refused_with_the_body() {
    let ram = ram();
    let refused = Fresh::with_tail(&ram, OwnerId(0), Wides, usize::MAX, |_| Wide(0));
    assert!(refused.is_err());
}

#[test]
#[should_panic(expected = "plain has no tail")]
fn a_tail_that_the_type_has_not_is_a_bug() {
    let _never = Fresh::with_tail(&ram(), OwnerId(0), Plain, 1, |_| 7_u32);
}
