//! Reports, what is kept, and what is taken back, by hand.

use super::*;
use memdesc::Order;

const HERE: Span = Span { first: 77 * 4096, last: 77 * 4096 + 63 };

#[test]
fn a_granule_is_new_once_and_suspect_for_ever() {
    let poison = Poison::new(4096);
    poison.refill(0).unwrap();
    let block = Block::containing(Granule(77), Order::ZERO);
    assert!(!poison.is_suspect(block));
    let first = poison.note(Granule(77), HERE, FailureKind::Found).unwrap();
    assert_eq!(first, Noted { look: true, first: true, tell: true, units: 64 });
    let amid = poison.note(Granule(77), HERE, FailureKind::Found).unwrap();
    assert_eq!(amid, Noted { look: true, first: false, tell: false, units: 0 });
    poison.set_delayed(Granule(77), false);
    let again = poison.note(Granule(77), HERE, FailureKind::Found).unwrap();
    assert_eq!(again, Noted { look: false, first: false, tell: false, units: 0 });
    assert!(poison.is_suspect(block));
    for order in 0..=40 {
        let around = Block::containing(Granule(77), Order::new(order).unwrap());
        assert!(poison.is_suspect(around), "order {order}");
        assert_eq!(poison.first_in(around.granules()), Some(Granule(77)));
    }
    assert_eq!(poison.keep(Granule(77), Order::ZERO), Keeping::Done);
    assert_eq!(poison.keep(Granule(77), Order::ZERO), Keeping::Twice);
    assert_eq!(poison.keep(Granule(78), Order::ZERO), Keeping::Sound);
    let counts = PoisonCounts { quarantined: 1, hidden: 1, ..Default::default() };
    assert_eq!(poison.counts(), counts);
    assert_eq!(poison.take_hidden(), Some(Granule(77)));
    assert_eq!((poison.take_hidden(), poison.counts().hidden), (None, 0));
    assert_eq!(poison.get(Granule(77)), Some(Poisoned::Quarantined));
    assert_eq!(poison.get(Granule(78)), None);
    // Who reports it again takes over what is owed; the next waits for that.
    poison.note(Granule(76), HERE, FailureKind::Found).unwrap();
    poison.set_delayed(Granule(76), true);
    for tell in [true, false] {
        let again = poison.note(Granule(76), HERE, FailureKind::Found).unwrap();
        assert_eq!(again, Noted { look: true, first: false, tell, units: 0 });
    }
    // Kept while it is looked for: that is all there is to know.
    assert!(poison.note(Granule(79), HERE, FailureKind::Found).unwrap().look);
    assert_eq!(poison.keep(Granule(79), Order::ZERO), Keeping::Done);
    assert!(!poison.note(Granule(79), HERE, FailureKind::Found).unwrap().look);
}

#[test]
fn what_lookups_find_is_not_to_be_shown_again_and_what_they_do_not_is() {
    let poison = Poison::new(4096);
    poison.refill(0).unwrap();
    let kept = |at| {
        poison.note(Granule(at), HERE, FailureKind::Found).unwrap();
        assert_eq!(poison.keep(Granule(at), Order::ZERO), Keeping::Done);
    };
    (70..75).for_each(kept);
    // At once, and one that is none.
    [70, 74, 99].into_iter().for_each(|at| poison.shown(Granule(at)));
    let counts = PoisonCounts { quarantined: 5, hidden: 3, ..Default::default() };
    assert_eq!((poison.counts(), poison.get(Granule(99))), (counts, None));
    let mut taken: Vec<_> = core::iter::from_fn(|| poison.take_hidden()).map(|at| at.0).collect();
    taken.sort_unstable();
    assert_eq!((&taken[..], poison.counts().hidden), (&[71, 72, 73][..], 0));
    // Without memory for its word, one comes up again.
    poison.hide(Granule(72));
    assert_eq!((poison.counts().hidden, poison.take_hidden()), (1, Some(Granule(72))));
    assert_eq!((poison.counts().hidden, poison.take_hidden()), (0, None));
}

#[test]
fn what_is_kept_beside_is_counted_and_taken_back() {
    let poison = Poison::new(4096);
    poison.note(Granule(77), HERE, FailureKind::Found).unwrap();
    let order = Order::new(6).unwrap();
    assert_eq!(poison.keep(Granule(77), order), Keeping::Done);
    assert_eq!(poison.counts().beside, 63);
    for at in [63, 64] {
        poison.note(Granule(at), HERE, FailureKind::Found).unwrap();
    }
    assert!(poison.keep_beside(Granule(64)) && !poison.keep_beside(Granule(63)));
    assert!(poison.keep_beside(Granule(77)) && poison.keep_beside(Granule(64)), "they are");
    assert_eq!(poison.counts().beside, 63);
    let all = Block::containing(Granule(77), Order::new(20).unwrap()).granules();
    assert_eq!(poison.quarantined_in(all), 64);
    let block = Block::containing(Granule(77), order);
    assert_eq!(poison.first_whole(), Some(Granule(77)));
    assert_eq!(poison.take_whole(Granule(77)), Some(block));
    assert_eq!(poison.counts(), PoisonCounts { pending: 3, ..Default::default() });
    assert_eq!(poison.take_whole(Granule(77)), None);
}

#[test]
fn only_what_was_injected_is_unpoisoned() {
    let poison = Poison::new(4096);
    let units = |at: Granule| Span { first: at.0 * 4096, last: at.0 * 4096 + 4095 };
    for (at, kind) in [(3, FailureKind::Injected), (4, FailureKind::Found)] {
        poison.note(Granule(at), units(Granule(at)), kind).unwrap();
    }
    let range = |first, last| Granules::new(Granule(first), Granule(last)).unwrap();
    let refused = poison.unpoison(range(0, 9), units).unwrap_err();
    assert_eq!(refused.span, units(Granule(4)));
    assert_eq!(poison.counts().pending, 2);
    assert_eq!(poison.unpoison(range(0, 3), units), Ok((1, Vec::new())));
    assert_eq!((poison.counts().pending, poison.lines().units()), (1, 4096));
}
