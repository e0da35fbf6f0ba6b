//! A home for models: a tree, and a count of what came back.

use lookup::{Leaf, Tree};
use memdesc::sync::cell::UnsafeCell;
use memdesc::{Block, Dead, Fresh, Granule, Home, Immediate, Kinds, Order, OwnerId, Subtype};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A descriptor whose number is written when it is made and read by whoever
/// finds it, without any atomic: loom sees if nothing orders the two.
#[derive(Debug)]
pub struct Folio {
    number: UnsafeCell<u32>,
}

/// Another type.
#[derive(Debug)]
pub struct Slab {
    number: UnsafeCell<u32>,
}

memdesc::descriptors! {
    /// What models publish.
    pub set Mm { Folio = 1, Slab = 2 }
}

// SAFETY: written by its maker alone; that the rest come later, loom checks.
unsafe impl Sync for Folio {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Folio {
    /// One of this number.
    pub fn of(number: u32) -> Self {
        Self { number: written(number) }
    }

    /// The number it was made with.
    pub fn number(&self) -> u32 {
        // SAFETY: nobody writes once it is made.
        self.number.with(|number| unsafe { *number })
    }

    /// Adds one; under the lock.
    pub fn add_one(&self) {
        // SAFETY: the caller holds the lock; loom checks that.
        self.number.with_mut(|number| unsafe { *number += 1 });
    }
}

impl Slab {
    /// One of this number.
    pub fn of(number: u32) -> Self {
        Self { number: written(number) }
    }

    /// The number it was made with.
    pub fn number(&self) -> u32 {
        // SAFETY: nobody writes once it is made.
        self.number.with(|number| unsafe { *number })
    }
}

/// A cell with a write to it: loom does not count its making as one.
fn written(number: u32) -> UnsafeCell<u32> {
    let cell = UnsafeCell::new(0);
    // SAFETY: ours alone.
    cell.with_mut(|at| unsafe { *at = number });
    cell
}

/// What a model shares.
#[derive(Debug)]
pub struct State {
    kinds: Kinds,
    /// The tree.
    pub tree: Tree<Ram>,
    /// A short cut by which what dies is retracted, if it leads there.
    near: Option<Leaf>,
    /// Descriptors that were torn down.
    pub torn_down: AtomicUsize,
}

/// A handle on it. The counts are outside loom's view on purpose.
#[derive(Clone, Debug)]
pub struct Ram(pub Arc<State>);

impl Home for Ram {
    fn kinds(&self) -> &Kinds {
        &self.0.kinds
    }

    fn teardown(dead: Dead<Self>) {
        dead.with_home(|ram, dead, guard| {
            ram.0.torn_down.fetch_add(1, Relaxed);
            let near = match &ram.0.near {
                Some(leaf) => ram.0.tree.retract_near(leaf, dead),
                None => Err(dead),
            };
            let long = |dead| ram.0.tree.retract(dead).expect("published here, once").garbage;
            near.map_or_else(long, |(_, garbage)| garbage).retire(guard);
        });
    }
}

impl Ram {
    /// An empty one; to be made inside the model.
    pub fn new() -> Self {
        Self::with(Tree::new(), None)
    }

    /// One that retracts order 0 at granule 0 by a short cut.
    pub fn near() -> Self {
        let tree = Tree::new();
        let leaf = tree.leaf();
        tree.publish_immediate(block(0, 0), raw(1, 0)).expect("vacant");
        tree.lead(&leaf, block(0, 0));
        tree.clear_immediate(block(0, 0)).expect("published just above");
        Self::with(tree, Some(leaf))
    }

    fn with(tree: Tree<Self>, near: Option<Leaf>) -> Self {
        let kinds = Kinds::new();
        Mm::register(&kinds).expect("two types");
        Self(Arc::new(State { kinds, tree, near, torn_down: AtomicUsize::new(0) }))
    }

    /// The tree.
    pub fn tree(&self) -> &Tree<Self> {
        &self.0.tree
    }

    /// A folio, not published.
    pub fn folio(&self, number: u32) -> Fresh<Self, Folio> {
        Fresh::new(self.clone(), OwnerId(1), Folio::of(number)).expect("memory")
    }

    /// A slab, not published.
    pub fn slab(&self, number: u32) -> Fresh<Self, Slab> {
        Fresh::new(self.clone(), OwnerId(2), Slab::of(number)).expect("memory")
    }

    /// Teardowns so far.
    pub fn torn_down(&self) -> usize {
        self.0.torn_down.load(Relaxed)
    }
}

impl Default for Ram {
    fn default() -> Self {
        Self::new()
    }
}

/// A block; panics if there is none.
pub fn block(base: u64, order: u32) -> Block {
    Block::new(Granule(base), Order::new(order).expect("an order")).expect("a block")
}

/// A raw word.
pub fn raw(owner: u16, order: u32) -> Immediate {
    Immediate::new(Subtype::Raw, OwnerId(owner), Order::new(order).expect("an order"))
}
