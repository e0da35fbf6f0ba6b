//! Punches holes into a memfd or a file.
//!
//! The file is what holds the memory, so it is the file that gives it up: every
//! mapping of it, in any process, reads zeros afterwards. That is right for
//! memory shared with guests and for the slots of a swap file, and it needs no
//! unsafe code.
//!
//! # What the constructor finds out
//!
//! A regular file or a block device (whose discard the hole becomes), writable, not sealed against writing, long enough, on a file
//! system that can punch: tried at the end of the file, where a hole changes
//! nothing. On huge pages the alignment is theirs.
//!
//! # Trust, and verify
//!
//! In debug builds each hole is looked for afterwards (`SEEK_DATA`, on a file
//! description of our own, so that nobody's position moves). Memory that is
//! still there is `Failed`, with [`Fault::StillThere`].
//!
//! # Sharing and cost
//!
//! One system call for each piece of a range in a region: 390 us for 2 MiB of
//! 4 KiB pages where it was measured, nearly all of it the kernel's freeing.

use super::Verify;
use super::regions::{Refusal, Region, RegionError, Regions};
use crate::Control;
use crate::driver::{Caps, Fault, Report, Stop};
use crate::range::{ByteRange, Outcome, Range};
use rustix::fs::{FallocateFlags, FileType, OFlags, SealFlags, SeekFrom};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// File system of huge pages, by its magic number.
const HUGETLBFS: u64 = 0x9584_58f6;

const PUNCH: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);

/// Why a file or its regions are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemfdError {
    /// The regions contradict each other.
    #[error(transparent)]
    Regions(#[from] RegionError),
    /// The system refused something that was needed to find out.
    #[error("cannot find out what the file is: {0}")]
    Unknown(#[from] io::Error),
    /// A directory, a pipe, a character device.
    #[error("it is neither a regular file nor a block device")]
    NotAFile,
    /// Opened for reading only.
    #[error("the file is not open for writing")]
    ReadOnly,
    /// Sealed against writing.
    #[error("the file is sealed against writing")]
    Sealed,
    /// Its file system has no holes.
    #[error("the file system cannot punch holes")]
    NoHoles,
    /// A region goes on after the file's end.
    #[error("the region at {first:#x} ends at offset {end:#x}, the file at {file_bytes:#x}")]
    PastEnd {
        /// Where the region begins in the resource.
        first: u64,
        /// Where it ends in the file, exclusive.
        end: u128,
        /// The file's length.
        file_bytes: u64,
    },
    /// A region and its place in the file are not aligned alike.
    #[error(
        "the region at {first:#x} and its offset are not aligned alike to pages of {page_bytes} bytes"
    )]
    Misaligned {
        /// Where the region begins in the resource.
        first: u64,
        /// The file's page.
        page_bytes: u64,
    },
}

/// Punches holes where blocks are free.
///
/// ```
/// use potad_reporting::backend::{Memfd, Region};
/// use potad_reporting::mock::MockSource;
/// use potad_reporting::{ByteRange, Policy, Reporter, State};
/// use std::os::unix::fs::{FileExt, MetadataExt};
///
/// // 64 pages of guest memory, all written; the resource begins at 1 GiB.
/// let fd = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC)?;
/// let file = std::fs::File::from(fd);
/// file.write_all_at(&[0xa5; 64 * 4096], 0)?;
/// let at = ByteRange::new(1 << 30, 64 * 4096).unwrap();
/// let driver = Memfd::new(&file, [Region { at, base: 0 }])?;
///
/// let source = MockSource::with_origin(4096, 6, 1 << 30);
/// let used = source.alloc(3).unwrap();
/// let mut reporter = Reporter::new(&source, driver, Policy::eager())?;
/// while reporter.step(0).state == State::Active {}
/// // Eight pages are in use, and eight are left of the file.
/// assert_eq!(file.metadata()?.blocks() * 512, 8 * 4096);
/// # source.free(used);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Memfd {
    file: OwnedFd,
    regions: Regions<u64>,
    page_bytes: u64,
    is_device: bool,
    /// The same file with a position of its own, if holes are looked for.
    looking: Option<File>,
    last_fault: Option<Fault>,
}

impl Memfd {
    /// A driver for these regions of `file`: where a stretch of the resource
    /// begins, and its offset in the file. The file is duplicated.
    ///
    /// Debug builds verify each hole if they can; see
    /// [`with_verify`](Self::with_verify).
    pub fn new(
        file: impl AsFd,
        regions: impl IntoIterator<Item = Region<u64>>,
    ) -> Result<Self, MemfdError> {
        let regions = Regions::new(regions)?;
        let file = file.as_fd().try_clone_to_owned()?;
        let Inspected { page_bytes, is_device } = inspect(&file, &regions)?;
        let looks = cfg!(debug_assertions) && !is_device;
        let looking = if looks { reopen(&file).ok() } else { None };
        Ok(Self { file, regions, page_bytes, is_device, looking, last_fault: None })
    }

    /// Sets whether holes are looked for, in any build. Fails if it is asked
    /// and the file cannot be opened a second time.
    pub fn with_verify(mut self, verify: Verify) -> Result<Self, MemfdError> {
        self.looking = match verify {
            Verify::Never => None,
            // A device does not say where it has data.
            Verify::Always if self.is_device => {
                return Err(io::Error::from(io::ErrorKind::Unsupported).into());
            }
            Verify::Always => Some(reopen(&self.file)?),
        };
        Ok(self)
    }

    fn punch(&self, range: ByteRange) -> Result<(), Refusal> {
        self.regions.check(range, self.page_bytes)?;
        for (base, piece, offset) in self.regions.pieces(range) {
            // No overflow: the region ends inside the file.
            let (offset, bytes) = (base + offset, piece.bytes());
            let punch = || rustix::fs::fallocate(&self.file, PUNCH, offset, bytes);
            match rustix::io::retry_on_intr(punch) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::BUSY | Errno::TXTBSY) => return Err(Refusal::Declined),
                Err(error) => {
                    return Err(Refusal::Failed(Fault::Os { errno: error.raw_os_error() }));
                }
            }
            if !self.is_gone(offset, bytes) {
                return Err(Refusal::Failed(Fault::StillThere { first: piece.first() }));
            }
        }
        Ok(())
    }

    /// Whether the file has no memory there, as far as anybody looks.
    fn is_gone(&self, offset: u64, bytes: u64) -> bool {
        let Some(file) = &self.looking else {
            return true;
        };
        match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(data) => data >= offset + bytes,
            // No data up to the end; or no answer, which is no accusation.
            Err(_) => true,
        }
    }
}

impl Report for Memfd {
    fn caps(&self) -> Caps {
        Caps {
            max_ranges: 256,
            min_bytes: self.page_bytes,
            align: self.page_bytes,
            ..Caps::DEFAULT
        }
    }

    fn report(
        &mut self,
        ranges: &[Range],
        outcomes: &mut [Outcome],
        control: &Control,
    ) -> Result<(), Stop> {
        for (range, outcome) in ranges.iter().zip(outcomes) {
            if control.should_stop() {
                return Err(Stop::Cancelled);
            }
            *outcome = match self.punch(range.at) {
                Ok(()) => Outcome::ReportedZeroed,
                Err(refusal) => refusal.outcome(&mut self.last_fault),
            };
        }
        Ok(())
    }

    fn last_fault(&self) -> Option<Fault> {
        self.last_fault
    }
}

/// What a file was found to be.
struct Inspected {
    page_bytes: u64,
    is_device: bool,
}

/// Checks the file.
fn inspect(file: &OwnedFd, regions: &Regions<u64>) -> Result<Inspected, MemfdError> {
    let stat = rustix::fs::fstat(file).map_err(io::Error::from)?;
    let is_device = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => false,
        FileType::BlockDevice => true,
        _ => return Err(MemfdError::NotAFile),
    };
    let mode = rustix::fs::fcntl_getfl(file).map_err(io::Error::from)? & OFlags::RWMODE;
    if mode != OFlags::RDWR && mode != OFlags::WRONLY {
        return Err(MemfdError::ReadOnly);
    }
    // Only memory files have seals.
    let seals = rustix::fs::fcntl_get_seals(file).unwrap_or(SealFlags::empty());
    if seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE) {
        return Err(MemfdError::Sealed);
    }
    let page_bytes = if is_device { rustix::param::page_size() as u64 } else { page_of(file)? };
    let file_bytes = match is_device {
        // A device tells its length only by its end.
        true => reopen(file).and_then(|device| (&device).seek(io::SeekFrom::End(0)))?,
        false => u64::try_from(stat.st_size).unwrap_or(0),
    };
    for region in regions.iter() {
        let first = region.at.first();
        let end = u128::from(region.base) + u128::from(region.at.bytes());
        if end > u128::from(file_bytes) {
            return Err(MemfdError::PastEnd { first, end, file_bytes });
        }
        if !first.wrapping_sub(region.base).is_multiple_of(page_bytes) {
            return Err(MemfdError::Misaligned { first, page_bytes });
        }
    }
    if is_device {
        // Nothing lies beyond its end to try it on; a device that cannot says so
        // at the first hole.
        return Ok(Inspected { page_bytes, is_device });
    }
    let beyond = file_bytes.next_multiple_of(page_bytes);
    match rustix::fs::fallocate(file, PUNCH, beyond, page_bytes) {
        Ok(()) => Ok(Inspected { page_bytes, is_device }),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Err(MemfdError::NoHoles),
        Err(error) => Err(MemfdError::Unknown(error.into())),
    }
}

fn page_of(file: &OwnedFd) -> Result<u64, MemfdError> {
    let system = rustix::fs::fstatfs(file).map_err(io::Error::from)?;
    let page_bytes = rustix::param::page_size() as u64;
    // The field's type differs between machines; the magic number fits in all.
    if system.f_type as u64 & 0xffff_ffff != HUGETLBFS {
        return Ok(page_bytes);
    }
    Ok(u64::try_from(system.f_bsize).map_or(page_bytes, |huge| huge.max(page_bytes)))
}

/// Opens the same file again: a description with its own position.
fn reopen(file: &OwnedFd) -> io::Result<File> {
    File::open(std::format!("/proc/self/fd/{}", file.as_raw_fd()))
}
