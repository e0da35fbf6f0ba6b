//! The trace, dealt to guests, and what it needs.
//!
//! # Dealing
//!
//! Page, vma and swap traces are dealt by CPU, malloc traces by thread. Each
//! record gets a *turn*: how many records before it touched the same id. A
//! guest does a record once its turn has come, so a block that one guest
//! allocated is freed by another only after it was handed over.
//!
//! # Why nobody waits for ever
//!
//! A guest waits for a record before its own in the trace, or, by the *window*,
//! for the guest that is furthest behind. The guest that is furthest behind
//! waits for nobody: every record before its own is done.
//!
//! # The window
//!
//! A guest that runs ahead allocates before others free. So each record knows
//! how many granules were allocated before it in the trace, and a guest starts
//! a record only if that is at most `slack` more than for the guest that is
//! furthest behind. No more than peak + slack is ever live.
//!
//! # Sizes
//!
//! ```text
//!  arena = peak + headroom           the slack is in it
//!        + what hands can hide
//!        + one largest block for each bank that may fail
//! ```
//!
//! The headroom is a quarter of the peak, and at least eight of the largest
//! blocks: where they are few, a small block in each keeps all apart. Where the trace splits large blocks
//! and frees the pieces it is all of the peak: survivors keep the pieces apart,
//! and nobody here migrates them.

use super::cookie::{LARGEST_FILLED, is_filled};
use super::options::Options;
use benches::trace::{Kind, Op, Record, Trace};
use potad::Hand;
use potad::memdesc::Order;

/// The smallest granule: it holds one cookie.
const LEAST_GRANULE: u64 = 16;
/// Hands that are not a guest's: the shared ones of a zone, and one to spare.
const OTHER_HANDS: u64 = 9;
/// Of a block larger than two of these, two are touched.
const PAGE: u64 = 4096;

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Alloc,
    Free,
    /// The id keeps the lower half, `upper` gets the upper one.
    Split {
        upper: u32,
        turn: u32,
    },
    /// Moves, if the order is another.
    Resize,
}

/// One record of one guest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) id: u32,
    /// Steps that touched the id before.
    pub(super) turn: u32,
    /// The record's number.
    pub(super) at: u32,
    /// Of the block, of each half for a split, the new one for a resize.
    pub(super) order: Order,
    /// Which descriptor the block gets.
    pub(super) tag: u8,
    pub(super) what: What,
    /// Granules allocated before this record.
    pub(super) before: u64,
}

/// A trace, ready to be replayed.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) queues: Vec<Vec<Step>>,
    pub(super) ids: u32,
    pub(super) records: u64,
    /// Bytes per granule.
    pub(super) granule: u64,
    pub(super) largest: Order,
    /// Most granules live at once, in the order of the trace.
    pub(super) peak: u64,
    /// Granules that may be live beyond the peak because guests drift.
    pub(super) slack: u64,
    /// Granules that the resource should have.
    pub(super) arena: u128,
    /// Largest blocks in which memory may fail.
    pub(super) banks: u64,
    /// Bytes that are touched at the peak.
    pub(super) touched: u64,
}

impl Plan {
    /// Deals as much of the trace as was asked for.
    pub(super) fn new(trace: &Trace, options: &Options) -> Self {
        let mut dealing = Dealing::new(trace, options.guests);
        let limit = options.records.and_then(|count| usize::try_from(count).ok());
        let count = trace.records().len().min(limit.unwrap_or(usize::MAX));
        for (at, record) in (0u32..).zip(&trace.records()[..count]) {
            dealing.deal(at, record);
        }
        dealing.finish(options)
    }

    /// Memory that a run needs: what is touched, with a tenth to spare, and
    /// the tables of host and allocator.
    pub(super) fn memory(&self) -> u128 {
        let touched = u128::from(self.touched) * 11 / 10;
        let tables = self.arena * 12 + u128::from(self.ids) * 256 + u128::from(self.records) * 48;
        touched + tables + (32 << 20)
    }
}

struct Dealing {
    plan: Plan,
    by_thread: bool,
    has_types: bool,
    /// Orders by which a granule is larger than the trace's unit.
    shift: u32,
    turns: Vec<u32>,
    /// Live orders, and what the block touches.
    live: Vec<Option<Order>>,
    granules: u64,
    allocated: u64,
    touched: u64,
    has_splits: bool,
}

impl Dealing {
    fn new(trace: &Trace, guests: usize) -> Self {
        let ids = trace.max_ids();
        let granule = trace.unit().max(LEAST_GRANULE);
        let plan = Plan {
            queues: vec![Vec::new(); guests],
            ids,
            records: 0,
            granule,
            largest: Order::ZERO,
            peak: 0,
            slack: 0,
            arena: 0,
            banks: 0,
            touched: 0,
        };
        Self {
            plan,
            by_thread: trace.kind() == Kind::Malloc || trace.cpus() == 0,
            has_types: trace.kind() == Kind::Page,
            shift: (granule / trace.unit()).trailing_zeros(),
            turns: vec![0; ids as usize],
            live: vec![None; ids as usize],
            granules: 0,
            allocated: 0,
            touched: 0,
            has_splits: false,
        }
    }

    fn deal(&mut self, at: u32, record: &Record) {
        let id = record.id;
        let order = Order::new(record.order.get().saturating_sub(self.shift)).unwrap_or(Order::MAX);
        let before = self.allocated;
        let what = match record.op {
            Op::Free => {
                self.set(id, None);
                What::Free
            }
            Op::Split { upper } => {
                self.has_splits = true;
                // Halves below a granule: the upper one gets its own.
                if self.live[id as usize] == Some(order) {
                    self.allocated += order.granules();
                }
                self.set(id, Some(order));
                self.set(upper, Some(order));
                What::Split { upper, turn: self.turn(upper) }
            }
            Op::Resize { .. } => {
                if self.live[id as usize] != Some(order) {
                    self.allocated += order.granules();
                }
                self.set(id, Some(order));
                What::Resize
            }
            // An allocation; the parser knows no other operation.
            _ => {
                self.allocated += order.granules();
                self.set(id, Some(order));
                What::Alloc
            }
        };
        let tag = match record.op.migrate_type() {
            Some(of) if self.has_types => of as u8,
            _ => (id % 3) as u8,
        };
        let turn = self.turn(id);
        let step = Step { id, turn, at, order, tag, what, before };
        let dealt = if self.by_thread { usize::from(record.thread) } else { record.cpu.into() };
        let guests = self.plan.queues.len();
        self.plan.queues[dealt % guests].push(step);
        self.plan.records += 1;
    }

    fn turn(&mut self, id: u32) -> u32 {
        let turn = &mut self.turns[id as usize];
        *turn += 1;
        *turn - 1
    }

    fn set(&mut self, id: u32, order: Option<Order>) {
        let granule = self.plan.granule;
        if let Some(was) = core::mem::replace(&mut self.live[id as usize], order) {
            self.granules -= was.granules();
            self.touched -= touched(id, was, granule);
        }
        let Some(now) = order else { return };
        self.granules += now.granules();
        self.touched += touched(id, now, granule);
        self.plan.peak = self.plan.peak.max(self.granules);
        self.plan.touched = self.plan.touched.max(self.touched);
        self.plan.largest = self.plan.largest.max(now);
    }

    fn finish(self, options: &Options) -> Plan {
        let mut plan = self.plan;
        let percent = options.headroom.unwrap_or(if self.has_splits { 100 } else { 25 });
        let headroom = u128::from(plan.peak) * u128::from(percent) / 100;
        let headroom = headroom.max(8 << plan.largest.get());
        plan.slack = plan.peak / 16;
        let hands = (options.guests as u64 + OTHER_HANDS) * Hand::HIDDEN_GRANULES;
        let roomy = (plan.peak / 8) >> plan.largest.get();
        plan.banks = options.failures.min(roomy.max(2));
        let failing = u128::from(plan.banks) << plan.largest.get();
        plan.arena = u128::from(plan.peak) + headroom + u128::from(hands) + failing;
        plan
    }
}

/// Bytes that a block's cookie or pattern touches.
fn touched(id: u32, order: Order, granule: u64) -> u64 {
    let bytes = granule.saturating_mul(order.granules());
    let all = bytes <= LARGEST_FILLED && is_filled(id, bytes);
    if all { bytes } else { bytes.min(2 * PAGE) }
}
