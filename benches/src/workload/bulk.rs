//! Many blocks out, then many back; and resources too large for a table.

use super::Random;
use crate::subject::Hand;
use memdesc::Order;
use std::time::{Duration, Instant};

/// Times of the three phases, of `ops` operations each.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// All out.
    pub alloc: Duration,
    /// All back, in the order in which they came.
    pub free_in_order: Duration,
    /// All back, shuffled.
    pub free_shuffled: Duration,
}

/// How many blocks a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A call for each.
    One,
    /// 512 a call.
    Batch,
}

/// Blocks per call of [`Call::Batch`].
const BATCH: usize = 512;

/// Takes `ops` granules and gives them back, once to warm up, once in order,
/// once shuffled; `None` if a block was missing.
pub fn bulk(hand: &mut impl Hand, ops: u64, call: Call) -> Option<Bulk> {
    let mut out = vec![0; ops as usize];
    take_all(hand, &mut out, call)?;
    give_all(hand, &out, call);
    let alloc = take_all(hand, &mut out, call)?;
    let free_in_order = give_all(hand, &out, call);
    take_all(hand, &mut out, call)?;
    Random::new(1).shuffle(&mut out);
    let free_shuffled = give_all(hand, &out, call);
    Some(Bulk { alloc, free_in_order, free_shuffled })
}

fn take_all(hand: &mut impl Hand, out: &mut [u64], call: Call) -> Option<Duration> {
    match call {
        Call::One => take(hand, out),
        Call::Batch => take_batches(hand, out),
    }
}

fn give_all(hand: &mut impl Hand, out: &[u64], call: Call) -> Duration {
    match call {
        Call::One => give(hand, out),
        Call::Batch => give_batches(hand, out),
    }
}

#[inline(never)]
fn take(hand: &mut impl Hand, out: &mut [u64]) -> Option<Duration> {
    let begun = Instant::now();
    for base in out {
        *base = hand.alloc(Order::ZERO)?;
    }
    Some(begun.elapsed())
}

#[inline(never)]
fn give(hand: &mut impl Hand, out: &[u64]) -> Duration {
    let begun = Instant::now();
    for base in out {
        hand.free(*base, Order::ZERO);
    }
    begun.elapsed()
}

#[inline(never)]
fn take_batches(hand: &mut impl Hand, out: &mut [u64]) -> Option<Duration> {
    let begun = Instant::now();
    out.chunks_mut(BATCH).try_for_each(|batch| hand.alloc_many(Order::ZERO, batch))?;
    Some(begun.elapsed())
}

#[inline(never)]
fn give_batches(hand: &mut impl Hand, out: &[u64]) -> Duration {
    let begun = Instant::now();
    out.chunks(BATCH).for_each(|batch| hand.free_many(batch, Order::ZERO));
    begun.elapsed()
}

/// Takes 64 granules `count` times from a resource that nobody has used, then
/// gives all back, which is not timed.
pub fn refills(hand: &mut impl Hand, count: u64) -> Option<Duration> {
    let mut out = vec![0; count as usize * 64];
    let time = take(hand, &mut out);
    give(hand, &out);
    time
}

/// A resource whose granules are all out, each as a block of order 0, so that
/// no table is needed to know what may be freed.
#[derive(Debug)]
pub struct Filled {
    granules: u64,
    /// What filling it took.
    pub fill: Duration,
    freed: Vec<u64>,
}

impl Filled {
    /// Takes every granule of a resource of a power of two of them.
    pub fn new(hand: &mut impl Hand, granules: u64) -> Option<Self> {
        debug_assert!(granules.is_power_of_two());
        let begun = Instant::now();
        for _ in 0..granules {
            hand.alloc(Order::ZERO)?;
        }
        Some(Self { granules, fill: begun.elapsed(), freed: Vec::new() })
    }

    /// Frees `count` granules all over the resource, each once.
    pub fn free_scattered(&mut self, hand: &mut impl Hand, count: u64) -> Duration {
        // An odd factor permutes the residues of a power of two.
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mask = self.granules - 1;
        self.freed.clear();
        self.freed.extend((0..count).map(|index| index.wrapping_mul(ODD) & mask));
        give(hand, &self.freed)
    }

    /// Takes as many granules as were freed.
    pub fn realloc(&mut self, hand: &mut impl Hand) -> Option<Duration> {
        take(hand, &mut self.freed)
    }

    /// Gives every granule back.
    pub fn drain(self, hand: &mut impl Hand) {
        (0..self.granules).for_each(|base| hand.free(base, Order::ZERO));
    }
}
