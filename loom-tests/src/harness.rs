//! Running a model, and its twins.

use loom::model::Builder;
use memdesc::sync::seed;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Once};
use std::time::Instant;

/// Explores a model in full. Fails if there were fewer interleavings than
/// `minimum`: then it has stopped to model what it did.
pub fn model(name: &str, minimum: u64, body: impl Fn() + Send + Sync + 'static) {
    run(name, None, minimum, body);
}

/// Explores a model with at most `bound` preemptions.
pub fn bounded(name: &str, bound: usize, minimum: u64, body: impl Fn() + Send + Sync + 'static) {
    run(name, Some(bound), minimum, body);
}

/// Explores a model of threads that share nothing, with at most two preemptions:
/// fails if there is more than one interleaving, for then they have begun to meet.
pub fn apart(name: &str, body: impl Fn() + Send + Sync + 'static) {
    let count = check(&builder(Some(2)).0, body, &Arc::default());
    println!("MODEL {name} iterations={count} apart");
    assert_eq!(count, 1, "{name}: the two meet, and need a twin");
}

/// Runs a model with a seeded bug, and fails unless the model does.
pub fn twin(name: &str, seed: &'static str, body: impl Fn() + Send + Sync + 'static) {
    run_twin(name, None, seed, body);
}

/// The same with at most `bound` preemptions.
pub fn twin_bounded(
    name: &str,
    bound: usize,
    seed: &'static str,
    body: impl Fn() + Send + Sync + 'static,
) {
    run_twin(name, Some(bound), seed, body);
}

/// The same in a process of its own, named by the test that calls this: a
/// failed model of the real epoch cannot be taken apart and aborts.
pub fn twin_in_child(
    test: &str,
    bound: usize,
    seed: &'static str,
    body: impl Fn() + Send + Sync + 'static,
) {
    const CHILD: &str = "POTAD_LOOM_TWIN";
    if std::env::var_os(CHILD).is_some() {
        let _planted = seed::plant(seed);
        check(&builder(Some(bound)).0, body, &Arc::default());
        return;
    }
    let this = std::env::current_exe().expect("a test has a binary");
    let arguments = [test, "--exact", "--nocapture"];
    let child = Command::new(this).args(arguments).env(CHILD, seed).output().expect("a child");
    assert!(!child.status.success(), "{test}: \"{seed}\" was not found");
    println!("TWIN {test} seed=\"{seed}\" found: {}", child.status);
}

fn run(name: &str, bound: Option<usize>, minimum: u64, body: impl Fn() + Send + Sync + 'static) {
    if let Ok(seed) = std::env::var("POTAD_LOOM_SEED") {
        return hunt(name, bound, &seed, body);
    }
    let (builder, asked) = builder(bound);
    let start = Instant::now();
    let count = check(&builder, body, &Arc::default());
    let (reach, seconds) = (reach(&builder), start.elapsed().as_secs_f64());
    println!("MODEL {name} iterations={count} {reach} {seconds:.1}s");
    if asked {
        assert!(count >= minimum, "{name}: {count} interleavings, {minimum} are recorded");
    }
}

/// Says whether a model finds a seed, for whoever looks for a twin.
fn hunt(name: &str, bound: Option<usize>, seed: &str, body: impl Fn() + Send + Sync + 'static) {
    let planted = seed::plant(seed.to_owned().leak());
    let quiet = Quiet::new();
    let count = Arc::default();
    let ran = catch_unwind(AssertUnwindSafe(|| check(&builder(bound).0, body, &count)));
    drop((planted, quiet));
    let verdict = if ran.is_err() { "found" } else { "not found" };
    println!("HUNT {name} seed=\"{seed}\" {verdict} at={}", count.load(Relaxed));
}

fn run_twin(
    name: &str,
    bound: Option<usize>,
    seed: &'static str,
    body: impl Fn() + Send + Sync + 'static,
) {
    let (builder, asked) = builder(bound);
    let planted = seed::plant(seed);
    let quiet = Quiet::new();
    let count = Arc::default();
    let ran = catch_unwind(AssertUnwindSafe(|| check(&builder, body, &count)));
    drop((planted, quiet));
    let count = count.load(Relaxed);
    let Err(why) = ran else {
        assert!(!asked, "{name}: \"{seed}\" was not found in {count} interleavings");
        println!("TWIN {name} seed=\"{seed}\" not found, {}", reach(&builder));
        return;
    };
    let why = why
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| why.downcast_ref::<&str>().copied())
        .unwrap_or("a panic");
    let why = why.lines().next().unwrap_or_default();
    println!("TWIN {name} seed=\"{seed}\" found at={count}: {why}");
}

/// The settings, and whether they are the model's own.
fn builder(bound: Option<usize>) -> (Builder, bool) {
    let mut builder = Builder::new();
    let asked = builder.preemption_bound.is_none();
    if asked {
        builder.preemption_bound = bound;
    }
    // Loom panics beyond this, which is right: such a model never ends.
    builder.max_branches = 20_000;
    // These two end a run as if it were complete.
    builder.max_permutations = None;
    builder.max_duration = None;
    (builder, asked)
}

fn reach(builder: &Builder) -> String {
    match builder.preemption_bound {
        Some(bound) => format!("bound={bound}"),
        None => "complete=yes".into(),
    }
}

fn check(
    builder: &Builder,
    body: impl Fn() + Send + Sync + 'static,
    count: &Arc<AtomicU64>,
) -> u64 {
    let counter = count.clone();
    builder.check(move || {
        counter.fetch_add(1, Relaxed);
        #[cfg(crossbeam_loom)]
        let _body = memdesc::ModelBody::begin();
        body();
    });
    count.load(Relaxed)
}

thread_local! {
    static EXPECTING: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the panics that a twin is meant to make out of the output.
struct Quiet;

impl Quiet {
    fn new() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let usual = panic::take_hook();
            panic::set_hook(Box::new(move |info| {
                if !EXPECTING.get() {
                    usual(info);
                }
            }));
        });
        EXPECTING.set(true);
        Self
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        EXPECTING.set(false);
    }
}
