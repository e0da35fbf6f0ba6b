//! Guest memory as `vm-memory` maps it: the back end of a host.
//!
//! # What the constructor finds out
//!
//! Each region's kind, from what the kernel says of its mapping and not from
//! what the embedder believes:
//!
//! | mapping                   | discarded by               |
//! |---------------------------|----------------------------|
//! | private, anonymous        | advice                     |
//! | shared, of a file         | a hole in the file         |
//! | private, of a file        | refused: a hole frees nothing of what was written |
//! | shared, anonymous         | refused: advice frees nothing |

use super::super::regions::Region;
use super::super::smaps;
use super::super::{Advice, Madvise, MadviseError, Memfd, MemfdError, RegionError};
use crate::Control;
use crate::driver::{Caps, Fault, Report, Stop};
use crate::range::{ByteRange, Outcome, Range};
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;
use std::io;
use std::vec::Vec;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

/// Why a region is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuestRamError {
    /// A region of no bytes, or that has no address in this process.
    #[error("the region at {first:#x} is not mapped")]
    NotMapped {
        /// Where it begins in the guest.
        first: u64,
    },
    /// Neither private and anonymous, nor shared and of a file.
    #[error("the region at {first:#x} can be neither advised nor punched")]
    Kind {
        /// Where it begins in the guest.
        first: u64,
    },
    /// The system does not say what its mappings are.
    #[error("cannot find out what is mapped: {0}")]
    Unknown(#[from] io::Error),
    /// Advice does not suit.
    #[error(transparent)]
    Madvise(#[from] MadviseError),
    /// The file does not suit.
    #[error(transparent)]
    Memfd(#[from] MemfdError),
    /// The regions contradict each other.
    #[error(transparent)]
    Regions(#[from] RegionError),
}

/// Discards guest memory, region by region as its mapping wants it.
pub struct GuestRam<M> {
    /// Keeps the mappings.
    _memory: M,
    parts: Vec<(ByteRange, Part)>,
    last_fault: Option<Fault>,
}

enum Part {
    Anonymous(Madvise),
    File(Memfd),
}

impl Part {
    fn driver(&mut self) -> &mut dyn Report {
        match self {
            Self::Anonymous(driver) => driver,
            Self::File(driver) => driver,
        }
    }
}

impl<M> GuestRam<M>
where
    M: Deref,
    M::Target: GuestMemoryBackend,
{
    /// A driver for all regions; addresses are the guest's physical ones.
    ///
    /// # Safety
    ///
    /// - Regions that `memory` has now stay mapped while it lives.
    /// - Nobody in this process has a reference into guest memory, or relies on
    ///   the content of a range from when the driver is asked to report it until
    ///   that call returned, and on the old content afterwards. (Of a range that
    ///   its guest posted, the guest says so; what a wrong one loses is its own.)
    #[expect(unsafe_code, reason = "only the caller knows who uses the memory")]
    pub unsafe fn new(memory: M) -> Result<Self, GuestRamError> {
        let mappings = smaps::parse(&std::fs::read_to_string("/proc/self/smaps")?);
        let mut parts = Vec::new();
        for region in memory.iter() {
            let first = region.start_addr().0;
            let not_mapped = GuestRamError::NotMapped { first };
            let host = region.get_host_address(MemoryRegionAddress(0)).ok().and_then(NonNull::new);
            let (Some(at), Some(base)) = (ByteRange::new(first, region.len()), host) else {
                return Err(not_mapped);
            };
            let here = base.addr().get() as u64;
            let mapping = mappings
                .iter()
                .find(|mapping| mapping.at.first() <= here && here <= mapping.at.last())
                .ok_or(not_mapped)?;
            let part = match (mapping.is_private, mapping.is_anonymous, region.file_offset()) {
                (true, true, _) => {
                    // SAFETY: what the caller promised of all of `memory`.
                    #[expect(unsafe_code, reason = "the caller's promise is passed on")]
                    let driver = unsafe { Madvise::new([Region { at, base }], Advice::DontNeed) }?;
                    Part::Anonymous(driver)
                }
                (false, false, Some(file)) => {
                    Part::File(Memfd::new(file.file(), [Region { at, base: file.start() }])?)
                }
                _ => return Err(GuestRamError::Kind { first }),
            };
            parts.push((at, part));
        }
        parts.sort_unstable_by_key(|(at, _)| at.first());
        Ok(Self { _memory: memory, parts, last_fault: None })
    }
}

impl<M> GuestRam<M> {
    /// One range, which may lie in several regions.
    fn discard(&mut self, range: Range, control: &Control) -> Result<Outcome, Stop> {
        let (mut next, mut all) = (Some(range.at.first()), Outcome::ReportedZeroed);
        for (at, part) in &mut self.parts {
            let Some(piece) = at.intersection(range.at) else { continue };
            if next != Some(piece.first()) {
                break;
            }
            let driver = part.driver();
            let mut outcome = [Outcome::NotTried];
            driver.report(&[Range { at: piece, ..range }], &mut outcome, control)?;
            if outcome[0] != Outcome::ReportedZeroed {
                all = outcome[0];
                self.last_fault = driver.last_fault().or(self.last_fault);
            }
            if piece.last() == range.at.last() || !all.is_reported() {
                return Ok(all);
            }
            next = piece.last().checked_add(1);
        }
        let first = next.unwrap_or(range.at.first());
        self.last_fault = Some(Fault::Outside { first });
        Ok(Outcome::Failed)
    }
}

impl<M> Report for GuestRam<M> {
    fn caps(&self) -> Caps {
        Caps { max_ranges: 256, ..Caps::DEFAULT }
    }

    fn report(
        &mut self,
        ranges: &[Range],
        outcomes: &mut [Outcome],
        control: &Control,
    ) -> Result<(), Stop> {
        // All in one region: its driver makes the most of them together.
        let inside = |at: ByteRange| ranges.iter().all(|range| at.contains(range.at));
        if let Some((_, part)) = self.parts.iter_mut().find(|(at, _)| inside(*at)) {
            let done = part.driver().report(ranges, outcomes, control);
            self.last_fault = part.driver().last_fault().or(self.last_fault);
            return done;
        }
        for (range, outcome) in ranges.iter().zip(outcomes) {
            *outcome = self.discard(*range, control)?;
        }
        Ok(())
    }

    fn last_fault(&self) -> Option<Fault> {
        self.last_fault
    }
}

impl<M> fmt::Debug for GuestRam<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = |part: &Part| if matches!(part, Part::File(_)) { "file" } else { "anonymous" };
        f.debug_map().entries(self.parts.iter().map(|(at, part)| (at, kind(part)))).finish()
    }
}
