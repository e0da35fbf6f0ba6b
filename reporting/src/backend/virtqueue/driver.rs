//! The guest's end: posts ranges, and takes them back.
//!
//! # What always holds
//!
//! A descriptor is free, or posted with the ticket of one range. The device is
//! believed nothing: an entry that names no posted descriptor is a lie and is
//! counted as one, an index that ran ahead of what was posted stops the driver
//! for good.
//!
//! # Sharing and cost
//!
//! Three stores into the ring a range; one store of the index and at most one
//! notification a batch.

use super::Ring;
use crate::Control;
use crate::driver::{Caps, Fault, Report, Reset, Stop};
use crate::range::{Outcome, Range, Ticket};
use core::fmt;
use core::ops::Deref;
use memdesc::sync::atomic::{Ordering, fence};
use std::vec::Vec;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryError};

/// Descriptor flag: the device may write.
const WRITE: u16 = 2;
/// Used flag: the device looks by itself.
const NO_NOTIFY: u16 = 1;
/// A ticket that no range has.
const NOBODYS: Ticket = Ticket(u64::MAX);
/// The longest range: a length is 32 bits.
const MOST_BYTES: u64 = 1 << 31;

/// What the device promises by a used length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouch {
    /// Nothing.
    Nothing,
    /// A buffer given back with its full length reads as zeros.
    Zeroed,
}

/// The way to the device that is not the ring.
pub trait Doorbell {
    /// Buffers are available.
    fn ring(&mut self);

    /// Takes everything away from the device, if that can be vouched for: once
    /// it is [`Reset::Quiet`], the device touches no buffer any more and has
    /// forgotten its indexes.
    fn reset(&mut self) -> Reset {
        Reset::Unknown
    }
}

/// Why there is no driver.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VirtDriverError {
    /// Part of the ring is no guest memory.
    #[error("the ring at {first:#x} is not in guest memory")]
    NoMemory {
        /// Where it begins.
        first: u64,
        /// What the memory says.
        source: GuestMemoryError,
    },
    /// The smallest range is a power of two, and fits a buffer.
    #[error("a page of {page_bytes} bytes was asked, a power of two up to 2^31 is allowed")]
    Page {
        /// What was asked.
        page_bytes: u64,
    },
}

/// The guest's end of the queue; addresses of the resource are the guest's
/// physical ones.
pub struct VirtDriver<M, B> {
    memory: M,
    ring: Ring,
    bell: B,
    vouch: Vouch,
    page_bytes: u64,
    free: Vec<u16>,
    /// By descriptor: whose it is while it is posted, and its length.
    posted: Vec<Option<(Ticket, u32)>>,
    available: u16,
    used: u16,
    last_fault: Option<Fault>,
}

impl<M, B> VirtDriver<M, B>
where
    M: Deref,
    M::Target: GuestMemory,
    B: Doorbell,
{
    /// A driver on a ring that the device has not begun to use. Ranges are
    /// multiples of `page_bytes`.
    pub fn new(
        memory: M,
        ring: Ring,
        bell: B,
        vouch: Vouch,
        page_bytes: u64,
    ) -> Result<Self, VirtDriverError> {
        if !page_bytes.is_power_of_two() || page_bytes > MOST_BYTES {
            return Err(VirtDriverError::Page { page_bytes });
        }
        let mut driver = Self {
            memory,
            ring,
            bell,
            vouch,
            page_bytes,
            free: Vec::new(),
            posted: Vec::new(),
            available: 0,
            used: 0,
            last_fault: None,
        };
        let first = ring.descriptors();
        driver.clear().map_err(|source| VirtDriverError::NoMemory { first, source })?;
        Ok(driver)
    }

    /// Descriptors that the device has.
    pub fn in_flight(&self) -> usize {
        usize::from(self.ring.size()) - self.free.len()
    }

    /// The way to the device.
    pub fn doorbell(&self) -> &B {
        &self.bell
    }

    /// Every descriptor is free, both indexes are 0.
    fn clear(&mut self) -> Result<(), GuestMemoryError> {
        let zeros = std::vec![0; self.ring.bytes() as usize];
        self.memory.write_slice(&zeros, GuestAddress(self.ring.descriptors()))?;
        self.free = (0..self.ring.size()).rev().collect();
        self.posted = std::vec![None; usize::from(self.ring.size())];
        (self.available, self.used) = (0, 0);
        Ok(())
    }

    /// Writes a descriptor and its entry, `ahead` of the index that the device
    /// knows.
    fn post(&self, range: &Range, descriptor: u16, ahead: u16) -> Result<u32, GuestMemoryError> {
        // Lossless: at most `MOST_BYTES`, by the caps.
        let bytes = range.at.bytes() as u32;
        let at = self.ring.descriptor(descriptor);
        let mut words = [0; 16];
        words[..8].copy_from_slice(&range.at.first().to_le_bytes());
        words[8..12].copy_from_slice(&bytes.to_le_bytes());
        words[12..14].copy_from_slice(&WRITE.to_le_bytes());
        self.memory.write_slice(&words, GuestAddress(at))?;
        let entry = self.ring.available_entry(self.available.wrapping_add(ahead));
        self.memory.write_slice(&descriptor.to_le_bytes(), GuestAddress(entry))?;
        Ok(bytes)
    }

    /// Shows the device `count` more entries.
    fn publish(&mut self, count: u16) -> Result<(), GuestMemoryError> {
        let next = self.available.wrapping_add(count);
        let index = GuestAddress(self.ring.available_index());
        // Release pairs with the device's Acquire: who sees the index sees the
        // entries and their descriptors.
        self.memory.store(next.to_le(), index, Ordering::Release)?;
        self.available = next;
        // The device sets its flag and then looks at the index once more; we
        // set the index and then look at its flag. With a full barrier on both
        // sides one of us sees the other.
        fence(Ordering::SeqCst);
        let flags = GuestAddress(self.ring.used());
        let flags: u16 = self.memory.load(flags, Ordering::Relaxed)?;
        if u16::from_le(flags) & NO_NOTIFY == 0 {
            self.bell.ring();
        }
        Ok(())
    }

    fn failed(&mut self) -> Stop {
        let fault = Fault::Driver("the ring is not in guest memory any more");
        self.last_fault = Some(fault);
        Stop::Fatal(fault)
    }
}

impl<M, B> Report for VirtDriver<M, B>
where
    M: Deref,
    M::Target: GuestMemory,
    B: Doorbell,
{
    fn caps(&self) -> Caps {
        Caps {
            max_ranges: self.ring.size().min(256),
            min_bytes: self.page_bytes,
            max_bytes: MOST_BYTES,
            align: self.page_bytes,
            lazy: false,
            posts: true,
        }
    }

    fn report(
        &mut self,
        ranges: &[Range],
        outcomes: &mut [Outcome],
        control: &Control,
    ) -> Result<(), Stop> {
        let (mut count, mut ended) = (0, Ok(()));
        for (range, outcome) in ranges.iter().zip(&mut *outcomes) {
            if control.should_stop() {
                ended = Err(Stop::Cancelled);
                break;
            }
            let Some(descriptor) = self.free.pop() else {
                ended = Err(Stop::Busy);
                break;
            };
            let Ok(bytes) = self.post(range, descriptor, count) else {
                self.free.push(descriptor);
                ended = Err(self.failed());
                break;
            };
            self.posted[usize::from(descriptor)] = Some((range.ticket, bytes));
            *outcome = Outcome::Posted;
            count += 1;
        }
        if count > 0 && self.publish(count).is_err() {
            // Whether the device has seen the index nobody knows: what was
            // posted stays so.
            return Err(self.failed());
        }
        ended
    }

    fn complete(&mut self, done: &mut dyn FnMut(Ticket, Outcome)) -> Result<(), Stop> {
        let index = GuestAddress(self.ring.used_index());
        // Acquire pairs with the device's Release: who sees the index sees the
        // entries, and that the device is done with the buffers.
        let Ok(used) = self.memory.load::<u16>(index, Ordering::Acquire) else {
            return Err(self.failed());
        };
        let given = u16::from_le(used).wrapping_sub(self.used);
        if usize::from(given) > self.in_flight() {
            let fault = Fault::Driver("the device gave back more than it had");
            self.last_fault = Some(fault);
            return Err(Stop::Fatal(fault));
        }
        for _ in 0..given {
            let mut words = [0; 8];
            let entry = GuestAddress(self.ring.used_entry(self.used));
            if self.memory.read_slice(&mut words, entry).is_err() {
                return Err(self.failed());
            }
            self.used = self.used.wrapping_add(1);
            let [a, b, c, d, length @ ..] = words;
            let (id, length) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes(length));
            let posted = self.posted.get_mut(id as usize).and_then(Option::take);
            let Some((ticket, bytes)) = posted else {
                done(NOBODYS, Outcome::Reported);
                continue;
            };
            // Lossless: it is the index of a descriptor.
            self.free.push(id as u16);
            let outcome = match self.vouch {
                Vouch::Zeroed if length == bytes => Outcome::ReportedZeroed,
                _ => Outcome::Reported,
            };
            done(ticket, outcome);
        }
        Ok(())
    }

    fn reset(&mut self) -> Reset {
        if self.bell.reset() == Reset::Unknown || self.clear().is_err() {
            return Reset::Unknown;
        }
        Reset::Quiet
    }

    fn last_fault(&self) -> Option<Fault> {
        self.last_fault
    }
}

impl<M, B> fmt::Debug for VirtDriver<M, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtDriver")
            .field("ring", &self.ring)
            .field("free", &self.free.len())
            .field("last_fault", &self.last_fault)
            .finish_non_exhaustive()
    }
}
