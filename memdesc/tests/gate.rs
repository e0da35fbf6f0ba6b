//! The gate of signal handlers: what is retired while one looks is freed when it
//! has left, and not before. One test in a process of its own: the gate is the
//! process's, and nobody else collects.

use potad_memdesc::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Folio(Arc<AtomicUsize>);
impl Drop for Folio {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}
impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}

struct Ram(Kinds);
impl Home for Ram {
    fn kinds(&self) -> &Kinds {
        &self.0
    }
    fn teardown(dead: Dead<Self>) {
        // SAFETY: no slot ever named it.
        unsafe { dead.into_garbage() }.retire(&pin());
    }
}

/// More collections than any deferred call waits for.
fn collect() {
    (0..64).for_each(|_| pin().flush());
}

#[test]
fn what_is_retired_while_a_handler_looks_is_freed_once_it_has_left() {
    let kinds = Kinds::new();
    let kind = kinds.register::<Folio>().unwrap();
    let ram = Keep::new(Ram(kinds));
    let gone = Arc::new(AtomicUsize::new(0));
    let retire = || {
        let fresh = Fresh::of(&ram, OwnerId(0), Folio(Arc::clone(&gone))).ok().unwrap();
        fresh.set_place(Block::containing(Granule(0), Order::ZERO));
        // SAFETY: the kind was given by the home's set.
        drop(unsafe { fresh.into_ref(kind) });
        collect();
    };
    retire();
    assert_eq!(gone.load(Relaxed), 1, "nobody looks");

    let first = InSignal::enter();
    retire();
    assert_eq!(gone.load(Relaxed), 1, "the first looks");
    // The one that comes now is on the other side: the first side empties.
    let second = InSignal::enter();
    drop(first);
    collect();
    assert_eq!(gone.load(Relaxed), 1, "the second was in before all was seen empty");
    // A third holds up nothing that was seen to be left: the second's side is
    // left when it goes.
    let third = InSignal::enter();
    drop(second);
    collect();
    assert_eq!(gone.load(Relaxed), 2, "those that looked have left");
    retire();
    assert_eq!(gone.load(Relaxed), 2, "the third looks");
    drop(third);
    collect();
    assert_eq!(gone.load(Relaxed), 3);
    assert_eq!(Arc::strong_count(&gone), 1, "each is dropped once");
    retire();
    assert_eq!(gone.load(Relaxed), 4, "nobody looks again");
}
