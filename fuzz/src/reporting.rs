//! Reporting against the allocator: users, a real zone, a reporter, and a host
//! that does anything.
//!
//! The reference knows, for each report granule, what the host was last told,
//! and forgets it as soon as somebody gets a part of it. The zone may forget
//! sooner (a claim takes 64 granules), never later. What must hold:
//!
//! - the host is asked to discard only what is nobody's, in whole report granules;
//! - nothing is believed reported, or to read as zeros, that the reference does
//!   not know as such;
//! - after each call everything that was isolated is back;
//! - in the end, with a host that does as it is asked, all that is free is
//!   reported.
//!
//! What a device keeps, and what is held, is told by the stories of the reporting
//! crate's own tests.

use crate::world::{Shape, World};
use crate::{Bytes, Kept, Tally};
use memdesc::{Block as Place, FailureKind, Granule, Order};
use potad::{BareBlock, Content, Zone};
use reporting::backend::{Answer, Recording};
use reporting::{Age, Outcome, Policy, PulledEnd, Reporter, Rule, ZoneSource};
use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

/// What a story is made of.
pub const OPERATIONS: [&str; 12] = [
    "alloc",
    "alloc telling",
    "alloc many",
    "free",
    "free many",
    "hand",
    "step",
    "reclaim",
    "control",
    "believed",
    "failure",
    "hot add",
];

/// Live blocks at most.
const MOST: usize = 24;

/// How the host answers, until it is told to be good.
#[derive(Debug, Default)]
struct Mood {
    state: u64,
    /// Of 256.
    badness: u64,
}

impl Mood {
    fn next(&mut self) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        self.state >> 33
    }

    fn answer(&mut self) -> Answer {
        if self.next() % 256 >= self.badness {
            return Answer::Say(match self.next() % 2 {
                0 => Outcome::Reported,
                _ => Outcome::ReportedZeroed,
            });
        }
        match self.next() % 6 {
            0 => Answer::Forget,
            1 => Answer::Cancel,
            2 => Answer::Busy,
            3 => Answer::Say(Outcome::Failed),
            4 => Answer::Die,
            _ => Answer::Say(Outcome::Declined),
        }
    }
}

/// What became of the ranges of a call, as the host sees it.
type Told = Arc<Mutex<Vec<(u64, u64, Outcome)>>>;

/// A zone with a reporter attached: there can be but one.
#[derive(Debug)]
struct Site {
    source: Arc<ZoneSource>,
    world: World,
}

impl Site {
    /// Attaches by one of the calls that do.
    fn new(
        shape: Shape,
        order: Order,
        attach: fn(Zone, Order) -> Result<ZoneSource, potad::Error>,
    ) -> Self {
        let world = World::new(shape);
        let source = attach(world.zone.clone(), order).expect("the first one");
        assert!(ZoneSource::attach(world.zone.clone(), order).is_err(), "a second one");
        Self { source: Arc::new(source), world }
    }

    /// As it was at first, nothing reported: whatever the host knows of what is
    /// free, all of it can be had.
    fn restore(&mut self) {
        self.world.restore();
        let zone = &self.world.zone;
        let mut orders: Vec<_> =
            self.world.free.cover().iter().map(|block| block.order()).collect();
        orders.sort_by(|one, other| other.cmp(one));
        let all: Vec<_> =
            orders.into_iter().map(|order| zone.alloc_bare(order).expect("free")).collect();
        assert_eq!(zone.reported_granules(), 0);
        zone.free_many(all).expect("live");
    }
}

/// Whether the memory was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Began {
    Present,
    Absent,
}

/// What a story begins with.
fn begin(bytes: &mut Bytes<'_>) -> (Shape, Order, Began) {
    let shape = Shape::small(bytes);
    // Of a large zone not each granule: a pass would be all of the story.
    let orders = if shape.is_large() { [3, 6, 6, 9] } else { [0u32, 1, 3, 6] };
    let order = Order::new(bytes.one_of(&orders)).expect("below 64");
    (shape, order, if bytes.once_in(4) { Began::Absent } else { Began::Present })
}

std::thread_local! {
    static KEPT: RefCell<Kept<(Shape, Order), Site>> = const { RefCell::new(Kept::new()) };
}

/// Tells one story.
///
/// # Panics
///
/// If the allocator or the reporter does not do as the reference does.
pub fn run(data: &[u8]) -> Tally {
    let mut bytes = Bytes::new(data);
    let (shape, order, began) = begin(&mut bytes);
    let site = match began {
        Began::Present => Site::new(shape, order, ZoneSource::attach),
        Began::Absent => Site::new(shape, order, ZoneSource::attach_absent),
    };
    let (tally, site) = tell(site, order, began, bytes, 4);
    site.world.check_stats();
    site.world.check();
    tally
}

/// Tells one story in a world that is kept, which is looked at as a whole less
/// often.
///
/// # Panics
///
/// If the allocator or the reporter does not do as the reference does.
pub fn run_kept(data: &[u8]) -> Tally {
    let mut bytes = Bytes::new(data);
    let (shape, order, began) = begin(&mut bytes);
    let key = (shape, order);
    let make = |_: &_| Site::new(shape, order, ZoneSource::attach);
    let site = KEPT.with_borrow_mut(|kept| kept.take(key, make));
    if began == Began::Absent {
        for span in site.world.zone.spans() {
            ZoneSource::note_absent(&site.world.zone, span.first, span.last);
        }
    }
    let (tally, mut site) = tell(site, order, began, bytes, 16);
    site.world.check_now_and_then();
    site.restore();
    KEPT.with_borrow_mut(|kept| kept.put(&key, site, data));
    tally
}

fn tell(
    site: Site,
    order: Order,
    began: Began,
    mut bytes: Bytes<'_>,
    check_every: u32,
) -> (Tally, Site) {
    let source = Arc::clone(&site.source);
    let mut story = Story::new(site, order, began, &mut bytes);
    let mut tally = Tally::new(&OPERATIONS);
    let mut steps = 0u32;
    while !bytes.is_empty() {
        let operation = bytes.below(OPERATIONS.len());
        let was_done = story.step(operation, &mut bytes);
        tally.count(operation, was_done);
        steps += 1;
        if steps.is_multiple_of(check_every) {
            story.world.check();
        }
    }
    (tally, Site { source, world: story.end() })
}

struct Story {
    // Before the world: what it holds goes first.
    live: Vec<BareBlock>,
    reporter: Reporter<Arc<ZoneSource>, Recording>,
    world: World,
    /// The report granule.
    order: Order,
    mood: Arc<Mutex<Mood>>,
    told: Told,
    known: Known,
    now: u64,
}

/// What the host was told last, by report granule: whether it reads as zeros.
#[derive(Debug, Default)]
struct Known(Vec<Option<bool>>);

impl Known {
    fn get(&self, index: u64) -> Option<bool> {
        self.0.get(index as usize).copied().flatten()
    }

    fn set(&mut self, range: std::ops::Range<u64>, known: Option<bool>) {
        // Worlds end at some twelve thousand granules.
        let (first, end) = (range.start as usize, range.end as usize);
        if self.0.len() < end {
            self.0.resize(end, None);
        }
        if first < end {
            self.0[first..end].fill(known);
        }
    }

    fn count(&self) -> u64 {
        self.0.iter().filter(|known| known.is_some()).count() as u64
    }
}

impl Story {
    fn new(site: Site, order: Order, began: Began, bytes: &mut Bytes<'_>) -> Self {
        let Site { source, world } = site;
        let badness = bytes.one_of(&[0u64, 10, 60, 230]);
        let mood = Mood { state: u64::from(bytes.byte()), badness };
        let (mood, told) = (Arc::new(Mutex::new(mood)), Told::default());
        let driver = {
            let (mood, told) = (Arc::clone(&mood), Arc::clone(&told));
            Recording::answering(move |_, range, _| {
                let answer = lock(&mood).answer();
                if let Answer::Say(outcome) = answer {
                    lock(&told).push((range.at.first(), range.at.last(), outcome));
                }
                answer
            })
        };
        let unit = world.zone.granule();
        let rules =
            [Rule { min_bytes: order.granules() * unit, every: 1 + u32::from(bytes.byte()) % 2 }];
        let policy = Policy::eager()
            .rules(&rules)
            .age(if bytes.once_in(2) { Age::Seen } else { Age::Any })
            .batch(1 + bytes.below(40))
            .max_piece((order.granules() * unit) << (bytes.byte() % 6))
            .interval(1 + u64::from(bytes.byte()))
            .backoff(1 + u64::from(bytes.byte()), 1000)
            .demand_passes(u32::from(bytes.byte()) % 3);
        let reporter = Reporter::new(source, driver, policy).expect("a right policy");
        let mut story = Self {
            live: Vec::new(),
            reporter,
            world,
            order,
            mood,
            told,
            known: Known::default(),
            now: 0,
        };
        if began == Began::Absent {
            let spans: Vec<_> = story.world.spans.iter().collect();
            spans.into_iter().for_each(|(first, last)| story.know(first, last, true));
        }
        story
    }

    fn step(&mut self, operation: usize, bytes: &mut Bytes<'_>) -> bool {
        match operation {
            0 => self.alloc(bytes),
            1 => self.alloc_telling(bytes),
            2 => self.alloc_many(bytes),
            3 => self.free(bytes),
            4 => self.free_many(bytes),
            5 => self.world.turn_hands(bytes),
            6 => {
                let next = self.reporter.step(self.now);
                // On time, early or late.
                let late = u64::from(bytes.byte());
                self.now = match late {
                    0..64 => self.now,
                    64..192 => next.at.min(self.now + 5000),
                    _ => self.now + late * 10,
                };
                self.heard() > 0
            }
            7 => {
                let asked = u64::from(bytes.byte()) * self.world.zone.granule();
                let pulled = self.reporter.reclaim(self.now, asked);
                assert!(pulled.end != PulledEnd::Enough || pulled.reported >= asked);
                self.heard() > 0
            }
            8 => match bytes.below(4) {
                0 => {
                    self.reporter.control().cancel();
                    false
                }
                1 => {
                    self.reporter.control().request();
                    true
                }
                2 => {
                    self.world.zone.age_reports();
                    true
                }
                _ => {
                    let was_parked = self.reporter.fault().is_some();
                    self.reporter.revive();
                    assert_eq!(self.reporter.fault(), None);
                    was_parked
                }
            },
            9 => self.believed(bytes),
            10 => self.fail(bytes),
            _ => self.hot_add(bytes),
        }
    }

    /// What the host was told in a call, and whether it was right to ask.
    fn heard(&mut self) -> usize {
        assert_eq!(self.reporter.stats().in_flight.blocks, 0, "nothing is kept");
        let told = core::mem::take(&mut *lock(&self.told));
        for &(first, last, outcome) in &told {
            let zone = &self.world.zone;
            let (first, last) = (zone.granule_at(first), zone.granule_at(last));
            let (first, last) = (first.expect("of the zone").0, last.expect("of the zone").0);
            assert!(self.world.free.covers(first, last), "{first:#x}..={last:#x} is somebody's");
            let inner = self.order.granules() - 1;
            assert!(first & inner == 0 && last & inner == inner, "{first:#x}..={last:#x}");
            if outcome.is_reported() {
                self.know(first, last, outcome == Outcome::ReportedZeroed);
            }
        }
        told.len()
    }

    /// The host has taken back every whole report granule of a range.
    fn know(&mut self, first: u64, last: u64, zeroed: bool) {
        let end = (last + 1) >> self.order.get();
        self.known.set(first.div_ceil(self.order.granules())..end, Some(zeroed));
    }

    /// The report granules that a range meets.
    fn met(&self, first: u64, last: u64) -> std::ops::RangeInclusive<u64> {
        let shift = self.order.get();
        first >> shift..=last >> shift
    }

    /// Somebody has got a block.
    fn used(&mut self, place: Place) {
        let met = self.met(place.base().0, place.last().0);
        self.known.set(*met.start()..met.end() + 1, None);
        assert!(!self.world.zone.is_reported(place), "{place:?} is in use");
    }

    fn alloc(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (order, by) = (self.world.any_order(bytes), bytes.below(4));
        if self.live.len() >= MOST {
            return false;
        }
        let Some(block) = self.world.alloc_bare(order, by) else { return false };
        self.used(block.block());
        self.live.push(block);
        true
    }

    fn alloc_telling(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let order = self.world.any_order(bytes);
        if self.live.len() >= MOST {
            return false;
        }
        let taken = self.world.zone.alloc_bare_telling(order);
        let taken = self.world.noted(order, taken, |(block, _)| block.block());
        let Some((block, content)) = taken else { return false };
        let place = block.block();
        let mut met = self.met(place.base().0, place.last().0);
        let reads_zero = met.all(|index| self.known.get(index) == Some(true));
        assert!(content != Content::Zero || reads_zero, "{place:?} is said to read as zeros");
        self.used(place);
        self.live.push(block);
        content == Content::Zero
    }

    fn alloc_many(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (order, by) = (self.world.any_order(bytes), bytes.below(4));
        let count = bytes.below(MOST).min(MOST - self.live.len());
        let (out, were_all) = self.world.alloc_many(order, count, by);
        out.iter().for_each(|block| self.used(block.block()));
        self.live.extend(out);
        were_all && count > 0
    }

    fn free(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (block, by) = (bytes.take(&mut self.live), bytes.below(4));
        let Some(block) = block else { return false };
        self.world.free_bare(block, by);
        true
    }

    fn free_many(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (most, by) = (bytes.below(MOST).min(self.live.len()), bytes.below(4));
        let blocks = self.live.drain(..most).collect();
        self.world.free_many(blocks, by)
    }

    /// A block that is believed reported was told, all of it.
    fn believed(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (at, order) = (self.world.any_granule(bytes), self.world.any_order(bytes));
        if !self.world.spans.covers(at, at) || order.get() > 20 {
            return false;
        }
        let place = Place::containing(Granule(at), order);
        let believed = self.world.zone.is_reported(place);
        let mut met = self.met(place.base().0, place.last().0);
        let was_told = met.all(|index| self.known.get(index).is_some());
        assert!(!believed || was_told, "{place:?} was never reported, or has been used since");
        let granules = self.known.count() * self.order.granules();
        assert!(self.world.zone.reported_granules() <= granules);
        believed
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
        assert_eq!(report.quarantined, u64::from(self.world.fails(at)));
        is_new
    }

    fn hot_add(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (first, count) = (self.world.any_granule(bytes), u64::from(bytes.byte()));
        let last = first.saturating_add(count);
        if !self.world.is_in_reach(last) || !self.world.spans.within(first, last).is_empty() {
            return false;
        }
        match self.world.zone.hot_add(self.world.units(first, last)) {
            Ok(()) => {
                self.world.came(first, last);
                true
            }
            Err(potad::Error::OutsideReach { .. }) => false,
            Err(why) => panic!("{first:#x}..={last:#x} was refused: {why}"),
        }
    }

    /// A good host at the end: all that is free comes to be reported.
    fn end(mut self) -> World {
        while let Some(block) = self.live.pop() {
            self.world.free_bare(block, usize::MAX);
        }
        self.world.hands.clear();
        lock(&self.mood).badness = 0;
        self.reporter.revive();
        // A cancel that nobody has met yet.
        self.reporter.step(self.now);
        self.heard();
        self.now += 1_000_000;
        // The thread's own hand still holds some of it.
        let pulled = self.reporter.reclaim(self.now, u64::MAX);
        self.heard();
        assert_eq!(pulled.end, PulledEnd::NothingLeft);
        let granules = self.order.granules();
        let mut whole = 0;
        for (first, last) in self.world.free.iter() {
            let (from, end) = (first.div_ceil(granules), (last + 1) / granules);
            for index in from..end {
                let place = Place::containing(Granule(index * granules), self.order);
                assert!(self.world.zone.is_reported(place), "{place:?} was left out");
                whole += granules;
            }
        }
        assert_eq!(self.world.zone.reported_granules(), whole);
        self.world.check_whole();
        self.world
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
