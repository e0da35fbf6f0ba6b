//! Many blocks of one order, of which one at a time is replaced: a cache that is
//! full, a table of connections.
//!
//! The one that goes is chosen at random, so that it lies in some word that nobody
//! touched for long; what comes in its place has nowhere to go but into holes that
//! were made so.

use super::Random;
use crate::subject::Hand;
use memdesc::Order;
use std::time::{Duration, Instant};

/// The live blocks.
#[derive(Debug)]
pub struct Replaced {
    random: Random,
    order: Order,
    live: Vec<u64>,
}

impl Replaced {
    /// Takes `count` blocks; `None` if one was missing.
    pub fn new(hand: &mut impl Hand, order: Order, count: usize) -> Option<Self> {
        let mut live = Vec::with_capacity(count);
        for _ in 0..count {
            live.push(hand.alloc(order)?);
        }
        Some(Self { random: Random::new(7), order, live })
    }

    /// Replaces `ops` of them, one after the other; `None` if one was missing.
    #[inline(never)]
    pub fn run(&mut self, hand: &mut impl Hand, ops: u64) -> Option<Duration> {
        let begun = Instant::now();
        for _ in 0..ops {
            let victim = self.random.below(self.live.len() as u64) as usize;
            let base = self.live.get_mut(victim)?;
            hand.free(*base, self.order);
            *base = hand.alloc(self.order)?;
        }
        Some(begun.elapsed())
    }

    /// Gives all back.
    pub fn drain(self, hand: &mut impl Hand) {
        self.live.into_iter().for_each(|base| hand.free(base, self.order));
    }
}
