//! Everything at once, for long: contents right, and memory flat.
//!
//! Rounds of some seconds, each on a zone of its own with 32 MiB of contents.
//! At the end of each the resident memory is looked at; once warm, it may not
//! grow by more than a hundredth.
//!
//! Exit status: 0; 1 if memory grew; else a panic says what was wrong.

use clap::Parser;
use fuzz::busy::{Counts, Size, run};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
}

fn main() -> ExitCode {
    let options = Options::parse();
    let counts = Arc::new(Counts::default());
    let started = Instant::now();
    let whole = Duration::from_secs(options.seconds);
    // A fifth is the warm-up, in at least two of at least five rounds.
    let time = Duration::from_secs((options.seconds / 10).clamp(1, 10));
    let (mut rounds, mut warm, mut last) = (0u64, None, None);
    while started.elapsed() < whole || rounds < 5 {
        let (workers, seed) = (options.workers, options.seed.wrapping_add(rounds));
        last = run(Size { workers, order: 13, words: 512, time, seed }, &counts);
        rounds += 1;
        let elapsed = started.elapsed();
        let Some(bytes) = last else { continue };
        println!("{:>5} s, round {rounds}: {:.2} MiB resident", elapsed.as_secs(), mib(bytes));
        if rounds <= 2 || elapsed * 5 <= whole {
            warm = warm.max(last);
        }
    }
    println!("{rounds} rounds: {counts}");
    let missing = counts.missing();
    assert!(missing.is_empty(), "never: {missing:?}");
    let (Some(warm), Some(last)) = (warm, last) else {
        println!("the system does not say how much is resident: not checked");
        return ExitCode::SUCCESS;
    };
    println!("resident: {:.2} MiB once warm, {:.2} MiB at the end", mib(warm), mib(last));
    if last > warm + warm / 100 {
        println!("memory has grown by more than a hundredth");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
