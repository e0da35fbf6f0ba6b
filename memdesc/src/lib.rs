//! What describes a block: the vocabulary, and the typed descriptor.
//!
//! This is the ground of the [`potad`](https://docs.rs/potad) crates: the
//! geometry that all of them share ([`Order`], [`Granule`], [`Block`],
//! [`Place`]) and, on top of it, descriptors that are typed, counted, locked
//! by one bit and freed through an epoch.
#![no_std]

extern crate alloc;
#[cfg(any(feature = "std", loom, shuttle, test))]
extern crate std;

mod anchor;
mod block;
#[cfg(any(loom, shuttle))]
mod canary;
mod cell;
mod dead;
mod descriptor;
mod error;
mod found;
mod fresh;
mod granule;
mod handle;
mod header;
mod immediate;
mod kinds;
#[cfg(all(feature = "std", not(loom)))]
mod local;
mod lock;
mod locked;
mod once;
mod order;
mod owner;
mod pages;
mod parted;
mod prefetch;
mod reclaim;
mod refs;
#[cfg(all(feature = "std", not(any(loom, shuttle))))]
mod slab;
mod snapshot;
#[doc(hidden)]
pub mod sync;
mod tail;
mod word;
mod zeroed;

pub use anchor::{Keep, WeakKeep};
pub use block::{Block, Place};
pub use cell::Cell;
#[doc(hidden)]
pub use cell::TypeInfo;
#[cfg(not(loom))]
pub use dead::retired_bytes;
pub use dead::{Dead, Garbage};
pub use descriptor::{Descriptor, Home};
pub use error::{GeometryError, KindError, OutOfMemory, OwnerError};
pub use found::{Found, Peek, Peeked};
pub use fresh::Fresh;
pub use granule::{Cover, Granule, Granules, MAX_GRANULES};
pub use header::Header;
pub use immediate::{Immediate, Subtype};
#[doc(hidden)]
pub use kinds::kinds_differ;
pub use kinds::{Kind, Kinds, MAX_KINDS};
pub use locked::{Locked, LockedErased};
pub use once::{OnceSlot, Owns};
pub use order::{LEVELS, ORDERS_PER_LEVEL, Order};
pub use owner::{FailedBlock, FailureKind, Outcome, Owner, OwnerId, Owners};
pub use pages::{Blank, Page, PageArray, PageBox, pool_pages};
#[doc(hidden)]
pub use parted::{Far, Near, Whole};
#[doc(hidden)]
pub use prefetch::{prefetch, prefetch_to_write};
#[cfg(all(loom, crossbeam_loom))]
pub use reclaim::ModelBody;
pub use reclaim::{Guard, InSignal, Participant, pin};
pub use refs::{ErasedRef, Ref};
pub use snapshot::{Seen, Snapshot};
pub use tail::Tail;
pub use word::{AtomicWord, Word, WordKind};
pub use zeroed::{Lines, Zeroed, try_box, zeroed_array, zeroed_box};
