//! Demand: how much of the free memory the last peak took.
//!
//! Looking at the free, unreported bytes at each step, the demand of a window
//! is the deepest fall below an earlier height of the same window. What the
//! reporter itself took away is no demand: the height is lowered with it. Two
//! windows are kept, the running one and the one before, so a peak is
//! remembered for one to two windows.
//!
//! What rises and falls between two steps is not seen, and what is served from
//! reported blocks neither: this is a floor under the true demand.

/// The demand of the last one to two windows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand {
    /// Passes in a window; 0 for off.
    window: u32,
    passes: u32,
    height: u64,
    deepest: u64,
    before: u64,
}

impl Demand {
    pub(crate) fn new(window: u32) -> Self {
        Self { window, ..Self::default() }
    }

    /// Notes the free, unreported bytes of now.
    pub(crate) fn observe(&mut self, dirty: u64) {
        self.height = self.height.max(dirty);
        self.deepest = self.deepest.max(self.height - dirty);
    }

    /// The reporter took so many bytes away itself.
    pub(crate) fn took(&mut self, bytes: u64) {
        self.height = self.height.saturating_sub(bytes);
    }

    /// A pass begins.
    pub(crate) fn pass(&mut self, dirty: u64) {
        self.observe(dirty);
        self.passes = self.passes.saturating_add(1);
        if self.passes < self.window {
            return;
        }
        self.before = core::mem::take(&mut self.deepest);
        self.passes = 0;
        self.height = dirty;
    }

    /// Bytes to leave unreported.
    pub(crate) fn keep(&self) -> u64 {
        if self.window == 0 { 0 } else { self.deepest.max(self.before) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_fall_is_kept_for_one_to_two_windows() {
        let mut demand = Demand::new(2);
        for dirty in [100, 70, 90, 40, 100] {
            demand.observe(dirty);
        }
        assert_eq!(demand.keep(), 60);
        for _ in 0..3 {
            demand.pass(100);
            assert_eq!(demand.keep(), 60);
        }
        demand.pass(100);
        assert_eq!(demand.keep(), 0);
    }

    #[test]
    fn what_the_reporter_takes_is_no_demand() {
        let mut demand = Demand::new(1);
        demand.observe(100);
        demand.took(80);
        demand.observe(20);
        assert_eq!(demand.keep(), 0);
        demand.observe(15);
        assert_eq!(demand.keep(), 5);
        assert_eq!(Demand::new(0).keep(), 0);
    }
}
