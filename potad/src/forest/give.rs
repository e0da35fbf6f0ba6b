//! Giving back, and merging upward.

use super::Forest;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::{ORDERS_PER_LEVEL, Place};

/// Some of the bits given back were set already: nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AlreadyFree;

/// What setting bits made of their word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Added {
    /// All ones: it belongs one level up, unless it is kept warm.
    Whole,
    /// Anything else.
    Part,
}

impl Forest {
    /// Gives `place`, whose granules the caller owns, back; completes words
    /// upward unless `is_warm(level, word)` asks to keep one.
    ///
    /// The caller is inside a hand's bracket: between a completed word and its
    /// parent bit the granules are in no word at all.
    pub(crate) fn give(
        &self,
        place: Place,
        is_warm: impl Fn(u32, u64) -> bool,
    ) -> Result<(), AlreadyFree> {
        // Tested first, so that a double free changes nothing. Relaxed: bits
        // that we own are set by nobody else, and a bit that is not ours to
        // give is an error whichever value we see.
        let Place { level, word, mask } = place;
        let Some(atomic) = self.word(level, word) else { return Err(AlreadyFree) };
        let there = atomic.load(Ordering::Relaxed);
        // Present since the block was taken, or it was never given out.
        if there & mask != 0 || (there == 0 && !self.words(level).has(word)) {
            return Err(AlreadyFree);
        }
        if mask == u64::MAX && level < self.top {
            // A whole word that is ours: it is zero, and its bit lives above.
            self.complete(level, word, is_warm);
            return Ok(());
        }
        if self.add_to(atomic, place)? == Added::Whole {
            self.rise(level, word, is_warm);
        }
        Ok(())
    }

    /// Sets bits of `atomic`, a word of level 0, and does no more: what it was, if
    /// [`give_held_on`](Self::give_held_on) must follow.
    #[inline(always)]
    pub(crate) fn give_into(&self, atomic: &AtomicU64, mask: u64) -> Option<u64> {
        let before = set(atomic, mask);
        let is_all = before != 0 && before & mask == 0 && before | mask != u64::MAX;
        (!is_all).then_some(before)
    }

    /// Gives places of many blocks back, which a hand has held. Where some are free
    /// already (a double free through a handle made of an address, after the
    /// hand's last look at the word), the first free stands, and the other places
    /// lose nothing by it.
    #[inline]
    pub(crate) fn give_held(&self, place: Place, is_warm: impl Fn(u32, u64) -> bool) {
        let Place { level, word, mask } = place;
        if mask == u64::MAX && level < self.top && self.load(level, word) == 0 {
            // As in `give`.
            return self.complete(level, word, is_warm);
        }
        let Some(atomic) = self.word(level, word) else {
            debug_assert!(false, "a word that is not present");
            return;
        };
        self.give_held_on(place, set(atomic, mask), is_warm);
    }

    /// What follows in [`give_held`](Self::give_held) once the bits of a word that
    /// was `before` are set.
    #[inline]
    pub(crate) fn give_held_on(
        &self,
        place: Place,
        before: u64,
        is_warm: impl Fn(u32, u64) -> bool,
    ) {
        let Place { level, word, mask } = place;
        if before == 0 {
            self.set_summary(level, word);
        }
        if self.after(level, word, before | mask) == u64::MAX {
            self.rise(level, word, is_warm);
        }
    }

    /// A word was seen whole: moves it one level up, unless it is kept warm.
    #[inline]
    fn rise(&self, level: u32, word: u64, is_warm: impl Fn(u32, u64) -> bool) {
        // Not ours if somebody took a bit: the word is whole no more.
        if level < self.top && !is_warm(level, word) && self.lift(level, word) {
            self.complete(level, word, is_warm);
        }
    }

    /// A word is whole and in no level any more: sets its bit one level up, and
    /// so on while that completes a word.
    #[cold]
    #[inline(never)]
    fn complete(&self, level: u32, word: u64, is_warm: impl Fn(u32, u64) -> bool) {
        let (mut level, mut word) = (level, word);
        loop {
            let (above, holder, mask) = parent_of(level, word);
            // The bit stands for what we own: nobody else sets it.
            let added = self.add(above, holder, mask);
            debug_assert_ne!(added, Err(AlreadyFree), "level {above}, word {holder:#x}");
            let whole = added == Ok(Added::Whole) && above < self.top;
            if !whole || is_warm(above, holder) || !self.lift(above, holder) {
                return;
            }
            (level, word) = (above, holder);
        }
    }

    /// Sets bits of one word, all of which must have been clear.
    #[inline(always)]
    fn add(&self, level: u32, word: u64, mask: u64) -> Result<Added, AlreadyFree> {
        let Some(atomic) = self.word(level, word) else {
            debug_assert!(false, "a word that is not present");
            return Ok(Added::Part);
        };
        self.add_to(atomic, Place { level, word, mask })
    }

    /// The same of the word itself.
    #[inline(always)]
    fn add_to(&self, atomic: &AtomicU64, place: Place) -> Result<Added, AlreadyFree> {
        let Place { level, word, mask } = place;
        let before = set(atomic, mask);
        if before == 0 {
            self.set_summary(level, word);
        } else if before & mask != 0 {
            // Two threads gave the same bits at once: undo what was new.
            atomic.fetch_and(!(mask & !before), Ordering::Relaxed);
            return Err(AlreadyFree);
        }
        let after = self.after(level, word, before | mask);
        Ok(if after == u64::MAX { Added::Whole } else { Added::Part })
    }

    /// What setting bits made of a word: decided by what our own write found.
    #[inline(always)]
    fn after(&self, level: u32, word: u64, after: u64) -> u64 {
        match memdesc::seeded!("completed on a second look") {
            true => self.load(level, word),
            false => after,
        }
    }

    /// Gives places of a word that the caller keeps warm: one `fetch_or`, no
    /// merge. `false`, and nothing changed, if some are free already.
    #[inline(always)]
    pub(crate) fn give_warm(&self, atomic: &AtomicU64, place: Place) -> bool {
        if atomic.load(Ordering::Relaxed) & place.mask != 0 {
            return false;
        }
        // Release: as in `give`. Nobody else gives these bits, but for a double
        // free at this very moment, which then stays one.
        if atomic.fetch_or(place.mask, memdesc::weakened!("given fresh relaxed", Release)) == 0 {
            self.set_summary(place.level, place.word);
        }
        true
    }

    /// Merges a word that is whole and no longer warm. The caller is inside a
    /// bracket.
    pub(crate) fn merge(&self, level: u32, word: u64) {
        if level < self.top && self.load(level, word) == u64::MAX && self.lift(level, word) {
            self.complete(level, word, |_, _| false);
        }
    }

    /// Takes a whole word out of its level: exactly one caller wins.
    fn lift(&self, level: u32, word: u64) -> bool {
        if memdesc::seeded!("completed on a second look") {
            return true;
        }
        if memdesc::seeded!("merge without a compare-exchange") {
            let whole = self.load(level, word) == u64::MAX;
            if let Some(atomic) = self.word(level, word).filter(|_| whole) {
                atomic.store(0, Ordering::Release);
            }
            return whole;
        }
        // Acquire: as in `give`. The word may have been completed by others.
        self.word(level, word).is_some_and(|atomic| {
            atomic
                .compare_exchange(
                    u64::MAX,
                    0,
                    memdesc::weakened!("merged relaxed", AcqRel),
                    Ordering::Relaxed,
                )
                .is_ok()
        })
    }
}

/// Sets bits of a word; returns what it was.
#[inline(always)]
fn set(word: &AtomicU64, mask: u64) -> u64 {
    // Release: whoever takes the bits sees what we did to the block (its
    // slots are clear). Acquire: if we complete the word, what we pass
    // upward carries what the givers of the other bits did.
    match memdesc::seeded!("given by a plain store") {
        true => set_plainly(word, mask),
        false => word.fetch_or(mask, memdesc::weakened!("given relaxed", AcqRel)),
    }
}

/// The bug of one twin.
fn set_plainly(word: &AtomicU64, mask: u64) -> u64 {
    let before = word.load(Ordering::Acquire);
    word.store(before | mask, Ordering::Release);
    before
}

/// The place that stands for a whole word, one level up.
pub(super) fn parent_of(level: u32, word: u64) -> (u32, u64, u64) {
    (level + 1, word >> ORDERS_PER_LEVEL, 1 << (word & 63))
}
