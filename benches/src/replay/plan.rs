//! The trace, dealt to queues: what each thread will do, worked out before.
//!
//! # What always holds
//!
//! `turn` of a step is the number of earlier steps, in any queue, that touch
//! its id. A block that is ever split belongs to a *family*, known from its
//! allocation on: subjects that cannot free a piece count the family's pieces
//! and free the whole with the last.

use super::kernel::Kernel;
use crate::subject::Shape;
use crate::trace::{Kind, Op, Record, Trace};
use memdesc::Order;
use std::fmt;

/// Granules that the verified pass can keep one bit for.
const LARGEST_ARENA: u64 = 1 << 33;
/// Bytes of the regions whose use is counted: a huge page.
pub(super) const REGION_BYTES: u64 = 2 << 20;
/// No family, no second id.
pub(super) const NONE: u32 = u32::MAX;

/// Why a trace cannot be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The arena would be larger than can be verified.
    #[error("an arena of {granules} granules is needed, at most {allowed} can be verified")]
    TooLarge {
        /// Peak and room.
        granules: u64,
        /// The bound.
        allowed: u64,
    },
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Alloc,
    Free,
    /// `order` is the halves'.
    Split,
    /// Allocate `order`, free `old`.
    Resize,
}

/// One record, ready to run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) id: u32,
    /// The upper half's id of a split.
    pub(super) upper: u32,
    /// Of the block that is freed, split or allocated; of the new one when a
    /// resize's differs, which is never: a resized piece leaves its family.
    pub(super) family: u32,
    /// Of the block that a resize allocates.
    pub(super) new_family: u32,
    pub(super) turn: u32,
    pub(super) upper_turn: u32,
    /// Position in the trace.
    pub(super) at: u32,
    pub(super) order: Order,
    pub(super) old: Order,
    pub(super) what: What,
    pub(super) tag: u8,
}

/// One thread's share.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub(super) prelude: Vec<Step>,
    pub(super) steps: Vec<Step>,
}

/// A block that is live when the trace ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Survivor {
    pub(super) id: u32,
    pub(super) order: Order,
    pub(super) family: u32,
}

/// A trace, dealt to a number of threads.
#[derive(Debug)]
pub struct Plan {
    pub(super) queues: Vec<Queue>,
    pub(super) ids: usize,
    /// Of each family, the order of the whole block.
    pub(super) families: Vec<Order>,
    pub(super) survivors: Vec<Survivor>,
    /// Steps that are timed.
    pub(super) ops: u64,
    /// log2 of the granules in a region.
    pub(super) region: u32,
    /// Every allocation says a class.
    pub(super) has_classes: bool,
    pub(super) kernel: Option<Kernel>,
    pub(super) age: Age,
    unit: u64,
    peak_units: u64,
    least_regions_at_end: u64,
}

/// In what an arena is when the replay begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Age {
    /// All free.
    Fresh,
    /// The trace ran before, and of what it left alive at its end every fourth
    /// block, as chance would have it, is still there, and stays.
    Aged,
}

impl Plan {
    /// Deals the records of a trace to `threads` queues.
    ///
    /// By CPU, or by thread for a heap's trace. With more queues than the
    /// recording had CPUs, the records of a CPU are dealt on by thread.
    pub fn new(trace: &Trace, threads: usize) -> Self {
        let threads = threads.max(1);
        // Lossless: a unit is at most a region.
        let region = (REGION_BYTES / trace.unit()).trailing_zeros();
        let mut dealer = Dealer::new(trace, threads);
        let prelude = trace.prelude().len();
        for (at, record) in trace.records().iter().enumerate() {
            dealer.deal(at, record, at < prelude);
        }
        let survivors = dealer.survivors();
        Self {
            ops: dealer.queues.iter().map(|queue| queue.steps.len() as u64).sum(),
            queues: dealer.queues,
            ids: trace.max_ids() as usize,
            families: dealer.families,
            survivors,
            region,
            has_classes: trace.kind() == Kind::Page,
            kernel: Kernel::of(trace),
            age: Age::Fresh,
            unit: trace.unit(),
            peak_units: trace.facts().peak_units,
            least_regions_at_end: trace.facts().least_regions_at_end(region),
        }
    }

    /// The same replay in an arena of another age.
    pub fn aged(self, age: Age) -> Self {
        Self { age, ..self }
    }

    /// What stays of an earlier run of the same trace.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Survivor> {
        let kept = |(index, _): &(u64, &Survivor)| is_kept(*index);
        let all = match self.age {
            Age::Fresh => &[],
            Age::Aged => self.survivors.as_slice(),
        };
        (0..).zip(all).filter(kept).map(|(_, survivor)| survivor)
    }

    /// What an earlier run frees of what it left alive.
    pub(super) fn left(&self) -> impl Iterator<Item = &Survivor> {
        let left = |(index, _): &(u64, &Survivor)| !is_kept(*index);
        (0..).zip(&self.survivors).filter(left).map(|(_, survivor)| survivor)
    }

    fn kept_units(&self) -> u64 {
        self.kept().map(|survivor| survivor.order.granules()).sum()
    }

    /// The number of threads it was dealt to.
    pub fn threads(&self) -> usize {
        self.queues.len()
    }

    /// The number of timed steps; a resize within its order is none.
    pub fn ops(&self) -> u64 {
        self.ops
    }

    /// Bytes of a granule.
    pub fn unit(&self) -> u64 {
        self.unit
    }

    /// The fewest 2 MiB regions that can hold what is live at the end (aged, up
    /// to one less).
    pub fn least_regions_at_end(&self) -> u64 {
        self.least_regions_at_end + (self.kept_units() >> self.region)
    }

    /// The resource to replay in: the peak, a quarter more, and what the
    /// subject may hide, in whole regions.
    pub fn shape(&self, hidden: u64) -> Result<Shape, ReplayError> {
        let room = self.peak_units / 4 + hidden;
        let granules = (self.peak_units + self.kept_units()).saturating_add(room).max(1);
        if granules > LARGEST_ARENA {
            return Err(ReplayError::TooLarge { granules, allowed: LARGEST_ARENA });
        }
        let granules = granules.next_multiple_of(1 << self.region);
        Ok(Shape { granules, granule_bytes: self.unit, hands: self.threads() })
    }
}

/// One in four, without a pattern.
fn is_kept(index: u64) -> bool {
    index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 == 0
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fresh => "fresh",
            Self::Aged => "aged",
        })
    }
}

/// What is known of a live id while dealing.
#[derive(Clone, Copy, Debug)]
struct Live {
    order: Order,
    family: u32,
    /// Where its allocation was dealt: queue, prelude or not, index.
    born: (usize, bool, usize),
}

struct Dealer<'a> {
    trace: &'a Trace,
    queues: Vec<Queue>,
    families: Vec<Order>,
    turns: Vec<u32>,
    live: Vec<Option<Live>>,
}

impl<'a> Dealer<'a> {
    fn new(trace: &'a Trace, threads: usize) -> Self {
        let ids = trace.max_ids() as usize;
        Self {
            trace,
            queues: vec![Queue::default(); threads],
            families: Vec::new(),
            turns: vec![0; ids],
            live: vec![None; ids],
        }
    }

    fn queue_of(&self, record: &Record) -> usize {
        let (threads, thread) = (self.queues.len(), usize::from(record.thread));
        if self.trace.kind() == Kind::Malloc {
            return thread % threads;
        }
        let (cpu, cpus) = (usize::from(record.cpu), self.trace.cpus().max(1) as usize);
        if threads <= cpus {
            return cpu % threads;
        }
        (cpu + cpus * thread) % threads
    }

    fn take_turn(&mut self, id: u32) -> u32 {
        let turn = &mut self.turns[id as usize];
        *turn += 1;
        *turn - 1
    }

    fn deal(&mut self, at: usize, record: &Record, prelude: bool) {
        let before = self.live[record.id as usize];
        let old = before.map_or(record.order, |live| live.order);
        if matches!(record.op, Op::Resize { .. }) && old == record.order {
            return;
        }
        let queue = self.queue_of(record);
        let steps = &self.queues[queue];
        let index = if prelude { steps.prelude.len() } else { steps.steps.len() };
        let born = (queue, prelude, index);
        let fresh = Live { order: record.order, family: NONE, born };
        let mut step = Step {
            id: record.id,
            upper: NONE,
            family: before.map_or(NONE, |live| live.family),
            new_family: NONE,
            turn: self.take_turn(record.id),
            upper_turn: 0,
            // Lossless: a trace has at most 2^26 records.
            at: at as u32,
            order: record.order,
            old,
            what: What::Alloc,
            tag: record.class(self.trace.kind()),
        };
        self.live[record.id as usize] = match record.op {
            Op::Alloc { .. } => Some(fresh),
            Op::Resize { .. } => {
                step.what = What::Resize;
                Some(fresh)
            }
            Op::Free => {
                step.what = What::Free;
                None
            }
            Op::Split { upper } => {
                step.what = What::Split;
                step.upper = upper;
                step.upper_turn = self.take_turn(upper);
                let live = before.unwrap_or(fresh);
                step.family = self.family_of(live);
                let half = Live { order: record.order, family: step.family, born: live.born };
                self.live[upper as usize] = Some(half);
                Some(half)
            }
        };
        let queue = &mut self.queues[queue];
        if prelude { queue.prelude.push(step) } else { queue.steps.push(step) }
    }

    /// Returns the block's family, and founds it if this is its first split.
    fn family_of(&mut self, live: Live) -> u32 {
        if live.family != NONE {
            return live.family;
        }
        // Lossless: fewer families than records.
        let family = self.families.len() as u32;
        self.families.push(live.order);
        let (queue, prelude, index) = live.born;
        let queue = &mut self.queues[queue];
        let born = if prelude { &mut queue.prelude[index] } else { &mut queue.steps[index] };
        match born.what {
            What::Resize => born.new_family = family,
            _ => born.family = family,
        }
        family
    }

    fn survivors(&self) -> Vec<Survivor> {
        let live = (0_u32..).zip(&self.live).filter_map(|(id, live)| live.map(|live| (id, live)));
        live.map(|(id, live)| Survivor { id, order: live.order, family: live.family }).collect()
    }
}
