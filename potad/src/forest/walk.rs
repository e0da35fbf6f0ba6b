//! Walking the free blocks in address order.

use super::Forest;
use memdesc::sync::atomic::Ordering;
use memdesc::{Block, Granule, ORDERS_PER_LEVEL, Order};

/// The maximal free blocks at or after a granule, in address order: what the
/// words say while they are read, so exact only under a rendezvous.
///
/// A whole word that is warm counts as its parent block.
#[derive(Debug)]
pub(crate) struct FreeBlocks<'a> {
    forest: &'a Forest,
    /// The first block of each level that has one left.
    heads: smallvec::SmallVec<[Head; 11]>,
}

/// The first block of a level that the walk has not given out.
#[derive(Clone, Copy, Debug)]
struct Head {
    level: u32,
    block: Block,
}

impl Forest {
    /// The free blocks whose base is at or after `from`, of levels `lowest` and
    /// above.
    pub(crate) fn free_blocks(&self, from: Granule, lowest: u32) -> FreeBlocks<'_> {
        let first = |level| Some(Head { level, block: self.next_in_level(level, from)? });
        FreeBlocks { forest: self, heads: (lowest..=self.top).filter_map(first).collect() }
    }

    /// Visits every non-zero free word that is present: level, index, value.
    pub(crate) fn visit_free<E>(
        &self,
        mut visitor: impl FnMut(u32, u64, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut result = Ok(());
        for level in 0..=self.top {
            self.words(level).visit(0, u64::MAX, |word, value| {
                // Acquire: as `Words::load`, and as little missed by any model.
                let value = value.load(Ordering::Acquire);
                if value != 0 && result.is_ok() {
                    result = visitor(level, word, value);
                }
            });
        }
        result
    }

    /// About how many granules are free: all of the first `budget` non-zero words
    /// of each level; of a level that has more, what those make likely.
    pub(crate) fn free_granules(&self, budget: usize) -> u64 {
        let of_level = |level: u32| {
            let place = 1u64 << (ORDERS_PER_LEVEL * level);
            let (mut places, mut seen, mut from) = (0u64, 0, 0);
            while let Some(word) = self.next_nonzero(level, from) {
                if seen == budget {
                    // As dense as so far, up to the end.
                    let end = self.last_granule().0 / place / 64;
                    let ahead = u128::from(places) * u128::from(end + 1 - word) / u128::from(word);
                    return places.saturating_add(ahead as u64).saturating_mul(place);
                }
                places += u64::from(self.load(level, word).count_ones());
                (seen, from) = (seen + 1, word + 1);
            }
            places.saturating_mul(place)
        };
        (0..=self.top).map(of_level).fold(0, u64::saturating_add)
    }

    /// Whether the summaries lead to a word.
    pub(crate) fn is_findable(&self, level: u32, word: u64) -> bool {
        let mut index = word;
        (level + 1..=self.top).all(|m| {
            let bit = 1 << (index & 63);
            index >>= ORDERS_PER_LEVEL;
            self.has(level, m).load(index) & bit != 0
        })
    }

    /// The first free block of `level` that starts at or after `from`.
    fn next_in_level(&self, level: u32, from: Granule) -> Option<Block> {
        let shift = ORDERS_PER_LEVEL * level;
        let place = from.0.checked_add((1 << shift) - 1)? >> shift;
        let mut word = place >> ORDERS_PER_LEVEL;
        let mut ahead = u64::MAX << (place & 63);
        loop {
            let value = self.load(level, word);
            if value & ahead != 0 {
                return largest_at(level, word, value, (value & ahead).trailing_zeros());
            }
            word = self.next_nonzero(level, word + 1)?;
            ahead = u64::MAX;
        }
    }
}

/// The largest aligned run of set bits that starts at `bit`, as a block.
fn largest_at(level: u32, word: u64, value: u64, bit: u32) -> Option<Block> {
    // Aligned runs at bit 0 are of any length, the whole word among them.
    let aligned = if bit == 0 { 64 } else { 1 << bit.trailing_zeros() };
    let run = (value >> bit).trailing_ones().min(aligned);
    let shift = ORDERS_PER_LEVEL * level;
    let order = Order::new(shift + run.checked_ilog2()?).ok()?;
    Some(Block::containing(Granule((word << ORDERS_PER_LEVEL | u64::from(bit)) << shift), order))
}

impl Iterator for FreeBlocks<'_> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let lowest = (0..self.heads.len()).min_by_key(|&at| self.heads[at].block.base())?;
        let Head { level, block } = self.heads[lowest];
        let behind = block.last().0.checked_add(1).map(Granule);
        match behind.and_then(|from| self.forest.next_in_level(level, from)) {
            Some(next) => self.heads[lowest].block = next,
            None => drop(self.heads.remove(lowest)),
        }
        Some(block)
    }
}
