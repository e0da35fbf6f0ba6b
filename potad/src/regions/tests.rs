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
    let forest = Forest::new(3, Granule(1 << 20));
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
    assert_eq!(site, Some(Site::Broken { word: 0, sparse: 0 }));
    assert_eq!(forest.claim_word(0, 0).count_ones(), 63);
    let site = search(&forest, &homes, Class::default()).site(near);
    assert_eq!(site, Some(Site::Broken { word: 1, sparse: 0 }));
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
    let site = search(&forest, &homes, Class::default()).site(near);
    // The third word from the last has two places, the others but one have one.
    let sparse = 0b10_0000 << 8 | 0b1101_0111;
    assert_eq!(site, Some(Site::Broken { word: 13, sparse }));
    let mut trail = Trail::beside(13, sparse);
    assert!(trail.next(Granule(0)).is_none(), "the hand is elsewhere");
    for word in [15, 14, 12, 10, 9, 8] {
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
    assert_eq!(site, Some(Site::Broken { word: 0, sparse: 0b1 }));
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
            let few = counts.iter().filter(|_| most <= 4);
            let sparse = few
                .fold(0, |all, (count, word)| all | 1_u64 << (8 * (count - 1) + *word as u32 % 8));
            return Some(Site::Broken { word: word as u64, sparse });
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
        let forest = Forest::new(3, Granule(1 << 20));
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
            // Three, four or five, about what is few.
            (_, 4) => (0b1_1111 >> next(3)) << next(59),
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
    Obvious { words, homes, larger, avoided, run, policy: Together { adopt }, class: Class::new(2) }
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
    let (forest, homes) = (Forest::new(0, Granule(1 << 20)), Homes::default());
    forest.ensure_from(0, Granule(0)).unwrap();
    let site = || search(&forest, &homes, Class::default()).site(Granule(0));
    assert_eq!(site(), None);
    let place = memdesc::Place { level: 0, word: 0, mask: 0b1100 };
    forest.give(place, |_, _| false).unwrap();
    assert_eq!(site(), Some(Site::Broken { word: 0, sparse: 0b1 << 8 }));
}

/// A trail leads through the words of one region: those that have most first, and of
/// those that have as much, from the last to the first.
#[test]
fn a_trail_leads_through_the_words_of_its_region() {
    for word in [3, 11, 203, 1 << 40 | 3] {
        let first = word & !7;
        // Word 3 has four places, 0 and 7 have two, the others one each.
        let sparse = 1 << 27 | 0b1000_0001 << 8 | 0b0111_0110;
        let mut trail = Trail::beside(word, sparse);
        let near = Granule((word << ORDERS_PER_LEVEL) + 63);
        for place in [7, 0, 6, 5, 4, 2, 1] {
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
