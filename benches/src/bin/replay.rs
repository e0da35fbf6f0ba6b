//! Replays a recorded block or range trace through potad and its peers.
//!
//! Exit status: 0 if no blocks overlapped, nothing of ours failed and every
//! look-up found its range, 1 if not, 2 if the trace or the command line is no good.

use clap::Parser;
use potad_benches::ranges::replay::replay_ranges;
use potad_benches::replay::{Age, Plan, Verdict, chart, replay_all};
use potad_benches::trace::{RangeTrace, Trace, TraceError};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Replays a recorded trace: verifies that live blocks never overlap, or that
/// every look-up names its range.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// The trace, *.pot.zst or *.rng.zst.
    trace: PathBuf,
    /// Threads that the records are dealt to.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// In an arena where the same trace ran before and left blocks behind.
    #[arg(long)]
    aged: bool,
    /// Writes the figures to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws the regions that are pinned at the end.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::from(1),
        Err(error) => {
            eprintln!("replay: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Verdict, Box<dyn Error>> {
    let say = |error: TraceError| match error {
        TraceError::Io { .. } => error.to_string(),
        _ => format!("{}: {error}", arguments.trace.display()),
    };
    let trace = match Trace::open(&arguments.trace) {
        Err(TraceError::WrongKind { .. }) => return run_ranges(arguments, say),
        trace => trace.map_err(say)?,
    };
    let age = if arguments.aged { Age::Aged } else { Age::Fresh };
    let plan = Plan::new(&trace, usize::from(arguments.threads)).aged(age);
    let name = arguments.trace.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (report, verdict) = replay_all(name, &plan)?;
    print!("{report}");
    if let Some(path) = &arguments.json {
        write(path, serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(path) = &arguments.svg {
        write(path, chart(&report).to_string())?;
    }
    Ok(verdict)
}

/// The same for a range trace. It pins no regions, so there is no map to draw.
fn run_ranges(
    arguments: &Arguments,
    say: impl Fn(TraceError) -> String,
) -> Result<Verdict, Box<dyn Error>> {
    let trace = RangeTrace::open(&arguments.trace).map_err(say)?;
    let name = arguments.trace.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (report, verdict) = replay_ranges(name, &trace, usize::from(arguments.threads));
    print!("{report}");
    if let Some(path) = &arguments.json {
        write(path, serde_json::to_string_pretty(&report)?)?;
    }
    if arguments.svg.is_some() {
        return Err("a range trace pins no regions: there is nothing to draw".into());
    }
    Ok(verdict)
}

fn write(path: &PathBuf, content: String) -> Result<(), String> {
    std::fs::write(path, content + "\n")
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}
