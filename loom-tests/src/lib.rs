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
//! | files | claims | of |
//! |---|---|---|
//! | `a_forest`, `a_fronts`, `a_carry` | A1 to A5, A9: alone, with hands, and with what was written to the memory | the free words |
//! | `a_hands`, `a_local`, `a_remove` | A6, A7; with the hands that threads have; A8 | the rendezvous; ranges that leave |
//! | `a_three`, `r_three` | the same with a third thread | the free words and hands; a descriptor |
//! | `r_counts`, `r_lock`, `r_moves`, `r_keep` | R1 to R6, R10, R18 | descriptors |
//! | `r_tree`, `r_cut`, `r_leaf`, `r_ranges` | R8, R10, R12 | the tree and the range map |
//! | `r_messages` | what a change carries along | every word that a look-up reads |
//! | `r_zone`, `r_owners` | R7 to R9, R15; R14 | blocks that change hands while something happens to them |
//! | `r_epoch` | R1, R2, R6, R17 | the real epoch |
//! | `p_isolate`, `p_engine` | P1 to P5 | reporting |
//! | `z_fronts` | nobody is refused | zonelists, nested resources |
//! | `pairs` | every operation beside every other | the zone |
//! | `user_slab` | a user's own | the example of the README |
//!
//! `LOOM_MAX_PREEMPTIONS` bounds all models; a bounded run does not check the
//! recorded minimum. `POTAD_LOOM_SEED="unlock relaxed"` plants a seed in every
//! model and says which of them find it: for whoever looks for a twin. Models
//! on the real epoch (`r_epoch`) are a build of their own: `cargo loom-epoch`.
//!
//! Of the whole, which is too large for loom, random schedules are run by shuttle
//! instead (`schedules`, `world`, `tests/s_*.rs`):
//!
//! ```sh
//! cargo shuttle -- --nocapture
//! ```
//!
//! Everything a model uses is made inside its closure. Two threads are
//! explored in full; three only with a bound. loom remembers one last access of
//! an atomic: a thread that looks and then changes hides its change from who
//! looked before. So the thread that changes comes first in a model (it is the
//! one that spawns), or the model runs both ways.

#[cfg(loom)]
pub mod grounds;
#[cfg(loom)]
mod harness;
#[cfg(loom)]
pub mod home;
#[cfg(loom)]
pub mod messages;
#[cfg(shuttle)]
pub mod schedules;
#[cfg(shuttle)]
pub mod world;

#[cfg(loom)]
pub use harness::{apart, bounded, model, twin, twin_bounded, twin_in_child};
