//! Policy: what is reported, when, and how fast.
//!
//! # The idea
//!
//! What was free for a while is likely to stay free, and what is reported and
//! used again costs a fault. Three things say how long a while:
//!
//! - *Demand*: as much as the last peaks took stays unreported, and of all that
//!   could be reported that which the allocator hands out first.
//! - *Experience*: what was taken again before the next pass was reported too
//!   early. Until a report of it has lasted longer, it takes part in every
//!   `patience`-th pass only.
//! - *Size*, where somebody knows that it matters: pass `n` takes the blocks of
//!   every rule whose `every` divides `n`. With an interval of 2 s, the rules
//!   (2 MiB, every 1) and (64 KiB, every 3) report large blocks 2 to 4 s after
//!   they were freed and small ones after up to 10 s.
//!
//! ```text
//!  pass      1    2    3    4    5    6
//!  >= 2 MiB  x    x    x    x    x    x
//!  >= 64 KiB           x              x
//! ```
//!
//! `balanced` lies above the line of fixed ages on the recorded page traces, and
//! on most variants of them that it was not made for: other jitters, halves, half
//! or twice the length. The worst is 1 point under it (`frontier`, in `benches`;
//! the figures are in `docs/design.md`).
//!
//! # Presets
//!
//! | preset          | interval | sizes and ages                       | for                      |
//! |-----------------|----------|--------------------------------------|--------------------------|
//! | `eager`         | 100 ms   | from 1 granule, at once              | tests, a host under stress |
//! | `balanced`      | 1 s      | 64 KiB at 1 s, at 3 s if that was too early; the last peak stays | memory lent to guests |
//! | `cold`          | 30 s     | 2 MiB at 30 s                        | memory that is not short |
//! | `before_reuse`  | 50 ms    | from 1 granule, at once              | TRIM: the source holds blocks until reported |
//! | `never`         | -        | only what is pulled                  | contents that must stay  |
//!
//! All of them look at an asynchronous device every 10 ms, leave alone for 60 s what
//! was declined, and wait 2 s after a failure, at most 5 minutes after more.

use crate::ReportingError;
use crate::pace::SECOND;

/// A time that does not come.
pub const NEVER: u64 = u64::MAX;

/// The most ranges of one call.
pub const MAX_BATCH: usize = 256;

const MILLI: u64 = SECOND / 1000;

/// When a block must have been reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Some time, while it is free: RAM.
    Idle,
    /// Before anybody may use it again: TRIM.
    BeforeReuse,
}

/// Blocks of at least so many bytes take part in every so-many-th pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The smallest block, in bytes.
    pub min_bytes: u64,
    /// Which passes: 1 is each, 15 every 15th. Not 0.
    pub every: u32,
}

/// How a [`Reporter`](crate::Reporter) works; times are nanoseconds.
///
/// ```
/// use potad_reporting::{Policy, Rule};
///
/// let policy = Policy::balanced()
///     .rules(&[Rule { min_bytes: 1 << 20, every: 1 }])
///     .rate(1 << 30, 64 << 20)
///     .volume(256 << 20);
/// assert_eq!((policy.interval, policy.patience), (1_000_000_000, 3));
/// assert!(policy.check().is_ok());
/// assert!(Policy::balanced().batch(257).check().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// From the start of one pass to the start of the next; [`NEVER`] for no
    /// passes but those asked for.
    pub interval: u64,
    /// What the source must be: a [`Reporter`](crate::Reporter) refuses one of
    /// the other mode. An idle source would hand blocks out before they were
    /// trimmed, and an idle policy may leave blocks waiting for ever.
    pub mode: Mode,
    /// Sizes and ages, at most four; unused ones have `min_bytes` 0 and
    /// `every` 0.
    pub rules: [Rule; 4],
    /// Whether blocks must have been seen free by an earlier pass.
    pub age: crate::Age,
    /// What was reported too early last time takes part in every so-many-th
    /// pass only; 1 for in every one. Not 0.
    pub patience: u32,
    /// Blocks in a batch, 1 to [`MAX_BATCH`].
    pub batch: usize,
    /// The largest piece that is taken out of the allocator at once.
    pub max_piece: u64,
    /// Bytes per second; `None` for no limit.
    pub rate: Option<u64>,
    /// Bytes that may go at once after a rest.
    pub burst: u64,
    /// With more than this free and not reported, a pass begins at once and
    /// asks for no age, until so much is left.
    pub volume: Option<u64>,
    /// How often the volume, and an asynchronous device, is looked at.
    pub poll: u64,
    /// Bytes that stay free and in nobody's hands; see
    /// [`Want::leave_bytes`](crate::Want::leave_bytes).
    pub reserve: u64,
    /// Passes whose largest demand, of one to two times so many, is kept
    /// unreported; 0 for none.
    pub demand_passes: u32,
    /// Spread of the interval, in percent of it, at most 100.
    pub jitter_percent: u32,
    /// Where the spread begins; two reporters should differ.
    pub jitter_seed: u64,
    /// How long a declined range is left alone.
    pub decline_ttl: u64,
    /// The first wait after a failure.
    pub backoff: u64,
    /// The longest wait after failures.
    pub backoff_max: u64,
    /// Ranges that are remembered as declined or failed.
    pub skips: usize,
    /// Blocks that an asynchronous device may have at once.
    pub max_in_flight: usize,
}

impl Policy {
    const BASE: Self = Self {
        interval: 2 * SECOND,
        mode: Mode::Idle,
        rules: Self::fill(&[Rule { min_bytes: 2 << 20, every: 1 }]),
        age: crate::Age::Seen,
        patience: 1,
        batch: 32,
        max_piece: 64 << 20,
        rate: None,
        burst: 256 << 20,
        volume: None,
        poll: 10 * MILLI,
        reserve: 0,
        demand_passes: 0,
        jitter_percent: 25,
        jitter_seed: 0,
        decline_ttl: 60 * SECOND,
        backoff: 2 * SECOND,
        backoff_max: 300 * SECOND,
        skips: 1024,
        max_in_flight: MAX_BATCH,
    };

    /// Everything, at once.
    pub const fn eager() -> Self {
        Self {
            interval: 100 * MILLI,
            rules: Self::fill(&[Rule { min_bytes: 1, every: 1 }]),
            age: crate::Age::Any,
            jitter_percent: 0,
            ..Self::BASE
        }
    }

    /// What was free for a pass, later where that was too early before, and
    /// nothing of what the last peak needed.
    pub const fn balanced() -> Self {
        Self {
            interval: SECOND,
            rules: Self::fill(&[Rule { min_bytes: 64 << 10, every: 1 }]),
            patience: 3,
            demand_passes: 3,
            ..Self::BASE
        }
    }

    /// Large blocks that nobody wanted for a long time.
    pub const fn cold() -> Self {
        Self { interval: 30 * SECOND, demand_passes: 4, ..Self::BASE }
    }

    /// For a source whose freed blocks become reusable only by a report.
    pub const fn before_reuse() -> Self {
        Self { interval: 50 * MILLI, mode: Mode::BeforeReuse, ..Self::eager() }
    }

    /// Nothing but what [`Reporter::reclaim`](crate::Reporter::reclaim) pulls.
    pub const fn never() -> Self {
        Self { interval: NEVER, ..Self::BASE }
    }

    /// Sets the time from pass to pass.
    pub const fn interval(self, nanoseconds: u64) -> Self {
        Self { interval: nanoseconds, ..self }
    }

    /// Sets sizes and ages. A fifth rule is refused by
    /// [`check`](Self::check), like any other bad one.
    pub const fn rules(self, rules: &[Rule]) -> Self {
        Self { rules: Self::fill(rules), ..self }
    }

    /// Sets how long blocks must have been free.
    pub const fn age(self, age: crate::Age) -> Self {
        Self { age, ..self }
    }

    /// Sets in which passes what was reported too early takes part.
    pub const fn patience(self, passes: u32) -> Self {
        Self { patience: passes, ..self }
    }

    /// Sets the number of blocks in a batch.
    pub const fn batch(self, blocks: usize) -> Self {
        Self { batch: blocks, ..self }
    }

    /// Sets the largest piece.
    pub const fn max_piece(self, bytes: u64) -> Self {
        Self { max_piece: bytes, ..self }
    }

    /// Sets bytes per second, and bytes at once after a rest.
    pub const fn rate(self, bytes_per_second: u64, burst: u64) -> Self {
        Self { rate: Some(bytes_per_second), burst, ..self }
    }

    /// Sets how much may be free and not reported.
    pub const fn volume(self, bytes: u64) -> Self {
        Self { volume: Some(bytes), ..self }
    }

    /// Sets how often the volume and a device are looked at.
    pub const fn poll(self, nanoseconds: u64) -> Self {
        Self { poll: nanoseconds, ..self }
    }

    /// Sets what stays free.
    pub const fn reserve(self, bytes: u64) -> Self {
        Self { reserve: bytes, ..self }
    }

    /// Sets for how many passes a demand is remembered; 0 for not at all.
    pub const fn demand_passes(self, passes: u32) -> Self {
        Self { demand_passes: passes, ..self }
    }

    /// Sets the spread of the interval and where it begins.
    pub const fn jitter(self, percent: u32, seed: u64) -> Self {
        Self { jitter_percent: percent, jitter_seed: seed, ..self }
    }

    /// Sets how long a declined range is left alone.
    pub const fn decline_ttl(self, nanoseconds: u64) -> Self {
        Self { decline_ttl: nanoseconds, ..self }
    }

    /// Sets the first and the longest wait after failures.
    pub const fn backoff(self, first: u64, longest: u64) -> Self {
        Self { backoff: first, backoff_max: longest, ..self }
    }

    /// Sets how many blocks a device may have.
    pub const fn max_in_flight(self, blocks: usize) -> Self {
        Self { max_in_flight: blocks, ..self }
    }

    /// Says what is wrong with it, if anything.
    pub fn check(&self) -> Result<(), ReportingError> {
        if self.batch == 0 || self.batch > MAX_BATCH {
            return Err(ReportingError::Batch { blocks: self.batch });
        }
        if self.patience == 0 {
            return Err(ReportingError::NoPatience);
        }
        if self.jitter_percent > 100 {
            return Err(ReportingError::Jitter { percent: self.jitter_percent });
        }
        if self.max_piece == 0 {
            return Err(ReportingError::NoPiece);
        }
        if self.max_in_flight == 0 {
            return Err(ReportingError::NoFlight);
        }
        if self.interval == 0 || self.poll == 0 {
            return Err(ReportingError::NoInterval);
        }
        if self.backoff > self.backoff_max {
            let (first, longest) = (self.backoff, self.backoff_max);
            return Err(ReportingError::Backoff { first, longest });
        }
        let mut used = self.used_rules().peekable();
        if used.peek().is_none() || used.any(|rule| rule.every == 0 || rule.min_bytes == 0) {
            return Err(ReportingError::Rules);
        }
        Ok(())
    }

    /// The smallest block of pass `pass`, in bytes; `None` if none takes part.
    pub(crate) fn min_bytes(&self, pass: u64) -> Option<u64> {
        let due = self.used_rules().filter(|rule| pass.is_multiple_of(u64::from(rule.every)));
        due.map(|rule| rule.min_bytes).min()
    }

    /// The smallest block of any pass.
    pub(crate) fn smallest(&self) -> u64 {
        self.used_rules().map(|rule| rule.min_bytes).min().unwrap_or(u64::MAX)
    }

    fn used_rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(|rule| **rule != Self::UNUSED)
    }

    const UNUSED: Rule = Rule { min_bytes: 0, every: 0 };

    const fn fill(rules: &[Rule]) -> [Rule; 4] {
        let mut filled = [Self::UNUSED; 4];
        if rules.len() > filled.len() {
            // Unlike `UNUSED` and refused by `check`.
            filled[0] = Rule { min_bytes: 1, every: 0 };
            return filled;
        }
        let mut index = 0;
        while index < rules.len() {
            filled[index] = rules[index];
            index += 1;
        }
        filled
    }
}

#[cfg(test)]
mod tests;
