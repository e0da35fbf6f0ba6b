//! The verified pass's memory: who has which granule, and which regions are
//! pinned.
//!
//! # What always holds
//!
//! A granule's bit is set by the thread that was just handed it, before it
//! passes the block on, and cleared by the thread that frees it, before the
//! allocator hears of it. So a bit that is already set when it is set again is
//! a granule that the allocator gave to two.

use super::plan::REGION_BYTES;
use crate::subject::Shape;
use memdesc::Order;
use memdesc::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a pass tells of each block. The timed passes tell it to nobody.
pub(super) trait Watch: Sync {
    /// The block was just handed out.
    fn taken(&self, base: u64, order: Order);
    /// The block is about to be freed.
    fn giving(&self, base: u64, order: Order);
    /// Regions with a live block in them.
    fn pinned(&self) -> u64;
}

/// Nobody.
#[derive(Debug)]
pub(super) struct Nobody;

impl Watch for Nobody {
    #[inline]
    fn taken(&self, _: u64, _: Order) {}

    #[inline]
    fn giving(&self, _: u64, _: Order) {}

    #[inline]
    fn pinned(&self) -> u64 {
        0
    }
}

/// One bit per granule, one count of live granules per region.
///
/// All counters are `Relaxed`: each read-modify-write is exact by itself, and
/// a set bit is found by whoever sets it second in the word's own order, with
/// no other location involved.
#[derive(Debug)]
pub(super) struct Owners {
    words: Vec<AtomicU64>,
    regions: Vec<AtomicU32>,
    region: u32,
    granules: u64,
    must_align: bool,
    live: AtomicU64,
    peak: AtomicU64,
    pinned: AtomicU64,
    overlaps: AtomicU64,
}

impl Owners {
    pub(super) fn new(shape: Shape, must_align: bool) -> Self {
        let region = (REGION_BYTES / shape.granule_bytes).trailing_zeros();
        let words = shape.granules.div_ceil(64);
        let regions = shape.granules.div_ceil(1 << region);
        Self {
            words: (0..words).map(|_| AtomicU64::new(0)).collect(),
            regions: (0..regions).map(|_| AtomicU32::new(0)).collect(),
            region,
            granules: shape.granules,
            must_align,
            live: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            pinned: AtomicU64::new(0),
            overlaps: AtomicU64::new(0),
        }
    }

    /// Blocks handed out that overlap a live one, lie outside the arena or are
    /// not aligned where they should be.
    pub(super) fn overlaps(&self) -> u64 {
        self.overlaps.load(Ordering::Relaxed)
    }

    /// Most granules live at once.
    pub(super) fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// Live granules of each region.
    pub(super) fn regions(&self) -> Vec<u32> {
        self.regions.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// The block lies in the arena, so that it has bits.
    fn is_inside(&self, base: u64, order: Order) -> bool {
        base.checked_add(order.granules()).is_some_and(|end| end <= self.granules)
    }

    /// Calls `each` with every word and mask of the block.
    fn for_words(&self, base: u64, order: Order, mut each: impl FnMut(&AtomicU64, u64)) {
        let end = base + order.granules();
        let mut at = base;
        while at < end {
            let first = at % 64;
            let count = (64 - first).min(end - at);
            let mask = u64::MAX >> (64 - count) << first;
            each(&self.words[(at / 64) as usize], mask);
            at += count;
        }
    }

    /// Calls `each` with every region and the block's granules in it.
    fn for_regions(&self, base: u64, order: Order, mut each: impl FnMut(&AtomicU32, u32)) {
        let end = base + order.granules();
        let mut at = base;
        while at < end {
            let next = ((at >> self.region) + 1) << self.region;
            // Lossless: a region has at most 2^21 granules.
            let count = (next.min(end) - at) as u32;
            each(&self.regions[(at >> self.region) as usize], count);
            at += u64::from(count);
        }
    }
}

impl Watch for Owners {
    fn taken(&self, base: u64, order: Order) {
        let misaligned = self.must_align && !base.is_multiple_of(order.granules());
        if !self.is_inside(base, order) {
            self.overlaps.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut clash = false;
        self.for_words(base, order, |word, mask| {
            clash |= word.fetch_or(mask, Ordering::Relaxed) & mask != 0;
        });
        self.overlaps.fetch_add(u64::from(clash || misaligned), Ordering::Relaxed);
        self.for_regions(base, order, |region, count| {
            let was = region.fetch_add(count, Ordering::Relaxed);
            self.pinned.fetch_add(u64::from(was == 0), Ordering::Relaxed);
        });
        let size = order.granules();
        let live = self.live.fetch_add(size, Ordering::Relaxed) + size;
        self.peak.fetch_max(live, Ordering::Relaxed);
    }

    fn giving(&self, base: u64, order: Order) {
        if !self.is_inside(base, order) {
            return;
        }
        self.for_words(base, order, |word, mask| {
            word.fetch_and(!mask, Ordering::Relaxed);
        });
        self.for_regions(base, order, |region, count| {
            let was = region.fetch_sub(count, Ordering::Relaxed);
            self.pinned.fetch_sub(u64::from(was == count), Ordering::Relaxed);
        });
        self.live.fetch_sub(order.granules(), Ordering::Relaxed);
    }

    fn pinned(&self) -> u64 {
        self.pinned.load(Ordering::Relaxed)
    }
}
