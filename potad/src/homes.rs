//! Homes of regions, and what is said of eight regions in one word.
//!
//! # Picture
//!
//! ```text
//!  homes        word w:  8 bits a region:   its class, or 0
//!  any word w that has a byte for each of eight regions:
//!    [ 2 ][ 0 ][ 2 ][ 7 ][ 2 ][ 0 ][ 0 ][ 1 ]
//!    equal_bytes(.., 2)  ->  the topmost bits of the bytes that are 2
//! ```
//!
//! # What always holds
//!
//! Homes are hints: `Relaxed` everywhere, and two writers of one word at once
//! may lose one of their bytes.
//!
//! # Cost
//!
//! A home is one load; eight are compared in some six instructions.

use crate::placement::Class;
use crate::words::Words;
use memdesc::sync::atomic::{AtomicU64, Ordering};

/// log2 of the words in a region, and of the regions below a word of level 1.
pub(crate) const WORDS: u32 = 3;

/// The classes that regions are homes of, a byte each.
#[derive(Debug, Default)]
pub(crate) struct Homes(Words);

impl Homes {
    pub(crate) fn of_eight(&self, index: u64) -> u64 {
        // Relaxed: a hint.
        self.0.get(index).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// The home of the region of a word of level 0.
    #[inline]
    pub(crate) fn of(&self, word: u64) -> Option<Class> {
        let region = word >> WORDS;
        Class::of_byte(byte(self.of_eight(region >> WORDS), region))
    }

    /// Makes the region of a word of level 0 a home of `class`. Forgotten where
    /// there is no memory for it.
    pub(crate) fn settle(&self, word: u64, class: Class) {
        let region = word >> WORDS;
        if self.of(word) == Some(class) {
            return;
        }
        let Ok(homes) = self.0.install(region >> WORDS) else { return };
        let shift = shift_of(region);
        let others = homes.load(Ordering::Relaxed) & !(0xff << shift);
        homes.store(others | u64::from(class.byte()) << shift, Ordering::Relaxed);
    }

    /// The words from `index` on, as far as they lie side by side.
    pub(crate) fn ahead(&self, index: u64) -> &[AtomicU64] {
        self.0.ahead(index).unwrap_or(&[])
    }

    /// Bytes of tables.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

/// Where a region's byte is in the word that it shares with seven others.
pub(crate) fn shift_of(region: u64) -> u32 {
    // Lossless: below 64.
    ((region << WORDS) & 63) as u32
}

pub(crate) fn byte(eight: u64, region: u64) -> u8 {
    (eight >> shift_of(region)) as u8
}

/// The topmost bit of each byte that equals `wanted`.
pub(crate) fn equal_bytes(eight: u64, wanted: u8) -> u64 {
    let differs = eight ^ (LOW * u64::from(wanted));
    // No carry leaves a byte: seven bits and seven ones make eight.
    !(((differs & !HIGH) + !HIGH) | differs) & HIGH
}

/// The topmost bit of each byte of which at least four bits are set.
pub(crate) fn half_full_bytes(eight: u64) -> u64 {
    let pairs = eight - (eight >> 1 & (u64::MAX / 3));
    let fours = (pairs & (u64::MAX / 5)) + (pairs >> 2 & (u64::MAX / 5));
    let counts = (fours + (fours >> 4)) & (u64::MAX / 17);
    (counts + (0x80 - 4) * LOW) & HIGH
}

/// The lowest and the topmost bit of each byte.
const LOW: u64 = u64::MAX / 255;
const HIGH: u64 = LOW << 7;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_kept_beside_its_neighbours() {
        let homes = Homes::default();
        assert_eq!(homes.of(0), None);
        for region in 0..20u64 {
            homes.settle(region << WORDS, Class::new(region as u8));
        }
        homes.settle(7 << WORDS | 5, Class::LARGE);
        for region in 0..20u64 {
            let expected = if region == 7 { Class::LARGE } else { Class::new(region as u8) };
            for word in region << WORDS..(region + 1) << WORDS {
                assert_eq!(homes.of(word), Some(expected), "word {word}");
            }
        }
        assert_eq!(homes.of(20 << WORDS), None);
        assert!(homes.bytes() >= 4096);
    }

    #[test]
    fn eight_bytes_are_compared_and_counted_at_once() {
        let topmost = |eight: u64, is: &dyn Fn(u8) -> bool| {
            let bytes = eight.to_le_bytes().map(|byte| u8::from(is(byte)) << 7);
            u64::from_le_bytes(bytes)
        };
        let mut eight = 0x0123_4567_89ab_cdef_u64;
        for round in 0..10_000u64 {
            eight = eight.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(round);
            // Bytes that are alike, all zero and all ones beside any.
            let eight = eight & (eight >> 7 | 0xff00_ff00) | (((round % 3) * 0xff) << 16);
            for wanted in [0, 1, 0x7f, 0x80, 0xff, eight as u8] {
                assert_eq!(equal_bytes(eight, wanted), topmost(eight, &|byte| byte == wanted));
            }
            let many = topmost(eight, &|byte| byte.count_ones() >= 4);
            assert_eq!(half_full_bytes(eight), many, "{eight:#x}");
        }
    }
}
