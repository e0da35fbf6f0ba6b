//! Measures the gates and prints them as a table.
//!
//! Exit status: 0 if no row is missed (or with `--no-enforce`), 1 if one is, 2
//! if the command line is no good.

use clap::Parser;
use potad_benches::gates::{Options, counter, run};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures what the design promises, as ratios to the machine's floor.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Three rounds instead of nine, without the rows of 10^7 ranges.
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
    /// Only the rows whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.counted && counter().is_none() {
        return in_a_counting_build();
    }
    let Arguments { quick, counted, only, .. } = &arguments;
    let table = run(&Options { quick: *quick, counted: *counted, only: only.clone() });
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

/// Counting slows every atomic, so it is another build: runs this program
/// again in one, with the same arguments.
fn in_a_counting_build() -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/counted");
    let status = std::process::Command::new(cargo)
        .args(["run", "--quiet", "--release", "--features", "count", "--bin", "gates"])
        .args(["--manifest-path", manifest, "--target-dir", target, "--"])
        .args(std::env::args_os().skip(1))
        .status();
    match status {
        Ok(status) => {
            ExitCode::from(status.code().and_then(|code| code.try_into().ok()).unwrap_or(2))
        }
        Err(error) => {
            eprintln!("gates: cannot build with the feature count: {error}");
            ExitCode::from(2)
        }
    }
}

fn write(path: &PathBuf, table: &potad_benches::gates::Table) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(table)?;
    std::fs::write(path, text + "\n")
}
