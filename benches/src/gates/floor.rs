//! The floor that figures are compared with: R.

use core::hint::black_box;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const BATCHES: usize = 5;
const BATCH: u32 = 20_000;

/// A word on a line that it shares with nothing.
#[repr(align(128))]
struct Line(AtomicU64);

/// Measures one uncontended `fetch_add` on an own hot line, in nanoseconds: the
/// least of a few short batches, about half a millisecond in all.
///
/// ```
/// assert!(potad_benches::gates::rmw_ns() > 0.0);
/// ```
pub fn rmw_ns() -> f64 {
    let line = Line(AtomicU64::new(0));
    let word = black_box(&line.0);
    let batch = |_| {
        let begun = Instant::now();
        for _ in 0..BATCH {
            // `Relaxed`: the cost is the same, and nobody else knows the word.
            black_box(word.fetch_add(1, Ordering::Relaxed));
        }
        begun.elapsed().as_nanos() as f64 / f64::from(BATCH)
    };
    (0..BATCHES).map(batch).fold(f64::INFINITY, f64::min)
}
