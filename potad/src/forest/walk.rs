//! Walking the free blocks in address order.

use super::{Forest, word_of};
use memdesc::sync::atomic::Ordering;
use memdesc::{Block, Granule, ORDERS_PER_LEVEL, Order, Place};

/// The maximal free blocks at or after a granule, in address order: what the
/// words say while they are read, so exact only under a rendezvous.
///
/// A whole word that is warm counts as its parent block.
#[derive(Debug)]
pub(crate) struct FreeBlocks<'a> {
    forest: &'a Forest,
    /// Per level: where to look next, or `None` at the end; and what is there.
    heads: smallvec::SmallVec<[(Option<Granule>, Option<Block>); 11]>,
}

impl Forest {
    /// The free blocks whose base is at or after `from`, of levels `lowest` and
    /// above.
    pub(crate) fn free_blocks(&self, from: Granule, lowest: u32) -> FreeBlocks<'_> {
        let heads = (0..=self.top).map(|level| ((level >= lowest).then_some(from), None)).collect();
        FreeBlocks { forest: self, heads }
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
        let size = 1u64 << (ORDERS_PER_LEVEL * level);
        let first = from.0.checked_add(size - 1)? / size * size;
        let at = Granule(first);
        let mut word = word_of(level, at);
        let mut ahead = u64::MAX << ((first / size) & 63);
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
    if value == u64::MAX && bit == 0 {
        let order = Order::new(ORDERS_PER_LEVEL * (level + 1)).ok()?;
        return Block::new(Granule(word << (ORDERS_PER_LEVEL * (level + 1))), order).ok();
    }
    let aligned = if bit == 0 { 32 } else { 1 << bit.trailing_zeros() };
    let mut run = 1u32;
    while run < aligned && value >> bit & run_of(2 * run) == run_of(2 * run) {
        run *= 2;
    }
    Place { level, word, mask: run_of(run) << bit }.block()
}

fn run_of(run: u32) -> u64 {
    u64::MAX >> (64 - run)
}

impl Iterator for FreeBlocks<'_> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        for (level, (from, head)) in (0..).zip(self.heads.iter_mut()) {
            if head.is_some() {
                continue;
            }
            let Some(at) = *from else { continue };
            *head = self.forest.next_in_level(level, at);
            *from = head.map(|block| Granule(block.last().0 + 1));
        }
        let lowest = self
            .heads
            .iter_mut()
            .filter(|(_, head)| head.is_some())
            .min_by_key(|(_, head)| head.map(|block| block.base()))?;
        lowest.1.take()
    }
}
