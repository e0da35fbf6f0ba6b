//! Reclamation: what was made unreachable is freed once nobody can look at it.
//!
//! # What always holds
//!
//! A function given to [`Guard::defer`] runs after every guard that was live
//! at that moment has been dropped, and every signal handler that was in a
//! look-up has left it (see `gate`). Nothing more is promised: it may run late,
//! in any thread, or never if a guard is never dropped.
//!
//! # Back ends
//!
//! | build                     | collector                                      |
//! |---------------------------|------------------------------------------------|
//! | `std`                     | crossbeam's default one, with thread-locals    |
//! | without `std`             | one static collector, registering at each pin  |
//! | `loom`, `shuttle`         | an abstract RCU: the promise and nothing else  |
//! | `loom` + `crossbeam_loom` | crossbeam's default one, modelled              |
//!
//! All trees of a process share it, so any guard is good for any of them.
//!
//! # Cost
//!
//! With `std`, a pin costs about as much as one uncontended RMW, a nested one
//! a tenth of it. Without `std` a pin allocates: keep guards and `repin` them, or
//! pin through a [`Participant`].
//! `repin` alone never collects, so ours flushes as well.

#[cfg(any(shuttle, all(loom, not(crossbeam_loom))))]
mod abstract_rcu;
#[cfg(any(shuttle, all(loom, not(crossbeam_loom))))]
use abstract_rcu as back;

#[cfg(not(any(shuttle, all(loom, not(crossbeam_loom)))))]
mod epoch;
#[cfg(not(any(shuttle, all(loom, not(crossbeam_loom)))))]
use epoch as back;

#[cfg(all(loom, crossbeam_loom))]
pub use epoch::ModelBody;

mod gate;

pub use gate::InSignal;

use core::fmt;

/// Keeps what is reachable now readable, until it is dropped.
///
/// ```
/// let mut guard = potad_memdesc::pin();
/// guard.defer(|| println!("everybody who could see it is gone"));
/// guard.flush();
/// guard.repin();
/// ```
#[must_use = "what it keeps is kept only until it is dropped"]
pub struct Guard(back::Guard);

/// Pins the calling thread.
#[inline]
pub fn pin() -> Guard {
    Guard(back::pin())
}

/// A place among those whom reclamation waits for, held by hand.
///
/// For builds without `std`, where nothing knows a thread and each [`pin`] has
/// to register first: a processor or thread that looks things up makes one of
/// these once, and its pins allocate nothing. There is one collector in a
/// process, and a [`Guard`] comes from it alone; so a guard of a participant is
/// as good as any, for every tree, and one of a foreign collector does not
/// exist.
///
/// Not `Send`: its pins nest, which is counted without atomics.
///
/// ```
/// use potad_memdesc::Participant;
///
/// let me = Participant::new();
/// let guard = me.pin();
/// guard.defer(|| println!("everybody who could see it is gone"));
/// drop(guard);
/// me.pin().flush();
/// ```
pub struct Participant(back::Participant);

impl Participant {
    /// Registers one: an allocation. It is given up when this value and its last
    /// guard are gone.
    pub fn new() -> Self {
        Self(back::register())
    }

    /// Pins. About one uncontended RMW; a nested pin a tenth of it.
    #[inline]
    pub fn pin(&self) -> Guard {
        Guard(back::pin_as(&self.0))
    }
}

impl Default for Participant {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Participant")
    }
}

impl Guard {
    /// Runs `f` once every guard that is live now, this one too, is gone, and
    /// every signal handler has left that may be looking.
    #[inline]
    pub fn defer(&self, f: impl FnOnce() + Send + 'static) {
        if crate::seeded!("deferred call runs at once") {
            return f();
        }
        // As large as `f` itself: what fits the epoch's own record still does.
        self.0.defer(move || gate::run_when_left(f));
    }

    /// Hands over what this thread retired and deferred, and collects some of
    /// what is due.
    pub fn flush(&self) {
        #[cfg(all(feature = "std", not(loom)))]
        crate::local::flush(self);
        self.hand_over();
    }

    /// Hands over what was deferred, and collects some of what is due.
    pub(crate) fn hand_over(&self) {
        self.0.flush();
        gate::look_again();
    }

    /// Unpins now, for the twin of a model that forgets its pin.
    #[cfg(any(shuttle, all(loom, not(crossbeam_loom))))]
    #[doc(hidden)]
    pub fn seeded_unpin(&self) {
        self.0.unpin();
    }

    /// Drops and pins again, and flushes: a reader that keeps one guard for
    /// long calls this between look-ups.
    pub fn repin(&mut self) {
        self.flush();
        self.0.repin();
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}
