//! Many pieces of our own memory advised by one call, and a look at the result.
//!
//! `process_madvise` takes a list of pieces and a process. Older kernels refuse
//! the one advice or the other, or that the process is oneself; which of them
//! this one is, is found out on a page of our own.

use super::Advice;
use crate::range::ByteRange;
use core::ptr::NonNull;
use smallvec::SmallVec;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::vec::Vec;

/// A stretch of memory, of whole pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) address: *mut u8,
    pub(super) bytes: usize,
}

impl Piece {
    /// The part `at` of a region whose memory begins at `base`, `offset` bytes
    /// on.
    pub(super) fn new(base: NonNull<u8>, at: ByteRange, offset: u64) -> Self {
        // Lossless on the 64-bit machines that we support.
        let (offset, bytes) = (offset as usize, at.bytes() as usize);
        Self { address: base.as_ptr().wrapping_add(offset), bytes }
    }
}

/// A kernel that takes lists of our own memory.
#[derive(Debug)]
pub(super) struct AtOnce {
    ourselves: OwnedFd,
    advice: libc::c_int,
}

impl AtOnce {
    /// Tries it, on a page of its own.
    pub(super) fn probe(advice: Advice) -> Option<Self> {
        let advice = match advice {
            Advice::DontNeed => libc::MADV_DONTNEED,
            Advice::Free => libc::MADV_FREE,
        };
        // Lossless: a process id is an int.
        let pid = std::process::id() as libc::pid_t;
        // SAFETY: two integers, no memory.
        #[expect(unsafe_code, reason = "a system call")]
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let opened = RawFd::try_from(opened).ok().filter(|&opened| opened >= 0)?;
        // SAFETY: just opened, and nobody else's.
        #[expect(unsafe_code, reason = "the call returned a plain number")]
        let ourselves = unsafe { OwnedFd::from_raw_fd(opened) };
        let at_once = Self { ourselves, advice };

        let bytes = rustix::param::page_size();
        let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let nowhere = core::ptr::null_mut();
        // SAFETY: a new mapping, at no fixed place.
        #[expect(unsafe_code, reason = "a page to try it on")]
        let page = unsafe { libc::mmap(nowhere, bytes, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return None;
        }
        let done = at_once.advise([Piece { address: page.cast(), bytes }]);
        // SAFETY: ours, and nobody looks at it.
        #[expect(unsafe_code, reason = "the page's end")]
        unsafe {
            libc::munmap(page, bytes)
        };
        (done == 1).then_some(at_once)
    }

    /// Advises the pieces, which their owner has out of use, and returns how
    /// many were done, from the first on.
    pub(super) fn advise(&self, pieces: impl IntoIterator<Item = Piece>) -> usize {
        let list: SmallVec<[libc::iovec; 32]> = pieces
            .into_iter()
            .map(|piece| libc::iovec { iov_base: piece.address.cast(), iov_len: piece.bytes })
            .collect();
        let (fd, advice) = (self.ourselves.as_raw_fd(), self.advice);
        // SAFETY: the list is live for the call. Each piece is whole pages of a
        // region that is mapped and out of use, by the invariant of the driver.
        #[expect(unsafe_code, reason = "the discard itself")]
        let done = unsafe {
            libc::syscall(libc::SYS_process_madvise, fd, list.as_ptr(), list.len(), advice, 0)
        };
        let Ok(mut left) = usize::try_from(done) else { return 0 };
        let whole = |piece: &&libc::iovec| {
            let fits = piece.iov_len <= left;
            left = left.saturating_sub(piece.iov_len);
            fits
        };
        list.iter().take_while(whole).count()
    }
}

/// Whether some page of the piece is in memory, as far as the kernel says.
pub(super) fn is_resident(piece: Piece) -> bool {
    let pages = piece.bytes.div_ceil(rustix::param::page_size());
    let mut seen: Vec<u8> = std::vec![0; pages];
    // SAFETY: the piece is mapped, by the invariant of the driver, and there is
    // a byte for each of its pages.
    #[expect(unsafe_code, reason = "the kernel knows")]
    let answered =
        unsafe { libc::mincore(piece.address.cast(), piece.bytes, seen.as_mut_ptr().cast()) };
    // No answer is no accusation.
    answered == 0 && seen.iter().any(|page| page & 1 != 0)
}
