//! Spans that leave and come again, and granules that fail.

use super::{Random, Shared, granule_of};
use memdesc::FailureKind;
use potad::Error;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Granules that fail at most: what is quarantined does not come back.
const MOST_FAILED: u64 = 48;

/// Removes parts of the zone and adds them again.
pub(super) fn plug(shared: &Shared) {
    let mut random = Random(shared.size.seed ^ 0x91);
    let (granule, zone) = (shared.zone.granule(), &shared.zone);
    while !shared.is_over() {
        std::thread::sleep(Duration::from_millis(random.below(4)));
        let order = random.below(u64::from(shared.size.order) - 2);
        let parts = (1 << shared.size.order) >> order;
        let first = random.below(parts) << order;
        let span = granule * first..granule * (first + (1 << order));
        let removal = zone.hot_remove(span.clone()).expect("nobody else removes");
        if !removal.wait_for(Duration::from_millis(random.below(6))) && random.below(2) == 0 {
            removal.cancel();
            shared.counts.cancelled.fetch_add(1, Relaxed);
            continue;
        }
        match removal.finish() {
            Ok(()) => {
                assert!(zone.granule_at(span.start).is_err(), "it has left");
                std::thread::sleep(Duration::from_micros(random.below(300)));
                zone.hot_add(span).expect("it was ours");
                shared.counts.plugged.fetch_add(1, Relaxed);
            }
            // Its drop cancels it.
            Err(refused) => {
                assert!(matches!(refused.why, Error::StillHeld { .. }), "{}", refused.why);
                shared.counts.cancelled.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Reports failures.
pub(super) fn fail(shared: &Shared) {
    let mut random = Random(shared.size.seed ^ 0xfa);
    let mut failed = 0;
    let pause = shared.size.time / (2 * MOST_FAILED as u32);
    while !shared.is_over() {
        std::thread::sleep(pause.min(Duration::from_millis(100)));
        if failed >= MOST_FAILED {
            continue;
        }
        let address = shared.any_address(&mut random);
        match shared.zone.report_failure(address, 0, FailureKind::Injected) {
            Ok(report) => {
                failed += report.first;
                shared.counts.failed.fetch_add(report.first, Relaxed);
                if report.quarantined == 1 {
                    let at = granule_of(shared, address);
                    shared.out[at.0 as usize].store(true, Relaxed);
                }
            }
            // It is away at the moment.
            Err(why) => assert!(matches!(why, Error::Outside { .. }), "{why}"),
        }
    }
}
