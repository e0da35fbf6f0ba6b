//! The search for a place by regions, and their homes.
//!
//! # Picture
//!
//! ```text
//!  level 1      word w:  8 places a region: which of its words are wholly free
//!  has(0, 1)    word w:  8 places a region: which of its words may have bits
//!  homes        word w:  8 bits a region:   its class, or 0
//! ```
//!
//! Eight regions are judged by three loads of words with the same index; the
//! free words of one region are one cache line.
//!
//! # What always holds
//!
//! Homes are hints: `Relaxed` everywhere, and two writers of one word at once
//! may lose one of their bytes. What a search returns was seen, and is
//! nobody's: the caller takes it by the forest's own means, or looks again.

use crate::forest::{Forest, lowest_run, word_of};
use crate::placement::{Class, Placement, Rating, Region};
use crate::words::Words;
use memdesc::sync::atomic::Ordering;
use memdesc::{Granule, ORDERS_PER_LEVEL};

/// log2 of the words in a region, and of the regions below a word of level 1.
const WORDS: u32 = 3;
/// Blocks of this order or a larger one are whole regions, one as good as another.
pub(crate) const REGION_ORDER: u32 = ORDERS_PER_LEVEL + WORDS;
/// Words of level 1 that a search looks at.
const BUDGET: u32 = if cfg!(any(loom, shuttle)) { 2 } else { 32 };
/// Regions without a fitting run that a search looks into.
const MISSES: u32 = 32;

/// Places of a word that count as few: to search for it is most of the work.
pub(crate) const SPARSE: u32 = 4;

/// Where something fits that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// A word of level 0 that has a fitting run, the fullest of its region; and if
    /// it has few places, those words there that have some, for a [`Trail`].
    Broken { word: u64, sparse: u64 },
    /// A word of level 0 that is wholly free, as a place of level 1.
    Whole { word: u64 },
    /// Nothing seen is as good as breaking a block of a level above 1.
    Larger,
}

/// The classes that regions are homes of, a byte each.
#[derive(Debug, Default)]
pub(crate) struct Homes(Words);

impl Homes {
    /// For the regions of granules up to `last`, and later ones.
    pub(crate) fn up_to(last: Granule) -> Self {
        let index = last.0 >> (ORDERS_PER_LEVEL + WORDS) >> WORDS;
        Self(Words::up_to(index, u64::MAX))
    }

    fn of_eight(&self, index: u64) -> u64 {
        // Relaxed: a hint.
        self.0.get(index).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// The home of the region of a word of level 0.
    #[inline]
    pub(crate) fn of(&self, word: u64) -> Option<Class> {
        let region = word >> WORDS;
        Class::of_byte(byte(self.of_eight(region >> WORDS), region))
    }

    /// Makes the region of a word of level 0 a home of `class`. Forgotten where
    /// there is no memory for it.
    pub(crate) fn settle(&self, word: u64, class: Class) {
        let region = word >> WORDS;
        if self.of(word) == Some(class) {
            return;
        }
        let Ok(homes) = self.0.install(region >> WORDS) else { return };
        let shift = shift_of(region);
        let others = homes.load(Ordering::Relaxed) & !(0xff << shift);
        homes.store(others | u64::from(class.byte()) << shift, Ordering::Relaxed);
    }

    /// Bytes of tables.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// What a search has come by.
#[derive(Default)]
struct Seen {
    /// The best rated region that is broken, and where to take there.
    broken: Option<(Rating, Site)>,
    /// The same of those that are all free.
    fresh: Option<(Rating, Site)>,
    /// Regions looked into in vain.
    misses: u32,
}

/// Whether to look any further.
#[derive(PartialEq, Eq)]
enum Look {
    On,
    Enough,
}

/// A search on behalf of a class.
pub(crate) struct Search<'a> {
    pub(crate) forest: &'a Forest,
    pub(crate) homes: &'a Homes,
    pub(crate) policy: &'a dyn Placement,
    pub(crate) class: Class,
    /// The length of the aligned run that is needed.
    pub(crate) run: u32,
    /// Places to leave alone if others fit, by level and word.
    pub(crate) avoided: &'a dyn Fn(u32, u64) -> u64,
}

impl Search<'_> {
    /// The place to take next, for a class that took last at `near`.
    pub(crate) fn site(&self, near: Granule) -> Option<Site> {
        if self.forest.top() == 0 {
            return self.within(0, 0);
        }
        let here = word_of(0, near) >> WORDS;
        self.stay(here).or_else(|| self.around(here))
    }

    /// In the same region, if it is the class's and not all free.
    #[inline]
    fn stay(&self, here: u64) -> Option<Site> {
        if self.homes.of(here << WORDS) != Some(self.class) {
            return None;
        }
        let whole = byte(self.forest.load(1, here >> WORDS), here);
        if whole == u8::MAX { None } else { self.within(here, whole) }
    }

    /// In the region that the policy rates highest, of those from `here` on.
    /// Once no level above has a block, whole regions are scarce, and any broken
    /// one comes first: who needs one whole is not to look for it in vain.
    fn around(&self, here: u64) -> Option<Site> {
        let (mut seen, first) = (Seen::default(), here >> WORDS);
        // Most searches end where they begin: no walk for that.
        if self.look(first, &mut seen) == Look::Enough {
            return self.best_of(&seen);
        }
        let mut broken = self.forest.broken_from(first + 1);
        for _ in 1..BUDGET {
            let Some(index) = broken.next() else { break };
            if self.look(index, &mut seen) == Look::Enough {
                break;
            }
        }
        self.best_of(&seen)
    }

    /// The better of the best broken region and the best one that is all free.
    fn best_of(&self, seen: &Seen) -> Option<Site> {
        let fresh = self.policy.rate(self.class, &Region::new(None, Region::WORDS));
        let whole = seen.fresh.map(|(_, site)| site);
        match seen.broken {
            Some((rating, site)) if rating >= fresh => Some(site),
            _ if self.forest.has_above(1) => whole.or(Some(Site::Larger)),
            broken => broken.map(|(_, site)| site).or(whole),
        }
    }

    /// Looks at the eight regions of one word of level 1.
    fn look(&self, index: u64, seen: &mut Seen) -> Look {
        let whole = self.forest.load(1, index);
        let some = self.forest.may_have(0, 1, index) | whole;
        if whole == 0 {
            self.forest.note_empty_word(1, index);
        }
        let homes = self.homes.of_eight(index);
        let mut left = some;
        while left != 0 {
            let region = index << WORDS | u64::from(left.trailing_zeros() >> WORDS);
            left &= !(0xff << shift_of(region));
            let whole = byte(whole, region);
            let home = Class::of_byte(byte(homes, region));
            let known = Region::new(home, whole.count_ones());
            let rating = self.policy.rate(self.class, &known);
            let best = match known.is_fresh() {
                true => &mut seen.fresh,
                false => &mut seen.broken,
            };
            if best.is_some_and(|(so_far, _)| rating <= so_far) {
                continue;
            }
            let Some(site) = self.within(region, whole) else {
                seen.misses += 1;
                if seen.misses > MISSES {
                    return Look::Enough;
                }
                continue;
            };
            *best = Some((rating, site));
            if rating == Rating::BEST {
                // Whichever it is: nothing can be better.
                seen.broken = *best;
                return Look::Enough;
            }
        }
        Look::On
    }

    /// In this region, of whose words `whole` are wholly free: the fullest of
    /// the broken words that fit, else a whole one. Words that have nothing are
    /// noted where nothing fits: searches are to pass them by.
    fn within(&self, region: u64, whole: u8) -> Option<Site> {
        let first = region << WORDS;
        let line = self.forest.words_ahead(first).unwrap_or(&[]);
        let line = &line[..line.len().min(1 << WORDS)];
        let (mut words, mut some) = ([0; 1 << WORDS], 0_u32);
        for (place, (seen, word)) in (0..).zip(words.iter_mut().zip(line)) {
            // Relaxed: whoever takes looks again, and so does whoever clears.
            *seen = word.load(Ordering::Relaxed);
            some |= u32::from(*seen != 0) << place;
        }
        let (mut fullest, mut sparse, mut left) = (0, 0, some);
        while left != 0 {
            let place = left.trailing_zeros();
            left &= left - 1;
            let free = words[place as usize % words.len()];
            if self.run != 1 && lowest_run(free, self.run).is_none() {
                continue;
            }
            let count = free.count_ones();
            if count <= SPARSE {
                sparse |= Trail::bit(place, count);
            } else {
                fullest = fullest.max(count << WORDS | place);
            }
        }
        if fullest != 0 {
            let word = first + u64::from(fullest % (1 << WORDS));
            return Some(Site::Broken { word, sparse: 0 });
        }
        if sparse != 0 {
            return Some(Site::Broken { word: first + Trail::first(sparse), sparse });
        }
        if whole == 0 {
            // (In models a region may go on in another array.)
            let empty = !u64::from(some) & ((1 << line.len()) - 1);
            self.forest.note_empty_words(0, first, empty);
            return None;
        }
        let avoided = byte((self.avoided)(1, region >> WORDS), region);
        let kept = if whole & !avoided == 0 { whole } else { whole & !avoided };
        Some(Site::Whole { word: first + u64::from(kept.trailing_zeros()) })
    }
}

/// What refills will look into next without a search: the words of one region, all
/// of them sparse, in the order in which searches would name them.
///
/// ```text
///           31      24 23      16 15       8 7        0
///          +----------+----------+----------+----------+
///  words:  | have 4   | have 3   | have 2   | have 1   |  a bit a word
///          +----------+----------+----------+----------+
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trail {
    pub(crate) region: u64,
    /// None are left where it is 0.
    pub(crate) words: u64,
}

impl Trail {
    /// The bit of a word that has `count` places, from 1 to [`SPARSE`].
    fn bit(place: u32, count: u32) -> u64 {
        1 << ((count - 1) << WORDS | place)
    }

    /// Which word of the region comes first. `words` is not 0.
    fn first(words: u64) -> u64 {
        u64::from(words.ilog2()) & ((1 << WORDS) - 1)
    }

    /// The words beside `word`, the first of them, which was claimed.
    pub(crate) fn beside(word: u64, words: u64) -> Self {
        let trail = Self { region: word >> WORDS, words };
        trail.rest()
    }

    fn rest(self) -> Self {
        let words = self.words & !self.words.checked_ilog2().map_or(0, |first| 1 << first);
        Self { words, ..self }
    }

    /// The first word of the region after that of `word`.
    pub(crate) fn after(word: u64) -> u64 {
        ((word >> WORDS) + 1) << WORDS
    }

    /// The next word, and what is left then; `None` if nothing is, or `near` is in
    /// another region by now.
    #[inline]
    pub(crate) fn next(self, near: Granule) -> Option<(u64, Self)> {
        if self.words == 0 || word_of(0, near) >> WORDS != self.region {
            return None;
        }
        Some((self.region << WORDS | Self::first(self.words), self.rest()))
    }
}

/// Whether a granule and a word of level 0 are of one region.
#[inline]
pub(crate) fn is_same_region(at: Granule, word: u64) -> bool {
    word_of(0, at) >> WORDS == word >> WORDS
}

/// Whether all words but one of the region of a word of level 0 are wholly free.
pub(crate) fn is_fresh_but_for(forest: &Forest, word: u64) -> bool {
    let region = word >> WORDS;
    byte(forest.load(1, region >> WORDS), region).count_ones() + 1 == Region::WORDS
}

/// Where a region's byte is in the word that it shares with seven others.
fn shift_of(region: u64) -> u32 {
    // Lossless: below 64.
    ((region << WORDS) & 63) as u32
}

fn byte(eight: u64, region: u64) -> u8 {
    (eight >> shift_of(region)) as u8
}

const _: () = assert!(2 * WORDS == ORDERS_PER_LEVEL);

#[cfg(all(test, not(loom)))]
mod tests;
