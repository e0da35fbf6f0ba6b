//! Real memory: the one module of the examples with unsafe code.
//!
//! # What always holds
//!
//! The bytes of a [`Mapping`] are mapped, readable and writable, from its
//! making to its drop. They are handed out as shared slices of atomic words
//! only: guests, the swapper and a buggy allocator may all touch one word at
//! once, and none of it is undefined. A hole that is punched into the file
//! changes the words to zero, which is one more writer.
//!
//! # What is left to the caller
//!
//! The file must not be made shorter: touching what is gone raises `SIGBUS`,
//! which ends the process but breaks no memory.

#![expect(unsafe_code, reason = "mapping memory is a system call on raw addresses")]

use core::ptr::NonNull;
use core::slice;
// Not a word of a protocol but a guest's memory, so not from the shim.
use core::sync::atomic::AtomicU64;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::os::fd::AsFd;

/// A part of a file, mapped shared.
///
/// # Invariants
///
/// `first` begins a mapping of `bytes` bytes, readable and writable, that is
/// ours alone to unmap; `bytes` is a multiple of 8 and the start is aligned to
/// a page.
#[derive(Debug)]
pub(super) struct Mapping {
    first: NonNull<AtomicU64>,
    bytes: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and its words
// are atomics.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives out `&[AtomicU64]` only.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` bytes of `file` from `offset` on.
    pub(super) fn new(file: impl AsFd, offset: u64, bytes: u64) -> io::Result<Self> {
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        if bytes == 0 || !bytes.is_multiple_of(8) {
            return Err(invalid("a mapping is made of whole words"));
        }
        let bytes = usize::try_from(bytes).map_err(|_| invalid("a mapping this long"))?;
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: no address is asked for, so the system picks one that nobody
        // uses, and no memory of ours changes.
        let mapped =
            unsafe { mmap(core::ptr::null_mut(), bytes, access, flags, file.as_fd(), offset) };
        let first = NonNull::new(mapped?.cast()).ok_or_else(|| invalid("address 0"))?;
        // INVARIANT: mapped just above, and known to nobody else.
        Ok(Self { first, bytes })
    }

    /// All words.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: by the type's invariant the memory is mapped as long as
        // `self` lives, and aligned; any bytes are a value of an atomic word,
        // and all access from this process is through these atomics.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.bytes / 8) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: ours by the invariant, and no slice of it outlives `self`.
        let unmapped = unsafe { munmap(self.first.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}
