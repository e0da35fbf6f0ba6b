//! Demand: how much of the free memory the last peak took.
//!
//! Looking at the free bytes, reported or not, at each step, the demand of a
//! window is the deepest fall below an earlier height of the same window. Two
//! windows are kept, the running one and the one before, so a peak is remembered
//! for one to two windows.
//!
//! What the reporter itself holds counts as free. What rises and falls between
//! two steps is not seen: this is a floor under the true demand.

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

    /// Notes the free bytes of now.
    pub(crate) fn observe(&mut self, free: u64) {
        self.height = self.height.max(free);
        self.deepest = self.deepest.max(self.height - free);
    }

    /// A pass begins.
    pub(crate) fn pass(&mut self, free: u64) {
        self.observe(free);
        self.passes = self.passes.saturating_add(1);
        if self.passes < self.window {
            return;
        }
        self.before = core::mem::take(&mut self.deepest);
        self.passes = 0;
        self.height = free;
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
        for free in [100, 70, 90, 40, 100] {
            demand.observe(free);
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
    fn without_a_window_nothing_is_kept() {
        let mut demand = Demand::new(0);
        demand.observe(100);
        demand.pass(20);
        assert_eq!(demand.keep(), 0);
    }
}
