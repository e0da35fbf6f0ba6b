//! Groups: measurements that yield the figures of one or more rows at once.

use crate::subject::{Hand, Shape, Subject, SubjectError};
use crate::workload::{
    Call, Churn, Filled, Replaced, batches, bulk, no_block, pairs, per_op, plain_pairs, refills,
    together,
};
use memdesc::Order;
use std::time::{Duration, Instant};

/// 8 GiB of 4 KiB.
const ARENA: u64 = 1 << 21;
/// 64 MiB of 4 KiB, for subjects whose search is linear.
const SMALL_ARENA: u64 = 1 << 14;
/// 1 TiB of 4 KiB.
const TEBIBYTE: u64 = 1 << 28;
const GRANULE: u64 = 4096;
const PAIRS: u64 = 400_000;
/// A pair that takes longer is timed a few times only.
const SLOW_PAIR: Duration = Duration::from_micros(20);
const CHURN: u64 = 400_000;
/// Live blocks, one of which is replaced.
const LIVE: usize = 4096;
const SCATTERED: u64 = 1 << 22;

/// A measurement. The doc of each names its figures, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// ns of a hot pair of this order.
    Pair(u32),
    /// ns of a pair, 32 out and 32 back.
    Batch,
    /// ns of an allocation, a free in order, a free shuffled, half of 8 GiB.
    Bulk,
    /// The same, by batches of 512.
    BulkBatches,
    /// ns of an operation at 75 % of 8 GiB.
    Churn,
    /// ns of replacing one of 4,096 blocks of this order.
    Replace(u32),
    /// Ratio of cold refills, 2^40 granules against 2^20.
    Refill,
    /// Ratio of ratios: a pair to a plain pair, two threads against one.
    TwoPairs,
    /// ns of an operation, two threads, each at 37.5 % of 8 GiB.
    TwoChurn,
    /// 1 TiB: ns of filling, of a scattered free, of a re-allocation; MiB of
    /// metadata when every large block is broken.
    Tebibyte,
    /// us to register 2^this granules.
    Register(u32),
    /// MiB of metadata of 1 TiB that was only ever given out in 2 MiB.
    HugeOnly,
}

impl Group {
    /// Peers take part: their structures allow it in a sensible time.
    pub const fn has_peers(self) -> bool {
        !matches!(self, Self::Tebibyte | Self::Register(_) | Self::HugeOnly | Self::Refill)
    }

    /// What the machine alone needs can be told: one order, one thread.
    pub const fn has_floor(self) -> bool {
        matches!(self, Self::Pair(_) | Self::Batch | Self::Bulk | Self::BulkBatches)
    }

    /// Measures once, on a new resource; a figure is `NAN` where the subject
    /// cannot tell.
    pub fn run<S: Subject>(self) -> Result<Vec<f64>, SubjectError> {
        match self {
            Self::Pair(order) => pair::<S>(order),
            Self::Batch => batch::<S>(),
            Self::Bulk => all_bulk::<S>(Call::One),
            Self::BulkBatches => all_bulk::<S>(Call::Batch),
            Self::Churn => churn::<S>(),
            Self::Replace(order) => replace::<S>(order),
            Self::Refill => refill::<S>(),
            Self::TwoPairs => two_pairs::<S>(),
            Self::TwoChurn => two_churn::<S>(),
            Self::Tebibyte => tebibyte::<S>(),
            Self::Register(log) => register::<S>(log),
            Self::HugeOnly => huge_only::<S>(),
        }
    }
}

fn arena<S: Subject>() -> u64 {
    if S::LINEAR { SMALL_ARENA } else { ARENA }
}

fn ops<S: Subject>(ops: u64) -> u64 {
    if S::LINEAR { ops / 16 } else { ops }
}

fn make<S: Subject>(granules: u64, hands: usize) -> Result<S, SubjectError> {
    S::new(Shape { granules, granule_bytes: GRANULE, hands })
}

fn order(order: u32) -> Order {
    Order::new(order).unwrap_or(Order::MAX)
}

fn mib(bytes: Option<u64>) -> f64 {
    bytes.map_or(f64::NAN, |bytes| bytes as f64 / f64::from(1 << 20))
}

fn pair<S: Subject>(log: u32) -> Result<Vec<f64>, SubjectError> {
    let granules = arena::<S>().max(2 << log);
    let subject = make::<S>(granules, 1)?;
    let mut hand = subject.hand();
    let pair = warm_pairs(&mut hand, order(log));
    let (time, count) = pair.ok_or_else(|| no_block(S::NAME, granules))?;
    Ok(vec![per_op(time, count)])
}

/// Times pairs after a warm-up; fewer, where one takes microseconds.
fn warm_pairs(hand: &mut impl Hand, order: Order) -> Option<(Duration, u64)> {
    let few = 50;
    let slow = pairs(hand, order, few)? > SLOW_PAIR * few as u32;
    let count = if slow { few } else { PAIRS };
    pairs(hand, order, count / 16)?;
    Some((pairs(hand, order, count)?, count))
}

fn batch<S: Subject>() -> Result<Vec<f64>, SubjectError> {
    let (granules, count) = (arena::<S>(), ops::<S>(PAIRS) / 32);
    let subject = make::<S>(granules, 1)?;
    let mut hand = subject.hand();
    let mut run = |count| batches(&mut hand, Order::ZERO, count);
    let time = run(count / 16).and_then(|_| run(count));
    let time = time.ok_or_else(|| no_block(S::NAME, granules))?;
    Ok(vec![per_op(time, count * 32)])
}

fn all_bulk<S: Subject>(call: Call) -> Result<Vec<f64>, SubjectError> {
    let granules = arena::<S>();
    let (subject, count) = (make::<S>(granules, 1)?, granules / 2);
    let times = bulk(&mut subject.hand(), count, call);
    let times = times.ok_or_else(|| no_block(S::NAME, granules))?;
    let phases = [times.alloc, times.free_in_order, times.free_shuffled];
    Ok(phases.map(|time| per_op(time, count)).to_vec())
}

fn churn<S: Subject>() -> Result<Vec<f64>, SubjectError> {
    let (granules, count) = (arena::<S>(), ops::<S>(CHURN));
    let subject = make::<S>(granules, 1)?;
    let mut hand = subject.hand();
    let mut churn = Churn::new(&mut hand, granules / 4 * 3, 7);
    churn.run(&mut hand, count / 2);
    let time = churn.run(&mut hand, count);
    churn.drain(&mut hand);
    Ok(vec![per_op(time, count)])
}

fn replace<S: Subject>(log: u32) -> Result<Vec<f64>, SubjectError> {
    // (Of a small arena a part, so that order 4 has room.)
    let (granules, live) = if S::LINEAR { (SMALL_ARENA, LIVE / 8) } else { (ARENA, LIVE) };
    let subject = make::<S>(granules, 1)?;
    let mut hand = subject.hand();
    let mut timed = || {
        let (count, hand) = (ops::<S>(CHURN), &mut hand);
        let mut replaced = Replaced::new(hand, order(log), live)?;
        replaced.run(hand, count / 2)?;
        let time = replaced.run(hand, count)?;
        replaced.drain(hand);
        Some(per_op(time, count))
    };
    Ok(vec![timed().ok_or_else(|| no_block(S::NAME, granules))?])
}

fn refill<S: Subject>() -> Result<Vec<f64>, SubjectError> {
    let count = 1024;
    let mut times = [0.0; 2];
    for (time, granules) in times.iter_mut().zip([1 << 40, 1 << 20]) {
        let subject = make::<S>(granules, 1)?;
        let took = refills(&mut subject.hand(), count);
        *time = per_op(took.ok_or_else(|| no_block(S::NAME, granules))?, count);
    }
    Ok(vec![times[0] / times[1]])
}

fn two_pairs<S: Subject>() -> Result<Vec<f64>, SubjectError> {
    let granules = arena::<S>();
    let mut ratios = [0.0; 2];
    for (threads, ratio) in (1..).zip(&mut ratios) {
        let subject = make::<S>(granules, threads)?;
        let times = together(threads, |_, meet| {
            let mut hand = subject.hand();
            let warm = pairs(&mut hand, Order::ZERO, PAIRS / 16);
            meet();
            warm.and_then(|_| pairs(&mut hand, Order::ZERO, PAIRS))
        });
        let plain = together(threads, |_, meet| {
            plain_pairs(PAIRS / 16);
            meet();
            plain_pairs(PAIRS)
        });
        let ours: Option<f64> = times.into_iter().map(|time| Some(per_op(time?, PAIRS))).sum();
        let floor: f64 = plain.into_iter().map(|time| per_op(time, PAIRS)).sum();
        *ratio = ours.ok_or_else(|| no_block(S::NAME, granules))? / floor;
    }
    Ok(vec![ratios[1] / ratios[0]])
}

fn two_churn<S: Subject>() -> Result<Vec<f64>, SubjectError> {
    let (granules, count) = (arena::<S>(), ops::<S>(CHURN));
    let subject = make::<S>(granules, 2)?;
    let times = together(2, |number, meet| {
        let mut hand = subject.hand();
        let mut churn = Churn::new(&mut hand, granules / 8 * 3, number as u64 + 7);
        churn.run(&mut hand, count / 4);
        meet();
        let time = churn.run(&mut hand, count);
        churn.drain(&mut hand);
        per_op(time, count)
    });
    Ok(vec![times.iter().sum::<f64>() / times.len() as f64])
}

fn tebibyte<S: Subject>() -> Result<Vec<f64>, SubjectError> {
    let missing = || no_block(S::NAME, TEBIBYTE);
    let subject = make::<S>(TEBIBYTE, 1)?;
    let mut hand = subject.hand();
    let mut filled = Filled::new(&mut hand, TEBIBYTE).ok_or_else(missing)?;
    let free = filled.free_scattered(&mut hand, SCATTERED);
    let again = filled.realloc(&mut hand).ok_or_else(missing)?;
    let metadata = mib(subject.metadata_bytes());
    let fill = per_op(filled.fill, TEBIBYTE);
    filled.drain(&mut hand);
    Ok(vec![fill, per_op(free, SCATTERED), per_op(again, SCATTERED), metadata])
}

fn register<S: Subject>(log: u32) -> Result<Vec<f64>, SubjectError> {
    let begun = Instant::now();
    let subject = make::<S>(1 << log, 1)?;
    let took = begun.elapsed();
    drop(subject);
    Ok(vec![took.as_nanos() as f64 / 1000.0])
}

fn huge_only<S: Subject>() -> Result<Vec<f64>, SubjectError> {
    let subject = make::<S>(TEBIBYTE, 1)?;
    let mut hand = subject.hand();
    let huge = order(9);
    let mut out = Vec::with_capacity((TEBIBYTE >> 9) as usize);
    for _ in 0..TEBIBYTE >> 9 {
        out.push(hand.alloc(huge).ok_or_else(|| no_block(S::NAME, TEBIBYTE))?);
    }
    let metadata = mib(subject.metadata_bytes());
    out.into_iter().for_each(|base| hand.free(base, huge));
    Ok(vec![metadata])
}
