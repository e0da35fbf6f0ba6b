//! A zone, and what must be true of it: intervals of granules.
//!
//! # Picture
//!
//! ```text
//!  spans    |==================|      |===========|      what the zone is of
//!  free     |==|  |====|    |==|      |=====|            Intervals
//!  leaving                               |==| 7 claimed  one per removal
//!  poison            x      x                            pending, quarantined, gone
//! ```
//!
//! What is in none of `free`, the claimed ones and the quarantine is somebody's.

use crate::{Bytes, Kept, Tally};
use memdesc::{Block, Granule, Granules, Order};
use potad::{Error, Hand, Potad, Resource, Zone};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Disjoint ranges in order, neighbours joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals(Vec<(u64, u64)>);

impl Intervals {
    /// The ranges, both ends inclusive.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }

    /// How many granules.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether all of a range is here.
    pub fn covers(&self, first: u64, last: u64) -> bool {
        self.0.iter().any(|&(from, to)| from <= first && last <= to)
    }

    /// The parts of a range that are not here.
    pub fn gaps(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut gaps = Self(vec![(first, last)]);
        self.within(first, last).into_iter().for_each(|(first, last)| gaps.take(first, last));
        gaps.0
    }

    /// The parts of a range that are here.
    pub fn within(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let part = |&(from, to): &(u64, u64)| {
            let (from, to) = (from.max(first), to.min(last));
            (from <= to).then_some((from, to))
        };
        self.0.iter().filter_map(part).collect()
    }

    /// Adds a range of which nothing is here.
    ///
    /// # Panics
    ///
    /// If something is.
    pub fn add(&mut self, first: u64, last: u64) {
        assert!(self.within(first, last).is_empty(), "{first:#x}..={last:#x} is there already");
        let at = self.0.partition_point(|&(from, _)| from < first);
        self.0.insert(at, (first, last));
        self.0.dedup_by(|next, before| {
            let joins = before.1 + 1 == next.0;
            if joins {
                before.1 = next.1;
            }
            joins
        });
    }

    /// Takes a range out, all of which is here.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn take(&mut self, first: u64, last: u64) {
        let all = self.0.iter().position(|&(from, to)| from <= first && last <= to);
        let at = all.unwrap_or_else(|| panic!("{first:#x}..={last:#x} is not all there"));
        let (from, to) = self.0.remove(at);
        if last < to {
            self.0.insert(at, (last + 1, to));
        }
        if from < first {
            self.0.insert(at, (from, first - 1));
        }
    }

    /// The lowest run of so many granules at a multiple of `step` within
    /// `from..=to`.
    pub fn lowest(&self, granules: u64, step: u64, from: u64, to: u64) -> Option<u64> {
        self.within(from, to).into_iter().find_map(|(first, last)| {
            let at = first.checked_next_multiple_of(step)?;
            (at <= last && last - at >= granules - 1).then_some(at)
        })
    }

    /// The highest one.
    pub fn highest(&self, granules: u64, step: u64, from: u64, to: u64) -> Option<u64> {
        self.within(from, to).into_iter().rev().find_map(|(first, last)| {
            let at = last.checked_sub(granules - 1)? / step * step;
            (at >= first).then_some(at)
        })
    }

    /// The fewest aligned blocks that are all of it: how a free space looks.
    pub fn cover(&self) -> Vec<Block> {
        self.iter().flat_map(|(first, last)| range(first, last).cover()).collect()
    }
}

/// A range of granules.
pub fn range(first: u64, last: u64) -> Granules {
    Granules::new(Granule(first), Granule(last)).expect("in order")
}

/// Where a failed granule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Somebody's still.
    Pending,
    /// Nobody's any more.
    Quarantined,
    /// It was quarantined, and its span has left.
    Gone,
}

/// A span on its way out.
#[derive(Clone, Debug)]
pub struct Leaving {
    /// All of it.
    pub first: u64,
    /// Its end, inclusive.
    pub last: u64,
    /// What of it nobody has.
    pub claimed: Intervals,
}

/// What a zone is of: its spans, and the units of a granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    number: usize,
    unit: u64,
}

impl Shape {
    /// One span or several, unaligned, with holes, at the very end of the 2^64, or
    /// of all orders.
    pub fn any(bytes: &mut Bytes<'_>) -> Self {
        // Rarely the two of the greatest numbers, which cost the most.
        let number = bytes.one_of(&[0, 1, 2, 3, 4, 7, 8, 5, 0, 1, 2, 3, 4, 7, 8, 6]);
        Self { number, unit: Self::any_unit(bytes) }
    }

    /// One that can be walked granule by granule.
    pub fn small(bytes: &mut Bytes<'_>) -> Self {
        let number = bytes.one_of(&[0, 1, 2, 3, 4, 7]);
        Self { number, unit: Self::any_unit(bytes) }
    }

    /// Of numbers that only tables can count up to: to look at every word of those
    /// takes longer than a story.
    fn is_far(self) -> bool {
        matches!(self.number, 5 | 6)
    }

    /// Of more than 4,096 granules.
    pub fn is_large(self) -> bool {
        matches!(self.number, 4..8)
    }

    fn any_unit(bytes: &mut Bytes<'_>) -> u64 {
        bytes.one_of(&[1, 512, 4096, 4096])
    }

    /// In granules; the origin is where granule 0 is.
    fn spans(self) -> (Vec<(u64, u64)>, u64) {
        let top = u64::MAX / self.unit;
        match self.number {
            0 => (vec![(0, 63)], 0),
            1 => (vec![(0, 511)], 0),
            2 => (vec![(64, 700)], 0),
            3 => (vec![(3, 77), (130, 131), (192, 447)], 0),
            4 => (vec![(4090, 4101), (8192, 12_287)], 0),
            // The last granules of all, behind a hole.
            5 if self.unit == 1 => {
                let most = (1u64 << 63) - 1;
                (vec![(most - 700, most - 300), (most - 255, most)], 1 << 63)
            }
            5 => (vec![(top - 700, top - 300), (top - 255, top)], 0),
            // All orders that there are.
            6 if self.unit == 1 => (vec![(0, (1 << 63) - 1)], 0),
            6 => (vec![(0, top)], 0),
            7 => (vec![(0, 4095), (5000, 5063)], 0),
            // A few granules of each of 20 words: a hand keeps what it frees by
            // the word, for 8 of them.
            _ => ((0..20).map(|word| (word * 64 + 2, word * 64 + 3)).collect(), 0),
        }
    }
}

std::thread_local! {
    static KEPT: RefCell<Kept<Shape, World>> = const { RefCell::new(Kept::new()) };
}

/// Has a story told in a new world, and looks at that as a whole.
pub(crate) fn in_new(data: &[u8], tell: impl FnOnce(World, Bytes<'_>) -> (Tally, World)) -> Tally {
    let mut bytes = Bytes::new(data);
    let world = World::new(Shape::any(&mut bytes));
    let (tally, world) = tell(world, bytes);
    world.check_stats();
    world.check();
    tally
}

/// The same in a world that is kept, and is as it was afterwards.
pub(crate) fn in_kept(data: &[u8], tell: impl FnOnce(World, Bytes<'_>) -> (Tally, World)) -> Tally {
    let mut bytes = Bytes::new(data);
    let shape = Shape::any(&mut bytes);
    let world = KEPT.with_borrow_mut(|kept| kept.take(shape, |&shape| World::new(shape)));
    let (tally, mut world) = tell(world, bytes);
    world.check_now_and_then();
    world.restore();
    KEPT.with_borrow_mut(|kept| kept.put(&shape, world, data));
    tally
}

/// A zone and its reference.
#[derive(Debug)]
pub struct World {
    /// Hands of it. Before the zone: what they hold goes first.
    pub hands: Vec<Hand>,
    /// What is tried.
    pub zone: Zone,
    /// Another zone, for what is foreign.
    pub other: Zone,
    /// What it is of.
    pub spans: Intervals,
    /// What it was of at first.
    began: Intervals,
    /// What is free, but for what is leaving.
    pub free: Intervals,
    /// The spans on their way out.
    pub leaving: Vec<Leaving>,
    /// The granules that failed.
    pub failed: BTreeMap<u64, Failed>,
    /// Granules that may be asked about: those near the spans' ends.
    edges: Vec<u64>,
    /// Who took or gave last: one of the hands, or the zone.
    pub(crate) user: Option<usize>,
    /// What that one has freed since another did anything, and nobody has had since.
    pub(crate) given: Vec<Block>,
    /// That were told in it.
    stories: u32,
    /// Stories for one that is looked at as a whole while it is told.
    one_in: u32,
}

impl World {
    /// A zone of one of several shapes.
    pub fn new(shape: Shape) -> Self {
        let (unit, (spans, origin)) = (shape.unit, shape.spans());
        let potad = Potad::new();
        let mut resource = Resource::new("tried").granule(unit);
        let mut all = Intervals::default();
        let mut edges = Vec::new();
        for &(first, last) in &spans {
            let end = origin + last * unit + (unit - 1);
            resource = resource.span(origin + first * unit..=end);
            all.add(first, last);
            edges.extend([first, last]);
        }
        let zone = potad.register(resource).expect("a right resource");
        let other = Resource::new("other").space(1).span(0..64);
        let other = potad.register(other).expect("a right resource");
        Self {
            hands: Vec::new(),
            zone,
            other,
            free: all.clone(),
            began: all.clone(),
            spans: all,
            leaving: Vec::new(),
            failed: BTreeMap::new(),
            edges,
            user: None,
            given: Vec::new(),
            stories: 0,
            one_in: if shape.is_far() { 32 } else { 1 },
        }
    }

    /// An order, mostly a small one.
    pub fn any_order(&self, bytes: &mut Bytes<'_>) -> Order {
        let byte = u32::from(bytes.byte());
        let order = match byte >> 6 {
            0 => byte & 1,
            1 => byte & 3,
            2 => byte % 10,
            _ => byte & 63,
        };
        Order::new(order).expect("below 64")
    }

    /// A granule near the end of a span, or anywhere in it.
    pub fn any_granule(&self, bytes: &mut Bytes<'_>) -> u64 {
        let (edge, offset) = (usize::from(bytes.byte()), u64::from(bytes.byte()));
        let at = self.edges[edge % self.edges.len()];
        match edge >> 6 {
            0 => at.wrapping_add(offset),
            1 => at.saturating_sub(offset),
            2 => at.wrapping_add(offset * 16),
            _ => at.saturating_sub(offset * 16),
        }
    }

    /// A range of granules that some span covers, if the choice hits one.
    pub fn any_inside(&self, bytes: &mut Bytes<'_>) -> Option<(u64, u64)> {
        let first = self.any_granule(bytes);
        let count = u64::from(bytes.byte());
        let count = if count < 192 { count % 48 } else { count * 8 };
        let last = first.checked_add(count)?;
        self.spans.covers(first, last).then_some((first, last))
    }

    /// Whether a granule has a number and units of its own.
    pub fn is_in_reach(&self, at: u64) -> bool {
        let (origin, granule) = (self.zone.address_of(Granule(0)), self.zone.granule());
        at < 1 << 63 && at <= (u64::MAX - origin - (granule - 1)) / granule
    }

    /// The first unit of a granule, and the last of another.
    pub fn units(&self, first: u64, last: u64) -> std::ops::RangeInclusive<u64> {
        let last_unit = self.zone.address_of(Granule(last)) + (self.zone.granule() - 1);
        self.zone.address_of(Granule(first))..=last_unit
    }

    /// The largest order that a span can hold.
    pub fn largest_order(&self) -> Order {
        let orders = self.spans.cover().into_iter().map(|block| block.order());
        orders.max().unwrap_or(Order::ZERO)
    }

    /// Whether a block of this order is free.
    pub fn has(&self, order: Order) -> bool {
        self.free.lowest(order.granules(), order.granules(), 0, u64::MAX).is_some()
    }

    /// Notes what an allocation of a block came to; completeness and
    /// disjointness are checked here.
    pub fn took(&mut self, order: Order, taken: Result<Block, &Error>) {
        match taken {
            Ok(block) => {
                assert_eq!(block.order(), order);
                self.given.retain(|given| !given.overlaps(block));
                self.free.take(block.base().0, block.last().0);
            }
            Err(Error::Exhausted { order: asked }) => {
                assert_eq!(*asked, order);
                assert!(!self.has(order), "{order:?} was said to be exhausted: {:?}", self.free);
            }
            Err(Error::OrderTooLarge { order: asked, largest }) => {
                assert_eq!((*asked, *largest), (order, self.largest_order()));
                assert!(order > *largest);
            }
            Err(why) => panic!("an allocation of {order:?}: {why}"),
        }
    }

    /// Notes that a range was given back.
    pub fn gave(&mut self, first: u64, last: u64) {
        let mut from = first;
        let inside: Vec<u64> = self.failed.range(first..=last).map(|(&at, _)| at).collect();
        for at in inside {
            let was = self.failed.insert(at, Failed::Quarantined);
            assert_eq!(was, Some(Failed::Pending), "{at:#x} was somebody's");
            if from < at {
                self.gave_sound(from, at - 1);
            }
            from = at + 1;
        }
        if from <= last {
            self.gave_sound(from, last);
        }
    }

    fn gave_sound(&mut self, first: u64, last: u64) {
        let mut from = first;
        // Removals are in no order; those that meet the range are few.
        let mut met: Vec<usize> = (0..self.leaving.len()).collect();
        met.sort_by_key(|&at| self.leaving[at].first);
        for at in met {
            let leaving = &mut self.leaving[at];
            let (low, high) = (leaving.first.max(from), leaving.last.min(last));
            if low > high {
                continue;
            }
            leaving.claimed.add(low, high);
            if from < low {
                self.free.add(from, low - 1);
            }
            from = high + 1;
        }
        if from <= last {
            self.free.add(from, last);
        }
    }

    /// A granule of the zone failed; returns whether it was nobody's.
    pub fn fails(&mut self, at: u64) -> bool {
        if self.failed.contains_key(&at) {
            return false;
        }
        let claimed = self.leaving.iter_mut().find(|leaving| leaving.claimed.covers(at, at));
        let free = match claimed {
            Some(leaving) => Some(&mut leaving.claimed),
            None => Some(&mut self.free).filter(|free| free.covers(at, at)),
        };
        let was_free = free.is_some();
        if let Some(free) = free {
            free.take(at, at);
        }
        let state = if was_free { Failed::Quarantined } else { Failed::Pending };
        self.failed.insert(at, state);
        was_free
    }

    /// A span came.
    pub fn came(&mut self, first: u64, last: u64) {
        self.spans.add(first, last);
        let mut from = first;
        let inside: Vec<u64> = self.failed.range(first..=last).map(|(&at, _)| at).collect();
        for at in inside {
            self.failed.insert(at, Failed::Quarantined);
            if from < at {
                self.free.add(from, at - 1);
            }
            from = at + 1;
        }
        if from <= last {
            self.free.add(from, last);
        }
    }

    /// A span begins to leave. What a removal does not keep of what it flushes from
    /// hands goes to some other one, which no free looks into.
    pub fn leaves(&mut self, first: u64, last: u64) {
        self.given.clear();
        let mut claimed = Intervals::default();
        for (from, to) in self.free.within(first, last) {
            self.free.take(from, to);
            claimed.add(from, to);
        }
        self.leaving.push(Leaving { first, last, claimed });
    }

    /// What of a span on its way out is somebody's.
    pub fn remaining(&self, leaving: &Leaving) -> u64 {
        let inside = self.failed.range(leaving.first..=leaving.last);
        let out = inside.filter(|&(_, &state)| state == Failed::Quarantined).count() as u64;
        leaving.last - leaving.first + 1 - leaving.claimed.count() - out
    }

    /// A span has left.
    pub fn left(&mut self, at: usize) {
        let leaving = self.leaving.swap_remove(at);
        self.given.clear();
        self.spans.take(leaving.first, leaving.last);
        for (_, state) in self.failed.range_mut(leaving.first..=leaving.last) {
            *state = Failed::Gone;
        }
    }

    /// A span stays.
    pub fn stays(&mut self, at: usize) {
        let leaving = self.leaving.swap_remove(at);
        self.given.clear();
        for (first, last) in leaving.claimed.iter() {
            self.gave_sound(first, last);
        }
    }

    /// Makes the world as it was at first, once everything was given back: what
    /// failed circulates again, what came goes and what went comes.
    pub fn restore(&mut self) {
        self.hands.clear();
        (self.user, self.given) = (None, Vec::new());
        if self.failed.is_empty() && self.spans == self.began {
            return;
        }
        let (began, gone) = (self.began.clone(), self.failed.clone());
        // All that there was first, and granules that failed and went with their
        // spans: what is in no span is not to be had back.
        for (first, last) in began.iter().chain(gone.into_keys().map(|at| (at, at))) {
            for (first, last) in self.spans.gaps(first, last) {
                self.zone.hot_add(self.units(first, last)).expect("it was there");
                self.came(first, last);
            }
        }
        let all = self.spans.iter().map(|(first, last)| self.units(first, last));
        let back: u64 = all.map(|all| self.zone.unpoison(all).expect("injected")).sum();
        assert_eq!(back, self.failed.len() as u64);
        for at in core::mem::take(&mut self.failed).into_keys() {
            self.free.add(at, at);
        }
        for (first, last) in self.spans.clone().iter() {
            for (first, last) in began.gaps(first, last) {
                let removal = self.zone.hot_remove(self.units(first, last)).expect("free");
                removal.finish().expect("nobody has any of it");
                self.free.take(first, last);
                self.spans.take(first, last);
            }
        }
        assert_eq!((&self.spans, &self.free), (&began, &began));
        self.check_whole();
    }

    /// The checks that look at every word, once in eight stories: what is broken
    /// then stays broken.
    pub fn check_now_and_then(&mut self) {
        self.stories += 1;
        if self.stories.is_multiple_of(8) {
            self.check_stats();
            self.check();
        }
    }

    /// The same in the midst of a story: in all of them, but where it costs too much.
    pub fn check_midway(&self) {
        if self.stories.is_multiple_of(self.one_in) {
            self.check();
        }
    }

    /// Everything is in order, and as much is free as must be.
    pub fn check(&self) {
        let free = self.free.count();
        if self.zone.validate() != Ok(free) {
            // A block around a failed granule was freed, and kept whole for want of
            // tables: it is broken here at the latest.
            self.zone.retry_failures();
            assert_eq!(self.zone.validate(), Ok(free));
        }
    }

    /// Everything is where it must be, in the largest blocks that there are.
    pub fn check_whole(&self) {
        // What a free kept whole for want of tables is broken by a slow path.
        self.zone.retry_failures();
        assert_eq!(self.zone.free_blocks(), self.free.cover());
    }

    /// What is told of it to people is right.
    pub fn check_stats(&self) {
        let stats = self.zone.stats();
        assert_eq!((stats.granules, stats.free), (self.spans.count(), self.free.count()));
        let count = |which| self.failed.values().filter(|&&state| state == which).count() as u64;
        assert_eq!(stats.pending, count(Failed::Pending));
        assert_eq!(stats.quarantined, count(Failed::Quarantined));
        let claimed: u64 = self.leaving.iter().map(|leaving| leaving.claimed.count()).sum();
        assert_eq!(stats.removing, claimed);
    }
}
