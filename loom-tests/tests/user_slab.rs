//! A program of a user's own, and its model: a slab cache on top of potad.
//!
//! This file is the example of the README's section "A model of your own": it
//! uses nothing of this crate, only `potad` and `loom`, as a crate downstream
//! would.
//!
//! # The program
//!
//! ```text
//!  current -> address of a page         page: a typed block of 2 granules
//!                                       descriptor: used = 01   (one bit each)
//!  object 0  { counted Ref of the page, 0 }
//! ```
//!
//! An object holds a counted reference to its page, so a page is freed with its
//! last object and by nobody in particular. Whoever wants an object asks potad
//! what is at `current`: a page (counted from then on, so it stays), or nothing
//! any more, or a full one; then it makes a page and says so.
//!
//! # What is claimed
//!
//! No two objects share a granule; what was written to an object's memory comes
//! before the next object there; when all are gone, so are all pages.

use potad::memdesc::{Descriptor, Order};
use potad::{Ref, Zone};
use std::sync::Arc;

/// What the program and its model import from one place or the other: nothing
/// else in it knows of loom.
mod sync {
    #[cfg(loom)]
    pub(super) use loom::{sync::atomic::*, thread};
    #[cfg(not(loom))]
    pub(super) use std::{sync::atomic::*, thread};
}
use sync::{AtomicU64, Ordering};

/// Objects of a page, one granule each.
const OBJECTS: u64 = 2;
/// No page yet.
const NOWHERE: u64 = u64::MAX;

struct Page {
    used: AtomicU64,
}

impl Descriptor for Page {
    const NAME: &'static str = "slab page";
}

/// `BROKEN` takes bits without a compare-exchange; for the twin.
struct Cache<const BROKEN: bool> {
    ram: Zone,
    current: AtomicU64,
}

struct Object {
    page: Ref<Page>,
    index: u64,
}

impl<const BROKEN: bool> Cache<BROKEN> {
    fn new(ram: Zone) -> Self {
        Self { ram, current: AtomicU64::new(NOWHERE) }
    }

    fn alloc(&self) -> Object {
        // Relaxed: a hint where to look; potad says what is there.
        let at = self.current.load(Ordering::Relaxed);
        if at != NOWHERE
            && let Some(page) = self.ram.get::<Page>(at)
            && let Some(index) = Self::claim(&page.used)
        {
            return Object { page, index };
        }
        let used = AtomicU64::new(1);
        let page = self.ram.alloc(Order::new(1).unwrap(), Page { used }).expect("memory");
        self.current.store(page.address(), Ordering::Relaxed);
        // The reference keeps the page; the handle goes.
        Object { page: page.try_ref().expect("few references"), index: 0 }
    }

    /// A clear bit, set.
    fn claim(used: &AtomicU64) -> Option<u64> {
        let mut seen = used.load(Ordering::Relaxed);
        loop {
            let index = u64::from((!seen).trailing_zeros());
            if index >= OBJECTS {
                return None;
            }
            if BROKEN {
                used.store(seen | 1 << index, Ordering::Relaxed);
                return Some(index);
            }
            // Acquire pairs with the Release of the free: the memory is ours
            // with what its last user did to it.
            let next = seen | 1 << index;
            match used.compare_exchange(seen, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(index),
                Err(now) => seen = now,
            }
        }
    }
}

impl Object {
    fn granule(&self) -> u64 {
        self.page.block().base().0 + self.index
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // Release pairs with the claim. Then the reference goes, and with the
        // last one the page.
        self.page.used.fetch_and(!(1 << self.index), Ordering::Release);
    }
}

/// The zone's granules, as memory that only an object's owner touches.
struct Memory([AtomicU64; 8]);

impl Memory {
    fn new() -> Self {
        Self(core::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// As its owner: nobody else is in it.
    fn work(&self, object: &Object) {
        let cell = &self.0[object.granule() as usize];
        assert_eq!(cell.swap(1, Ordering::Relaxed), 0, "two objects in one granule");
        assert_eq!(cell.swap(0, Ordering::Relaxed), 1);
    }
}

/// Two threads, each with an object beside another; then nothing is left.
fn two_users<const BROKEN: bool>() {
    let potad = potad::Potad::new();
    let ram = potad.register(potad::Resource::new("ram").span(0..8)).unwrap();
    let cache = Arc::new(Cache::<BROKEN>::new(ram.clone()));
    let memory = Arc::new(Memory::new());
    let first = cache.alloc();
    let other = {
        let (cache, memory) = (Arc::clone(&cache), Arc::clone(&memory));
        sync::thread::spawn(move || {
            let object = cache.alloc();
            memory.work(&object);
        })
    };
    drop(first);
    let object = cache.alloc();
    memory.work(&object);
    other.join().unwrap();
    drop(object);
    assert_eq!(ram.validate(), Ok(8), "a page was left behind");
}

/// In a model: every interleaving with at most two preemptions.
#[cfg(loom)]
mod model {
    use super::*;
    use std::sync::atomic::{AtomicU64 as Count, Ordering::Relaxed};

    fn check(body: fn()) -> u64 {
        let count = Arc::new(Count::new(0));
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(2);
        builder.max_branches = 20_000;
        let counter = Arc::clone(&count);
        builder.check(move || {
            counter.fetch_add(1, Relaxed);
            body();
        });
        count.load(Relaxed)
    }

    #[test]
    fn users_of_a_slab_never_share_an_object() {
        let count = check(two_users::<false>);
        println!("MODEL user's slab: alloc || free, alloc iterations={count} bound=2");
        assert!(count >= 100, "{count} interleavings: the model has stopped to model");
    }

    #[test]
    #[should_panic(expected = "two objects in one granule")]
    fn user_slab_twin_claims_without_a_compare_exchange() {
        check(two_users::<true>);
    }
}

/// The same program with threads of the system, for once.
#[cfg(not(loom))]
#[test]
fn the_slab_works() {
    two_users::<false>();
    assert!(Cache::<true>::claim(&AtomicU64::new(3)).is_none(), "full is full, broken or not");
}
