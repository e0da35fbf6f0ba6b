//! Memory failure: the owner hears of it, and the granule never circulates
//! again.
//!
//! # How
//!
//! The granule enters the poison set first, so that from then on whoever gives
//! it back keeps it out. Then, with every hand closed, it is one of these, and
//! stays so until the hands are opened:
//!
//! | where it is | what is done | the proof |
//! |---|---|---|
//! | free in a hand | the bit is taken out of the mask | quarantined |
//! | free in the forest | carved out of its block | quarantined |
//! | claimed by a removal | carved out of what is claimed | quarantined |
//! | a live immediate word | the word is marked, its owner is told | marked |
//! | a live descriptor | referenced; later locked, re-checked, marked; its owner is told | marked |
//! | a descriptor that is being torn down | wait, and look again | |
//! | no word at all | a bare block: the resource's own owner is told | in the set |
//!
//! A block that was being allocated or freed is in none of these states while
//! the hands are closed, so the call ends only on a proof. A report of a granule
//! that was reported before looks for the same proof and tells nobody: the first
//! report may be on its way still.
//!
//! # Cost
//!
//! One rendezvous per granule, and a look at one word.

use crate::error::Error;
use crate::forest::Taken;
use crate::poison::Poisoned;
use crate::state::State;
use crate::{Potad, Zone};
use alloc::collections::BTreeMap;
use memdesc::sync::{Mutex, thread};
use memdesc::{
    Block, ErasedRef, FailedBlock, FailureKind, Found, Granule, Order, Outcome, OwnerId, Subtype,
};

/// What became of a reported failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureReport {
    /// Granules that the report covers.
    pub granules: u64,
    /// Of them, those that had not been reported before.
    pub first: u64,
    /// Of those, the ones that were free: out of circulation now.
    pub quarantined: u64,
    /// Of those, the ones whose owner was told: out of circulation when freed.
    pub notified: u64,
    /// The least fortunate of the owners' outcomes; `Recovered` if nobody used
    /// the memory.
    pub outcome: Outcome,
}

/// How often owners came to which end, as the kernel counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    /// Nothing uses the memory any more.
    pub recovered: u64,
    /// It will be dealt with later.
    pub delayed: u64,
    /// Nothing was done.
    pub ignored: u64,
    /// Dealing with it failed.
    pub failed: u64,
}

impl OutcomeCounts {
    /// The sum of the four.
    pub fn total(&self) -> u64 {
        self.recovered + self.delayed + self.ignored + self.failed
    }

    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Recovered => self.recovered += 1,
            Outcome::Delayed => self.delayed += 1,
            Outcome::Ignored => self.ignored += 1,
            Outcome::Failed => self.failed += 1,
        }
    }
}

/// The counts of a zone, by what lived there.
#[derive(Debug, Default)]
pub(crate) struct FailureCounts {
    by_name: Mutex<BTreeMap<&'static str, OutcomeCounts>>,
}

impl FailureCounts {
    fn add(&self, name: &'static str, outcome: Outcome) {
        self.by_name.lock().entry(name).or_default().add(outcome);
    }

    pub(crate) fn all(&self) -> BTreeMap<&'static str, OutcomeCounts> {
        self.by_name.lock().clone()
    }
}

/// What a granule was found to be.
enum Where {
    Quarantined,
    /// Live without a descriptor: its owner, block and name.
    Word(OwnerId, Option<Block>, &'static str),
    Typed(ErasedRef<crate::home::Home>),
    /// In the hands of a teardown.
    Dying,
}

impl Potad {
    /// Memory failed at `address` of space 0, in the `1 << lsb` units around
    /// it. Returns once every granule concerned is proved to be out of
    /// circulation, or marked and known to its owner.
    ///
    /// Must not be called with a descriptor of the block locked, which it
    /// locks itself. Fails with [`Error::Outside`] if no resource has the
    /// address.
    ///
    /// ```
    /// use potad::{Potad, Resource, memdesc::FailureKind};
    ///
    /// let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let report = potad.report_failure(0x12_3456, 6, FailureKind::Injected)?;
    /// assert_eq!((report.first, report.quarantined), (1, 1));
    /// assert_eq!(ram.stats().quarantined, 1);
    /// # Ok::<(), potad::Error>(())
    /// ```
    pub fn report_failure(
        &self,
        address: u64,
        lsb: u32,
        kind: FailureKind,
    ) -> Result<FailureReport, Error> {
        let zone = self.zone_at(0, address).ok_or(Error::Outside { address })?;
        zone.report_failure(address, lsb, kind)
    }
}

impl Zone {
    /// As [`Potad::report_failure`], in this resource's own units.
    pub fn report_failure(
        &self,
        address: u64,
        lsb: u32,
        kind: FailureKind,
    ) -> Result<FailureReport, Error> {
        let state = self.state();
        state.granule_at(address)?;
        let around = 1u64.checked_shl(lsb).map_or(u64::MAX, |size| size - 1);
        let (low, high) = (address & !around, address | around);
        let mut report = FailureReport {
            granules: 0,
            first: 0,
            quarantined: 0,
            notified: 0,
            outcome: Outcome::Recovered,
        };
        for span in self.spans() {
            let (from, to) = (span.first.max(low), span.last.min(high));
            if from > to {
                continue;
            }
            let (first, last) = (state.granule_at(from)?, state.granule_at(to)?);
            for at in first.0..=last.0 {
                state.fail_granule(Granule(at), kind, &mut report);
            }
        }
        Ok(report)
    }
}

impl State {
    fn fail_granule(&self, at: Granule, kind: FailureKind, report: &mut FailureReport) {
        report.granules += 1;
        // Out of memory for the tables that a carve needs, a free granule stays
        // where it is: pending, and kept once it has been handed out and is
        // given back with its neighbours' words present.
        let _carvable = self.ensure_carve(at);
        let is_first = self.stock.poison.insert(at);
        if !is_first && memdesc::seeded!("a later report trusts the first") {
            return;
        }
        report.first += u64::from(is_first);
        // A later report looks as well: the first may be on its way still, and
        // the granule free. It only tells nobody.
        let (owner, block, name) = loop {
            match self.locate(at) {
                Where::Quarantined if !is_first => return,
                Where::Quarantined => {
                    report.quarantined += 1;
                    self.failures.add("free", Outcome::Recovered);
                    return;
                }
                Where::Word(owner, block, name) => break (owner, block, name),
                Where::Typed(found) => {
                    let locked = found.lock();
                    // The lock makes it the truth: the block may have been
                    // split or replaced since it was found.
                    if locked.contains(at) {
                        locked.poison();
                        break (locked.owner(), Some(locked.block()), found.kind_name());
                    }
                }
                // Its owner is inside the put that frees it.
                Where::Dying => thread::yield_now(),
            }
        };
        if !is_first {
            return;
        }
        let failed = FailedBlock {
            resource: self.id,
            granules: Block::containing(at, Order::ZERO).granules(),
            block,
            kind,
            name,
            first: true,
        };
        report.notified += 1;
        let outcome = self.tell(owner, &failed);
        self.failures.add(name, outcome);
        report.outcome = worse(report.outcome, outcome);
    }

    /// Tells an owner, or the resource's own if that one has left.
    fn tell(&self, owner: OwnerId, failed: &FailedBlock) -> Outcome {
        if owner != OwnerId::RESOURCE
            && let Some(outcome) = self.owners.call(owner, failed)
        {
            return outcome;
        }
        let own = *self.own_owner.lock();
        own.and_then(|own| self.owners.call(own, failed)).unwrap_or(Outcome::Ignored)
    }

    /// Where a granule of the set is, while every hand is closed; a free one is
    /// taken out of circulation.
    fn locate(&self, at: Granule) -> Where {
        // Before the gate: a pin may run the drops of what was retired.
        let guard = memdesc::pin();
        let closed = self.gate.close();
        if self.stock.poison.get(at) == Some(Poisoned::Quarantined) {
            return Where::Quarantined;
        }
        let one = Block::containing(at, Order::ZERO);
        let carved = closed.slots().any(|slot| slot.carve(one));
        let carved = carved || self.closing.carve(at);
        if carved || matches!(self.stock.forest.take_exact(one), Ok(Taken::Block(_))) {
            self.stock.on_take(one);
            self.quarantine(at);
            return Where::Quarantined;
        }
        let found = match self.tree.find(at, &guard) {
            None => return Where::Word(OwnerId::RESOURCE, None, "bare"),
            Some(Found::Immediate(..)) => self.tree.poison_immediate(at),
            Some(Found::Descriptor(peeked)) => {
                return peeked.try_get().map_or(Where::Dying, Where::Typed);
            }
        };
        drop(closed);
        match found {
            Some(word) => {
                let block = Block::containing(at, word.order);
                Where::Word(word.owner, Some(block), subtype_name(word.subtype))
            }
            None => Where::Dying,
        }
    }
}

fn subtype_name(subtype: Subtype) -> &'static str {
    match subtype {
        Subtype::Raw => "raw",
        Subtype::Reserved => "reserved",
        Subtype::Guard => "guard",
        Subtype::Offline => "offline",
        Subtype::Reporting => "reporting",
        Subtype::Quarantine => "quarantine",
        _ => "user",
    }
}

pub(crate) fn worse(one: Outcome, other: Outcome) -> Outcome {
    let rank = |outcome| match outcome {
        Outcome::Recovered => 0,
        Outcome::Delayed => 1,
        Outcome::Ignored => 2,
        Outcome::Failed => 3,
    };
    if rank(one) >= rank(other) { one } else { other }
}
