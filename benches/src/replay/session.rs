//! All subjects over one plan: the verified pass, then the timed ones.

use super::owners::{Nobody, Owners, Watch};
use super::plan::{Age, Plan, ReplayError};
use super::report::{Outcome, Report};
use super::run::{Counts, Pass};
use crate::subject::{Nothing, Subject, Visitor, ours, visit_others, visit_ours};
use std::time::{Duration, Instant};

/// Timed passes, if they fit in the budget.
const PASSES: usize = 5;
/// After this much time with a subject no further pass is begun.
const ENOUGH: Duration = Duration::from_secs(4);
/// A single pass that takes longer is given up.
const TOO_LONG: Duration = Duration::from_secs(20);

/// Runs one timed pass on a new resource; `None` if the subject cannot take
/// part or took too long.
pub fn timed<S: Subject>(plan: &Plan) -> Option<Duration> {
    let replay = Replay { plan, report: Report::new(String::new(), plan) };
    replay.timed::<S>().ok().flatten()
}

/// Whether the run is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing of ours overlapped or failed; peers answer for themselves.
    Good,
    /// The exit status must say so.
    Bad,
}

/// A replay in progress: visits subjects, gathers a report.
#[derive(Debug)]
pub struct Replay<'a> {
    plan: &'a Plan,
    report: Report,
}

/// Replays a plan through potad and whatever else was compiled in.
pub fn replay_all(name: String, plan: &Plan) -> Result<(Report, Verdict), ReplayError> {
    plan.shape(0)?;
    let mut replay = Replay { plan, report: Report::new(name, plan) };
    replay.report.harness_ns = replay.floor();
    replay.kernel_and_ours();
    #[cfg(any(test, not(feature = "peers")))]
    replay.visit::<crate::subject::Reference>();
    visit_others(&mut replay);
    let verdict = verdict(&replay.report);
    Ok((replay.report, verdict))
}

fn verdict(report: &Report) -> Verdict {
    // What a run before left behind may leave no room for all.
    let fails = |one: &Outcome| one.failed != 0 && report.age == Age::Fresh;
    let bad = |one: &Outcome| one.judged && (one.overlaps != 0 || fails(one));
    if report.allocators.iter().chain(&report.without_classes).any(bad) {
        Verdict::Bad
    } else {
        Verdict::Good
    }
}

impl Replay<'_> {
    /// What the loop itself costs.
    fn floor(&self) -> f64 {
        let timed = (0..3).filter_map(|_| self.timed::<Nothing>().ok().flatten());
        timed.map(|wall| self.per_op(wall)).reduce(f64::min).unwrap_or(0.0)
    }

    /// Ours with the classes that the trace has, as its embedder would use it;
    /// and what they are good for.
    fn kernel_and_ours(&mut self) {
        self.report.kernel = self.plan.kernel;
        if !self.plan.has_classes {
            return visit_ours(self);
        }
        self.visit::<ours::Classed>();
        match self.measure::<ours::Main>() {
            Ok(outcome) => self.report.without_classes = Some(outcome),
            Err(why) => self.report.absent.push(why),
        }
    }

    fn per_op(&self, wall: Duration) -> f64 {
        wall.as_nanos() as f64 / self.plan.ops().max(1) as f64
    }

    fn make<S: Subject>(&self) -> Result<S, String> {
        let hidden = S::hidden(self.plan.threads());
        let shape = self.plan.shape(hidden).map_err(|error| format!("{}: {error}", S::NAME))?;
        S::new(shape).map_err(|error| error.to_string())
    }

    /// One timed pass; `Ok(None)` if it was given up.
    fn timed<S: Subject>(&self) -> Result<Option<Duration>, String> {
        let subject = self.make::<S>()?;
        let pass = || Pass::new(self.plan, &subject, &Nobody, TOO_LONG);
        let Some(before) = aged(self.plan, pass) else {
            return Ok(None);
        };
        let pass = pass();
        let Some(counts) = pass.run() else {
            return Ok(None);
        };
        pass.drain();
        if let Some(before) = before {
            before.drain_kept();
        }
        Ok(Some(counts.wall))
    }

    /// The verified pass.
    fn verified<S: Subject>(&self) -> Result<Outcome, String> {
        let subject = self.make::<S>()?;
        let shape = self.plan.shape(S::hidden(self.plan.threads()));
        let shape = shape.map_err(|error| error.to_string())?;
        let owners = Owners::new(shape, S::ALIGNS);
        let pass = || Pass::new(self.plan, &subject, &owners, TOO_LONG);
        let given_up = || format!("{} was given up after {} s", S::NAME, TOO_LONG.as_secs());
        let before = aged(self.plan, pass).ok_or_else(given_up)?;
        let pass = pass();
        let counts = pass.run().ok_or_else(given_up)?;
        let outcome = self.outcome::<S>(&counts, &owners);
        pass.drain();
        if let Some(before) = before {
            before.drain_kept();
        }
        Ok(outcome)
    }

    fn outcome<S: Subject>(&self, counts: &Counts, owners: &Owners) -> Outcome {
        let regions = owners.regions();
        let pinned = regions.iter().filter(|live| **live != 0).count();
        Outcome {
            name: S::NAME,
            ns_per_op: self.per_op(counts.wall),
            failed: counts.failed,
            overlaps: owners.overlaps(),
            peak_bytes: owners.peak() * self.plan.unit(),
            regions_pinned_end: pinned as u64,
            regions_pinned_mean: counts.pinned_sum as f64 / counts.samples.max(1) as f64,
            regions_min_end: self.plan.least_regions_at_end(),
            regions,
            region_granules: 1 << self.plan.region,
            judged: S::JUDGED,
        }
    }

    fn measure<S: Subject>(&self) -> Result<Outcome, String> {
        let begun = Instant::now();
        let mut outcome = self.verified::<S>()?;
        if outcome.ns_per_op * self.plan.ops() as f64 > ENOUGH.as_nanos() as f64 {
            // Seconds a pass: the verification is lost in it.
            return Ok(outcome);
        }
        let mut walls = Vec::with_capacity(PASSES);
        while walls.len() < PASSES && (walls.is_empty() || begun.elapsed() < ENOUGH) {
            let Some(wall) = self.timed::<S>()? else {
                return Err(format!("{} was given up after {} s", S::NAME, TOO_LONG.as_secs()));
            };
            walls.push(wall);
        }
        walls.sort_unstable();
        outcome.ns_per_op = self.per_op(walls[walls.len() / 2]);
        Ok(outcome)
    }
}

/// The pass that aged the arena, with what it leaves there, if one is asked for;
/// `None` if it was given up.
#[expect(clippy::option_option, reason = "not asked for is no failure")]
fn aged<'p, S: Subject, W: Watch>(
    plan: &Plan,
    pass: impl Fn() -> Pass<'p, S, W>,
) -> Option<Option<Pass<'p, S, W>>> {
    if plan.age == Age::Fresh {
        return Some(None);
    }
    let before = pass();
    before.run()?;
    before.drain_left();
    Some(Some(before))
}

impl Visitor for Replay<'_> {
    fn visit<S: Subject>(&mut self) {
        match self.measure::<S>() {
            Ok(outcome) => self.report.allocators.push(outcome),
            Err(why) => self.report.absent.push(why),
        }
    }
}
