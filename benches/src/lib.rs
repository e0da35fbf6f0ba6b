//! Recorded traces, replay and gates of the [`potad`](https://docs.rs/potad)
//! crates.
//!
//! - [`trace`]: what real programs asked of a real allocator, parsed and
//!   checked.
//! - [`subject`]: what is measured, potad and its peers, behind one trait.
//! - [`workload`]: the synthetic workloads, shared by gates and benches.
//! - [`gates`]: what the design promises, measured as a table.
//! - [`replay`]: a trace through each of them, verified and timed.
//! - [`ranges`]: the same for maps of address ranges.

pub mod frontier;
pub mod gates;
pub mod ranges;
pub mod replay;
pub mod subject;
pub mod trace;
pub mod workload;
