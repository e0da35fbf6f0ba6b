//! Directed requests and shrinking against a plain line of granules: the lowest
//! or highest that fits, and a refusal only if nothing fits.

use potad::memdesc::{Descriptor, Granules, Order, OwnerId};
use potad::{Aim, Align, BareBlock, Error, Hand, Potad, RawBlock, Resource, Run, Zone};
use std::time::Instant;

struct Folio;
impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

fn zone(spans: &[(u64, u64)]) -> Zone {
    let slots = Resource::new("slots");
    let slots = spans.iter().fold(slots, |slots, &(first, last)| slots.span(first..=last));
    Potad::new().register(slots).unwrap()
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }
}

/// The slow truth: which granules are free.
struct Oracle(Vec<bool>);

impl Oracle {
    /// The lowest or highest `first`, a multiple of `step`, from which `count`
    /// granules of `low..=high` are free.
    fn find(&self, count: u64, step: u64, low: u64, high: u64, lowest: bool) -> Option<u64> {
        let last = high.min(self.0.len() as u64 - 1);
        // How many granules from here on are free.
        let mut free = vec![0u64; self.0.len() + 1];
        for at in (0..self.0.len()).rev() {
            free[at] = if self.0[at] && at as u64 <= last { free[at + 1] + 1 } else { 0 };
        }
        let mut fits = (0..self.0.len() as u64)
            .filter(|&at| at >= low && at % step == 0 && free[at as usize] >= count);
        if lowest { fits.next() } else { fits.next_back() }
    }

    fn set(&mut self, range: Granules, free: bool) {
        for at in range.first().0..=range.last().0 {
            assert_ne!(self.0[at as usize], free, "granule {at} of {range}");
            self.0[at as usize] = free;
        }
    }
}

enum Live {
    Bare(BareBlock),
    Raw(RawBlock),
    Typed(potad::Block<Folio>),
    Run(Run),
}

impl Live {
    fn granules(&self) -> Granules {
        match self {
            Self::Bare(block) => block.granules(),
            Self::Raw(block) => block.granules(),
            Self::Typed(block) => block.block().granules(),
            Self::Run(run) => run.granules(),
        }
    }

    fn free(self, zone: &Zone, hand: Option<&mut Hand>) {
        match (self, hand) {
            (Self::Bare(block), Some(hand)) => hand.free_bare(block).unwrap(),
            (Self::Bare(block), None) => zone.free_bare(block).unwrap(),
            (Self::Raw(block), Some(hand)) => hand.free_raw(block).unwrap(),
            (Self::Raw(block), None) => zone.free_raw(block).unwrap(),
            (Self::Typed(block), _) => zone.free(block).unwrap(),
            (Self::Run(run), _) => zone.free_run(run).unwrap(),
        }
    }
}

/// Shrinks anything to something smaller; what it keeps is its lower part.
fn shrink(zone: &Zone, live: Live, random: &mut Random) -> Live {
    let before = live.granules();
    let mut smaller = |block: potad::memdesc::Block| {
        order(random.below(u64::from(block.order().get()) + 1) as u32)
    };
    let (live, kept) = match live {
        Live::Bare(block) => {
            let wanted = smaller(block.block());
            (Live::Bare(zone.shrink_bare(block, wanted).unwrap()), wanted.granules())
        }
        Live::Raw(block) => {
            let wanted = smaller(block.block());
            (Live::Raw(zone.shrink_raw(block, wanted).unwrap()), wanted.granules())
        }
        Live::Typed(block) => {
            let wanted = smaller(block.block());
            (Live::Typed(zone.shrink(block, wanted).unwrap()), wanted.granules())
        }
        Live::Run(run) => {
            let wanted = 1 + random.below(before.count());
            (Live::Run(zone.shrink_run(run, wanted).unwrap()), wanted)
        }
    };
    let after = live.granules();
    assert_eq!((after.first(), after.count()), (before.first(), kept));
    let guard = potad::pin();
    let word_at = |at: u64| zone.find(at, &guard).map(|found| found.owner());
    let owner = match &live {
        Live::Bare(_) => None,
        Live::Raw(_) => Some(OwnerId(7)),
        Live::Typed(_) => Some(OwnerId(8)),
        Live::Run(_) => Some(OwnerId::RESOURCE),
    };
    for at in before.first().0..=before.last().0 {
        assert_eq!(word_at(at), owner.filter(|_| at <= after.last().0), "granule {at}");
    }
    live
}

/// One directed request of any flavour, checked against the oracle.
fn request(zone: &Zone, oracle: &Oracle, random: &mut Random, world: u64) -> Option<Live> {
    let lowest = random.below(2) == 0;
    let (mut low, mut high) = (0, u64::MAX);
    let mut aim = if lowest { Aim::lowest() } else { Aim::highest() };
    if random.below(3) != 0 {
        low = random.below(world);
        high = low + random.below(world);
        aim = aim.within(low..=high);
    }
    let flavour = random.below(5);
    let k = random.below(random_order(world)) as u32;
    let (count, step) = match flavour {
        3 | 4 => (1 + random.below(1 << k), 1 << random.below(random_order(world))),
        _ => (1 << k, 1 << k),
    };
    let taken = match flavour {
        0 => zone.alloc_bare_by(order(k), &aim).map(Live::Bare),
        1 => zone.alloc_raw_by(order(k), OwnerId(7), &aim).map(Live::Raw),
        2 => zone
            .alloc_by(order(k), OwnerId(8), Folio, &aim)
            .map(Live::Typed)
            .map_err(|refused| refused.why),
        _ => zone.alloc_run_by(count, Align::new(step).unwrap(), &aim).map(Live::Run),
    };
    let expected = oracle.find(count, step, low, high, lowest);
    let what = format!("{count} at {step} in {low}..={high}, lowest: {lowest}");
    match (taken, expected) {
        (Ok(live), Some(first)) => {
            assert_eq!(live.granules().first().0, first, "{what}");
            assert_eq!(live.granules().count(), count, "{what}");
            Some(live)
        }
        (Err(why), None) => {
            let known = matches!(
                why,
                Error::Exhausted { .. }
                    | Error::ExhaustedWithin { .. }
                    | Error::NoRun { .. }
                    | Error::NoRunWithin { .. }
                    | Error::NothingWithin { .. }
                    | Error::OrderTooLarge { .. }
            );
            assert!(known, "{what}: {why}");
            None
        }
        (Ok(live), None) => panic!("{what}: got {:?}, which is not free", live.granules()),
        (Err(why), Some(first)) => panic!("{what}: {why}, but {first} fits"),
    }
}

fn random_order(world: u64) -> u64 {
    u64::from(world.ilog2()) + 1
}

fn agree(spans: &[(u64, u64)], seed: u64, steps: usize) {
    let zone = zone(spans);
    let world = spans.last().unwrap().1 + 1;
    let mut oracle = Oracle(vec![false; world as usize]);
    for &(first, last) in spans {
        oracle.0[first as usize..=last as usize].fill(true);
    }
    let before = zone.free_blocks();
    let mut random = Random(seed);
    let mut hand = zone.hand();
    let mut live: Vec<Live> = Vec::new();
    for step in 0..steps {
        match random.below(8) {
            // What hands hide is found as well.
            0 => {
                if let Ok(block) = hand.alloc_bare(order(random.below(4) as u32)) {
                    oracle.set(block.granules(), false);
                    live.push(Live::Bare(block));
                }
            }
            1..4 => {
                if let Some(taken) = request(&zone, &oracle, &mut random, world) {
                    oracle.set(taken.granules(), false);
                    live.push(taken);
                }
            }
            4 if !live.is_empty() => {
                let whole = live.swap_remove(random.below(live.len() as u64) as usize);
                oracle.set(whole.granules(), true);
                let part = shrink(&zone, whole, &mut random);
                oracle.set(part.granules(), false);
                live.push(part);
            }
            _ if !live.is_empty() => {
                let gone = live.swap_remove(random.below(live.len() as u64) as usize);
                oracle.set(gone.granules(), true);
                let by_hand = random.below(2) == 0;
                gone.free(&zone, by_hand.then_some(&mut hand));
            }
            _ => {}
        }
        let free = oracle.0.iter().filter(|&&free| free).count() as u64;
        assert_eq!(zone.validate(), Ok(free), "step {step}");
    }
    live.into_iter().for_each(|gone| gone.free(&zone, None));
    drop(hand);
    assert_eq!(zone.free_blocks(), before, "all is back, and merged");
}

#[test]
fn the_lowest_and_the_highest_are_those_of_a_plain_line() {
    for seed in 0..6 {
        agree(&[(0, 199)], seed, 400);
        agree(&[(3, 70), (128, 700)], seed, 300);
    }
}

#[test]
fn so_they_are_across_three_levels() {
    for seed in 0..2 {
        agree(&[(0, 4096 + 900)], seed, 150);
        agree(&[(60, 3000), (3100, 2 * 4096 + 5)], seed, 150);
    }
}

#[test]
fn ranges_that_hold_nothing_are_refused_by_name() {
    let potad = Potad::new();
    let ram = Resource::new("ram").granule(4096).span(1 << 20..2 << 20);
    let ram = potad.register(ram).unwrap();
    let one = |aim: Aim| ram.alloc_bare_by(Order::ZERO, &aim).unwrap_err();
    let nothing = |first, last| Error::NothingWithin { first, last };
    assert_eq!(one(Aim::lowest().within(0..1 << 20)), nothing(0, (1 << 20) - 1));
    assert_eq!(one(Aim::lowest().within(2 << 20..=u64::MAX)), nothing(2 << 20, u64::MAX));
    // Less than a whole granule.
    let (first, last) = ((1 << 20) + 1, (1 << 20) + 4096);
    assert_eq!(one(Aim::highest().within(first..=last)), nothing(first, last));
    assert_eq!(one(Aim::lowest().within(5..5)), Error::EmptySpan { first: 5, end: 5 });
    // Rounded inward.
    let page = ram.alloc_bare_by(Order::ZERO, &Aim::lowest().within(first..2 << 20)).unwrap();
    assert_eq!(ram.address_of(page.base()), (1 << 20) + 4096);
    let refused = ram.alloc_bare_by(order(8), &Aim::lowest().within(1 << 20..2 << 20));
    let span = (1 << 20, (2 << 20) - 1);
    let within = Error::ExhaustedWithin { order: order(8), first: span.0, last: span.1 };
    assert_eq!(refused.unwrap_err(), within);
    assert_eq!(within.to_string(), "no free block of order 8 within 0x100000..=0x1fffff");
    let align = Align::new(4096).unwrap();
    let aim = Aim::highest().within(1 << 20..2 << 20);
    let no_run = Error::NoRunWithin { granules: 255, first: span.0, last: span.1 };
    assert_eq!(ram.alloc_run_by(255 << 12, align, &aim).unwrap_err(), no_run);
    assert_eq!(
        ram.alloc_run_by(255 << 12, align, &Aim::lowest()).unwrap_err(),
        Error::NoRun { granules: 255 }
    );
    assert_eq!(ram.alloc_run_by(0, align, &aim).unwrap_err(), Error::NoSize { units: 0 });
    // The longest run that a resource could have, and one more.
    let ids = Potad::new().register(Resource::new("ids").span(0..1 << 20)).unwrap();
    let run = |units| ids.alloc_run_by(units, Align::new(1).unwrap(), &Aim::lowest());
    assert_eq!(run(1 << 63).unwrap_err(), Error::NoRun { granules: 1 << 63 });
    assert_eq!(run((1 << 63) + 1).unwrap_err(), Error::NoSize { units: (1 << 63) + 1 });
    let largest = order(8);
    assert_eq!(
        ram.alloc_bare_by(order(9), &Aim::highest()).unwrap_err(),
        Error::OrderTooLarge { order: order(9), largest }
    );
    ram.free_bare(page).unwrap();
    assert_eq!(ram.validate(), Ok(256));
}

#[test]
fn one_free_block_at_the_far_end_of_an_exbibyte_is_found_at_once() {
    let potad = Potad::new();
    let all = potad.register(Resource::new("all").granule(4096).span(0..1 << 60)).unwrap();
    let last = (1u64 << 60) - 4096;
    // Everything but one granule, at either end.
    for at in [last, 0] {
        let rest = match at {
            0 => all.alloc_at(4096..1 << 60).unwrap(),
            _ => all.alloc_at(0..last).unwrap(),
        };
        for aim in [Aim::lowest(), Aim::highest()] {
            let started = Instant::now();
            for _ in 0..100 {
                let page = all.alloc_bare_by(Order::ZERO, &aim).unwrap();
                assert_eq!(all.address_of(page.base()), at);
                assert!(all.alloc_bare_by(Order::ZERO, &aim).is_err());
                all.free_bare(page).unwrap();
                let align = Align::new(4096).unwrap();
                let run = all.alloc_run_by(1, align, &aim.within(0..1 << 60)).unwrap();
                assert_eq!(all.address_of(run.base()), at);
                all.free_run(run).unwrap();
                assert!(all.alloc_run_by(8192, align, &aim).is_err());
            }
            let each = started.elapsed() / 100;
            // Six calls without optimisation beside other tests; a scan would
            // take years.
            assert!(each.as_millis() < 20, "{each:?}");
        }
        all.free_run(rest).unwrap();
    }
    assert_eq!(all.validate(), Ok(1 << 48));
}

#[test]
fn what_is_aligned_far_above_its_size_is_found() {
    let zone = zone(&[(0, (1 << 20) - 1)]);
    let mut kept = Vec::new();
    // Every other granule of the whole, and one that is aligned.
    let mut hand = zone.hand();
    hand.alloc_many(Order::ZERO, 1 << 20, |block| kept.push(block)).unwrap();
    kept.sort_by_key(BareBlock::base);
    let aligned = 5u64 << 16;
    let (free, kept): (Vec<_>, Vec<_>) =
        kept.into_iter().partition(|block| block.base().0 % 2 == 1 || block.base().0 == aligned);
    free.into_iter().for_each(|block| hand.free_bare(block).unwrap());
    let align = Align::new(1 << 16).unwrap();
    for aim in [Aim::lowest(), Aim::highest()] {
        let run = zone.alloc_run_by(2, align, &aim).unwrap();
        assert_eq!(run.base().0, aligned);
        assert!(zone.alloc_run_by(1, align, &aim).is_err());
        zone.free_run(run).unwrap();
    }
    kept.into_iter().for_each(|block| hand.free_bare(block).unwrap());
    drop(hand);
    assert_eq!((zone.validate(), zone.free_blocks().len()), (Ok(1 << 20), 1));
}
