//! Replays page traces in their own time under fixed ages and presets, and says
//! what each returns and what is faulted back.
//!
//! Exit status: 0; 1 with `--enforce` if `balanced` is not what it is meant to
//! be; 2 if a trace or the command line is no good.

use clap::Parser;
use potad_benches::frontier::{LENGTH, Panel, Part, Variant, chart, measure, over_time};
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
    /// Draws memory and refaults over time, under each preset.
    #[arg(long, value_name = "FILE")]
    over_time: Option<PathBuf>,
    /// What a trace's length stands for: shorter, and the policies look slower
    #[arg(long, value_name = "SECONDS", default_value_t = LENGTH,
        value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    length: u64,
    /// Where the presets' jitter begins
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Half of the records only: 1 or 2
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=2))]
    half: Option<u8>,
    /// Says no if `balanced` lies more than this many percent points under the
    /// line of fixed ages, or returns less than 80 % of what the oracle does
    #[arg(long, value_name = "POINTS")]
    enforce: Option<f64>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("frontier: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is as asked.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let part = match arguments.half {
        None => Part::Whole,
        Some(1) => Part::First,
        Some(_) => Part::Second,
    };
    let variant = Variant { length: arguments.length, seed: arguments.seed, part };
    let mut panels = Vec::new();
    for path in &arguments.traces {
        let trace = Trace::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.trim_end_matches(".pot.zst").to_owned();
        let panel =
            measure(name, &trace, variant).map_err(|why| format!("{}: {why}", path.display()))?;
        print(&panel);
        panels.push(panel);
    }
    let pictures = [(&arguments.svg, chart(&panels)), (&arguments.over_time, over_time(&panels))];
    for (path, picture) in pictures {
        let Some(path) = path else { continue };
        std::fs::write(path, picture.to_string() + "\n")
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(arguments.enforce.is_none_or(|points| panels.iter().all(|panel| is_met(panel, points))))
}

/// Whether `balanced` is at most `points` under the line and returns enough.
fn is_met(panel: &Panel, points: f64) -> bool {
    let balanced = panel.presets.iter().find(|figure| figure.name == "balanced");
    let is_met = balanced.is_some_and(|figure| {
        let above = (figure.of_oracle - panel.line_at(figure.refaulted)) * 100.0;
        above >= -points && figure.of_oracle >= 0.8
    });
    println!("{}: balanced is {}", panel.name, if is_met { "met" } else { "MISSED" });
    is_met
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
