//! A home whose teardown retracts, and remembers what came back.

use lookup::{Leaf, LookupError, Retracted, Tree};
use memdesc::{
    Block, Dead, Descriptor, Fresh, Home, Kinds, LockedErased, OwnerId, Ref, descriptors,
};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// What is in every body: its number, and that it is there.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) number: u32,
    bodies: Arc<AtomicUsize>,
}

impl Drop for Body {
    fn drop(&mut self) {
        self.bodies.fetch_sub(1, Relaxed);
        // Whoever reads it still finds a number that nothing has.
        self.number = u32::MAX;
    }
}

/// A type.
#[derive(Debug)]
pub(super) struct Folio(pub(super) Body);
/// Another, of another size.
#[derive(Debug)]
pub(super) struct Slab(pub(super) Body, [u64; 12]);

descriptors! {
    /// The types that are registered.
    pub(super) set Mm { Folio = 1, Slab = 2 }
}

/// One that is not.
#[derive(Debug)]
pub(super) struct Stranger;
impl Descriptor for Stranger {
    const NAME: &'static str = "stranger";
}

impl Folio {
    pub(super) fn new(ram: &Ram, number: u32) -> Self {
        Self(ram.body(number))
    }
}

impl Slab {
    pub(super) fn new(ram: &Ram, number: u32) -> Self {
        Self(ram.body(number), [u64::from(number); 12])
    }

    /// Nobody has written over it.
    pub(super) fn is_whole(&self) -> bool {
        self.1 == [u64::from(self.0.number); 12]
    }
}

impl Stranger {
    pub(super) fn fresh(ram: &Ram) -> Fresh<Ram, Self> {
        ram.fresh(Self)
    }
}

struct State {
    kinds: Kinds,
    tree: Tree<Ram>,
    /// What teardowns gave back since somebody looked: block, failed.
    back: Mutex<Vec<(Block, bool)>>,
    bodies: Arc<AtomicUsize>,
}

/// The home.
#[derive(Clone)]
pub(super) struct Ram(Arc<State>);

impl Home for Ram {
    fn kinds(&self) -> &Kinds {
        &self.0.kinds
    }

    fn teardown(dead: Dead<Self>) {
        dead.with_home(|ram, dead, guard| {
            let retracted = ram.0.tree.retract(dead).expect("its words are there");
            let Retracted { block, poisoned, garbage, .. } = retracted;
            ram.0.back.lock().unwrap_or_else(PoisonError::into_inner).push((block, poisoned));
            garbage.retire(guard);
        });
    }
}

impl Ram {
    pub(super) fn new() -> Self {
        let kinds = Kinds::new();
        Mm::register(&kinds).expect("an empty set");
        let (tree, back) = (Tree::new(), Mutex::default());
        Self(Arc::new(State { kinds, tree, back, bodies: Arc::default() }))
    }

    pub(super) fn tree(&self) -> &Tree<Self> {
        &self.0.tree
    }

    fn body(&self, number: u32) -> Body {
        self.0.bodies.fetch_add(1, Relaxed);
        Body { number, bodies: Arc::clone(&self.0.bodies) }
    }

    /// Bodies that have not been dropped.
    pub(super) fn bodies(&self) -> usize {
        self.0.bodies.load(Relaxed)
    }

    pub(super) fn fresh<T: Descriptor>(&self, body: T) -> Fresh<Self, T> {
        Fresh::new(self.clone(), OwnerId(7), body).ok().expect("there is memory")
    }

    pub(super) fn came_back(&self) -> Vec<(Block, bool)> {
        std::mem::take(&mut *self.0.back.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes by a short cut if that leads there, else the long way.
    pub(super) fn publish<T: Descriptor>(
        &self,
        leaf: Option<&Leaf>,
        block: Block,
        body: T,
    ) -> Result<Described, LookupError>
    where
        Described: From<Ref<Self, T>>,
    {
        let mut fresh = self.fresh(body);
        if let Some(leaf) = leaf {
            fresh = match self.tree().publish_near(leaf, block, fresh) {
                Ok(made) => return Ok(made.into()),
                Err(fresh) => fresh,
            };
        }
        self.tree().publish(block, fresh).map(Described::from).map_err(|refused| refused.why)
    }
}

/// A reference of either type.
#[derive(Debug)]
pub(super) enum Described {
    Folio(Ref<Ram, Folio>),
    Slab(Ref<Ram, Slab>),
}

impl From<Ref<Ram, Folio>> for Described {
    fn from(of: Ref<Ram, Folio>) -> Self {
        Self::Folio(of)
    }
}

impl From<Ref<Ram, Slab>> for Described {
    fn from(of: Ref<Ram, Slab>) -> Self {
        Self::Slab(of)
    }
}

/// The same of a [`Described`] of either type.
macro_rules! of_either {
    ($of:expr, |$one:ident| $then:expr) => {
        match $of {
            Described::Folio($one) => $then,
            Described::Slab($one) => $then,
        }
    };
}
pub(super) use of_either;

impl Described {
    pub(super) fn block(&self) -> Block {
        of_either!(self, |one| one.block())
    }

    pub(super) fn is_moved(&self) -> bool {
        of_either!(self, |one| one.header().is_moved())
    }
}

/// The number of what is locked.
pub(super) fn number_of(locked: LockedErased<'static, Ram>) -> u32 {
    match locked.downcast::<Folio>() {
        Ok(folio) => folio.0.number,
        Err(other) => {
            let slab = other.downcast::<Slab>().expect("one of the two");
            assert!(slab.is_whole());
            slab.0.number
        }
    }
}
