//! The floor: an array with one word per page.

use super::Workload;
use super::mapped::{Ask, Mapped};

/// One word per page of 2^36, of which only those are touched that are named.
/// In 4 KiB pages, always.
#[derive(Debug)]
pub struct Flat(Mapped);

impl Flat {
    /// Names every page of every range by the range's number and one.
    pub fn new(workload: &Workload) -> std::io::Result<Self> {
        let mut words = Mapped::new(1 << 36, Ask::Small)?;
        for (number, range) in (1..).zip(&workload.ranges) {
            // Lossless: pages are below 2^36.
            words[range.first() as usize..=range.last() as usize].fill(number);
        }
        Ok(Self(words))
    }

    /// The number of the range of a page, and one; 0 for none.
    #[inline(always)]
    pub fn find(&self, page: u64) -> u64 {
        self.0[page as usize]
    }
}
