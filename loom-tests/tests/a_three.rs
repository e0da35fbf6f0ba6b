//! Three at once on the free words and the hands: what two cannot show.
//!
//! With two threads, whoever loses a race loses it to the one other, which then
//! is done. A third may come between the loser's look and its second try, be
//! helped by what the first has done, or need what the second hides. The claims
//! are those of two (`a_forest`, `a_fronts`, `a_hands`, `a_remove`,
//! `p_isolate`); the seeds too. Bounded: the number says how many times a
//! thread that could go on is made to wait.

#![cfg(loom)]

use loom::thread::{self, JoinHandle};
use loom_tests::grounds::{drain, granules, ground, reported_ground, singles};
use loom_tests::home::block;
use loom_tests::{bounded, twin_bounded};
use memdesc::{Block, Granule};
use potad::HostSays;
use potad::model::{Front, Ground};
use std::sync::Arc;

/// Another thread on the ground.
fn beside<R: 'static>(
    ground: &Arc<Ground>,
    does: impl FnOnce(&Ground) -> R + 'static,
) -> JoinHandle<R> {
    let ground = Arc::clone(ground);
    thread::spawn(move || does(&ground))
}

/// The 64 granules but these.
fn all_but(out: [u64; 3]) -> impl Iterator<Item = Block> {
    singles((0..64).filter(move |at| !out.contains(at)))
}

/// What was taken and what is left are the 64 granules, each once.
fn is_all(ground: &Ground, taken: impl IntoIterator<Item = Block>) {
    let mut all = drain(ground);
    all.extend(taken.into_iter().flat_map(granules));
    all.sort_unstable();
    assert_eq!(all, (0..64).collect::<Vec<_>>());
}

/// A2: three frees complete a word: exactly one merges it.
fn a2_three_frees() {
    let ground = ground(all_but([3, 20, 40]));
    let others = [3, 20].map(|at| beside(&ground, move |ground| ground.give(block(at, 0))));
    ground.give(block(40, 0));
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!((ground.word(0, 0), ground.word(1, 0)), (0, 1));
}

/// A1: a claim beside two frees has what was there, and they set their bits.
fn a1_claim_against_two_frees() {
    let ground = ground(singles([0, 9]));
    let others = [4, 5].map(|at| beside(&ground, move |ground| ground.give(block(at, 0))));
    let claimed = ground.claim(0);
    others.into_iter().for_each(|other| other.join().unwrap());
    let left = ground.word(0, 0);
    assert_eq!((claimed & left, claimed | left), (0, 1 << 0 | 1 << 9 | 1 << 4 | 1 << 5));
}

/// A3: a free completes a word while two take out of it.
fn a3_free_against_two_takes() {
    let ground = ground(singles((0..64).filter(|&at| at != 5)));
    let others = [2, 3].map(|order| beside(&ground, move |ground| ground.take(order)));
    ground.give(block(5, 0));
    let taken = others.map(|other| other.join().unwrap());
    is_all(&ground, taken.into_iter().flatten());
}

/// A9: three hands never give out blocks that overlap, nor lose one. (Somebody may
/// find nothing: the block is broken by whoever comes first, and in transit.)
fn a9_three_hands(order: u32) {
    let ground = ground([block(0, 6)]);
    let fronts = [ground.front(), ground.front()];
    let others =
        fronts.map(|front| beside(&ground, move |ground| (front.take(ground, order), front)));
    let mine = ground.front().take(&ground, order);
    let others = others.map(|other| other.join().unwrap().0);
    is_all(&ground, others.into_iter().chain([mine]).flatten());
}

/// A7: three threads and three blocks: nobody is refused.
fn a7_three_for_three(order: u32) {
    let ground = Arc::new(Ground::new(3 << order, 1));
    ground.ensure(block(0, 0));
    let fronts = [ground.front(), ground.front()];
    let others = fronts.map(|front| {
        beside(&ground, move |ground| ground.alloc(&front, order).expect("three for three"))
    });
    let mine = ground.front();
    let mine = ground.alloc(&mine, order).expect("three for three");
    let [one, two] = others.map(|other| other.join().unwrap());
    assert!(!mine.overlaps(one) && !mine.overlaps(two) && !one.overlaps(two));
}

/// A ground whose hand has claimed what is free of it, and has given out one.
fn claimed(free: impl IntoIterator<Item = u64>) -> (Arc<Ground>, Front, Block) {
    let ground = ground(singles(free));
    let front = ground.front();
    let out = front.take(&ground, 0).expect("something is free");
    (ground, front, out)
}

/// A6: two empty a hand beside its own free and allocation.
fn a6_two_closers() {
    let (ground, front, out) = claimed(0..8);
    let owner = beside(&ground, move |ground| {
        front.give(ground, out);
        (front.take(ground, 0).expect("eight are free, four wanted"), front)
    });
    let other = beside(&ground, |ground| ground.take_closed(1).expect("two in a row are free"));
    let mine = ground.take_closed(1).expect("two in a row are free");
    let (theirs, _front) = owner.join().unwrap();
    let other = other.join().unwrap();
    let mut all = drain(&ground);
    all.extend([mine, other, theirs].into_iter().flat_map(granules));
    all.sort_unstable();
    assert_eq!(all, (0..8).collect::<Vec<_>>());
}

/// A6: a hand ends while another one is emptied for the sake of a third.
fn a6_end_beside_a_closer() {
    let (ground, front, out) = claimed(0..4);
    let hot = ground.front();
    let ends = beside(&ground, move |ground| {
        front.free(ground, out);
        front.retire(ground);
    });
    let user = beside(&ground, move |ground| (ground.alloc(&hot, 0).expect("four for three"), hot));
    let found = ground.take_closed(0).expect("four for three");
    ends.join().unwrap();
    let (taken, _hot) = user.join().unwrap();
    let mut all = drain(&ground);
    all.extend([found, taken].into_iter().flat_map(granules));
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
}

/// R7, R8: a granule fails while one frees it and another one allocates: it is
/// carved out, or kept by a free, and never circulates again.
fn r8_failure_against_free_and_take() {
    let (ground, front, out) = claimed(0..2);
    let taker = ground.front();
    let freer = beside(&ground, move |ground| (front.free(ground, out), front));
    let other = beside(&ground, move |ground| (ground.alloc(&taker, 0), taker));
    let carved = ground.fail(out.base());
    let (kept, _front) = freer.join().unwrap();
    let (taken, taker) = other.join().unwrap();
    let kept_late = taken.is_some_and(|block| taker.free(&ground, block));
    assert_eq!([carved, kept, kept_late].iter().filter(|&&way| way).count(), 1);
    assert_eq!(drain(&ground), [1], "it circulates, or the other one is lost");
}

/// A8: a range leaves while one frees into it and another one allocates: once it
/// has begun to leave, nothing of it is handed out.
fn a8_begin_against_free_and_take() {
    let (ground, front, out) = claimed(0..5);
    let taker = ground.front();
    let freer = beside(&ground, move |ground| {
        front.free(ground, out);
        front
    });
    let other = beside(&ground, move |ground| (ground.alloc(&taker, 0), taker));
    let leaving = ground.begin_removal(0, 3);
    let late = ground.alloc(&ground.front(), 0);
    assert!(late.is_none_or(|block| block.base() == Granule(4)), "{late:?} is leaving");
    let _front = freer.join().unwrap();
    let (taken, taker) = other.join().unwrap();
    let held = taken.filter(|block| block.base().0 < 4);
    assert_eq!(ground.finish_removal(&leaving), u64::from(held.is_some()));
    if let Some(held) = held {
        taker.free(&ground, held);
        assert_eq!(ground.finish_removal(&leaving), 0);
    }
    let stays = [late, taken].into_iter().flatten().filter(|block| block.base().0 == 4).count();
    assert_eq!(stays + drain(&ground).len(), 1, "granule 4, once");
}

/// P1: a pass isolates while a hand claims the word and somebody frees into it.
fn p1_isolate_against_claim_and_free() {
    let ground = reported_ground([block(0, 1), block(2, 0)]);
    let (front, reporter) = (ground.front(), ground.front());
    let user = beside(&ground, move |ground| (front.take(ground, 0), front));
    let freer = beside(&ground, |ground| ground.give(block(3, 0)));
    let mut cursor = Granule(0);
    let early = ground.isolate(&reporter, &mut cursor, 0);
    if let Some(early) = early {
        ground.put_back(&reporter, early, HostSays::Reported);
    }
    let isolated = ground.isolate(&reporter, &mut cursor, 1);
    freer.join().unwrap();
    let (mine, _front) = user.join().unwrap();
    let mut all: Vec<u64> = isolated.into_iter().chain(mine).flat_map(granules).collect();
    all.extend(drain(&ground));
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3], "isolated {isolated:?}, allocated {mine:?}");
}

#[test]
fn three_at_a_word() {
    bounded("A1 claim || free || free", 3, 330, a1_claim_against_two_frees);
    bounded("A2 free || free || free", 3, 330, a2_three_frees);
    bounded("A3 free || take || take", 2, 14_111, a3_free_against_two_takes);
}

#[test]
fn three_hands() {
    // Orders that no hand claims words for.
    for order in [3, 4] {
        let name = format!("A9 hands: take || take || take, order {order}");
        bounded(&name, 3, 5096, move || a9_three_hands(order));
    }
    for (order, bound, minimum) in [(0, 1, 4800), (3, 3, 448), (5, 2, 4200)] {
        let name = format!("A7 alloc || alloc || alloc, order {order}");
        bounded(&name, bound, minimum, move || a7_three_for_three(order));
    }
}

#[test]
fn three_and_a_rendezvous() {
    bounded("A6 close || close || give, take", 4, 27_000, a6_two_closers);
    bounded("A6 close || end || alloc", 3, 32_000, a6_end_beside_a_closer);
    bounded("R8 fail || free || alloc", 3, 43_000, r8_failure_against_free_and_take);
    bounded("A8 begin || free || alloc", 2, 9900, a8_begin_against_free_and_take);
    bounded("P1 isolate || claim || free", 3, 36_000, p1_isolate_against_claim_and_free);
}

#[test]
fn word_twins() {
    let (merge, take) = ("merge without a compare-exchange", "taken without a compare-exchange");
    let seed = "claimed without a swap";
    twin_bounded("A1 claim || free || free", 3, seed, a1_claim_against_two_frees);
    let seed = "completed on a second look";
    twin_bounded("A2 free || free || free", 3, seed, a2_three_frees);
    twin_bounded("A3 free || take || take", 2, merge, a3_free_against_two_takes);
    twin_bounded("A3 free || take || take", 2, take, a3_free_against_two_takes);
}

#[test]
fn hand_twins() {
    let seed = "taken without a compare-exchange";
    twin_bounded("A9 hands: take || take || take", 2, seed, || a9_three_hands(3));
    let seed = "closer does not wait";
    twin_bounded("A7 alloc || alloc || alloc", 2, seed, || a7_three_for_three(5));
    twin_bounded("A6 close || close || give, take", 2, seed, a6_two_closers);
    twin_bounded("A6 close || end || alloc", 2, seed, a6_end_beside_a_closer);
    let seed = "bracket without a barrier";
    twin_bounded("A6 close || close || give, take", 2, seed, a6_two_closers);
}

#[test]
fn rendezvous_twins() {
    let seed = "freed without looking at the poison";
    twin_bounded("R8 fail || free || alloc", 2, seed, r8_failure_against_free_and_take);
    let seed = "began without a flush";
    twin_bounded("A8 begin || free || alloc", 2, seed, a8_begin_against_free_and_take);
    let seed = "freed without a look at the closing ranges";
    twin_bounded("A8 begin || free || alloc", 2, seed, a8_begin_against_free_and_take);
    let seed = "isolated without taking";
    twin_bounded("P1 isolate || claim || free", 2, seed, p1_isolate_against_claim_and_free);
}
