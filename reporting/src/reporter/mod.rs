//! The reporter: an engine that is stepped.
//!
//! It has no thread and no clock: [`Reporter::step`] is told the time in
//! nanoseconds, does at most one batch, and says when it wants to be called
//! again.
//!
//! # States
//!
//! | state        | meaning                                 | leaves by                        |
//! |--------------|-----------------------------------------|----------------------------------|
//! | `Idle`       | nothing is due before `at`              | the time, the volume, a request  |
//! | `Requested`  | a pass was asked for during a pass      | the next step begins it          |
//! | `Active`     | a pass runs; `at` is now, or when the rate allows more | its end, a failure |
//! | `BackingOff` | something failed; the pass goes on at `at` | the time                      |
//! | `Paused`     | somebody holds a [`Pause`](crate::Pause) | its drop; the pass goes on      |
//! | `Parked`     | the driver is gone, or panicked         | [`Reporter::revive`]             |
//! | `Stopped`    | [`Control::stop`] was called            | never                            |
//!
//! # What always holds
//!
//! Between two steps the engine holds no block but those that a device has
//! (posted) and those that were asked to be kept ([`Reporter::hold`]).
//!
//! # Sharing and cost
//!
//! `&mut self` steps; [`Control`] is for everybody else. A step that finds
//! nothing due costs two read-modify-writes and a lock; a batch of up to 32
//! blocks allocates nothing, unless something failed.

mod pull;
mod run;
mod step;

pub use pull::{Pulled, PulledEnd};

use crate::batch::Out;
use crate::contain::contain;
use crate::control::Held;
use crate::demand::Demand;
use crate::driver::{Caps, Fault, Report, Reset};
use crate::pace::{Backoff, Jitter, TokenBucket};
use crate::range::Outcome;
use crate::skip::SkipList;
use crate::source::{Age, Cursor, IsolatedBlock, ReportSource};
use crate::stats::Stats;
use crate::{Control, MAX_BATCH, Policy, ReportingError};
use core::fmt;
use memdesc::Order;

/// What a reporter is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is due.
    Idle,
    /// A pass was asked for while one ran: the next begins at once.
    Requested,
    /// A pass runs.
    Active,
    /// Something failed; it waits.
    BackingOff,
    /// Somebody paused it.
    Paused,
    /// The driver does not work any more.
    Parked(Fault),
    /// It was stopped for good.
    Stopped,
}

/// What a step says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// When to step again; [`NEVER`](crate::NEVER) for not before a wake.
    pub at: u64,
    /// What it is doing.
    pub state: State,
}

/// A running pass.
#[derive(Clone, Copy, Debug)]
struct Pass {
    cursor: Cursor,
    min_order: Order,
    age: Age,
    patient: bool,
    /// Left where the allocator is about to take.
    spare: u64,
    /// What was free and not reported when it began, less what it took.
    dirty: u64,
    /// Ends the pass once `dirty` is no more than this.
    floor: u64,
    cause: Cause,
}

/// Why a pass began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Due,
    Volume,
}

/// Sizes as orders of the source.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    granule_bytes: u64,
    /// From the driver's caps.
    min_order: Order,
    max_order: Order,
}

/// Drives free blocks of `S` through the driver `D`.
///
/// ```
/// use potad_reporting::backend::Recording;
/// use potad_reporting::mock::MockSource;
/// use potad_reporting::{NEVER, Outcome, Policy, Reporter, State};
///
/// // 1024 free granules of 4 KiB.
/// let source = MockSource::new(4096, 10);
/// let mut reporter = Reporter::new(&source, Recording::new(), Policy::eager())?;
/// let mut now = 0;
/// loop {
///     let next = reporter.step(now);
///     if next.state == State::Idle {
///         break;
///     }
///     assert_ne!(next.at, NEVER);
///     now = next.at;
/// }
/// assert_eq!(reporter.stats().reported_bytes(), 4 << 20);
/// assert_eq!(reporter.stats().outcome(Outcome::Failed).blocks, 0);
/// # Ok::<(), potad_reporting::ReportingError>(())
/// ```
pub struct Reporter<S: ReportSource, D: Report> {
    source: S,
    driver: D,
    policy: Policy,
    caps: Caps,
    sizes: Sizes,
    control: Control,
    out: Out<S::Block>,
    bucket: TokenBucket,
    backoff: Backoff,
    jitter: Jitter,
    skip: SkipList,
    demand: Demand,
    stats: Stats,
    /// The latest time that a step was told.
    clock: u64,
    pass: Option<Pass>,
    next_pass: u64,
    /// No pass for the volume before this time.
    volume_after: u64,
    backoff_until: u64,
    parked: Option<Fault>,
    tickets: u64,
    /// Nanoseconds since any fixed moment, for the histograms only.
    stopwatch: Option<fn() -> u64>,
}

impl<S: ReportSource, D: Report> Reporter<S, D> {
    /// A reporter whose first pass is due at once, or says why there is none:
    /// the policy or the driver's caps are bad, or no block size suits both.
    pub fn new(source: S, driver: D, policy: Policy) -> Result<Self, ReportingError> {
        policy.check()?;
        let origin = source.mode();
        if policy.mode != origin {
            return Err(ReportingError::Mode { policy: policy.mode, origin });
        }
        let caps = driver.caps();
        let sizes = Sizes::new(source.granule_bytes(), &policy, &caps)?;
        let next_pass = if policy.interval == crate::NEVER { crate::NEVER } else { 0 };
        Ok(Self {
            sizes,
            control: Control::new(),
            out: Out::new(),
            bucket: TokenBucket::new(policy.rate, policy.burst),
            backoff: Backoff::new(policy.backoff, policy.backoff_max),
            jitter: Jitter::new(policy.jitter_seed, policy.jitter_percent),
            skip: SkipList::new(policy.skips),
            demand: Demand::new(policy.demand_passes),
            stats: Stats::default(),
            clock: 0,
            pass: None,
            next_pass,
            volume_after: 0,
            backoff_until: 0,
            parked: None,
            tickets: 0,
            stopwatch: None,
            source,
            driver,
            policy,
            caps,
        })
    }

    /// Has the times of isolation and of the driver measured by `stopwatch`,
    /// nanoseconds since any fixed moment. The engine itself has no clock.
    pub fn with_stopwatch(mut self, stopwatch: fn() -> u64) -> Self {
        self.stopwatch = Some(stopwatch);
        self
    }

    /// The stopwatch's time, 0 without one.
    fn watch(&self) -> u64 {
        self.stopwatch.map_or(0, |now| now())
    }

    /// A handle for other threads.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// The latest time that it was told.
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// What was counted so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// The source.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// The driver.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// The driver, for example to tell it of a new region. Its caps were asked
    /// at the beginning and are not asked again.
    pub fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Blocks that a device has.
    pub fn in_flight(&self) -> usize {
        self.out.posted.len()
    }

    /// What it is doing, without a step.
    pub fn state(&self) -> State {
        if let Some(fault) = self.parked {
            return State::Parked(fault);
        }
        match self.control.held() {
            Some(Held::Stopped) => State::Stopped,
            Some(Held::Paused) => State::Paused,
            None if self.clock < self.backoff_until => State::BackingOff,
            None if self.pass.is_some() => State::Active,
            None if self.control.is_requested() => State::Requested,
            None => State::Idle,
        }
    }

    /// Why it is parked, if it is.
    pub fn fault(&self) -> Option<Fault> {
        self.parked
    }

    /// Leaves [`State::Parked`] and any back-off: somebody mended the driver.
    pub fn revive(&mut self) {
        self.parked = None;
        self.backoff.ease();
        self.backoff_until = 0;
        self.skip.clear();
    }

    /// Takes all posted ranges away from the device and puts their blocks back
    /// untried, if the driver can vouch for it. If it cannot, they stay.
    pub fn reset(&mut self) -> Reset {
        if self.out.posted.is_empty() {
            return Reset::Quiet;
        }
        let driver = &mut self.driver;
        let Ok(reset) = contain(|| driver.reset()) else {
            self.panicked();
            return Reset::Unknown;
        };
        if reset == Reset::Quiet || memdesc::seeded!("put back though nobody knows") {
            while let Some(posted) = self.out.posted.pop() {
                let bytes = posted.block.range().bytes();
                self.source.put_back(posted.block, Outcome::NotTried);
                self.stats.in_flight.sub(bytes);
                self.stats.count(Outcome::NotTried, bytes);
            }
        }
        reset
    }

    fn panicked(&mut self) {
        self.stats.panics += 1;
        self.park(Fault::Panicked);
    }

    fn park(&mut self, fault: Fault) {
        self.stats.last_fault = Some(fault);
        self.parked = Some(fault);
        self.pass = None;
    }
}

impl<S: ReportSource, D: Report> Drop for Reporter<S, D> {
    /// Puts back what is held, and what a device has if the driver can take it
    /// away from it. The rest stays isolated for ever: giving it back would let
    /// the device discard memory that is in use.
    fn drop(&mut self) {
        self.release(u64::MAX);
        if self.reset() == Reset::Unknown {
            for posted in self.out.posted.drain(..) {
                let bytes = posted.block.range().bytes();
                self.stats.in_flight.sub(bytes);
                self.stats.lost.add(bytes);
                core::mem::forget(posted.block);
            }
        }
        self.control.stop();
        self.control.publish(State::Stopped, &self.stats);
    }
}

impl<S: ReportSource, D: Report> fmt::Debug for Reporter<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter")
            .field("pass", &self.pass)
            .field("next_pass", &self.next_pass)
            .field("parked", &self.parked)
            .field("in_flight", &self.out.posted.len())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Sizes {
    fn new(granule_bytes: u64, policy: &Policy, caps: &Caps) -> Result<Self, ReportingError> {
        if granule_bytes == 0 {
            return Err(ReportingError::NoGranule);
        }
        let sound = (1..=MAX_BATCH).contains(&usize::from(caps.max_ranges))
            && caps.min_bytes != 0
            && caps.min_bytes <= caps.max_bytes
            && caps.align.is_power_of_two();
        if !sound {
            return Err(ReportingError::Caps);
        }
        let device_min = caps.min_bytes.max(caps.align);
        let (min_bytes, max_bytes) =
            (device_min.max(policy.smallest()), policy.max_piece.min(caps.max_bytes));
        let none = ReportingError::NoOrder { min_bytes, max_bytes };
        let max_granules = max_bytes / granule_bytes;
        if max_granules == 0 {
            return Err(none);
        }
        let order = |granules: u64| Order::covering(granules).map_err(|_| none);
        let max_order = Order::new(max_granules.ilog2()).map_err(|_| none)?;
        if order(min_bytes.div_ceil(granule_bytes))? > max_order {
            return Err(none);
        }
        let min_order = order(device_min.div_ceil(granule_bytes))?;
        Ok(Self { granule_bytes, min_order, max_order })
    }

    /// The largest order of at most `bytes`, within the limits.
    fn max_order(&self, bytes: u64) -> Order {
        let granules = (bytes / self.granule_bytes).max(1);
        let asked = Order::new(granules.ilog2()).unwrap_or(Order::MAX);
        asked.max(self.min_order).min(self.max_order)
    }

    /// The order of blocks of at least `bytes` that the driver takes too.
    fn min_order(&self, bytes: u64) -> Order {
        let asked = Order::covering(bytes.div_ceil(self.granule_bytes)).unwrap_or(Order::MAX);
        asked.max(self.min_order).min(self.max_order)
    }
}
