//! A home whose teardown retracts, and says what it got.

#![allow(dead_code, reason = "each test uses its part")]

use memdesc::sync::Mutex;
use memdesc::*;
use potad_lookup::{Retracted, Tree};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

#[derive(Debug)]
pub(crate) struct Folio {
    pub(crate) tag: u64,
    pub(crate) live: Arc<AtomicUsize>,
}

impl Drop for Folio {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Relaxed);
        // Odd from now on: whoever still reads it finds out.
        self.tag = u64::MAX;
    }
}

#[derive(Debug)]
pub(crate) struct Slab(pub(crate) AtomicU64);

descriptors! {
    /// What the tests publish.
    pub(crate) set Mm { Folio = 1, Slab = 2 }
}

pub(crate) struct State {
    pub(crate) kinds: Kinds,
    pub(crate) tree: Tree<Ram>,
    pub(crate) live: Arc<AtomicUsize>,
    /// Blocks that came back, when anybody wants to know.
    pub(crate) back: Mutex<Vec<(Block, bool)>>,
    pub(crate) refused: AtomicUsize,
}

#[derive(Clone)]
pub(crate) struct Ram(pub(crate) Arc<State>);

impl Home for Ram {
    fn kinds(&self) -> &Kinds {
        &self.0.kinds
    }

    fn teardown(dead: Dead<Self>) {
        dead.with_home(|ram, dead, guard| match ram.0.tree.retract(dead) {
            Ok(Retracted { block, poisoned, garbage, .. }) => {
                ram.0.back.lock().push((block, poisoned));
                garbage.retire(guard);
            }
            Err(_) => {
                ram.0.refused.fetch_add(1, Relaxed);
            }
        });
    }
}

impl Ram {
    pub(crate) fn new() -> Self {
        let kinds = Kinds::new();
        Mm::register(&kinds).unwrap();
        Self(Arc::new(State {
            kinds,
            tree: Tree::new(),
            live: Arc::new(AtomicUsize::new(0)),
            back: Mutex::new(Vec::new()),
            refused: AtomicUsize::new(0),
        }))
    }

    pub(crate) fn tree(&self) -> &Tree<Self> {
        &self.0.tree
    }

    pub(crate) fn folio(&self, tag: u64) -> Fresh<Self, Folio> {
        self.0.live.fetch_add(1, Relaxed);
        Fresh::new(self.clone(), OwnerId(1), Folio { tag, live: self.0.live.clone() }).unwrap()
    }

    pub(crate) fn slab(&self, value: u64) -> Fresh<Self, Slab> {
        Fresh::new(self.clone(), OwnerId(2), Slab(AtomicU64::new(value))).unwrap()
    }

    pub(crate) fn back(&self) -> Vec<(Block, bool)> {
        std::mem::take(&mut self.0.back.lock())
    }
}

pub(crate) fn block(base: u64, order: u32) -> Block {
    Block::new(Granule(base), Order::new(order).unwrap()).unwrap()
}

pub(crate) fn raw(owner: u16, order: u32) -> Immediate {
    Immediate::new(Subtype::Raw, OwnerId(owner), Order::new(order).unwrap())
}

/// Collects until no more than `left` folios wait to be freed. Other tests of
/// the process pin too, so this may take a while.
pub(crate) fn collect(ram: &Ram, left: usize) {
    let start = std::time::Instant::now();
    while ram.0.live.load(Relaxed) != left {
        assert!(
            start.elapsed().as_secs() < 60,
            "{} folios live, expected {left}",
            ram.0.live.load(Relaxed)
        );
        pin().flush();
        std::thread::yield_now();
    }
}
