//! The memory that is lent: one memfd, mapped in parts.
//!
//! # Picture
//!
//! ```text
//!  addresses   4 GiB
//!              | low span |  hole  | high span | plugged |
//!  memfd       | low span | high span | plugged |
//! ```
//!
//! The hole is in no mapping and in no file. The last part is mapped when it is
//! plugged, while guests run.
//!
//! # Cost
//!
//! The file is sparse: a page exists once it was touched, until a hole is
//! punched. [`Ram::resident`] counts what exists, wherever it is mapped.

use super::error::VmmError;
use super::mapping::Mapping;
use super::plan::Plan;
use core::sync::atomic::AtomicU64;
use reporting::ByteRange;
use reporting::backend::Region;
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, fstat, ftruncate, memfd_create};
use std::fs::File;
use std::io;
use std::sync::OnceLock;

/// Where the resource begins: below it a host has its own things.
const FIRST: u64 = 4 << 30;
/// Parts begin and end at multiples of this, and of the largest block.
const ALIGN: u64 = 2 << 20;
/// What x86-64 can map, with room for everything else.
const LARGEST: u64 = 1 << 46;

/// A stretch of addresses with memory behind it.
#[derive(Debug)]
pub(super) struct Part {
    /// First address.
    pub(super) first: u64,
    /// Length.
    pub(super) bytes: u64,
    /// Offset in the file.
    offset: u64,
    mapping: OnceLock<Mapping>,
}

/// All of the memory.
#[derive(Debug)]
pub(super) struct Ram {
    file: File,
    parts: [Part; 3],
}

impl Ram {
    /// Makes the file and maps all of it but the last part.
    pub(super) fn new(plan: &Plan) -> Result<Self, VmmError> {
        let block = u128::from(plan.granule) << plan.largest.get();
        let align = block.max(u128::from(ALIGN));
        let arena = plan.arena * u128::from(plan.granule);
        let round = |bytes: u128| bytes.div_ceil(align).max(1) * align;
        let (low, plugged) = (round(arena / 2), round(arena / 8));
        let high = round(arena.saturating_sub(low + plugged));
        let hole = round(arena / 8);
        let total = low + high + plugged;
        if total + hole > u128::from(LARGEST) {
            return Err(VmmError::Unmappable { granules: plan.arena, granule: plan.granule });
        }
        // Lossless: all are below the limit just checked, and so is the start.
        let (low, high, plugged, hole) = (low as u64, high as u64, plugged as u64, hole as u64);
        let first = FIRST.next_multiple_of(align as u64);
        let part = |first, bytes, offset| Part { first, bytes, offset, mapping: OnceLock::new() };
        let after = first + low + hole;
        let parts =
            [part(first, low, 0), part(after, high, low), part(after + high, plugged, low + high)];
        let bytes = low + high + plugged;
        let refused = |source: io::Error| VmmError::Memory { bytes, source };
        let file = memfd_create("potad-vmm", MemfdFlags::CLOEXEC).map_err(|e| refused(e.into()))?;
        ftruncate(&file, bytes).map_err(|error| refused(error.into()))?;
        let ram = Self { file: file.into(), parts };
        ram.plug(0).map_err(refused)?;
        ram.plug(1).map_err(refused)?;
        Ok(ram)
    }

    /// The parts, in address order; the last one is plugged later.
    pub(super) fn parts(&self) -> &[Part; 3] {
        &self.parts
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The parts as a driver wants them.
    pub(super) fn regions(&self) -> impl Iterator<Item = Region<u64>> {
        let region = |part: &Part| {
            let at = ByteRange::new(part.first, part.bytes)?;
            Some(Region { at, base: part.offset })
        };
        self.parts.iter().filter_map(region)
    }

    /// Maps a part, unless it is mapped.
    pub(super) fn plug(&self, part: usize) -> io::Result<()> {
        let part = &self.parts[part];
        if part.mapping.get().is_some() {
            return Ok(());
        }
        let mapping = Mapping::new(&self.file, part.offset, part.bytes)?;
        // If somebody else was first, theirs stays and ours is unmapped.
        let _raced = part.mapping.set(mapping);
        Ok(())
    }

    /// The memory of a range of one part; empty outside all mapped parts.
    pub(super) fn words(&self, first: u64, bytes: u64) -> &[AtomicU64] {
        let words = || {
            let part = self.part(first, bytes)?;
            let from = usize::try_from((first - part.first) / 8).ok()?;
            let to = from.checked_add(usize::try_from(bytes / 8).ok()?)?;
            part.mapping.get()?.words().get(from..to)
        };
        words().unwrap_or_default()
    }

    /// Gives the memory of a range back, so that it reads zero. `false` if it
    /// is not made of whole pages.
    pub(super) fn discard(&self, first: u64, bytes: u64) -> io::Result<bool> {
        let page = rustix::param::page_size() as u64;
        let Some(part) = self.part(first, bytes) else { return Ok(false) };
        let offset = part.offset + (first - part.first);
        if !offset.is_multiple_of(page) || !bytes.is_multiple_of(page) {
            return Ok(false);
        }
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::io::retry_on_intr(|| fallocate(&self.file, punch, offset, bytes))?;
        Ok(true)
    }

    /// Bytes of memory that the file has at the moment.
    pub(super) fn resident(&self) -> u64 {
        fstat(&self.file).map_or(0, |stat| u64::try_from(stat.st_blocks).unwrap_or(0) * 512)
    }

    fn part(&self, first: u64, bytes: u64) -> Option<&Part> {
        let inside = |part: &&Part| {
            first >= part.first
                && first - part.first < part.bytes
                && bytes <= part.bytes - (first - part.first)
        };
        self.parts.iter().find(inside)
    }
}
