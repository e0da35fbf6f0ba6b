//! The node: 64 slots in two bitmaps and packed words.
//!
//! # Picture
//!
//! ```text
//!  +---------+---------+--------+--------+--------+--
//!  | heads A | more  B | word 0 | word 1 | word 2 | ..     8 bytes each
//!  +---------+---------+--------+--------+--------+--
//!  index of slot s's word = heads up to s + lone pairs up to s - 1
//!
//!  place, beside a lone value:  first << 32 | last    offsets in the slot; levels 1 to 5
//!         beside a lone link:   first                 of the node's addresses; its level is in the link
//! ```
//!
//! # What always holds
//!
//! A node of level `l` stands for `64^(l+1)` addresses from a multiple of that,
//! which is not stored: whoever reached the node knows. Bitmaps and places
//! never change while it is linked; words change only from link to link.
//!
//! # Sharing and cost
//!
//! Any reader under a guard. One line for the bitmaps and the first six words,
//! at most one more for the word.

use super::Addresses;
use super::bits::{Bits, low_mask, slot_around, slot_mask, slot_of};
use super::word::Word;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use memdesc::ORDERS_PER_LEVEL;
use memdesc::sync::atomic::{AtomicPtr, Ordering};
use memdesc::sync::cell::UnsafeCell;

/// How a node begins; its words follow.
#[repr(C)]
pub(super) struct Head {
    bits: UnsafeCell<Bits>,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Head>() == 16 && size_of::<AtomicPtr<()>>() == 8);

/// Bytes of a node of so many words.
pub(super) const fn bytes_of(words: usize) -> usize {
    size_of::<Head>() + words * size_of::<AtomicPtr<()>>()
}

/// What an occupied slot holds, or a part of it: these addresses, this word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) at: Addresses,
    pub(super) word: Word,
}

/// Where one step of a look-up leads.
pub(super) enum Step {
    Nothing,
    /// The address is named.
    Value(Hit),
    /// A link.
    Down(Word),
}

/// Where a look-up ended: a value, and what says of which addresses.
#[derive(Clone, Copy)]
pub(super) struct Hit {
    pub(super) word: Word,
    at: u64,
    bits: Bits,
    level: u32,
    /// Of a lone value.
    place: Option<u64>,
}

impl Hit {
    /// The value with the addresses of its piece.
    #[inline]
    pub(super) fn item(self) -> Item {
        let within = slot_around(self.at, self.level);
        if let Some(place) = self.place {
            return Item { at: lone_at(within.first(), self.word, place), word: self.word };
        }
        let slot = slot_of(self.at, self.level);
        let (first, last) = (self.bits.run_first(slot), self.bits.run_last(slot));
        let from = |slots: u32| u64::from(slots) << (ORDERS_PER_LEVEL * self.level);
        let (before, after) = (from(slot - first), from(last - slot));
        let at = Addresses::known(within.first() - before, within.last() + after);
        Item { at, word: self.word }
    }
}

/// A node that can be read.
///
/// # Invariants
///
/// The node is initialised and not given back before `'a` ends: `'a` lies in a
/// guard that was pinned before the node was reached from the root, or inside
/// the signal gate that was entered before, or in the time for which the
/// writer's lock is held, or nobody else knows the map.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    at: NonNull<Head>,
    pub(super) bits: Bits,
    pub(super) level: u32,
    live: PhantomData<&'a Head>,
}

impl<'a> View<'a> {
    /// Looks at the node of a link; `None` for no root.
    ///
    /// # Safety
    ///
    /// - `link` is none, or a link to a node that is live as the invariant says.
    #[inline(always)]
    pub(super) unsafe fn follow(link: Word) -> Option<Self> {
        let at = NonNull::new(link.node())?;
        // SAFETY: live, and begins with a head.
        let head: &'a Head = unsafe { at.as_ref() };
        // SAFETY: written before the link was, and not again while it is live.
        let bits = head.bits.with(|bits| unsafe { *bits });
        // INVARIANT: the promise.
        Some(Self { at, bits, level: link.level(), live: PhantomData })
    }

    /// The link that leads here.
    pub(super) fn link(self) -> Word {
        Word::of_link(self.at, self.level)
    }

    /// The node below a link of this node.
    #[inline(always)]
    pub(super) fn child(self, link: Word) -> Self {
        debug_assert!(!link.is_value() && link.level() < self.level);
        self.reached(link)
    }

    /// The node of a link that was reached from this node, or its own.
    #[inline(always)]
    pub(super) fn reached(self, link: Word) -> Self {
        // SAFETY: what was reached from a readable node is readable for as
        // long: it was linked after the guard was pinned, or is linked under
        // the lock.
        let node = unsafe { Self::follow(link) };
        node.expect("links in nodes are not null")
    }

    /// # Safety
    ///
    /// - `index` is below the number of words.
    #[inline]
    unsafe fn cell(self, index: usize) -> &'a AtomicPtr<()> {
        let words = self.at.as_ptr().wrapping_add(1).cast::<AtomicPtr<()>>();
        // SAFETY: within the node, which is live.
        unsafe { &*words.wrapping_add(index).cast_const() }
    }

    /// # Safety
    ///
    /// - As above.
    #[inline]
    pub(super) unsafe fn word(self, index: usize) -> Word {
        // SAFETY: the caller's promise.
        let cell = unsafe { self.cell(index) };
        // `Acquire` pairs with the Release store of a newer link: its node is
        // initialised.
        Word(cell.load(memdesc::weakened!("range walk relaxed", Acquire)))
    }

    /// The word of an occupied slot, and its place if it is a lone pair.
    #[inline(always)]
    pub(super) fn entry(self, slot: u32) -> Option<(Word, Option<u64>)> {
        if !self.bits.has(slot) {
            return None;
        }
        let up = 63 - slot;
        let lone = self.bits.lone() << up;
        let after = ((self.bits.heads << up).count_ones() + lone.count_ones()) as usize;
        if lone >> 63 == 0 {
            // SAFETY: an entry begins at or before the slot, so `after` counts
            // at least one of the words.
            return Some((unsafe { self.word(after - 1) }, None));
        }
        // SAFETY: the slot's own pair is counted in `after`: two words.
        let word = unsafe { self.word(after - 2) };
        // SAFETY: as above.
        let place = unsafe { self.word(after - 1) };
        Some((word, Some(place.0.addr() as u64)))
    }

    /// One step of a look-up; `at` is one of the node's addresses.
    #[inline(always)]
    pub(super) fn step(self, at: u64) -> Step {
        let Some((word, place)) = self.entry(slot_of(at, self.level)) else {
            return Step::Nothing;
        };
        let offset = at & low_mask(self.level);
        if let Some(place) = place {
            let is_inside = match word.is_value() {
                true => (place >> 32..=place & 0xffff_ffff).contains(&offset),
                // The node's first address: the rest must agree.
                false => offset ^ place <= low_mask(word.level() + 1),
            };
            if !is_inside {
                return Step::Nothing;
            }
        }
        if !word.is_value() {
            return Step::Down(word);
        }
        Step::Value(Hit { word, at, bits: self.bits, level: self.level, place })
    }

    /// What a slot holds; of a run over several slots, this slot's part.
    /// `base` is the node's first address.
    #[inline]
    pub(super) fn item(self, base: u64, slot: u32) -> Option<Item> {
        let (word, place) = self.entry(slot)?;
        let within =
            slot_around(base | u64::from(slot) << (ORDERS_PER_LEVEL * self.level), self.level);
        let Some(place) = place else { return Some(Item { at: within, word }) };
        Some(Item { at: lone_at(within.first(), word, place), word })
    }

    /// The whole entry that holds an occupied slot.
    #[inline]
    pub(super) fn whole_item(self, base: u64, slot: u32) -> Option<Item> {
        let item = self.item(base, slot)?;
        let (first, last) = (self.bits.run_first(slot), self.bits.run_last(slot));
        if first == last {
            return Some(item);
        }
        let start = |slot: u32| base | u64::from(slot) << (ORDERS_PER_LEVEL * self.level);
        let at = Addresses::known(start(first), start(last) | slot_mask(self.level));
        Some(Item { at, ..item })
    }

    /// Puts a newer node in the place of the one that a slot links to: the
    /// moment at which a change becomes visible.
    pub(super) fn relink(self, slot: u32, newer: Word) {
        let index = self.bits.words_before(slot);
        debug_assert!(self.bits.is_head(slot));
        // SAFETY: an entry begins at the slot, so its word is there.
        let cell = unsafe { self.cell(index) };
        cell.store(newer.0, publishing());
    }
}

/// The addresses of a lone pair in the slot that begins at `first`.
#[inline]
pub(super) fn lone_at(first: u64, word: Word, place: u64) -> Addresses {
    if word.is_value() {
        return Addresses::known(first | place >> 32, first | place & 0xffff_ffff);
    }
    let base = first | place;
    Addresses::known(base, base | low_mask(word.level() + 1))
}

/// The ordering of the one store that publishes a change: pairs with the
/// Acquire loads of links.
#[inline]
pub(super) fn publishing() -> Ordering {
    match memdesc::seeded!("range node linked relaxed") {
        true => Ordering::Relaxed,
        false => Ordering::Release,
    }
}

/// Writes a node into memory.
///
/// # Safety
///
/// - `node` is the caller's alone, 32-byte aligned, and large enough for so
///   many words; its head and words are initialised.
/// - The bitmaps count as many words as there are.
pub(super) unsafe fn write_node(node: NonNull<Head>, to: Bits, words: &[Word]) {
    // SAFETY: the caller's alone.
    let head = unsafe { node.as_ref() };
    // SAFETY: nobody else looks.
    head.bits.with_mut(|bits| unsafe { *bits = to });
    let first = node.as_ptr().wrapping_add(1).cast::<AtomicPtr<()>>();
    for (index, word) in words.iter().enumerate() {
        // SAFETY: within the node.
        let cell = unsafe { &*first.wrapping_add(index).cast_const() };
        // Relaxed: the store of the link publishes it.
        cell.store(word.0, Ordering::Relaxed);
    }
}

/// A node on a list of free ones: its class in the bitmaps, the next in its
/// first word.
///
/// # Safety
///
/// - `node` is the caller's alone, and has a head and a word.
pub(super) unsafe fn set_free(node: NonNull<Head>, class: usize, next: *mut Head) {
    // SAFETY: the caller's promise.
    let head = unsafe { node.as_ref() };
    // SAFETY: nobody else looks: its readers are gone.
    head.bits.with_mut(|bits| unsafe { *bits = Bits { heads: class as u64, more: 0 } });
    let word = node.as_ptr().wrapping_add(1).cast::<AtomicPtr<()>>();
    // SAFETY: within the node.
    let word = unsafe { &*word.cast_const() };
    // Relaxed: the list it goes on says when others may look.
    word.store(next.cast(), Ordering::Relaxed);
}

/// What [`set_free`] wrote.
///
/// # Safety
///
/// - As for `set_free`, which was called since the node was last written.
pub(super) unsafe fn free_node(node: NonNull<Head>) -> (usize, *mut Head) {
    // SAFETY: the caller's promise.
    let head = unsafe { node.as_ref() };
    // SAFETY: nobody else looks.
    let class = head.bits.with(|bits| unsafe { *bits }).heads;
    let word = node.as_ptr().wrapping_add(1).cast::<AtomicPtr<()>>();
    // SAFETY: within the node.
    let word = unsafe { &*word.cast_const() };
    // Lossless: a class is small.
    (class as usize, word.load(Ordering::Relaxed).cast())
}

/// Makes memory a node's.
///
/// # Safety
///
/// - `node` is the caller's alone, aligned, and has `bytes` bytes, which are at
///   least a head's.
pub(super) unsafe fn init(node: NonNull<Head>, bytes: usize) {
    let head = Head { bits: UnsafeCell::new(Bits::default()) };
    // SAFETY: the caller's alone, and large enough.
    unsafe { node.write(head) };
    let words = node.as_ptr().wrapping_add(1).cast::<AtomicPtr<()>>();
    let count = (bytes - size_of::<Head>()) / size_of::<AtomicPtr<()>>();
    for index in 0..count {
        // SAFETY: as above.
        unsafe { words.wrapping_add(index).write(AtomicPtr::new(ptr::null_mut())) };
    }
}
