//! Address ranges: workloads, floors and peers of look-up.
//!
//! Two workloads, a million ranges each. *Clustered*: naturally aligned blocks
//! of 4 KiB to 1 GiB, packed into 64 zones at random places of 2^48 bytes, a
//! third of them left out. *Scattered*: the same sizes anywhere in the 2^48.
//!
//! Two floors. [`Flat`] is one word per 4 KiB: a look-up is one load, and costs
//! whatever the memory costs. [`StaticTree`] is what can be had for data that
//! never changes: 64-byte nodes of sorted keys, compared at once.

mod flat;
mod mapped;
pub mod peers;
pub mod replay;
mod tree;
mod workload;

pub use flat::Flat;
pub use tree::{StaticTree, widest};
pub use workload::{RANGES, Workload, clustered, clustered_of, scattered, scattered_of};
