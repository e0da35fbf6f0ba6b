//! The frontier: memory returned against memory faulted back.
//!
//! # Picture
//!
//! ```text
//!  trace, in its own time        pages of the arena
//!  alloc, free, alloc ..  --->  touched, resident or gone  <--- reports
//!       |                                                        ^
//!       +------ zone <--- isolate, put back --- reporter, stepped at its times
//! ```
//!
//! Whoever reports at once returns most, and has most faulted back; whoever
//! waits returns less. Policies of one fixed age draw a line between the two; a
//! policy is good if it lies above that line.
//!
//! # What is counted
//!
//! Page by page, whatever the allocator believes: a page that was touched and
//! then reported is gone until it is touched again. *Returned* is the time that
//! pages are gone, in byte-seconds; *refaulted* the bytes that were gone when
//! they were touched. Never touched memory counts for neither. The trace is
//! followed by an idle tail of its own length, and times of a policy are scaled
//! by the trace's length to 300 s.
//!
//! # Cost
//!
//! No real time passes and no memory is touched: a clock of numbers and a table
//! of pages.

mod chart;
mod oracle;
mod pages;
mod run;
#[cfg(test)]
mod tests;

pub use chart::{chart, over_time};
pub use run::{Figure, FrontierError, LENGTH, Panel, Part, Variant, measure};
