//! Counted rows: exact figures that no neighbour can disturb.
//!
//! # The facility they need
//!
//! A build in which the workspace's own shim counts, per thread: read-modify-
//! writes, heavy barriers, and the distinct lines written since the count was
//! begun. [`counter`] is the plug-in point: while it returns `None` every
//! counted row reads "not yet"; where it returns one, the rows are exact. The
//! count must be of the calling thread only, and [`Counter::begin`] must forget
//! what came before.

use crate::subject::{Hand, Shape, Subject, SubjectError};
use crate::workload::{Replaced, no_block};
use memdesc::Order;

/// What an operation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Atomic read-modify-writes, failed compare-exchanges among them.
    pub rmws: u64,
    /// The dear side of an asymmetric barrier.
    pub heavy_barriers: u64,
    /// Distinct cache lines written.
    pub lines_written: u64,
}

/// A count of what the calling thread does.
pub trait Counter {
    /// Forgets everything and begins.
    fn begin(&mut self);
    /// Returns the count since [`begin`](Self::begin).
    fn end(&mut self) -> Counts;
}

/// The counting of the atomics shim.
#[cfg(feature = "count")]
struct Shim;

#[cfg(feature = "count")]
impl Counter for Shim {
    fn begin(&mut self) {
        memdesc::sync::count::begin();
    }

    fn end(&mut self) -> Counts {
        let counts = memdesc::sync::count::end();
        Counts {
            rmws: counts.rmws,
            heavy_barriers: counts.heavy_barriers,
            lines_written: counts.lines_written,
        }
    }
}

/// Returns the counter of this build, if it counts.
pub fn counter() -> Option<Box<dyn Counter>> {
    #[cfg(feature = "count")]
    return Some(Box::new(Shim));
    #[cfg(not(feature = "count"))]
    None
}

/// A counted figure of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Of a hot pair of order 0 through a hand: read-modify-writes.
    HotPairRmws,
    /// Of the same: heavy barriers.
    HotPairHeavy,
    /// Of a hot pair of each order from 3 up, the most: read-modify-writes.
    HighPairRmws,
    /// Of two blocks of each order from 3 up, out and back, of which a hand keeps one at
    /// the most, the most: the same.
    HighTwosRmws,
    /// Of the same: lines written.
    HighTwosLines,
    /// Of an allocation of an order from 6 to 8 after one of it was freed in each of
    /// 16 words of a full resource, the most: read-modify-writes.
    FreedAllocRmws,
    /// Of replacing one of 4,096 blocks of an order from 0 to 5 at random, the most:
    /// read-modify-writes.
    ReplaceRmws,
    /// Of 4,096 frees of order 0 in cold words, per free: read-modify-writes.
    ColdFreeRmws,
    /// Of the same: lines written, per free.
    ColdFreeLines,
    /// Of taking 64 granules of order 0 from cold words: read-modify-writes.
    RefillRmws,
    /// Of taking 65,536 granules by 512, per granule: read-modify-writes.
    BatchAllocRmws,
    /// Of giving them back in address order, per granule: the same.
    BatchFreeRmws,
}

const PAIR_WARM_UP: usize = 200;
const COLD_FREES: u64 = 4096;
const BATCHED: usize = 1 << 16;

impl Counted {
    /// Counts the figure on a new resource.
    pub fn run<S: Subject>(self, counter: &mut dyn Counter) -> Result<f64, SubjectError> {
        match self {
            Self::HotPairRmws => hot_pair::<S>(counter).map(|counts| counts.rmws as f64),
            Self::HotPairHeavy => hot_pair::<S>(counter).map(|counts| counts.heavy_barriers as f64),
            Self::HighPairRmws => high::<S>(counter, 1).map(|counts| counts.rmws as f64),
            Self::HighTwosRmws => high::<S>(counter, 2).map(|counts| counts.rmws as f64),
            Self::HighTwosLines => high::<S>(counter, 2).map(|counts| counts.lines_written as f64),
            Self::FreedAllocRmws => freed_allocs::<S>(counter).map(|most| most as f64),
            Self::ReplaceRmws => replaced::<S>(counter),
            Self::ColdFreeRmws => {
                cold_frees::<S>(counter).map(|counts| counts.rmws as f64 / COLD_FREES as f64)
            }
            Self::ColdFreeLines => cold_frees::<S>(counter)
                .map(|counts| counts.lines_written as f64 / COLD_FREES as f64),
            Self::RefillRmws => refill::<S>(counter).map(|counts| counts.rmws as f64),
            Self::BatchAllocRmws => batches::<S>(counter).map(|(alloc, _)| per_granule(alloc)),
            Self::BatchFreeRmws => batches::<S>(counter).map(|(_, free)| per_granule(free)),
        }
    }
}

fn make<S: Subject>(granules: u64, granule_bytes: u64) -> Result<S, SubjectError> {
    S::new(Shape { granules, granule_bytes, hands: 1 })
}

/// Counts so many blocks out and back, after many times of it.
fn out_and_back<S: Subject>(
    hand: &mut S::Hand<'_>,
    counter: &mut dyn Counter,
    order: Order,
    (blocks, granules): (usize, u64),
) -> Result<Counts, SubjectError> {
    let mut turn = || {
        let mut bases = [0; 2];
        for base in &mut bases[..blocks] {
            *base = hand.alloc(order).ok_or_else(|| no_block(S::NAME, granules))?;
        }
        bases[..blocks].iter().for_each(|&base| hand.free(base, order));
        Ok(())
    };
    (0..PAIR_WARM_UP).try_for_each(|_| turn())?;
    counter.begin();
    turn()?;
    Ok(counter.end())
}

fn hot_pair<S: Subject>(counter: &mut dyn Counter) -> Result<Counts, SubjectError> {
    let granules = 1 << 21;
    let subject: S = make(granules, 4096)?;
    out_and_back::<S>(&mut subject.hand(), counter, Order::ZERO, (1, granules))
}

/// Counts so many blocks, one or two, of every order from 3 up of which a resource has
/// them.
fn high<S: Subject>(counter: &mut dyn Counter, blocks: usize) -> Result<Counts, SubjectError> {
    let granules = 1 << 63;
    let subject: S = make(granules, 1)?;
    let mut hand = subject.hand();
    let mut most = Counts::default();
    for order in Order::all().skip(3).take(62 - blocks) {
        let counts = out_and_back::<S>(&mut hand, counter, order, (blocks, granules))?;
        most.rmws = most.rmws.max(counts.rmws);
        most.lines_written = most.lines_written.max(counts.lines_written);
    }
    Ok(most)
}

/// Counts each allocation of orders 6 to 8 that takes what was freed in another word
/// of a resource that has nothing else.
fn freed_allocs<S: Subject>(counter: &mut dyn Counter) -> Result<u64, SubjectError> {
    const WORDS: usize = 16;
    let granules = 1 << 21;
    let mut most = 0;
    for order in Order::all().skip(6).take(3) {
        let subject: S = make(granules, 4096)?;
        let mut hand = subject.hand();
        let mut live: Vec<u64> = core::iter::from_fn(|| hand.alloc(order)).collect();
        live.sort_unstable();
        // One in each of words that lie far apart.
        let mut freed: Vec<usize> = (0..WORDS).map(|word| word * live.len() / WORDS).collect();
        freed.iter().for_each(|index| hand.free(live[*index], order));
        while let Some(index) = freed.pop() {
            counter.begin();
            let base = hand.alloc(order);
            most = most.max(counter.end().rmws);
            live[index] = base.ok_or_else(|| no_block(S::NAME, granules))?;
        }
        live.into_iter().for_each(|base| hand.free(base, order));
    }
    Ok(most)
}

/// Counts replacements at random, per replacement, of each order that a hand serves
/// out of what was freed through it.
fn replaced<S: Subject>(counter: &mut dyn Counter) -> Result<f64, SubjectError> {
    const LIVE: usize = 4096;
    const TIMES: u64 = 4096;
    let granules = 1 << 21;
    let missing = || no_block(S::NAME, granules);
    let mut most = 0;
    for order in Order::all().take(6) {
        let subject: S = make(granules, 4096)?;
        let mut hand = subject.hand();
        let mut replaced = Replaced::new(&mut hand, order, LIVE).ok_or_else(missing)?;
        replaced.run(&mut hand, 4 * TIMES).ok_or_else(missing)?;
        counter.begin();
        replaced.run(&mut hand, TIMES).ok_or_else(missing)?;
        most = most.max(counter.end().rmws);
        replaced.drain(&mut hand);
    }
    Ok(most as f64 / TIMES as f64)
}

/// Counts frees of one granule in each of many words that no hand holds and
/// that have free granules already. (The first free into a full word also sets
/// the word's bit in the summary: one RMW more.)
fn cold_frees<S: Subject>(counter: &mut dyn Counter) -> Result<Counts, SubjectError> {
    // Far enough apart that no two share a line of the forest.
    let stride = 1 << 9;
    let granules = COLD_FREES * stride;
    let subject: S = make(granules, 4096)?;
    let mut hand = subject.hand();
    for _ in 0..granules {
        hand.alloc(Order::ZERO).ok_or_else(|| no_block(S::NAME, granules))?;
    }
    (0..COLD_FREES).for_each(|index| hand.free(index * stride, Order::ZERO));
    // What the hand has pending goes to a word that is partly free too.
    hand.free(stride + 3, Order::ZERO);
    counter.begin();
    (0..COLD_FREES).for_each(|index| hand.free(index * stride + 7, Order::ZERO));
    let counts = counter.end();
    for base in
        (0..granules).filter(|base| ![0, 7].contains(&(base % stride)) && *base != stride + 3)
    {
        hand.free(base, Order::ZERO);
    }
    Ok(counts)
}

fn per_granule(counts: Counts) -> f64 {
    counts.rmws as f64 / BATCHED as f64
}

/// All of them out of a resource that nobody has used, then all back.
fn batches<S: Subject>(counter: &mut dyn Counter) -> Result<(Counts, Counts), SubjectError> {
    let granules = 1 << 21;
    let subject: S = make(granules, 4096)?;
    let mut hand = subject.hand();
    let mut out = vec![0; BATCHED];
    counter.begin();
    let taken = out.chunks_mut(512).try_for_each(|batch| hand.alloc_many(Order::ZERO, batch));
    let alloc = counter.end();
    taken.ok_or_else(|| no_block(S::NAME, granules))?;
    out.sort_unstable();
    counter.begin();
    out.chunks(512).for_each(|batch| hand.free_many(batch, Order::ZERO));
    Ok((alloc, counter.end()))
}

/// Counts 64 allocations that begin where the hand has nothing.
fn refill<S: Subject>(counter: &mut dyn Counter) -> Result<Counts, SubjectError> {
    let granules = 1 << 21;
    let subject: S = make(granules, 4096)?;
    let mut hand = subject.hand();
    let mut out = Vec::with_capacity(64 * 64);
    let mut fewest = Counts { rmws: u64::MAX, ..Counts::default() };
    // The first rounds break large blocks; a refill proper finds them broken.
    for _ in 0..64 {
        counter.begin();
        for _ in 0..64 {
            out.push(hand.alloc(Order::ZERO).ok_or_else(|| no_block(S::NAME, granules))?);
        }
        let counts = counter.end();
        if counts.rmws < fewest.rmws {
            fewest = counts;
        }
    }
    out.into_iter().for_each(|base| hand.free(base, Order::ZERO));
    Ok(fewest)
}
