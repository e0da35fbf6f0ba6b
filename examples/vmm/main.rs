//! The main job: a host lends real memory to guests through potad.
//!
//! `cargo run --release --example vmm` replays the trace that ships with the
//! workspace; see the library for what that proves.
//!
//! # Exit status
//!
//! | status | why                                                              |
//! |--------|------------------------------------------------------------------|
//! | 0      | all as it should be                                              |
//! | 1      | something was lost, wrong or failed: a bug                       |
//! | 2      | bad input, or a device failed; one line on stderr says which     |
//! | 130    | Ctrl-C; everything was freed, and the summary printed            |

mod cli;
mod progress;

use clap::Parser;
use cli::Cli;
use potad_examples::vmm::{Status, Summary, VmmError, run_with};
use progress::Progress;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

fn main() -> ExitCode {
    match job(Cli::parse()) {
        Ok(summary) => finish(&summary),
        Err(why) => refuse(&why),
    }
}

fn job(cli: Cli) -> Result<Summary, String> {
    let options = cli.options();
    let stop = options.stop.clone();
    ctrlc::set_handler(move || stop.store(true, Ordering::Relaxed))
        .map_err(|error| format!("cannot handle Ctrl-C: {error}"))?;
    let mut progress = Progress::new();
    let summary = run_with(&options, &mut |tick| progress.show(tick));
    progress.end();
    let summary = summary.map_err(|error: VmmError| error.to_string())?;
    println!("{summary}");
    if let Some(path) = &cli.json {
        let json = serde_json::to_string_pretty(&summary).map_err(|error| error.to_string())?;
        write(path, &format!("{json}\n"))?;
    }
    if let Some(path) = &cli.svg {
        write(path, &summary.details.map.svg())?;
    }
    Ok(summary)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn finish(summary: &Summary) -> ExitCode {
    let status = &summary.details.status;
    if let Status::Device(why) | Status::Broken(why) = status {
        eprintln!("vmm: {why}");
    }
    ExitCode::from(status.code())
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("vmm: {why}");
    ExitCode::from(2)
}
