//! What is measured: one small trait over potad and everything beside it.
//!
//! # Picture
//!
//! ```text
//!   Shape { granules, granule_bytes, hands }
//!      | Subject::new
//!      v                     one per thread
//!   Subject --- hand() --->  Hand: alloc(order) -> base, free(base, order), split
//! ```
//!
//! A block is named by its first granule and its order, nothing else, so that
//! threads hand blocks to each other through a plain table. A subject that
//! needs more to free a block keeps that itself and pays for it.
//!
//! # How a subject is added
//!
//! Implement [`Subject`] and [`Hand`] in a file of this folder and name the
//! type in [`ours`] or in `peers`. Everything else (replay, gates, criterion
//! benches) is generic and finds it through [`visit_ours`] and
//! [`visit_others`].

mod absent;
mod classed;
mod machine;
mod nothing;
pub mod ours;
#[cfg(feature = "peers")]
mod peers;
pub mod potad;
mod reference;
#[cfg(test)]
mod tests;

pub use absent::Absent;
pub use machine::{MACHINE, Machine};
use memdesc::Order;
pub use nothing::{HARNESS, Nothing};
pub use reference::Reference;

/// The resource that a subject is asked to manage: granules `0..granules`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of granules, all free at first.
    pub granules: u64,
    /// Bytes of one: only potad has a use for it.
    pub granule_bytes: u64,
    /// Threads that will use it at once.
    pub hands: usize,
}

/// Why a subject cannot take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubjectError {
    /// The adapter is a placeholder.
    #[error("{name} is not there yet")]
    Absent {
        /// Which subject.
        name: &'static str,
    },
    /// More granules than the subject can count.
    #[error("{name} holds at most {allowed} granules, asked for {asked}")]
    TooLarge {
        /// Which subject.
        name: &'static str,
        /// Its own bound.
        allowed: u64,
        /// What the shape has.
        asked: u64,
    },
    /// The subject said no.
    #[error("{name} refused a resource of {granules} granules: {reason}")]
    Refused {
        /// Which subject.
        name: &'static str,
        /// What the shape has.
        granules: u64,
        /// Its own words.
        reason: &'static str,
    },
}

/// An allocator of power-of-two blocks of granules.
pub trait Subject: Sized + Sync {
    /// The name in every table and file.
    const NAME: &'static str;
    /// Halves of a block can be freed alone. If not, whoever replays a split
    /// frees the whole block with its last piece.
    const SPLITS: bool;
    /// Every block begins at a multiple of its size.
    const ALIGNS: bool;
    /// Whether its failures fail the run: ours do, a peer's are its own.
    const JUDGED: bool;
    /// Its search takes longer the more blocks there are: synthetic workloads
    /// give it 64 MiB where others get 8 GiB.
    const LINEAR: bool = false;

    /// What one thread allocates and frees through.
    type Hand<'a>: Hand
    where
        Self: 'a;

    /// Makes a resource of this shape, all of it free.
    fn new(shape: Shape) -> Result<Self, SubjectError>;

    /// Granules that may be free and yet out of reach of an allocation, by the
    /// subject's own documentation, with this many hands.
    fn hidden(hands: usize) -> u64 {
        let _ = hands;
        0
    }

    /// Returns a hand for the calling thread.
    fn hand(&self) -> Self::Hand<'_>;

    /// Bytes of metadata now, if the subject can tell.
    fn metadata_bytes(&self) -> Option<u64> {
        None
    }
}

/// One thread's way to a [`Subject`].
pub trait Hand {
    /// Returns the first granule of a block, or `None` if none is free.
    fn alloc(&mut self, order: Order) -> Option<u64>;

    /// As [`alloc`](Self::alloc), with what an embedder could say of the
    /// block's life: blocks of one tag, below eight, may die together.
    #[inline]
    fn alloc_tagged(&mut self, order: Order, tag: u8) -> Option<u64> {
        let _ = tag;
        self.alloc(order)
    }

    /// Gives back a block that this subject handed out, to any thread.
    fn free(&mut self, base: u64, order: Order);

    /// Fills `out` with the first granules of blocks of one order; `None` if
    /// there are not so many. One by one, unless the subject knows better.
    #[inline]
    fn alloc_many(&mut self, order: Order, out: &mut [u64]) -> Option<()> {
        for base in out {
            *base = self.alloc(order)?;
        }
        Some(())
    }

    /// Gives back blocks of one order. One by one, unless the subject knows
    /// better.
    #[inline]
    fn free_many(&mut self, bases: &[u64], order: Order) {
        bases.iter().for_each(|&base| self.free(base, order));
    }

    /// Makes two blocks of `half` out of the one at `base`. Called only where
    /// [`Subject::SPLITS`] says so.
    #[inline]
    fn split(&mut self, base: u64, half: Order) {
        let _ = (base, half);
    }
}

/// Something done to a list of subjects, each with its own code.
pub trait Visitor {
    /// Called once for each.
    fn visit<S: Subject>(&mut self);
}

/// Calls the visitor with potad, or with its placeholder.
pub fn visit_ours(visitor: &mut impl Visitor) {
    visitor.visit::<ours::Main>();
}

/// Calls the visitor with the peers, if they were compiled in.
pub fn visit_others(visitor: &mut impl Visitor) {
    #[cfg(feature = "peers")]
    peers::visit(visitor);
    #[cfg(not(feature = "peers"))]
    let _ = visitor;
}
