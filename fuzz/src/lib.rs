//! Reference models of the [`potad`](https://docs.rs/potad) crates: bodies that
//! turn bytes into operations, and compare every answer with that of something
//! slow and obvious.
//!
//! proptest drives them on stable (`cargo test -p potad-fuzz`), libFuzzer on a
//! nightly (`fuzz/run TARGET`). Each body also counts what it reached, so that
//! a test can tell a body that checks nothing from one that does.

pub mod allocator;
pub mod busy;
mod bytes;
mod hands;
mod heap;
mod kept;
mod memory;
pub mod ranges;
pub mod reporting;
pub mod requests;
mod tally;
#[cfg(feature = "trace")]
pub mod trace;
pub mod tree;
pub mod world;

pub use bytes::Bytes;
pub use heap::Heap;
pub use kept::{Kept, write_before_a_panic};
pub use memory::Memory;
pub use tally::Tally;

/// Collects garbage until `is_done`: other threads may be pinned meanwhile.
///
/// # Panics
///
/// If that takes a minute.
pub(crate) fn collect(is_done: impl Fn() -> bool) {
    let mut started = None;
    while !is_done() {
        memdesc::pin().flush();
        // Most stories need a few turns, and no clock.
        let started = *started.get_or_insert_with(std::time::Instant::now);
        assert!(started.elapsed().as_secs() < 60, "something is never collected");
        std::thread::yield_now();
    }
}
