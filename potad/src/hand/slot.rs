//! The slot: what one hand holds, and the bracket that guards it.
//!
//! # Picture
//!
//! ```text
//!  busy     1: the owner is inside a bracket; 0: it is not
//!  claim 0  word 0x41  mask 0011..   64 places of level 0, taken by one swap
//!  claim 1  word 0x42  mask 1111..
//!  pending  word 0x97  mask 0100..   frees elsewhere, not yet given: word `w` at `w % 8`
//!  kept[k]  block                    of order k, from 6 on: the last one that was freed
//!  warm[l]  word                     of level l: not merged while it is ours
//!  closed   0                        written by whoever reaches in
//! ```
//!
//! # What always holds
//!
//! - Bits of a claim's or a pending mask, and blocks that are kept, belong to the
//!   hand: they are in no forest word, in no other mask and in no other slot.
//! - A word is at most once among the claims and pending words of a slot.
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
//! no read-modify-write. A hand hides at most [`HIDDEN_GRANULES`], and the last block
//! of each order from 6 on that was freed through it.

use super::held::Held;
use super::kept::Kept;
use super::orders::Orders;
use super::place::{Ahead, Brought};
use crate::placement::Class;
use lookup::Leaf;
use memdesc::sync::atomic::Ordering;
use memdesc::sync::own::AtomicU64;
use memdesc::sync::{barrier, thread};
use memdesc::{Block, LEVELS};

/// Claimed words of a hand.
pub(crate) const CLAIMS: usize = 2;

/// Words of pending frees of a hand, each where its number says; one that is
/// in another's way is given. So neighbours merge even where several streams
/// of frees mix, and a word's line has come near by the time it is written.
pub(crate) const PENDING: usize = if cfg!(any(loom, shuttle)) { 1 } else { 8 };

const _: () = assert!(PENDING <= 8, "a byte has a bit for each");

/// Granules that one hand can hold away from everybody else beside what it keeps: its
/// claims and its pending words.
pub(crate) const HIDDEN_GRANULES: u64 = 64 * (CLAIMS + PENDING) as u64;

/// No word.
const NONE: u64 = u64::MAX;

/// No count of marks.
const NEVER: u64 = u64::MAX;

/// The largest order that claims serve.
pub(crate) const CLAIMED_ORDERS: u32 = 2;

/// What one hand holds.
///
/// The owner's line, then the line that a closer writes.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Slot {
    // Written by the owner, in every operation.
    busy: AtomicU64,
    pub(crate) claims: [Held; CLAIMS],
    pub(super) pending: [Held; PENDING],
    /// Pending words that a block of order 3, 4 or 5 was freed into: for each
    /// order a byte, a bit for each word. (Some have left since.)
    pub(super) large: AtomicU64,
    /// Larger blocks.
    pub(super) kept: Kept,
    // Written by the owner when it moves on.
    /// The pending word that was opened last.
    pub(super) last: AtomicU64,
    /// Where the next search starts.
    pub(crate) near: AtomicU64,
    /// Words that the next refills look into before they search.
    pub(super) trail: Ahead,
    /// What claims have brought of late.
    pub(super) brought: Brought,
    warm: [AtomicU64; LEVELS as usize],
    pub(super) orders: Orders,
    /// For each level: the reporter's count of marks when nothing below the warm
    /// word was reported or seen.
    bare: [AtomicU64; LEVELS as usize],
    /// The node of lookup where the owner works.
    pub(crate) leaf: Leaf,
    // Never written.
    /// Whose regions are preferred.
    pub(super) class: Class,
    // Written by closers.
    closed: Line<AtomicU64>,
}

/// A value on a line of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Line<T>(T);

impl Slot {
    pub(crate) fn new(near: u64, class: Class, leaf: Leaf) -> Self {
        Self {
            busy: AtomicU64::new(0),
            claims: core::array::from_fn(|_| Held::empty()),
            pending: core::array::from_fn(|_| Held::empty()),
            large: AtomicU64::new(0),
            kept: Kept::nothing(),
            last: AtomicU64::new(0),
            near: AtomicU64::new(near),
            trail: Ahead::nothing(),
            brought: Brought::nothing(),
            warm: core::array::from_fn(|_| AtomicU64::new(NONE)),
            orders: Orders::new(near),
            bare: core::array::from_fn(|_| AtomicU64::new(NEVER)),
            leaf,
            class,
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
        if self.closed.0.load(memdesc::weakened!("entered relaxed", Acquire)) != 0 {
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
        while self.busy.load(memdesc::weakened!("quiet is seen relaxed", Acquire)) != 0 {
            thread::yield_now();
        }
    }

    /// Lets the owner in again.
    pub(crate) fn open(&self) {
        self.closed.0.store(0, memdesc::weakened!("reopened relaxed", Release));
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
        if word != before {
            self.warm[level as usize].store(word.unwrap_or(NONE), Ordering::Relaxed);
            self.set_bare(level, NEVER);
        }
        before
    }

    /// Whether nothing below the level's warm word was reported or seen when the
    /// count of marks was this.
    #[inline(always)]
    pub(super) fn is_bare(&self, level: u32, marks: u64) -> bool {
        self.bare[level as usize].load(Ordering::Relaxed) == marks
    }

    /// Nothing was, and the count was read before the bits.
    pub(super) fn set_bare(&self, level: u32, marks: u64) {
        self.bare[level as usize].store(marks, Ordering::Relaxed);
    }

    /// The masks, with their words.
    pub(crate) fn held(&self) -> impl Iterator<Item = &Held> {
        self.claims.iter().chain(&self.pending)
    }

    /// Where frees into `word` wait, unless it is a claim's.
    #[inline(always)]
    pub(super) fn pending_of(&self, word: u64) -> &Held {
        &self.pending[word as usize % PENDING]
    }

    /// Whether some granule of `block` is held here.
    pub(crate) fn holds_any_of(&self, block: Block) -> bool {
        self.held().any(|held| held.overlap(block) != 0)
            || self.kept().any(|kept| kept.overlaps(block))
    }

    /// The larger blocks that it keeps.
    pub(crate) fn kept(&self) -> impl Iterator<Item = Block> {
        self.kept.blocks()
    }

    /// Takes a single granule out of the masks; `false` if it is not there.
    pub(crate) fn carve(&self, one: Block) -> bool {
        self.held().any(|held| {
            let overlap = held.overlap(one);
            held.set_mask(held.mask() & !overlap);
            overlap != 0
        })
    }

    /// Granules held away from everybody else.
    pub(crate) fn hidden_granules(&self) -> u64 {
        let held: u64 = self.held().map(|held| u64::from(held.mask().count_ones())).sum();
        held + self.kept().map(|block| block.order().granules()).sum::<u64>()
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
        self.slot.busy.store(0, memdesc::weakened!("bracket ends relaxed", Release));
    }
}
