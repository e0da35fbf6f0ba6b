//! A virtqueue between who frees the memory and who backs it.
//!
//! # Picture
//!
//! ```text
//!  guest                          ring in guest memory                host
//!  Reporter -> VirtDriver --post--> [ available ] --pop--> VirtDevice -> GuestRam
//!                  ^                                           |         punch / advise
//!                  +----complete--- [   used    ] <--give back-+
//! ```
//!
//! Both ends of the queue by which a guest tells its host about free pages
//! (virtio's free-page reporting): a split ring, one device-writable buffer per
//! range, many buffers and one notification per batch. The device may discard
//! what a buffer names until the driver gets it back; until then the reporter
//! keeps it isolated.
//!
//! Either end works with another implementation's other end. The device hands
//! ranges to any [`Report`](crate::Report); [`GuestRam`] is the one for memory
//! that `vm-memory` maps.
//!
//! # Who says what
//!
//! | the device gives back a buffer with | the driver says  |
//! |-------------------------------------|------------------|
//! | any length                          | `Reported`       |
//! | its full length, and [`Vouch::Zeroed`] was agreed | `ReportedZeroed` |
//!
//! The length alone means nothing: devices exist that return it in full where
//! their discard failed. So it is believed only where both ends agreed that it
//! is a promise.

mod device;
mod driver;
mod ram;
mod ring;

pub use device::{DeviceError, Served, VirtDevice};
pub use driver::{Doorbell, VirtDriver, VirtDriverError, Vouch};
pub use ram::{GuestRam, GuestRamError};
pub use ring::Ring;
