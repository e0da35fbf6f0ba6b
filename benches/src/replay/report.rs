//! What a replay says, to people and to machines.

use super::kernel::Kernel;
use super::plan::{Age, Plan};
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
    /// How the arena was when the replay began.
    #[serde(rename = "arena")]
    pub age: Age,
    /// One entry per subject that could take part. Ours uses the classes of a
    /// trace that has them.
    pub allocators: Vec<Outcome>,
    /// Ours without them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_classes: Option<Outcome>,
    /// What the recorded kernel made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
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
            age: plan.age,
            allocators: Vec::new(),
            without_classes: None,
            kernel: None,
            absent: Vec::new(),
            harness_ns: 0.0,
            facts: (plan.threads(), plan.ops(), plan.unit()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (threads, steps, unit) = self.facts;
        writeln!(
            f,
            "{}: {steps} steps on {threads} threads, granules of {unit} B, {} arena",
            self.trace, self.age
        )?;
        writeln!(f, "harness alone: {:.2} ns per step, in every figure below", self.harness_ns)?;
        let head = ["ns/op", "failed", "overlaps", "peak MiB", "pinned", "mean", "least"];
        write!(f, "{:24}", "allocator")?;
        for name in head {
            write!(f, "{name:>11}")?;
        }
        writeln!(f)?;
        for (index, one) in self.allocators.iter().enumerate() {
            row(f, one.name, one)?;
            if let Some(without) = self.without_classes.as_ref().filter(|_| index == 0) {
                row(f, "potad, without classes", without)?;
            }
        }
        if let Some(kernel) = &self.kernel {
            let (end, mean) = (kernel.regions_pinned_end, kernel.regions_pinned_mean);
            writeln!(f, "{:68}{end:11}{mean:11.1}", "the recorded kernel")?;
        }
        for line in &self.absent {
            writeln!(f, "- {line}")?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, one: &Outcome) -> fmt::Result {
    let peak = one.peak_bytes as f64 / f64::from(1 << 20);
    write!(f, "{name:24}{:11.2}{:11}", one.ns_per_op, one.failed)?;
    write!(f, "{:11}{peak:11.1}{:11}", one.overlaps, one.regions_pinned_end)?;
    writeln!(f, "{:11.1}{:11}", one.regions_pinned_mean, one.regions_min_end)
}
