//! Measures the gates and prints them as a table.
//!
//! Exit status: 0 if no row is missed (or with `--no-enforce`), 1 if one is, 2
//! if the command line is no good.

use clap::Parser;
use potad_benches::gates::{Options, counter, run};
use serde::Deserialize;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

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
    /// The rows whose name contains this only.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let here = counter().is_some();
    if arguments.counted && !here {
        let status = counting_build(std::env::args_os().skip(1)).status();
        return status.map_or_else(cannot_build, |status| {
            ExitCode::from(status.code().and_then(|code| code.try_into().ok()).unwrap_or(2))
        });
    }
    let mut table = run(&Options {
        quick: arguments.quick,
        counted: arguments.counted,
        only: arguments.only.clone(),
    });
    if table.rows().is_empty() {
        eprintln!("gates: no row's name contains {:?}", arguments.only);
        return ExitCode::from(2);
    }
    if !here && table.rows().iter().any(|row| row.row().counted) {
        match count(&arguments.only) {
            Ok(rows) => {
                let told = rows.iter().filter_map(|row| Some((&row.name, row.value?)));
                told.for_each(|(name, value)| table.enter_counted(name, value));
            }
            Err(error) => return cannot_build(error),
        }
    }
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

/// Counting slows every atomic, so it is another build: this program again, in
/// one.
fn counting_build(arguments: impl Iterator<Item = OsString>) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/counted");
    let mut command = Command::new(cargo);
    command
        .args(["run", "--quiet", "--release", "--features", "count", "--bin", "gates"])
        .args(["--manifest-path", manifest, "--target-dir", target, "--"])
        .args(arguments);
    command
}

fn cannot_build(error: std::io::Error) -> ExitCode {
    eprintln!("gates: cannot count, in a build with the feature count: {error}");
    ExitCode::from(2)
}

/// A row as the counting build writes it.
#[derive(Deserialize)]
struct Counted {
    name: String,
    value: Option<f64>,
}

/// Has the counting build count the rows whose name contains `only`.
fn count(only: &str) -> std::io::Result<Vec<Counted>> {
    #[derive(Deserialize)]
    struct Rows {
        rows: Vec<Counted>,
    }
    eprintln!("gates: counting, in a build of its own: the first takes some minutes");
    let file = std::env::temp_dir().join(format!("potad-counted-{}.json", std::process::id()));
    let arguments = ["--counted", "--no-enforce", "--only", only, "--json"];
    let arguments = arguments.iter().map(OsString::from).chain([file.clone().into()]);
    let ran = counting_build(arguments).stdout(Stdio::null()).status();
    let text = std::fs::read(&file);
    // It is there, or was never written.
    let _removed = std::fs::remove_file(&file);
    if !ran?.success() {
        return Err(std::io::Error::other("it failed"));
    }
    let rows: Rows = serde_json::from_slice(&text?)?;
    Ok(rows.rows)
}

fn write(path: &PathBuf, table: &potad_benches::gates::Table) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(table)?;
    std::fs::write(path, text + "\n")
}
