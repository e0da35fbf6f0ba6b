//! One trace under many policies.

use super::oracle::{Event, oracle};
use super::pages::{Counts, Ledger, Pages};
use crate::trace::{Op, Trace};
use memdesc::Order;
use potad::{BareBlock, Hand, Potad, Resource};
use reporting::{Age, NEVER, Next, Policy, Reporter, Rule, ZoneSource};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::rc::Rc;

/// The length, in seconds, to which a trace is scaled.
pub const LENGTH: u64 = 300;
/// How often footprint and refaults are looked at, over a trace and its tail.
const SAMPLES: u64 = 240;
const SECOND: u64 = 1_000_000_000;
/// The report granule, in bytes.
const GRANULE: u64 = 64 << 10;
/// The least unit that is taken for a page.
const PAGE: u64 = 4096;
/// The fixed ages that draw the line, in seconds of a trace of 300 s.
const AGES: [u64; 7] = [1, 2, 5, 10, 20, 50, 100];
/// What the oracle thinks worth it: the shortest age of `balanced`.
const WORTH: u64 = 2 * SECOND;

/// How a trace is replayed: whoever was tuned on one variant had better be tried
/// on others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// The seconds that it stands for.
    pub length: u64,
    /// Where the jitter of the presets begins.
    pub seed: u64,
    /// Which records have time pass.
    pub part: Part,
}

/// Part of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// The first half of the records.
    First,
    /// The second half; the first is replayed in no time.
    Second,
}

impl Default for Variant {
    fn default() -> Self {
        Self { length: LENGTH, seed: 0, part: Part::Whole }
    }
}

impl Part {
    /// The records before time passes, and those before the end.
    fn bounds(self, records: usize) -> (usize, usize) {
        match self {
            Self::Whole => (0, records),
            Self::First => (0, records / 2),
            Self::Second => (records / 2, records),
        }
    }
}

/// Why a trace has no frontier.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrontierError {
    /// A heap has no pages.
    #[error("a trace of {kind} blocks has units of {unit} bytes, pages are needed")]
    NoPages {
        /// What it is.
        kind: &'static str,
        /// Its unit.
        unit: u64,
    },
    /// The resource was refused.
    #[error(transparent)]
    Zone(#[from] potad::Error),
    /// A policy was refused.
    #[error(transparent)]
    Policy(#[from] reporting::ReportingError),
    /// A block could not be freed or split.
    #[error("record {record} could not be replayed")]
    Replay {
        /// Its number.
        record: usize,
    },
}

/// Pages at one moment.
struct Sample {
    used: u64,
    resident: u64,
    refaulted: u64,
}

/// What a policy came to.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The policy.
    pub name: String,
    /// Byte-seconds returned, in GiB s of the trace's own time.
    pub returned: f64,
    /// MiB faulted back.
    pub refaulted: f64,
    /// MiB reported that were there.
    pub reported: f64,
    /// Of the oracle's byte-seconds, over the same blocks.
    pub of_oracle: f64,
    /// Allocations that failed.
    pub failed: u64,
    /// MiB in use, resident, and faulted back so far, at equal steps over the
    /// trace and its tail.
    pub over_time: Vec<[f64; 3]>,
}

/// A trace under all policies.
#[derive(Clone, Debug)]
pub struct Panel {
    /// The trace.
    pub name: String,
    /// Policies of one fixed age, the shortest first.
    pub fixed: Vec<Figure>,
    /// The presets.
    pub presets: Vec<Figure>,
}

impl Panel {
    /// The fixed ages, from the least faulted back.
    pub(super) fn line(&self) -> Vec<&Figure> {
        let mut line: Vec<_> = self.fixed.iter().collect();
        let key = |figure: &Figure| (figure.refaulted, figure.of_oracle);
        line.sort_by(|one, other| key(one).partial_cmp(&key(other)).unwrap_or(Ordering::Equal));
        line
    }

    /// What the line of the fixed ages has at so much faulted back: between two
    /// ages in proportion; outside, the nearer end.
    pub fn line_at(&self, refaulted: f64) -> f64 {
        let mut line: Vec<(f64, f64)> = Vec::new();
        for at in self.line() {
            // Of those that have as much faulted back, the best.
            if line.last().is_some_and(|last| last.0 == at.refaulted) {
                line.pop();
            }
            line.push((at.refaulted, at.of_oracle));
        }
        let after = line.partition_point(|at| at.0 < refaulted);
        match (after.checked_sub(1).and_then(|before| line.get(before)), line.get(after)) {
            (Some(before), Some(after)) if after.0 > before.0 => {
                let part = (refaulted - before.0) / (after.0 - before.0);
                before.1 + part * (after.1 - before.1)
            }
            (_, Some(end)) | (Some(end), None) => end.1,
            (None, None) => 0.0,
        }
    }
}

/// Time, in nanoseconds, in a trace of `trace` ns that stands for one of
/// `length` s.
fn scaled(time: u64, trace: u64, length: u64) -> u64 {
    match time {
        NEVER => NEVER,
        _ => (u128::from(time) * u128::from(trace) / u128::from(length * SECOND)) as u64,
    }
}

/// A policy's times, scaled likewise.
fn scaled_policy(policy: Policy, trace: u64, length: u64) -> Policy {
    let scale = |time| scaled(time, trace, length).max(1);
    Policy { interval: scale(policy.interval), poll: scale(policy.poll), ..policy }
}

/// Replays a trace under fixed ages and presets.
pub fn measure(name: String, trace: &Trace, variant: Variant) -> Result<Panel, FrontierError> {
    if trace.unit() < PAGE {
        return Err(FrontierError::NoPages { kind: trace.kind().name(), unit: trace.unit() });
    }
    let one = |name: String, policy: Policy| Run::new(trace, policy, variant)?.run(name);
    let fixed = |seconds: u64| {
        let rules = [Rule { min_bytes: GRANULE, every: 1 }];
        let policy = Policy::eager().age(Age::Seen).rules(&rules).interval(seconds * SECOND);
        one(format!("{seconds} s"), policy)
    };
    let presets = [
        ("eager", Policy::eager()),
        ("balanced", Policy::balanced()),
        ("cold", Policy::cold()),
        ("never", Policy::never()),
    ];
    Ok(Panel {
        name,
        fixed: AGES.into_iter().map(fixed).collect::<Result<_, _>>()?,
        presets: presets
            .into_iter()
            .map(|(name, policy)| {
                let percent = policy.jitter_percent;
                one(name.to_owned(), policy.jitter(percent, variant.seed))
            })
            .collect::<Result<_, _>>()?,
    })
}

/// One policy over one trace.
struct Run<'a> {
    trace: &'a Trace,
    hand: Hand,
    reporter: Reporter<ZoneSource, Ledger>,
    pages: Rc<RefCell<Pages>>,
    arena: u64,
    granule: Order,
    live: Vec<Option<BareBlock>>,
    /// Pages of live blocks.
    used: u64,
    events: Vec<Event>,
    failed: u64,
    next: Next,
    variant: Variant,
    /// Nanoseconds that the records take.
    duration: u64,
    samples: Vec<Sample>,
}

impl<'a> Run<'a> {
    fn new(trace: &'a Trace, policy: Policy, variant: Variant) -> Result<Self, FrontierError> {
        let (unit, peak) = (trace.unit(), trace.facts().peak_units);
        let arena = (peak + peak / 4 + Hand::HIDDEN_GRANULES).next_multiple_of((2 << 20) / unit);
        let resource = Resource::new("trace").granule(unit).span(0..arena * unit);
        let zone = Potad::new().register(resource)?;
        let granule = Order::covering((GRANULE / unit).max(1)).unwrap_or(Order::ZERO);
        let source = ZoneSource::attach_absent(zone.clone(), granule)?;
        let pages = Rc::new(RefCell::new(Pages::new(arena)));
        let ledger = Ledger { pages: Rc::clone(&pages), page_bytes: unit };
        let (from, to) = variant.part.bounds(trace.records().len());
        let duration = trace.records()[from..to].iter().map(|record| u64::from(record.dt_ns)).sum();
        let policy = scaled_policy(policy, u64::max(duration, 1), variant.length);
        let mut reporter = Reporter::new(source, ledger, policy)?;
        let next = reporter.step(0);
        Ok(Self {
            trace,
            hand: zone.hand(),
            reporter,
            pages,
            arena,
            granule,
            live: (0..trace.max_ids()).map(|_| None).collect(),
            used: 0,
            events: Vec::with_capacity(trace.records().len()),
            failed: 0,
            next,
            variant,
            duration,
            samples: Vec::with_capacity(SAMPLES as usize),
        })
    }

    fn run(mut self, name: String) -> Result<Figure, FrontierError> {
        let mut now = 0;
        let (from, to) = self.variant.part.bounds(self.trace.records().len());
        for (index, record) in self.trace.records()[..to].iter().enumerate() {
            now += if index < from { 0 } else { u64::from(record.dt_ns) };
            self.step_until(now);
            self.replay(index, now)?;
        }
        let end = 2 * now;
        self.step_until(end);
        let counts = self.pages.borrow().at_end(end);
        let worth = scaled(WORTH, now, self.variant.length);
        let best = oracle(&self.events, self.arena, self.granule.get(), worth, end);
        for block in self.live.drain(..).flatten() {
            let _freed = self.hand.free_bare(block);
        }
        Ok(self.figure(name, counts, best))
    }

    fn figure(&self, name: String, counts: Counts, best: Counts) -> Figure {
        let unit = self.trace.unit() as f64;
        let mib = |pages: u64| pages as f64 * unit / f64::from(1 << 20);
        Figure {
            name,
            returned: counts.returned as f64 * unit / 1e9 / f64::from(1 << 30),
            refaulted: mib(counts.refaulted),
            reported: mib(counts.reported),
            of_oracle: counts.returned as f64 / (best.returned as f64).max(1.0),
            failed: self.failed,
            over_time: self
                .samples
                .iter()
                .map(|sample| [sample.used, sample.resident, sample.refaulted].map(mib))
                .collect(),
        }
    }

    /// Steps the reporter whenever it asks for it, up to `time`.
    fn step_until(&mut self, time: u64) {
        while self.next.at <= time {
            self.sample_until(self.next.at);
            self.pages.borrow_mut().now = self.next.at;
            self.next = self.reporter.step(self.next.at);
        }
        self.sample_until(time);
        self.pages.borrow_mut().now = time;
    }

    /// Notes what there is at every sample up to `time`.
    fn sample_until(&mut self, time: u64) {
        let end = u128::from(self.duration) * 2;
        while (self.samples.len() as u64) < SAMPLES
            && end * (self.samples.len() as u128 + 1) <= u128::from(time) * u128::from(SAMPLES)
        {
            let pages = self.pages.borrow();
            let refaulted = pages.counts.refaulted;
            self.samples.push(Sample { used: self.used, resident: pages.resident, refaulted });
        }
    }

    fn replay(&mut self, index: usize, now: u64) -> Result<(), FrontierError> {
        let record = self.trace.records()[index];
        let wrong = || FrontierError::Replay { record: index };
        let id = record.id as usize;
        match record.op {
            Op::Alloc { .. } => self.alloc(id, record.order, now),
            Op::Free => self.free(id, now).ok_or_else(wrong)?,
            Op::Resize { .. } => {
                self.free(id, now).ok_or_else(wrong)?;
                self.alloc(id, record.order, now);
            }
            Op::Split { upper } => {
                let Some(whole) = self.live[id].take() else { return Ok(()) };
                let halves = self.hand.zone().split_bare(whole).map_err(|_| wrong())?;
                self.live[id] = Some(halves.0);
                self.live[upper as usize] = Some(halves.1);
            }
        }
        Ok(())
    }

    fn alloc(&mut self, id: usize, order: Order, now: u64) {
        let Ok(block) = self.hand.alloc_bare(order) else {
            self.failed += 1;
            return;
        };
        let (first, pages) = (block.base().0, order.granules());
        let mut table = self.pages.borrow_mut();
        (first..first + pages).for_each(|page| table.touch(page));
        self.used += pages;
        self.events.push(Event { at: now, first, pages, is_alloc: true });
        self.live[id] = Some(block);
    }

    /// `Some` also for what had failed before.
    fn free(&mut self, id: usize, now: u64) -> Option<()> {
        let Some(block) = self.live[id].take() else { return Some(()) };
        let (first, pages) = (block.base().0, block.order().granules());
        self.events.push(Event { at: now, first, pages, is_alloc: false });
        self.used -= pages;
        self.hand.free_bare(block).ok()
    }
}
