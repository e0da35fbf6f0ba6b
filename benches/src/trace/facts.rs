//! What a block trace holds, counted while it is checked.

use super::{Op, Record};
use memdesc::Order;

/// Events of one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuEvents {
    /// Allocations after the prelude.
    pub allocs: u64,
    /// Frees.
    pub frees: u64,
    /// Frees of a block that another processor allocated.
    pub foreign_frees: u64,
}

/// Counts over a whole trace; sizes are in units of order 0, powers of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Records, the prelude among them.
    pub records: u64,
    /// Allocations after the prelude.
    pub allocs: u64,
    /// Frees.
    pub frees: u64,
    /// Splits of a live block.
    pub splits: u64,
    /// Resizes, moving or not.
    pub resizes: u64,
    /// Resizes that change the order.
    pub moving_resizes: u64,
    /// Most blocks live at once.
    pub peak_blocks: u64,
    /// Most units live at once.
    pub peak_units: u64,
    /// Blocks live at the end.
    pub end_blocks: u64,
    /// Units live at the end.
    pub end_units: u64,
    /// Of each order, the blocks live at the end.
    pub end_orders: [u64; 64],
    /// Of each order, the allocations (prelude included).
    pub orders: [u64; 64],
    /// Events by processor.
    pub cpus: [CpuEvents; 16],
}

impl Facts {
    /// The largest order that was allocated.
    pub fn largest_order(&self) -> Order {
        let used = self.orders.iter().rposition(|count| *count != 0);
        // Lossless: a position in an array of 64.
        used.and_then(|order| Order::new(order as u32).ok()).unwrap_or(Order::ZERO)
    }

    /// The fewest regions of `1 << region` units that can hold what is live at
    /// the end: blocks are powers of two, so small ones pack without a gap.
    pub fn least_regions_at_end(&self, region: u32) -> u64 {
        let mut whole = 0_u64;
        let mut rest = 0_u128;
        for (order, count) in (0_u32..).zip(self.end_orders) {
            if order >= region {
                whole += count << (order - region);
            } else {
                rest += u128::from(count) << order;
            }
        }
        // Lossless: at most the peak of 2^62 units.
        whole + rest.div_ceil(1 << region) as u64
    }
}

/// Facts in the making.
pub(super) struct FactsBuilder {
    facts: Facts,
    live_blocks: u64,
    live_units: u128,
}

impl Default for FactsBuilder {
    fn default() -> Self {
        let facts = Facts {
            records: 0,
            allocs: 0,
            frees: 0,
            splits: 0,
            resizes: 0,
            moving_resizes: 0,
            peak_blocks: 0,
            peak_units: 0,
            end_blocks: 0,
            end_units: 0,
            end_orders: [0; 64],
            orders: [0; 64],
            cpus: [CpuEvents::default(); 16],
        };
        Self { facts, live_blocks: 0, live_units: 0 }
    }
}

impl FactsBuilder {
    /// Units live after the last step; u128 because the caller has not refused
    /// too many yet.
    pub(super) fn live_units(&self) -> u128 {
        self.live_units
    }

    /// Counts a record that was found valid; `was` is the block it met.
    pub(super) fn step(&mut self, record: &Record, was: Option<(Order, u8)>, prelude: bool) {
        let facts = &mut self.facts;
        let cpu = &mut facts.cpus[usize::from(record.cpu & 15)];
        facts.records += 1;
        match record.op {
            Op::Alloc { .. } => {
                facts.orders[record.order.get() as usize] += 1;
                self.live_blocks += 1;
                self.live_units += u128::from(record.order.granules());
                if !prelude {
                    facts.allocs += 1;
                    cpu.allocs += 1;
                }
            }
            Op::Free => {
                facts.frees += 1;
                cpu.frees += 1;
                cpu.foreign_frees += u64::from(was.is_some_and(|(_, home)| home != record.cpu));
                self.live_blocks -= 1;
                self.live_units -= u128::from(record.order.granules());
            }
            Op::Split { .. } => {
                facts.splits += 1;
                self.live_blocks += 1;
            }
            Op::Resize { .. } => {
                let old = was.map_or(record.order, |(order, _)| order);
                facts.resizes += 1;
                facts.moving_resizes += u64::from(old != record.order);
                self.live_units += u128::from(record.order.granules());
                self.live_units -= u128::from(old.granules());
            }
        }
        // Lossless wherever it is kept: the caller refuses more than 2^62.
        let units = self.live_units as u64;
        facts.peak_units = facts.peak_units.max(units);
        facts.peak_blocks = facts.peak_blocks.max(self.live_blocks);
    }

    /// Adds what is live at the end.
    pub(super) fn finish(self, live: &[Option<(Order, u8)>]) -> Facts {
        let mut facts = self.facts;
        for (order, _) in live.iter().flatten() {
            facts.end_orders[order.get() as usize] += 1;
        }
        facts.end_blocks = self.live_blocks;
        // Lossless: as in `step`.
        facts.end_units = self.live_units as u64;
        facts
    }
}
