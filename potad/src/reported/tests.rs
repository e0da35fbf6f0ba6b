//! The bits of report granules, by hand.

use super::*;
use crate::isolate::Wanted;

fn block(base: u64, order: u32) -> Block {
    Block::new(Granule(base), Order::new(order).unwrap()).unwrap()
}

impl Reported {
    fn mark(&self, block: Block, zeroed: bool) {
        self.mark_all(core::iter::once((block, zeroed)));
    }
}

fn wanted(seen_before: bool, patient: bool) -> Wanted {
    Wanted { min_order: Order::ZERO, max_order: Order::MAX, seen_before, patient, spare: 0 }
}

#[test]
fn what_was_taken_again_while_young_is_hasty_until_a_report_lasts() {
    let reported = Reported::new(Order::new(9).unwrap(), Granule(1 << 20));
    let fresh = |patient| reported.fresh(block(0, 10), &wanted(false, patient));
    let report_and_take = |ages: bool| {
        reported.mark(block(0, 9), false);
        if ages {
            reported.age();
        }
        reported.forget(block(3, 0));
    };
    assert_eq!(fresh(true), Fresh::Take(block(0, 10)));
    report_and_take(false);
    assert_eq!((reported.refaulted(), reported.premature()), (1, 1));
    assert_eq!(fresh(true), Fresh::Pass(block(0, 9)));
    assert_eq!(fresh(false), Fresh::Take(block(0, 10)));
    // What was never reported is not hasty.
    let rest = reported.fresh(block(512, 9), &wanted(false, true));
    assert_eq!(rest, Fresh::Take(block(512, 9)));
    report_and_take(true);
    assert_eq!((reported.refaulted(), reported.premature()), (2, 1));
    assert_eq!(fresh(true), Fresh::Take(block(0, 10)));
}

#[test]
fn a_taken_part_is_forgotten_and_the_rest_is_kept() {
    let reported = Reported::new(Order::new(9).unwrap(), Granule(1 << 20));
    reported.mark(block(0, 12), false);
    assert_eq!(reported.reported_now(), 8);
    reported.forget(block(512, 0));
    assert!(!reported.is_reported(block(512, 9)));
    assert!(reported.is_reported(block(0, 9)) && reported.is_reported(block(1024, 10)));
    assert!(!reported.is_reported(block(0, 12)));
    assert_eq!((reported.reported_now(), reported.refaulted()), (7, 1));
}

#[test]
fn avoided_places_are_those_reported_at_every_level() {
    for order in [0, 3, 6, 9, 12] {
        let reported = Reported::new(Order::new(order).unwrap(), Granule(1 << 20));
        reported.mark(block(1 << 12, order), true);
        for level in 0..3 {
            let size = 64u64.pow(level);
            let word = (1 << 12) / size / 64;
            for place in 0..64u64 {
                let base = (word * 64 + place) * size;
                let holder = Block::containing(Granule(base), Order::new(level * 6).unwrap());
                let expected = level * 6 <= order && reported.is_reported(holder);
                let avoided = reported.places(level, word) >> place & 1 != 0;
                assert_eq!(avoided, expected, "order {order} level {level} place {place}");
            }
        }
    }
}

#[test]
fn zeroed_goes_with_reported() {
    let reported = Reported::new(Order::new(9).unwrap(), Granule(1 << 20));
    reported.mark(block(0, 9), true);
    reported.mark(block(512, 9), false);
    assert!(reported.is_zeroed(block(0, 9)) && !reported.is_zeroed(block(512, 9)));
    reported.forget(block(7, 0));
    assert!(!reported.is_zeroed(block(0, 9)));
}

#[test]
fn many_marked_at_once_are_marked_as_one_by_one() {
    let blocks = [(0, 9, true), (512, 9, true), (2048, 9, false), (4096, 9, true)];
    let far = [(1 << 15, 9, true), (1 << 17, 17, false), (1 << 10, 9, false)];
    let all = || blocks.into_iter().chain(far).map(|(at, order, zero)| (block(at, order), zero));
    let (one, many) =
        [(); 2].map(|()| Reported::new(Order::new(9).unwrap(), Granule(1 << 20))).into();
    all().for_each(|(block, zeroed)| one.mark(block, zeroed));
    many.mark_all(all());
    for word in 0..8 {
        let bits = |of: &Reported| {
            (of.reported(word), of.zeroed(word), of.history.load(2 * word), of.hasty(word))
        };
        assert_eq!(bits(&one), bits(&many), "word {word}");
    }
    assert_eq!((one.reported_now(), many.reported_now()), (6 + 256, 6 + 256));
    assert_eq!(many.history.load(0), many.reported(0), "all of them are young");
}

#[test]
fn parts_of_different_ages_are_told_apart() {
    let reported = Reported::new(Order::new(9).unwrap(), Granule(1 << 20));
    let fresh = |block, seen_before| reported.fresh(block, &wanted(seen_before, false));
    assert_eq!(fresh(block(0, 11), true), Fresh::Pass(block(0, 11)));
    assert_eq!(fresh(block(0, 11), true), Fresh::Take(block(0, 11)));
    reported.forget(block(1024, 9));
    assert_eq!(fresh(block(0, 11), true), Fresh::Take(block(0, 10)));
    assert_eq!(fresh(block(1024, 10), true), Fresh::Pass(block(1024, 9)));
    assert_eq!(fresh(block(1024, 10), true), Fresh::Take(block(1024, 10)));
    reported.mark(block(0, 9), true);
    assert_eq!(fresh(block(0, 11), false), Fresh::Pass(block(0, 9)));
    assert_eq!(fresh(block(512, 9), false), Fresh::Take(block(512, 9)));
}

#[test]
fn reported_stretches_are_passed_over() {
    let reported = Reported::new(Order::new(3).unwrap(), Granule(1 << 20));
    let next = |at: u64, last: u64| {
        reported.next_unreported(Granule(at), Granule(last)).map(|found| found.0)
    };
    assert_eq!(next(0, 7), Some(0));
    // All but the last granule of two chunks of words.
    let all = 1u64 << (3 + 6 + 10);
    (0..1024).for_each(|word| reported.mark(block(word << 9, 9), false));
    reported.forget(block(all - 8, 3));
    assert_eq!(next(0, all - 1), Some(all - 8));
    assert_eq!(next(all - 3, all - 1), Some(all - 3));
    assert_eq!(next(5, all - 9), None);
    assert_eq!(next(5, all + 100), Some(all - 8));
    reported.mark(block(all - 8, 3), false);
    assert_eq!(next(5, all + 100), Some(all));
}

#[test]
fn a_word_is_bare_where_nothing_below_it_is_reported() {
    for (order, level) in [0, 2, 5, 6, 7, 9].into_iter().flat_map(|order| [(order, 0), (order, 1)])
    {
        let places = ORDERS_PER_LEVEL * (level + 1);
        // One word of bits is looked at, no more.
        let is_told = places <= order + 6;
        for marked in [0, 1, 5, 63, 64, 70] {
            let reported = Reported::new(Order::new(order).unwrap(), Granule(1 << 20));
            let told = block(marked << order, order);
            reported.mark(told, false);
            for word in 0..20 {
                let (first, last) = (word << places, (word << places) + (1 << places) - 1);
                let is_below = first <= told.last().0 && told.base().0 <= last;
                let is_bare = reported.is_bare(level, word);
                assert_eq!(is_bare, is_told && !is_below, "{told:?}, word {word} of {level}");
            }
            reported.forget(told);
            assert_eq!(reported.is_bare(level, told.base().0 >> places), is_told);
        }
    }
}
