//! The reporter's side: what a pass may take, and what is noted of it.
//!
//! # What always holds
//!
//! - What the host knows is noted while the block is the reporter's still: the give
//!   that follows releases it to whoever takes the block next. (So all of it is Relaxed.)
//! - Where memory for a word is out nothing is noted: the block is new to the next pass,
//!   or reported once more.
//!
//! # Cost
//!
//! A look passes over 64 report granules at a time, and over none that were never
//! reported; a note is a read-modify-write for each kind of bit and word.

use super::Reported;
use crate::isolate::Wanted;
use memdesc::sync::atomic::Ordering;
use memdesc::{Block, Granule, ORDERS_PER_LEVEL};

/// Words of reported bits that one look passes over: of 2 MiB, 4 TiB.
const LOOK: usize = 1 << 15;

/// What a pass may do with a free block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fresh {
    /// Take this part of it.
    Take(Block),
    /// Leave this part where it is: reported, or new.
    Pass(Block),
}

impl Reported {
    /// The first report granule of the block that is not reported, or the
    /// block's base if there is none; or where it stopped looking, after 64 words.
    pub(crate) fn first_unreported(&self, block: Block) -> Granule {
        let (word, mask) = self.piece_of(block.base());
        if self.reported(word) & mask == 0 {
            return block.base();
        }
        self.look_for_unreported(block.base(), block.last(), 64).unwrap_or(block.base())
    }

    /// The first granule of `at..=last` whose report granule is not reported; or
    /// where it stopped looking, after [`LOOK`] words.
    pub(crate) fn next_unreported(&self, at: Granule, last: Granule) -> Option<Granule> {
        self.look_for_unreported(at, last, LOOK)
    }

    fn look_for_unreported(&self, at: Granule, last: Granule, mut left: usize) -> Option<Granule> {
        let shift = self.order.get();
        let (mut index, end) = (at.0 >> shift, last.0 >> shift);
        'chunks: while index <= end && left > 0 {
            // Nothing of an absent chunk was ever reported.
            let Some(words) = self.bits.ahead(index >> ORDERS_PER_LEVEL << 1) else { break };
            for reported in words.iter().skip(1).step_by(2).take(left) {
                left -= 1;
                // Relaxed: whoever takes the block looks again.
                let open = !reported.load(Ordering::Relaxed) & (u64::MAX << (index & 63));
                if open != 0 {
                    index = (index & !63) + u64::from(open.trailing_zeros());
                    break 'chunks;
                }
                index = (index | 63) + 1;
                if index > end {
                    break 'chunks;
                }
            }
        }
        (index <= end).then(|| Granule((index << shift).max(at.0)))
    }

    /// What of a free block, from its base on, a pass may take: the largest part
    /// of which nothing is reported, nothing is hasty if the pass is patient and,
    /// if it must have been seen before, all of which was. What was not is marked
    /// so, and passed.
    pub(crate) fn fresh(&self, block: Block, wanted: &Wanted) -> Fresh {
        let unreported = self.part(block, |word, mask| self.reported(word) & mask == 0);
        let Some(part) = unreported else {
            return Fresh::Pass(Block::containing(block.base(), self.order));
        };
        let calm = match wanted.patient {
            true => self.part(part, |word, mask| self.hasty(word) & mask == 0),
            false => Some(part),
        };
        let Some(part) = calm else {
            return Fresh::Pass(Block::containing(part.base(), self.order));
        };
        if !wanted.seen_before {
            return Fresh::Take(part);
        }
        if let Some(old) = self.part(part, |word, mask| self.seen(word) & mask == mask) {
            return Fresh::Take(old);
        }
        let new = self.part(part, |word, mask| self.seen(word) & mask == 0);
        let new = new.unwrap_or_else(|| Block::containing(part.base(), self.order));
        self.see(new);
        Fresh::Pass(new)
    }

    /// The largest part of the block, from its base on, all of whose words
    /// suit; at least one report granule.
    fn part(&self, block: Block, suits: impl Fn(u64, u64) -> bool) -> Option<Block> {
        if block.order() == self.order {
            let (word, mask) = self.piece_of(block.base());
            return suits(word, mask).then_some(block);
        }
        let mut part = block;
        while !self.pieces(part).all(|(word, mask)| suits(word, mask)) {
            part = part.halves().filter(|(lower, _)| lower.order() >= self.order)?.0;
        }
        Some(part)
    }

    /// A pass has met the block. Out of memory, it will be new again.
    fn see(&self, block: Block) {
        for (word, mask) in self.pieces(block) {
            if self.bits.install(2 * word).is_err() {
                return;
            }
            if let Some((seen, _)) = self.pair(word) {
                // Relaxed: a hint about the past, that orders nothing. A block
                // that is taken meanwhile may keep the bit, and is reported one
                // pass too early.
                seen.fetch_or(mask, Ordering::Relaxed);
            }
        }
        self.note_mark();
    }

    /// The host was told about the blocks, which the caller still owns, and said
    /// of some that they read as zeros. Those of one word that follow each other
    /// cost as much as one. Out of memory, nothing is noted: they will be
    /// reported again.
    pub(crate) fn mark_all(&self, blocks: impl Iterator<Item = (Block, bool)>) {
        let mut marked = 0;
        // The word that is gathered, its bits, and whether they are zeroed.
        let mut open: Option<(u64, u64, bool)> = None;
        for (block, zeroed) in blocks {
            for (word, mask) in self.pieces(block) {
                match &mut open {
                    Some((at, bits, zero)) if (*at, *zero) == (word, zeroed) => *bits |= mask,
                    _ => {
                        let before = open.replace((word, mask, zeroed));
                        marked += before.map_or(0, |bits| self.mark_in(bits));
                    }
                }
            }
        }
        marked += open.map_or(0, |bits| self.mark_in(bits));
        self.now.fetch_add(marked, Ordering::Relaxed);
        self.note_mark();
    }

    /// Marks the bits of a word; returns how many were not marked before.
    fn mark_in(&self, (word, mask, zeroed): (u64, u64, bool)) -> u64 {
        if self.bits.install(2 * word).is_err() {
            return 0;
        }
        let Some((_, reported)) = self.pair(word) else { return 0 };
        // Relaxed: the gives that follow release them, and a taker acquires that
        // before it looks. Nobody else changes the bits of a block that is ours.
        let before = reported.fetch_or(mask, Ordering::Relaxed);
        self.mark_young(word, mask & !before);
        self.mark_zeroed(word, mask, zeroed);
        (mask & !before).count_ones().into()
    }

    /// Out of memory, it will not pass for reported too early.
    fn mark_young(&self, word: u64, mask: u64) {
        if let Ok(young) = self.history.install(2 * word) {
            young.fetch_or(mask, Ordering::Relaxed);
        }
    }

    /// A pass begins: what was reported until now is young no more.
    pub(crate) fn age(&self) {
        self.history.visit(0, u64::MAX, |index, word| {
            // Relaxed: hints. What is marked at this very moment may lose its bit.
            if index & 1 == 0 && word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Relaxed);
            }
        });
    }

    fn mark_zeroed(&self, word: u64, mask: u64, zeroed: bool) {
        if zeroed {
            if let Ok(atomic) = self.zeroed.install(word) {
                atomic.fetch_or(mask, Ordering::Relaxed);
            }
        } else if let Some(atomic) = self.zeroed.get(word)
            && atomic.load(Ordering::Relaxed) & mask != 0
        {
            atomic.fetch_and(!mask, Ordering::Relaxed);
        }
    }
}
