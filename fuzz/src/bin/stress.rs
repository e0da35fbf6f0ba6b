//! Everything at once, for the sanitizers: no test harness, no progress bar.
//!
//! Exit status: 0 if all was as it must be; else a panic says what was not.

use clap::Parser;
use fuzz::busy::{Counts, Size, run};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Threads that allocate, free, look up, report, plug and fail at once.
#[derive(Parser)]
struct Options {
    /// How long.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Workers; three more threads report, plug and fail.
    #[arg(long, default_value_t = 3)]
    workers: usize,
    /// Where the choices begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A bug to plant in the code: the run must then fail. Only in builds with
    /// `--cfg potad_seeded`, as `fuzz/sanitize` makes them.
    #[arg(long)]
    bug: Option<String>,
    /// Reads one word beyond an allocation: AddressSanitizer must report it.
    #[arg(long)]
    stray: bool,
}

fn main() {
    let options = Options::parse();
    if let Some(bug) = &options.bug {
        plant(bug);
    }
    if options.stray {
        stray();
    }
    let counts = Arc::new(Counts::default());
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut rounds = 0;
    while rounds == 0 || Instant::now() < end {
        // Both a zone that is nearly always full, and one that seldom is.
        let order = [9, 13][rounds % 2];
        let (workers, seed) = (options.workers, options.seed.wrapping_add(rounds as u64));
        let time = Duration::from_secs(options.seconds.div_ceil(6).max(1));
        run(Size { workers, order, words: 8, time, seed }, &counts, || ());
        rounds += 1;
    }
    println!("{rounds} rounds: {counts}");
    let missing = counts.missing();
    assert!(missing.is_empty(), "never: {missing:?}");
}

#[cfg(potad_seeded)]
fn plant(bug: &str) {
    memdesc::sync::seed::plant_for_all(bug);
}

#[cfg(not(potad_seeded))]
fn plant(bug: &str) {
    eprintln!("built without --cfg potad_seeded: {bug} cannot be planted");
    std::process::exit(2);
}

/// What a sanitizer of addresses is to see; elsewhere it reads what lies there.
fn stray() {
    let words = std::hint::black_box(vec![7u64; 8]);
    let beyond = words.as_ptr().wrapping_add(words.len());
    // SAFETY: it is not safe, which is the point: only when it is asked for, and
    // then the run ends here under AddressSanitizer.
    let beyond = unsafe { beyond.read_volatile() };
    println!("read {beyond:#x} beyond an allocation");
}
