//! Discards private anonymous memory.
//!
//! | advice     | the memory goes         | then reads     | cost a 2 MiB block          |
//! |------------|-------------------------|----------------|-----------------------------|
//! | `DontNeed` | at once                 | as zeros       | 7 us (huge page), 150 us (4 KiB pages) |
//! | `Free`     | when the system wants it | old or zeros  | 1.4 us, 114 us              |
//!
//! (Measured on a nested guest, so the fault side is dear: orders of magnitude,
//! not promises.)
//!
//! # The trap
//!
//! On a shared mapping `MADV_DONTNEED` only drops this process's view: success,
//! the resident size of the process falls, and not a byte is free. On a private
//! mapping of a file it brings the file's content back, so the memory does not
//! read as zeros. Both are refused, by what the kernel says of the mapping when
//! the driver is made.
//!
//! # Sharing and cost
//!
//! One system call (0.1 us) for each piece of a range in a region; one for up
//! to 32 ranges where the kernel takes a list of them from ourselves
//! (`process_madvise`, tried once at the beginning), which saves a third at
//! 4 KiB and a tenth of a huge page. Ranges above 4 MiB go one by one, so that a
//! cancel need not wait for a list of them.
//!
//! # Trust, and verify
//!
//! In debug builds the memory is looked for after its discard (`mincore`), and
//! `Failed` with [`Fault::StillThere`] if a page of it is in memory.

mod at_once;

use super::Verify;
use super::regions::{Refusal, Region, RegionError, Regions};
use super::smaps::{self, Mapping};
use crate::Control;
use crate::driver::{Caps, Fault, Report, Stop};
use crate::range::{ByteRange, Outcome, Range};
use at_once::{AtOnce, Piece};
use core::ptr::NonNull;
use rustix::io::Errno;
use smallvec::SmallVec;
use std::io;
use std::vec::Vec;

/// The largest range of a list: 32 of them are some milliseconds, which is how
/// late a cancel may be.
const SMALL: u64 = 4 << 20;

/// Ranges of one list.
const CHUNK: usize = 32;

/// How memory is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// At once; reads as zeros afterwards.
    DontNeed,
    /// When the system is short of memory; what it reads is not known.
    Free,
}

/// Why a region is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MadviseError {
    /// The regions contradict each other.
    #[error(transparent)]
    Regions(#[from] RegionError),
    /// The system does not say what its mappings are.
    #[error("cannot find out what is mapped: {0}")]
    Unknown(#[from] io::Error),
    /// Part of a region is not mapped.
    #[error("nothing is mapped at {address:#x}")]
    NotMapped {
        /// The first such address.
        address: u64,
    },
    /// A shared mapping: advice would succeed and free nothing.
    #[error(
        "the mapping at {address:#x} is shared: advice would free nothing, punch its file instead"
    )]
    Shared {
        /// Where it begins.
        address: u64,
    },
    /// A file is behind it, whose content would come back.
    #[error("the mapping at {address:#x} is of a file, whose content would come back")]
    OfFile {
        /// Where it begins.
        address: u64,
    },
    /// Locked in memory, or no memory at all.
    #[error("the mapping at {address:#x} is locked or a device")]
    Pinned {
        /// Where it begins.
        address: u64,
    },
    /// A region, or its memory, begins or ends within a page. The kernel would
    /// discard the whole of it.
    #[error(
        "the region at {first:#x} or its memory is not made of whole pages of {page_bytes} bytes"
    )]
    Misaligned {
        /// Where the region begins in the resource.
        first: u64,
        /// The largest page of the mappings.
        page_bytes: u64,
    },
}

/// Advises the kernel that free blocks need no memory.
///
/// # Invariants
///
/// What [`new`](Self::new) asked of its caller; and each region is made of whole
/// pages of `page_bytes`, in the resource as in memory.
#[derive(Debug)]
pub struct Madvise {
    regions: Regions<NonNull<u8>>,
    advice: Advice,
    page_bytes: u64,
    at_once: Option<AtOnce>,
    verify: Verify,
    last_fault: Option<Fault>,
}

// SAFETY: the pointers are only passed to the kernel, which does not care which
// thread asks; what the caller of `new` promised names no thread either.
#[expect(unsafe_code, reason = "the pointers are addresses for the kernel, no thread's own")]
unsafe impl Send for Madvise {}

impl Madvise {
    /// A driver for these regions: where a stretch of the resource begins, and
    /// its first byte in memory. Refuses whatever is not private anonymous
    /// memory.
    ///
    /// # Safety
    ///
    /// - While the driver lives, each region's memory is mapped and is not
    ///   replaced by another mapping.
    /// - Every range that the driver is asked to report is out of use, until
    ///   that call returned: nobody reads, writes or keeps a reference to its
    ///   memory, or relies on its content afterwards. A
    ///   [`Reporter`](crate::Reporter) asks only about what its source isolated,
    ///   so the source's resource must be all that hands this memory out.
    #[expect(unsafe_code, reason = "only the caller knows who uses the memory")]
    pub unsafe fn new(
        regions: impl IntoIterator<Item = Region<NonNull<u8>>>,
        advice: Advice,
    ) -> Result<Self, MadviseError> {
        let regions = Regions::new(regions)?;
        let mappings = smaps::parse(&std::fs::read_to_string("/proc/self/smaps")?);
        let mut page_bytes = rustix::param::page_size() as u64;
        for region in regions.iter() {
            page_bytes = page_bytes.max(largest_page(&mappings, memory(region)?)?);
        }
        let misaligned = regions.first_misaligned(page_bytes, |base| base.addr().get() as u64);
        if let Some(at) = misaligned {
            return Err(MadviseError::Misaligned { first: at.first(), page_bytes });
        }
        let verify = if cfg!(debug_assertions) { Verify::Always } else { Verify::Never };
        let at_once = AtOnce::probe(advice);
        // INVARIANT: the caller promised the one, the look at the regions was
        // the other.
        Ok(Self { regions, advice, page_bytes, at_once, verify, last_fault: None })
    }

    /// Sets whether memory is looked for after its discard, in any build; debug
    /// builds do. Lazily freed memory is there still, and is never looked for.
    pub fn with_verify(self, verify: Verify) -> Self {
        Self { verify, ..self }
    }

    /// Whether the kernel takes many ranges of ourselves in one call.
    pub fn takes_many(&self) -> bool {
        self.at_once.is_some()
    }

    fn discard(&self, range: ByteRange) -> Result<(), Refusal> {
        self.regions.check(range, self.page_bytes)?;
        for (base, piece, offset) in self.regions.pieces(range) {
            self.advise(Piece::new(base, piece, offset))?;
        }
        Ok(())
    }

    fn advise(&self, piece: Piece) -> Result<(), Refusal> {
        let advice = match self.advice {
            Advice::DontNeed => rustix::mm::Advice::LinuxDontNeed,
            Advice::Free => rustix::mm::Advice::LinuxFree,
        };
        // SAFETY: a piece is inside a region, whose memory is mapped and, while
        // it is reported, out of use, by the type's invariant. It is whole
        // pages, for the range and the regions are, so that nothing beyond it
        // goes.
        #[expect(unsafe_code, reason = "the discard itself")]
        let result = unsafe { rustix::mm::madvise(piece.address.cast(), piece.bytes, advice) };
        match result {
            Ok(()) => self.look(piece),
            Err(Errno::AGAIN) => Err(Refusal::Declined),
            Err(error) => Err(Refusal::Failed(Fault::Os { errno: error.raw_os_error() })),
        }
    }

    /// Discards the ranges that are small, and in one piece, by one call; the
    /// outcome of the others stays `NotTried`.
    fn discard_at_once(&mut self, ranges: &[Range], outcomes: &mut [Outcome]) {
        let Some(at_once) = &self.at_once else { return };
        let mut pieces = SmallVec::<[(usize, Piece); 32]>::new();
        for (index, range) in ranges.iter().enumerate() {
            let mut found = self.regions.pieces(range.at);
            if range.at.bytes() <= SMALL
                && self.regions.check(range.at, self.page_bytes).is_ok()
                && let (Some((base, piece, offset)), None) = (found.next(), found.next())
            {
                pieces.push((index, Piece::new(base, piece, offset)));
            }
        }
        if pieces.len() < 2 {
            return;
        }
        // What it did not do is left to single calls, which say why.
        let done = at_once.advise(pieces.iter().map(|(_, piece)| *piece));
        for (index, piece) in pieces.into_iter().take(done) {
            outcomes[index] = match self.look(piece) {
                Ok(()) => self.says(),
                Err(refusal) => refusal.outcome(&mut self.last_fault),
            };
        }
    }

    /// What a discarded range is.
    fn says(&self) -> Outcome {
        match self.advice {
            Advice::DontNeed => Outcome::ReportedZeroed,
            Advice::Free => Outcome::Reported,
        }
    }

    /// Looks whether the memory is gone, if somebody wants to know.
    fn look(&self, piece: Piece) -> Result<(), Refusal> {
        if self.verify == Verify::Always
            && self.advice == Advice::DontNeed
            && at_once::is_resident(piece)
        {
            let first = self.address_of(piece);
            return Err(Refusal::Failed(Fault::StillThere { first }));
        }
        Ok(())
    }

    /// Where in the resource a piece of memory is.
    fn address_of(&self, piece: Piece) -> u64 {
        let address = piece.address.addr();
        let mut regions = self.regions.iter();
        let offset = |region: &Region<NonNull<u8>>| {
            let offset = address.checked_sub(region.base.addr().get())? as u64;
            (offset < region.at.bytes()).then(|| region.at.first() + offset)
        };
        regions.find_map(offset).unwrap_or(0)
    }
}

impl Report for Madvise {
    fn caps(&self) -> Caps {
        Caps {
            max_ranges: 256,
            min_bytes: self.page_bytes,
            align: self.page_bytes,
            lazy: self.advice == Advice::Free,
            ..Caps::DEFAULT
        }
    }

    fn report(
        &mut self,
        ranges: &[Range],
        outcomes: &mut [Outcome],
        control: &Control,
    ) -> Result<(), Stop> {
        for (ranges, outcomes) in ranges.chunks(CHUNK).zip(outcomes.chunks_mut(CHUNK)) {
            if control.should_stop() {
                return Err(Stop::Cancelled);
            }
            self.discard_at_once(ranges, outcomes);
            for (range, outcome) in ranges.iter().zip(outcomes) {
                if *outcome != Outcome::NotTried {
                    continue;
                }
                if control.should_stop() {
                    return Err(Stop::Cancelled);
                }
                *outcome = match self.discard(range.at) {
                    Ok(()) => self.says(),
                    Err(refusal) => refusal.outcome(&mut self.last_fault),
                };
            }
        }
        Ok(())
    }

    fn last_fault(&self) -> Option<Fault> {
        self.last_fault
    }
}

/// Where a region's memory is, as a range of addresses.
fn memory(region: &Region<NonNull<u8>>) -> Result<ByteRange, MadviseError> {
    let address = region.base.addr().get() as u64;
    ByteRange::new(address, region.at.bytes()).ok_or(MadviseError::NotMapped { address })
}

/// The largest page of the mappings that `memory` lies in, if all of them are
/// private and anonymous.
fn largest_page(mappings: &[Mapping], memory: ByteRange) -> Result<u64, MadviseError> {
    let mut next = memory.first();
    let mut page_bytes = 1;
    let touched: Vec<&Mapping> =
        mappings.iter().filter(|mapping| mapping.at.overlaps(memory)).collect();
    for mapping in touched {
        let address = mapping.at.first();
        if address > next {
            return Err(MadviseError::NotMapped { address: next });
        }
        if !mapping.is_private {
            return Err(MadviseError::Shared { address });
        }
        if !mapping.is_anonymous {
            return Err(MadviseError::OfFile { address });
        }
        if mapping.is_locked || mapping.is_device {
            return Err(MadviseError::Pinned { address });
        }
        page_bytes = page_bytes.max(mapping.page_bytes);
        if mapping.at.last() >= memory.last() {
            return Ok(page_bytes);
        }
        next = mapping.at.last() + 1;
    }
    Err(MadviseError::NotMapped { address: next })
}
