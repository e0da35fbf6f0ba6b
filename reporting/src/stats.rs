//! What a reporter counts.
//!
//! Plain numbers, written by the one thread that steps; other threads read the
//! copy that [`Control::seen`](crate::Control::seen) hands out.

use crate::driver::Fault;
use crate::range::Outcome;
use alloc::format;
use core::fmt;

/// Blocks and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub blocks: u64,
    /// How long, together.
    pub bytes: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.blocks += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(crate) fn sub(&mut self, bytes: u64) {
        self.blocks = self.blocks.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// How often a number was of which size: by powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u32; Self::BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; Self::BUCKETS] }
    }
}

impl Histogram {
    /// Buckets: the last has everything from 2^47 on.
    pub const BUCKETS: usize = 48;

    pub(crate) fn add(&mut self, value: u64) {
        // 0 and 1 share the first.
        let bucket = (value.max(1).ilog2() as usize).min(Self::BUCKETS - 1);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
    }

    /// How many numbers were in `2^n .. 2^(n + 1)`, for each `n`; 0 counts as 1.
    pub fn counts(&self) -> &[u32; Self::BUCKETS] {
        &self.counts
    }

    /// How many numbers there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|&count| u64::from(count)).sum()
    }

    /// The power of two under which at least `percent` of all numbers lie;
    /// `None` without numbers.
    ///
    /// ```
    /// use potad_reporting::Histogram;
    ///
    /// assert_eq!(Histogram::default().below(50), None);
    /// ```
    pub fn below(&self, percent: u32) -> Option<u64> {
        let wanted = (self.total() * u64::from(percent.min(100))).div_ceil(100).max(1);
        let mut so_far = 0;
        let bucket = self.counts.iter().position(|&count| {
            so_far += u64::from(count);
            so_far >= wanted
        })?;
        Some(2 << bucket)
    }
}

/// The counts of one reporter since it was made.
///
/// `isolated` is the sum of all outcomes but `Posted`, plus what is in flight or
/// lost: each block is counted once, by what finally became of it. `Posted`
/// counts postings beside that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Blocks taken from the source.
    pub isolated: Tally,
    /// Blocks by what became of them; see [`outcome`](Self::outcome).
    pub outcomes: [Tally; Outcome::COUNT],
    /// Blocks that a device has.
    pub in_flight: Tally,
    /// Blocks kept by [`hold`](crate::Reporter::hold).
    pub held: Tally,
    /// Blocks that stay isolated for ever, for the device may still have them.
    pub lost: Tally,
    /// Declined from memory, without asking the driver again.
    pub skipped: Tally,
    /// Passes begun.
    pub passes: u64,
    /// Calls of the source's `isolate`.
    pub isolations: u64,
    /// Batches with at least one block.
    pub batches: u64,
    /// Calls of the driver's `report`.
    pub calls: u64,
    /// Ranges in those calls.
    pub ranges: u64,
    /// Blocks in those ranges; `blocks / ranges` is the gain of coalescing.
    pub ranged_blocks: u64,
    /// Passes that the source ended under pressure.
    pub pressures: u64,
    /// Batches or passes that were cancelled.
    pub cancels: u64,
    /// Times the reporter backed off.
    pub backoffs: u64,
    /// Panics of the driver.
    pub panics: u64,
    /// Answers of the driver that cannot be.
    pub lies: u64,
    /// Bytes that were reported and taken again, as the source counts them.
    pub refaulted: u64,
    /// Of those, what was taken again before the pass after the one that
    /// reported it: reported too early. See [`Policy::patience`](crate::Policy).
    pub premature: u64,
    /// Lengths of the ranges.
    pub range_bytes: Histogram,
    /// Times of isolating a batch; empty without
    /// [`with_stopwatch`](crate::Reporter::with_stopwatch).
    pub isolate_ns: Histogram,
    /// Times of the driver for a batch; likewise.
    pub report_ns: Histogram,
    /// The last thing that went wrong.
    pub last_fault: Option<Fault>,
}

impl Stats {
    /// Blocks with this outcome.
    pub fn outcome(&self, outcome: Outcome) -> Tally {
        self.outcomes[outcome as usize]
    }

    /// Bytes whose memory was returned.
    pub fn reported_bytes(&self) -> u64 {
        let plain = self.outcome(Outcome::Reported).bytes;
        plain.saturating_add(self.outcome(Outcome::ReportedZeroed).bytes)
    }

    pub(crate) fn count(&mut self, outcome: Outcome, bytes: u64) {
        self.outcomes[outcome as usize].add(bytes);
    }
}

/// A length as people read it, in integer arithmetic: `1.5 GiB`.
struct Human(u64);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let unit = if self.0 == 0 { 0 } else { self.0.ilog2() / 10 };
        if unit == 0 {
            return f.pad(&format!("{} B", self.0));
        }
        let tenths = (u128::from(self.0) * 10) >> (10 * unit);
        f.pad(&format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit as usize]))
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in Outcome::ALL {
            let tally = self.outcome(outcome);
            writeln!(
                f,
                "{:>15} {:>12} in {} blocks",
                outcome.name(),
                Human(tally.bytes),
                tally.blocks
            )?;
        }
        for (name, tally) in
            [("in flight", self.in_flight), ("held", self.held), ("lost", self.lost)]
        {
            if tally.blocks != 0 {
                writeln!(f, "{name:>15} {:>12} in {} blocks", Human(tally.bytes), tally.blocks)?;
            }
        }
        let gain = (self.ranged_blocks * 10).checked_div(self.ranges).unwrap_or(0);
        write!(
            f,
            "{} passes, {} batches, {} calls, {} ranges of {}.{} blocks; {} back-offs, {} cancels, {} panics, {} lies",
            self.passes,
            self.batches,
            self.calls,
            self.ranges,
            gain / 10,
            gain % 10,
            self.backoffs,
            self.cancels,
            self.panics,
            self.lies
        )?;
        write!(f, "; taken again: {}, {} too early", Human(self.refaulted), Human(self.premature))?;
        let times = [("isolate", &self.isolate_ns), ("report", &self.report_ns)];
        for (name, histogram) in times {
            if let (Some(half), Some(most)) = (histogram.below(50), histogram.below(99)) {
                write!(f, "; {name} < {half} ns by half, < {most} by 99 %")?;
            }
        }
        if let Some(fault) = self.last_fault {
            write!(f, "; last fault: {fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn blocks_of_a_range_read_in_tenths() {
        let stats = Stats { ranges: 4, ranged_blocks: 6, ..Stats::default() };
        assert!(stats.to_string().contains("4 ranges of 1.5 blocks"), "{stats}");
    }

    #[test]
    fn lengths_read_well() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(Human(bytes).to_string(), text);
        }
    }

    #[test]
    fn histograms_count_by_powers_of_two() {
        let mut histogram = Histogram::default();
        for value in [0, 1, 2, 3, 4, 1000, u64::MAX] {
            histogram.add(value);
        }
        assert_eq!(histogram.counts()[..3], [2, 2, 1]);
        assert_eq!((histogram.counts()[9], histogram.counts()[47]), (1, 1));
        assert_eq!(histogram.total(), 7);
        assert_eq!(
            (histogram.below(25), histogram.below(50), histogram.below(75)),
            (Some(2), Some(4), Some(1024))
        );
    }

    #[test]
    fn the_display_names_what_happened() {
        let mut stats = Stats { last_fault: Some(Fault::Panicked), ..Stats::default() };
        stats.count(Outcome::ReportedZeroed, 2 << 20);
        let text = stats.to_string();
        assert!(text.contains("reported zeroed      2.0 MiB in 1 blocks"), "{text}");
        assert!(text.ends_with("last fault: the driver panicked"), "{text}");
    }
}
