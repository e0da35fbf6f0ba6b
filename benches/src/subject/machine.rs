//! What the machine itself needs: the least that taking bits and putting them
//! back can cost.
//!
//! A plain bitmap of blocks of one order, for one thread, that remembers where
//! it took last. Below order 3 it uses plain loads and stores, as a hand does
//! that is hot; from there on one compare-exchange and one `fetch_or`, as any
//! allocator must whose blocks are shared. It finds nothing, merges nothing,
//! checks nothing: a floor, not a peer.

use super::{Hand, Shape, Subject, SubjectError};
use core::hint::black_box;
use memdesc::Order;
use memdesc::sync::atomic::{AtomicU64, Ordering};

/// The name of [`Machine`] in tables.
pub const MACHINE: &str = "(machine alone)";

/// The least order whose blocks are shared by all threads.
const SHARED: u32 = 3;

/// Bits of one word per 64 blocks. Timed, never verified.
#[derive(Debug)]
pub struct Machine {
    granules: u64,
}

impl Subject for Machine {
    const NAME: &'static str = MACHINE;
    const SPLITS: bool = false;
    const ALIGNS: bool = true;
    const JUDGED: bool = false;

    type Hand<'a> = MachineHand;

    fn new(shape: Shape) -> Result<Self, SubjectError> {
        Ok(Self { granules: shape.granules })
    }

    fn hand(&self) -> MachineHand {
        MachineHand { granules: self.granules, words: Vec::new(), at: 0 }
    }
}

/// The bitmap, made for the order that is asked for first.
#[derive(Debug)]
pub struct MachineHand {
    granules: u64,
    words: Vec<AtomicU64>,
    /// The word that was used last.
    at: usize,
}

impl Hand for MachineHand {
    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<u64> {
        loop {
            let Some(word) = self.words.get(self.at) else {
                self.make(order)?;
                continue;
            };
            // Relaxed: one thread.
            let free = word.load(Ordering::Relaxed);
            if free == 0 {
                self.at += 1;
                continue;
            }
            let bit = free & free.wrapping_neg();
            let taken = order.get() < SHARED;
            if taken {
                word.store(free & !bit, Ordering::Relaxed);
            } else {
                let rest = free & !bit;
                black_box(word.compare_exchange(free, rest, Ordering::AcqRel, Ordering::Relaxed))
                    .ok()?;
            }
            let index = (self.at as u64) << 6 | u64::from(free.trailing_zeros());
            return Some(index << order.get());
        }
    }

    #[inline(always)]
    fn free(&mut self, base: u64, order: Order) {
        let index = base >> order.get();
        let (at, bit) = ((index >> 6) as usize, 1 << (index & 63));
        let word = &self.words[at];
        if order.get() < SHARED {
            word.store(word.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
        } else {
            black_box(word.fetch_or(bit, Ordering::AcqRel));
        }
        self.at = at;
    }
}

impl MachineHand {
    /// Makes the bitmap; `None` if all of it was handed out.
    #[cold]
    fn make(&mut self, order: Order) -> Option<()> {
        if !self.words.is_empty() {
            // Whatever was freed below the last place, once around.
            self.at = self.words.iter().position(|word| word.load(Ordering::Relaxed) != 0)?;
            return Some(());
        }
        let blocks = self.granules >> order.get();
        let words = blocks.div_ceil(64) as usize;
        self.words.resize_with(words, || AtomicU64::new(u64::MAX));
        (blocks > 0).then_some(())
    }
}
