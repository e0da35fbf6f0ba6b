//! What a story came to, so that a test can tell whether stories reach
//! everything.

use std::fmt;

/// How often each operation was done, and how often it was refused.
#[derive(Clone, Debug)]
pub struct Tally {
    names: &'static [&'static str],
    done: [u64; Self::MOST],
    refused: [u64; Self::MOST],
}

impl Tally {
    const MOST: usize = 40;

    /// Nothing was done yet.
    pub fn new(names: &'static [&'static str]) -> Self {
        assert!(names.len() <= Self::MOST);
        Self { names, done: [0; Self::MOST], refused: [0; Self::MOST] }
    }

    /// Counts an operation by its number.
    pub fn count(&mut self, operation: usize, was_done: bool) {
        let of = if was_done { &mut self.done } else { &mut self.refused };
        of[operation] += 1;
    }

    /// Adds what another story came to.
    pub fn add(&mut self, other: &Self) {
        for at in 0..Self::MOST {
            self.done[at] += other.done[at];
            self.refused[at] += other.refused[at];
        }
    }

    /// The operations that were done less often than `least`.
    pub fn seldom_done(&self, least: u64) -> Vec<&'static str> {
        self.below(&self.done, least)
    }

    /// The operations that were refused less often than `least`.
    pub fn seldom_refused(&self, least: u64) -> Vec<&'static str> {
        self.below(&self.refused, least)
    }

    fn below(&self, counts: &[u64; Self::MOST], least: u64) -> Vec<&'static str> {
        let pairs = self.names.iter().zip(counts);
        pairs.filter(|&(_, &count)| count < least).map(|(&name, _)| name).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.done.iter().zip(&self.refused);
        self.names.iter().zip(counts).try_for_each(|(name, (done, refused))| {
            writeln!(f, "{name:<16} {done:>9} done {refused:>9} refused")
        })
    }
}
