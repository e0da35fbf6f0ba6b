//! A host that lends real memory to guests through potad.
//!
//! # Picture
//!
//! ```text
//!  recorded trace, dealt by CPU
//!      |
//!  guest 0  guest 1 ..        watcher         swapper          injector
//!      | alloc, free, split      | find, get,    | cold blocks     | failures
//!      v                         v lock          v                 v
//!  +-----------------------------------------------------+   +-----------+
//!  | zone ram0: span | hole | span + hot-added part      |   | zone swap0|
//!  +-----------------------------------------------------+   +-----------+
//!      |                                      ^ isolate, put back   |
//!  memfd, mapped shared  <-- punch holes -- reporter           slots of a file
//! ```
//!
//! # What is proved by a run
//!
//! - A block's memory is its own: a cookie is written into it when it is
//!   allocated, and found there when it is split, moved, swapped or freed.
//! - A lookup names what the guests know lives at the address: kind, owner,
//!   block, and the very descriptor.
//! - A failed granule is out of circulation or known to its owner, and is never
//!   handed out again.
//! - Free memory really goes back: counted in the blocks of the memfd.
//! - At the end every granule is free or quarantined, every slot is free, and
//!   both zones validate.
//!
//! # Cost
//!
//! One thread per guest and four more. Of a block only the first and the last
//! granule are touched, of one in sixteen small ones all.

mod cookie;
mod error;
mod guest;
mod history;
mod host;
mod injector;
mod kinds;
mod known;
mod ledger;
mod map;
mod mapping;
mod memory;
mod options;
mod plan;
mod ram;
mod reclaim;
mod run;
mod summary;
mod swap;
mod swapper;
mod text;
mod watcher;
mod world;

pub use error::VmmError;
pub use history::Moment;
pub use kinds::{Buffer, Folio, Huge, Mm, Slab, Who};
pub use map::Map;
pub use options::Options;
pub use run::{Tick, run, run_with};
pub use summary::{Failures, Status, Summary, SwapCounts};
