//! Descent through the summaries.
//!
//! # What always holds
//!
//! A summary bit may be set although everything below it is zero (a search then
//! clears it), but it is never clear while something below it is non-zero and
//! nobody is about to set it. Setter and clearer each make their change, pass a
//! full barrier and look at the other's: at least one of them sees the other.
//!
//! # Cost
//!
//! One load per level climbed or descended, and up to 16 of summary words side by side
//! where a search begins; no scan is longer than that.

use super::Forest;
use crate::words::Words;
use memdesc::ORDERS_PER_LEVEL;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::sync::barrier;

/// Summary words side by side that a search looks into before it goes by those
/// above.
const SIDE: usize = 16;

impl Forest {
    /// The first word of `level`, at or after `from`, that the summaries call
    /// non-zero.
    pub(crate) fn next_nonzero(&self, level: u32, from: u64) -> Option<u64> {
        if level == self.top {
            // One word spans everything.
            return (from == 0 && self.load(level, 0) != 0).then_some(0);
        }
        let mut from = from;
        loop {
            let (mut m, mut index) = self.climb(level, from)?;
            loop {
                if m == level + 1 {
                    return Some(index);
                }
                let below = self.has(level, m - 1).load(index);
                if below == 0 {
                    break;
                }
                m -= 1;
                index = index << ORDERS_PER_LEVEL | u64::from(below.trailing_zeros());
            }
            // An empty summary word: say so above, and go on from here.
            self.clear_summary(level, m, index);
            from = index << (ORDERS_PER_LEVEL * (m - level - 1));
        }
    }

    /// Words of level 1 with a place that is free or has something below it at
    /// level 0: from `start` on, and around.
    pub(crate) fn broken_from(&self, start: u64) -> Broken<'_> {
        Broken { forest: self, start, from: start, below: None, own: None, has_wrapped: false }
    }

    /// Places of word `word` of level `m` below which level `l` may have bits.
    #[inline]
    pub(crate) fn may_have(&self, l: u32, m: u32, word: u64) -> u64 {
        self.has(l, m).load(word)
    }

    /// A word was seen zero: if the summaries say otherwise, searches are to
    /// pass it by.
    pub(crate) fn note_empty_word(&self, level: u32, word: u64) {
        let above = level + 1;
        if above <= self.top
            && self.has(level, above).load(word >> ORDERS_PER_LEVEL) >> (word & 63) & 1 != 0
        {
            self.clear_summary(level, above, word);
        }
    }

    /// The words of `level` that may be non-zero, 64 at a time, from the group of
    /// word `from` on.
    #[inline]
    pub(super) fn groups(&self, level: u32, from: u64) -> Groups<'_> {
        let is_below = |levels| level + levels <= self.top;
        let near = is_below(1).then(|| self.has(level, level + 1));
        let from = from >> ORDERS_PER_LEVEL;
        let side = near.and_then(|near| near.ahead(from)).unwrap_or(&[]);
        Groups {
            forest: self,
            level,
            near,
            beside: is_below(2).then(|| self.has(level, level + 2)),
            side: side[..side.len().min(SIDE)].iter(),
            from,
            base: 0,
            ahead: 0,
        }
    }

    /// Of the words of a level from `first` on, which lie below one word of the
    /// level above, those that `mask` says were seen zero: clears their bits in
    /// one go, and sets again what was not zero after all.
    pub(crate) fn note_empty_words(&self, level: u32, first: u64, mask: u64) {
        if level == self.top {
            return;
        }
        let Some(has) = self.has(level, level + 1).get(first >> ORDERS_PER_LEVEL) else { return };
        // Those that the summary does not call non-zero are not touched.
        let bits = has.load(Ordering::Relaxed) & mask << (first & 63);
        if bits == 0 {
            return;
        }
        has.fetch_and(!bits, Ordering::Relaxed);
        // Pairs with the barrier in `set_summary_from`, as in `clear_summary`.
        if memdesc::seeded!("summary cleared without a second look") {
            return;
        }
        barrier::after_rmw();
        // Side by side in one chunk: the way there is gone once.
        let line = self.words(level).ahead(first).unwrap_or(&[]);
        let mut left = bits >> (first & 63);
        while left != 0 {
            let place = left.trailing_zeros();
            left &= left - 1;
            let word = first + u64::from(place);
            // (Acquire, as of any word that bits are found in.)
            let value = match line.get(place as usize) {
                Some(word) => word.load(Ordering::Acquire),
                None => self.load(level, word),
            };
            if value != 0 {
                self.set_summary(level, word);
            }
        }
    }

    /// Whether some block of a level above `level` may be free.
    pub(crate) fn has_above(&self, level: u32) -> bool {
        (level + 1..=self.top).any(|m| self.next_nonzero(m, 0).is_some())
    }

    /// Finds the lowest summary level at which something at or after word
    /// `from` is set: its place there.
    fn climb(&self, level: u32, from: u64) -> Option<(u32, u64)> {
        let mut index = from;
        for m in level + 1..=self.top {
            let word = index >> ORDERS_PER_LEVEL;
            let ahead = self.has(level, m).load(word) & (u64::MAX << (index & 63));
            if ahead != 0 {
                return Some((m, word << ORDERS_PER_LEVEL | u64::from(ahead.trailing_zeros())));
            }
            index = word + 1;
        }
        None
    }

    /// The last word of `level`, at or before `from`, that the summaries call
    /// non-zero: [`next_nonzero`](Self::next_nonzero) in a mirror.
    pub(crate) fn previous_nonzero(&self, level: u32, from: u64) -> Option<u64> {
        if level == self.top {
            return (self.load(level, 0) != 0).then_some(0);
        }
        let mut from = from;
        loop {
            let (mut m, mut index) = self.climb_back(level, from)?;
            loop {
                if m == level + 1 {
                    return Some(index);
                }
                let below = self.has(level, m - 1).load(index);
                if below == 0 {
                    break;
                }
                m -= 1;
                index = index << ORDERS_PER_LEVEL | u64::from(63 - below.leading_zeros());
            }
            // An empty summary word: say so above, and go on before it.
            self.clear_summary(level, m, index);
            from = (index << (ORDERS_PER_LEVEL * (m - level - 1))).checked_sub(1)?;
        }
    }

    /// Finds the lowest summary level at which something at or before word
    /// `from` is set: its place there.
    fn climb_back(&self, level: u32, from: u64) -> Option<(u32, u64)> {
        let mut index = from;
        for m in level + 1..=self.top {
            let word = index >> ORDERS_PER_LEVEL;
            let behind = self.has(level, m).load(word) & (u64::MAX >> (63 - (index & 63)));
            if behind != 0 {
                let last = u64::from(63 - behind.leading_zeros());
                return Some((m, word << ORDERS_PER_LEVEL | last));
            }
            index = word.checked_sub(1)?;
        }
        None
    }

    /// Word `word` of `level` has just left zero: makes it findable.
    #[cold]
    #[inline(never)]
    pub(super) fn set_summary(&self, level: u32, word: u64) {
        self.set_summary_from(level, level + 1, word);
    }

    /// Sets the bit of place `index` of level `m`, and above as far as a word
    /// leaves zero there too.
    fn set_summary_from(&self, level: u32, m: u32, index: u64) {
        let mut index = index;
        for m in m..=self.top {
            let bit = 1 << (index & 63);
            index >>= ORDERS_PER_LEVEL;
            let Some(word) = self.has(level, m).get(index) else {
                // Present since before the word below was: see the module.
                debug_assert!(false, "a present word without its summary");
                return;
            };
            // The word below was made non-zero by a read-modify-write of
            // ours. Pairs with the barrier in `clear_summary`: if a clearer
            // has cleared the bit, either we see it clear, or it sees the word
            // below non-zero and sets the bit again.
            barrier::after_rmw();
            if word.load(Ordering::Relaxed) & bit != 0 {
                return;
            }
            // Release, so that a search which finds the bit finds the word. (No
            // model misses it: the barrier above orders more.)
            if word.fetch_or(bit, Ordering::Release) != 0 {
                return;
            }
        }
    }

    /// What is below place `index` of level `m` was seen zero: clears its bit,
    /// and sets it again if it was not zero after all.
    pub(super) fn clear_summary(&self, level: u32, m: u32, index: u64) {
        let Some(word) = self.has(level, m).get(index >> ORDERS_PER_LEVEL) else {
            return;
        };
        word.fetch_and(!(1 << (index & 63)), Ordering::Relaxed);
        // Pairs with the barrier in `set_summary_from`.
        if memdesc::seeded!("summary cleared without a second look") {
            return;
        }
        barrier::after_rmw();
        let below = if m == level + 1 {
            self.load(level, index)
        } else {
            self.has(level, m - 1).load(index)
        };
        if below != 0 {
            self.set_summary_from(level, m, index);
        }
    }
}

/// See [`Forest::groups`]: the first word of each group, and which of its words
/// the summaries call non-zero.
pub(super) struct Groups<'a> {
    forest: &'a Forest,
    level: u32,
    /// The summaries one and two levels above, where there are such.
    near: Option<&'a Words>,
    beside: Option<&'a Words>,
    /// Words of the first of these that are looked into one after the other.
    side: core::slice::Iter<'a, AtomicU64>,
    /// The next group to be looked for.
    from: u64,
    /// Groups that were called non-zero when they were looked for, and where the
    /// 64 that they are of begin.
    base: u64,
    ahead: u64,
}

impl Iterator for Groups<'_> {
    type Item = (u64, u64);

    #[inline]
    fn next(&mut self) -> Option<(u64, u64)> {
        // Most searches end near where they begin.
        for summary in self.side.by_ref() {
            let group = self.from;
            self.from += 1;
            // (Acquire, as every word of these.)
            let summary = summary.load(Ordering::Acquire);
            if summary != 0 {
                return Some((group << ORDERS_PER_LEVEL, summary));
            }
        }
        self.next_far()
    }
}

impl Groups<'_> {
    #[inline(never)]
    fn next_far(&mut self) -> Option<(u64, u64)> {
        let (forest, level) = (self.forest, self.level);
        let Some(near) = self.near else {
            // One word spans everything.
            let is_first = core::mem::replace(&mut self.from, 1) == 0;
            return is_first.then_some((0, 1));
        };
        loop {
            if self.ahead == 0 {
                self.base = self.from & !63;
                self.ahead = self.beside();
            }
            if self.ahead == 0 {
                let word = forest.next_nonzero(level, self.from << ORDERS_PER_LEVEL)?;
                self.from = word >> ORDERS_PER_LEVEL;
                self.base = self.from & !63;
                self.ahead = self.beside() | 1 << (self.from & 63);
            }
            let group = self.base | u64::from(self.ahead.trailing_zeros());
            self.ahead &= self.ahead - 1;
            self.from = group + 1;
            let summary = near.load(group);
            if summary != 0 {
                return Some((group << ORDERS_PER_LEVEL, summary));
            }
            if self.beside.is_some() {
                forest.clear_summary(level, level + 2, group);
            }
        }
    }

    /// Groups from `from` on that the same word two levels above calls non-zero.
    #[inline]
    fn beside(&self) -> u64 {
        let Self { from, .. } = *self;
        let beside = self.beside.map_or(0, |beside| beside.load(from >> ORDERS_PER_LEVEL));
        beside & (u64::MAX << (from & 63))
    }
}

/// See [`Forest::broken_from`].
pub(crate) struct Broken<'a> {
    forest: &'a Forest,
    start: u64,
    /// The next word to be looked at.
    from: u64,
    /// The first words from there on with something below, and with places of
    /// their own, as they were when they were looked for; `None`: not yet.
    below: Option<u64>,
    own: Option<u64>,
    has_wrapped: bool,
}

/// No word.
const NONE: u64 = u64::MAX;

impl Iterator for Broken<'_> {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        loop {
            let (forest, from) = (self.forest, self.from);
            let below = self.below.filter(|&word| word >= from).unwrap_or_else(|| {
                let word = forest.next_nonzero(0, from << ORDERS_PER_LEVEL);
                word.map_or(NONE, |word| word >> ORDERS_PER_LEVEL)
            });
            let own = self
                .own
                .filter(|&word| word >= from)
                .unwrap_or_else(|| forest.next_nonzero(1, from).unwrap_or(NONE));
            (self.below, self.own) = (Some(below), Some(own));
            let next = below.min(own);
            if next != NONE && !(self.has_wrapped && next >= self.start) {
                self.from = next + 1;
                return Some(next);
            }
            if self.has_wrapped || self.start == 0 {
                return None;
            }
            *self = Broken { from: 0, below: None, own: None, has_wrapped: true, ..*self };
        }
    }
}
