//! The batch: free blocks on their way to a driver and back.
//!
//! # Picture
//!
//! ```text
//!  isolate -> blocks      [ a b . d | x ]         sorted; x is skipped
//!             ranges      [ ab , d ]              coalesced where they touch
//!  report  -> outcomes    [ Reported, Posted ]
//!  settle  -> a, b back as Reported, d in flight, x back as Declined
//! ```
//!
//! # What always holds
//!
//! Each block that `isolate` gave out is in exactly one of: the batch, the
//! flight, the held list, the source. Dropping a batch, by a panic or an early
//! return, puts each block of it back as `NotTried`, but those that the driver
//! had marked `Posted`: they go to the flight. Settling is the same walk with
//! the outcomes credited.
//!
//! # Sharing and cost
//!
//! One thread. No allocation up to 32 blocks: everything is inline, and the
//! flight's room is reserved before the driver is called. The sort is
//! O(n log n) of at most 256.

use crate::driver::{Caps, Report, Stop};
use crate::range::{ByteRange, Outcome, Range, Ticket};
use crate::source::{Cursor, IsolatedBlock, Progress, ReportSource, Want};
use crate::{Control, MAX_BATCH};
use alloc::vec::Vec;
use smallvec::SmallVec;

/// Blocks kept inline.
const INLINE: usize = 32;

/// A range index that stands for none.
const NO_RANGE: u32 = u32::MAX;

/// A block and the range it is part of.
struct Entry<B> {
    block: B,
    range: u32,
    first: u64,
}

/// A block that a device has.
#[derive(Debug)]
pub(crate) struct Posted<B> {
    pub(crate) ticket: Ticket,
    pub(crate) block: B,
}

/// A block that is kept, and what it goes back as.
#[derive(Debug)]
pub(crate) struct Kept<B> {
    pub(crate) block: B,
    pub(crate) outcome: Outcome,
}

/// Blocks out of the source that no batch holds.
#[derive(Debug)]
pub(crate) struct Out<B> {
    pub(crate) posted: Vec<Posted<B>>,
    pub(crate) held: Vec<Kept<B>>,
}

impl<B> Out<B> {
    pub(crate) const fn new() -> Self {
        Self { posted: Vec::new(), held: Vec::new() }
    }
}

/// Whether a reported block goes back, or is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    No,
    Reported,
}

/// Whether adjacent blocks become one range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coalesce {
    Yes,
    No,
}

/// Blocks on their way. See the module.
pub(crate) struct Batch<'a, S: ReportSource> {
    source: &'a S,
    out: &'a mut Out<S::Block>,
    entries: SmallVec<[Entry<S::Block>; INLINE]>,
    ranges: SmallVec<[Range; INLINE]>,
    outcomes: SmallVec<[Outcome; INLINE]>,
}

impl<'a, S: ReportSource> Batch<'a, S> {
    pub(crate) fn new(source: &'a S, out: &'a mut Out<S::Block>) -> Self {
        Self {
            source,
            out,
            entries: SmallVec::new(),
            ranges: SmallVec::new(),
            outcomes: SmallVec::new(),
        }
    }

    /// Isolates at most `room` blocks.
    pub(crate) fn fill(&mut self, cursor: &mut Cursor, want: &Want, room: usize) -> Progress {
        let entries = &mut self.entries;
        entries.reserve(room.min(MAX_BATCH));
        self.source.isolate(cursor, want, room, &mut |block: S::Block| {
            let first = block.range().first();
            entries.push(Entry { block, range: NO_RANGE, first });
        })
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = ByteRange> {
        self.entries.iter().map(|entry| entry.block.range())
    }

    /// Sorts the blocks and makes ranges of those that `skip` lets pass and
    /// that fit the driver.
    pub(crate) fn arrange(
        &mut self,
        caps: &Caps,
        coalesce: Coalesce,
        tickets: &mut u64,
        mut skip: impl FnMut(ByteRange) -> bool,
    ) {
        self.entries.sort_unstable_by_key(|entry| entry.first);
        for entry in &mut self.entries {
            let at = entry.block.range();
            if skip(at) || !fits(caps, at) {
                continue;
            }
            let joined = match self.ranges.last() {
                Some(open) if coalesce == Coalesce::Yes => open.at.joined(at),
                _ => None,
            };
            match (joined, self.ranges.last_mut()) {
                (Some(joined), Some(open)) if joined.bytes() <= caps.max_bytes => open.at = joined,
                _ => {
                    self.ranges.push(Range { at, ticket: Ticket(*tickets) });
                    *tickets += 1;
                }
            }
            // Lossless: a range per block, and far below 2^32 of those.
            entry.range = (self.ranges.len() - 1) as u32;
        }
        self.outcomes.resize(self.ranges.len(), Outcome::NotTried);
    }

    /// Calls the driver, as often as its caps make necessary, until it stops.
    /// Returns the number of calls beside how it ended.
    pub(crate) fn submit<D: Report + ?Sized>(
        &mut self,
        driver: &mut D,
        caps: &Caps,
        control: &Control,
    ) -> (u64, Result<(), Stop>) {
        // So that giving a block to the flight cannot fail.
        self.out.posted.reserve(self.entries.len());
        let most = usize::from(caps.max_ranges).clamp(1, MAX_BATCH);
        let mut calls = 0;
        for (ranges, outcomes) in self.ranges.chunks(most).zip(self.outcomes.chunks_mut(most)) {
            if control.should_stop() && !memdesc::seeded!("a batch begins in a pause") {
                return (calls, Err(Stop::Cancelled));
            }
            calls += 1;
            if let Err(stop) = driver.report(ranges, outcomes, control) {
                return (calls, Err(stop));
            }
        }
        (calls, Ok(()))
    }

    pub(crate) fn range_bytes(&self) -> impl Iterator<Item = u64> {
        self.ranges.iter().map(|range| range.at.bytes())
    }

    pub(crate) fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// Gives each block where its outcome sends it, and tells `tally` of each:
    /// its range, its outcome, and whether the driver was asked at all.
    pub(crate) fn settle(mut self, keep: Keep, mut tally: impl FnMut(ByteRange, Outcome, Asked)) {
        if keep == Keep::Reported {
            self.out.held.reserve(self.entries.len());
        }
        // What stays out goes to its place first, so that a panic below finds it
        // there.
        let mut back: SmallVec<[(S::Block, Outcome); INLINE]> = SmallVec::new();
        back.reserve(self.entries.len());
        let mut told: SmallVec<[(ByteRange, Outcome, Asked); INLINE]> = SmallVec::new();
        told.reserve(self.entries.len());
        while let Some(entry) = self.entries.pop() {
            let at = entry.block.range();
            let Some(outcome) = self.outcomes.get(entry.range as usize).copied() else {
                back.push((entry.block, Outcome::Declined));
                told.push((at, Outcome::Declined, Asked::No));
                continue;
            };
            if outcome == Outcome::Posted && !memdesc::seeded!("posted and put back") {
                let ticket = self.ranges[entry.range as usize].ticket;
                self.out.posted.push(Posted { ticket, block: entry.block });
            } else if keep == Keep::Reported && outcome.is_reported() {
                self.out.held.push(Kept { block: entry.block, outcome });
            } else if !memdesc::seeded!("what was not tried is dropped") {
                back.push((entry.block, outcome));
            }
            told.push((at, outcome, Asked::Yes));
        }
        self.source.put_back_all(back);
        told.into_iter().for_each(|(at, outcome, asked)| tally(at, outcome, asked));
    }

    /// Takes back what a driver cannot know, and returns how often it said so:
    /// a lazy one that something reads as zeros.
    pub(crate) fn vet(&mut self, caps: &Caps) -> u64 {
        let mut lies = 0;
        for outcome in &mut self.outcomes {
            let vetted = vetted(caps, *outcome);
            lies += u64::from(vetted != *outcome);
            *outcome = vetted;
        }
        lies
    }

    /// After a panic of the driver: nothing it said is credited, but what it
    /// posted is out of our hands.
    pub(crate) fn distrust(&mut self) {
        for outcome in &mut self.outcomes {
            if *outcome != Outcome::Posted {
                *outcome = Outcome::NotTried;
            }
        }
    }
}

/// Whether the driver was asked about a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Yes,
    No,
}

/// What is believed of an outcome.
pub(crate) fn vetted(caps: &Caps, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::ReportedZeroed if caps.lazy => Outcome::Reported,
        _ => outcome,
    }
}

fn fits(caps: &Caps, at: ByteRange) -> bool {
    let mask = caps.align - 1;
    at.first() & mask == 0
        && at.bytes() & mask == 0
        && at.bytes() >= caps.min_bytes
        && at.bytes() <= caps.max_bytes
}

impl<S: ReportSource> Drop for Batch<'_, S> {
    fn drop(&mut self) {
        while let Some(entry) = self.entries.pop() {
            let range = entry.range as usize;
            if self.outcomes.get(range) == Some(&Outcome::Posted) {
                let ticket = self.ranges[range].ticket;
                self.out.posted.push(Posted { ticket, block: entry.block });
            } else {
                self.source.put_back(entry.block, Outcome::NotTried);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_offered_what_is_aligned_at_both_ends_and_of_a_size_it_takes() {
        let caps = Caps { align: 0x1000, min_bytes: 0x2000, max_bytes: 0x8000, ..Caps::DEFAULT };
        let fits = |first, bytes| fits(&caps, ByteRange::new(first, bytes).unwrap());
        assert!(fits(0x3000, 0x2000) && fits(0x3000, 0x8000));
        let refused = [(0x3800, 0x2000), (0x3000, 0x2800), (0x3000, 0x1000), (0x3000, 0x9000)];
        for (first, bytes) in refused {
            assert!(!fits(first, bytes), "{first:#x}+{bytes:#x}");
        }
    }
}
