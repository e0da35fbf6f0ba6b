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
