//! Running a scenario under many schedules, its twins, and old failures again.

use memdesc::sync::{grave, seed};
use shuttle::rand::RngCore;
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner, UngracefulShutdownConfig};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Schedules of a scenario, half of them random, half by priorities (PCT).
pub const SCHEDULES: usize = 100_000;

/// Priorities change so often in a schedule of the second kind.
const DEPTH: usize = 3;

/// So many steps no schedule has; one that does, does not end.
const STEPS: usize = 200_000;

/// Where failing schedules are kept, a folder a scenario.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schedules");

/// Says that a test is to run its twin, in a process of its own.
const TWIN: &str = "POTAD_SHUTTLE_TWIN";

/// Schedules instead of [`SCHEDULES`], for a quick look or a long run.
const HOW_MANY: &str = "POTAD_SHUTTLE_SCHEDULES";

/// Runs a scenario under [`SCHEDULES`] schedules, after those that failed once.
pub fn scenario(name: &str, body: fn()) {
    let kept = replay(name, body);
    let asked = std::env::var(HOW_MANY).ok().map(|many| many.parse().expect("a number"));
    let many = asked.unwrap_or(SCHEDULES);
    let start = Instant::now();
    let random = std::thread::spawn(move || run(RandomScheduler::new(many - many / 2), body));
    let by_priority = run(PctScheduler::new(DEPTH, many / 2), body);
    let random = random.join().unwrap_or_else(|why| std::panic::resume_unwind(why));
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(random + by_priority, many, "{name}: schedules left out");
    println!("SCENARIO {name} random={random} pct{DEPTH}={by_priority} kept={kept} {seconds:.1}s");
}

/// Runs a scenario with a seeded bug, in a process of its own (a failed schedule
/// is not taken apart), and fails unless some schedule fails. `test` is the
/// name of the test that calls this.
pub fn twin(test: &str, seed: &'static str, body: fn()) {
    if std::env::var_os(TWIN).is_some() {
        let _planted = seed::plant(seed);
        let tried = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tried);
        let counted = move || {
            count.fetch_add(1, Relaxed);
            body();
        };
        let many = SCHEDULES / 4;
        let found = catch_unwind(AssertUnwindSafe(|| {
            run(PctScheduler::new_from_seed(1, DEPTH, many), counted.clone());
            run(RandomScheduler::new_from_seed(1, many), counted);
        }));
        eprintln!("tried={}", tried.load(Relaxed));
        if let Err(why) = found {
            std::panic::resume_unwind(why);
        }
        return;
    }
    let this = std::env::current_exe().expect("a test has a binary");
    let arguments = [test, "--exact", "--nocapture"];
    let child = Command::new(this).args(arguments).env(TWIN, seed).output().expect("a child");
    let said = String::from_utf8_lossy(&child.stderr);
    let found = !child.status.success() && said.contains("failing schedule");
    assert!(found, "{test}: \"{seed}\" was not found: {}\n{said}", child.status);
    let at = said.lines().find_map(|line| line.strip_prefix("tried=")).unwrap_or("?");
    let why = said.lines().skip_while(|line| !line.contains(" panicked at ")).nth(1);
    println!("TWIN {test} seed=\"{seed}\" found at={at}: {}", why.unwrap_or("aborted"));
    if let Some(folder) = std::env::var_os("POTAD_SHUTTLE_KEEP") {
        let schedule =
            said.lines().skip_while(|line| !line.starts_with("failing schedule")).skip(2);
        let schedule = schedule.take_while(|line| *line != "\"").collect::<Vec<_>>().join("\n");
        let name = format!("{}.txt", seed.replace(' ', "-"));
        let file = PathBuf::from(folder).join(name);
        std::fs::write(file, schedule + "\n").expect("a folder to keep it in");
    }
}

thread_local! {
    static CHOICES: Cell<u64> = const { Cell::new(0) };
}

/// A number below `end`, chosen by the schedule: by its one random number and
/// by how often it was asked. (One, so that a kept schedule can be followed
/// where the code asks more or less often than it did.)
pub fn choose(end: u64) -> u64 {
    CHOICES.set(CHOICES.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
    let mixed = CHOICES.get();
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % end
}

/// Runs the schedules kept for a scenario; returns how many there are.
///
/// A schedule says which thread goes next at each step. Where the code has
/// changed since, it is followed as far as it goes.
fn replay(name: &str, body: fn()) -> usize {
    let Ok(folder) = std::fs::read_dir(PathBuf::from(KEPT).join(name)) else { return 0 };
    let mut files: Vec<_> = folder.map(|file| file.expect("a file").path()).collect();
    files.sort();
    for file in &files {
        let schedule = std::fs::read_to_string(file).expect("a schedule");
        let mut scheduler = ReplayScheduler::new_from_encoded(schedule.trim());
        scheduler.set_allow_incomplete();
        assert_eq!(run(scheduler, body), 1, "{file:?} was not run");
    }
    files.len()
}

fn run(scheduler: impl Scheduler + 'static, body: impl Fn() + Send + Sync + 'static) -> usize {
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    config.failure_persistence = FailurePersistence::Print;
    config.silence_warnings = true;
    config.ungraceful_shutdown_config = UngracefulShutdownConfig::new();
    config.ungraceful_shutdown_config.immediately_return_on_panic = true;
    Runner::new(scheduler, config).run(move || {
        // SAFETY: a schedule begins, so the one before is over, and all that
        // it made is gone or forgotten.
        unsafe { grave::clear() };
        CHOICES.set(shuttle::rand::thread_rng().next_u64());
        body();
    })
}
