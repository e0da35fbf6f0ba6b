//! One call's share of a pass: the walk over free blocks, and what it takes of them.
//!
//! # What always holds
//!
//! The cursor never moves back: behind it is what was taken or passed. A walk is of one
//! call; the next finds its place by the cursor alone, whatever was split or merged
//! meanwhile.
//!
//! # Cost
//!
//! At most [`STEPS`] free blocks; what is reported already is passed over 64 report
//! granules at a time.

use super::{INLINE, STEPS, Wanted};
use crate::forest::{FreeBlocks, Taken};
use crate::reported::Fresh;
use crate::stock::Stock;
use memdesc::{Block, Granule, Order};
use smallvec::SmallVec;

/// The cursor of a pass that has ended.
const END: Granule = Granule(u64::MAX);

impl Stock {
    /// Takes free blocks that suit `wanted` from `*cursor` on, into `out`, and
    /// returns how many granules it spared.
    ///
    /// The caller is inside a bracket and publishes what it got before it ends.
    pub(crate) fn isolate(
        &self,
        cursor: &mut Granule,
        wanted: &Wanted,
        blocks: usize,
        granules: u64,
        out: &mut SmallVec<[Block; INLINE]>,
    ) -> u64 {
        let Some(reported) = self.reported.get() else {
            *cursor = END;
            return 0;
        };
        let min = wanted.min_order.max(reported.order());
        let max = wanted.max_order.max(min);
        let (mut left, mut spared) = (granules, 0);
        let mut walk = Walk { stock: self, min, steps: STEPS, rest: None };
        while out.len() < blocks && left > 0 {
            let Some(free) = walk.next(cursor) else { break };
            let at = Granule(free.base().0.max(cursor.0));
            let Some(at) = reported.next_unreported(at, free.last()) else {
                *cursor = after(free);
                continue;
            };
            // From there on, as far as alignment goes.
            let order = Order::alignment_of(at.0).min(free.order()).min(max);
            let piece = Block::containing(at, order.max(reported.order()));
            let piece = match reported.fresh(piece, wanted) {
                Fresh::Take(piece) if spared >= wanted.spare => piece,
                Fresh::Take(piece) => {
                    // No more of it than is asked, rounded up.
                    let rest = Order::new((wanted.spare - spared).ilog2()).unwrap_or(Order::MAX);
                    let order = rest.max(reported.order()).min(piece.order());
                    let part = Block::containing(piece.base(), order);
                    spared += part.order().granules();
                    *cursor = after(part);
                    continue;
                }
                Fresh::Pass(passed) => {
                    *cursor = after(passed);
                    continue;
                }
            };
            if !out.is_empty() && piece.order().granules() > left {
                break;
            }
            *cursor = after(piece);
            if memdesc::seeded!("isolated without taking") {
                out.push(piece);
            } else if let Ok(Taken::Block(piece)) = self.forest.take_exact(piece) {
                out.push(piece);
                left = left.saturating_sub(piece.order().granules());
            }
        }
        let taken = out.iter().map(|block| block.order().granules()).sum();
        reported.note_isolated(taken);
        spared
    }
}

/// The granule after a block; past the last one it is the end.
fn after(block: Block) -> Granule {
    Granule(block.last().0 + 1)
}

/// A walk over the free blocks of one call, by the caller's cursor.
struct Walk<'a> {
    stock: &'a Stock,
    min: Order,
    steps: usize,
    /// The blocks that begin behind the first one.
    rest: Option<(FreeBlocks<'a>, Option<Block>)>,
}

impl Walk<'_> {
    /// The free block of at least the least order that the cursor is in, or the
    /// first behind it; `None` at the end, with the cursor there, or once the
    /// call has done its share.
    fn next(&mut self, cursor: &mut Granule) -> Option<Block> {
        let forest = &self.stock.forest;
        if cursor.0 > forest.last_granule().0 {
            *cursor = END;
            return None;
        }
        if self.rest.is_none() {
            // A larger block around the cursor first: the walk starts behind.
            let around = forest.free_around(*cursor, self.min).map(|found| self.grown(found));
            let from = around.map_or(*cursor, after);
            self.rest = Some((forest.free_blocks(from, self.min.level()), around));
        }
        let (blocks, current) = self.rest.as_mut()?;
        loop {
            self.steps = self.steps.checked_sub(1)?;
            match *current {
                Some(block) if block.order() >= self.min && block.last() >= *cursor => {
                    return Some(block);
                }
                _ => {}
            }
            *current = blocks.next();
            let Some(next) = *current else {
                *cursor = END;
                return None;
            };
            *cursor = Granule(cursor.0.max(next.base().0));
        }
    }

    /// The largest block around a free one that is free in its level, or above.
    fn grown(&self, found: Block) -> Block {
        let mut block = found;
        while let Some(order) = block.order().double() {
            let larger = Block::containing(block.base(), order);
            if !self.stock.forest.is_free(larger) {
                break;
            }
            block = larger;
        }
        block
    }
}
