//! The search for a place by regions.
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
//! # How
//!
//! By address, with some inertia: what lies lowest is filled first, so what lies
//! high is left alone until it is whole again.
//!
//! 1. The region of the last success, while the class is at home there.
//! 2. The lowest of the class's own regions in which half of the words have
//!    something: one that has but a granule or two is not worth the way while
//!    another has more. If there is none, the lowest that has anything.
//! 3. What the policy rates highest of all others, the lowest among equals.
//!
//! Single granules fit wherever there is anything, so for them the look along
//! the regions begins at the lowest each time. A run may find regions in which
//! nothing fits, one after the other; the look for one goes on where the last
//! one ended, or it would meet the same each time.
//!
//! # What always holds
//!
//! What a search returns was seen, and is nobody's: the caller takes it by the
//! forest's own means, or looks again.

use crate::forest::{Forest, lowest_run, word_of};
use crate::homes::{Homes, WORDS, byte, equal_bytes, half_full_bytes, shift_of};
use crate::placement::{Class, Placement, Rating, Region};
use memdesc::sync::atomic::Ordering;
use memdesc::{Granule, ORDERS_PER_LEVEL, Place};

/// Words of level 1 that a search looks at.
const BUDGET: u32 = if cfg!(any(loom, shuttle)) { 2 } else { 32 };
/// Regions without a fitting run that a search looks into.
const MISSES: u32 = 64;

/// Where something fits that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// A word of level 0 that has a fitting run.
    Broken { word: u64 },
    /// A word of level 0 that is wholly free, as a place of level 1.
    Whole { word: u64 },
    /// Nothing seen is as good as breaking a block of a level above 1.
    Larger,
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

/// What a look along a class's own regions has come by.
#[derive(Default)]
struct Own {
    /// The lowest place that is not in a region worth the way: the word of level
    /// 1 above it, and where to take there.
    poor: Option<(u64, Site)>,
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
    /// The word of level 1 where the look along the regions begins; then, where
    /// the next one should.
    pub(crate) from: u64,
    /// Places to leave alone if others fit, by level and word.
    pub(crate) avoided: &'a dyn Fn(u32, u64) -> u64,
}

impl Search<'_> {
    /// The place to take next, for a class that took last at `near`.
    pub(crate) fn site(&mut self, near: Granule) -> Option<Site> {
        if self.forest.top() == 0 {
            return self.within(0, 0);
        }
        self.at_home(near).or_else(|| self.around())
    }

    /// The same in the class's own regions alone.
    pub(crate) fn at_home(&mut self, near: Granule) -> Option<Site> {
        if self.forest.top() == 0 {
            return None;
        }
        self.stay(word_of(0, near) >> WORDS).or_else(|| self.along())
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

    /// In the lowest of the class's own regions, from `from` on and then below it.
    fn along(&mut self) -> Option<Site> {
        let (start, reach, mut own) = (self.from, u64::from(BUDGET), Own::default());
        if let Some(site) = self.along_words(start, start + reach, &mut own) {
            return Some(site);
        }
        if own.misses <= MISSES
            && let Some(site) = self.along_words(0, start.min(reach), &mut own)
        {
            return Some(site);
        }
        let (index, site) = own.poor?;
        self.from = index;
        Some(site)
    }

    /// The same below the words from `index` to `end` of level 1: a place in a
    /// region that is worth the way.
    fn along_words(&mut self, mut index: u64, end: u64, own: &mut Own) -> Option<Site> {
        while index < end {
            let homes = self.homes.ahead(index);
            let below = self.forest.below_ahead(index);
            let whole = self.forest.whole_ahead(index);
            let side_by_side = homes.len().min(below.len()).min(whole.len());
            let count = side_by_side.min((end - index) as usize);
            if count == 0 {
                return None;
            }
            for ((homes, below), whole) in homes[..count].iter().zip(below).zip(whole) {
                // Relaxed: hints, and whoever takes looks again.
                let is_own = equal_bytes(homes.load(Ordering::Relaxed), self.class.byte());
                if is_own != 0 {
                    let whole = whole.load(Ordering::Relaxed);
                    let some = below.load(Ordering::Relaxed) | whole;
                    let rich = self.in_eight(index, is_own, some, whole, own);
                    if rich.is_some() || own.misses > MISSES {
                        self.from = index;
                        return rich;
                    }
                }
                index += 1;
            }
        }
        None
    }

    /// The same in the eight regions of one word of level 1, of which `is_own`
    /// are the class's, and have `some` words with bits and `whole` ones.
    fn in_eight(
        &self,
        index: u64,
        is_own: u64,
        some: u64,
        whole: u64,
        own: &mut Own,
    ) -> Option<Site> {
        let broken = is_own & !equal_bytes(whole, u8::MAX) & !equal_bytes(some, 0);
        let mut rich = broken & half_full_bytes(some);
        let mut poor = broken & !rich;
        let region_of = |bit: u64| index << WORDS | u64::from(bit.trailing_zeros() >> WORDS);
        while rich != 0 {
            let region = region_of(rich);
            rich &= rich - 1;
            let site = self.within(region, byte(whole, region));
            if site.is_some() {
                return site;
            }
            own.misses += 1;
        }
        while poor != 0 && own.poor.is_none() {
            let region = region_of(poor);
            poor &= poor - 1;
            own.poor = self.within(region, byte(whole, region)).map(|site| (index, site));
            own.misses += u32::from(own.poor.is_none());
        }
        None
    }

    /// In the region that the policy rates highest, of those from `from` on.
    /// Once no level above has a block, whole regions are scarce, and any broken
    /// one comes first: who needs one whole is not to look for it in vain.
    fn around(&mut self) -> Option<Site> {
        let mut seen = Seen::default();
        let mut broken = self.forest.broken_from(self.from);
        let mut last = None;
        for _ in 0..BUDGET {
            last = broken.next();
            let Some(index) = last else { break };
            if self.look(index, &mut seen) == Look::Enough {
                break;
            }
        }
        if seen.misses > 0 {
            // Not the same again.
            self.from = last.map_or(0, |index| index + 1);
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

    /// In this region, of whose words `whole` are wholly free: the lowest of the
    /// broken words that fit, else a whole one. Words that have nothing are
    /// noted where nothing fits: searches are to pass them by.
    #[inline]
    fn within(&self, region: u64, whole: u8) -> Option<Site> {
        let first = region << WORDS;
        let line = self.forest.words_ahead(first).unwrap_or(&[]);
        let line = &line[..line.len().min(1 << WORDS)];
        let mut empty = 0;
        for (place, word) in (0..).zip(line) {
            // Relaxed: whoever takes looks again, and so does whoever clears.
            let free = word.load(Ordering::Relaxed);
            if free == 0 {
                empty |= 1 << place;
            } else if self.run == 1 || lowest_run(free, self.run).is_some() {
                return Some(Site::Broken { word: first + place });
            }
        }
        if whole == 0 {
            self.forest.note_empty_words(first, line, empty);
            return None;
        }
        let avoided = byte((self.avoided)(1, region >> WORDS), region);
        let kept = if whole & !avoided == 0 { whole } else { whole & !avoided };
        Some(Site::Whole { word: first + u64::from(kept.trailing_zeros()) })
    }
}

/// Whether a granule and a word of level 0 are of one region.
#[inline]
pub(crate) fn is_same_region(at: Granule, word: u64) -> bool {
    word_of(0, at) >> WORDS == word >> WORDS
}

/// Whether all of a region is free but for one place of level 0 in it.
pub(crate) fn is_fresh_but_for(forest: &Forest, place: Place) -> bool {
    let region = place.word >> WORDS;
    byte(forest.load(1, region >> WORDS), region).count_ones() + 1 == Region::WORDS
        && forest.load(0, place.word) == !place.mask
}

const _: () = assert!(2 * WORDS == ORDERS_PER_LEVEL);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::forest::Taken;
    use crate::placement::Together;
    use memdesc::{Block, Granules, Order};

    /// Four regions, all free.
    fn four_regions() -> Forest {
        let forest = Forest::new(3);
        let range = Granules::new(Granule(0), Granule(4 * 512 - 1)).unwrap();
        for block in range.cover() {
            forest.ensure_from(0, block.base()).unwrap();
            forest.give(block.place(), |_, _| false).unwrap();
        }
        forest
    }

    /// Leaves `free` words of a region wholly free.
    fn leave(forest: &Forest, region: u64, free: u64) {
        for word in (region << WORDS)..((region + 1) << WORDS) - free {
            leave_none(forest, word);
        }
    }

    fn search<'a>(forest: &'a Forest, homes: &'a Homes, class: Class) -> Search<'a> {
        let policy = &Together { adopt: 3 };
        Search { forest, homes, policy, class, run: 1, from: 0, avoided: &|_, _| 0 }
    }

    #[test]
    fn a_class_stays_then_adopts_then_opens_and_takes_the_rest_last() {
        let (forest, homes) = (four_regions(), Homes::default());
        let (mine, other) = (Class::new(1), Class::new(2));
        for (region, free) in [(0, 2), (1, 4), (2, 1)] {
            leave(&forest, region, free);
            homes.settle(region << WORDS, other);
        }
        let site = || search(&forest, &homes, mine).site(Granule(0));
        homes.settle(2 << WORDS, mine);
        assert_eq!(site(), Some(Site::Whole { word: 23 }), "its own");
        leave_none(&forest, 23);
        assert_eq!(site(), Some(Site::Whole { word: 12 }), "another's with room");
        homes.settle(1 << WORDS, Class::LARGE);
        assert_eq!(site(), Some(Site::Whole { word: 12 }), "whole ones are scarce");
        give_larger(&forest);
        assert_eq!(site(), Some(Site::Whole { word: 24 }), "a fresh one");
    }

    #[test]
    fn of_its_own_the_lowest_comes_first_in_which_half_of_the_words_have_something() {
        let (forest, homes) = (four_regions(), Homes::default());
        let mine = Class::new(1);
        for (region, free) in [(0, 3), (1, 4), (3, 7)] {
            leave(&forest, region, free);
            homes.settle(region << WORDS, mine);
        }
        // Near is a region that is all free, and nobody's home.
        let site = || search(&forest, &homes, mine).site(Granule(2 * 512));
        assert_eq!(site(), Some(Site::Whole { word: 12 }));
        leave_none(&forest, 12);
        assert_eq!(site(), Some(Site::Whole { word: 25 }));
        for word in 25..30 {
            leave_none(&forest, word);
        }
        assert_eq!(site(), Some(Site::Whole { word: 5 }), "none has so many: the lowest");
    }

    #[test]
    fn what_a_larger_block_has_broken_is_used_before_another_region_is_opened() {
        let (forest, homes) = (four_regions(), Homes::default());
        give_larger(&forest);
        leave(&forest, 1, 3);
        let site = search(&forest, &homes, Class::new(1)).site(Granule(0));
        assert_eq!(site, Some(Site::Whole { word: 13 }));
    }

    #[test]
    fn a_region_counts_as_opened_by_a_place_only_if_all_else_in_it_is_free() {
        let forest = four_regions();
        let place = |at| Block::containing(Granule(at), Order::new(3).unwrap());
        let take = |block| assert_eq!(forest.take_exact(block), Ok(Taken::Block(block)));
        take(place(512));
        assert!(is_fresh_but_for(&forest, place(512).place()));
        take(Block::containing(Granule(512 + 40), Order::ZERO));
        take(place(512 + 8));
        assert!(!is_fresh_but_for(&forest, place(512 + 8).place()));
    }

    #[test]
    fn the_look_for_a_run_goes_on_where_the_last_one_ended() {
        let (forest, homes) = (four_regions(), Homes::default());
        let mine = Class::new(1);
        leave(&forest, 0, 1);
        homes.settle(0, mine);
        let mut pairs = Search { run: 2, from: 5, ..search(&forest, &homes, mine) };
        // Nothing above: it turns, and says where it found something.
        assert_eq!(pairs.site(Granule(1 << 11)), Some(Site::Whole { word: 7 }));
        assert_eq!(pairs.from, 0);
    }

    /// Makes a block of level 2 free.
    fn give_larger(forest: &Forest) {
        let order = Order::new(2 * ORDERS_PER_LEVEL).unwrap();
        let larger = Block::containing(Granule(1 << 12), order);
        forest.ensure_from(0, larger.base()).unwrap();
        forest.give(larger.place(), |_, _| false).unwrap();
    }

    fn leave_none(forest: &Forest, word: u64) {
        let order = Order::new(ORDERS_PER_LEVEL).unwrap();
        let whole = Block::containing(Granule(word << ORDERS_PER_LEVEL), order);
        assert_eq!(forest.take_exact(whole), Ok(Taken::Block(whole)));
    }

    #[test]
    fn a_broken_word_comes_before_a_whole_one_and_the_fullest_first() {
        let (forest, homes) = (four_regions(), Homes::default());
        homes.settle(0, Class::default());
        for taken in [3, 64 + 7, 64 + 8] {
            let one = Block::containing(Granule(taken), Order::ZERO);
            assert_eq!(forest.take_exact(one), Ok(Taken::Block(one)));
        }
        let near = Granule(100);
        let site = search(&forest, &homes, Class::default()).site(near);
        assert_eq!(site, Some(Site::Broken { word: 0 }));
        assert_eq!(forest.claim_word(0, 0).count_ones(), 63);
        let site = search(&forest, &homes, Class::default()).site(near);
        assert_eq!(site, Some(Site::Broken { word: 1 }));
    }

    #[test]
    fn an_empty_region_is_passed_by_and_found_again() {
        let (forest, homes) = (four_regions(), Homes::default());
        let one = Block::containing(Granule(0), Order::ZERO);
        assert_eq!(forest.take_exact(one), Ok(Taken::Block(one)));
        for word in 1..32 {
            leave_none(&forest, word);
        }
        assert_eq!(forest.claim_word(0, 0).count_ones(), 63);
        assert_ne!(forest.may_have(0, 1, 0), 0, "stale until somebody looks");
        assert_eq!(search(&forest, &homes, Class::default()).site(Granule(0)), None);
        assert_eq!(forest.may_have(0, 1, 0), 0);
        forest.give(one.place(), |_, _| false).unwrap();
        let site = search(&forest, &homes, Class::default()).site(Granule(0));
        assert_eq!(site, Some(Site::Broken { word: 0 }));
    }
}
