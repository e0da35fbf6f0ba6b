//! What is free of a range, a word at a time: for whoever takes all of it.
//!
//! # What always holds
//!
//! Asked while every hand is closed and flushed, [`Forest::next_stretch`] misses
//! nothing: what lies before the stretch it names is not free, and so is all of
//! what it calls empty.
//!
//! # Cost
//!
//! At most `LOOKS` words a level are looked at per call, and the empty ones
//! leave the summaries; so a call is bounded whatever the range holds.

use super::{Forest, bit_of, word_of};
use memdesc::sync::atomic::Ordering;
use memdesc::{Block, Granule, Granules, ORDERS_PER_LEVEL, Order, Place};

/// Words of one level that a call looks at.
const LOOKS: u32 = if cfg!(any(loom, shuttle)) { 2 } else { 64 };

/// The beginning of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// Free places of one word, the first that are free, wholly in the range. All
    /// that the word has of the range, if it is of level 0; else neighbours.
    Free(Place),
    /// The first that is free is a part of this block, which reaches out of the
    /// range.
    Part(Block),
    /// Nothing before this granule is free.
    Empty(Granule),
    /// Nothing is.
    Nothing,
}

impl Forest {
    /// How a range begins, as far as one look goes.
    pub(crate) fn next_stretch(&self, range: Granules) -> Stretch {
        if let Some(level) = (0..=self.top).find(|&level| self.has_place(level, range.first())) {
            return self.stretch_at(level, range.first(), range);
        }
        let mut best: Option<(u32, Granule)> = None;
        // Before here everything was looked at.
        let mut known = range.last().checked_add(1);
        for level in (0..=self.top).rev() {
            let end = known.map_or(u64::MAX >> 1, |known| known.0 - 1);
            match self.first_free(level, range.first(), Granule(end)) {
                Look::Found(at) => (best, known) = (Some((level, at)), Some(at)),
                Look::Ended(at) => (best, known) = (None, Some(at)),
                Look::Nothing => {}
            }
        }
        match (best, known) {
            (Some((level, at)), _) => self.stretch_at(level, at, range),
            (None, Some(known)) if known <= range.last() => Stretch::Empty(known),
            _ => Stretch::Nothing,
        }
    }

    /// Takes the places of a stretch.
    pub(crate) fn take_stretch(&self, place: Place) -> bool {
        let taken = self.take_mask(place.level, place.word, place.mask);
        if self.load(place.level, place.word) == 0 {
            self.clear_summary_of(place.level, place.word);
        }
        taken
    }

    fn has_place(&self, level: u32, at: Granule) -> bool {
        self.load(level, word_of(level, at)) & bit_of(level, at) != 0
    }

    /// The stretch whose first place is that of `at`, which is free at `level`.
    fn stretch_at(&self, level: u32, at: Granule, range: Granules) -> Stretch {
        let shift = ORDERS_PER_LEVEL * level;
        let word = word_of(level, at);
        let first = (at.0 >> shift) & 63;
        let ahead = self.load(level, word) & (u64::MAX << first);
        let mask = match level {
            0 => ahead,
            // Between places of a higher level smaller ones may be free.
            _ => {
                ahead
                    & (u64::MAX >> (63 - (first + u64::from((ahead >> first).trailing_ones()) - 1)))
            }
        };
        // Places that the range holds whole.
        let size = 1u64 << shift;
        let base = word.checked_shl(shift + ORDERS_PER_LEVEL).unwrap_or(0);
        let fits = match (range.last().0 - base + 1) / size {
            count @ 0..64 => (1u64 << count) - 1,
            _ => u64::MAX,
        };
        let whole = if at.0.is_multiple_of(size) { mask & fits } else { 0 };
        if whole >> first & 1 == 0 {
            let order = Order::new(shift).unwrap_or(Order::ZERO);
            return Stretch::Part(Block::containing(at, order));
        }
        Stretch::Free(Place { level, word, mask: whole })
    }

    /// The first place of `level` that is free, from `first` (of which none is
    /// around) up to `last`.
    fn first_free(&self, level: u32, first: Granule, last: Granule) -> Look {
        let shift = ORDERS_PER_LEVEL * level;
        let mut word = word_of(level, first);
        let mut ahead = u64::MAX << ((first.0 >> shift) & 63);
        for _ in 0..LOOKS {
            let value = self.load(level, word);
            if value & ahead != 0 {
                let place = word << ORDERS_PER_LEVEL | u64::from((value & ahead).trailing_zeros());
                let at = Granule(place << shift);
                return if at <= last { Look::Found(at) } else { Look::Nothing };
            }
            if value == 0 {
                self.clear_summary_of(level, word);
            }
            match self.next_nonzero(level, word + 1) {
                Some(next) if next <= word_of(level, last) => word = next,
                _ => return Look::Nothing,
            }
            ahead = u64::MAX;
        }
        Look::Ended(Granule(word << (shift + ORDERS_PER_LEVEL)))
    }

    /// A word that was seen zero leaves the summaries, so that the next search
    /// need not look.
    pub(super) fn clear_summary_of(&self, level: u32, word: u64) {
        if level == self.top {
            return;
        }
        let above = self.has(level, level + 1).get(word >> ORDERS_PER_LEVEL);
        // Relaxed: a bit that is set meanwhile is right.
        let is_said =
            above.is_some_and(|bits| bits.load(Ordering::Relaxed) >> (word & 63) & 1 != 0);
        if is_said {
            self.clear_summary(level, level + 1, word);
        }
    }
}

/// How a look along a level ended.
enum Look {
    Found(Granule),
    /// Nothing so far, and more words to look at from this granule on.
    Ended(Granule),
    Nothing,
}
