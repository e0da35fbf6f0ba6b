//! Runs of set bits inside one word.
//!
//! Plain arithmetic; nothing here is shared.

use memdesc::{Block, Granule, ORDERS_PER_LEVEL, Order};

/// The block that the places of one aligned run of one word make.
#[inline]
pub(crate) fn block_of(level: u32, word: u64, mask: u64, run: u32) -> Block {
    let first = word << ORDERS_PER_LEVEL | u64::from(mask.trailing_zeros());
    let order = ORDERS_PER_LEVEL * level + run.trailing_zeros();
    // Below 64 by construction: a level's words hold only orders of it.
    let order = Order::new(order).unwrap_or(Order::MAX);
    Block::containing(Granule(first << (ORDERS_PER_LEVEL * level)), order)
}

/// The lowest aligned run of `run` set bits.
#[inline(always)]
pub(crate) fn lowest_run(bits: u64, run: u32) -> Option<u64> {
    let starts = run_starts(bits, run);
    let first = starts & starts.wrapping_neg();
    // `run` ones from the lowest on: no overflow, the run is aligned.
    (starts != 0)
        .then(|| first.wrapping_shl(run - 1).wrapping_sub(first) | first.wrapping_shl(run - 1))
}

/// The lowest `count` aligned runs of `run` set bits, or all if there are fewer.
#[inline]
pub(crate) fn lowest_runs(bits: u64, run: u32, count: u32) -> u64 {
    let mut starts = run_starts(bits, run);
    if starts.count_ones() > count {
        let mut beyond = starts;
        for _ in 0..count {
            beyond &= beyond - 1;
        }
        starts &= !beyond;
    }
    // A run of ones from each start on: they are aligned, so none overlap.
    starts.wrapping_mul((1 << run) - 1)
}

/// The aligned run of `run` set bits in the smallest wholly free group of the
/// word, lowest first among equals: larger groups stay whole.
#[inline]
pub(crate) fn snuggest_run(bits: u64, run: u32) -> Option<u64> {
    let mut order = run.trailing_zeros() as usize;
    let mut starts = run_starts(bits, run);
    if starts == 0 {
        return None;
    }
    // `starts` are of free groups of `1 << order`; `pairs` of those twice as
    // large. A group that is no half of a pair is what we want.
    while let Some(&aligned) = ALIGNED.get(order + 1) {
        let pairs = starts & (starts >> (1 << order)) & aligned;
        let single = starts & !(pairs | pairs << (1 << order));
        if single != 0 {
            starts = single;
            break;
        }
        (starts, order) = (pairs, order + 1);
    }
    Some((u64::MAX >> (64 - run)) << starts.trailing_zeros())
}

/// The first places of the aligned runs of `run` set bits.
#[inline(always)]
pub(crate) fn run_starts(bits: u64, run: u32) -> u64 {
    // After the folds, bit `i` says that `run` bits from `i` on are set.
    // (Written out: a loop's variable shifts cost more than the jump.)
    let two = bits & (bits >> 1);
    let four = two & (two >> 2);
    let eight = four & (four >> 4);
    let sixteen = eight & (eight >> 8);
    match run {
        1 => bits,
        2 => two & ALIGNED[1],
        4 => four & ALIGNED[2],
        8 => eight & ALIGNED[3],
        16 => sixteen & ALIGNED[4],
        _ => sixteen & (sixteen >> 16) & ALIGNED[5],
    }
}

/// Bits at multiples of 1, 2, 4, .. 32.
pub(crate) const ALIGNED: [u64; ORDERS_PER_LEVEL as usize] = [
    u64::MAX,
    0x5555_5555_5555_5555,
    0x1111_1111_1111_1111,
    0x0101_0101_0101_0101,
    0x0001_0001_0001_0001,
    0x0000_0001_0000_0001,
];
