//! The slot: what one hand holds, and the bracket that guards it.
//!
//! # Picture
//!
//! ```text
//!  busy     1: the owner is inside a bracket; 0: it is not
//!  claim 0  word 0x41  mask 0011..   64 places of level 0, taken by one swap
//!  claim 1  word 0x42  mask 1111..
//!  pending  word 0x97  mask 0100..   frees to a few words elsewhere, not yet given
//!  warm[l]  word                     of level l: not merged while it is ours
//!  closed   0                        written by whoever reaches in
//! ```
//!
//! # What always holds
//!
//! - Bits of a claim's or the pending mask belong to the hand: they are in no
//!   forest word and in no other slot.
//! - Only the owner, inside its bracket, or a closer that found the slot closed
//!   and not busy, touches anything but `closed`.
//! - Granules are in no word and in no mask only while some slot is busy: once
//!   all are closed and none is busy, nothing is in transit.
//!
//! # The bracket
//!
//! ```text
//!  owner:   busy := 1;     light barrier;  closed? -> out, wait, again
//!           ..
//!           busy := 0 (Release)
//!  closer:  closed := 1;   heavy barrier;  wait for busy = 0 (Acquire)
//! ```
//!
//! Either the owner's `busy` comes before the closer's barrier, and the
//! closer waits; or it comes after, and the owner sees `closed`. The light
//! barrier costs nothing where the heavy one is the kernel's.
//!
//! # Cost
//!
//! A bracket is two plain stores and one load of lines that the owner has;
//! no read-modify-write. A hand hides at most [`HIDDEN_GRANULES`].

use crate::forest::lowest_run;
use memdesc::sync::atomic::Ordering;
use memdesc::sync::own::AtomicU64;
use memdesc::sync::{barrier, thread};
use memdesc::{Block, Granule, LEVELS, ORDERS_PER_LEVEL, Order};

/// Claimed words of a hand.
pub(crate) const CLAIMS: usize = 2;

/// Words of pending frees of a hand: given together, so that their cache misses
/// overlap.
pub(crate) const PENDING: usize = if cfg!(loom) { 1 } else { 8 };

/// Granules that one hand can hold away from everybody else: its claims and
/// its pending words.
pub(crate) const HIDDEN_GRANULES: u64 = 64 * (CLAIMS + PENDING) as u64;

/// No word.
const NONE: u64 = u64::MAX;

/// A word of level 0 and the places of it that the hand owns.
///
/// Plain loads and stores: the bracket makes them one owner's at a time.
#[derive(Debug)]
pub(crate) struct Held {
    word: AtomicU64,
    mask: AtomicU64,
}

impl Held {
    fn empty() -> Self {
        Self { word: AtomicU64::new(NONE), mask: AtomicU64::new(0) }
    }

    #[inline]
    pub(crate) fn word(&self) -> u64 {
        self.word.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn mask(&self) -> u64 {
        self.mask.load(Ordering::Relaxed)
    }

    /// Whether this holds places of `word`.
    #[inline]
    pub(crate) fn is_of(&self, word: u64) -> bool {
        self.word() == word
    }

    #[inline]
    pub(crate) fn set_mask(&self, mask: u64) {
        self.mask.store(mask, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, word: u64, mask: u64) {
        self.word.store(word, Ordering::Relaxed);
        self.set_mask(mask);
    }

    /// Empties it; returns what it held, if it held anything.
    pub(crate) fn release(&self) -> Option<(u64, u64)> {
        let (word, mask) = (self.word(), self.mask());
        self.set(NONE, 0);
        (mask != 0).then_some((word, mask))
    }

    /// The places held that `block` has.
    fn overlap(&self, block: Block) -> u64 {
        let place = block.place();
        let (first, last) = (block.base().0, block.last().0);
        let word = self.word();
        match place.level {
            0 if place.word == word => self.mask() & place.mask,
            0 => 0,
            _ if word != NONE && (first..=last).contains(&(word << ORDERS_PER_LEVEL)) => {
                self.mask()
            }
            _ => 0,
        }
    }

    /// Takes the lowest block of `order`, at most 5, out of the mask.
    #[inline(always)]
    pub(crate) fn take(&self, order: Order) -> Option<Block> {
        let mask = self.mask();
        let taken = lowest_run(mask, order.run())?;
        self.set_mask(mask & !taken);
        let first = self.word() << ORDERS_PER_LEVEL | u64::from(taken.trailing_zeros());
        // Aligned already: the run is.
        Some(Block::containing(Granule(first), order))
    }
}

/// What one hand holds.
///
/// The owner's line, then the line that a closer writes.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Slot {
    // Written by the owner, in every operation.
    busy: AtomicU64,
    pub(crate) claims: [Held; CLAIMS],
    /// Those below `pending_words` are in use.
    pub(crate) pending: [Held; PENDING],
    pending_words: AtomicU64,
    // Written by the owner when it moves on.
    /// Where the next search starts.
    pub(crate) near: AtomicU64,
    warm: [AtomicU64; LEVELS as usize],
    // Written by closers.
    closed: Line<AtomicU64>,
}

/// A value on a line of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Line<T>(T);

impl Slot {
    pub(crate) fn new(near: u64) -> Self {
        Self {
            busy: AtomicU64::new(0),
            claims: core::array::from_fn(|_| Held::empty()),
            pending: core::array::from_fn(|_| Held::empty()),
            pending_words: AtomicU64::new(0),
            near: AtomicU64::new(near),
            warm: core::array::from_fn(|_| AtomicU64::new(NONE)),
            closed: Line(AtomicU64::new(0)),
        }
    }

    /// Enters the bracket; `None` if the slot is closed: wait and try again.
    #[inline(always)]
    pub(crate) fn enter(&self) -> Option<Inside<'_>> {
        debug_assert_eq!(self.busy.load(Ordering::Relaxed), 0, "a bracket inside a bracket");
        self.busy.store(1, Ordering::Relaxed);
        if !memdesc::seeded!("bracket without a barrier") {
            // Pairs with the closer's heavy barrier.
            barrier::light();
        }
        let inside = Inside { slot: self };
        // Acquire pairs with the Release of `open`: what the closer changed in
        // the slot is ours to see.
        if self.closed.0.load(Ordering::Acquire) != 0 {
            return None;
        }
        Some(inside)
    }

    /// First half of closing; a heavy barrier must follow.
    pub(crate) fn close(&self) {
        self.closed.0.store(1, Ordering::Relaxed);
    }

    /// Second half: waits until the owner is outside. Bounded only by the
    /// owner's being scheduled.
    pub(crate) fn wait_until_quiet(&self) {
        // Acquire pairs with the Release at the bracket's end: what the owner
        // did inside is seen.
        while self.busy.load(Ordering::Acquire) != 0 {
            thread::yield_now();
        }
    }

    /// Lets the owner in again.
    pub(crate) fn open(&self) {
        self.closed.0.store(0, Ordering::Release);
    }

    /// The warm word of `level`, if any.
    #[inline]
    pub(crate) fn warm(&self, level: u32) -> Option<u64> {
        let word = self.warm[level as usize].load(Ordering::Relaxed);
        (word != NONE).then_some(word)
    }

    /// Whether `word` of `level` is kept unmerged.
    #[inline]
    pub(crate) fn is_warm(&self, level: u32, word: u64) -> bool {
        self.warm(level) == Some(word)
    }

    /// Makes `word` the warm one of `level`; returns the one before.
    pub(crate) fn set_warm(&self, level: u32, word: Option<u64>) -> Option<u64> {
        let before = self.warm(level);
        self.warm[level as usize].store(word.unwrap_or(NONE), Ordering::Relaxed);
        before
    }

    /// The masks, with their words.
    pub(crate) fn held(&self) -> impl Iterator<Item = &Held> {
        self.claims.iter().chain(&self.pending)
    }

    /// The pending words in use.
    #[inline(always)]
    pub(crate) fn pending_words(&self) -> usize {
        self.pending_words.load(Ordering::Relaxed) as usize
    }

    pub(crate) fn set_pending_words(&self, words: usize) {
        self.pending_words.store(words as u64, Ordering::Relaxed);
    }

    /// Where a free into `word` goes by a plain operation: a claim of it, or
    /// the pending word that was opened last.
    #[inline(always)]
    pub(crate) fn held_of(&self, word: u64) -> Option<&Held> {
        let last = self.pending_words().wrapping_sub(1);
        let claim = self.claims.iter().find(|claim| claim.is_of(word));
        claim.or_else(|| self.pending.get(last).filter(|pending| pending.is_of(word)))
    }

    /// Whether some granule of `block` is held here.
    pub(crate) fn holds_any_of(&self, block: Block) -> bool {
        self.held().any(|held| held.overlap(block) != 0)
    }

    /// Takes a single granule out of what is held; `false` if it is not here.
    pub(crate) fn carve(&self, one: Block) -> bool {
        self.held().any(|held| {
            let overlap = held.overlap(one);
            held.set_mask(held.mask() & !overlap);
            overlap != 0
        })
    }

    /// Granules held away from everybody else.
    pub(crate) fn hidden_granules(&self) -> u64 {
        self.held().map(|held| u64::from(held.mask().count_ones())).sum()
    }
}

/// The owner is inside its bracket until this is dropped.
#[derive(Debug)]
pub(crate) struct Inside<'a> {
    slot: &'a Slot,
}

impl Drop for Inside<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release pairs with the closer's Acquire.
        self.slot.busy.store(0, Ordering::Release);
    }
}
