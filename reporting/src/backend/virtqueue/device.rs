//! The host's end: takes ranges off the queue, has them discarded, gives them
//! back.
//!
//! # What always holds
//!
//! A buffer is given back after its discard, never before: that is what lets
//! the guest use the memory again. Nothing the guest writes is believed: what
//! is in no region, or not whole pages, comes back with length 0 and is not
//! discarded; device-readable buffers are not looked at.
//!
//! # Sharing and cost
//!
//! One thread. Up to 64 buffers are discarded by one call of the back end.

use super::Ring;
use crate::Control;
use crate::driver::Report;
use crate::range::{ByteRange, Outcome, Range, Ticket};
use core::ops::Deref;
use smallvec::SmallVec;
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemory};

/// Buffers of one call to the back end.
const BATCH: usize = 64;

/// Why the device cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The queue is not in guest memory, or the driver broke its rules.
    #[error(transparent)]
    Queue(#[from] virtio_queue::Error),
    /// The ring's parts are not where a queue may have them.
    #[error("the queue refuses its ring of {size} entries")]
    Ring {
        /// Its entries.
        size: u16,
    },
}

/// What a device did in one go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Buffers given back.
    pub buffers: u64,
    /// Bytes discarded.
    pub discarded: u64,
    /// Bytes that the back end declined or could not discard.
    pub refused: u64,
    /// Whether the driver wants to be notified.
    pub notify: bool,
}

/// The host's end of the queue, on a back end.
///
/// A used length is that of the memory that reads as zeros now: the whole
/// buffer, or 0.
#[derive(Debug)]
pub struct VirtDevice<D> {
    queue: Queue,
    back_end: D,
}

/// A chain that was taken off the queue.
struct Chain {
    head: u16,
    ranges: usize,
}

impl<D: Report> VirtDevice<D> {
    /// A device on a ring.
    pub fn new(ring: Ring, back_end: D) -> Result<Self, DeviceError> {
        let mut queue = Queue::new(ring.size())?;
        queue.try_set_desc_table_address(GuestAddress(ring.descriptors()))?;
        queue.try_set_avail_ring_address(GuestAddress(ring.available()))?;
        queue.try_set_used_ring_address(GuestAddress(ring.used()))?;
        queue.set_size(ring.size());
        queue.set_ready(true);
        if queue.size() != ring.size() {
            return Err(DeviceError::Ring { size: ring.size() });
        }
        Ok(Self { queue, back_end })
    }

    /// A device on a queue that the embedder's transport has set up.
    pub fn on(queue: Queue, back_end: D) -> Self {
        Self { queue, back_end }
    }

    /// The back end.
    pub fn back_end(&self) -> &D {
        &self.back_end
    }

    /// Serves what is available now. An error leaves the rest on the queue.
    pub fn serve<M>(&mut self, memory: M) -> Result<Served, DeviceError>
    where
        M: Clone + Deref,
        M::Target: GuestMemory + Sized,
    {
        let mut served = Served::default();
        // A guest that goes on posting does not keep us: a ring full, and a
        // batch.
        while served.buffers < u64::from(self.queue.size()) {
            if self.serve_some(&memory, &mut served)? == 0 {
                break;
            }
        }
        served.notify = self.queue.needs_notification(memory.deref())?;
        Ok(served)
    }

    fn serve_some<M>(&mut self, memory: &M, served: &mut Served) -> Result<usize, DeviceError>
    where
        M: Clone + Deref,
        M::Target: GuestMemory + Sized,
    {
        let mut chains = SmallVec::<[Chain; BATCH]>::new();
        let mut ranges = SmallVec::<[Range; BATCH]>::new();
        while ranges.len() < BATCH && chains.len() < BATCH {
            let Some(chain) = self.queue.pop_descriptor_chain(memory.clone()) else { break };
            let (head, before) = (chain.head_index(), ranges.len());
            for buffer in chain.writable() {
                let at = ByteRange::new(buffer.addr().0, u64::from(buffer.len()));
                let ticket = Ticket(u64::from(head));
                ranges.extend(at.map(|at| Range { at, ticket }));
            }
            chains.push(Chain { head, ranges: ranges.len() - before });
        }
        let mut outcomes = SmallVec::<[Outcome; BATCH]>::from_elem(Outcome::NotTried, ranges.len());
        let most = usize::from(self.back_end.caps().max_ranges).max(1);
        for (ranges, outcomes) in ranges.chunks(most).zip(outcomes.chunks_mut(most)) {
            // Whoever is told to stop has left the rest untried: it goes back
            // with length 0.
            let _stopped = self.back_end.report(ranges, outcomes, &Control::new());
        }
        let mut next = 0;
        for chain in &chains {
            let mine = next..next + chain.ranges;
            next = mine.end;
            let mut zeroed = 0u64;
            for (range, outcome) in ranges[mine.clone()].iter().zip(&outcomes[mine]) {
                let bytes = range.at.bytes();
                match outcome.is_reported() {
                    true => served.discarded += bytes,
                    false => served.refused += bytes,
                }
                zeroed += if *outcome == Outcome::ReportedZeroed { bytes } else { 0 };
            }
            // Given back now that the discard is done, and not before.
            let length = u32::try_from(zeroed).unwrap_or(u32::MAX);
            self.queue.add_used(memory.deref(), chain.head, length)?;
            served.buffers += 1;
        }
        Ok(chains.len())
    }
}
