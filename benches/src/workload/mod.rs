//! The synthetic workloads: the same code under gates and criterion.
//!
//! Each takes a subject or its hand and a number of operations and returns
//! the time they took; setting up, warming up and cleaning up is outside of
//! it. Requests come from a generator with a fixed seed, so every subject and
//! every round sees the same.
//!
//! | workload | what |
//! | --- | --- |
//! | [`pairs`] | one block out and back, hot |
//! | [`batches`] | 32 out, 32 back, last in first out |
//! | [`bulk`] | half of a resource out, then back in order or shuffled; one by one or by 512 |
//! | [`Churn`] | 75 % full, mixed orders, random victims |
//! | [`Replaced`] | many blocks of one order, one at a time replaced at random |
//! | [`refills`] | order 0 from words that no one has touched |
//! | [`Filled`] | a resource filled with order 0, random frees, re-allocation |
//! | [`together`] | any of them on several threads at once |

mod bulk;
mod churn;
mod random;
mod replace;
#[cfg(test)]
mod tests;
mod threads;

pub use bulk::{Bulk, Call, Filled, bulk, refills};
pub use churn::Churn;
pub use random::Random;
pub use replace::Replaced;
pub use threads::{plain_pairs, together};

use crate::subject::{Hand, SubjectError};
use core::hint::black_box;
use memdesc::Order;
use std::time::{Duration, Instant};

/// What a workload says if the subject has no block where it must have one.
pub fn no_block(name: &'static str, granules: u64) -> SubjectError {
    SubjectError::Refused { name, granules, reason: "no block was found where one is free" }
}

/// Allocates and frees one block `count` times; `None` if none was found.
#[inline(never)]
pub fn pairs(hand: &mut impl Hand, order: Order, count: u64) -> Option<Duration> {
    let begun = Instant::now();
    for _ in 0..count {
        let base = black_box(hand.alloc(order)?);
        hand.free(base, order);
    }
    Some(begun.elapsed())
}

/// Takes 32 blocks and gives them back in reverse, `count` times.
#[inline(never)]
pub fn batches(hand: &mut impl Hand, order: Order, count: u64) -> Option<Duration> {
    let mut out = [0; 32];
    let begun = Instant::now();
    for _ in 0..count {
        for base in &mut out {
            *base = hand.alloc(order)?;
        }
        for base in black_box(&out).iter().rev() {
            hand.free(*base, order);
        }
    }
    Some(begun.elapsed())
}

/// Returns nanoseconds per operation.
pub fn per_op(time: Duration, ops: u64) -> f64 {
    time.as_nanos() as f64 / ops.max(1) as f64
}
