//! Memory straight from the system: as much address space as wanted, in pages
//! of the kind that is wanted.

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Words in an anonymous mapping, zero until written.
///
/// # Invariants
///
/// `words` begins a private mapping of `count` words that is this value's own.
#[derive(Debug)]
pub(super) struct Mapped {
    words: NonNull<u64>,
    count: usize,
}

// SAFETY: the words are its own.
unsafe impl Send for Mapped {}
// SAFETY: shared, they are only read.
unsafe impl Sync for Mapped {}

/// Pages asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Huge,
    Small,
}

impl Mapped {
    pub(super) fn new(count: usize, ask: Ask) -> std::io::Result<Self> {
        let bytes = (count * size_of::<u64>()).next_multiple_of(2 << 20).max(2 << 20);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping, where the system likes.
        let words = unsafe {
            mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, flags)
        }?;
        let advice = match ask {
            Ask::Huge => Advice::LinuxHugepage,
            Ask::Small => Advice::LinuxNoHugepage,
        };
        // SAFETY: the mapping just made; the advice changes no content. A
        // refusal leaves the pages as they come.
        let _ = unsafe { madvise(words, bytes, advice) };
        let words = NonNull::new(words.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        // INVARIANT: `bytes` hold `count` words.
        Ok(Self { words, count: bytes / size_of::<u64>() })
    }
}

impl Deref for Mapped {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        // SAFETY: mapped and zero or written, by the invariant.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.count) }
    }
}

impl DerefMut for Mapped {
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as above, and borrowed by nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_ptr(), self.count) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let bytes = self.count * size_of::<u64>();
        // SAFETY: its own mapping, used no more.
        let _ = unsafe { munmap(self.words.as_ptr().cast(), bytes) };
    }
}
