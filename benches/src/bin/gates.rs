//! Measures the gates and prints them as a table.
//!
//! Exit status: 0 if no row is missed (or with `--no-enforce`), 1 if one is, 2
//! if the command line is no good.

use clap::Parser;
use potad_benches::gates::{Options, run};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures what the design promises, as ratios to the machine's floor.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Three rounds instead of nine.
    #[arg(long)]
    quick: bool,
    /// Writes the figures to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A missed row does not fail the run.
    #[arg(long)]
    no_enforce: bool,
    /// The counted rows only.
    #[arg(long)]
    counted: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let table = run(Options { quick: arguments.quick, counted: arguments.counted });
    print!("{table}");
    if let Some(path) = &arguments.json
        && let Err(error) = write(path, &table)
    {
        eprintln!("gates: cannot write {}: {error}", path.display());
        return ExitCode::from(2);
    }
    if table.has_missed() && !arguments.no_enforce {
        return ExitCode::from(1);
    }
    ExitCode::SUCCESS
}

fn write(path: &PathBuf, table: &potad_benches::gates::Table) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(table)?;
    std::fs::write(path, text + "\n")
}
