//! Drivers.
//!
//! | back end    | memory               | by                   | says             | feature   |
//! |-------------|----------------------|----------------------|------------------|-----------|
//! | `Recording` | none                 | writing down         | what it is told to | -       |
//! | `Slots`     | another's            | multiplying units    | what that says   | -         |
//! | `Madvise`   | private anonymous    | `MADV_DONTNEED`      | `ReportedZeroed` | `madvise` |
//! |             |                      | `MADV_FREE`          | `Reported`       |           |
//! | `Memfd`     | memfd, file, block device | `FALLOC_FL_PUNCH_HOLE` | `ReportedZeroed` | `memfd` |
//! | `VirtDriver` | its host's          | a virtqueue          | `Posted`         | `virtqueue` |
//! | `GuestRam`  | `vm-memory` regions  | either of the two above | `ReportedZeroed` | `virtqueue` |
//!
//! Each is made for an explicit set of [`Region`]s, stretches of the resource
//! with the memory behind them, and answers `Failed` for anything else.
//!
//! `MADV_DONTNEED` on a shared mapping returns success and frees nothing, the
//! most frequent bug in this field. So `Madvise` finds out what a mapping is
//! and refuses it; `Memfd` works on the file, which has no such trap.

mod recording;
mod regions;
mod slots;
mod verify;

#[cfg(all(feature = "madvise", target_os = "linux"))]
mod madvise;
#[cfg(all(feature = "memfd", target_os = "linux"))]
mod memfd;
#[cfg(all(feature = "madvise", target_os = "linux"))]
mod smaps;
#[cfg(all(feature = "virtqueue", target_os = "linux"))]
mod virtqueue;

#[cfg(all(feature = "madvise", target_os = "linux"))]
pub use madvise::{Advice, Madvise, MadviseError};
#[cfg(all(feature = "memfd", target_os = "linux"))]
pub use memfd::{Memfd, MemfdError};
pub use recording::{Answer, Recording};
pub use regions::{Region, RegionError, Regions};
pub use slots::Slots;
pub use verify::Verify;
#[cfg(all(feature = "virtqueue", target_os = "linux"))]
pub use virtqueue::{
    DeviceError, Doorbell, GuestRam, GuestRamError, Ring, Served, VirtDevice, VirtDriver,
    VirtDriverError, Vouch,
};
