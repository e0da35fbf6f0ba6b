//! What the models of messages share: the note, the one model, and its scenes.
//!
//! ```text
//!  maker                 looker
//!    note = 7              if the look shows the change:
//!    change                    note == 7
//! ```

use crate::home::{Folio, Ram, block, raw};
use lookup::Leaf;
use loom::cell::UnsafeCell;
use loom::thread;
use memdesc::{Block, Granule, Guard, Ref, pin};
use std::sync::{Arc, Mutex};

/// What is written plainly.
#[derive(Debug)]
pub struct Note(UnsafeCell<u32>);

// SAFETY: that nobody reads while the maker writes is what loom checks.
unsafe impl Send for Note {}
// SAFETY: as above.
unsafe impl Sync for Note {}

impl Note {
    /// Not written yet.
    pub fn empty() -> Self {
        Self(UnsafeCell::new(0))
    }

    /// Writes it.
    pub fn write(&self) {
        // SAFETY: loom checks that nobody else is here.
        self.0.with_mut(|note| unsafe { *note = 7 });
    }

    /// Reads it; fails unless it was written.
    pub fn read(&self) {
        assert!(self.is_written(), "seen before it was written");
    }

    /// Whether it was written; nobody may be about to.
    pub fn is_written(&self) -> bool {
        // SAFETY: loom checks that nobody writes.
        self.0.with(|note| unsafe { *note }) == 7
    }
}

/// The one model. The look is pinned until the note was read: a pin that ends,
/// or begins late, orders a little by the collector's lock.
pub fn tells<S: Send + Sync + 'static>(
    scene: S,
    change: impl FnOnce(&S),
    is_seen: fn(&S, &Guard) -> bool,
) {
    let shared = Arc::new((scene, Note::empty()));
    let looker = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let guard = pin();
            // So that the change is tried between the pin and the look: of a maker
            // that reads a word before it changes it, loom forgets who looked.
            thread::yield_now();
            if is_seen(&shared.0, &guard) {
                shared.1.read();
            }
        })
    };
    shared.1.write();
    change(&shared.0);
    looker.join().unwrap();
    assert!(is_seen(&shared.0, &pin()), "the look does not show the change");
}

/// A tree, with a block of `order` at granule 0 in it.
#[derive(Debug)]
pub struct Scene {
    /// Whose tree.
    pub ram: Ram,
    /// A short cut.
    pub leaf: Leaf,
    /// Of the block.
    pub order: u32,
    /// The descriptor, if that is what is there. Outside of loom's view.
    pub folio: Mutex<Option<Ref<Ram, Folio>>>,
    /// Another reference, for a look that needs no walk.
    pub also: Option<Ref<Ram, Folio>>,
}

/// Where things happen.
pub const AT: Granule = Granule(0);

impl Scene {
    /// Nothing there, but what leads there; and a leaf that does.
    pub fn vacant(order: u32) -> Self {
        Self::vacant_in(Ram::new(), order)
    }

    /// The same in a tree of the caller's.
    pub fn vacant_in(ram: Ram, order: u32) -> Self {
        let leaf = ram.tree().leaf();
        // The kinds are known, and the nodes are made.
        drop(ram.tree().publish(block(0, order), ram.folio(1)).unwrap());
        if order < 6 {
            ram.tree().lead(&leaf, block(0, order));
        }
        Self { ram, leaf, order, folio: Mutex::new(None), also: None }
    }

    /// A raw block of owner 1.
    pub fn raw(order: u32) -> Self {
        let scene = Self::vacant(order);
        scene.ram.tree().publish_immediate(block(0, order), raw(1, order)).unwrap();
        scene
    }

    /// A folio.
    pub fn typed(order: u32) -> Self {
        let scene = Self::vacant(order);
        let folio = scene.ram.tree().publish(block(0, order), scene.ram.folio(2)).unwrap();
        Self { also: folio.try_clone(), ..scene }.keep(folio)
    }

    /// The other reference.
    pub fn also(&self) -> &Ref<Ram, Folio> {
        self.also.as_ref().expect("a typed scene")
    }

    /// With this folio.
    pub fn keep(self, folio: Ref<Ram, Folio>) -> Self {
        *self.folio.lock().unwrap() = Some(folio);
        self
    }

    /// The folio, out of the scene: no lock is held while loom may switch.
    pub fn take(&self) -> Ref<Ram, Folio> {
        self.folio.lock().unwrap().take().expect("a folio")
    }

    /// The folio, or another one, back in.
    pub fn put(&self, folio: Ref<Ram, Folio>) {
        *self.folio.lock().unwrap() = Some(folio);
    }

    /// The block.
    pub fn block(&self) -> Block {
        block(0, self.order)
    }

    /// Owner, order and mark of what is at a granule.
    pub fn owner_at(&self, at: u64, guard: &Guard) -> Option<(u16, u32, bool)> {
        let found = self.ram.tree().find(Granule(at), guard)?.immediate()?;
        Some((found.owner.0, found.order.get(), found.poisoned))
    }
}
