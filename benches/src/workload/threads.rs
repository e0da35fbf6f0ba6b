//! Several threads at once, and what two threads can do at best.

use core::hint::black_box;
use memdesc::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Runs `work` on this many threads, which set up on their own, then begin to
/// work together; returns what each measured.
///
/// `work` gets its number and a function that waits for the others.
pub fn together<T: Send>(threads: usize, work: impl Fn(usize, &dyn Fn()) -> T + Sync) -> Vec<T> {
    let arrived = AtomicUsize::new(0);
    let meet = || {
        // `AcqRel` and `Acquire`: a barrier; it orders set-up before work.
        arrived.fetch_add(1, Ordering::AcqRel);
        while arrived.load(Ordering::Acquire) < threads {
            core::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        let run = |number| {
            let _arrives = ArriveOnPanic(&arrived);
            work(number, &meet)
        };
        let started: Vec<_> = (0..threads).map(|number| scope.spawn(move || run(number))).collect();
        let joined = started.into_iter().map(|thread| thread.join());
        joined.map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// A thread that panics before the meeting must not leave the others waiting.
struct ArriveOnPanic<'a>(&'a AtomicUsize);

impl Drop for ArriveOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// A word on a line that it shares with nothing.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// The least that an allocation and a free can be: take a bit of an own word
/// and put it back, with plain loads and stores.
#[inline(never)]
pub fn plain_pairs(count: u64) -> Duration {
    let line = Line(AtomicU64::new(u64::MAX));
    let word = black_box(&line.0);
    let begun = Instant::now();
    for _ in 0..count {
        // `Relaxed`: nobody else knows the word.
        let free = word.load(Ordering::Relaxed);
        let bit = free & free.wrapping_neg();
        word.store(free & !bit, Ordering::Relaxed);
        let bit = black_box(bit);
        word.store(word.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
    }
    begun.elapsed()
}
