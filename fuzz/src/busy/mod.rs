//! Everything at once, on real threads: for sanitizers and for the soak.
//!
//! # Picture
//!
//! ```text
//!  workers      allocate by every call there is, write a cookie into all of the
//!               block, check it before they free; free each other's; split,
//!               merge, replace, shrink; look up any address
//!  reporter     takes free blocks, wipes them (as a discard does), puts them back
//!  plug         removes a part and adds it again
//!  failures     now and then a granule fails, and is never seen again
//! ```
//!
//! # What is checked
//!
//! Each block has its cookie until it is freed; what is said to read as zeros
//! does; no quarantined granule is given out; whatever a look-up finds describes
//! the address and is alive; and at the end everything comes back, `validate`
//! agrees, and nothing is missing but what failed.

mod device;
mod plug;
mod worker;

use crate::Memory;
use device::Device;
// Not std's, whose slow paths are compiled into it: sanitizers would not see them.
use memdesc::sync::Mutex;
use memdesc::{Block, Descriptor, FailedBlock, Granule, Order, Outcome, Owner, OwnerId};
use potad::{Potad, Resource, Zone};
use reporting::{Policy, Reporter, ZoneSource};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use worker::{Item, Worker};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Workers, at least one; three more threads report, plug and fail.
    pub workers: usize,
    /// The zone's size, as an order.
    pub order: u32,
    /// Words of memory per granule.
    pub words: usize,
    /// How long.
    pub time: Duration,
    /// Where the choices begin.
    pub seed: u64,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Counts {
    /// Blocks and runs handed out.
    pub allocated: AtomicU64,
    /// Requests for which nothing was free.
    pub exhausted: AtomicU64,
    /// Blocks freed by another thread than took them.
    pub remote: AtomicU64,
    /// Blocks split, merged, replaced or shrunk.
    pub changed: AtomicU64,
    /// Look-ups that found something.
    pub found: AtomicU64,
    /// Blocks that read as zeros, as they should.
    pub zeroed: AtomicU64,
    /// Ranges wiped by the device.
    pub wiped: AtomicU64,
    /// Spans removed and added again.
    pub plugged: AtomicU64,
    /// Removals given up.
    pub cancelled: AtomicU64,
    /// Granules that failed.
    pub failed: AtomicU64,
    /// Owners told of one.
    pub told: AtomicU64,
}

impl Counts {
    fn all(&self) -> [(&'static str, u64); 11] {
        [
            ("allocated", self.allocated.load(Relaxed)),
            ("exhausted", self.exhausted.load(Relaxed)),
            ("freed remotely", self.remote.load(Relaxed)),
            ("changed", self.changed.load(Relaxed)),
            ("found", self.found.load(Relaxed)),
            ("zeroed", self.zeroed.load(Relaxed)),
            ("wiped", self.wiped.load(Relaxed)),
            ("plugged", self.plugged.load(Relaxed)),
            ("cancelled", self.cancelled.load(Relaxed)),
            ("failed", self.failed.load(Relaxed)),
            ("told", self.told.load(Relaxed)),
        ]
    }

    /// What never happened: a run that means something has none of it.
    pub fn missing(&self) -> Vec<&'static str> {
        self.all().into_iter().filter(|&(_, count)| count == 0).map(|(name, _)| name).collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = self.all().into_iter();
        let Some((name, count)) = all.next() else { return Ok(()) };
        write!(f, "{count} {name}")?;
        all.try_for_each(|(name, count)| write!(f, ", {count} {name}"))
    }
}

/// What typed blocks carry: plain words that a drop spoils, so that whoever
/// reads a dead one is seen.
#[derive(Debug)]
struct Folio {
    magic: u64,
    number: AtomicU64,
}

const MAGIC: u64 = 0x666f_6c69_6f21;

impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}

impl Folio {
    fn new(number: u64) -> Self {
        Self { magic: MAGIC, number: AtomicU64::new(number) }
    }

    fn check(&self) {
        assert_eq!(self.magic, MAGIC, "a dead descriptor was read");
    }
}

impl Drop for Folio {
    fn drop(&mut self) {
        self.magic = 0;
    }
}

/// Hears of failures.
struct Hears(Arc<Counts>);

impl Owner for Hears {
    fn memory_failure(&self, _failed: &FailedBlock) -> Outcome {
        self.0.told.fetch_add(1, Relaxed);
        Outcome::Delayed
    }
}

/// What the threads share.
struct Shared {
    size: Size,
    zone: Zone,
    memory: Memory,
    counts: Arc<Counts>,
    owner: OwnerId,
    stop: AtomicBool,
    /// Granules that were quarantined: nobody gets them again.
    out: Box<[AtomicBool]>,
    /// What one worker gives another to free.
    mail: Box<[Mutex<Vec<Item>>]>,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Any address of the zone's first to last granule.
    fn any_address(&self, random: &mut Random) -> u64 {
        random.below(self.zone.granule() << self.size.order)
    }

    /// Nothing that is out of circulation is in a block that was given out.
    fn check_sound(&self, first: u64, last: u64) {
        for at in first..=last {
            assert!(!self.out[at as usize].load(Relaxed), "granule {at} had failed");
        }
    }
}

/// Bytes of this process that are in memory; `None` where the system does not
/// say.
pub fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// Runs until the time is over; adds to `counts`. `look` is called at the end,
/// when the threads have ended and the zone and its contents are still there;
/// what it says is returned.
///
/// # Panics
///
/// If anything is not as it must be.
pub fn run<R>(size: Size, counts: &Arc<Counts>, look: impl FnOnce() -> R) -> R {
    let potad = Potad::new();
    let granule = 8 * size.words as u64;
    let resource = Resource::new("busy").granule(granule).span(0..granule << size.order);
    let zone = potad.register(resource).expect("a right resource");
    let hears = Arc::new(Hears(counts.clone()));
    let owner = zone.register_owner(hears.clone()).expect("the first");
    zone.set_own_owner(hears).expect("the second");
    let granules = 1u64 << size.order;
    let shared = Shared {
        size,
        zone: zone.clone(),
        memory: Memory::new(granules, size.words),
        counts: counts.clone(),
        owner,
        stop: AtomicBool::new(false),
        out: (0..granules).map(|_| AtomicBool::new(false)).collect(),
        mail: (0..size.workers).map(|_| Mutex::new(Vec::new())).collect(),
    };
    let shared = &shared;
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for me in 0..size.workers {
            workers.push(scope.spawn(move || Worker::new(shared, me).work()));
        }
        let others = [
            scope.spawn(move || report(shared)),
            scope.spawn(move || plug::plug(shared)),
            scope.spawn(move || plug::fail(shared)),
        ];
        let end = Instant::now() + size.time;
        let is_dead =
            || workers.iter().chain(&others).any(std::thread::ScopedJoinHandle::is_finished);
        while Instant::now() < end && !is_dead() {
            std::thread::sleep(Duration::from_millis(20));
        }
        shared.stop.store(true, Relaxed);
        // Handles are dropped after their threads: the drop of an `Arc` of std
        // orders by a fence, which ThreadSanitizer does not see.
        for thread in workers.into_iter().chain(others) {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    // What was sent last, and is still in the post.
    for mail in &shared.mail {
        let left = std::mem::take(&mut *mail.lock());
        left.into_iter().for_each(|item| item.free(shared, None));
    }
    let free = zone.validate().expect("whole");
    let stats = zone.stats();
    assert_eq!((stats.granules, stats.isolated, stats.pending), (granules, 0, 0), "{stats:?}");
    assert_eq!((free, stats.free), (granules - stats.quarantined, free));
    let mut seen = 0;
    for block in zone.free_blocks() {
        shared.check_sound(block.base().0, block.last().0);
        seen += block.order().granules();
    }
    assert_eq!(seen, free);
    // Whatever could merge has.
    let free = zone.free_blocks();
    let is_free = |block: Block| free.binary_search_by_key(&block.base(), |free| free.base());
    for block in &free {
        let buddy = block.buddy().filter(|buddy| buddy.last().0 < granules);
        if let Some(at) = buddy.and_then(|buddy| is_free(buddy).ok()) {
            assert_ne!(free[at].order(), block.order(), "{block:?} and its buddy are free");
        }
    }
    // What was retired in this round is to be gone, not only the zone.
    (0..256).for_each(|_| memdesc::pin().flush());
    look()
}

/// A reporter on a device that wipes, and is not always in the mood.
fn report(shared: &Shared) {
    let order = Order::new(3).expect("small");
    let source = ZoneSource::attach(shared.zone.clone(), order).expect("the only one");
    let policy = Policy::eager().interval(2_000_000).backoff(1_000_000, 4_000_000).batch(16);
    let device = Device::new(shared);
    let mut reporter = Reporter::new(&source, device, policy).expect("a right policy");
    let started = Instant::now();
    while !shared.is_over() {
        let now = started.elapsed().as_nanos() as u64;
        let next = reporter.step(now);
        if reporter.fault().is_some() {
            reporter.revive();
        }
        let pause = next.at.saturating_sub(now).min(1_000_000);
        std::thread::sleep(Duration::from_nanos(pause));
    }
    // What the device has comes back by its reset.
    drop(reporter);
}

/// SplitMix64.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn granule_of(shared: &Shared, address: u64) -> Granule {
    Granule(address / shared.zone.granule())
}
