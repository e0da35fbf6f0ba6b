//! The failures: what was injected, who heard of it, and what came of it.
//!
//! # What counts as lost
//!
//! - potad said that it told an owner, and no owner heard.
//! - An allocation that began after the failure was reported got the granule.
//! - At the end, when everything is freed, the granule is not quarantined.
//! - The owner that heard is not the one whose block it was.
//!
//! # Sharing and cost
//!
//! A lock around two small maps. An allocation takes it only once something has
//! failed.

use super::known::Known;
use potad::FailureReport;
use potad::memdesc::sync::atomic::{AtomicU64, Ordering};
use potad::memdesc::sync::{Arc, Mutex};
use potad::memdesc::{Block, FailedBlock, Granule, Outcome, Owner};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
struct Maps {
    /// Of each failed granule, how many reports were complete before its own
    /// was; `None` while that is under way.
    failed: BTreeMap<u64, Option<u64>>,
    told: BTreeSet<u64>,
    lost: BTreeSet<u64>,
}

/// All failures of a run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    done: AtomicU64,
    maps: Mutex<Maps>,
}

/// The account at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) injected: u64,
    pub(super) told: u64,
    pub(super) lost: u64,
}

impl Ledger {
    /// Notes that a granule is about to fail; `false` if it has already.
    pub(super) fn begin(&self, at: Granule) -> bool {
        let mut maps = self.maps.lock();
        if maps.failed.contains_key(&at.0) {
            return false;
        }
        maps.failed.insert(at.0, None);
        true
    }

    /// Notes what potad made of it.
    pub(super) fn end(&self, at: Granule, report: Option<FailureReport>) {
        let mut maps = self.maps.lock();
        let done = Some(self.done.load(Ordering::Relaxed));
        let notified = report.is_some_and(|report| report.notified > 0);
        maps.failed.insert(at.0, done);
        let proved = report.is_some_and(|report| report.notified + report.quarantined == 1);
        if !proved || (notified && !maps.told.contains(&at.0)) {
            maps.lost.insert(at.0);
        }
        // `Release` pairs with the load in `reports_done`.
        self.done.fetch_add(1, Ordering::Release);
    }

    /// Reports that are complete: to be asked before an allocation.
    pub(super) fn reports_done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }

    /// Checks a block that was just allocated; `before` is what
    /// [`reports_done`](Self::reports_done) said before.
    pub(super) fn check_allocated(&self, block: Block, before: u64) {
        if before == 0 {
            return;
        }
        let mut maps = self.maps.lock();
        let inside = maps.failed.range(block.base().0..=block.last().0);
        let known = |failure: &Option<u64>| failure.is_some_and(|done| done < before);
        let lost: Vec<u64> =
            inside.filter(|(_, failure)| known(failure)).map(|(&at, _)| at).collect();
        maps.lost.extend(lost);
    }

    /// The account, once everything is freed: `quarantined` are the granules
    /// that are out of circulation.
    pub(super) fn settle(&self, quarantined: &BTreeSet<u64>) -> Account {
        let maps = self.maps.lock();
        let failed: BTreeSet<u64> = maps.failed.keys().copied().collect();
        let kept_back = failed.difference(quarantined).copied();
        let lost: BTreeSet<u64> = kept_back.chain(maps.lost.iter().copied()).collect();
        Account {
            injected: failed.len() as u64,
            told: maps.told.intersection(&failed).count() as u64,
            lost: lost.len() as u64,
        }
    }

    fn hear(&self, failed: &FailedBlock, is_right: bool) {
        let mut maps = self.maps.lock();
        let granules = failed.granules;
        for at in granules.first().0..=granules.last().0 {
            maps.told.insert(at);
            if !is_right {
                maps.lost.insert(at);
            }
        }
    }
}

/// A guest, or the host itself, as potad knows it.
pub(super) struct Listener {
    pub(super) ledger: Arc<Ledger>,
    pub(super) known: Arc<Known>,
    /// `None` is the host.
    pub(super) guest: Option<usize>,
}

impl Owner for Listener {
    /// The guest goes on with the block until its own free, so the failure is
    /// dealt with later.
    fn memory_failure(&self, failed: &FailedBlock) -> Outcome {
        self.ledger.hear(failed, self.is_mine(failed));
        Outcome::Delayed
    }
}

impl Listener {
    /// The block may be gone by now, or split; but with the failed granule
    /// inside, none of the same shape was allocated since.
    fn is_mine(&self, failed: &FailedBlock) -> bool {
        let Some(block) = failed.block else { return true };
        if !block.granules().covers(failed.granules) {
            return false;
        }
        let known = self.known.at(failed.granules.first());
        let same = known.filter(|entry| entry.block == block);
        same.is_none_or(|entry| Some(entry.guest) == self.guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use potad::memdesc::Order;

    fn report(quarantined: u64, notified: u64) -> Option<FailureReport> {
        let outcome = Outcome::Recovered;
        Some(FailureReport {
            granules: 1,
            first: 1,
            quarantined,
            notified,
            outcome,
            ..Default::default()
        })
    }

    fn lost(ledger: &Ledger, quarantined: &[u64]) -> u64 {
        ledger.settle(&quarantined.iter().copied().collect()).lost
    }

    #[test]
    fn a_granule_that_is_quarantined_and_stays_so_is_not_lost() {
        let ledger = Ledger::default();
        assert!(ledger.begin(Granule(5)) && !ledger.begin(Granule(5)));
        ledger.end(Granule(5), report(1, 0));
        let account = ledger.settle(&BTreeSet::from([5]));
        assert_eq!(account, Account { injected: 1, told: 0, lost: 0 });
        assert_eq!(lost(&ledger, &[]), 1, "it is out of quarantine");
    }

    #[test]
    fn an_owner_that_was_said_to_be_told_must_have_heard() {
        let ledger = Ledger::default();
        ledger.begin(Granule(5));
        ledger.end(Granule(5), report(0, 1));
        assert_eq!(lost(&ledger, &[5]), 1);
        let ledger = Ledger::default();
        ledger.begin(Granule(5));
        ledger.end(Granule(5), None);
        assert_eq!(lost(&ledger, &[5]), 1, "nothing was proved");
    }

    #[test]
    fn only_an_allocation_that_began_later_is_a_loss() {
        let ledger = Ledger::default();
        let block = Block::containing(Granule(5), Order::new(2).expect("small"));
        ledger.begin(Granule(5));
        ledger.check_allocated(block, ledger.reports_done());
        let before = ledger.reports_done();
        ledger.end(Granule(5), report(1, 0));
        ledger.check_allocated(block, before);
        assert_eq!(lost(&ledger, &[5]), 0);
        ledger.check_allocated(block, ledger.reports_done());
        assert_eq!(lost(&ledger, &[5]), 1);
    }
}
