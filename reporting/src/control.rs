//! The handle on a running reporter: pause, cancel, ask, stop, look.
//!
//! # One word
//!
//! ```text
//!  31              8   4        3      2         1      0
//! +-----------------+--------+------+---------+------+--------+
//! |     pauses      | waited | busy | request | stop | cancel |
//! +-----------------+--------+------+---------+------+--------+
//! ```
//!
//! | bit     | set by               | cleared by                                 |
//! |---------|----------------------|--------------------------------------------|
//! | cancel  | `cancel`             | the reporter, once it ended its pass       |
//! | stop    | `stop`               | nobody                                     |
//! | request | `request`            | the reporter, when the pass begins         |
//! | busy    | the reporter, before a batch, if nobody pauses | the reporter, after it |
//! | waited  | `Pause::wait_quiet`  | the reporter, with busy                    |
//! | pauses  | +1 by `pause`        | -1 by the drop of `Pause`                  |
//!
//! # What always holds
//!
//! Busy and pauses are in one word, so the two sides have one order: either the
//! reporter's set of busy comes first, and the pauser finds it and can wait for
//! it; or the pause comes first, and the reporter finds it and does nothing.
//!
//! # Taking memory out of a resource
//!
//! Whoever removes a stretch of the resource pauses, waits until it is quiet,
//! and then until `seen().stats.in_flight` is 0, if the driver posts: a paused
//! reporter still takes back what a device returns. From then on nothing of
//! the resource is out but what is held.
//!
//! # Sharing and cost
//!
//! Any thread may use any method. [`Control::should_stop`] is one relaxed load,
//! everything else one read-modify-write and, for a wake, a lock.

use crate::reporter::State;
use crate::stats::Stats;
use core::fmt;
use core::task::Waker;
use memdesc::sync::atomic::{AtomicU32, Ordering};
use memdesc::sync::parking::{park, unpark_all};
use memdesc::sync::{Arc, Mutex};

const CANCEL: u32 = 1 << 0;
const STOP: u32 = 1 << 1;
const REQUEST: u32 = 1 << 2;
const BUSY: u32 = 1 << 3;
const WAITED: u32 = 1 << 4;
const PAUSE_ONE: u32 = 1 << 8;
const PAUSES: u32 = !(PAUSE_ONE - 1);

/// A handle on a reporter; clones are the same handle.
///
/// ```
/// use potad_reporting::Control;
///
/// let control = Control::new();
/// let pause = control.pause();
/// assert!(control.should_stop());
/// pause.wait_quiet(); // no batch is running now, and none begins
/// drop(pause);
/// assert!(!control.should_stop());
/// ```
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    word: AtomicU32,
    /// Whom to wake when the word changed. Taken for the length of a clone.
    waker: Mutex<Option<Waker>>,
    /// What the reporter last looked like. Taken for the length of a copy.
    seen: Mutex<Seen>,
}

/// A reporter at the end of its last step.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its state.
    pub state: State,
    /// Its counts.
    pub stats: Stats,
}

/// Why the reporter may not begin a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    Paused,
    Stopped,
}

impl Default for Control {
    fn default() -> Self {
        Self::new()
    }
}

impl Control {
    /// A handle with nothing set. A reporter makes its own: this one is for
    /// calling a driver without an engine.
    pub fn new() -> Self {
        let seen = Seen { state: State::Idle, stats: Stats::default() };
        let shared =
            Shared { word: AtomicU32::new(0), waker: Mutex::new(None), seen: Mutex::new(seen) };
        Self { shared: Arc::new(shared) }
    }

    /// Whether a driver should return early, with [`Stop::Cancelled`].
    ///
    /// [`Stop::Cancelled`]: crate::Stop::Cancelled
    #[inline]
    pub fn should_stop(&self) -> bool {
        // Relaxed: a late answer costs one range more, and whoever needs the
        // batch to be over waits for busy.
        self.shared.word.load(Ordering::Relaxed) & (CANCEL | STOP | PAUSES) != 0
    }

    /// Keeps batches from running until the value is dropped. Pauses nest. A
    /// running batch is asked to stop; [`Pause::wait_quiet`] waits for it.
    pub fn pause(&self) -> Pause {
        // Relaxed: `wait_quiet` orders, and nothing is published here.
        self.shared.word.fetch_add(PAUSE_ONE, Ordering::Relaxed);
        Pause { control: self.clone() }
    }

    /// Ends the running pass, and with it the running batch. What was done
    /// counts; the next pass comes when it is due.
    pub fn cancel(&self) {
        self.set(CANCEL);
    }

    /// Asks for a pass now rather than when it is due.
    pub fn request(&self) {
        self.set(REQUEST);
    }

    /// Stops the reporter for good.
    pub fn stop(&self) {
        self.set(STOP);
    }

    /// Wakes whoever drives the reporter: a device returned something.
    pub fn wake(&self) {
        let waker = self.shared.waker.lock().clone();
        // Outside the lock: a waker is somebody else's code.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Has `waker` woken at each change that a step should look at.
    pub fn set_waker(&self, waker: Option<Waker>) {
        let old = core::mem::replace(&mut *self.shared.waker.lock(), waker);
        drop(old);
    }

    /// The reporter at the end of its last step.
    pub fn seen(&self) -> Seen {
        self.shared.seen.lock().clone()
    }

    fn set(&self, bit: u32) {
        // Release pairs with the Acquire of the reporter's `enter` and `take`:
        // what the caller did before is seen by the batch that it caused.
        self.shared.word.fetch_or(bit, memdesc::weakened!("asked relaxed", Release));
        self.wake();
    }

    pub(crate) fn publish(&self, state: State, stats: &Stats) {
        let mut seen = self.shared.seen.lock();
        seen.state = state;
        seen.stats.clone_from(stats);
    }

    /// Whether the reporter may work now. The answer changes only in favour of
    /// a batch between this and [`enter`](Self::enter), or is asked again there.
    pub(crate) fn held(&self) -> Option<Held> {
        // Relaxed: a look ahead, `enter` decides.
        held(self.shared.word.load(Ordering::Relaxed))
    }

    /// Says that a batch runs, if nobody forbids it; the value ends it.
    pub(crate) fn enter(&self) -> Result<Busy<'_>, Held> {
        // Acquire pairs with the Release of the last `Pause`'s drop: what was
        // done under the pause is seen by the batch. Against a pauser's
        // `fetch_add` the word's own order decides, see the module.
        let old =
            self.shared.word.fetch_or(BUSY, memdesc::weakened!("batch begins relaxed", Acquire));
        let busy = Busy { control: self };
        match held(old) {
            Some(why) if !memdesc::seeded!("a batch begins in a pause") => Err(why),
            _ => Ok(busy),
        }
    }

    /// Whether a pass was asked for and did not begin yet.
    pub(crate) fn is_requested(&self) -> bool {
        // Relaxed: a hint, `take` decides.
        self.shared.word.load(Ordering::Relaxed) & REQUEST != 0
    }

    pub(crate) fn take_request(&self) -> bool {
        self.take(REQUEST)
    }

    pub(crate) fn take_cancel(&self) -> bool {
        self.take(CANCEL)
    }

    fn take(&self, bit: u32) -> bool {
        // Relaxed: most often there is nothing, and the next step looks again.
        if self.shared.word.load(Ordering::Relaxed) & bit == 0 {
            return false;
        }
        // Acquire pairs with the Release in `set`.
        self.shared.word.fetch_and(!bit, memdesc::weakened!("request taken relaxed", Acquire)) & bit
            != 0
    }

    fn key(&self) -> usize {
        core::ptr::from_ref(&self.shared.word).addr()
    }
}

fn held(word: u32) -> Option<Held> {
    if word & STOP != 0 {
        return Some(Held::Stopped);
    }
    (word & PAUSES != 0).then_some(Held::Paused)
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.shared.word.load(Ordering::Relaxed);
        write!(
            f,
            "Control {{ pauses: {}, busy: {}, stop: {} }}",
            word / PAUSE_ONE,
            word & BUSY != 0,
            word & STOP != 0
        )
    }
}

/// A batch is running.
#[derive(Debug)]
pub(crate) struct Busy<'a> {
    control: &'a Control,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `wait_quiet`: all that the batch
        // did is seen by whoever waited for its end.
        let old = self
            .control
            .shared
            .word
            .fetch_and(!(BUSY | WAITED), memdesc::weakened!("batch ends relaxed", Release));
        if old & WAITED != 0 {
            unpark_all(self.control.key());
        }
    }
}

/// No batch begins while this lives.
#[derive(Debug)]
#[must_use = "dropping it resumes"]
pub struct Pause {
    control: Control,
}

impl Pause {
    /// Waits until the batch that was running is over: from then on no block is
    /// isolated and no driver asked to report. What an asynchronous device
    /// has, it still has, and gives back as before.
    ///
    /// Never from within the driver or the source: it would wait for itself.
    pub fn wait_quiet(&self) {
        let word = &self.control.shared.word;
        if memdesc::seeded!("quiet without waiting") {
            return;
        }
        // Acquire pairs with the Release in `Busy`'s drop, here and below.
        let mut seen = word.load(memdesc::weakened!("quiet is read relaxed", Acquire));
        while seen & BUSY != 0 {
            // Set only while busy, so that whoever clears busy sees it: both
            // are read-modify-writes of one word.
            let marked =
                word.compare_exchange(seen, seen | WAITED, Ordering::Acquire, Ordering::Acquire);
            if let Err(now) = marked {
                seen = now;
                continue;
            }
            park(self.control.key(), || {
                // Relaxed: parked or not, the loop looks again with Acquire.
                word.load(Ordering::Relaxed) & WAITED != 0
            });
            seen = word.load(memdesc::weakened!("quiet is read again relaxed", Acquire));
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `enter`.
        self.control
            .shared
            .word
            .fetch_sub(PAUSE_ONE, memdesc::weakened!("pause ends relaxed", Release));
        self.control.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_nest() {
        let control = Control::new();
        let first = control.pause();
        let second = control.pause();
        drop(first);
        assert_eq!(control.enter().err(), Some(Held::Paused));
        drop(second);
        assert!(control.enter().is_ok());
    }

    #[test]
    fn a_refused_batch_leaves_nothing_busy() {
        let control = Control::new();
        let pause = control.pause();
        assert!(control.enter().is_err());
        pause.wait_quiet();
    }

    #[test]
    fn a_pauser_waits_for_the_running_batch() {
        let control = Control::new();
        let busy = control.enter().unwrap();
        let pauser = {
            let control = control.clone();
            std::thread::spawn(move || control.pause().wait_quiet())
        };
        while !control.should_stop() {
            std::thread::yield_now();
        }
        // Long enough for it to sleep, so that it must be woken.
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(busy);
        pauser.join().unwrap();
        assert!(!control.should_stop());
    }

    #[test]
    fn cancel_and_request_are_taken_once() {
        let control = Control::new();
        control.cancel();
        control.request();
        assert!(control.should_stop());
        assert!(control.take_cancel() && !control.take_cancel());
        assert!(control.take_request() && !control.take_request());
        control.stop();
        assert_eq!(control.held(), Some(Held::Stopped));
    }
}
