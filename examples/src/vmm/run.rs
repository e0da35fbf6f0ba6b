//! A run: set up, let everybody work, take everything back, and account.

use super::cookie::Dice;
use super::error::VmmError;
use super::guest::{Counts, Guest};
use super::history::{History, Recorder};
use super::host::Host;
use super::injector::{Injected, inject};
use super::kinds::Sort;
use super::known::MAX_GUESTS;
use super::map::Map;
use super::memory;
use super::options::Options;
use super::plan::Plan;
use super::reclaim::Reclaimed;
use super::summary::{Details, Failures, Status, Summary, SwapCounts};
use super::swapper::swap_cold_blocks;
use super::watcher::{Looked, look};
use super::world::World;
use benches::trace::{Trace, TraceError};
use potad::memdesc::sync::Arc;
use potad::memdesc::sync::atomic::{AtomicBool, Ordering};
use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

/// How often the host looks after everybody.
const SAMPLE: Duration = Duration::from_millis(5);
/// Of the records, the share after which memory is plugged.
const PLUG: u64 = 8;
/// The longest trace that is replayed: record numbers are 32 bits here.
const MAX_RECORDS: u64 = u32::MAX as u64;

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// Records done.
    pub done: u64,
    /// Of so many.
    pub records: u64,
    /// Bytes of the memfd that have memory.
    pub resident: u64,
    /// Bytes given back so far.
    pub reported: u64,
}

/// Runs it.
///
/// ```
/// use potad_examples::vmm::{Options, Status, run};
///
/// let options = Options { records: Some(3000), failures: 5, ..Options::default() };
/// let summary = run(&options)?;
/// assert_eq!(summary.details.status, Status::Sound);
/// assert_eq!((summary.allocations, summary.memory_failures.lost), (summary.frees, 0));
/// # Ok::<(), potad_examples::vmm::VmmError>(())
/// ```
pub fn run(options: &Options) -> Result<Summary, VmmError> {
    run_with(options, &mut |_| {})
}

/// Runs it and tells `watch` now and then how far it is.
pub fn run_with(options: &Options, watch: &mut dyn FnMut(Tick)) -> Result<Summary, VmmError> {
    let plan = plan(options)?;
    let host = Host::new(&plan, options)?;
    host.reclaim.start()?;
    let world = World::new(plan, host, Arc::clone(&options.stop), options.seconds);
    let worked = work(&world, options, watch);
    let settled = settle(&world);
    Ok(summary(&world, options, worked, settled))
}

/// Reads the trace, and refuses what cannot be run.
fn plan(options: &Options) -> Result<Plan, VmmError> {
    let path = || options.trace.display().to_string();
    if !(1..=MAX_GUESTS).contains(&options.guests) {
        return Err(VmmError::Guests { guests: options.guests });
    }
    let refused = |source: TraceError| match source {
        // It names the file itself.
        TraceError::Io { .. } => VmmError::Unreadable(source),
        _ => VmmError::Trace { path: path(), source },
    };
    let trace = Trace::open(&options.trace).map_err(refused)?;
    let plan = Plan::new(&trace, options);
    if plan.records == 0 || plan.records > MAX_RECORDS {
        return Err(VmmError::Empty { path: path() });
    }
    let needed = plan.memory();
    let available = options.available.or_else(memory::available).unwrap_or(u64::MAX);
    if needed > u128::from(available) {
        let needed = u64::try_from(needed >> 20).unwrap_or(u64::MAX);
        return Err(VmmError::TooLarge { needed, available: available >> 20 });
    }
    Ok(plan)
}

/// What the threads came to.
struct Worked {
    seconds: f64,
    counts: Counts,
    looked: Looked,
    injected: Injected,
    records: u64,
    memory: Recorder,
    at_end: potad::Stats,
    map: Map,
    interrupted: bool,
    /// Before the final report.
    resident_freed: u64,
}

/// A thread that panics must not leave the others waiting.
struct EndOnPanic<'w>(&'w World, &'w AtomicBool);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end();
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

/// Lets everybody work until the trace is through, then frees what is left.
fn work(world: &World, options: &Options, watch: &mut dyn FnMut(Tick)) -> Worked {
    // Flags are `Relaxed`: they only end loops; joins order the rest.
    let (replayed, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
    let dice = |salt| Dice::new(options.seed.wrapping_mul(31).wrapping_add(salt));
    let began = Instant::now();
    thread::scope(|scope| {
        let guard = || EndOnPanic(world, &over);
        // Ours: a panic of anybody is found when the thread is joined.
        let _guard = guard();
        let guests: Vec<_> = (0..world.positions.len())
            .map(|number| {
                let guard = guard();
                scope.spawn(move || {
                    let _guard = guard;
                    Guest::new(world, number).replay()
                })
            })
            .collect();
        let swapper =
            scope.spawn(|| swap_cold_blocks(world, dice(1), || is(&replayed) || is(&over)));
        let watcher = scope.spawn(|| look(world, dice(2), || is(&over)));
        let injector =
            scope.spawn(|| inject(world, options.failures, dice(3), || is(&replayed) || is(&over)));

        let mut memory = Recorder::new(began);
        while !guests.iter().all(|guest| guest.is_finished()) {
            tend(world, &mut memory, watch);
            thread::sleep(SAMPLE);
        }
        let seconds = began.elapsed().as_secs_f64();
        let records = world.done();
        let interrupted = world.is_interrupted();
        replayed.store(true, Ordering::Relaxed);
        // From here on nothing is given back until the final report.
        let pause = world.host.reclaim.pause();
        pause.wait_quiet();
        plug(world);
        let mut counts = Counts::default();
        for guest in guests {
            counts.add(&joined(guest));
        }
        let injected = joined(injector);
        joined(swapper);
        memory.mark(world, world.host.reclaim.bytes());
        let at_end = world.host.zone.stats();
        let map = Map::of(world, &title(world, options));
        counts.add(&Guest::new(world, world.positions.len()).free_all());
        over.store(true, Ordering::Relaxed);
        let looked = joined(watcher);
        let resident_freed = memory.mark(world, world.host.reclaim.bytes()).resident_bytes;
        drop(pause);
        Worked {
            seconds,
            counts,
            looked,
            injected,
            records,
            memory,
            at_end,
            map,
            interrupted,
            resident_freed,
        }
    })
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What the host does beside: looks at the clock, plugs memory, measures.
fn tend(world: &World, memory: &mut Recorder, watch: &mut dyn FnMut(Tick)) {
    if world.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        world.end();
    }
    let done = world.done();
    if done > world.plan.records / PLUG {
        plug(world);
    }
    let records = world.plan.records;
    let now = memory.look(world);
    watch(Tick { done, records, resident: now.resident_bytes, reported: now.reported_bytes });
}

fn plug(world: &World) {
    if let Err(why) = world.host.plug() {
        world.trouble(format_args!("hot-add: {why}"));
    }
}

fn title(world: &World, options: &Options) -> String {
    let name = options.trace.file_name().map(|name| name.to_string_lossy().into_owned());
    let done = world.done();
    format!("ram0 after {done} records of {}", name.unwrap_or_default())
}

/// What everything came to once all was given back.
struct Settled {
    reclaimed: Reclaimed,
    resident: u64,
    at_last: potad::Stats,
    quarantined: BTreeSet<u64>,
    /// What must always hold and does not.
    broken: Option<String>,
}

/// The final report, and the proofs.
fn settle(world: &World) -> Settled {
    let host = &world.host;
    let reclaimed = host.reclaim.finish();
    let resident = host.ram.resident();
    let at_last = host.zone.stats();
    let failed = host.zone.poisoned().into_iter().filter(|(_, is_out)| *is_out);
    let quarantined: BTreeSet<u64> = failed.map(|(at, _)| at.0).collect();
    let slots = host.swap.zone.stats();
    let free = at_last.free + at_last.quarantined;
    let broken = if let Err(why) = host.zone.validate() {
        Some(format!("ram0: {why}"))
    } else if let Err(why) = host.swap.zone.validate() {
        Some(format!("swap0: {why}"))
    } else if free != at_last.granules {
        Some(format!("ram0: {free} of {} granules are back", at_last.granules))
    } else if slots.free != slots.granules {
        Some(format!("swap0: {} of {} slots are back", slots.free, slots.granules))
    } else {
        None
    };
    Settled { reclaimed, resident, at_last, quarantined, broken }
}

fn summary(world: &World, options: &Options, worked: Worked, settled: Settled) -> Summary {
    let host = &world.host;
    let Worked { counts, looked, injected, mut map, mut memory, .. } = worked;
    memory.mark(world, settled.reclaimed.bytes);
    let History { peak, .. } = memory.history;
    let over_time = memory.history.moments().to_vec();
    map.set_history(memory.history, worked.seconds);
    let account = host.ledger.settle(&settled.quarantined);
    let swap = &host.swap;
    let load = |counter: &potad::memdesc::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let kinds = Sort::ALL.into_iter().zip(counts.sorts).map(|(sort, count)| (sort.name(), count));
    let parts = host.ram.parts();
    let mut summary = Summary {
        trace: options.trace.display().to_string(),
        guests: options.guests,
        seconds: worked.seconds,
        allocations: counts.allocations,
        frees: counts.frees,
        failed_allocations: counts.failed,
        kinds: kinds.collect(),
        lookups: looked.lookups,
        lookup_mismatches: looked.mismatches,
        content_mismatches: load(&world.content_mismatches),
        memory_failures: Failures {
            injected: account.injected,
            owner_notified: account.told,
            quarantined: settled.quarantined.len() as u64,
            lost: account.lost,
        },
        reported_bytes: settled.reclaimed.bytes,
        resident_bytes_before_report: worked.resident_freed,
        resident_bytes_after_report: settled.resident,
        memory_over_time: over_time,
        swap: SwapCounts {
            slots_allocated: load(&swap.allocated),
            slots_freed: load(&swap.freed),
            bytes_written: load(&swap.written),
            bytes_verified: load(&swap.verified),
        },
        details: Details {
            status: Status::Sound,
            records: (worked.records, world.plan.records),
            splits: counts.splits,
            moves: counts.moves,
            pressure: load(&world.pressure),
            orders: counts.orders,
            granule: world.plan.granule,
            bytes: (parts.iter().map(|part| part.bytes).sum(), parts[2].bytes),
            checked_lookups: looked.checked,
            failed_as: (injected.found_free, injected.found_used, injected.aimed_in_transit),
            reported_blocks: settled.reclaimed.blocks,
            resident_peak: peak,
            at_end: worked.at_end,
            at_last: settled.at_last,
            map,
        },
    };
    let device = settled.reclaimed.fault.or(swap.take_fault());
    summary.details.status = status(&summary, settled.broken, world.take_trouble(), device)
        .unwrap_or(if worked.interrupted { Status::Interrupted } else { Status::Sound });
    summary
}

/// What is wrong, the worst first; `None` if nothing is.
fn status(
    summary: &Summary,
    broken: Option<String>,
    trouble: Option<String>,
    device: Option<String>,
) -> Option<Status> {
    let wrong = [
        ("allocations failed", summary.failed_allocations),
        ("lookups were wrong", summary.lookup_mismatches),
        ("blocks had wrong contents", summary.content_mismatches),
        ("failures were lost", summary.memory_failures.lost),
        ("slots were not freed", {
            summary.swap.slots_allocated.abs_diff(summary.swap.slots_freed)
        }),
    ];
    let wrong = wrong.into_iter().find(|(_, count)| *count != 0);
    let wrong = wrong.map(|(what, count)| format!("{count} {what}"));
    let wrong = match (broken.or(wrong), trouble) {
        (Some(what), Some(first)) => Some(format!("{what}; first: {first}")),
        (what, first) => what.or(first),
    };
    wrong.map(Status::Broken).or(device.map(Status::Device))
}
