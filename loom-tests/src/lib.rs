//! Models of the races in these crates, each with twins that must fail.
//!
//! A model runs a closure under every interleaving that loom can tell apart,
//! and says how many those were. A twin runs a model with one step of the
//! production code broken (a *seed*, see `memdesc::sync::seed`), and fails
//! unless that is found out. So a model that has grown blind does not go
//! unnoticed: neither one that explores too little, nor one that asserts too
//! little.
//!
//! ```sh
//! cargo loom                   # all models
//! cargo loom -- reader         # those whose name has "reader"
//! cargo loom -- --nocapture    # with the counts
//! ```
//!
//! `LOOM_MAX_PREEMPTIONS` bounds all models; a bounded run does not check the
//! recorded minimum. On the real epoch, where a model is named `real_`:
//!
//! ```sh
//! RUSTFLAGS="--cfg loom --cfg crossbeam_loom" CARGO_TARGET_DIR=target/loom-real \
//!     cargo test --release --package potad-loom-tests real_
//! ```
//!
//! Of the whole, which is too large for loom, random schedules are run by shuttle
//! instead (`schedules`, `world`, `tests/s_*.rs`):
//!
//! ```sh
//! cargo shuttle -- --nocapture
//! ```
//!
//! Everything a model uses is made inside its closure. Two threads are
//! explored in full; three only with a bound.

#[cfg(loom)]
mod harness;
#[cfg(loom)]
pub mod home;
#[cfg(shuttle)]
pub mod schedules;
#[cfg(shuttle)]
pub mod world;

#[cfg(loom)]
pub use harness::{bounded, model, twin, twin_bounded, twin_in_child};
