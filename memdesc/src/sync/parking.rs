//! Waiting for a bit in somebody else's word.
//!
//! `park(key, still)` sleeps until `unpark_all(key)`, unless `still()` is false
//! once no `unpark_all` can be missed any more.

#[cfg(all(not(any(loom, shuttle)), feature = "std"))]
mod face {
    use parking_lot_core::{DEFAULT_PARK_TOKEN, DEFAULT_UNPARK_TOKEN};

    pub(super) fn park(key: usize, still: impl FnOnce() -> bool) {
        // SAFETY: the key is the address of a live word that only this module
        // parks on, and none of the three callbacks panics or parks.
        let _ = unsafe {
            parking_lot_core::park(key, still, || {}, |_, _| {}, DEFAULT_PARK_TOKEN, None)
        };
    }

    pub(super) fn unpark_all(key: usize) {
        // SAFETY: as above.
        unsafe { parking_lot_core::unpark_all(key, DEFAULT_UNPARK_TOKEN) };
    }
}

#[cfg(any(loom, shuttle))]
mod face {
    #[cfg(loom)]
    use loom::{
        lazy_static,
        sync::{Condvar, Mutex},
    };
    #[cfg(shuttle)]
    use shuttle::{
        lazy_static,
        sync::{Condvar, Mutex},
    };

    lazy_static! {
        static ref QUEUE: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    pub(super) fn park(_key: usize, still: impl FnOnce() -> bool) {
        let queue = QUEUE.0.lock().expect("a model that panicked has failed");
        if still() {
            drop(QUEUE.1.wait(queue).expect("a model that panicked has failed"));
        }
    }

    pub(super) fn unpark_all(_key: usize) {
        let _queue = QUEUE.0.lock().expect("a model that panicked has failed");
        QUEUE.1.notify_all();
    }
}

#[cfg(all(not(any(loom, shuttle)), not(feature = "std")))]
mod face {
    pub(super) fn park(_key: usize, _still: impl FnOnce() -> bool) {
        core::hint::spin_loop();
    }

    pub(super) fn unpark_all(_key: usize) {}
}

/// Sleeps until [`unpark_all`] of the same key, if `still()` says so. May wake
/// for no reason: look again.
pub fn park(key: usize, still: impl FnOnce() -> bool) {
    face::park(key, still);
}

/// Wakes everybody who sleeps on `key`.
pub fn unpark_all(key: usize) {
    face::unpark_all(key);
}
