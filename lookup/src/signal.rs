//! Looking up from a signal handler.
//!
//! # What always holds
//!
//! The walk is that of every look-up: loads, and nothing else. What a pin is to
//! a thread, the signal gate of `memdesc` is here: nodes and descriptors that
//! are unlinked while the handler is in are not freed before it has left. The
//! handler gets a copy, for it can keep nothing.
//!
//! A handler may interrupt a thread anywhere, in the middle of a publication or
//! a split too. It meets what any other thread could meet at that moment: each
//! store by itself leaves the tree walkable, and no look-up waits for the
//! interrupted one.

use crate::find::head_word;
use crate::tree::Tree;
use memdesc::{Granule, Home, Immediate, InSignal, Snapshot};

/// A look-up in a handler looks again so often while the descriptor that it met
/// no longer describes the granule.
const TURNS: u32 = if cfg!(loom) { 4 } else { 64 };

impl<H: Home> Tree<H> {
    /// A copy of what lives at a granule. Async-signal-safe: it takes no lock,
    /// does not allocate, and touches no thread-local.
    ///
    /// Two RMWs on a line that all handlers share, a fence, and the loads of
    /// [`find`](Self::find). `None` if nothing lives there; or if at each of 64
    /// looks a split, merge or replacement had just moved the granule to
    /// another descriptor.
    ///
    /// ```
    /// # use memdesc::*;
    /// # use potad_lookup::*;
    /// # #[derive(Clone)] struct Nobody(Kinds);
    /// # impl Home for Nobody {
    /// #     fn kinds(&self) -> &Kinds { &self.0 }
    /// #     fn teardown(_: Dead<Self>) {}
    /// # }
    /// let tree = Tree::<Nobody>::new();
    /// let block = Block::new(Granule(64), Order::new(5)?)?;
    /// let raw = Immediate::new(Subtype::Raw, OwnerId(7), block.order()).with_cookie(42);
    /// tree.publish_immediate(block, raw)?;
    /// let seen = tree.find_signal(Granule(70)).unwrap();
    /// assert_eq!((seen.block, seen.owner), (block, OwnerId(7)));
    /// assert_eq!(tree.find_signal(Granule(96)), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find_signal(&self, at: Granule) -> Option<Snapshot> {
        let inside = InSignal::enter();
        for _ in 0..TURNS {
            let hit = self.hit(at)?;
            let Some(kind) = hit.word.descriptor_kind() else {
                let word = head_word(hit.group, hit.word, at);
                return Some(Snapshot::of_immediate(Immediate::unpack(word)?, at));
            };
            let info = self.kinds()?.info(kind)?;
            // SAFETY: loaded from a slot of this tree with the gate entered;
            // what it says of the types is as in `found_word`, and so is what
            // lets a cell go to the epoch.
            let seen = unsafe { Snapshot::of_descriptor::<H>(hit.word, info, at, &inside) };
            if seen.is_some() {
                return seen;
            }
        }
        None
    }
}
