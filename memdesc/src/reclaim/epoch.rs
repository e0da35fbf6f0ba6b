//! The epoch of `crossbeam-epoch`: `pin` and deferred calls only. Its pointers
//! are not used; ours keep their provenance.

#[cfg(not(loom))]
pub(super) use crossbeam_epoch::Guard;
#[cfg(loom)]
pub(super) use modelled::Guard;
#[cfg(loom)]
pub use modelled::ModelBody;

#[cfg(all(feature = "std", not(loom)))]
#[inline]
pub(super) fn pin() -> Guard {
    crossbeam_epoch::pin()
}

#[cfg(loom)]
pub(super) fn pin() -> Guard {
    Guard::new(crossbeam_epoch::pin())
}

/// Without thread-locals each pin is a participant of its own.
#[cfg(not(any(feature = "std", loom)))]
pub(super) fn pin() -> Guard {
    // The handle may go: the participant stays for as long as it is pinned.
    register().pin()
}

pub(super) use crossbeam_epoch::LocalHandle as Participant;

/// The collector of `pin`, or guards would not be good for the same things.
#[cfg(any(feature = "std", loom))]
pub(super) fn register() -> Participant {
    crossbeam_epoch::default_collector().register()
}

/// The same: the one collector of the process.
#[cfg(not(any(feature = "std", loom)))]
pub(super) fn register() -> Participant {
    use alloc::boxed::Box;
    use crossbeam_epoch::Collector;

    static COLLECTOR: crate::OnceSlot<Collector> = crate::OnceSlot::new();
    let collector = COLLECTOR.get_or_install(|| Some(Box::new(Collector::new())));
    // Installing fails only if the closure gives nothing.
    collector.expect("installed above").register()
}

#[cfg(not(loom))]
#[inline]
pub(super) fn pin_as(participant: &Participant) -> Guard {
    participant.pin()
}

#[cfg(loom)]
pub(super) fn pin_as(participant: &Participant) -> Guard {
    Guard::new(participant.pin())
}

#[cfg(loom)]
mod modelled {
    //! The same guard, but leaked by a model that failed: it is taken apart
    //! outside of the model, where atomics cannot be touched.
    //!
    //! A model takes its statics down when its body is over, the collector among
    //! them, which then runs what is left. That would ask other statics, the
    //! signal gate's, which are gone as well, and touch what the model has put
    //! away. So what is left then is forgotten, as the abstract RCU does it.

    use core::cell::Cell;
    use core::mem::{self, ManuallyDrop};

    // All threads of a model are one thread of the system.
    std::thread_local! {
        static IS_OVER: Cell<bool> = const { Cell::new(false) };
    }

    /// Lives as long as the body of a model: made first and dropped last in it.
    #[doc(hidden)]
    #[must_use = "the body is over when it is dropped"]
    #[derive(Debug)]
    pub struct ModelBody(());

    impl ModelBody {
        /// What is deferred is run from here on.
        pub fn begin() -> Self {
            IS_OVER.set(false);
            Self(())
        }
    }

    impl Drop for ModelBody {
        fn drop(&mut self) {
            IS_OVER.set(true);
        }
    }

    pub(crate) struct Guard(ManuallyDrop<crossbeam_epoch::Guard>);

    impl Guard {
        pub(super) fn new(guard: crossbeam_epoch::Guard) -> Self {
            Self(ManuallyDrop::new(guard))
        }

        pub(crate) fn defer(&self, f: impl FnOnce() + Send + 'static) {
            self.0.defer(move || if IS_OVER.get() { mem::forget(f) } else { f() });
        }

        pub(crate) fn flush(&self) {
            self.0.flush();
        }

        pub(crate) fn repin(&mut self) {
            self.0.repin();
        }
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            if std::thread::panicking() {
                return;
            }
            // SAFETY: dropped here, once, and not used again.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}
