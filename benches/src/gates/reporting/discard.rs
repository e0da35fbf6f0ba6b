//! Reports of real memory against the discard alone, in the same run.
//!
//! Every second block of 2 MiB of a resource is free, so that nothing coalesces
//! and both sides make the same system calls; all free blocks are touched before
//! each turn.

use super::{BATCH, GRANULE, HUGE, comb, order, zone};
use reporting::backend::{Advice, Madvise, Memfd, Region};
use reporting::{ByteRange, Policy, Report, Reporter, Rule, State, ZoneSource};
use rustix::fs::{FallocateFlags, MemfdFlags};
use rustix::mm::{Advice as Hint, MapFlags, ProtFlags};
use std::fs::File;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

const BLOCK: usize = 2 << 20;
/// Free blocks and turns: enough blocks that what the engine does once does not
/// count, few enough that a turn can pass without being interrupted.
const HUGE_TURNS: (usize, u64) = (48, 8);
const SMALL_TURNS: (usize, u64) = (12, 24);

/// Memory that starts at a multiple of a block, unmapped when dropped.
struct Memory {
    mapped: NonNull<u8>,
    base: NonNull<u8>,
    bytes: usize,
    free: usize,
    turns: u64,
}

impl Memory {
    /// Maps enough for the free blocks and as many others.
    fn map(
        (free, turns): (usize, u64),
        map: impl FnOnce(usize) -> Option<NonNull<u8>>,
    ) -> Option<Self> {
        let bytes = 2 * free * BLOCK;
        let mapped = map(bytes + BLOCK)?;
        let skip = mapped.addr().get().wrapping_neg() % BLOCK;
        // SAFETY: inside the mapping, which is a block longer.
        let base = unsafe { mapped.add(skip) };
        Some(Self { mapped, base, bytes, free, turns })
    }

    fn anonymous(hint: Hint, turns: (usize, u64)) -> Option<Self> {
        let memory = Self::map(turns, |bytes| {
            let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
            let nowhere = std::ptr::null_mut();
            // SAFETY: a new mapping, at no fixed place.
            let new = unsafe { rustix::mm::mmap_anonymous(nowhere, bytes, protection, flags) };
            NonNull::new(new.ok()?.cast())
        })?;
        let base = memory.base.as_ptr().cast();
        // SAFETY: a hint on the size of the pages of our own mapping.
        unsafe { rustix::mm::madvise(base, memory.bytes, hint) }.ok()?;
        Some(memory)
    }

    /// The block of this number.
    fn block(&self, number: usize) -> NonNull<u8> {
        assert!((number + 1) * BLOCK <= self.bytes);
        // SAFETY: inside the mapping.
        unsafe { self.base.add(number * BLOCK) }
    }

    /// Writes to every page of the free blocks.
    fn touch(&self) {
        for number in (0..2 * self.free).step_by(2) {
            for page in (0..BLOCK).step_by(GRANULE as usize) {
                // SAFETY: inside the block.
                let at = unsafe { self.block(number).add(page) };
                // SAFETY: writable, and nobody has a reference to it.
                unsafe { at.write_volatile(1) };
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody looks at it any more.
        let _ = unsafe { rustix::mm::munmap(self.mapped.as_ptr().cast(), self.bytes + BLOCK) };
    }
}

fn policy() -> Policy {
    let rules = [Rule { min_bytes: BLOCK as u64, every: 1 }];
    Policy::eager().rules(&rules).max_piece(BLOCK as u64).batch(BATCH)
}

/// The best time of a discard over the best time of a report, by turns; `raw`
/// discards one block. Blocks that were reported are allocated and freed before
/// the next turn, so that they are new.
fn compared<D: Report>(
    memory: &Memory,
    driver: D,
    mut raw: impl FnMut(usize) -> Option<()>,
) -> Option<f64> {
    let zone = zone((memory.bytes / GRANULE as usize) as u64)?;
    let used = comb(&zone)?;
    let source = ZoneSource::attach(zone.clone(), order(HUGE)?).ok()?;
    let mut reporter = Reporter::new(source, driver, policy()).ok()?;
    let (mut alone, mut reported) = (Duration::MAX, Duration::MAX);
    for turn in 0..memory.turns {
        memory.touch();
        let begun = Instant::now();
        (0..2 * memory.free).step_by(2).try_for_each(&mut raw)?;
        alone = alone.min(begun.elapsed());

        memory.touch();
        let begun = Instant::now();
        reporter.control().request();
        while reporter.step(turn).state == State::Active {}
        reported = reported.min(begun.elapsed());
        let all = (memory.free * BLOCK) as u64 * (turn + 1);
        assert_eq!(reporter.stats().reported_bytes(), all, "all that was free");
        let huge = order(HUGE)?;
        let taken: Result<Vec<_>, _> = (0..memory.free).map(|_| zone.alloc_bare(huge)).collect();
        taken.ok()?.into_iter().try_for_each(|block| zone.free_bare(block)).ok()?;
    }
    drop(reporter);
    used.into_iter().try_for_each(|block| zone.free_bare(block)).ok()?;
    Some(alone.as_secs_f64() / reported.as_secs_f64())
}

fn anonymous(hint: Hint, turns: (usize, u64)) -> Option<f64> {
    let memory = Memory::anonymous(hint, turns)?;
    let at = ByteRange::new(0, memory.bytes as u64)?;
    let region = Region { at, base: memory.base };
    // SAFETY: the mapping outlives the driver, and nobody uses its memory but
    // `touch`, when nothing is being reported.
    let driver = unsafe { Madvise::new([region], Advice::DontNeed) }.ok()?;
    compared(&memory, driver, |number| {
        let block = memory.block(number).as_ptr().cast();
        // SAFETY: a block of our mapping that nobody relies on.
        unsafe { rustix::mm::madvise(block, BLOCK, Hint::LinuxDontNeed) }.ok()
    })
}

/// Huge pages where the system has them for the asking.
pub(in super::super) fn huge_pages() -> Option<f64> {
    anonymous(Hint::LinuxHugepage, HUGE_TURNS)
}

/// Pages of 4 KiB.
pub(in super::super) fn small_pages() -> Option<f64> {
    anonymous(Hint::LinuxNoHugepage, SMALL_TURNS)
}

/// Pages of a memfd, by holes.
pub(in super::super) fn memfd() -> Option<f64> {
    let file = File::from(rustix::fs::memfd_create("gate", MemfdFlags::CLOEXEC).ok()?);
    let memory = Memory::map(SMALL_TURNS, |bytes| {
        file.set_len(bytes as u64).ok()?;
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        let nowhere = std::ptr::null_mut();
        // SAFETY: a new mapping, at no fixed place.
        let new = unsafe { rustix::mm::mmap(nowhere, bytes, protection, flags, &file, 0) };
        NonNull::new(new.ok()?.cast())
    })?;
    let skipped = (memory.base.addr().get() - memory.mapped.addr().get()) as u64;
    let at = ByteRange::new(0, memory.bytes as u64)?;
    let driver = Memfd::new(&file, [Region { at, base: skipped }]).ok()?;
    compared(&memory, driver, |number| {
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let offset = skipped + (number * BLOCK) as u64;
        rustix::fs::fallocate(&file, punch, offset, BLOCK as u64).ok()
    })
}
