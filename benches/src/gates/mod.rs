//! The gates: what the design promises, as a table that is measured.
//!
//! # Picture
//!
//! ```text
//!  round 1: R | group a | R | group b | R | ...      R = one uncontended
//!  round 2: R | group a | R | group b | R | ...          fetch_add, ns
//!  ...
//!  row = figure of its group / R of the same round, median over rounds
//! ```
//!
//! # What always holds
//!
//! - A figure is compared with the R right before and after it, never with
//!   that of another moment: the machine's clock and neighbours change.
//! - A sample whose R is more than 1.15x the least R of the run is dropped.
//! - A row is met if the median of what is left meets the gate, missed if even
//!   its best quartile misses it, else inconclusive. What is not there is "not
//!   yet", never met.
//! - Counted rows are exact and need no rounds: read-modify-writes, heavy
//!   barriers and distinct lines written, per operation.
//!
//! Rows are data, in `rows`; how a row's figure comes about is its [`Group`],
//! generic over the subject, so that peers can be columns.

mod count;
mod describe;
mod floor;
mod group;
mod lookup;
mod reporting;
mod rows;
mod samples;
mod session;
mod sizes;
mod table;
#[cfg(test)]
mod tests;
mod typed;

pub use count::{Counted, Counter, Counts, counter};
pub use floor::rmw_ns;
pub use group::Group;
pub use rows::{Bound, Flavour, Row, Source, Unit, rows};
pub use samples::{Sample, Verdict, judge};
pub use session::{Options, run};
pub use table::{Measured, Table};
