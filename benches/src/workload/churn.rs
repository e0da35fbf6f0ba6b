//! A resource in the middle of its life: 75 % full, mixed orders, every free
//! somewhere else.
//!
//! 90 % of the requests are order 0, 5 % orders 1 to 3, 4 % orders 4 to 8, 1 %
//! order 9. One step frees a random live block and allocates a random order:
//! two operations. The number of blocks stays, so the fill wanders about its
//! target by one or two per cent and comes back. A request that finds no block
//! is counted, and its block is missing from then on.
//!
//! The loop is lean on purpose, since it is in the figure: one random number,
//! one line of the table and no branch of its own per step.

use super::Random;
use crate::subject::Hand;
use memdesc::Order;
use std::time::{Duration, Instant};

/// Drawn from by ten random bits.
const DRAWS: usize = 1024;

/// The live blocks of one thread's churn.
#[derive(Debug)]
pub struct Churn {
    random: Random,
    /// Base and order of each block in four bytes, so that the table stays in
    /// the second-level cache.
    live: Vec<u32>,
    orders: [Order; DRAWS],
    failed: u64,
}

impl Churn {
    /// Fills up to `target` granules of a resource of at most 2^26.
    pub fn new(hand: &mut impl Hand, target: u64, seed: u64) -> Self {
        let orders = core::array::from_fn(mix);
        let mut churn = Self { random: Random::new(seed), live: Vec::new(), orders, failed: 0 };
        let mut granules = 0;
        // Bounded, should the subject refuse.
        for _ in 0..target {
            if granules >= target {
                break;
            }
            let order = churn.draw().1;
            let Some(base) = hand.alloc(order) else {
                churn.failed += 1;
                continue;
            };
            churn.live.push(pack(base, order));
            granules += order.granules();
        }
        churn
    }

    /// Runs `ops` operations, an even number.
    #[inline(never)]
    pub fn run(&mut self, hand: &mut impl Hand, ops: u64) -> Duration {
        let begun = Instant::now();
        for _ in 0..ops / 2 {
            let (victim, order) = self.draw();
            let Some(block) = self.live.get_mut(victim) else {
                break;
            };
            let (base, old) = unpack(*block);
            hand.free(base, old);
            if let Some(base) = hand.alloc(order) {
                *block = pack(base, order);
            } else {
                self.live.swap_remove(victim);
                self.failed += 1;
            }
        }
        begun.elapsed()
    }

    /// How many blocks are live.
    pub fn live(&self) -> usize {
        self.live.len()
    }

    /// Requests that found no block.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Frees everything.
    pub fn drain(self, hand: &mut impl Hand) {
        for block in self.live {
            let (base, order) = unpack(block);
            hand.free(base, order);
        }
    }

    /// Returns which block to free and what to allocate.
    #[inline]
    fn draw(&mut self) -> (usize, Order) {
        let bits = self.random.next_u64();
        let victim = ((bits >> 32) * self.live.len() as u64) >> 32;
        (victim as usize, self.orders[(bits >> 8) as usize % DRAWS])
    }
}

/// The order that draw number `draw` stands for.
fn mix(draw: usize) -> Order {
    let order = match draw * 100 / DRAWS {
        0..90 => 0,
        90..95 => 1 + draw % 3,
        95..99 => 4 + draw % 5,
        _ => 9,
    };
    // Lossless: at most 9.
    Order::new(order as u32).unwrap_or(Order::ZERO)
}

#[inline]
fn pack(base: u64, order: Order) -> u32 {
    // Lossless: below 2^26, by the resource's size.
    (base as u32) << 6 | order.get()
}

#[inline]
fn unpack(block: u32) -> (u64, Order) {
    (u64::from(block >> 6), Order::new(block & 63).unwrap_or(Order::ZERO))
}
