//! Maps of address ranges: any ranges, anywhere in the 2^64, and readers
//! without lock.
//!
//! # Picture
//!
//! ```text
//!  root word -> node of level 5 --link--> node of level 2 --link--> node of level 0
//!               slots of 64^5            slots of 64^2              slots of 1
//!
//!  node:  A 0 1 0 1 0 0 1 1 ..     64 slots, two bits each      A B
//!         B 0 0 0 0 1 1 0 1 ..                                  0 0  gap
//!           . W . W - - W L                                     1 0  head: an entry begins here
//!         words: W W W L place                                  0 1  more of the entry before
//!                                                               1 1  lone: the entry is smaller than
//!                                                                    its slot, a second word says where
//!
//!  word:  value | 1        what the range names: see Value
//!         node | level<<1  a node below, 32-byte aligned
//! ```
//!
//! A head that is no link may run over any number of slots. Gaps have no word.
//! A **lone pair** is how a single small range, or a whole subtree far below,
//! hangs in a large slot without a chain of nodes in between: the path
//! compression is in the parent, so a reader knows before it touches a child
//! whether the address can be there.
//!
//! # What always holds
//!
//! - Nodes do not change once they are linked, but for links: a link is
//!   replaced by a link to a newer node of the same level and addresses.
//! - **A change is one store.** Whatever is set or removed, all nodes that
//!   differ are made anew, from the changed places up to the lowest node that
//!   holds all of the range; then one Release store puts the new one in the
//!   place of the old. A reader sees a range whole, or not at all; a range that
//!   is not touched by a change is found before, during and after it.
//! - One writer at a time: changes are made under the map's lock.
//! - A node that was replaced, and what it alone named, is given up after a
//!   grace period: whoever holds a guard since before may still be in it.
//! - A change that leaves a node with one entry puts that entry into the slot
//!   above instead, if the slot can hold it. (A node with one entry is made
//!   where a slot cannot: for a lone value above level 5, or under the root.)
//!
//! # What a range is
//!
//! Neighbours that name the same value (by its word) are one range, however
//! they came to be: what is reported as a range is a maximal one. A look-up
//! returns the value and the **piece** it met, a part of the range; the whole
//! is asked for with [`Ranges::range_at`].
//!
//! # Cost
//!
//! | operation           | readers                                   | memory            |
//! |---------------------|-------------------------------------------|-------------------|
//! | `find`              | two loads a level, no RMW, nothing written | -                 |
//! | `set`, `remove`     | the writer's lock; 2 nodes a level at most | copies of those   |
//! | a range             | -                                         | 8 or 16 bytes, its share of a node's 16, rounded up to 32 a node |

mod addresses;
mod bits;
mod build;
mod draft;
mod edit;
mod error;
mod find;
mod map;
mod node;
mod retire;
mod signal;
mod slab;
mod validate;
mod value;
mod walk;
mod word;

pub use addresses::Addresses;
pub use error::RangesError;
pub use find::Found;
pub use map::Ranges;
pub use slab::Pages;
pub use validate::RangesSummary;
pub use value::{Payload, Value};
pub use walk::Iter;
