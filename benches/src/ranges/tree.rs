//! The other floor: a search tree that never changes.

use super::Workload;
use super::mapped::{Ask, Mapped};

/// Keys of a node: one line.
const KEYS: usize = 8;

/// Levels of sorted first pages, each key the first of a node below; at the
/// bottom the ranges themselves. In huge pages, where they are to be had.
#[derive(Debug)]
pub struct StaticTree {
    /// Keys of all levels, the root's last; the rest of a node is `u64::MAX`.
    keys: Mapped,
    /// Where each level begins, in nodes; the bottom first.
    levels: Vec<usize>,
    /// Last page and number of each range.
    ranges: Mapped,
}

impl StaticTree {
    /// Builds the tree of a workload.
    pub fn new(workload: &Workload) -> std::io::Result<Self> {
        let mut order: Vec<usize> = (0..workload.ranges.len()).collect();
        order.sort_unstable_by_key(|&at| workload.ranges[at].first());
        let nodes = order.len().div_ceil(KEYS);
        // Upper levels take a seventh of the bottom at most.
        let mut keys = Mapped::new((nodes + nodes / 4 + 64) * KEYS, Ask::Huge)?;
        let mut ranges = Mapped::new(order.len() * 2, Ask::Huge)?;
        keys.fill(u64::MAX);
        for (at, &range) in order.iter().enumerate() {
            keys[at] = workload.ranges[range].first();
            (ranges[2 * at], ranges[2 * at + 1]) =
                (workload.ranges[range].last(), range as u64 + 1);
        }
        let (mut levels, mut count) = (vec![0], nodes);
        while count > 1 {
            let below = levels[levels.len() - 1];
            let above = below + count;
            for node in 0..count {
                keys[above * KEYS + node] = keys[(below + node) * KEYS];
            }
            levels.push(above);
            count = count.div_ceil(KEYS);
        }
        Ok(Self { keys, levels, ranges })
    }

    /// The number of the range of a page, and one; 0 for none.
    ///
    /// To be called where wide comparisons are allowed: see [`widest`].
    #[inline(always)]
    pub fn find(&self, page: u64) -> u64 {
        let mut at = 0;
        for &level in self.levels.iter().rev() {
            let first = (level + at) * KEYS;
            let keys: &[u64; KEYS] = self.keys[first..first + KEYS].try_into().expect("a node");
            // Branchless, which is what turns it into one wide comparison.
            let upto: usize = keys.iter().map(|&key| usize::from(key <= page)).sum();
            if upto == 0 {
                return 0;
            }
            at = at * KEYS + upto - 1;
        }
        let (last, number) = (self.ranges[2 * at], self.ranges[2 * at + 1]);
        if page <= last { number } else { 0 }
    }

    /// Bytes of keys and ranges.
    pub fn bytes(&self) -> usize {
        let nodes = self.levels.last().map_or(0, |&top| top + 1);
        nodes * KEYS * size_of::<u64>() + self.ranges.len() * size_of::<u64>()
    }
}

/// Runs a loop over [`StaticTree::find`] with the widest comparisons that the
/// processor has.
#[inline]
pub fn widest<R>(run: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512vl")
        {
            // SAFETY: the processor has them.
            return unsafe { with_avx512(run) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has it.
            return unsafe { with_avx2(run) };
        }
    }
    run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,popcnt,bmi1,bmi2")]
fn with_avx512<R>(run: impl FnOnce() -> R) -> R {
    run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt,bmi1,bmi2")]
fn with_avx2<R>(run: impl FnOnce() -> R) -> R {
    run()
}
