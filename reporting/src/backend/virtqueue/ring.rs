//! Where the three parts of a split ring are, in guest memory.
//!
//! ```text
//!  descriptors  16 bytes each   address 8 | length 4 | flags 2 | next 2
//!  available    flags 2 | index 2 | entries 2 each | event 2
//!  used         flags 2 | index 2 | entries 8 each: id 4, length 4 | event 2
//! ```
//!
//! All numbers are little-endian. Indexes run freely and wrap at 2^16.

/// The largest ring: 2^15 entries.
const MOST: u16 = 1 << 15;

/// A split ring's place.
///
/// ```
/// use potad_reporting::backend::Ring;
///
/// let ring = Ring::at(0x1000, 64).unwrap();
/// assert_eq!(ring.bytes(), 64 * 16 + 6 + 64 * 2 + 2 + 6 + 64 * 8);
/// assert!(Ring::at(0x1000, 63).is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    size: u16,
    descriptors: u64,
    available: u64,
    used: u64,
}

impl Ring {
    /// A ring of `size` entries from `first` on; `None` if the size is no power
    /// of two up to 2^15, the address no multiple of 16, or the end beyond all
    /// addresses.
    pub const fn at(first: u64, size: u16) -> Option<Self> {
        if !size.is_power_of_two() || size > MOST || !first.is_multiple_of(16) {
            return None;
        }
        let entries = size as u64;
        let Some(available) = first.checked_add(entries * 16) else { return None };
        let Some(used) = available.checked_add(6 + entries * 2) else { return None };
        let Some(used) = used.checked_next_multiple_of(4) else { return None };
        if used.checked_add(6 + entries * 8).is_none() {
            return None;
        }
        Some(Self { size, descriptors: first, available, used })
    }

    /// Entries.
    pub const fn size(self) -> u16 {
        self.size
    }

    /// Bytes from the first to the last part's end.
    pub const fn bytes(self) -> u64 {
        self.used + 6 + self.size as u64 * 8 - self.descriptors
    }

    /// Where the descriptors are.
    pub const fn descriptors(self) -> u64 {
        self.descriptors
    }

    /// Where the available part is.
    pub const fn available(self) -> u64 {
        self.available
    }

    /// Where the used part is.
    pub const fn used(self) -> u64 {
        self.used
    }

    pub(super) const fn descriptor(self, index: u16) -> u64 {
        self.descriptors + 16 * index as u64
    }

    pub(super) const fn available_index(self) -> u64 {
        self.available + 2
    }

    pub(super) const fn available_entry(self, index: u16) -> u64 {
        self.available + 4 + 2 * (index & (self.size - 1)) as u64
    }

    pub(super) const fn used_index(self) -> u64 {
        self.used + 2
    }

    pub(super) const fn used_entry(self, index: u16) -> u64 {
        self.used + 4 + 8 * (index & (self.size - 1)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_three_parts_one_after_the_other() {
        for size in (0..=15).map(|bits| 1_u16 << bits) {
            let (ring, entries) = (Ring::at(0x4_0000, size).unwrap(), u64::from(size));
            assert_eq!((ring.size(), ring.descriptors()), (size, 0x4_0000));
            assert_eq!(ring.available(), 0x4_0000 + 16 * entries);
            let end = ring.available() + 6 + 2 * entries;
            assert_eq!(ring.used(), end.next_multiple_of(4));
            assert_eq!(ring.bytes(), ring.used() + 6 + 8 * entries - 0x4_0000);
            // Entries follow each other, and begin again after the last.
            let last = size - 1;
            assert_eq!(ring.descriptor(last), ring.available() - 16);
            assert_eq!(ring.available_index(), ring.available() + 2);
            assert_eq!(ring.available_entry(0), ring.available() + 4);
            assert_eq!(ring.available_entry(last), end - 4);
            assert_eq!(ring.available_entry(size), ring.available_entry(0));
            assert_eq!(ring.available_entry(u16::MAX), ring.available_entry(last));
            assert_eq!(ring.used_index(), ring.used() + 2);
            assert_eq!(ring.used_entry(0), ring.used() + 4);
            assert_eq!(ring.used_entry(last), 0x4_0000 + ring.bytes() - 10);
            assert_eq!(ring.used_entry(size), ring.used_entry(0));
        }
    }

    #[test]
    fn what_is_no_ring_is_refused() {
        for size in [0, 3, 63, (1 << 15) + 1, u16::MAX] {
            assert_eq!(Ring::at(0, size), None, "{size} entries");
        }
        for first in [1, 8, 15, 17] {
            assert_eq!(Ring::at(first, 8), None, "at {first}");
        }
        assert!(Ring::at(0, 1 << 15).is_some() && Ring::at(16, 1).is_some());
        // The last that fits below the end of all addresses, and the next.
        let bytes = Ring::at(0, 8).unwrap().bytes();
        let last = (u64::MAX - bytes) & !15;
        let fits = Ring::at(last, 8).unwrap();
        assert_eq!(fits.bytes(), bytes);
        assert!((last..).step_by(16).take(20).any(|first| Ring::at(first, 8).is_none()));
        assert_eq!(Ring::at(u64::MAX - 15, 1 << 15), None);
    }
}
