//! The tree itself: what it is made of.

use crate::node::{Nodes, Retired};
use crate::sparse::Sparse;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use memdesc::sync::Mutex;
use memdesc::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use memdesc::{Descriptor, Home, Kind, Kinds, LEVELS, OnceSlot, pin, seeded, try_box};

/// The lowest level that is an array: its words are sections.
pub(crate) const SECTION_LEVEL: u32 = 3;
/// The levels in `upper`.
const LEVEL_BITS: u64 = 0xffff;
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
    /// From bit 16: words of live blocks that went up a level there.
    upper: AtomicU64,
    /// The set of the first home that published here: what kinds mean.
    kinds: OnceSlot<Kinds>,
    /// Levels 3 to 10.
    pub(crate) arrays: [Sparse; ARRAYS],
    pub(crate) nodes: Arc<Nodes>,
    // Written when a node is unlinked.
    /// Unlinked nodes that wait for [`settle`](Tree::settle).
    aside: Mutex<Vec<Retired>>,
    has_aside: AtomicBool,
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
            aside: Mutex::new(Vec::new()),
            has_aside: AtomicBool::new(false),
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
        self.upper.load(Ordering::Relaxed) & LEVEL_BITS
    }

    /// The levels, and how often a live block's word rose to one of them. A
    /// look-up that found nothing between two equal answers missed nothing.
    #[inline]
    pub(crate) fn rises(&self) -> u64 {
        // `Acquire` pairs with `note_rise`: whoever has counted a rise sees the
        // word above.
        self.upper.load(memdesc::weakened!("rises are seen relaxed", Acquire))
    }

    /// Counts a rise: after the word was stored above, before it is cleared
    /// below.
    pub(crate) fn note_rise(&self) {
        if !seeded!("rise not counted") {
            // `Release`: the word above is seen by whoever counts this.
            self.upper
                .fetch_add(LEVEL_BITS + 1, memdesc::weakened!("rise counted relaxed", Release));
        }
    }

    /// Announces words at a level, before the first is stored.
    pub(crate) fn announce(&self, level: u32) {
        if level > SECTION_LEVEL && self.upper_levels() >> level & 1 == 0 {
            // Relaxed: the Release store of the word follows.
            self.upper.fetch_or(1 << level, Ordering::Relaxed);
            // No short cut leads past it: see `leaf`.
            self.nodes.note_unlink();
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

    /// Puts an unlinked node aside: retiring it needs a pin, and a pin may run
    /// the drops of what others retired, which a publication must not.
    pub(crate) fn set_aside(&self, link: NonNull<()>, level: u32) {
        // Before the caller gives the granules on: see `leaf`.
        self.nodes.note_unlink();
        if seeded!("node reused without a grace period") {
            return self.nodes.unlinked(link, level).give_back();
        }
        let mut aside = self.aside.lock();
        // Without memory to remember it the node waits for the tree's drop.
        if aside.try_reserve(1).is_ok() {
            aside.push(self.nodes.unlinked(link, level));
            // Relaxed: a settle that misses it leaves it to the next.
            self.has_aside.store(true, Ordering::Relaxed);
        }
    }

    /// Retires the nodes that publications of large blocks have unlinked, so
    /// that they can be used again. One load while there are none.
    ///
    /// To be called now and then where a pin is welcome: it may run the drops
    /// of what was retired.
    #[inline]
    pub fn settle(&self) {
        if self.has_aside.load(Ordering::Relaxed) {
            self.settle_slow();
        }
    }

    #[cold]
    fn settle_slow(&self) {
        let batch = {
            let mut aside = self.aside.lock();
            self.has_aside.store(false, Ordering::Relaxed);
            core::mem::take(&mut *aside)
        };
        let guard = pin();
        Retired::retire_all(batch, &guard);
        guard.flush();
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
