//! The command line.

use clap::Parser;
use potad_examples::vmm::Options;
use std::path::PathBuf;

/// Lends real memory to guests that replay a recorded workload.
#[derive(Debug, Parser)]
#[command(name = "vmm", version)]
pub(crate) struct Cli {
    /// Block trace to replay [default: the one that ships with the workspace]
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Guests that the trace is dealt to
    #[arg(long, default_value_t = Options::default().guests)]
    guests: usize,
    /// Memory failures to inject
    #[arg(long, value_name = "N", default_value_t = Options::default().failures)]
    failures: u64,
    /// Replay at most so many records
    #[arg(long, value_name = "N")]
    records: Option<u64>,
    /// Replay for at most so many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<f64>,
    /// Memory beyond the trace's peak [default: 25, or 100 if it splits blocks]
    #[arg(long, value_name = "PERCENT")]
    headroom: Option<u32>,
    /// Swap file to make, removed at the end [default: a nameless one]
    #[arg(long, value_name = "FILE")]
    swap: Option<PathBuf>,
    /// Size of the swap file
    #[arg(long, value_name = "MIB", default_value_t = Options::default().swap_bytes >> 20)]
    swap_mib: u64,
    /// Where chance begins
    #[arg(long, default_value_t = Options::default().seed)]
    seed: u64,
    /// Write the map of the memory as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Write the summary as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Make the driver below the reporter fail from its nth range on
    #[arg(long, value_name = "N", hide = true)]
    driver_fault: Option<u64>,
}

impl Cli {
    pub(crate) fn options(&self) -> Options {
        Options {
            trace: self.trace.clone().unwrap_or_else(Options::shipped_trace),
            guests: self.guests,
            failures: self.failures,
            records: self.records,
            seconds: self.seconds,
            headroom: self.headroom,
            swap: self.swap.clone(),
            swap_bytes: self.swap_mib.saturating_mul(1 << 20),
            driver_fault: self.driver_fault,
            seed: self.seed,
            ..Options::default()
        }
    }
}
