//! What a run came to.

use super::history::Moment;
use super::map::Map;
use serde::Serialize;
use std::collections::BTreeMap;

/// A finished run: counts for machines, and more for people.
///
/// Serialised, it has exactly the keys of the machine summary.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The trace that was replayed.
    pub trace: String,
    /// Guests that it was dealt to.
    pub guests: usize,
    /// Time of the replay, set-up and final report not included.
    pub seconds: f64,
    /// Blocks allocated; a half that a split made is none.
    pub allocations: u64,
    /// Blocks freed, those that lived to the end included.
    pub frees: u64,
    /// Allocations that found nothing free.
    pub failed_allocations: u64,
    /// Allocations by kind of descriptor; `raw` has none.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Addresses looked up.
    pub lookups: u64,
    /// Answers that were not what the guests knew.
    pub lookup_mismatches: u64,
    /// Blocks whose memory was not what was written.
    pub content_mismatches: u64,
    /// Failures of memory.
    pub memory_failures: Failures,
    /// Bytes whose memory went back to the system, in all.
    pub reported_bytes: u64,
    /// Bytes of the memfd that had memory once everything was freed.
    pub resident_bytes_before_report: u64,
    /// The same after the final report.
    pub resident_bytes_after_report: u64,
    /// Both over time, in order; the last is after the final report.
    pub memory_over_time: Vec<Moment>,
    /// The swap file.
    pub swap: SwapCounts,
    /// What people want to know beside.
    #[serde(skip)]
    pub details: Details,
}

/// Failures of memory, in granules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Failures {
    /// Injected.
    pub injected: u64,
    /// Those that an owner heard of: they were in use.
    pub owner_notified: u64,
    /// Those that are out of circulation at the end.
    pub quarantined: u64,
    /// Those that were handed out again, or that nobody heard of.
    pub lost: u64,
}

/// What the swap file was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SwapCounts {
    /// Slots handed out.
    pub slots_allocated: u64,
    /// Slots given back.
    pub slots_freed: u64,
    /// Bytes written to the file.
    pub bytes_written: u64,
    /// Bytes read back with the right checksum.
    pub bytes_verified: u64,
}

/// What is told to people only.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Details {
    /// Why the run ended as it did.
    pub status: Status,
    /// Records replayed, of how many.
    pub records: (u64, u64),
    /// Splits, moves, and how often a guest found nothing free at first.
    pub splits: u64,
    /// Blocks moved by a resize.
    pub moves: u64,
    /// Allocations that had to plug memory or pause the reporter first.
    pub pressure: u64,
    /// Allocations per order.
    pub orders: [u64; 64],
    /// Bytes per granule.
    pub granule: u64,
    /// Bytes of the resource, and of these the hot-added ones.
    pub bytes: (u64, u64),
    /// Look-ups that were held against a guest's knowledge.
    pub checked_lookups: u64,
    /// What failed memory was when it failed: free, used; and how many were
    /// aimed at a block that was being freed.
    pub failed_as: (u64, u64, u64),
    /// Blocks that went back to the system.
    pub reported_blocks: u64,
    /// Most bytes of the memfd that had memory.
    pub resident_peak: u64,
    /// The zone when the replay ended, before the last frees.
    pub at_end: potad::Stats,
    /// The zone when everything was freed.
    pub at_last: potad::Stats,
    /// The map when the replay ended.
    pub map: Map,
}

/// Why a run ended as it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// All as it should be.
    Sound,
    /// Somebody stopped it; what was done until then is sound.
    Interrupted,
    /// The device below failed: the driver of the reporter, or the swap file.
    Device(String),
    /// Something that must always hold did not.
    Broken(String),
}

impl Status {
    /// The exit status of a program that ends so.
    pub fn code(&self) -> u8 {
        match self {
            Self::Sound => 0,
            Self::Broken(_) => 1,
            Self::Device(_) => 2,
            // As a shell counts what a signal ended.
            Self::Interrupted => 130,
        }
    }
}
