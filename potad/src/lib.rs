//! A power-of-two allocator with descriptors.
//!
//! `potad` hands out blocks of `1 << order` granules of any registered
//! resource: RAM, the slots of a swap file, a bus or guest address space.
//! Orders run from 0 to 63. A block may carry a typed descriptor that lookup
//! finds from any address inside, and whose owner hears of memory failure.
//!
//! ```
//! use potad::{Potad, Resource, memdesc::{Descriptor, Order}};
//!
//! struct Folio { mapped: u32 }
//! impl Descriptor for Folio { const NAME: &'static str = "folio"; }
//!
//! let potad = Potad::new();
//! let ram = potad.register(Resource::new("dram0").granule(4096).span(0..1 << 30))?;
//!
//! let folio = ram.alloc(Order::covering(512)?, Folio { mapped: 1 })?;
//! let inside = folio.address() + 123_456;
//! let guard = potad::pin();
//! assert_eq!(ram.find(inside, &guard).unwrap().kind_name(), "folio");
//! assert_eq!(ram.get::<Folio>(inside).unwrap().mapped, 1);
//!
//! drop(folio);
//! assert!(ram.find(inside, &guard).is_none());
//! assert_eq!(ram.stats().free, 1 << 18);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Three flavours
//!
//! | flavour | word | found by lookup as | who hears of failure |
//! |---|---|---|---|
//! | bare | none | nothing | the resource's own owner |
//! | raw | 8 bytes | owner, order | its owner |
//! | typed | 8 bytes and a descriptor | the descriptor | its owner |
//!
//! # Guarantees and cost
//!
//! Any thread, any time. A hot pair through a [`Hand`] makes no atomic
//! read-modify-write; any order above 2 makes one to take and one to give, on
//! one line. *Exhausted* is said only after every hand was looked into while
//! nothing was in transit. Freeing needs no table of ours; only the epoch queues
//! what was typed.
//!
//! The theory is in `docs/theory.md` of the repository.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(feature = "std", test, loom))]
extern crate std;

mod aim;
mod batch;
mod check;
mod claims;
mod closing;
mod content;
mod error;
mod failure;
mod find;
mod forest;
mod hand;
mod handles;
mod hands;
mod home;
mod isolate;
#[cfg(feature = "std")]
mod local;
mod mend;
mod migrate;
#[cfg(loom)]
#[doc(hidden)]
pub mod model;
mod nested;
mod outcomes;
mod placement;
mod poison;
mod poison_set;
mod poisoned;
mod potad;
mod queue;
mod raw;
mod records;
mod regions;
mod remove;
mod reported;
mod reserve;
mod resource;
mod run;
mod shed;
mod shrink;
mod signal;
mod sorted;
mod state;
mod stats;
mod stock;
mod typed;
mod words;
mod zone;
mod zonelist;

pub use aim::Aim;
pub use check::Broken;
pub use claims::{Claim, ClaimError};
pub use content::Content;
pub use error::{Error, Refused};
pub use failure::FailureReport;
pub use handles::{BareBlock, Isolated, RawBlock, Run};
pub use hands::Hand;
pub use home::Home;
pub use isolate::{HostSays, Wanted};
pub use lookup;
pub use memdesc;
pub use memdesc::{Guard, pin};
pub use nested::Nested;
pub use outcomes::{KindCounts, OutcomeCounts};
pub use placement::{Class, Placement, Rating, Region, Together};
pub use poison_set::{PoisonError, PoisonSet, PoisonedRange};
pub use poisoned::{Prediction, Scope};
pub use potad::Potad;
pub use queue::{FailureEvent, FailureQueue, QueueFull};
pub use remove::{Holder, Removal};
pub use resource::{IntoSpan, Resource, Span};
pub use run::Align;
pub use stats::Stats;
pub use typed::{Block, Found, Locked, Ref};
pub use zone::{Split, Zone};
pub use zonelist::Zonelist;

/// The README's example, compiled and run with the doctests of the workspace.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
