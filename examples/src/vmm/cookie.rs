//! What is written into a block's memory, and looked for before it is freed.
//!
//! ```text
//!  block   +--------+----------------- .. -----------------+--------+
//!          | cookie |  as it was; or a pattern, if filled   | cookie |
//!          +--------+----------------- .. -----------------+--------+
//!  cookie  | stamp ^ mixed base | id, generation |    16 bytes
//! ```
//!
//! Two blocks that overlap break each other's cookies: the stamp is never used
//! twice, and the base tells a block from one that was moved or misplaced.
//!
//! `Relaxed` on all words: a block's memory passes from guest to guest with the
//! turn of its id, or through the allocator, which order them.

use core::sync::atomic::{AtomicU64, Ordering};

/// Words of a cookie.
pub(super) const WORDS: usize = 2;
/// Larger blocks are never filled, nor swapped out.
pub(super) const LARGEST_FILLED: u64 = 32 << 10;

/// What one block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    /// Never used twice.
    pub(super) stamp: u64,
    /// The id in the trace.
    pub(super) id: u32,
    /// The block's first address.
    pub(super) base: u64,
    /// Whether all of the block is written.
    pub(super) filled: bool,
}

/// Whether the blocks of an id are filled, where they are small enough.
pub(super) fn is_filled(id: u32, bytes: u64) -> bool {
    bytes <= LARGEST_FILLED && id.is_multiple_of(16)
}

impl Cookie {
    fn words(self) -> [u64; WORDS] {
        // The low half of the stamp is the generation of the id.
        let generation = self.stamp & u64::from(u32::MAX);
        [self.stamp ^ mix(self.base), u64::from(self.id) << 32 | generation]
    }

    fn pattern(self, index: usize) -> u64 {
        mix(self.stamp.wrapping_add(index as u64))
    }

    /// Writes it into the block's memory.
    pub(super) fn write(self, memory: &[AtomicU64]) {
        let cookie = self.words();
        let last = memory.len().saturating_sub(WORDS);
        for (index, word) in memory.iter().enumerate() {
            if index < WORDS || index >= last {
                continue;
            }
            if !self.filled {
                break;
            }
            word.store(self.pattern(index), Ordering::Relaxed);
        }
        for (offset, value) in cookie.into_iter().enumerate() {
            for start in [0, last] {
                if let Some(word) = memory.get(start + offset) {
                    word.store(value, Ordering::Relaxed);
                }
            }
        }
    }

    /// Whether the block's memory still holds it.
    pub(super) fn is_in(self, memory: &[AtomicU64]) -> bool {
        let cookie = self.words();
        let last = memory.len().saturating_sub(WORDS);
        let has = |index: usize, value: u64| {
            memory.get(index).is_some_and(|word| word.load(Ordering::Relaxed) == value)
        };
        let ends = [0, last].into_iter().all(|start| {
            cookie.into_iter().enumerate().all(|(offset, value)| has(start + offset, value))
        });
        ends && (!self.filled || (WORDS..last).all(|index| has(index, self.pattern(index))))
    }
}

/// Spreads a number over 64 bits, one to one.
pub(super) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// A source of chance; the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// A number below `sides`, which is not 0.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        mix(self.0) % sides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(words: usize) -> Vec<AtomicU64> {
        (0..words).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn any_changed_word_of_a_filled_block_is_found() {
        let cookie = Cookie { stamp: 7, id: 16, base: 4096, filled: true };
        let memory = memory(512);
        cookie.write(&memory);
        assert!(cookie.is_in(&memory));
        for word in &memory {
            let was = word.fetch_xor(1, Ordering::Relaxed);
            assert!(!cookie.is_in(&memory));
            word.store(was, Ordering::Relaxed);
        }
        assert!(!Cookie { base: 8192, ..cookie }.is_in(&memory));
        assert!(!Cookie { id: 17, ..cookie }.is_in(&memory));
    }

    #[test]
    fn a_block_of_one_cookie_holds_it() {
        let cookie = Cookie { stamp: 7, id: 1, base: 16, filled: false };
        let memory = memory(WORDS);
        cookie.write(&memory);
        assert!(cookie.is_in(&memory));
        assert!(!cookie.is_in(&memory[..1]));
    }
}
