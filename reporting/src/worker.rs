//! The worker: a thread that steps a reporter.
//!
//! # What always holds
//!
//! The thread owns the reporter and hands it back on [`Worker::join`]; a drop
//! stops and joins. Either way the running batch is cancelled and every block
//! is back, or in flight with a reporter that still knows it.
//!
//! # Sharing and cost
//!
//! It sleeps until `Next.at` or a wake. A wake is an unpark, which leaves a
//! token: one that comes before the sleep is not lost. A wake that finds
//! nothing due costs one step.

use crate::driver::Report;
use crate::reporter::{Reporter, State};
use crate::source::ReportSource;
use crate::{Control, NEVER};
use memdesc::sync::Arc;
use memdesc::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
// Sleeping with a deadline, and a thread's own token, are not in the shim: no
// model runs a worker, its protocol is the step's and the control word's.
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};
use std::{fmt, io};

/// A thread that drives a [`Reporter`].
///
/// ```
/// use potad_reporting::backend::Recording;
/// use potad_reporting::mock::MockSource;
/// use potad_reporting::{Policy, Reporter, Worker};
/// use std::sync::Arc;
///
/// let source = Arc::new(MockSource::new(4096, 10));
/// let reporter = Reporter::new(source.clone(), Recording::new(), Policy::eager())?;
/// let worker = Worker::spawn(reporter)?;
/// while worker.control().seen().stats.reported_bytes() < 4 << 20 {
///     std::thread::yield_now();
/// }
/// let reporter = worker.join().expect("neither source nor engine panicked");
/// assert_eq!(reporter.in_flight(), 0);
/// assert_eq!(source.reported_bytes(), 4 << 20);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it stops the thread"]
pub struct Worker<S: ReportSource, D: Report> {
    control: Control,
    quit: Arc<AtomicBool>,
    thread: Option<JoinHandle<Reporter<S, D>>>,
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl<S, D> Worker<S, D>
where
    S: ReportSource + Send + 'static,
    S::Block: Send,
    D: Report + Send + 'static,
{
    /// Starts the thread, or says why the system has none; the reporter is
    /// dropped then, and its blocks are back.
    pub fn spawn(reporter: Reporter<S, D>) -> io::Result<Self> {
        let control = reporter.control();
        let quit = Arc::new(AtomicBool::new(false));
        let should_quit = quit.clone();
        let builder = thread::Builder::new().name("potad-reporting".into());
        let thread = builder.spawn(move || drive(reporter, &should_quit))?;
        Ok(Self { control, quit, thread: Some(thread) })
    }
}

impl<S: ReportSource, D: Report> Worker<S, D> {
    /// The reporter's handle: pause, request, look.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Stops the thread and returns the reporter, which can go on elsewhere. An
    /// error carries the panic of a source; the reporter is dropped then.
    pub fn join(mut self) -> thread::Result<Reporter<S, D>> {
        self.quit();
        match self.thread.take() {
            Some(thread) => {
                let reporter = thread.join();
                // Meant for the thread, which may have ended before it saw it;
                // whoever goes on with the reporter starts afresh.
                self.control.take_cancel();
                reporter
            }
            None => unreachable!("only join and drop take the thread, and both are the last"),
        }
    }

    fn quit(&self) {
        // Release pairs with the Acquire in `drive`. If the thread has no waker
        // yet, it looks at this after it set one, under the waker's lock.
        self.quit.store(true, Ordering::Release);
        self.control.cancel();
    }
}

fn drive<S: ReportSource, D: Report>(
    mut reporter: Reporter<S, D>,
    quit: &AtomicBool,
) -> Reporter<S, D> {
    let control = reporter.control();
    control.set_waker(Some(Waker::from(Arc::new(Unpark(thread::current())))));
    let start = Instant::now();
    // The reporter may have been stepped before: time goes on from there.
    let base = reporter.clock();
    let now = || base.saturating_add(u64::try_from(start.elapsed().as_nanos()).unwrap_or(NEVER));
    // Acquire pairs with the Release in `quit`.
    while !quit.load(Ordering::Acquire) {
        let next = reporter.step(now());
        if next.state == State::Stopped {
            break;
        }
        match next.at {
            NEVER => thread::park(),
            at => match at.saturating_sub(now()) {
                0 => {}
                rest => thread::park_timeout(Duration::from_nanos(rest)),
            },
        }
    }
    control.set_waker(None);
    reporter
}

impl<S: ReportSource, D: Report> Drop for Worker<S, D> {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.quit();
        // A panic of the source went through the panic hook, and the blocks
        // back with the batch.
        let _ = thread.join();
    }
}

impl<S: ReportSource, D: Report> fmt::Debug for Worker<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("control", &self.control).finish_non_exhaustive()
    }
}
