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
const SPARSE: u32 = 4;

/// Where something fits that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// A word of level 0 that has a fitting run, the fullest of its region; and if
    /// it has few places, which words there are as full.
    Broken { word: u64, alike: u8 },
    /// A word of level 0 that is wholly free, as a place of level 1.
    Whole { word: u64 },
    /// Nothing seen is as good as breaking a block of a level above 1.
    Larger,
}

/// The classes that regions are homes of, a byte each.
#[derive(Debug, Default)]
pub(crate) struct Homes(Words);

impl Homes {
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
        let (mut most, mut fullest, mut alike, mut empty) = (0, 0, 0, 0);
        for (place, word) in (0..).zip(line) {
            // Relaxed: whoever takes looks again, and so does whoever clears.
            let free = word.load(Ordering::Relaxed);
            if free == 0 {
                empty |= 1 << place;
                continue;
            }
            if self.run != 1 && lowest_run(free, self.run).is_none() {
                continue;
            }
            let count = count_of(free);
            if count >= most {
                alike = if count == most { alike } else { 0 } | 1 << place;
                (most, fullest) = (count, first + place);
            }
        }
        if most != 0 {
            let alike = if most <= SPARSE { alike } else { 0 };
            return Some(Site::Broken { word: fullest, alike });
        }
        if whole == 0 {
            self.forest.note_empty_words(0, first, empty);
            return None;
        }
        let avoided = byte((self.avoided)(1, region >> WORDS), region);
        let kept = if whole & !avoided == 0 { whole } else { whole & !avoided };
        Some(Site::Whole { word: first + u64::from(kept.trailing_zeros()) })
    }
}

/// Places of a word that is not 0: most that are looked at have a single one, and
/// not every processor that this is compiled for counts in one step.
#[inline(always)]
fn count_of(free: u64) -> u32 {
    if free & (free - 1) == 0 { 1 } else { free.count_ones() }
}

/// What refills will look into next without a search: words of one region that were
/// as full as one that was claimed, and would be found one after the other.
///
/// ```text
///  63               8 7          0
/// +------------------+------------+
/// | region           | its words  |    no words: nothing
/// +------------------+------------+
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trail(pub(crate) u64);

impl Trail {
    /// The words beside one that was claimed.
    pub(crate) fn beside(word: u64, alike: u8) -> Self {
        let rest = u64::from(alike) & !(1 << (word & ((1 << WORDS) - 1)));
        Self((word >> WORDS) << u8::BITS | rest)
    }

    /// The first word of the region after that of `word`.
    pub(crate) fn after(word: u64) -> u64 {
        ((word >> WORDS) + 1) << WORDS
    }

    /// The next word, and what is left then; `None` if nothing is, or `near` is in
    /// another region by now.
    #[inline]
    pub(crate) fn next(self, near: Granule) -> Option<(u64, Self)> {
        let (region, rest) = (self.0 >> u8::BITS, self.0 & u64::from(u8::MAX));
        if rest == 0 || word_of(0, near) >> WORDS != region {
            return None;
        }
        let place = u64::from(rest.ilog2());
        Some((region << WORDS | place, Self(self.0 & !(1 << place))))
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
mod tests {
    use super::*;
    use crate::forest::Taken;
    use crate::placement::Together;
    use alloc::vec::Vec;
    use memdesc::{Block, Granules, Order};

    #[test]
    fn a_home_is_kept_beside_its_neighbours() {
        let homes = Homes::default();
        assert_eq!(homes.of(0), None);
        for region in 0..20u64 {
            homes.settle(region << WORDS, Class::new(region as u8));
        }
        homes.settle(7 << WORDS | 5, Class::LARGE);
        for region in 0..20u64 {
            let expected = if region == 7 { Class::LARGE } else { Class::new(region as u8) };
            for word in region << WORDS..(region + 1) << WORDS {
                assert_eq!(homes.of(word), Some(expected), "word {word}");
            }
        }
        assert_eq!(homes.of(20 << WORDS), None);
        assert!(homes.bytes() >= 4096);
    }

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
        Search { forest, homes, policy, class, run: 1, avoided: &|_, _| 0 }
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
        assert_eq!(site, Some(Site::Broken { word: 0, alike: 0 }));
        assert_eq!(forest.claim_word(0, 0).count_ones(), 63);
        let site = search(&forest, &homes, Class::default()).site(near);
        assert_eq!(site, Some(Site::Broken { word: 1, alike: 0 }));
    }

    #[test]
    fn words_that_are_as_sparse_follow_each_other_without_a_search() {
        let (forest, homes) = (four_regions(), Homes::default());
        homes.settle(8, Class::default());
        // All words of the second region keep one place, but for two of them.
        for word in 8..16 {
            let mask = if word == 11 {
                0
            } else if word == 13 {
                0b11
            } else {
                1 << word
            };
            leave_none(&forest, word);
            if mask != 0 {
                let place = memdesc::Place { level: 0, word, mask };
                forest.ensure(0, Granule(word << ORDERS_PER_LEVEL)).unwrap();
                forest.give(place, |_, _| false).unwrap();
            }
        }
        let near = Granule(520);
        let site = || search(&forest, &homes, Class::default()).site(near);
        assert_eq!(site(), Some(Site::Broken { word: 13, alike: 0b10_0000 }));
        assert_eq!(forest.claim_word(0, 13), 0b11);
        assert_eq!(site(), Some(Site::Broken { word: 15, alike: 0b1101_0111 }));
        let mut trail = Trail::beside(15, 0b1101_0111);
        assert!(trail.next(Granule(0)).is_none(), "the hand is elsewhere");
        for word in [14, 12, 10, 9, 8] {
            let (next, rest) = trail.next(near).unwrap();
            assert_eq!(next, word);
            trail = rest;
        }
        assert!(trail.next(near).is_none());
        assert!(Trail::beside(15, 0).next(near).is_none(), "not sparse");
    }

    #[test]
    fn a_region_is_fresh_but_for_the_first_word_that_was_taken() {
        let forest = four_regions();
        assert!(!is_fresh_but_for(&forest, 13), "nothing is taken");
        leave_none(&forest, 13);
        assert!(is_fresh_but_for(&forest, 13) && !is_fresh_but_for(&forest, 16));
        leave_none(&forest, 8);
        assert!(!is_fresh_but_for(&forest, 8), "it was open before");
    }

    #[test]
    fn an_empty_region_is_passed_by_and_found_again() {
        let (forest, homes) = (four_regions(), Homes::default());
        let [one, other] = [0, 3 * 64].map(|at| Block::containing(Granule(at), Order::ZERO));
        for single in [one, other] {
            assert_eq!(forest.take_exact(single), Ok(Taken::Block(single)));
        }
        for word in (1..32).filter(|&word| word != 3) {
            leave_none(&forest, word);
        }
        for word in [0, 3] {
            assert_eq!(forest.claim_word(0, word).count_ones(), 63);
        }
        assert_eq!(forest.may_have(0, 1, 0), 0b1001, "stale until somebody looks");
        assert_eq!(search(&forest, &homes, Class::default()).site(Granule(0)), None);
        assert_eq!(forest.may_have(0, 1, 0), 0);
        forest.give(one.place(), |_, _| false).unwrap();
        let site = search(&forest, &homes, Class::default()).site(Granule(0));
        assert_eq!(site, Some(Site::Broken { word: 0, alike: 0b1 }));
    }

    /// What words are in the obvious search: bits, or wholly free.
    struct Obvious {
        words: Vec<u64>,
        homes: Vec<Option<Class>>,
        larger: bool,
        avoided: u64,
        run: u32,
        policy: Together,
        class: Class,
    }

    impl Obvious {
        fn whole(&self, region: usize) -> u8 {
            (0..8).fold(0, |all, at| match self.words[8 * region + at] {
                u64::MAX => all | 1 << at,
                _ => all,
            })
        }

        /// What fits of a word that is not wholly free.
        fn fits(&self, word: usize) -> bool {
            let (bits, run) = (self.words[word], self.run);
            let mask = (1_u64 << run) - 1;
            let mut starts = (0..64 / run).map(|at| at * run);
            bits != u64::MAX && starts.any(|at| bits >> at & mask == mask)
        }

        fn within(&self, region: usize) -> Option<Site> {
            let words = (8 * region..8 * region + 8).filter(|&word| self.fits(word));
            let counts: Vec<_> = words.map(|word| (self.words[word].count_ones(), word)).collect();
            if let Some(&(most, word)) = counts.iter().max() {
                let alike = counts.iter().filter(|(count, _)| most <= 4 && *count == most);
                let alike = alike.fold(0, |all, (_, word)| all | 1 << (word % 8));
                return Some(Site::Broken { word: word as u64, alike });
            }
            let whole = self.whole(region);
            let kept = whole & !((self.avoided >> (8 * region)) as u8);
            let kept = if kept == 0 { whole } else { kept };
            let place = (0..8).find(|at| kept >> at & 1 != 0)?;
            Some(Site::Whole { word: 8 * region as u64 + place })
        }

        fn site(&self, near: usize) -> Option<Site> {
            if self.homes[near] == Some(self.class)
                && self.whole(near) != u8::MAX
                && let Some(site) = self.within(near)
            {
                return Some(site);
            }
            let rate = |region: usize| {
                let whole_words = self.whole(region).count_ones();
                self.policy.rate(self.class, &Region { home: self.homes[region], whole_words })
            };
            let some = || (0..8).filter(|&region| self.within(region).is_some());
            let first_best = |regions: &mut dyn Iterator<Item = usize>| {
                let best = regions.max_by_key(|&region| (rate(region), 8 - region));
                best.map(|region| (rate(region), self.within(region).unwrap()))
            };
            let is_fresh = |region: &usize| self.whole(*region) == u8::MAX;
            let broken = first_best(&mut some().filter(|region| !is_fresh(region)));
            let fresh = first_best(&mut some().filter(is_fresh)).map(|(_, site)| site);
            match broken {
                Some((rating, site)) if rating >= Rating(16) => Some(site),
                _ if self.larger => fresh.or(Some(Site::Larger)),
                broken => broken.map(|(_, site)| site).or(fresh),
            }
        }

        fn forest(&self) -> Forest {
            let forest = Forest::new(3);
            for (word, &bits) in (0_u64..).zip(&self.words) {
                forest.ensure_from(0, Granule(word << ORDERS_PER_LEVEL)).unwrap();
                let place = |level, word, mask| memdesc::Place { level, word, mask };
                if bits == u64::MAX {
                    forest.give(place(1, 0, 1 << word), |_, _| false).unwrap();
                    continue;
                }
                for at in (0..64).filter(|at| bits >> at & 1 != 0) {
                    forest.give(place(0, word, 1 << at), |_, _| false).unwrap();
                }
            }
            if self.larger {
                give_larger(&forest);
            }
            forest
        }
    }

    fn random(state: &mut u64, below: u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*state >> 33) % below
    }

    fn obvious(state: &mut u64) -> Obvious {
        let mut next = |below| random(state, below);
        // Regions are mostly of one sort each: all free, none, or mixed.
        let sorts: Vec<_> = (0..8).map(|_| next(5)).collect();
        let mut words: Vec<u64> = sorts
            .into_iter()
            .flat_map(|sort| [sort; 8])
            .map(|sort| match (sort, next(6)) {
                (0, _) | (3, 0) => u64::MAX,
                (1, _) | (3 | 4, 1) => 0,
                (_, 2) => 0xff << (8 * next(8)) | 1 << next(64),
                (_, 3) => 0b11 << (2 * next(32)),
                _ => 1 << next(64),
            })
            .collect();
        // Else the level above has them.
        words[next(64) as usize] = 0;
        let homes = (0..8).map(|_| match next(4) {
            0 => None,
            1 => Some(Class::LARGE),
            class => Some(Class::new(class as u8)),
        });
        let homes = homes.collect();
        let avoided = if next(2) == 0 { 0 } else { (next(1 << 31) << 33) | next(1 << 31) };
        let (larger, run, adopt) = (next(2) == 0, 1 << next(6), next(9) as u32);
        Obvious {
            words,
            homes,
            larger,
            avoided,
            run,
            policy: Together { adopt },
            class: Class::new(2),
        }
    }

    /// The search against the obvious one, in eight regions at random.
    #[cfg(not(shuttle))]
    #[test]
    fn a_search_finds_what_the_obvious_one_does() {
        let mut state = 7;
        for _ in 0..3000 {
            let world = obvious(&mut state);
            let (forest, homes) = (world.forest(), Homes::default());
            for (region, home) in (0..).zip(&world.homes) {
                if let Some(home) = *home {
                    homes.settle(region << WORDS, home);
                }
            }
            let (policy, avoided) = (&world.policy, |_: u32, _: u64| world.avoided);
            let search = Search {
                forest: &forest,
                homes: &homes,
                policy,
                class: world.class,
                run: world.run,
                avoided: &avoided,
            };
            let near = random(&mut state, 8);
            // The second time what was seen empty has been noted.
            for look in 0..2 {
                let found = search.site(Granule(512 * near + 77));
                let (expected, words) = (world.site(near as usize), &world.words);
                assert_eq!(found, expected, "{look}: run {} in {words:x?}", world.run);
            }
            for (word, &bits) in world.words.iter().enumerate() {
                let known = forest.may_have(0, 1, 0) >> word & 1 != 0;
                assert!(known || bits == 0 || bits == u64::MAX, "word {word} is lost");
            }
        }
    }

    /// Where there is one word and nothing above it, there is nothing to search.
    #[test]
    fn a_forest_of_one_level_is_one_region() {
        let (forest, homes) = (Forest::new(0), Homes::default());
        forest.ensure_from(0, Granule(0)).unwrap();
        let site = || search(&forest, &homes, Class::default()).site(Granule(0));
        assert_eq!(site(), None);
        let place = memdesc::Place { level: 0, word: 0, mask: 0b1100 };
        forest.give(place, |_, _| false).unwrap();
        assert_eq!(site(), Some(Site::Broken { word: 0, alike: 0b1 }));
    }

    /// Bits of a trail are words of one region, from the last to the first.
    #[test]
    fn a_trail_leads_through_the_words_of_its_region() {
        for word in [0, 7, 8, 200, 1 << 40 | 5] {
            let (first, own) = (word & !7, word & 7);
            let mut trail = Trail::beside(word, u8::MAX);
            let near = Granule((word << ORDERS_PER_LEVEL) + 63);
            for place in (0..8).rev().filter(|&place| place != own) {
                let (next, rest) = trail.next(near).unwrap();
                assert_eq!(next, first + place);
                trail = rest;
            }
            assert!(trail.next(near).is_none(), "the claimed one is not among them");
            assert_eq!(Trail::after(word), first + 8);
            assert!(is_same_region(near, first) && is_same_region(near, first + 7));
            assert!(!is_same_region(near, first + 8));
        }
    }
}
