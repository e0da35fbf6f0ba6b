//! Claimed ranges: memory that no resource has, and that has an owner all the
//! same.
//!
//! A device's registers and its memory (a BAR) are in the address space, but
//! nobody allocates from them and nothing describes them. Whoever maps them
//! claims the range: look-up finds the claim, and a failure in it is told to its
//! owner.
//!
//! # What always holds
//!
//! Claims and the spans of resources of space 0 overlap nowhere, and neither do
//! two claims: whoever adds either holds the list of zones.
//!
//! # Sharing and cost
//!
//! A look-up takes no lock: a walk of a range map, under a guard. Claiming and
//! giving up are the range map's changes. A failure takes the claim's own lock
//! for its poison set.

use crate::error::{Error, OutOfMemory};
use crate::failure::FailureReport;
use crate::poison_set::PoisonSet;
use crate::resource::{IntoSpan, Span};
use crate::{OutcomeCounts, Potad};
use alloc::string::{String, ToString};
use core::fmt;
use lookup::{Addresses, Ranges};
use memdesc::sync::{Arc, Mutex, unique_id};
use memdesc::{
    FailedBlock, FailureKind, Granule, Granules, Guard, MAX_GRANULES, Outcome, OwnerId, Owners,
};

/// Units of a line of a claim.
const LINE: u64 = 64;

/// A range of the address space (space 0) that an owner has claimed, until this
/// is dropped.
#[derive(Debug)]
#[must_use = "the range is given up when this is dropped"]
pub struct Claim {
    potad: Potad,
    range: Arc<Range>,
}

/// What is claimed, as look-ups find it.
#[derive(Debug)]
struct Range {
    id: u32,
    name: &'static str,
    owner: OwnerId,
    span: Span,
    failed: Mutex<Failed>,
}

#[derive(Debug)]
struct Failed {
    lines: PoisonSet,
    outcomes: OutcomeCounts,
}

/// Why a range cannot be claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Something is there.
    #[error("the range {first:#x}..={last:#x} overlaps {with_first:#x}..={with_last:#x}, {name}")]
    Busy {
        /// First address asked for.
        first: u64,
        /// Last address asked for.
        last: u64,
        /// First address of what is there.
        with_first: u64,
        /// Last address of it.
        with_last: u64,
        /// What it is called: the resource's name, or the claim's.
        name: String,
    },
    /// An empty range, or one that reaches into the upper half of the space.
    #[error("the range {first:#x}..{end:#x} is empty, or above {MAX_GRANULES:#x}")]
    NoRange {
        /// First address.
        first: u64,
        /// The address past the last.
        end: u64,
    },
    /// Nobody is registered under this id.
    #[error("owner {owner:?} is not registered")]
    UnknownOwner {
        /// What was asked.
        owner: OwnerId,
    },
    /// Memory is out.
    #[error("memory for the claim is out")]
    OutOfMemory,
}

/// The claims of a potad.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    ranges: Ranges<Arc<Range>>,
}

impl Claims {
    /// Refuses a span that a claim overlaps.
    pub(crate) fn check_free(&self, asked: Span) -> Result<(), Error> {
        let guard = memdesc::pin();
        let Some(there) = self.first_in(asked, &guard) else { return Ok(()) };
        Err(Error::Claimed {
            first: asked.first,
            last: asked.last,
            with_first: there.span.first,
            with_last: there.span.last,
            name: there.name,
        })
    }

    /// The first claim that has an address of a span.
    fn first_in(&self, asked: Span, guard: &Guard) -> Option<Arc<Range>> {
        let found = self.ranges.next(asked.first, guard)?;
        (found.range().first() <= asked.last).then(|| Arc::clone(&found))
    }
}

impl Potad {
    /// Claims a range of the address space for an owner, who is told when memory
    /// fails there, mapped or not.
    ///
    /// Refused where a resource of space 0 or another claim is, with its name.
    ///
    /// ```
    /// use potad::{ClaimError, Potad, Resource};
    /// use potad::memdesc::{FailedBlock, FailureKind, Outcome, Owner};
    /// use std::sync::Arc;
    ///
    /// struct Driver;
    /// impl Owner for Driver {
    ///     fn memory_failure(&self, failed: &FailedBlock) -> Outcome {
    ///         assert_eq!((failed.name, failed.first_unit), ("nic bar 0", 0xe000_1040));
    ///         Outcome::Recovered
    ///     }
    /// }
    ///
    /// let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let driver = potad.register_owner(Arc::new(Driver))?;
    /// let bar = potad.claim_range(0xe000_0000..0xe001_0000, driver, "nic bar 0")?;
    /// let refused = potad.claim_range(0xe000_8000..0xe002_0000, driver, "nic bar 1");
    /// assert!(matches!(refused, Err(ClaimError::Busy { name, .. }) if name == "nic bar 0"));
    ///
    /// let report = potad.report_failure(0xe000_1050, 6, FailureKind::Consumed)?;
    /// assert_eq!((report.first, report.notified, report.outcome), (1, 1, Outcome::Recovered));
    /// assert_eq!(potad.claimed_at(0xe000_1050), Some(("nic bar 0", driver)));
    /// assert_eq!(bar.poison().lines(), 1);
    ///
    /// drop(bar);
    /// assert!(potad.report_failure(0xe000_1050, 6, FailureKind::Consumed).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn claim_range(
        &self,
        span: impl IntoSpan,
        owner: OwnerId,
        name: &'static str,
    ) -> Result<Claim, ClaimError> {
        let Span { first, last } = span.into_span().map_err(|why| match why {
            Error::EmptySpan { first, end } => ClaimError::NoRange { first, end },
            _ => ClaimError::OutOfMemory,
        })?;
        if last >= MAX_GRANULES {
            return Err(ClaimError::NoRange { first, end: last.saturating_add(1) });
        }
        if !self.owners().is_registered(owner) {
            return Err(ClaimError::UnknownOwner { owner });
        }
        let busy = |there: Span, name: &str| ClaimError::Busy {
            first,
            last,
            with_first: there.first,
            with_last: there.last,
            name: name.to_string(),
        };
        let asked = Span { first, last };
        let zones = self.lock_zones();
        for zone in zones.iter().filter(|zone| zone.state().space == 0) {
            if let Some(there) = zone.state().spanned(asked) {
                return Err(busy(there, zone.name()));
            }
        }
        let guard = memdesc::pin();
        if let Some(there) = self.claims().first_in(asked, &guard) {
            return Err(busy(there.span, there.name));
        }
        drop(guard);
        let mut lines = PoisonSet::for_granule(LINE);
        lines.refill(0).map_err(|OutOfMemory| ClaimError::OutOfMemory)?;
        let failed = Mutex::new(Failed { lines, outcomes: OutcomeCounts::default() });
        let addresses =
            Addresses::new(first, last).map_err(|_| ClaimError::NoRange { first, end: last })?;
        let range = Arc::new(Range { id: unique_id(), name, owner, span: asked, failed });
        self.claims()
            .ranges
            .insert(addresses, Arc::clone(&range))
            .map_err(|_| ClaimError::OutOfMemory)?;
        drop(zones);
        Ok(Claim { potad: self.clone(), range })
    }

    /// The claim that has an address: its name and owner. No lock.
    pub fn claimed_at(&self, address: u64) -> Option<(&'static str, OwnerId)> {
        let guard = memdesc::pin();
        let range = self.claims().first_in(Span { first: address, last: address }, &guard)?;
        Some((range.name, range.owner))
    }

    /// A failure where no resource is; `None` if no claim is either.
    pub(crate) fn fail_claimed(
        &self,
        address: u64,
        lsb: u32,
        kind: FailureKind,
    ) -> Option<Result<FailureReport, Error>> {
        let range = {
            let guard = memdesc::pin();
            self.claims().first_in(Span { first: address, last: address }, &guard)?
        };
        let around = 1u64.checked_shl(lsb).map_or(u64::MAX, |size| size - 1);
        let first = (address & !around).max(range.span.first);
        let last = (address | around).min(range.span.last);
        Some(range.fail(Span { first, last }, kind, self.owners()).map_err(Error::from))
    }
}

impl Range {
    /// Units failed: the owner is told once per line.
    fn fail(
        &self,
        units: Span,
        kind: FailureKind,
        owners: &Owners,
    ) -> Result<FailureReport, OutOfMemory> {
        let mut report = FailureReport { granules: 1, ..FailureReport::default() };
        if kind == FailureKind::Corrected {
            return Ok(report);
        }
        report.units = self.failed.lock().lines.add(units, kind)?;
        if report.units == 0 {
            return Ok(report);
        }
        let first_unit = units.first - units.first % LINE;
        let last_unit = (units.last | (LINE - 1)).min(self.span.last);
        let whole = Granules::new(Granule(first_unit), Granule(last_unit));
        let Ok(granules) = whole else { return Ok(report) };
        let failed = FailedBlock {
            resource: self.id,
            granules,
            first_unit,
            last_unit,
            block: None,
            kind,
            name: self.name,
            first: true,
        };
        let outcome = owners.call(self.owner, &failed).unwrap_or(Outcome::Ignored);
        let mut after = self.failed.lock();
        after.outcomes.add(outcome);
        // More room for the next one; if there is none, that one asks.
        let _later = after.lines.refill(0);
        Ok(FailureReport { first: 1, notified: 1, outcome, ..report })
    }
}

impl Claim {
    /// What it was claimed as.
    pub fn name(&self) -> &'static str {
        self.range.name
    }

    /// A number that no resource and no other claim of this process has: as in
    /// [`FailedBlock::resource`].
    pub fn id(&self) -> u32 {
        self.range.id
    }

    /// The range.
    pub fn span(&self) -> Span {
        self.range.span
    }

    /// A copy of what has failed of it, in lines of 64.
    pub fn poison(&self) -> PoisonSet {
        self.range.failed.lock().lines.clone()
    }

    /// How the owner's calls ended.
    pub fn outcomes(&self) -> OutcomeCounts {
        self.range.failed.lock().outcomes
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Span { first, last } = self.range.span;
        let zones = self.potad.lock_zones();
        // Without memory for the smaller nodes the claim stays in the map: the
        // range is busy, and its owner still hears.
        if let Ok(addresses) = Addresses::new(first, last) {
            let _gone = self.potad.claims().ranges.remove(addresses);
        }
        drop(zones);
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { first, last } = self.span();
        write!(f, "{} at {first:#x}..={last:#x}", self.name())
    }
}
