//! What describes a block: the vocabulary, and the typed descriptor.
//!
//! This is the ground of the [`potad`](https://docs.rs/potad) crates: the
//! geometry that all of them share ([`Order`], [`Granule`], [`Block`],
//! [`Place`]) and, on top of it, descriptors that are typed, counted, locked
//! by one bit and freed through an epoch.
#![no_std]

extern crate alloc;
#[cfg(any(feature = "std", loom, test))]
extern crate std;

mod block;
mod error;
mod granule;
mod once;
mod order;
#[doc(hidden)]
pub mod sync;
mod zeroed;

pub use block::{Block, Place};
pub use error::GeometryError;
pub use granule::{Cover, Granule, Granules, MAX_GRANULES};
pub use once::OnceSlot;
pub use order::{LEVELS, ORDERS_PER_LEVEL, Order};
pub use zeroed::{Zeroed, zeroed_array};
