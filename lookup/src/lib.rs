//! From an address to what lives there: a tree that readers walk without lock.
//!
//! # Picture
//!
//! ```text
//!  level 4..10   sparse arrays, one word per 64^level granules; only if such blocks exist
//!  level 3       sparse array, one word per section (64^3 granules)
//!                   |
//!                   +-- 0: nothing   +-- a block's word (orders 18..23)   +-- link
//!                                                                            |
//!  level 2, 1, 0    64 words per node, the same three answers  <-------------+
//! ```
//!
//! A block of order `k` writes its word into the `1 << (k % 6)` **covering
//! slots** that stand for it at its own level `k / 6`: adjacent, in one node,
//! at most 32. A look-up goes down from the section and takes the first word
//! that is no link.
//!
//! # What always holds
//!
//! - An address has at most one live word: a publication that overlaps another
//!   is refused.
//! - A slot is written only by whoever owns the granules it stands for. So
//!   `publish`, `clear` and `retract` take no lock, and store plainly; who owns
//!   what is the allocator's business.
//! - A descriptor's memory is given out for freeing only by
//!   [`Tree::retract`], after it found the descriptor's word where it belongs
//!   and cleared every covering slot; or once [`Tree::replace`] or
//!   [`Tree::merge`] found it so and put another's word there. A caller who breaks the ownership rule
//!   loses words and leaks descriptors; nobody ever reads freed memory.
//!
//! # What a reader may see
//!
//! Look-ups are linearisable **per address**. A block's slots are written one
//! after the other, so two look-ups inside one block may see it half published
//! or half gone; a descriptor's header is the truth about the whole. A block
//! that lives throughout a look-up is found, whatever is split, replaced or
//! merged meanwhile: splits move words down and look-ups go from the top down,
//! so what a reader no longer sees above it sees below. A merge moves words up;
//! where a look-up could pass one (between the arrays) it is counted, and a
//! look-up that found nothing looks again if the count has changed.
//!
//! # Cost
//!
//! | operation            | RMWs                       | lines written                 |
//! |----------------------|----------------------------|-------------------------------|
//! | `find`               | 0                          | 0                             |
//! | `find_signal`        | 2, on the handlers' line   | 1, that line                  |
//! | `get` + drop         | 2                          | 1, the header's               |
//! | `lock` + drop        | 2                          | 1, the header's               |
//! | `publish`, `retract` | 0                          | 1 at orders 0-3, 6-9, ..; <= 4 |
//! | `clear_immediate`    | 1, on the head slot        | as above                      |
//!
//! in the steady state: the first publication under a slot also installs nodes
//! (one compare-exchange each), and one over an empty node unlinks it.
//!
//! # Ranges that nobody allocates from
//!
//! The tree's blocks are powers of two, and whoever owns granules writes. For
//! maps of address ranges, of any size, that cut and replace each other there
//! is [`Ranges`]: compressed, under one writer's lock, and read in the same
//! way.
#![no_std]

extern crate alloc;
#[cfg(any(feature = "std", test, loom))]
extern crate std;

mod cut;
mod error;
mod find;
mod immediate;
mod leaf;
mod many;
mod migrate;
mod near;
mod next;
mod node;
mod prune;
mod publish;
#[cfg(all(test, not(loom)))]
mod ram;
mod ranges;
mod signal;
mod slots;
mod sparse;
mod split;
mod store;
mod tree;
mod validate;

pub use error::{LookupError, PublishError};
pub use leaf::Leaf;
pub use next::Iter;
pub use publish::Retracted;
pub use ranges::{
    Addresses, Found as RangeFound, Iter as RangeIter, Pages, Payload, Ranges, RangesError,
    RangesSummary, Value,
};
pub use tree::Tree;
pub use validate::Summary;
