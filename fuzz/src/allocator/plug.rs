//! What happens to a resource: failures, and spans that come and go.

use super::Story;
use crate::Bytes;
use memdesc::FailureKind;
use potad::Error;

impl Story {
    pub(super) fn fail(&mut self, bytes: &mut Bytes<'_>) -> bool {
        // Few, or nothing would be left.
        if self.world.failed.len() >= 6 {
            return false;
        }
        let (address, at) = self.any_address(bytes);
        let is_new = !self.world.failed.contains_key(&at);
        let report = self.world.zone.report_failure(address, 0, FailureKind::Injected);
        let report = report.expect("an address of the zone");
        assert_eq!((report.granules, report.first), (1, u64::from(is_new)));
        let was_free = self.world.fails(at);
        assert_eq!(report.quarantined, u64::from(was_free));
        assert_eq!(report.notified, u64::from(is_new && !was_free));
        is_new
    }

    pub(super) fn hot_add(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (first, count) = (self.world.any_granule(bytes), u64::from(bytes.byte()));
        let most = (1u64 << 63).min(u64::MAX / self.world.zone.granule()) - 1;
        let last = first.saturating_add(count).min(most);
        if first > last {
            return false;
        }
        let added = self.world.zone.hot_add(self.world.units(first, last));
        if !self.world.spans.within(first, last).is_empty() {
            assert!(matches!(added, Err(Error::Overlap { .. })), "{added:?}");
            return false;
        }
        match added {
            Ok(()) => {
                self.world.came(first, last);
                true
            }
            // A resource has a reach: what it was registered with, and a bit.
            Err(Error::OutsideReach { .. }) => false,
            Err(why) => panic!("{first:#x}..={last:#x} was refused: {why}"),
        }
    }

    pub(super) fn hot_remove(&mut self, bytes: &mut Bytes<'_>) -> bool {
        if self.removals.len() >= 3 {
            return false;
        }
        let Some((first, last)) = self.world.any_inside(bytes) else { return false };
        // Something stays.
        if self.world.spans.count() - (last - first + 1) < 64 {
            return false;
        }
        let meets =
            |leaving: &crate::world::Leaving| leaving.first <= last && first <= leaving.last;
        let is_leaving = self.world.leaving.iter().any(meets);
        match self.world.zone.hot_remove(self.world.units(first, last)) {
            Ok(removal) => {
                assert!(!is_leaving);
                self.world.leaves(first, last);
                self.removals.push(removal);
                true
            }
            Err(why) => {
                assert!(is_leaving && matches!(why, Error::Removing { .. }), "{why}");
                false
            }
        }
    }

    pub(super) fn finish(&mut self, bytes: &mut Bytes<'_>) -> bool {
        if self.removals.is_empty() {
            return false;
        }
        let at = bytes.below(self.removals.len());
        let removal = self.removals.swap_remove(at);
        let remaining = self.world.remaining(&self.world.leaving[at]);
        assert_eq!(removal.remaining_granules(), remaining);
        let held: u64 = removal.holders().iter().map(|holder| holder.granules.count()).sum();
        assert!(held >= remaining, "holders have {held} of {remaining}");
        match removal.finish() {
            Ok(()) => {
                assert_eq!(remaining, 0);
                self.world.left(at);
                true
            }
            Err(refused) => {
                assert_eq!(refused.why, Error::StillHeld { granules: remaining });
                // Where `swap_remove` took it from.
                self.removals.push(refused.given);
                let last = self.removals.len() - 1;
                self.removals.swap(at, last);
                false
            }
        }
    }

    pub(super) fn cancel(&mut self, bytes: &mut Bytes<'_>) -> bool {
        if self.removals.is_empty() {
            return false;
        }
        let at = bytes.below(self.removals.len());
        self.removals.swap_remove(at).cancel();
        self.world.stays(at);
        true
    }
}
