//! Homes are kept by their handles and by live descriptors, whatever thread
//! makes and drops them, and are dropped once.

use potad_memdesc::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;

struct Folio(u64);
struct Large([u64; 200]);
#[repr(align(256))]
struct Aligned(u8);

descriptors! { set Mm { Folio = 1, Large = 2, Aligned = 3 } }

/// A home without a tree: its descriptors are found by their references alone.
struct Ram {
    kinds: Kinds,
    gone: Arc<AtomicUsize>,
    torn_down: Arc<AtomicUsize>,
}

impl Drop for Ram {
    fn drop(&mut self) {
        self.gone.fetch_add(1, Relaxed);
    }
}

impl Home for Ram {
    fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    fn teardown(dead: Dead<Self>) {
        let home = dead.home();
        home.torn_down.fetch_add(1, Relaxed);
        // SAFETY: no slot ever named it.
        drop(unsafe { dead.into_garbage() });
        assert_eq!(home.gone.load(Relaxed), 0, "the home is there to the end");
    }
}

struct Counts {
    gone: Arc<AtomicUsize>,
    torn_down: Arc<AtomicUsize>,
}

impl Counts {
    fn gone(&self) -> usize {
        self.gone.load(Relaxed)
    }
}

fn ram() -> (Keep<Ram>, Counts) {
    let counts = Counts { gone: Arc::default(), torn_down: Arc::default() };
    let kinds = Kinds::new();
    Mm::register(&kinds).unwrap();
    let (gone, torn_down) = (Arc::clone(&counts.gone), Arc::clone(&counts.torn_down));
    (Keep::new(Ram { kinds, gone, torn_down }), counts)
}

fn publish<T: Descriptor>(ram: &Keep<Ram>, body: T) -> Ref<Ram, T> {
    let fresh = Fresh::of(ram, OwnerId(3), body).ok().unwrap();
    fresh.set_place(Block::containing(Granule(8), Order::new(3).unwrap()));
    let kind = ram.kinds().of::<T>().unwrap();
    // SAFETY: the kind is the one that `teardown` looks up.
    unsafe { fresh.into_ref(kind) }
}

#[test]
fn a_home_goes_with_its_last_keep_if_nothing_lives() {
    let (ram, counts) = ram();
    let weak = ram.downgrade();
    for round in 0..1000 {
        assert_eq!(publish(&ram, Folio(round)).0, round);
    }
    let again = weak.upgrade().unwrap();
    drop(ram);
    assert_eq!(counts.gone(), 0);
    drop(again);
    assert_eq!(counts.gone(), 1, "at once, though the memory waits for readers");
    assert!(weak.upgrade().is_none());
    assert_eq!(counts.torn_down.load(Relaxed), 1000);
}

#[test]
fn a_descriptor_keeps_its_home() {
    let (ram, counts) = ram();
    let weak = ram.downgrade();
    let folio = publish(&ram, Folio(7));
    let other = publish(&ram, Folio(8));
    drop((ram, other));
    assert_eq!(counts.gone(), 0);
    assert!(weak.upgrade().is_none(), "a descriptor is no keep");
    assert_eq!(folio.home().kinds().len(), 3);
    drop(folio);
    assert_eq!(counts.gone(), 1);
}

#[test]
fn one_that_was_never_published_keeps_it_too() {
    let (ram, counts) = ram();
    let fresh = Fresh::of(&ram, OwnerId(0), Folio(1)).ok().unwrap();
    drop(ram);
    assert_eq!((counts.gone(), fresh.home().kinds().len()), (0, 3));
    assert_eq!(fresh.into_body().0, 1);
    assert_eq!(counts.gone(), 1);
}

#[test]
fn every_size_and_alignment_has_memory() {
    let (ram, counts) = ram();
    let larges: Vec<_> = (0..200).map(|at| publish(&ram, Large([at; 200]))).collect();
    let aligned: Vec<_> = (0..200).map(|at| publish(&ram, Aligned(at))).collect();
    for (at, (large, aligned)) in larges.iter().zip(&aligned).enumerate() {
        assert!(large.0.iter().all(|&word| word == at as u64));
        assert!(std::ptr::from_ref(&**aligned).addr().is_multiple_of(256));
        assert_eq!(usize::from(aligned.0), at);
    }
    drop((larges, aligned, ram));
    assert_eq!(counts.gone(), 1);
}

/// Made here, dropped there: neither thread's counts alone are right.
#[test]
fn descriptors_that_die_in_other_threads_keep_the_home_to_the_last() {
    let (ram, counts) = ram();
    let (send, receive) = channel();
    let makers: Vec<_> = (0..3)
        .map(|_| {
            let (ram, send) = (ram.clone(), send.clone());
            std::thread::spawn(move || {
                (0..500).for_each(|at| send.send(publish(&ram, Folio(at))).unwrap());
            })
        })
        .collect();
    drop((ram, send));
    makers.into_iter().for_each(|maker| maker.join().unwrap());
    let mut late: Vec<Ref<Ram, Folio>> = receive.iter().collect();
    assert_eq!((late.len(), counts.gone()), (1500, 0));
    let last = late.pop().unwrap();
    std::thread::spawn(move || drop(late)).join().unwrap();
    assert_eq!(counts.gone(), 0);
    assert_eq!(last.home().kinds().len(), 3);
    drop(last);
    assert_eq!((counts.gone(), counts.torn_down.load(Relaxed)), (1, 1500));
}

#[test]
fn a_thread_that_ends_gives_back_what_it_has_put_off() {
    let (ram, counts) = ram();
    let (made, come) = channel();
    let (gone, go) = channel::<()>();
    let there = {
        let ram = ram.clone();
        std::thread::spawn(move || {
            drop(publish(&ram, Folio(1)));
            drop(ram);
            made.send(()).unwrap();
            go.recv().unwrap();
        })
    };
    come.recv().unwrap();
    drop(ram);
    gone.send(()).unwrap();
    there.join().unwrap();
    assert_eq!(counts.gone(), 1);
}

/// Units of one home at a time are put off.
#[test]
fn what_was_put_off_goes_back_to_the_home_that_it_is_of() {
    let ((one, of_one), (other, of_other)) = (ram(), ram());
    for round in 0..10 {
        drop(publish(&one, Folio(round)));
        drop(publish(&other, Folio(round)));
    }
    drop(one);
    assert_eq!((of_one.gone(), of_other.gone()), (1, 0));
    drop(other);
    assert_eq!((of_one.gone(), of_other.gone()), (1, 1));
}

#[test]
fn a_thread_that_flushes_gives_back_what_it_has_put_off() {
    let (ram, counts) = ram();
    let folio = publish(&ram, Folio(1));
    let (put, come) = channel();
    let (gone, go) = channel::<()>();
    let (flushed, done) = channel();
    let there = std::thread::spawn(move || {
        drop(folio);
        put.send(()).unwrap();
        go.recv().unwrap();
        pin().flush();
        flushed.send(()).unwrap();
    });
    come.recv().unwrap();
    drop(ram);
    assert_eq!(counts.gone(), 0, "one unit is put off");
    gone.send(()).unwrap();
    done.recv().unwrap();
    assert_eq!(counts.gone(), 1);
    there.join().unwrap();
}

/// Homes come and go at the same addresses: no share is taken for another's.
#[test]
fn many_homes_one_after_the_other_are_dropped_once_each() {
    for _ in 0..300 {
        let (first, first_counts) = ram();
        let (second, second_counts) = ram();
        let folios: Vec<_> = (0..40)
            .map(|at| publish(if at % 3 == 0 { &first } else { &second }, Folio(at)))
            .collect();
        drop(first);
        assert_eq!(first_counts.gone(), 0);
        drop(folios);
        assert_eq!((first_counts.gone(), second_counts.gone()), (1, 0));
        drop(second);
        assert_eq!(second_counts.gone(), 1);
    }
}

#[test]
fn threads_that_end_leave_their_shares_to_the_anchor() {
    let (ram, counts) = ram();
    let kept: Vec<_> = (0..50)
        .map(|at| {
            let ram = ram.clone();
            std::thread::spawn(move || {
                let kept = publish(&ram, Folio(at));
                (0..at).for_each(|at| drop(publish(&ram, Folio(at))));
                kept
            })
            .join()
            .unwrap()
        })
        .collect();
    drop(ram);
    assert_eq!(counts.gone(), 0);
    drop(kept);
    assert_eq!(counts.gone(), 1);
}
