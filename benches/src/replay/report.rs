//! What a replay says, to people and to machines.

use super::plan::Plan;
use serde::Serialize;
use std::fmt;

/// One subject's figures; the fields are the JSON's.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The subject.
    pub name: &'static str,
    /// Wall time of a timed pass over its steps, all threads together; the
    /// median of the passes.
    pub ns_per_op: f64,
    /// Allocations that found no block.
    pub failed: u64,
    /// Blocks that overlapped a live one, lay outside the arena or were not
    /// aligned.
    pub overlaps: u64,
    /// Most bytes live at once; a subject that cannot split holds whole blocks
    /// for their last piece.
    pub peak_bytes: u64,
    /// Regions of 2 MiB with a live block in them at the end.
    pub regions_pinned_end: u64,
    /// The same, the mean over all steps.
    pub regions_pinned_mean: f64,
    /// The fewest that what is live at the end needs.
    pub regions_min_end: u64,
    /// Live granules of each region at the end, for the map.
    #[serde(skip)]
    pub regions: Vec<u32>,
    /// Granules in a region.
    #[serde(skip)]
    pub region_granules: u64,
    /// Its failures fail the run.
    #[serde(skip)]
    pub judged: bool,
}

/// All subjects on one trace.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file that was replayed.
    pub trace: String,
    /// One entry per subject that could take part.
    pub allocators: Vec<Outcome>,
    /// Subjects that could not, and why.
    #[serde(skip)]
    pub absent: Vec<String>,
    /// What the loop costs around a subject that does nothing, ns per step.
    #[serde(skip)]
    pub harness_ns: f64,
    /// Threads, steps, bytes of a granule.
    #[serde(skip)]
    pub facts: (usize, u64, u64),
}

impl Report {
    pub(super) fn new(trace: String, plan: &Plan) -> Self {
        Self {
            trace,
            allocators: Vec::new(),
            absent: Vec::new(),
            harness_ns: 0.0,
            facts: (plan.threads(), plan.ops(), plan.unit()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (threads, steps, unit) = self.facts;
        writeln!(f, "{}: {steps} steps on {threads} threads, granules of {unit} B", self.trace)?;
        writeln!(f, "harness alone: {:.2} ns per step, in every figure below", self.harness_ns)?;
        let head = ["ns/op", "failed", "overlaps", "peak MiB", "pinned", "mean", "least"];
        write!(f, "{:24}", "allocator")?;
        for name in head {
            write!(f, "{name:>11}")?;
        }
        writeln!(f)?;
        for one in &self.allocators {
            let peak = one.peak_bytes as f64 / f64::from(1 << 20);
            write!(f, "{:24}{:11.2}{:11}", one.name, one.ns_per_op, one.failed)?;
            write!(f, "{:11}{peak:11.1}{:11}", one.overlaps, one.regions_pinned_end)?;
            writeln!(f, "{:11.1}{:11}", one.regions_pinned_mean, one.regions_min_end)?;
        }
        for line in &self.absent {
            writeln!(f, "- {line}")?;
        }
        Ok(())
    }
}
