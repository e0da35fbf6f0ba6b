//! Free memory goes back to the system: the reporter and its driver.
//!
//! A worker reports blocks of 64 KiB and more that stayed free for a pass. At
//! the end everything that is free is pulled at once. A guest that finds
//! nothing free pauses the worker, which then holds nothing.

use super::error::VmmError;
use super::ram::Ram;
use core::fmt;
use potad::memdesc::sync::atomic::{AtomicU64, Ordering};
use potad::memdesc::sync::{Arc, Mutex};
use potad::{Zone, memdesc::Order};
use reporting::backend::Memfd;
use reporting::{
    Age, ByteRange, Caps, Control, Fault, Outcome, Pause, Policy, PulledEnd, Range, Report,
    Reporter, Rule, Stop, Worker, ZoneSource,
};

/// From pass to pass.
const INTERVAL: u64 = 50_000_000;
/// What is reported while guests run.
const LEAST: u64 = 64 << 10;
/// What is out of the allocator at once: pieces of at most so many bytes.
const PIECE: u64 = 2 << 20;
const BATCH: usize = 8;
/// Passes until small blocks are reported too: never, but for the last pull.
const LAST: u32 = u32::MAX;

/// Which pages are not there: never touched, or given back and not touched
/// since. For the map.
#[derive(Debug)]
pub(super) struct Returned {
    first: u64,
    page: u64,
    words: Vec<AtomicU64>,
}

impl Returned {
    pub(super) fn new(ram: &Ram) -> Self {
        let page = rustix::param::page_size() as u64;
        let [low, _, last] = ram.parts();
        let pages = (last.first + last.bytes - low.first) / page;
        // The file is sparse: nothing is there yet.
        let words = (0..pages.div_ceil(64)).map(|_| AtomicU64::new(u64::MAX)).collect();
        Self { first: low.first, page, words }
    }

    /// Calls `each` with every word and mask of the pages of a range.
    fn for_words(&self, first: u64, bytes: u64, mut each: impl FnMut(&AtomicU64, u64)) {
        let Some(offset) = first.checked_sub(self.first) else { return };
        let (mut at, end) = (offset / self.page, (offset + bytes).div_ceil(self.page));
        while at < end {
            let (bit, word) = (at % 64, at / 64);
            let count = (64 - bit).min(end - at);
            if let Some(word) = self.words.get(word as usize) {
                each(word, u64::MAX >> (64 - count) << bit);
            }
            at += count;
        }
    }

    /// Somebody uses the range: it is there again.
    ///
    /// `Relaxed`, here and below: a range passes between user and driver
    /// through the allocator, which orders them.
    pub(super) fn touch(&self, first: u64, bytes: u64) {
        self.for_words(first, bytes, |word, mask| {
            if word.load(Ordering::Relaxed) & mask != 0 {
                word.fetch_and(!mask, Ordering::Relaxed);
            }
        });
    }

    fn give_back(&self, range: ByteRange) {
        self.for_words(range.first(), range.bytes(), |word, mask| {
            word.fetch_or(mask, Ordering::Relaxed);
        });
    }

    /// Whether all of the range was given back.
    pub(super) fn has(&self, first: u64, bytes: u64) -> bool {
        let mut all = true;
        self.for_words(first, bytes, |word, mask| {
            all &= word.load(Ordering::Relaxed) & mask == mask;
        });
        all
    }
}

/// The driver: holes in the memfd, noted, and made to fail where a test wants.
struct Driver {
    memfd: Memfd,
    returned: Arc<Returned>,
    /// Ranges until it fails.
    sound: Option<u64>,
    fault: Option<Fault>,
}

impl Report for Driver {
    fn caps(&self) -> Caps {
        self.memfd.caps()
    }

    fn report(
        &mut self,
        ranges: &[Range],
        outcomes: &mut [Outcome],
        control: &Control,
    ) -> Result<(), Stop> {
        if let Some(sound) = &mut self.sound {
            *sound = sound.saturating_sub(ranges.len() as u64);
            if *sound == 0 {
                self.fault = Some(Fault::Driver("made to fail"));
                outcomes.fill(Outcome::Failed);
                return Ok(());
            }
        }
        let done = self.memfd.report(ranges, outcomes, control);
        for (range, outcome) in ranges.iter().zip(outcomes) {
            if outcome.is_reported() {
                self.returned.give_back(range.at);
            }
        }
        done
    }

    fn last_fault(&self) -> Option<Fault> {
        self.fault.or(self.memfd.last_fault())
    }
}

/// What the reporter did in all.
#[derive(Clone, Debug, Default)]
pub(super) struct Reclaimed {
    pub(super) bytes: u64,
    pub(super) blocks: u64,
    /// Why it could not do its work, if so.
    pub(super) fault: Option<String>,
}

type HostReporter = Reporter<ZoneSource, Driver>;
type HostWorker = Worker<ZoneSource, Driver>;

enum State {
    Ready(Box<HostReporter>),
    Running(HostWorker),
    Over,
}

/// The reporter of the host's memory.
pub(super) struct Reclaim {
    control: Control,
    state: Mutex<State>,
}

impl Reclaim {
    /// Gets ready.
    pub(super) fn new(
        zone: &Zone,
        ram: &Ram,
        returned: Arc<Returned>,
        sound: Option<u64>,
    ) -> Result<Self, VmmError> {
        let refused = |reason: String| VmmError::Reporting { reason };
        let page = rustix::param::page_size() as u64;
        let least = Order::covering(page.div_ceil(zone.granule())).unwrap_or(Order::ZERO);
        let memfd =
            Memfd::new(ram.file(), ram.regions()).map_err(|error| refused(error.to_string()))?;
        let driver = Driver { memfd, returned, sound, fault: None };
        let rules = [Rule { min_bytes: LEAST, every: 1 }, Rule { min_bytes: page, every: LAST }];
        let policy = Policy::eager().interval(INTERVAL).rules(&rules).age(Age::Seen);
        let policy = policy.max_piece(PIECE).batch(BATCH).backoff(INTERVAL, INTERVAL);
        let source = ZoneSource::attach_absent(zone.clone(), least)
            .map_err(|error| refused(error.to_string()))?;
        let reporter = Reporter::new(source, driver, policy);
        let reporter = reporter.map_err(|error| refused(error.to_string()))?;
        let control = reporter.control();
        Ok(Self { control, state: Mutex::new(State::Ready(Box::new(reporter))) })
    }

    /// Begins to report.
    pub(super) fn start(&self) -> Result<(), VmmError> {
        let mut state = self.state.lock();
        let State::Ready(reporter) = core::mem::replace(&mut *state, State::Over) else {
            return Ok(());
        };
        let worker = Worker::spawn(*reporter);
        let refused = |error: std::io::Error| VmmError::Reporting { reason: error.to_string() };
        *state = State::Running(worker.map_err(refused)?);
        Ok(())
    }

    /// No memory is held or given back while the value lives.
    pub(super) fn pause(&self) -> Pause {
        self.control.pause()
    }

    /// Bytes given back so far.
    pub(super) fn bytes(&self) -> u64 {
        self.control.seen().stats.reported_bytes()
    }

    /// Ends the worker, gives back everything that is free, and says what was
    /// done. Not while paused.
    pub(super) fn finish(&self) -> Reclaimed {
        let state = core::mem::replace(&mut *self.state.lock(), State::Over);
        let State::Running(worker) = state else { return Reclaimed::default() };
        let Ok(mut reporter) = worker.join() else {
            let fault = Some("the reporter panicked".to_owned());
            return Reclaimed { fault, ..Reclaimed::default() };
        };
        // Later than any back-off. Ending the worker may have left a cancel
        // behind that nobody saw: the first pull would.
        let now = reporter.clock().saturating_add(INTERVAL * 2);
        let mut pulled = reporter.reclaim(now, u64::MAX);
        if pulled.end == PulledEnd::Cancelled {
            pulled = reporter.reclaim(now, u64::MAX);
        }
        let stats = reporter.stats();
        let failed = stats.outcome(Outcome::Failed);
        let reported = [Outcome::Reported, Outcome::ReportedZeroed];
        let fault = (failed.blocks > 0 || reporter.fault().is_some()).then(|| {
            let why = stats.last_fault.or(reporter.driver().last_fault());
            let why = why.map_or_else(|| "no reason given".to_owned(), |fault| fault.to_string());
            format!("{} blocks were not given back, {:?}: {why}", failed.blocks, pulled.end)
        });
        Reclaimed {
            bytes: stats.reported_bytes(),
            blocks: reported.iter().map(|outcome| stats.outcome(*outcome).blocks).sum(),
            fault,
        }
    }
}

impl fmt::Debug for Reclaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reclaim").field("control", &self.control).finish_non_exhaustive()
    }
}
