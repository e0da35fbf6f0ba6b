//! Runs, exact and directed requests against intervals: any size at any
//! alignment, from either end, within any range, shrunk in place, beside blocks
//! and hands that get in the way.
//!
//! Where a request goes is said by its contract, so the reference does not only
//! know whether it must succeed, but also what it must get: the granules named,
//! the lowest or the highest that fit, or a run that starts at the highest
//! alignment that there is.

use crate::world::{Intervals, World, range};
use crate::{Bytes, Tally};
use memdesc::{Block as Place, FailureKind, Granule, Granules, MAX_GRANULES, Order, OwnerId};
use potad::{Aim, Align, BareBlock, Error, RawBlock, Run};
use std::ops::RangeInclusive;

/// What a story is made of.
pub const OPERATIONS: [&str; 13] = [
    "run",
    "run by aim",
    "exact",
    "bare by aim",
    "raw by aim",
    "block",
    "free run",
    "free block",
    "shrink run",
    "run at",
    "hand",
    "failure",
    "misuse",
];

/// Live runs, and live blocks, at most.
const MOST: usize = 16;

#[derive(Debug)]
enum Live {
    Bare(BareBlock),
    Raw(RawBlock),
}

/// Tells one story.
///
/// # Panics
///
/// If the allocator does not do as the reference does.
pub fn run(data: &[u8]) -> Tally {
    crate::world::in_new(data, |world, bytes| tell(world, bytes, 1))
}

/// Tells one story in a world that is kept, which is looked at as a whole less
/// often.
///
/// # Panics
///
/// If the allocator does not do as the reference does.
pub fn run_kept(data: &[u8]) -> Tally {
    crate::world::in_kept(data, |world, bytes| tell(world, bytes, 16))
}

fn tell(world: World, mut bytes: Bytes<'_>, check_every: u32) -> (Tally, World) {
    let mut story = Story { runs: Vec::new(), live: Vec::new(), world };
    let mut tally = Tally::new(&OPERATIONS);
    let mut steps = 0u32;
    while !bytes.is_empty() {
        let operation = bytes.below(OPERATIONS.len());
        let was_done = story.step(operation, &mut bytes);
        tally.count(operation, was_done);
        steps += 1;
        if steps.is_multiple_of(check_every) {
            story.world.check_midway();
        }
    }
    (tally, story.end())
}

struct Story {
    // Before the world: what it holds goes first.
    runs: Vec<Run>,
    live: Vec<Live>,
    world: World,
}

/// Where a request may go: from which end, between which granules.
struct Aimed {
    aim: Aim,
    is_lowest: bool,
    /// Of the range, the granules that lie in it wholly; `None`: there is none.
    inside: Option<(u64, u64)>,
    units: Option<RangeInclusive<u64>>,
}

impl Story {
    fn step(&mut self, operation: usize, bytes: &mut Bytes<'_>) -> bool {
        match operation {
            0 => self.run(bytes),
            1 => self.run_by_aim(bytes),
            2 => self.exact(bytes),
            3 | 4 => self.block_by_aim(operation == 4, bytes),
            5 => self.block(bytes),
            6 => self.free_run(bytes),
            7 => self.free_block(bytes),
            8 => self.shrink_run(bytes),
            9 => self.run_at(bytes),
            10 => self.world.turn_hands(bytes),
            11 => self.fail(bytes),
            _ => self.misuse(bytes),
        }
    }

    /// A size in granules, mostly a small one, and an alignment.
    fn any_size(bytes: &mut Bytes<'_>) -> (u64, Order) {
        let (size, align) = (u64::from(bytes.short()), u32::from(bytes.byte()));
        let granules = match size >> 14 {
            0 => 1 + size % 8,
            1 => 1 + size % 100,
            2 => 1 << (size % 13),
            _ => 1 + size % 5000,
        };
        let align = if align < 192 { align % 5 } else { align % 20 };
        (granules, Order::new(align).expect("below 64"))
    }

    fn align(&self, order: Order) -> Align {
        Align::new(order.granules() * self.world.zone.granule()).expect("a power of two")
    }

    /// Units of so many granules, up to a granule fewer; `None`: too many.
    fn units(&self, granules: u64, fewer: u64) -> Option<u64> {
        let granule = self.world.zone.granule();
        granules.checked_mul(granule).map(|units| units - fewer % granule)
    }

    fn took_run(&mut self, taken: Granules) {
        self.world.free.take(taken.first().0, taken.last().0);
    }

    fn run(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let ((granules, align), fewer) = (Self::any_size(bytes), u64::from(bytes.byte()));
        let Some(units) = self.units(granules, fewer).filter(|_| self.runs.len() < MOST) else {
            return false;
        };
        let fits = |order: u32| {
            let step = 1u64 << order;
            self.world.free.lowest(granules, step, 0, u64::MAX).is_some()
        };
        // The highest alignment, up to its own size, at which there is one.
        let size = Order::covering(granules).expect("small").get().max(align.get());
        let best = (align.get()..=size).rev().find(|&order| fits(order));
        match self.world.zone.alloc_run(units, self.align(align)) {
            Ok(run) => {
                assert_eq!(run.granules().count(), granules);
                let best = best.expect("there is one");
                assert_eq!(run.base().0 % (1 << best), 0, "{run:?}, and 2^{best} was to be had");
                self.took_run(run.granules());
                self.runs.push(run);
                true
            }
            Err(why) => {
                assert_eq!((why, best), (Error::NoRun { granules }, None), "{:?}", self.world.free);
                false
            }
        }
    }

    /// From either end, within any range or none.
    fn any_aim(&self, bytes: &mut Bytes<'_>) -> Aimed {
        let (is_lowest, choice) = (bytes.byte() & 1 == 0, bytes.below(4));
        let aim = if is_lowest { Aim::lowest() } else { Aim::highest() };
        let (one, other) = (self.world.any_granule(bytes), self.world.any_granule(bytes));
        let (first, last) = (one.min(other), one.max(other));
        let skew = u64::from(bytes.byte()) % self.world.zone.granule();
        if choice == 0 || !self.world.is_in_reach(first) || !self.world.is_in_reach(last) {
            return Aimed { aim, is_lowest, inside: Some((0, u64::MAX)), units: None };
        }
        let units = self.world.units(first, last);
        // Not at a granule: the first one is not wholly inside.
        let (from, first) = match choice {
            1 if skew != 0 => (units.start() + skew, first.checked_add(1)),
            _ => (*units.start(), Some(first)),
        };
        if from > *units.end() {
            return Aimed { aim, is_lowest, inside: Some((0, u64::MAX)), units: None };
        }
        let units = from..=*units.end();
        let inside = first
            .filter(|&first| first <= last && !self.world.spans.within(first, last).is_empty());
        let inside = inside.map(|first| (first, last));
        Aimed { aim: aim.within(units.clone()), is_lowest, inside, units: Some(units) }
    }

    /// What a request must get.
    fn expected(&self, granules: u64, step: u64, aimed: &Aimed) -> Option<u64> {
        let (from, to) = aimed.inside?;
        let free: &Intervals = &self.world.free;
        match aimed.is_lowest {
            true => free.lowest(granules, step, from, to),
            false => free.highest(granules, step, from, to),
        }
    }

    fn run_by_aim(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let ((granules, align), aimed) = (Self::any_size(bytes), self.any_aim(bytes));
        let Some(units) = self.units(granules, 0).filter(|_| self.runs.len() < MOST) else {
            return false;
        };
        let expected = self.expected(granules, align.granules(), &aimed);
        match self.world.zone.alloc_run_by(units, self.align(align), &aimed.aim) {
            Ok(run) => {
                assert_eq!((Some(run.base().0), run.granules().count()), (expected, granules));
                self.took_run(run.granules());
                self.runs.push(run);
                true
            }
            Err(why) => {
                assert_eq!(expected, None, "{why}");
                let right = match (&aimed.units, aimed.inside) {
                    (None, _) => Error::NoRun { granules },
                    (Some(at), None) => {
                        Error::NothingWithin { first: *at.start(), last: *at.end() }
                    }
                    (Some(at), Some(_)) => {
                        Error::NoRunWithin { granules, first: *at.start(), last: *at.end() }
                    }
                };
                assert_eq!(why, right);
                false
            }
        }
    }

    fn exact(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (first, count) = (self.world.any_granule(bytes), u64::from(bytes.byte()));
        let last = first.saturating_add(if count < 224 { count % 40 } else { count * 16 });
        if self.runs.len() >= MOST || !self.world.is_in_reach(last) {
            return false;
        }
        match self.world.zone.alloc_at(self.world.units(first, last)) {
            Ok(run) => {
                assert_eq!(run.granules(), range(first, last));
                self.took_run(run.granules());
                self.runs.push(run);
                true
            }
            Err(Error::NotFree { asked }) => {
                assert_eq!(asked, range(first, last));
                assert!(self.world.spans.covers(first, last));
                assert!(!self.world.free.covers(first, last), "{:?}", self.world.free);
                false
            }
            Err(Error::Outside { .. } | Error::OutsideReach { .. }) => {
                assert!(!self.world.spans.covers(first, last));
                false
            }
            Err(why) => panic!("{first:#x}..={last:#x}: {why}"),
        }
    }

    fn block_by_aim(&mut self, is_raw: bool, bytes: &mut Bytes<'_>) -> bool {
        let (order, aimed) = (self.world.any_order(bytes), self.any_aim(bytes));
        if self.live.len() >= MOST {
            return false;
        }
        let zone = &self.world.zone;
        let taken = match is_raw {
            false => zone.alloc_bare_by(order, &aimed.aim).map(Live::Bare),
            true => zone.alloc_raw_by(order, OwnerId(5), &aimed.aim).map(Live::Raw),
        };
        let largest = self.world.largest_order();
        let expected = self.expected(order.granules(), order.granules(), &aimed);
        match taken {
            Ok(live) => {
                let place = live.place();
                assert_eq!((Some(place.base().0), place.order()), (expected, order));
                self.world.free.take(place.base().0, place.last().0);
                self.live.push(live);
                true
            }
            Err(why) => {
                let right = match (&aimed.units, aimed.inside) {
                    _ if order > largest => Error::OrderTooLarge { order, largest },
                    (None, _) => Error::Exhausted { order },
                    (Some(at), None) => {
                        Error::NothingWithin { first: *at.start(), last: *at.end() }
                    }
                    (Some(at), Some(_)) => {
                        Error::ExhaustedWithin { order, first: *at.start(), last: *at.end() }
                    }
                };
                assert_eq!((why, expected), (right, None));
                false
            }
        }
    }

    /// Any block, by the zone or by a hand: what hands hold must not be missed.
    fn block(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (order, by) = (self.world.any_order(bytes), bytes.below(4));
        if self.live.len() >= MOST {
            return false;
        }
        let taken = self.world.alloc_bare(order, by).map(Live::Bare);
        let was_done = taken.is_some();
        self.live.extend(taken);
        was_done
    }

    fn free_run(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let Some(run) = bytes.take(&mut self.runs) else { return false };
        let freed = run.granules();
        self.world.zone.free_run(run).expect("live");
        self.world.gave(freed.first().0, freed.last().0);
        true
    }

    fn free_block(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (live, by) = (bytes.take(&mut self.live), bytes.below(4));
        let Some(live) = live else { return false };
        self.free_one(live, by);
        true
    }

    fn free_one(&mut self, live: Live, by: usize) {
        match live {
            Live::Bare(block) => self.world.free_bare(block, by),
            Live::Raw(block) => self.world.free_raw(block, by),
        }
    }

    fn shrink_run(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (run, keep) = (bytes.take(&mut self.runs), u64::from(bytes.byte()));
        let Some(run) = run else { return false };
        let (before, granule) = (run.granules(), self.world.zone.granule());
        // 0 is no size, and more than there is no shrinking.
        let (kept, units) = match keep {
            0 => (0, 0),
            keep => {
                let kept = 1 + (keep * before.count()) / 200;
                (kept, kept.saturating_mul(granule) - keep % granule)
            }
        };
        match self.world.zone.shrink_run(run, units) {
            Ok(run) => {
                let after = run.granules();
                assert_eq!((after.first(), after.count()), (before.first(), kept));
                if after.last() < before.last() {
                    self.world.gave(after.last().0 + 1, before.last().0);
                }
                self.runs.push(run);
                true
            }
            Err(refused) => {
                let asked = units.div_ceil(granule);
                let right = match kept {
                    0 => Error::NoSize { units },
                    _ => Error::NoShrink { asked, granules: before.count() },
                };
                assert_eq!((refused.why, refused.given.granules()), (right, before));
                assert!(kept == 0 || kept > before.count());
                self.runs.push(refused.given);
                false
            }
        }
    }

    fn run_at(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (at, choice) = (self.world.any_granule(bytes), usize::from(bytes.byte()));
        let at = match choice % (1 + self.runs.len()) {
            0 => at,
            one if choice < 128 => self.runs[one - 1].granules().last().0,
            one => self.runs[one - 1].base().0,
        };
        if !self.world.spans.covers(at, at) {
            return false;
        }
        let found = self.world.zone.run_at(self.world.zone.address_of(Granule(at)));
        let mut runs = self.runs.iter().map(Run::granules);
        assert_eq!(found, runs.find(|run| run.contains(Granule(at))));
        found.is_some()
    }

    fn fail(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let at = self.world.any_granule(bytes);
        if self.world.failed.len() >= 4 || !self.world.spans.covers(at, at) {
            return false;
        }
        let is_new = !self.world.failed.contains_key(&at);
        let address = self.world.zone.address_of(Granule(at));
        let report = self.world.zone.report_failure(address, 0, FailureKind::Injected);
        let report = report.expect("an address of the zone");
        let was_free = self.world.fails(at);
        assert_eq!((report.first, report.quarantined), (u64::from(is_new), u64::from(was_free)));
        is_new
    }

    /// What must be refused, and change nothing.
    fn misuse(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (zone, granule) = (&self.world.zone, self.world.zone.granule());
        let one = Align::new(granule).expect("a power of two");
        match bytes.below(4) {
            0 => {
                assert_eq!(zone.alloc_run(0, one).unwrap_err(), Error::NoSize { units: 0 });
                let none = zone.alloc_run_by(0, one, &Aim::lowest()).unwrap_err();
                assert_eq!(none, Error::NoSize { units: 0 });
            }
            1 => {
                let units = 3 + 2 * u64::from(bytes.byte());
                assert_eq!(Align::new(units), Err(Error::NoAlignment { units, granule: 0 }));
            }
            2 => {
                let Some(run) = bytes.take(&mut self.runs) else { return false };
                let refused = self.world.other.free_run(run).unwrap_err();
                let (asked, found) = (self.world.other.id(), zone.id());
                assert_eq!(refused.why, Error::Foreign { asked, found });
                self.runs.push(refused.given);
            }
            _ => {
                // More than there is of anything.
                let granules = MAX_GRANULES;
                let Some(units) = self.units(granules, 0) else { return false };
                if self.world.spans.lowest(granules, 1, 0, u64::MAX).is_some() {
                    return false;
                }
                assert_eq!(zone.alloc_run(units, one).unwrap_err(), Error::NoRun { granules });
            }
        }
        true
    }

    /// Everything goes back, and all is as it was.
    fn end(mut self) -> World {
        self.world.check_midway();
        while let Some(run) = self.runs.pop() {
            let freed = run.granules();
            self.world.zone.free_run(run).expect("live");
            self.world.gave(freed.first().0, freed.last().0);
        }
        while let Some(live) = self.live.pop() {
            self.free_one(live, usize::MAX);
        }
        self.world.hands.clear();
        self.world.check_whole();
        self.world
    }
}

impl Live {
    fn place(&self) -> Place {
        match self {
            Self::Bare(block) => block.block(),
            Self::Raw(block) => block.block(),
        }
    }
}
