//! Replaying a block trace through a subject.
//!
//! # Picture
//!
//! ```text
//!  records ---- deal by CPU or thread ----> queue 0: step step step ..
//!  of a trace                               queue 1: step step ..
//!                                                |
//!            slots[id] { base, turn }  <---------+  alloc: base := .., turn += 1 (Release)
//!                                      --------->   free:  wait for turn (Acquire), take base
//! ```
//!
//! # What always holds
//!
//! - The steps of one id run in trace order: the k-th step that touches it
//!   waits until its turn is k. That is how a free waits for an allocation
//!   that was dealt to another queue.
//! - A step waits only for steps that are earlier in the trace, and a queue
//!   keeps trace order, so the earliest step not yet run can always run:
//!   nothing deadlocks.
//! - No queue runs more than a window of records ahead of the slowest, or the
//!   peak would be the scheduler's and not the trace's.
//!
//! # Passes
//!
//! In an aged arena every pass comes after another of the same trace, of which
//! every fourth survivor is still there.
//!
//! One verified pass, untimed: every block is entered in a bitmap of granules
//! that all threads share, so a granule handed out twice is found, as is a
//! block outside the arena or not aligned. Then timed passes, each on a new
//! resource, with nothing in the loop but the table of ids.

mod chart;
mod kernel;
mod owners;
mod plan;
mod report;
mod run;
mod session;
#[cfg(test)]
mod tests;
mod window;

pub use chart::chart;
pub use kernel::Kernel;
pub use plan::{Age, Plan, ReplayError};
pub use report::{Outcome, Report};
pub use session::{Replay, Verdict, replay_all, timed};
