//! What the host was told about free memory.
//!
//! # Picture
//!
//! Five bits per report granule (a power of two of granules, chosen when a
//! reporter is attached), in words of their own, outside the free structure.
//! The first two, and the last two, of 64 report granules lie side by side:
//!
//! ```text
//!  bits[2n]      seen      a pass has met it free and not yet reported
//!  bits[2n + 1]  reported  the host knows that its memory is not needed
//!  zeroed[n]     zeroed    .. and has said that it reads as zeros
//!  history[2n]   young     the running pass, or the last one, reported it
//!  history[2n + 1] hasty   it was taken again while young, the last time
//! ```
//!
//! # What always holds
//!
//! A reported bit implies that the report granule was wholly free since the bit
//! was set: the reporter sets it while it owns the block, and whoever takes bits
//! of it from the shared forest clears it before the block is used. A zeroed bit
//! counts only beside a reported one: a taker that finds *reported* clear may
//! leave *zeroed* to the one who cleared it, for nobody can own the whole report
//! granule before both are done. *Seen* is a hint: it is set on blocks that are
//! only looked at. *Young* and *hasty* are hints, too: they say how long the next
//! report had better wait. Splits and merges do not touch any of them, and they never
//! keep a merge from happening.
//!
//! # Cost
//!
//! A taker pays one load of a line that 256 report granules share, and a
//! read-modify-write per word only where a bit was set, and one or two more where
//! what it took was reported. Where a hand has found a warm word bare of bits, it
//! pays two loads of the count of marks until that moves on. A free pays nothing.

use crate::isolate::Wanted;
use crate::words::Words;
use memdesc::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use memdesc::{Block, Granule, ORDERS_PER_LEVEL, Order};

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

/// The reporter's bits of one zone.
#[derive(Debug)]
pub(crate) struct Reported {
    order: Order,
    /// Seen and reported, by turns.
    bits: Words,
    zeroed: Words,
    /// Young and hasty, by turns.
    history: Words,
    /// Report granules that were taken again after they had been reported.
    refaulted: AtomicU64,
    /// Of those, the ones that were young still.
    premature: AtomicU64,
    /// Report granules reported now.
    now: AtomicU64,
    /// Blocks that a reporter holds, in granules.
    isolated: AtomicU64,
    /// Moves on whenever bits were set, before the blocks can be had.
    marks: AtomicU64,
    /// Some hand may keep a block that could be reported.
    is_any_kept: AtomicBool,
}

impl Reported {
    /// Of report granules of `order`, most of which will be at `last` and below.
    pub(crate) fn new(order: Order, last: Granule) -> Self {
        let word = (last.0 >> order.get()) >> ORDERS_PER_LEVEL;
        let two = || Words::up_to(2 * word + 1, u64::MAX);
        Self {
            order,
            bits: two(),
            zeroed: Words::up_to(word, u64::MAX),
            history: two(),
            refaulted: AtomicU64::new(0),
            premature: AtomicU64::new(0),
            now: AtomicU64::new(0),
            isolated: AtomicU64::new(0),
            marks: AtomicU64::new(0),
            is_any_kept: AtomicBool::new(false),
        }
    }

    /// The count of marks. Who finds it unchanged *after* taking a block finds
    /// the bits of the block as they were when it was read first.
    #[inline(always)]
    pub(crate) fn marks(&self) -> u64 {
        // Acquire pairs with `note_mark`: who sees a mark counted sees it.
        self.marks.load(memdesc::weakened!("marks are counted relaxed", Acquire))
    }

    /// A hand keeps a block, inside its bracket.
    #[inline]
    pub(crate) fn note_kept(&self, order: Order) {
        // Relaxed, both: the gate orders brackets and whoever asks. A bracket that
        // ends before the gate closes has kept what is found then; a later one sees
        // that nothing was.
        if order >= self.order && !self.is_any_kept.load(Ordering::Relaxed) {
            self.is_any_kept.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a hand may keep any.
    pub(crate) fn is_any_kept(&self) -> bool {
        self.is_any_kept.load(Ordering::Relaxed)
    }

    /// Hands are about to be closed, and what they keep to be taken out.
    pub(crate) fn note_none_kept(&self) {
        self.is_any_kept.store(false, Ordering::Relaxed);
    }

    /// Bits were set. A taker of the block comes after, by the give that
    /// follows; *seen* alone may be met by takers that are under way, and is a
    /// hint.
    fn note_mark(&self) {
        if !memdesc::seeded!("marked without a count") {
            self.marks.fetch_add(1, memdesc::weakened!("marks are counted relaxed", Release));
        }
    }

    /// Whether nothing below a forest word is seen or reported; `false` where
    /// that would be a look at more than one word of bits.
    pub(crate) fn is_bare(&self, level: u32, word: u64) -> bool {
        let places = ORDERS_PER_LEVEL * (level + 1);
        let log = places.saturating_sub(self.order.get());
        let Some(base) = word.checked_shl(places).filter(|_| log <= ORDERS_PER_LEVEL) else {
            return false;
        };
        let (word, first) = self.piece_of(Granule(base));
        self.pair(word).is_none_or(|(seen, reported)| {
            let bits = seen.load(Ordering::Relaxed) | reported.load(Ordering::Relaxed);
            // Nearly always there are none.
            bits == 0 || bits & ((u64::MAX >> (64 - (1 << log))) << first.trailing_zeros()) == 0
        })
    }

    /// The words *seen* and *reported* of 64 report granules.
    #[inline(always)]
    fn pair(&self, word: u64) -> Option<(&AtomicU64, &AtomicU64)> {
        // One chunk has both, for it has an even number of words.
        Some((self.bits.get(2 * word)?, self.bits.get(2 * word + 1)?))
    }

    // Relaxed, here and below: whoever owns a block has acquired what was said
    // of it with the block; for whoever does not, it is a hint.
    fn seen(&self, word: u64) -> u64 {
        self.bits.get(2 * word).map_or(0, |seen| seen.load(Ordering::Relaxed))
    }

    #[inline]
    fn reported(&self, word: u64) -> u64 {
        self.bits.get(2 * word + 1).map_or(0, |reported| reported.load(Ordering::Relaxed))
    }

    fn zeroed(&self, word: u64) -> u64 {
        self.reported(word) & self.zeroed.load(word)
    }

    /// The report granule.
    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Report granules that were taken again after they had been reported.
    pub(crate) fn refaulted(&self) -> u64 {
        self.refaulted.load(Ordering::Relaxed)
    }

    /// Report granules that were taken again before the pass after the one that
    /// reported them had begun.
    pub(crate) fn premature(&self) -> u64 {
        self.premature.load(Ordering::Relaxed)
    }

    /// Report granules reported now.
    pub(crate) fn reported_now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Granules that a reporter holds now.
    pub(crate) fn isolated(&self) -> u64 {
        self.isolated.load(Ordering::Relaxed)
    }

    /// A reporter took, or gave back, `granules`.
    pub(crate) fn note_isolated(&self, granules: u64) {
        self.isolated.fetch_add(granules, Ordering::Relaxed);
    }

    /// The reverse of [`note_isolated`](Self::note_isolated).
    pub(crate) fn note_put_back(&self, granules: u64) {
        self.isolated.fetch_sub(granules, Ordering::Relaxed);
    }

    /// Whether every report granule of the block is reported; a block smaller
    /// than one is if its report granule is.
    pub(crate) fn is_reported(&self, block: Block) -> bool {
        self.pieces(block).all(|(word, mask)| self.reported(word) & mask == mask)
    }

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

    /// Whether every report granule of the block is known to read as zero.
    pub(crate) fn is_zeroed(&self, block: Block) -> bool {
        self.pieces(block).all(|(word, mask)| self.zeroed(word) & mask == mask)
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

    fn hasty(&self, word: u64) -> u64 {
        self.history.load(2 * word + 1)
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

    /// Report granules were taken again that had been reported: hasty are now
    /// those that were young, and no others of them.
    fn judge(&self, word: u64, taken: u64) {
        let (young, hasty) = (self.history.get(2 * word), self.history.get(2 * word + 1));
        let (Some(young), Some(hasty)) = (young, hasty) else { return };
        // Relaxed: whoever cleared *reported* of a granule judges it alone.
        let early = young.load(Ordering::Relaxed) & taken;
        if early != 0 {
            young.fetch_and(!early, Ordering::Relaxed);
            hasty.fetch_or(early, Ordering::Relaxed);
            self.premature.fetch_add(early.count_ones().into(), Ordering::Relaxed);
        }
        let late = taken & !early;
        if hasty.load(Ordering::Relaxed) & late != 0 {
            hasty.fetch_and(!late, Ordering::Relaxed);
        }
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

    /// The block was taken from the shared forest.
    #[inline]
    pub(crate) fn forget(&self, block: Block) {
        if memdesc::seeded!("taken without forgetting") {
            return;
        }
        if block.order() <= self.order {
            let (word, mask) = self.piece_of(block.base());
            return self.forget_in(word, mask);
        }
        let large = ORDERS_PER_LEVEL * 2 + self.order.get();
        if block.order().get() < large {
            return self.pieces(block).for_each(|(word, mask)| self.forget_in(word, mask));
        }
        // Whole words of them: only those that were ever written.
        let shift = self.order.get() + ORDERS_PER_LEVEL;
        let (first, last) = (block.base().0 >> shift, block.last().0 >> shift);
        self.bits.visit(2 * first, 2 * last + 1, |word, _| {
            if word & 1 == 0 {
                self.forget_in(word / 2, u64::MAX);
            }
        });
    }

    #[inline]
    fn forget_in(&self, word: u64, mask: u64) {
        let Some((seen, reported)) = self.pair(word) else { return };
        // Relaxed throughout: the take acquired what the reporter did.
        if (seen.load(Ordering::Relaxed) | reported.load(Ordering::Relaxed)) & mask != 0 {
            self.clear(word, seen, reported, mask);
        }
    }

    #[cold]
    fn clear(&self, word: u64, seen: &AtomicU64, reported: &AtomicU64, mask: u64) {
        if seen.load(Ordering::Relaxed) & mask != 0 {
            seen.fetch_and(!mask, Ordering::Relaxed);
        }
        if reported.load(Ordering::Relaxed) & mask == 0 {
            return;
        }
        let before = reported.fetch_and(!mask, Ordering::Relaxed);
        let cleared = u64::from((before & mask).count_ones());
        self.judge(word, before & mask);
        self.refaulted.fetch_add(cleared, Ordering::Relaxed);
        self.now.fetch_sub(cleared, Ordering::Relaxed);
        if let Some(zeroed) = self.zeroed.get(word)
            && zeroed.load(Ordering::Relaxed) & mask != 0
        {
            zeroed.fetch_and(!mask, Ordering::Relaxed);
        }
    }

    /// The places of a forest word whose memory the host has taken back. Says
    /// nothing (0) of places so large that they span many report granules.
    #[inline]
    pub(crate) fn places(&self, level: u32, word: u64) -> u64 {
        let place = ORDERS_PER_LEVEL * level;
        if self.order.get() < place {
            return 0;
        }
        let base = word.checked_shl(place + ORDERS_PER_LEVEL).unwrap_or(0);
        if self.order.get() >= place + ORDERS_PER_LEVEL {
            let (word, mask) = self.piece_of(Granule(base));
            return if self.reported(word) & mask != 0 { u64::MAX } else { 0 };
        }
        let (first, mask) = self.piece_of(Granule(base));
        let reported = self.reported(first);
        if reported == 0 {
            return 0;
        }
        let log = self.order.get() - place;
        let (run, granules) = (1u32 << log, 64u32 >> log);
        match (reported >> mask.trailing_zeros()) & (u64::MAX >> (64 - granules)) {
            0 => 0,
            reported => spread(reported, run),
        }
    }

    /// The word and bit of the report granule that holds `at`.
    fn piece_of(&self, at: Granule) -> (u64, u64) {
        let index = at.0 >> self.order.get();
        (index >> ORDERS_PER_LEVEL, 1 << (index & 63))
    }

    /// The words and masks of the block's report granules.
    fn pieces(&self, block: Block) -> impl Iterator<Item = (u64, u64)> + use<> {
        let shift = self.order.get();
        let (first, last) = (block.base().0 >> shift, block.last().0 >> shift);
        (first >> ORDERS_PER_LEVEL..=last >> ORDERS_PER_LEVEL).map(move |word| {
            let low = first.saturating_sub(word << ORDERS_PER_LEVEL).min(63);
            let high = (last - (word << ORDERS_PER_LEVEL)).min(63);
            (word, (u64::MAX << low) & (u64::MAX >> (63 - high)))
        })
    }
}

/// Each bit as a run of `run` bits.
#[cold]
fn spread(bits: u64, run: u32) -> u64 {
    (0..64 / run)
        .filter(|granule| bits >> granule & 1 != 0)
        .map(|granule| (u64::MAX >> (64 - run)) << (granule * run))
        .fold(0, |places, run| places | run)
}

#[cfg(all(test, not(loom)))]
mod tests;
