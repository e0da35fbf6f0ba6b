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

mod pass;

use crate::words::Words;
use memdesc::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use memdesc::{Block, Granule, ORDERS_PER_LEVEL, Order};
pub(crate) use pass::Fresh;

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

    fn hasty(&self, word: u64) -> u64 {
        self.history.load(2 * word + 1)
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

    /// Whether every report granule of the block is known to read as zero.
    pub(crate) fn is_zeroed(&self, block: Block) -> bool {
        self.pieces(block).all(|(word, mask)| self.zeroed(word) & mask == mask)
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
