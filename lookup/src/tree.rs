//! The tree itself: what it is made of.

use crate::node::Nodes;
use crate::sparse::Sparse;
use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{Descriptor, Home, Kind, Kinds, LEVELS, OnceSlot, try_box};

/// The lowest level that is an array: its words are sections.
pub(crate) const SECTION_LEVEL: u32 = 3;
const ARRAYS: usize = (LEVELS - SECTION_LEVEL) as usize;

/// From granules to words. Starts empty, at whatever size; see the crate's
/// documentation for the whole picture.
///
/// ```
/// use memdesc::{Block, Dead, Fresh, Found, Granule, Home, Kinds, Order, OwnerId, descriptors};
/// use potad_lookup::{LookupError, Tree};
/// use std::sync::Arc;
///
/// struct Folio { pages: u32 }
/// descriptors! { set Mm { Folio = 1 } }
///
/// struct State { kinds: Kinds, tree: Tree<Ram> }
///
/// #[derive(Clone)]
/// struct Ram(Arc<State>);
///
/// impl Home for Ram {
///     fn kinds(&self) -> &Kinds {
///         &self.0.kinds
///     }
///     fn teardown(dead: Dead<Self>) {
///         dead.with_home(|ram, dead, guard| {
///             if let Ok(retracted) = ram.0.tree.retract(dead) {
///                 // Here an allocator gives `retracted.block` back.
///                 retracted.garbage.retire(guard);
///             }
///         });
///     }
/// }
///
/// let ram = Ram(Arc::new(State { kinds: Kinds::new(), tree: Tree::new() }));
/// Mm::register(&ram.0.kinds)?;
/// let tree = &ram.0.tree;
///
/// let block = Block::new(Granule(512), Order::new(9)?)?;
/// let fresh = Fresh::new(ram.clone(), OwnerId(0), Folio { pages: 512 }).map_err(|(why, _)| why)?;
/// let folio = tree.publish(block, fresh)?;
///
/// // Peek: nothing counted, good while the pin lasts.
/// let guard = memdesc::pin();
/// let found = tree.find(Granule(1000), &guard).unwrap();
/// assert!(matches!(Mm::of(&found), Some(Mm::Folio(folio)) if folio.pages == 512));
/// drop(guard);
/// // Get: counted, outlives any pin.
/// let again = tree.get::<Folio>(Granule(600)).unwrap();
/// // Lock: proves that the descriptor describes the address.
/// assert_eq!(tree.lock::<Folio>(Granule(600)).unwrap().block(), block);
///
/// drop(folio);
/// assert!(tree.get::<Folio>(Granule(600)).is_some(), "findable while referenced");
/// drop(again);
/// assert!(tree.get::<Folio>(Granule(600)).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tree<H: Home> {
    // Read by every look-up, written a few times in a tree's life.
    /// Bit `l`: a word was stored at level `l` >= 4. Never cleared: set before
    /// the first such store, so that a reader who misses the bit came before.
    upper: AtomicU64,
    /// The set of the first home that published here: what kinds mean.
    kinds: OnceSlot<Kinds>,
    /// Levels 3 to 10.
    pub(crate) arrays: [Sparse; ARRAYS],
    pub(crate) nodes: Arc<Nodes>,
    home: PhantomData<fn(H) -> H>,
}

impl<H: Home> Tree<H> {
    /// An empty tree, for all 2^63 granules; tables come with the blocks.
    pub fn new() -> Self {
        Self {
            upper: AtomicU64::new(0),
            kinds: OnceSlot::new(),
            arrays: core::array::from_fn(|_| Sparse::default()),
            nodes: Arc::new(Nodes::new()),
            home: PhantomData,
        }
    }

    /// The array of a level, from 3 up.
    #[inline]
    pub(crate) fn array(&self, level: u32) -> &Sparse {
        &self.arrays[(level - SECTION_LEVEL) as usize]
    }

    /// Levels from 4 up that may hold words, as bits.
    #[inline]
    pub(crate) fn upper_levels(&self) -> u64 {
        // Relaxed: whoever learnt of a block learnt of its bit before; whoever
        // saw a word leave its level (Acquire) sees the bit of the next.
        self.upper.load(Ordering::Relaxed)
    }

    /// Announces words at a level, before the first is stored.
    pub(crate) fn announce(&self, level: u32) {
        if level > SECTION_LEVEL && self.upper_levels() >> level & 1 == 0 {
            // Relaxed: the Release store of the word follows.
            self.upper.fetch_or(1 << level, Ordering::Relaxed);
        }
    }

    /// What kinds mean here, once a descriptor was published.
    #[inline]
    pub(crate) fn kinds(&self) -> Option<&Kinds> {
        self.kinds.get()
    }

    /// The kind of `T` here; the first home to ask says what kinds mean.
    pub(crate) fn kind_of<T: Descriptor>(&self, home: &H) -> Option<Option<Kind>> {
        let kinds = self.kinds.get_or_install(|| try_box(home.kinds().clone()))?;
        Some(kinds.of::<T>())
    }

    /// Nodes in use, or retired and not yet back. 512 bytes each.
    pub fn nodes(&self) -> usize {
        self.nodes.usage().0
    }

    /// Bytes of all tables and nodes, free nodes included. Walks the tables.
    pub fn bytes(&self) -> usize {
        let tables: usize = self.arrays.iter().map(Sparse::tables).sum();
        size_of::<Self>() + tables * Sparse::TABLE_BYTES + self.nodes.usage().1
    }
}

impl<H: Home> Default for Tree<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Home> fmt::Debug for Tree<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("nodes", &self.nodes())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}
