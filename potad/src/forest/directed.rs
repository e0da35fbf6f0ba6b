//! The lowest and the highest free block, or run, of a range.
//!
//! # How
//!
//! A block of order `k` is free as a run of its own level, or inside one place
//! of a level above. Each of these levels is asked for its first (or last) place
//! that fits; the best answer of the levels above bounds the look at the own one.
//!
//! A run of `n` granules contains an aligned block of about `n / 2`: that block,
//! the *seed*, is searched like any other. Around it the free stretch is
//! followed both ways, at most two words a level; if the run does not fit there,
//! the search goes on behind the stretch.
//!
//! # What always holds
//!
//! Asked while every hand is closed and flushed, the answer is exact: free space
//! is maximal blocks then, so what is free is found, and nothing lower (or
//! higher) fits.
//!
//! # Cost
//!
//! Empty stretches of any length cost one climb and one descent per level.
//! Words of the own level that have bits but no fitting run are looked at one
//! after the other, and so are stretches that hold a seed but not the run.

use super::{Forest, bit_of, lowest_run, word_of};
use memdesc::{Block, Granule, Granules, ORDERS_PER_LEVEL, Order};

/// From which end of a range to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Lowest,
    Highest,
}

impl Forest {
    /// The lowest or highest free block of `order` that lies wholly in `range`.
    pub(crate) fn block_in(&self, order: Order, range: Granules, end: End) -> Option<Block> {
        let (own, size) = (order.level(), order.granules());
        if own > self.top {
            return None;
        }
        // The bases that a block may have.
        let last = range.last().min(self.last_granule()).0;
        let mut low = range.first().0.checked_next_multiple_of(size)?;
        let mut high = last.checked_sub(size - 1)? & !(size - 1);
        let mut best = None;
        for level in (own..=self.top).rev() {
            if low > high {
                break;
            }
            let found = match end {
                End::Lowest => self.first_base(level, order, low, high),
                End::Highest => self.last_base(level, order, low, high),
            };
            let Some(base) = found else { continue };
            best = Some(Block::containing(Granule(base), order));
            // From here on only better ones.
            match end {
                End::Lowest if base == 0 => break,
                End::Lowest => high = (base - 1) & !(size - 1),
                End::Highest => low = base + size,
            }
        }
        best
    }

    /// The lowest base of a block of `order`, from `low` to `high` (multiples of
    /// its size), that the words of `level` have free.
    fn first_base(&self, level: u32, order: Order, low: u64, high: u64) -> Option<u64> {
        let run = if level == order.level() { order.run() } else { 1 };
        let shift = ORDERS_PER_LEVEL * level;
        let mut word = word_of(level, Granule(low));
        let mut ahead = u64::MAX << ((low >> shift) & 63);
        loop {
            let value = self.load(level, word);
            if let Some(mask) = lowest_run(value & ahead, run) {
                let place = word << ORDERS_PER_LEVEL | u64::from(mask.trailing_zeros());
                let base = (place << shift).max(low);
                return (base <= high).then_some(base);
            }
            if value == 0 {
                self.clear_summary_of(level, word);
            }
            word = self.next_nonzero(level, word + 1)?;
            if word > word_of(level, Granule(high)) {
                return None;
            }
            ahead = u64::MAX;
        }
    }

    /// The highest base of a block of `order`, from `low` to `high`, that the
    /// words of `level` have free.
    fn last_base(&self, level: u32, order: Order, low: u64, high: u64) -> Option<u64> {
        let run = if level == order.level() { order.run() } else { 1 };
        let shift = ORDERS_PER_LEVEL * level;
        let mut word = word_of(level, Granule(high));
        // The places up to the one that holds the last granule of `high`'s block.
        let end = ((high >> shift) & 63) as u32 + (run - 1);
        let mut behind = u64::MAX >> (63 - end);
        loop {
            let value = self.load(level, word);
            if let Some(mask) = highest_run(value & behind, run) {
                let place = word << ORDERS_PER_LEVEL | u64::from(63 - mask.leading_zeros());
                // The last block of `order` that ends with the place.
                let last = (place << shift) + ((1 << shift) - 1);
                let base = (last - (order.granules() - 1)).min(high);
                return (base >= low).then_some(base);
            }
            if value == 0 {
                self.clear_summary_of(level, word);
            }
            word = self.previous_nonzero(level, word.checked_sub(1)?)?;
            if word < word_of(level, Granule(low)) {
                return None;
            }
            behind = u64::MAX;
        }
    }

    /// The lowest or highest free run of `count` granules, at a multiple of
    /// `align`, that lies wholly in `range`.
    pub(crate) fn run_in(
        &self,
        count: u64,
        align: Order,
        range: Granules,
        end: End,
    ) -> Option<Granules> {
        let last = range.last().min(self.last_granule());
        let range = Granules::new(range.first(), last).ok()?;
        match end {
            End::Lowest => self.lowest_run_in(count, align, range),
            End::Highest => self.highest_run_in(count, align, range),
        }
    }

    fn lowest_run_in(&self, count: u64, align: Order, range: Granules) -> Option<Granules> {
        let (seed, step) = (seed_of(count, align), align.granules());
        let mut from = range.first();
        loop {
            let rest = Granules::new(from, range.last()).ok()?;
            let found = self.block_in(seed, rest, End::Lowest)?;
            let low = self.free_down_to(found.base(), from);
            let first = low.0.checked_next_multiple_of(step)?;
            let end = first.checked_add(count - 1)?;
            if end > range.last().0 {
                return None;
            }
            let high = self.free_up_to(found.last(), Granule(end).max(found.last()));
            if high.0 >= end {
                return Granules::new(Granule(first), Granule(end)).ok();
            }
            from = Granule((high.0 + 1).checked_next_multiple_of(step)?);
        }
    }

    fn highest_run_in(&self, count: u64, align: Order, range: Granules) -> Option<Granules> {
        let (seed, step) = (seed_of(count, align), align.granules());
        let mut to = range.last();
        loop {
            let rest = Granules::new(range.first(), to).ok()?;
            let found = self.block_in(seed, rest, End::Highest)?;
            let high = self.free_up_to(found.last(), to);
            let first = (high.0 + 1).checked_sub(count)? & !(step - 1);
            if first < range.first().0 {
                return None;
            }
            let low = self.free_down_to(found.base(), Granule(first).min(found.base()));
            if low.0 <= first {
                return Granules::new(Granule(first), Granule(first + (count - 1))).ok();
            }
            // The granule before `low` is not free: the run ends before it.
            let next = (low.0 - 1).checked_sub(count)? & !(step - 1);
            to = Granule(next + (count - 1));
        }
    }

    /// The last granule of the free stretch from `at`, which is free, as far as
    /// `limit`.
    fn free_up_to(&self, at: Granule, limit: Granule) -> Granule {
        let mut last = at;
        let mut next = at;
        while let Some(level) = self.free_level(next) {
            let shift = ORDERS_PER_LEVEL * level;
            let place = next.0 >> shift;
            let ones = (self.load(level, word_of(level, next)) >> (place & 63)).trailing_ones();
            last = Granule(((place + u64::from(ones)) << shift) - 1);
            if last >= limit {
                return limit;
            }
            next = Granule(last.0 + 1);
        }
        last
    }

    /// The first granule of the free stretch up to `at`, which is free, as far
    /// as `limit`.
    fn free_down_to(&self, at: Granule, limit: Granule) -> Granule {
        let mut first = at;
        let mut next = Some(at);
        while let Some(before) = next
            && let Some(level) = self.free_level(before)
        {
            let shift = ORDERS_PER_LEVEL * level;
            let place = before.0 >> shift;
            let ones =
                (self.load(level, word_of(level, before)) << (63 - (place & 63))).leading_ones();
            first = Granule((place + 1 - u64::from(ones)) << shift);
            if first <= limit {
                return limit;
            }
            next = first.0.checked_sub(1).map(Granule);
        }
        first
    }

    /// The level at which a granule is free, if it is.
    fn free_level(&self, at: Granule) -> Option<u32> {
        let is_free =
            |level: &u32| self.load(*level, word_of(*level, at)) & bit_of(*level, at) != 0;
        (at <= self.last_granule()).then(|| (0..=self.top).find(is_free)).flatten()
    }
}

/// The order of the largest aligned block that any run of `count` granules at
/// such an alignment contains.
fn seed_of(count: u64, align: Order) -> Order {
    let fits = count.ilog2();
    // At its own first granule, if the alignment reaches so far; else a run of
    // `2^(k + 1) - 1` granules has room for one of order `k`.
    let seed = if align.get() >= fits { fits } else { (count + 1).ilog2() - 1 };
    Order::new(seed).unwrap_or(Order::ZERO)
}

/// The highest aligned run of `run` set bits. (Mirrored, an aligned run is one.)
fn highest_run(bits: u64, run: u32) -> Option<u64> {
    lowest_run(bits.reverse_bits(), run).map(u64::reverse_bits)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// What is searched for first must be there wherever a run lies, and the
    /// larger it is the fewer places are looked at.
    #[test]
    fn every_run_contains_its_seed_and_the_worst_nothing_larger() {
        let holds = |first: u64, count: u64, order: Order| {
            first.next_multiple_of(order.granules()) + order.granules() <= first + count
        };
        for count in 1..140 {
            for align in 0..9 {
                let seed = seed_of(count, Order::new(align).unwrap());
                let mut runs = (0..1024u64).step_by(1 << align);
                assert!(runs.all(|first| holds(first, count, seed)), "{count} at 2^{align}");
            }
            let larger = Order::new(seed_of(count, Order::ZERO).get() + 1).unwrap();
            assert!((0..1024).any(|first| !holds(first, count, larger)), "{count}");
        }
    }
}
