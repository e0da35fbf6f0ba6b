//! The swap file: slots of a real file, lent through a zone of their own.
//!
//! # What always holds
//!
//! The file's blocks are reserved before the first guest runs, so that a
//! swap-out never finds the disk full. A block's contents are in memory or in
//! its slots, and whoever has the block's lock moves them.

use super::cookie::LARGEST_FILLED;
use super::error::VmmError;
use super::options::Options;
use super::ram::Ram;
use core::sync::atomic::AtomicU64 as Word;
use potad::memdesc::sync::Mutex;
use potad::memdesc::sync::atomic::{AtomicU64, Ordering};
use potad::memdesc::{Order, OwnerId};
use potad::{Potad, RawBlock, Resource, Zone};
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes of a slot.
pub(super) const SLOT: u64 = 4096;
/// What is left in memory where it cannot be given back.
const GONE: u64 = 0xdbdb_dbdb_dbdb_dbdb;

/// Contents that are in the file.
#[derive(Debug)]
pub(super) struct Swapped {
    slots: RawBlock,
    bytes: usize,
    checksum: u64,
}

/// The file and its zone.
#[derive(Debug)]
pub(super) struct Swap {
    file: File,
    /// A file with a name is removed with the value.
    named: Option<PathBuf>,
    pub(super) zone: Zone,
    owner: OwnerId,
    pub(super) written: AtomicU64,
    pub(super) verified: AtomicU64,
    pub(super) allocated: AtomicU64,
    pub(super) freed: AtomicU64,
    /// The first thing that the file refused.
    fault: Mutex<Option<String>>,
}

/// What a swap-in found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SwapIn {
    Sound,
    Changed,
}

impl Swap {
    /// Makes the file, reserves its room, registers its slots.
    pub(super) fn new(potad: &Potad, options: &Options) -> Result<Self, VmmError> {
        let path = options.swap.clone().unwrap_or_else(temporary);
        let bytes = options.swap_bytes.next_multiple_of(SLOT).max(SLOT);
        let refused = |source| VmmError::Swap { path: path.display().to_string(), bytes, source };
        // Never the file of somebody else.
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(refused)?;
        let named = Named(Some(path.clone()));
        reserve(&file, bytes).map_err(refused)?;
        // Slots are no bus addresses: an address space of their own.
        let slots = Resource::new("swap0").granule(1).span(0..bytes / SLOT).space(1);
        let zone = potad.register(slots)?;
        // A file that nobody named needs no name.
        let named = if options.swap.is_some() { named.keep() } else { None };
        Ok(Self {
            file,
            named,
            zone,
            owner: OwnerId::RESOURCE,
            written: AtomicU64::new(0),
            verified: AtomicU64::new(0),
            allocated: AtomicU64::new(0),
            freed: AtomicU64::new(0),
            fault: Mutex::new(None),
        })
    }

    /// Whether a block of so many bytes may be swapped out.
    pub(super) fn takes(bytes: u64) -> bool {
        bytes <= LARGEST_FILLED
    }

    /// Moves a block's contents to slots and gives its memory back; `None` if
    /// no slot is free.
    pub(super) fn swap_out(
        &self,
        ram: &Ram,
        first: u64,
        bytes: u64,
    ) -> io::Result<Option<Swapped>> {
        let memory = ram.words(first, bytes);
        let order = Order::covering(bytes.div_ceil(SLOT)).unwrap_or(Order::ZERO);
        let Ok(slots) = self.zone.alloc_raw(order, self.owner) else { return Ok(None) };
        self.allocated.fetch_add(order.granules(), Ordering::Relaxed);
        let contents: Vec<u8> =
            memory.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        let wrote = self.file.write_all_at(&contents, slots.base().0 * SLOT);
        if let Err(error) = wrote.and_then(|()| forget(ram, first, bytes, memory)) {
            self.free(slots);
            return Err(error);
        }
        self.written.fetch_add(contents.len() as u64, Ordering::Relaxed);
        let checksum = checksum(&contents);
        Ok(Some(Swapped { slots, bytes: contents.len(), checksum }))
    }

    /// Moves the contents back to `first` and frees the slots.
    pub(super) fn swap_in(&self, ram: &Ram, first: u64, swapped: Swapped) -> io::Result<SwapIn> {
        let mut contents = vec![0; swapped.bytes];
        let read = self.file.read_exact_at(&mut contents, swapped.slots.base().0 * SLOT);
        self.free(swapped.slots);
        read?;
        let memory = ram.words(first, contents.len() as u64);
        for (word, bytes) in memory.iter().zip(contents.as_chunks::<8>().0) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        if checksum(&contents) != swapped.checksum {
            return Ok(SwapIn::Changed);
        }
        self.verified.fetch_add(contents.len() as u64, Ordering::Relaxed);
        Ok(SwapIn::Sound)
    }

    /// Notes that the file failed; the first is told.
    pub(super) fn fail(&self, error: &io::Error) {
        self.fault.lock().get_or_insert_with(|| format!("swap file: {error}"));
    }

    /// Why the file cannot be trusted, if so.
    pub(super) fn take_fault(&self) -> Option<String> {
        self.fault.lock().take()
    }

    fn free(&self, slots: RawBlock) {
        let count = slots.order().granules();
        // Refused only by another zone; the counts would tell.
        if self.zone.free_raw(slots).is_ok() {
            self.freed.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        drop(Named(self.named.take()));
    }
}

/// A file that goes when the value does, unless it is kept.
struct Named(Option<PathBuf>);

impl Named {
    fn keep(mut self) -> Option<PathBuf> {
        self.0.take()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Gone already is as good.
            let _gone = std::fs::remove_file(path);
        }
    }
}

fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let plain = FallocateFlags::empty();
    match rustix::io::retry_on_intr(|| fallocate(file, plain, 0, bytes)) {
        // A file system that cannot reserve is as good as its word.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes),
        other => other.map_err(io::Error::from),
    }
}

/// The memory is the host's again: given back, or where a block is smaller than
/// a page overwritten, so that a stale read shows.
fn forget(ram: &Ram, first: u64, bytes: u64, memory: &[Word]) -> io::Result<()> {
    if !ram.discard(first, bytes)? {
        memory.iter().for_each(|word| word.store(GONE, Ordering::Relaxed));
    }
    Ok(())
}

/// FNV-1a over words.
fn checksum(contents: &[u8]) -> u64 {
    let words = contents.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    words.fold(0xcbf2_9ce4_8422_2325, |sum, word| {
        (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
    })
}

/// A name of its own for each run of each process.
fn temporary() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("potad-vmm-{}-{number}.swap", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_swap_file_leaves_nothing_behind() {
        let path = std::env::temp_dir().join(format!("potad-full-{}", std::process::id()));
        let options =
            Options { swap: Some(path.clone()), swap_bytes: 1 << 62, ..Options::default() };
        let refused = Swap::new(&Potad::new(), &options).expect_err("nobody has 4 EiB");
        assert!(matches!(refused, VmmError::Swap { .. }), "{refused}");
        assert!(!path.exists());
    }

    #[test]
    fn a_checksum_sees_order_and_bits() {
        assert_ne!(checksum(&[1; 16]), checksum(&[2; 16]));
        let (mut one, mut other) = ([0; 16], [0; 16]);
        (one[0], other[8]) = (1, 1);
        assert_ne!(checksum(&one), checksum(&other));
    }
}
