//! Signals by the ten thousand while threads allocate, free, split and fail:
//! what handlers see is plausible, what they leave is not lost, and they never
//! allocate.

#![cfg(all(target_os = "linux", not(miri)))]

use potad::lookup::{Addresses, Payload, Ranges, Tree};
use potad::memdesc::{
    Block, Dead, FailureKind, Granule, Home, Immediate, Kinds, Order, OwnerId, Seen, Snapshot,
    Subtype, descriptors, pin,
};
use potad::{FailureEvent, FailureQueue, Potad, Resource, Zone};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::os::unix::thread::JoinHandleExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const GRANULES: u64 = 1 << 12;
/// Granules that each worker has for itself in the bare tree.
const OWN: u64 = 256;
const WORKERS: u64 = 3;
/// Handlers to run, and how long to wait for them where the machine is busy.
const WANTED: u64 = 12_000;
const LEAST: u64 = 10_000;
const PATIENCE: Duration = Duration::from_secs(60);

// ---- an allocator that knows whether a handler calls it ----------------------

std::thread_local! {
    static HANDLERS: Cell<u32> = const { Cell::new(0) };
}
static ALLOCATED_IN_HANDLERS: AtomicU64 = AtomicU64::new(0);

struct Watched;

fn note() {
    if HANDLERS.get() != 0 {
        ALLOCATED_IN_HANDLERS.fetch_add(1, Relaxed);
    }
}

// SAFETY: the system's.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note();
        // SAFETY: promised by the caller.
        unsafe { System.dealloc(at, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

// ---- what is churned, and what a handler may expect of it -------------------

static LIVE: AtomicUsize = AtomicUsize::new(0);

struct Folio;
struct Slab;
descriptors! { set Mm { Folio = 1, Slab = 2 } }

impl Drop for Folio {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Relaxed);
    }
}

fn folio() -> Folio {
    LIVE.fetch_add(1, Relaxed);
    Folio
}

#[derive(Clone)]
struct Nobody(Kinds);

impl Home for Nobody {
    fn kinds(&self) -> &Kinds {
        &self.0
    }
    fn teardown(_: Dead<Self>) {}
}

struct Storm {
    zone: Zone,
    /// Immediate words with cookies: a zone has none.
    words: Tree<Nobody>,
    ranges: Ranges<Payload>,
    queue: FailureQueue,
    next: AtomicU64,
    handlers: AtomicU64,
    nested: AtomicU64,
    hits: [AtomicU64; 4],
    wrong: AtomicU64,
    pushed: AtomicU64,
    refused: AtomicU64,
    stop: AtomicBool,
}

static STORM: OnceLock<Storm> = OnceLock::new();

fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// The owner of raw blocks of an order; their halves keep it.
fn owner_of(order: Order) -> OwnerId {
    OwnerId(100 + order.get() as u16)
}

/// What a typed block's flags are, once they have been set.
fn flags_of(block: Block) -> u8 {
    mix(block.base().0) as u8 | 0x80
}

/// Lossless: what is left is 32 bits.
fn cookie_of(block: Block) -> u32 {
    (mix(block.base().0 << 6 | u64::from(block.order().get())) >> 32) as u32
}

/// An event all of whose parts say which it is.
fn event_at(address: u64) -> FailureEvent {
    let kinds = [FailureKind::Consumed, FailureKind::Found, FailureKind::Predicted];
    let kind = kinds[(mix(address) % 3) as usize];
    FailureEvent { address, lsb: (mix(address) >> 8) as u32 % 64, kind }
}

impl Storm {
    /// Whether a zone can have said so.
    fn is_plausible(&self, seen: &Snapshot, at: Granule) -> bool {
        let block = seen.block;
        let fits = block.contains(at) && block.last().0 < GRANULES;
        fits && match seen.seen {
            Seen::Descriptor { name: "Folio", flags, kind, .. } => {
                self.hits[0].fetch_add(1, Relaxed);
                let flagged = flags == 0 || flags == flags_of(block);
                flagged && kind.get() == 1 && seen.owner == OwnerId(7)
            }
            Seen::Descriptor { name: "Slab", flags, kind, .. } => {
                self.hits[0].fetch_add(1, Relaxed);
                flags == 0 && kind.get() == 2 && seen.owner == OwnerId(7)
            }
            Seen::Immediate(Immediate {
                subtype: Subtype::Raw, order, owner, cookie: 0, ..
            }) => {
                self.hits[1].fetch_add(1, Relaxed);
                let whole = Order::new(order.get() + 1).unwrap_or(order);
                order == block.order() && [owner_of(order), owner_of(whole)].contains(&owner)
            }
            Seen::Immediate(Immediate { subtype: Subtype::Quarantine, order, .. }) => {
                order == Order::ZERO
            }
            _ => false,
        }
    }

    fn push(&self, event: FailureEvent) {
        match self.queue.push(event.address, event.lsb, event.kind) {
            Ok(()) => self.pushed.fetch_add(1, Relaxed),
            Err(full) => {
                self.wrong.fetch_add(u64::from(full.dropped != event), Relaxed);
                self.refused.fetch_add(1, Relaxed)
            }
        };
    }

    /// What a handler does: async-signal-safe, all of it. In the midst of some looks the
    /// other handler comes on top.
    fn handle(&self, other: libc::c_int) {
        let random = mix(self.next.fetch_add(1, Relaxed));
        // A fifth of the addresses is outside.
        let at = Granule(random % (GRANULES * 5 / 4));
        let address = at.0 * 4096 + (random >> 32) % 4096;
        let seen = self.zone.find_signal(address);
        let mut right = seen.is_none_or(|seen| self.is_plausible(&seen, at));

        let at = Granule(random >> 20 & (OWN * 4 - 1));
        if let Some(seen) = self.words.find_signal(at) {
            self.hits[2].fetch_add(1, Relaxed);
            let Seen::Immediate(word) = seen.seen else { unreachable!("no descriptor is there") };
            right &= seen.block.contains(at) && word.cookie == cookie_of(seen.block);
        }
        let at = random >> 24 & 0xffff;
        let named = self.ranges.find_signal(at, |payload, piece| {
            if random.is_multiple_of(64) {
                // SAFETY: async-signal-safe.
                unsafe { libc::raise(other) };
            }
            (payload.get(), piece)
        });
        if let Some((payload, piece)) = named {
            self.hits[3].fetch_add(1, Relaxed);
            right &= payload == at >> 6 && piece.first() <= at && at <= piece.last();
        }
        self.wrong.fetch_add(u64::from(!right), Relaxed);
        self.push(event_at(address));
        self.handlers.fetch_add(1, Relaxed);
    }
}

extern "C" fn on_signal(signal: libc::c_int) {
    let Some(storm) = STORM.get() else { return };
    let above = HANDLERS.get();
    HANDLERS.set(above + 1);
    storm.nested.fetch_add(u64::from(above != 0), Relaxed);
    storm.handle(if signal == libc::SIGUSR1 { libc::SIGUSR2 } else { libc::SIGUSR1 });
    HANDLERS.set(above);
}

/// Two signals, of which each may interrupt the other's handler.
fn handle_signals() {
    for signal in [libc::SIGUSR1, libc::SIGUSR2] {
        // SAFETY: zeros are such a structure, with an empty mask.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the handler makes async-signal-safe calls alone.
        assert_eq!(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) }, 0);
    }
}

// ---- the threads --------------------------------------------------------------

/// Blocks of a zone in every state that a handler may meet.
fn churn_zone(storm: &Storm, random: &mut impl FnMut(u64) -> u64) {
    let zone = &storm.zone;
    let order = Order::new(random(4) as u32).unwrap();
    match random(4) {
        0 => {
            let Ok(raw) = zone.alloc_raw(order, owner_of(order)) else { return };
            if order == Order::ZERO {
                return zone.free_raw(raw).unwrap();
            }
            let (lower, upper) = zone.split_raw(raw).unwrap();
            zone.free_raw(upper).unwrap();
            zone.free_raw(lower).unwrap();
        }
        1 => {
            let Ok(bare) = zone.alloc_bare(order) else { return };
            zone.free_bare(bare).unwrap();
        }
        _ => {
            let Ok(block) = zone.alloc_owned(order, OwnerId(7), folio()) else { return };
            if random(2) == 0 {
                block.set_flags(flags_of(block.block()));
            }
            if order != Order::ZERO && random(4) == 0 {
                let (lower, upper) = zone.split(block, Slab).map_err(|no| no.why).unwrap();
                drop((upper, lower));
            }
        }
    }
}

/// Words at two levels, and the nodes that are unlinked for the upper ones.
fn churn_words(
    storm: &Storm,
    worker: u64,
    kept: &mut VecDeque<Block>,
    random: &mut impl FnMut(u64) -> u64,
) {
    let order = Order::new(random(8) as u32).unwrap();
    let block = Block::containing(Granule(worker * OWN + random(OWN)), order);
    let word = Immediate::new(Subtype::Raw, OwnerId(1), order).with_cookie(cookie_of(block));
    // Refused if it overlaps what is kept.
    if storm.words.publish_immediate(block, word).is_ok() {
        kept.push_back(block);
    }
    if kept.len() > 4 {
        for block in kept.drain(..) {
            let word = storm.words.clear_immediate(block).unwrap();
            assert_eq!(word.cookie, cookie_of(block));
        }
    }
    storm.words.settle();
}

fn churn_ranges(storm: &Storm, random: &mut impl FnMut(u64) -> u64) {
    let name = random(1 << 10);
    let first = name << 6 | random(32);
    let range = Addresses::new(first, first + random(32)).unwrap();
    match random(2) {
        0 => storm.ranges.set(range, Payload::new(name).unwrap()).unwrap(),
        _ => storm.ranges.remove(range).unwrap(),
    }
}

fn work(storm: &Storm, worker: u64) {
    let mut state = worker;
    let mut random = move |below: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(state) % below
    };
    let mut kept = VecDeque::<potad::Block<Folio>>::new();
    let (mut raws, mut words) = (VecDeque::new(), VecDeque::new());
    while !storm.stop.load(Relaxed) {
        churn_zone(storm, &mut random);
        churn_words(storm, worker, &mut words, &mut random);
        churn_ranges(storm, &mut random);
        // A push that a handler may interrupt, to push.
        storm.push(event_at(random(1 << 30)));
        let order = Order::new(random(3) as u32).unwrap();
        if let Ok(block) = storm.zone.alloc_owned(order, OwnerId(7), folio()) {
            block.set_flags(flags_of(block.block()));
            kept.push_back(block);
        }
        if let Ok(raw) = storm.zone.alloc_raw(order, owner_of(order)) {
            raws.push_back(raw);
        }
        if kept.len() > 64 {
            kept.pop_front();
        }
        if raws.len() > 64 {
            let raw = raws.pop_front().unwrap();
            storm.zone.free_raw(raw).unwrap();
        }
    }
    drop(kept);
    raws.into_iter().for_each(|raw| storm.zone.free_raw(raw).unwrap());
    pin().flush();
}

#[test]
fn handlers_see_what_is_there_and_lose_nothing() {
    let potad = Potad::new();
    let span = 0..GRANULES * 4096;
    let zone = potad.register(Resource::new("ram").granule(4096).span(span)).unwrap();
    Mm::register(potad.kinds()).unwrap();
    let storm = STORM.get_or_init(|| Storm {
        zone: zone.clone(),
        words: Tree::new(),
        ranges: Ranges::new(),
        queue: FailureQueue::new(64).unwrap(),
        next: AtomicU64::new(1),
        handlers: AtomicU64::new(0),
        nested: AtomicU64::new(0),
        hits: Default::default(),
        wrong: AtomicU64::new(0),
        pushed: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    handle_signals();
    let workers = [0, 1, 2].map(|worker| thread::spawn(move || work(storm, worker)));
    assert_eq!(workers.len() as u64, WORKERS);

    let (mut popped, mut reported) = (0, 0);
    let mut take = |event: FailureEvent| {
        assert_eq!(event, event_at(event.address), "torn");
        popped += 1;
        // A few are what they say, and go to their owners beside all this.
        if popped % 128 == 0 && reported < 16 {
            reported += u64::from(zone.report_failure(event.address, 0, event.kind).is_ok());
        }
    };
    let start = Instant::now();
    // What comes by chance is waited for: how threads meet is the system's affair.
    let is_enough = || {
        let hits = storm.hits.each_ref().map(|hits| hits.load(Relaxed));
        storm.handlers.load(Relaxed) >= WANTED
            && storm.nested.load(Relaxed) > 0
            && storm.refused.load(Relaxed) > 0
            && hits.iter().all(|&hits| hits > 0)
    };
    while !is_enough() && start.elapsed() < PATIENCE {
        for worker in &workers {
            for signal in [libc::SIGUSR1, libc::SIGUSR2] {
                // SAFETY: the thread was not joined yet.
                unsafe { libc::pthread_kill(worker.as_pthread_t(), signal) };
            }
        }
        // Now and then only, so that the queue is full as well.
        if storm.handlers.load(Relaxed).is_multiple_of(4) {
            storm.queue.drain().take(64).for_each(&mut take);
        }
    }
    storm.stop.store(true, Relaxed);
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    storm.queue.drain().for_each(&mut take);

    let count = |counter: &AtomicU64| counter.load(Relaxed);
    let (handlers, pushed) = (count(&storm.handlers), count(&storm.pushed));
    let hits = storm.hits.each_ref().map(count);
    println!(
        "{handlers} handlers ({} nested) in {:?}, {hits:?} hits, {pushed} pushed, {} dropped, \
         {reported} reported",
        count(&storm.nested),
        start.elapsed(),
        storm.queue.dropped(),
    );
    assert!(handlers >= LEAST, "{handlers} handlers");
    assert!(hits.iter().all(|&hits| hits > 0), "{hits:?}");
    assert!(count(&storm.nested) > 0, "no handler on top of another");
    assert_eq!(count(&storm.wrong), 0, "handlers saw what never was");
    assert_eq!(ALLOCATED_IN_HANDLERS.load(Relaxed), 0);
    // Nothing lost: what was pushed came out, and what was refused was counted.
    assert_eq!((popped, storm.queue.dropped()), (pushed, count(&storm.refused)));
    assert!(storm.queue.dropped() > 0 && reported > 0);

    // Nothing held up for ever: everything that died is freed.
    let start = Instant::now();
    while LIVE.load(Relaxed) != 0 && start.elapsed() < PATIENCE {
        pin().flush();
    }
    assert_eq!(LIVE.load(Relaxed), 0);
    let stats = zone.stats();
    assert!(stats.quarantined <= reported && stats.quarantined > 0);
    assert_eq!(stats.free + stats.quarantined, GRANULES);
    assert_eq!(zone.validate(), Ok(stats.free));
    storm.ranges.settle();
    storm.ranges.validate(&pin()).unwrap();
}
