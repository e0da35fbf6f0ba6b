//! Everything at once, for long: contents right, and memory flat.
//!
//! Rounds of some seconds, each on a zone of its own with 32 MiB of contents. A
//! fifth of the time is warm-up: caches fill, and whatever is made once is made.
//! After it
//!
//! - what is *resident* at the end of a round, zone and contents still there,
//!   may not exceed the most of the warm-up by more than a hundredth. The
//!   system's heap is told to make do with one arena: else it makes one per
//!   thread, threads of each round come upon another one, and what they leave in
//!   it adds up for dozens of rounds though nothing is in use;
//! - what is *live* once the zone is gone (bytes of the heap, counted; pages of
//!   tables) may not exceed the most of the warm-up by more than [`SLACK`]: a
//!   leak of some bytes a round that the first would not see.
//!
//! Exit status: 0; 1 if memory grew; else a panic says what was wrong.

use clap::Parser;
use fuzz::Heap;
use fuzz::busy::{Counts, Size, resident, run};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static HEAP: Heap = Heap;

/// Bytes that may be live beside those of the warm-up. The epoch frees the
/// records of ended threads and its own bags (2 KiB each) a collection late, and
/// the list of the page pool doubles with the most that a round ever needed.
const SLACK: usize = 16 << 10;

/// Allocates, frees, looks up, reports, plugs and fails for a long time.
#[derive(Parser)]
struct Options {
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Workers; three more threads report, plug and fail.
    #[arg(long, default_value_t = 3)]
    workers: usize,
    /// Where the choices begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Bytes to leak in every round: the run must then fail.
    #[arg(long, default_value_t = 0)]
    leak: usize,
}

/// The most that was seen of each.
#[derive(Debug, Default)]
struct Most {
    resident: u64,
    live: usize,
    pages: usize,
}

impl Most {
    fn note(&mut self, other: &Self) {
        self.resident = self.resident.max(other.resident);
        self.live = self.live.max(other.live);
        self.pages = self.pages.max(other.pages);
    }

    fn is_flat_beside(&self, warm: &Self) -> bool {
        self.resident <= warm.resident + warm.resident / 100
            && self.live <= warm.live + SLACK
            && self.pages <= warm.pages
    }

    fn print(&self, when: &str) {
        let (mib, pages) = (self.resident as f64 / f64::from(1 << 20), self.pages);
        println!(
            "{when}: {mib:.2} MiB resident; once over {} bytes live, {pages} pages",
            self.live
        );
    }
}

fn main() -> ExitCode {
    one_arena();
    let options = Options::parse();
    let counts = Arc::new(Counts::default());
    let started = Instant::now();
    let whole = Duration::from_secs(options.seconds);
    let time = Duration::from_secs((options.seconds / 60).clamp(1, 5));
    let (mut rounds, mut warm, mut rest) = (0u64, Most::default(), Most::default());
    while started.elapsed() < whole || rounds < 10 {
        let (workers, seed) = (options.workers, options.seed.wrapping_add(rounds));
        let size = Size { workers, order: 13, words: 512, time, seed };
        let resident = run(size, &counts, resident).unwrap_or(0);
        rounds += 1;
        std::mem::forget(vec![1u8; options.leak]);
        // The zone has gone, too.
        (0..256).for_each(|_| memdesc::pin().flush());
        assert_eq!(memdesc::retired_bytes(), 0, "nobody is pinned");
        let now = Most { resident, live: Heap::live(), pages: memdesc::pool_pages().0 };
        now.print(&format!("{:>5} s, round {rounds}", started.elapsed().as_secs()));
        let is_warm = rounds > 2 && started.elapsed() * 5 > whole;
        if is_warm { &mut rest } else { &mut warm }.note(&now);
    }
    println!("{rounds} rounds: {counts}");
    let missing = counts.missing();
    assert!(missing.is_empty(), "never: {missing:?}");
    warm.print("warm-up, the most");
    rest.print("after it, the most");
    if !rest.is_flat_beside(&warm) {
        println!("memory has grown");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// See above; elsewhere heaps have their own ways.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn one_arena() {
    // SAFETY: sets a limit, before there is a second thread.
    let is_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    assert_eq!(is_set, 1, "glibc knows this one");
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn one_arena() {}
