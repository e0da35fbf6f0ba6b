//! Replaying a range trace: address spaces as maps, every page fault a look-up.
//!
//! # What always holds
//!
//! The first pass is verified: beside the map under test runs a plain ordered
//! map, and each look-up must give the same answer in both, and the one that
//! the trace recorded. Timed passes run the map alone. A map names each record
//! by its number and one.
//!
//! With more than one thread the first replays the trace, and the others look
//! its pages up in the same maps all the while. What they find must be a range
//! that held the page when it was mapped.

use super::peers::{Locked, MapVisitor, RangeMap, Standard, visit_maps};
use crate::replay::Verdict;
use crate::trace::{RangeOp, RangeRecord, RangeTrace};
use lookup::Addresses;
use memdesc::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

const PASSES: usize = 5;

/// One map's figures; the fields are the JSON's.
#[derive(Clone, Debug, Serialize)]
pub struct RangeOutcome {
    /// The map.
    pub name: &'static str,
    /// Time of a look-up, the median of the passes.
    pub ns_per_lookup: f64,
    /// Time of everything else: map, unmap, fork, clear.
    pub ns_per_change: f64,
    /// Time per record of both.
    pub ns_per_op: f64,
    /// Look-ups that found another range than they should, or none.
    pub mismatches: u64,
    /// Look-ups beside the replay, by the other threads.
    pub lookups_beside: u64,
}

/// All maps on one trace.
#[derive(Clone, Debug, Serialize)]
pub struct RangeReport {
    /// The file that was replayed.
    pub trace: String,
    /// Records in it.
    pub records: u64,
    /// Look-ups among them.
    pub lookups: u64,
    /// Look-ups that find a range.
    pub hits: u64,
    /// Threads.
    pub threads: usize,
    /// One entry per map, ours first.
    pub maps: Vec<RangeOutcome>,
}

/// Replays a trace through every map that was compiled in.
pub fn replay_ranges(name: String, trace: &RangeTrace, threads: usize) -> (RangeReport, Verdict) {
    let is_lookup = |record: &&RangeRecord| record.op == RangeOp::Lookup;
    let lookups = trace.records().iter().filter(is_lookup);
    let hits = lookups.clone().filter(|record| record.flags == 0).count() as u64;
    let report = RangeReport {
        trace: name,
        records: trace.records().len() as u64,
        lookups: lookups.count() as u64,
        hits,
        threads,
        maps: Vec::new(),
    };
    let mut replay = Replay { trace, report };
    visit_maps(&mut replay);
    let ours = replay.report.maps.first();
    let verdict = match ours.is_some_and(|ours| ours.mismatches == 0) {
        true => Verdict::Good,
        false => Verdict::Bad,
    };
    (replay.report, verdict)
}

struct Replay<'a> {
    trace: &'a RangeTrace,
    report: RangeReport,
}

impl MapVisitor for Replay<'_> {
    fn visit<M: RangeMap>(&mut self) {
        let mut mismatches = self.verified::<M>();
        let mut walls = Vec::with_capacity(PASSES);
        let mut lookups_beside = 0;
        for _ in 0..PASSES {
            let (wall, beside) = self.timed::<M>(&mut mismatches);
            walls.push(wall);
            lookups_beside = lookups_beside.max(beside);
        }
        walls.sort_by_key(|wall| wall.lookups);
        let wall = walls[walls.len() / 2];
        let changes = self.report.records - self.report.lookups;
        let per = |time: Duration, count: u64| time.as_nanos() as f64 / count.max(1) as f64;
        self.report.maps.push(RangeOutcome {
            name: M::NAME,
            ns_per_lookup: per(wall.lookups, self.report.lookups),
            ns_per_change: per(wall.changes, changes),
            ns_per_op: per(wall.lookups + wall.changes, self.report.records),
            mismatches,
            lookups_beside,
        });
    }
}

/// Time of a pass.
#[derive(Clone, Copy, Default)]
struct Wall {
    lookups: Duration,
    changes: Duration,
}

fn range_of(record: &RangeRecord) -> Addresses {
    let count = u64::from(record.pages.max(1));
    Addresses::starting(record.start, count).expect("the trace was checked")
}

/// Does what a record says, but looking up.
fn change<M: RangeMap>(spaces: &[M], number: u32, record: &RangeRecord) {
    let space = &spaces[usize::from(record.space)];
    match record.op {
        RangeOp::Map => space.set(range_of(record), number),
        RangeOp::Unmap => space.remove(range_of(record)),
        RangeOp::Clear => space.clear(),
        RangeOp::Fork { from } => space.copy_from(&spaces[from as usize]),
        RangeOp::Protect | RangeOp::Lookup => {}
    }
}

fn spaces_of<M: RangeMap>(trace: &RangeTrace) -> Vec<M> {
    (0..trace.spaces()).map(|_| M::new()).collect()
}

impl Replay<'_> {
    /// Returns how many answers were wrong.
    fn verified<M: RangeMap>(&self) -> u64 {
        let (spaces, plain) = (spaces_of::<M>(self.trace), spaces_of::<Plain>(self.trace));
        let mut wrong = 0;
        for (number, record) in (1..).zip(self.trace.records()) {
            if record.op != RangeOp::Lookup {
                change(&spaces, number, record);
                change(&plain, number, record);
                continue;
            }
            let space = usize::from(record.space);
            let (found, expected) =
                (spaces[space].find(record.start), plain[space].find(record.start));
            wrong += u64::from(found != expected || found.is_some() != (record.flags == 0));
        }
        // And everything else that is left.
        for (space, plain) in spaces.iter().zip(&plain) {
            wrong += u64::from(space.all() != plain.all());
        }
        wrong
    }

    /// One pass, timed by runs of records of a kind; readers beside it count
    /// what they find wrong.
    fn timed<M: RangeMap>(&self, mismatches: &mut u64) -> (Wall, u64) {
        let spaces = spaces_of::<M>(self.trace);
        let done = AtomicBool::new(false);
        let (wrong, beside) = (AtomicU64::new(0), AtomicU64::new(0));
        let wall = std::thread::scope(|scope| {
            for _ in 1..self.report.threads {
                scope.spawn(|| {
                    let (found, lookups) = self.read_beside(&spaces, &done);
                    // Relaxed: read after the threads have ended.
                    wrong.fetch_add(found, Ordering::Relaxed);
                    beside.fetch_add(lookups, Ordering::Relaxed);
                });
            }
            let wall = self.run(&spaces);
            done.store(true, Ordering::Relaxed);
            wall
        });
        *mismatches += wrong.into_inner();
        (wall, beside.into_inner())
    }

    fn run<M: RangeMap>(&self, spaces: &[M]) -> Wall {
        let (mut wall, mut number, mut sum) = (Wall::default(), 0, 0);
        let kind = |record: &RangeRecord| record.op == RangeOp::Lookup;
        for run in self.trace.records().chunk_by(|one, next| kind(one) == kind(next)) {
            let begun = Instant::now();
            if kind(&run[0]) {
                for record in run {
                    sum += spaces[usize::from(record.space)].find(record.start).unwrap_or(0);
                }
                number += run.len() as u32;
                wall.lookups += begun.elapsed();
                continue;
            }
            for record in run {
                number += 1;
                change(spaces, number, record);
            }
            wall.changes += begun.elapsed();
        }
        std::hint::black_box(sum);
        wall
    }

    /// Looks the trace's pages up until told to stop; returns what was wrong,
    /// and how many there were.
    fn read_beside<M: RangeMap>(&self, spaces: &[M], done: &AtomicBool) -> (u64, u64) {
        let records = self.trace.records();
        let (mut wrong, mut lookups) = (0, 0);
        for record in records.iter().cycle().filter(|record| record.op == RangeOp::Lookup) {
            // Relaxed: a flag that says nothing else.
            if done.load(Ordering::Relaxed) {
                break;
            }
            lookups += 1;
            let Some(value) = spaces[usize::from(record.space)].find(record.start) else {
                continue;
            };
            let mapped = value.checked_sub(1).and_then(|at| records.get(at as usize));
            let held = mapped.is_some_and(|mapped| {
                mapped.op == RangeOp::Map && range_of(mapped).contains(record.start)
            });
            wrong += u64::from(!held);
        }
        (wrong, lookups)
    }
}

/// What answers are compared with.
type Plain = Locked<Standard>;

impl fmt::Display for RangeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} records, ", self.trace, self.records)?;
        write!(f, "{} look-ups of which {} hit", self.lookups, self.hits)?;
        writeln!(f, ", on {} threads", self.threads)?;
        let head = ["ns/lookup", "ns/change", "ns/op", "wrong", "beside"];
        write!(f, "{:24}", "map")?;
        for name in head {
            write!(f, "{name:>11}")?;
        }
        writeln!(f)?;
        for one in &self.maps {
            write!(f, "{:24}{:11.2}{:11.2}", one.name, one.ns_per_lookup, one.ns_per_change)?;
            write!(f, "{:11.2}{:11}", one.ns_per_op, one.mismatches)?;
            writeln!(f, "{:11}", one.lookups_beside)?;
        }
        Ok(())
    }
}
