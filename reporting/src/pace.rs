//! Pace: how fast, how soon again, and how not in step with everybody else.
//!
//! Integer arithmetic on nanoseconds that the caller supplies. Nothing here
//! reads a clock, and a clock that stands still or goes back is harmless.

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Bytes per second, as a bucket that may go into debt.
///
/// # What always holds
///
/// Whoever finds the level above 0 may spend any amount once; the next waits
/// until the debt is paid. So one large block passes even with a small rate,
/// and the average over any time `t` is at most `rate * t + burst` plus one
/// spending.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    /// Bytes a second; `None` for no limit.
    rate: Option<u64>,
    burst: u64,
    /// Bytes that may be spent; below 0 a debt.
    level: i128,
    /// What is left of the last refill, in bytes times nanoseconds.
    rest: u128,
    last: u64,
}

impl TokenBucket {
    pub(crate) fn new(rate: Option<u64>, burst: u64) -> Self {
        Self { rate, burst, level: i128::from(burst), rest: 0, last: 0 }
    }

    /// What may be spent at `now`: 0 while in debt.
    pub(crate) fn available(&mut self, now: u64) -> u64 {
        let Some(rate) = self.rate else {
            return u64::MAX;
        };
        let elapsed = now.saturating_sub(self.last);
        self.last = self.last.max(now);
        let earned = u128::from(elapsed) * u128::from(rate) + self.rest;
        self.rest = earned % u128::from(SECOND);
        let earned = earned / u128::from(SECOND);
        // Lossless: 2^64 * 2^64 / 10^9 is below 2^99.
        self.level = (self.level + earned as i128).min(i128::from(self.burst));
        u64::try_from(self.level).unwrap_or(0)
    }

    /// Spends, into debt if need be.
    pub(crate) fn spend(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.level -= i128::from(bytes);
        }
    }

    /// When something may be spent again, if nobody spends until then.
    pub(crate) fn ready_at(&self) -> u64 {
        let Some(rate) = self.rate else {
            return self.last;
        };
        if self.level > 0 {
            return self.last;
        }
        // One byte above the debt.
        let missing = (1 - self.level).unsigned_abs() * u128::from(SECOND);
        let missing = missing.saturating_sub(self.rest);
        let wait = missing.div_ceil(u128::from(rate.max(1)));
        self.last.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

/// Exponential back-off: `base`, twice that, .. up to `max`.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    base: u64,
    max: u64,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(base: u64, max: u64) -> Self {
        Self { base, max, failures: 0 }
    }

    /// Notes a failure and returns how long to wait.
    pub(crate) fn fail(&mut self) -> u64 {
        self.failures = self.failures.saturating_add(1);
        self.wait()
    }

    /// How long the last failure makes us wait.
    pub(crate) fn wait(&self) -> u64 {
        let doublings = self.failures.saturating_sub(1).min(63);
        let wait = u128::from(self.base) << doublings;
        u64::try_from(wait).unwrap_or(u64::MAX).min(self.max)
    }

    /// A failure beside a success: the device works, so begin anew.
    pub(crate) fn ease(&mut self) {
        self.failures = 0;
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failures != 0
    }
}

/// Spreads deadlines, so that many reporters do not work in step.
#[derive(Clone, Debug)]
pub(crate) struct Jitter {
    state: u64,
    percent: u32,
}

impl Jitter {
    pub(crate) fn new(seed: u64, percent: u32) -> Self {
        Self { state: seed, percent }
    }

    /// `span`, more or less by at most the percentage.
    pub(crate) fn around(&mut self, span: u64) -> u64 {
        // SplitMix64: every seed is good, 0 included.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // Below 2^62, so that the product below fits: a hundred years will do.
        let reach = (u128::from(span) * u128::from(self.percent) / 100).min(1 << 62);
        let offset = (u128::from(mixed) * (2 * reach + 1)) >> 64;
        let jittered = u128::from(span) + offset - reach;
        u64::try_from(jittered).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_keeps_its_rate_and_pays_its_debts() {
        let mut bucket = TokenBucket::new(Some(1000), 100);
        assert_eq!(bucket.available(0), 100);
        bucket.spend(600);
        assert_eq!(bucket.available(0), 0);
        // 500 bytes of debt and one byte more, at 1000 bytes a second.
        assert_eq!(bucket.ready_at(), 501_000_000);
        assert_eq!(bucket.available(500_999_999), 0);
        assert_eq!(bucket.ready_at(), 501_000_000);
        assert_eq!(bucket.available(501_000_000), 1);
        // Never more than the burst.
        assert_eq!(bucket.available(900 * SECOND), 100);
    }

    #[test]
    fn the_bucket_loses_nothing_to_rounding() {
        let mut bucket = TokenBucket::new(Some(3), 1000);
        bucket.spend(1000);
        for now in 0..=SECOND / 1000 {
            bucket.available(now * 1000);
        }
        assert_eq!(bucket.level, 3);
    }

    #[test]
    fn a_clock_that_goes_back_earns_nothing() {
        let mut bucket = TokenBucket::new(Some(SECOND), 10);
        bucket.spend(10);
        assert_eq!(bucket.available(5), 5);
        assert_eq!(bucket.available(1), 5);
        assert_eq!(bucket.available(6), 6);
    }

    #[test]
    fn no_limit_is_no_limit_and_zero_is_never() {
        let mut free = TokenBucket::new(None, 0);
        free.spend(u64::MAX);
        assert_eq!(free.available(0), u64::MAX);
        let mut never = TokenBucket::new(Some(0), 0);
        assert_eq!(never.available(u64::MAX), 0);
    }

    #[test]
    fn backing_off_doubles_up_to_its_maximum() {
        let mut backoff = Backoff::new(2, 300);
        let waits: std::vec::Vec<u64> = (0..10).map(|_| backoff.fail()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        for _ in 0..200 {
            assert_eq!(backoff.fail(), 300);
        }
        backoff.ease();
        assert_eq!((backoff.is_failing(), backoff.fail()), (false, 2));
    }

    #[test]
    fn jitter_stays_within_its_reach_and_uses_it() {
        let mut jitter = Jitter::new(0, 25);
        let (mut low, mut high) = (u64::MAX, 0);
        for _ in 0..10_000 {
            let value = jitter.around(1000);
            assert!((750..=1250).contains(&value));
            low = low.min(value);
            high = high.max(value);
        }
        assert!(low < 760 && high > 1240, "{low} {high}");
        assert_eq!(Jitter::new(7, 0).around(1000), 1000);
        assert!(Jitter::new(7, 100).around(u64::MAX) > 0);
    }

    /// A seed says which spread: the numbers are those of SplitMix64.
    #[test]
    fn a_spread_is_that_of_its_seed() {
        let mut jitter = Jitter::new(0, 100);
        // The first three outputs for seed 0, scaled to 0 to 2^33.
        let outputs = [0xe220_a839_7b1d_cdaf_u64, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        for output in outputs {
            let wide = u128::from(output) * ((1 << 33) + 1);
            assert_eq!(u128::from(jitter.around(1 << 32)), wide >> 64);
        }
        let mut other = Jitter::new(1, 100);
        assert_ne!(other.around(1 << 32), Jitter::new(0, 100).around(1 << 32));
        // No spread, and one of a hundredth.
        assert_eq!(Jitter::new(5, 0).around(77), 77);
        let mut narrow = Jitter::new(9, 1);
        assert!((0..1000).all(|_| (990..=1010).contains(&narrow.around(1000))));
    }
}
