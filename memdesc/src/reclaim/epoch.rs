//! The epoch of `crossbeam-epoch`: `pin` and deferred calls only. Its pointers
//! are not used; ours keep their provenance.

pub(super) use crossbeam_epoch::Guard;

#[cfg(any(feature = "std", loom))]
#[inline]
pub(super) fn pin() -> Guard {
    crossbeam_epoch::pin()
}

/// Without thread-locals each pin is a participant of its own.
#[cfg(not(any(feature = "std", loom)))]
pub(super) fn pin() -> Guard {
    use alloc::boxed::Box;
    use crossbeam_epoch::Collector;

    static COLLECTOR: crate::OnceSlot<Collector> = crate::OnceSlot::new();
    let collector = COLLECTOR.get_or_install(|| Some(Box::new(Collector::new())));
    // Installing fails only if the closure gives nothing. The handle may go:
    // the participant stays for as long as it is pinned.
    collector.expect("installed above").register().pin()
}
