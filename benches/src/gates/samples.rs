//! From the samples of a row to its verdict.

use super::rows::Bound;
use serde::Serialize;

/// Above this, R says that the machine was not ours alone.
pub(super) const DISTURBED: f64 = 1.15;

/// One figure and the floor around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// In the row's unit.
    pub value: f64,
    /// The larger of the R before and the R after, in nanoseconds.
    pub rmw_ns: f64,
}

/// What a row came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// The median meets the gate.
    #[serde(rename = "met")]
    Met,
    /// Even the best quartile misses it.
    #[serde(rename = "missed")]
    Missed,
    /// Neither, or too few samples were left.
    #[serde(rename = "inconclusive")]
    Inconclusive,
    /// What is measured does not exist.
    #[serde(rename = "not yet")]
    NotYet,
}

impl Verdict {
    /// The word in the table and the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::Inconclusive => "inconclusive",
            Self::NotYet => "not yet",
        }
    }
}

/// Returns the median of the undisturbed samples and the verdict; `least_rmw`
/// is what R is in a tenth of the whole run, or less.
pub fn judge(
    samples: &[Sample],
    least_rmw: f64,
    gate: f64,
    bound: Bound,
) -> (Option<f64>, Verdict) {
    if samples.is_empty() {
        return (None, Verdict::NotYet);
    }
    let is_quiet = |sample: &&Sample| sample.rmw_ns <= least_rmw * DISTURBED;
    let mut kept: Vec<f64> = samples.iter().filter(is_quiet).map(|sample| sample.value).collect();
    if kept.len() * 3 < samples.len() || kept.is_empty() {
        // Most of the run was disturbed: say what was seen, judge nothing.
        let mut all: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
        best_first(&mut all, bound);
        return (Some(all[all.len() / 2]), Verdict::Inconclusive);
    }
    best_first(&mut kept, bound);
    let (median, best) = (kept[kept.len() / 2], kept[kept.len() / 4]);
    let verdict = if bound.is_met(median, gate) {
        Verdict::Met
    } else if bound.is_met(best, gate) {
        Verdict::Inconclusive
    } else {
        Verdict::Missed
    };
    (Some(median), verdict)
}

fn best_first(values: &mut [f64], bound: Bound) {
    values.sort_by(f64::total_cmp);
    if bound == Bound::AtLeast {
        values.reverse();
    }
}
