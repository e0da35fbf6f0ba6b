//! Replays page traces in their own time under fixed ages and presets, and says
//! what each returns and what is faulted back.
//!
//! Exit status: 0, or 2 if a trace or the command line is no good.

use clap::Parser;
use potad_benches::frontier::{Panel, chart, measure};
use potad_benches::trace::Trace;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Memory returned against memory faulted back.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Page traces, *.pot.zst.
    #[arg(required = true)]
    traces: Vec<PathBuf>,
    /// Draws the frontier of each.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("frontier: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let mut panels = Vec::new();
    for path in &arguments.traces {
        let trace = Trace::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.trim_end_matches(".pot.zst").to_owned();
        let panel = measure(name, &trace).map_err(|why| format!("{}: {why}", path.display()))?;
        print(&panel);
        panels.push(panel);
    }
    if let Some(path) = &arguments.svg {
        std::fs::write(path, chart(&panels).to_string() + "\n")
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

fn print(panel: &Panel) {
    println!("{}", panel.name);
    println!("  policy       GiB s   of oracle    MiB reported   faulted back   against the line");
    for figure in panel.fixed.iter().chain(&panel.presets) {
        let line = panel.line_at(figure.refaulted);
        println!(
            "  {:10} {:7.2} {:9.1} % {:15.1} {:14.1} {:+14.1} % {}",
            figure.name,
            figure.returned,
            figure.of_oracle * 100.0,
            figure.reported,
            figure.refaulted,
            (figure.of_oracle - line) * 100.0,
            if figure.failed == 0 { String::new() } else { format!("{} failed", figure.failed) }
        );
    }
}
