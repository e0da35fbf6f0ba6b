//! What can be wrong with a publication.

use core::fmt;
use memdesc::{Block, Descriptor, Fresh, Home, Order};

/// Why the tree refused, with what was asked and what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// Something is published there.
    #[error("{asked} overlaps {found}, which is published")]
    Overlap {
        /// What was asked.
        asked: Block,
        /// What is in the way.
        found: Block,
    },
    /// No memory for a table or a node. Nothing was changed.
    #[error("out of memory for the tables of {asked}")]
    OutOfMemory {
        /// What was asked.
        asked: Block,
    },
    /// The slots of the block hold something else, or nothing. Nothing was
    /// changed.
    #[error("{asked} is not what its slots say")]
    WrongWord {
        /// What was asked.
        asked: Block,
    },
    /// An immediate word says another order than the block has.
    #[error("a word of order {word} cannot describe {asked}")]
    WrongOrder {
        /// What was asked.
        asked: Block,
        /// What the word says.
        word: Order,
    },
    /// The type is not registered with the home that published here first.
    #[error("the type {name} is not registered")]
    UnknownKind {
        /// The type.
        name: &'static str,
    },
    /// Only the two halves of one block can be joined.
    #[error("{asked} and {found} are no buddies")]
    NotBuddies {
        /// The one that was to keep its descriptor.
        asked: Block,
        /// The other.
        found: Block,
    },
    /// A single granule has no halves.
    #[error("{asked} cannot be split")]
    Indivisible {
        /// What was asked.
        asked: Block,
    },
    /// A descriptor died that was never published.
    #[error("a descriptor without a block cannot be retracted")]
    NeverPublished,
    /// [`validate`](crate::Tree::validate): a slot that no block explains.
    #[error("the slot of {at} holds what no block explains")]
    Inconsistent {
        /// The granules that the slot stands for.
        at: Block,
    },
}

/// A refused publication, which hands the descriptor back.
#[derive(thiserror::Error)]
#[error("{why}")]
pub struct PublishError<H: Home, T: Descriptor> {
    /// Why.
    pub why: LookupError,
    /// The descriptor, as it was.
    pub fresh: Fresh<H, T>,
}

impl<H: Home, T: Descriptor> fmt::Debug for PublishError<H, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishError").field("why", &self.why).finish_non_exhaustive()
    }
}
