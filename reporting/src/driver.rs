//! The device's side: who returns the memory of a free range.
//!
//! # Two kinds of driver
//!
//! ```text
//!  synchronous    report() ----------------------> outcome per range
//!  asynchronous   report() -> Posted .. complete() -> outcome per ticket
//! ```
//!
//! A range that was posted stays isolated until the driver gives its ticket
//! back, or confirms a [`reset`](Report::reset): put back earlier, the device
//! would discard memory that is in use again.
//!
//! # What the engine makes of a bad driver
//!
//! | the driver                          | the engine                               |
//! |-------------------------------------|------------------------------------------|
//! | leaves an outcome unset             | `NotTried`                               |
//! | panics (with `std`)                 | blocks back `NotTried`, posted ones kept; parked |
//! | completes an unknown ticket         | ignores it, counts it                    |
//! | completes with `Posted`             | keeps the range, counts it               |
//! | posts though its caps say it cannot | keeps the range, counts it               |
//! | never returns                       | waits: poll [`Control::should_stop`]     |

use crate::Control;
use crate::range::{Outcome, Range, Ticket};
use alloc::boxed::Box;

/// What a driver can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Ranges in one call, 1 to 256.
    pub max_ranges: u16,
    /// The smallest range that is worth a call; at least 1.
    pub min_bytes: u64,
    /// The largest range, after coalescing; at least `min_bytes`.
    pub max_bytes: u64,
    /// Both ends of a range are multiples of this power of two.
    pub align: u64,
    /// The memory goes away later or not at all, so the driver can never say
    /// [`Outcome::ReportedZeroed`].
    pub lazy: bool,
    /// The driver may say [`Outcome::Posted`].
    pub posts: bool,
}

impl Caps {
    /// 32 ranges of any length and alignment, at once.
    pub const DEFAULT: Self = Self {
        max_ranges: 32,
        min_bytes: 1,
        max_bytes: u64::MAX,
        align: 1,
        lazy: false,
        posts: false,
    };
}

impl Default for Caps {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What went wrong, as far as the driver can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The operating system said so.
    #[error("the system refused with error {errno}")]
    Os {
        /// Its number.
        errno: i32,
    },
    /// A range outside everything the driver was built for.
    #[error("address {first:#x} is in no region of the driver")]
    Outside {
        /// The first address that is outside.
        first: u64,
    },
    /// The system said yes, and the memory is still there.
    #[error("the memory at {first:#x} is still there after its discard")]
    StillThere {
        /// The range's first address.
        first: u64,
    },
    /// The driver's own words.
    #[error("{0}")]
    Driver(&'static str),
    /// The driver panicked.
    #[error("the driver panicked")]
    Panicked,
}

/// Why a driver stopped before the last range. What it did until then counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// It was asked to.
    #[error("cancelled")]
    Cancelled,
    /// Its queue is full; no error.
    #[error("the device is busy")]
    Busy,
    /// It will not work again: the reporter parks.
    #[error("the device is gone: {0}")]
    Fatal(Fault),
}

/// Whether a device let go of everything that was posted to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// It did: it will touch none of it.
    Quiet,
    /// Nobody can tell. What was posted stays isolated.
    Unknown,
}

/// A driver: something that can return the memory of a range.
pub trait Report {
    /// What it can take. Asked once.
    fn caps(&self) -> Caps;

    /// Returns the memory of each range and writes what became of it. All
    /// outcomes are [`Outcome::NotTried`] before; `outcomes` is as long as
    /// `ranges`. An asynchronous driver writes [`Outcome::Posted`] *before* the
    /// device can see the range.
    ///
    /// The ranges are sorted, disjoint and aligned to the driver's caps. No
    /// lock is held. A long call polls `control` between ranges.
    fn report(
        &mut self,
        ranges: &[Range],
        outcomes: &mut [Outcome],
        control: &Control,
    ) -> Result<(), Stop>;

    /// Tells `done` about each posted range that the device has given back.
    fn complete(&mut self, done: &mut dyn FnMut(Ticket, Outcome)) -> Result<(), Stop> {
        let _ = done;
        Ok(())
    }

    /// Takes everything that was posted away from the device.
    fn reset(&mut self) -> Reset {
        Reset::Unknown
    }

    /// Why the last range failed, if the driver knows.
    fn last_fault(&self) -> Option<Fault> {
        None
    }
}

macro_rules! forward {
    ($pointer:ty) => {
        impl<D: Report + ?Sized> Report for $pointer {
            fn caps(&self) -> Caps {
                D::caps(self)
            }

            fn report(
                &mut self,
                ranges: &[Range],
                outcomes: &mut [Outcome],
                control: &Control,
            ) -> Result<(), Stop> {
                D::report(self, ranges, outcomes, control)
            }

            fn complete(&mut self, done: &mut dyn FnMut(Ticket, Outcome)) -> Result<(), Stop> {
                D::complete(self, done)
            }

            fn reset(&mut self) -> Reset {
                D::reset(self)
            }

            fn last_fault(&self) -> Option<Fault> {
                D::last_fault(self)
            }
        }
    };
}

forward!(&mut D);
forward!(Box<D>);
