//! Reports free blocks to whoever backs them, so that free memory really goes
//! back: to the host, to the operating system, to a device's TRIM.
//!
//! # Picture
//!
//! ```text
//!   allocator                 engine                     device
//!  +--------------+  isolate  +----------+  report      +---------+
//!  | ReportSource | --------> | Reporter | -----------> | Report  |
//!  |              | <-------- |  step()  | <----------- |         |
//!  +--------------+  put back +----------+  outcomes    +---------+
//!                    each block with its own outcome
//! ```
//!
//! Both sides are traits and know nothing of each other. The engine takes a few
//! free blocks out of the allocator (32, at most 256), has the device return
//! their memory, and puts each back with what became of it. It is stepped: no
//! thread, no clock, no system call of its own. `Worker` is a thread that
//! steps it.
//!
//! # What always holds
//!
//! - No block is lost: a failing, lying or panicking driver, a cancel or a drop
//!   put every block back, but for those that a device may still discard.
//! - A block is never in somebody's use while a device may discard it: it is
//!   isolated before the driver sees it, and put back after its outcome is
//!   known.
//!
//! # Features
//!
//! | feature   | brings                                                        |
//! |-----------|---------------------------------------------------------------|
//! | `std`     | default: a driver's panic is contained, the worker            |
//! | `madvise` | `backend::Madvise`: private anonymous memory                  |
//! | `memfd`   | `backend::Memfd`: holes in a memfd or a file                  |
//! | `virtqueue` | both ends of a virtqueue: `backend::VirtDriver`, `VirtDevice` |
//!
//! Without the last three no system call is made but for the worker's sleep.
//!
//! # Example
//!
//! ```
//! use potad_reporting::backend::Recording;
//! use potad_reporting::mock::MockSource;
//! use potad_reporting::{Policy, Reporter, State};
//!
//! let source = MockSource::new(4096, 10);
//! let used = source.alloc(0).unwrap();
//! let mut reporter = Reporter::new(&source, Recording::new(), Policy::eager())?;
//! while reporter.step(0).state == State::Active {}
//! // All but the granule in use, in one call: adjacent blocks are one range.
//! assert_eq!(reporter.stats().reported_bytes(), 1023 * 4096);
//! assert_eq!(reporter.driver().calls().len(), 1);
//! assert_eq!(reporter.driver().calls()[0].len(), 1);
//! source.free(used);
//! # Ok::<(), potad_reporting::ReportingError>(())
//! ```
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(all(test, not(feature = "std")))]
extern crate std;

pub mod backend;
mod batch;
mod contain;
mod control;
mod demand;
mod driver;
mod error;
pub mod mock;
mod pace;
mod policy;
mod range;
mod reporter;
mod skip;
mod source;
mod stats;
mod trim;
#[cfg(all(feature = "std", not(loom)))]
mod worker;
mod zone;

use batch::Keep;

pub use control::{Control, Pause, Seen};
pub use driver::{Caps, Fault, Report, Reset, Stop};
pub use error::ReportingError;
pub use policy::{MAX_BATCH, Mode, NEVER, Policy, Rule};
pub use range::{ByteRange, Outcome, Range, Ticket};
pub use reporter::{Next, Pulled, PulledEnd, Reporter, State};
pub use source::{Age, Cursor, IsolatedBlock, Progress, ReportSource, Want};
pub use stats::{Histogram, Stats, Tally};
pub use trim::{TrimBlock, TrimSource};
#[cfg(all(feature = "std", not(loom)))]
pub use worker::Worker;
pub use zone::{ZoneBlock, ZoneSource};
