//! Exactly this block: is it free, and take it.

use super::{Forest, Taken, bit_of, word_of};
use crate::error::OutOfMemory;
use crate::reserve::Reserve;
use memdesc::sync::atomic::Ordering;
use memdesc::{Block, Granule, ORDERS_PER_LEVEL, Order};

impl Forest {
    /// Whether every granule of `block` is free in the forest. Exact only
    /// while nobody is inside a bracket and no whole word is warm.
    pub(crate) fn is_free(&self, block: Block) -> bool {
        let place = block.place();
        if place.level > self.top {
            return false;
        }
        let own = self.load(place.level, place.word);
        own & place.mask == place.mask || self.free_above(block).is_some()
    }

    /// Whether any granule of `block` is free in the forest: at its own level,
    /// above, or below.
    pub(crate) fn is_any_free(&self, block: Block) -> bool {
        let place = block.place();
        if place.level > self.top {
            return false;
        }
        self.load(place.level, place.word) & place.mask != 0
            || self.free_above(block).is_some()
            || (0..place.level).any(|level| self.is_any_below(level, block))
    }

    /// Whether some word of `level` below the block has a bit.
    fn is_any_below(&self, level: u32, block: Block) -> bool {
        let (mut from, last) = (word_of(level, block.base()), word_of(level, block.last()));
        while let Some(word) = self.next_nonzero(level, from).filter(|&word| word <= last) {
            // The summaries may be stale.
            if self.load(level, word) != 0 {
                return true;
            }
            from = word + 1;
        }
        false
    }

    /// The larger free block, one place of a level above, that holds `block`.
    fn free_above(&self, block: Block) -> Option<Block> {
        (block.order().level() + 1..=self.top)
            .find(|&m| self.load(m, word_of(m, block.base())) & bit_of(m, block.base()) != 0)
            .and_then(|m| Order::new(ORDERS_PER_LEVEL * m).ok())
            .map(|order| Block::containing(block.base(), order))
    }

    /// The free block of at least order `min` around `at`, if it is free: the
    /// place of a level above that of `min`, or the run of `min` at its own.
    pub(crate) fn free_around(&self, at: Granule, min: Order) -> Option<Block> {
        let holder = Block::containing(at, min);
        let place = holder.place();
        if place.level > self.top {
            return None;
        }
        let own = self.load(place.level, place.word) & place.mask == place.mask;
        self.free_above(holder).or_else(|| own.then_some(holder))
    }

    /// Takes exactly `block`, if it is free as one block or inside a larger
    /// one. The caller is inside a bracket.
    pub(crate) fn take_exact(&self, block: Block) -> Result<Taken, OutOfMemory> {
        let place = block.place();
        if place.level > self.top {
            return Ok(Taken::Nothing);
        }
        if self.take_mask(place.level, place.word, place.mask) {
            return Ok(Taken::Block(block));
        }
        while let Some(larger) = self.free_above(block) {
            let above = larger.place();
            if self.take_mask(above.level, above.word, above.mask) {
                return self.break_down(larger, block);
            }
        }
        Ok(Taken::Nothing)
    }

    /// Takes one granule, if it is free, and allocates nothing: where the reserve
    /// cannot make the words for what is left of a larger block, as small a block
    /// around the granule as it can. The caller is inside a bracket.
    pub(crate) fn carve(&self, one: Block, reserve: &mut Reserve) -> Option<Block> {
        let at = one.base();
        if self.take_mask(0, word_of(0, at), bit_of(0, at)) {
            return Some(one);
        }
        while let Some(larger) = self.free_above(one) {
            let above = larger.place();
            if !self.take_mask(above.level, above.word, above.mask) {
                continue;
            }
            let present = |level: &u32| self.ensure_kept(*level, at, reserve).is_ok();
            let bottom = (0..above.level).rev().take_while(present).last();
            let Some(Ok(order)) = bottom.map(|level| Order::new(ORDERS_PER_LEVEL * level)) else {
                return Some(larger);
            };
            // Nothing is made any more: the words are there.
            return match self.break_down(larger, Block::containing(at, order)) {
                Ok(Taken::Block(block)) => Some(block),
                _ => None,
            };
        }
        None
    }

    /// Takes these very bits, if all are set.
    pub(super) fn take_mask(&self, level: u32, word: u64, mask: u64) -> bool {
        let Some(atomic) = self.word(level, word) else {
            return false;
        };
        let mut value = atomic.load(Ordering::Relaxed);
        while value & mask == mask {
            // Orderings as in `take_in_word`.
            match atomic.compare_exchange_weak(
                value,
                value & !mask,
                memdesc::weakened!("taken exactly relaxed", AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => value = now,
            }
        }
        false
    }
}
