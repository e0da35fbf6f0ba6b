//! The slow, obvious allocator that the harness is tested with.
//!
//! One ordered set of free blocks per order, behind one lock; lowest address
//! first; buddies merge at once. It always finds a block if one is free, so it
//! is also the yardstick for completeness.

use super::{Hand, Shape, Subject, SubjectError};
use memdesc::Order;
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// A buddy allocator of textbook simplicity.
#[derive(Debug)]
pub struct Reference {
    free: Mutex<Free>,
}

#[derive(Debug)]
struct Free {
    orders: [BTreeSet<u64>; 64],
    granules: u64,
}

impl Free {
    fn insert(&mut self, base: u64, order: Order) {
        let (mut base, mut order) = (base, order.get());
        while order < 63 && self.orders[order as usize].remove(&(base ^ (1 << order))) {
            base &= !(1 << order);
            order += 1;
        }
        assert!(self.orders[order as usize].insert(base), "granule {base} is freed twice");
    }

    fn take(&mut self, order: Order) -> Option<u64> {
        let wanted = order.get();
        let found = (wanted..64).find(|above| !self.orders[*above as usize].is_empty())?;
        let base = self.orders[found as usize].pop_first()?;
        for half in wanted..found {
            self.orders[half as usize].insert(base + (1 << half));
        }
        Some(base)
    }
}

impl Reference {
    /// Whether every granule is free again, in the largest possible blocks.
    pub fn is_whole(&self) -> bool {
        let free = self.free.lock();
        let whole = Self::cover(free.granules);
        free.orders == whole
    }

    fn cover(granules: u64) -> [BTreeSet<u64>; 64] {
        let mut orders = [const { BTreeSet::new() }; 64];
        let mut base = 0;
        // The set bits of the length, highest first, are its aligned blocks.
        for order in (0..64_u32).rev().filter(|order| granules >> order & 1 == 1) {
            orders[order as usize].insert(base);
            base += 1 << order;
        }
        orders
    }
}

impl Subject for Reference {
    const NAME: &'static str = "reference";
    const SPLITS: bool = true;
    const ALIGNS: bool = true;
    const JUDGED: bool = false;

    type Hand<'a> = &'a Self;

    fn new(shape: Shape) -> Result<Self, SubjectError> {
        let (orders, granules) = (Self::cover(shape.granules), shape.granules);
        Ok(Self { free: Mutex::new(Free { orders, granules }) })
    }

    fn hand(&self) -> &Self {
        self
    }
}

impl Hand for &Reference {
    fn alloc(&mut self, order: Order) -> Option<u64> {
        self.free.lock().take(order)
    }

    fn free(&mut self, base: u64, order: Order) {
        self.free.lock().insert(base, order);
    }
}
