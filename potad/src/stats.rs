//! What a zone looks like: counts, free runs, fragmentation.

use crate::Zone;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use memdesc::{Block, Granule, Granules, Order};

/// A snapshot of a zone, taken while every hand was closed, so exact for that
/// moment.
///
/// Its `Display` is the line of `/proc/buddyinfo`: name, then the number of
/// free blocks per order.
///
/// ```
/// use potad::{Potad, Resource, memdesc::Order};
///
/// let potad = Potad::new();
/// let ram = potad.register(Resource::new("dram0").granule(4096).span(0..1 << 20))?;
/// let page = ram.alloc_bare(Order::ZERO)?;
/// let stats = ram.stats();
/// assert_eq!((stats.granules, stats.free, stats.largest_run), (256, 255, 255));
/// ram.free_bare(page)?;
/// assert_eq!(ram.stats().free, 256);
/// assert!(ram.stats().to_string().starts_with("dram0"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The zone's name.
    pub name: String,
    /// Granules of all spans.
    pub granules: u64,
    /// Free granules, those that hands held included.
    pub free: u64,
    /// Of those, the ones that hands held when they were closed; they have
    /// given them back.
    pub hidden: u64,
    /// Granules that a reporter holds.
    pub isolated: u64,
    /// Free granules that removals under way have claimed.
    pub removing: u64,
    /// Granules that failed and are out of circulation.
    pub quarantined: u64,
    /// Granules that failed and are still somebody's.
    pub pending: u64,
    /// Sound granules that are out of circulation beside failed ones, because
    /// memory for tables was out when their block was to be broken: until it is
    /// back.
    pub kept_whole: u64,
    /// Free granules whose memory the host has taken back.
    pub reported: u64,
    /// Free blocks per order, as the forest has them.
    pub blocks: [u64; 64],
    /// Runs of adjacent free granules.
    pub free_runs: u64,
    /// The longest of them, in granules.
    pub largest_run: u64,
    /// Hands registered, the shared ones included.
    pub hands: u64,
    /// Bytes of the forest's own tables, and of those of removals under way. What
    /// the system has back (tables of spans that were removed) does not count.
    pub forest_bytes: u64,
    /// Bytes of tables put by, so that memory failure and frees ask for none.
    pub reserve_bytes: u64,
    /// Bytes of the lookup tree.
    pub lookup_bytes: u64,
}

impl Stats {
    /// How much of the free space is of no use for a request of `order`:
    /// 0.0 (all of it is in blocks at least so large) to 1.0 (none).
    pub fn unusable(&self, order: Order) -> f64 {
        if self.free == 0 {
            return 0.0;
        }
        let usable: u128 =
            (order.get()..=63).map(|k| u128::from(self.blocks[k as usize]) << k).sum();
        1.0 - (usable as f64 / self.free as f64).min(1.0)
    }

    /// One minus the share of the longest free run in the free space: 0.0 for
    /// one run, near 1.0 for dust.
    pub fn fragmentation(&self) -> f64 {
        if self.free == 0 {
            return 0.0;
        }
        1.0 - (self.largest_run as f64 / self.free as f64).min(1.0)
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<12}", self.name)?;
        let largest = self.blocks.iter().rposition(|&count| count != 0).unwrap_or(0);
        self.blocks[..=largest.max(10)].iter().try_for_each(|count| write!(f, " {count:>6}"))
    }
}

impl Zone {
    /// A snapshot. Walks every free word while every hand is closed: a call for
    /// people, not for hot paths.
    pub fn stats(&self) -> Stats {
        let state = self.state();
        let mut blocks = [0; 64];
        let (mut free_runs, mut largest_run, mut free) = (0, 0, 0);
        let closed = state.gate.close();
        let hidden: u64 = closed.slots().map(|slot| slot.hidden_granules()).sum();
        let hands = closed.slots().count() as u64;
        // What hands hold may be adjacent to what the forest has.
        closed.slots().for_each(|slot| slot.flush(&state.stock));
        let mut run: u64 = 0;
        let mut next = None;
        for block in state.stock.forest.free_blocks(Granule(0), 0) {
            blocks[block.order().get() as usize] += 1;
            free += block.order().granules();
            if next != Some(block.base()) {
                free_runs += 1;
                run = 0;
            }
            run += block.order().granules();
            largest_run = largest_run.max(run);
            next = Some(Granule(block.last().0 + 1));
        }
        drop(closed);
        let failed = state.stock.poison.counts();
        let removals = state.closing.removals();
        Stats {
            name: state.name.clone(),
            granules: self.granules(),
            free,
            hidden,
            isolated: state.stock.reported.get().map_or(0, |known| known.isolated()),
            removing: removals.iter().map(|removing| removing.claimed_granules()).sum(),
            quarantined: failed.quarantined,
            pending: failed.pending,
            kept_whole: failed.beside - failed.inside,
            reported: self.reported_granules(),
            blocks,
            free_runs,
            largest_run,
            hands,
            forest_bytes: (state.stock.bytes(state.spans.lock().holes())
                + removals.iter().map(|removing| removing.bytes()).sum::<usize>())
                as u64,
            reserve_bytes: state.stock.reserve.lock().bytes() as u64,
            lookup_bytes: state.tree.bytes() as u64,
        }
    }

    /// The free blocks as the forest has them at the moment, in address order;
    /// what hands hold is given back first. For maps and migration.
    pub fn free_blocks(&self) -> Vec<Block> {
        let state = self.state();
        let _closed = state.close_and_flush();
        state.stock.forest.free_blocks(Granule(0), 0).collect()
    }

    /// The granules that have failed, in address order, and whether each is out
    /// of circulation.
    pub fn poisoned(&self) -> Vec<(Granule, bool)> {
        let poisoned = self.state().stock.poison.granules();
        let flat = |(at, state)| (at, state != crate::poison::Poisoned::Pending);
        poisoned.into_iter().map(flat).collect()
    }

    /// The runs that are live, in address order.
    pub fn runs(&self) -> Vec<Granules> {
        let runs = self.state().runs.lock();
        runs.from(0).filter_map(|(first, last)| Granules::new(Granule(first), last).ok()).collect()
    }
}
