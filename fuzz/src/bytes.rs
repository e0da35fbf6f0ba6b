//! Choices out of bytes.
//!
//! # What always holds
//!
//! Any bytes are a story, and a byte changed changes one choice where it can:
//! each choice takes a fixed number of bytes, and those that are missing are 0.
//! So both libFuzzer's mutations and proptest's shrinking stay close to what
//! they began with. A body goes on as long as bytes are left, so it ends.

/// What is left to choose by.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// All of them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// Two bytes, as a number.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Four bytes, as a number.
    pub fn word(&mut self) -> u32 {
        u32::from(self.short()) | u32::from(self.short()) << 16
    }

    /// Eight bytes, as a number.
    pub fn long(&mut self) -> u64 {
        u64::from(self.word()) | u64::from(self.word()) << 32
    }

    /// One of the numbers below `end`, which is not 0, by one byte.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// One of some, by one byte.
    pub fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Takes one out, if there is one, by one byte.
    pub fn take<T>(&mut self, of: &mut Vec<T>) -> Option<T> {
        let at = usize::from(self.byte());
        if of.is_empty() {
            return None;
        }
        Some(of.swap_remove(at % of.len()))
    }

    /// Yes once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }
}
