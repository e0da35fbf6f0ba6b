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

use super::word::Word;
use super::{Addresses, Value};
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use memdesc::ORDERS_PER_LEVEL;
use memdesc::sync::atomic::{AtomicPtr, Ordering};
use memdesc::sync::cell::UnsafeCell;
use smallvec::SmallVec;

/// The level of the slot that would hold everything: above the last.
pub(super) const TOP: u32 = memdesc::LEVELS;
/// Lone values are in slots up to this level: their place has 32 bits an end.
pub(super) const LONE_LEVELS: u32 = 5;
/// Words of the largest node: 64 lone pairs.
pub(super) const MAX_WORDS: usize = 128;

/// The two bitmaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Bits {
    /// An entry begins here.
    pub(super) heads: u64,
    /// Alone: the entry before goes on here. With a head: a lone pair.
    pub(super) more: u64,
}

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

/// The addresses of a slot, less one: what is masked out.
#[inline]
pub(super) const fn slot_mask(level: u32) -> u64 {
    if level >= TOP { u64::MAX } else { (1 << (ORDERS_PER_LEVEL * level)) - 1 }
}

/// The same for the level of a node, which is not the top.
#[inline(always)]
const fn low_mask(level: u32) -> u64 {
    !(u64::MAX << (ORDERS_PER_LEVEL * level))
}

/// The slot of an address within its node.
#[inline]
pub(super) const fn slot_of(at: u64, level: u32) -> u32 {
    // Lossless: six bits.
    (at >> (ORDERS_PER_LEVEL * level)) as u32 & 63
}

/// The addresses of the slot of `at`; below the top.
#[inline]
pub(super) const fn slot_around(at: u64, level: u32) -> Addresses {
    Addresses::known(at & !low_mask(level), at | low_mask(level))
}

/// The lowest level at which both are in one node.
#[inline]
pub(super) const fn common_level(one: u64, other: u64) -> u32 {
    match (one ^ other).checked_ilog2() {
        Some(bit) => bit / ORDERS_PER_LEVEL,
        None => 0,
    }
}

#[inline]
const fn below(slot: u32) -> u64 {
    if slot > 63 { u64::MAX } else { (1 << slot) - 1 }
}

/// The slots `first..=last`.
#[inline]
pub(super) const fn slots(first: u32, last: u32) -> u64 {
    below(last + 1) & !below(first)
}

impl Bits {
    #[inline]
    pub(super) const fn lone(self) -> u64 {
        self.heads & self.more
    }

    /// Number of words.
    #[inline]
    pub(super) const fn words(self) -> usize {
        (self.heads.count_ones() + self.lone().count_ones()) as usize
    }

    /// Words of the entries that begin before a slot.
    #[inline]
    const fn words_before(self, slot: u32) -> usize {
        let heads = (self.heads & below(slot)).count_ones();
        (heads + (self.lone() & below(slot)).count_ones()) as usize
    }

    #[inline]
    pub(super) const fn has(self, slot: u32) -> bool {
        (self.heads | self.more) >> slot & 1 != 0
    }

    #[inline]
    pub(super) const fn is_head(self, slot: u32) -> bool {
        self.heads >> slot & 1 != 0
    }

    #[inline]
    const fn is_lone(self, slot: u32) -> bool {
        self.lone() >> slot & 1 != 0
    }

    /// The slot where the entry of an occupied slot begins.
    #[inline]
    pub(super) const fn run_first(self, slot: u32) -> u32 {
        slot - (self.heads << (63 - slot)).leading_zeros()
    }

    /// The slot where it ends.
    #[inline]
    pub(super) const fn run_last(self, slot: u32) -> u32 {
        slot + ((self.more & !self.heads) >> slot >> 1).trailing_ones()
    }
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
/// guard that was pinned before the node was reached from the root, or in the
/// time for which the writer's lock is held, or nobody else knows the map.
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

    #[inline]
    unsafe fn word(self, index: usize) -> Word {
        // SAFETY: the caller's promise.
        let cell = unsafe { self.cell(index) };
        // `Acquire` pairs with the Release store of a newer link: its node is
        // initialised.
        Word(cell.load(Ordering::Acquire))
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

/// A node in the making, slot by slot in ascending order.
pub(super) struct Draft {
    pub(super) level: u32,
    /// Its first address.
    pub(super) base: u64,
    bits: Bits,
    words: SmallVec<[Word; MAX_WORDS]>,
}

impl Draft {
    pub(super) fn new(level: u32, base: u64) -> Self {
        debug_assert_eq!(base & slot_mask(level + 1), 0);
        Self { level, base, bits: Bits::default(), words: SmallVec::new() }
    }

    pub(super) fn bits(&self) -> Bits {
        self.bits
    }

    #[inline]
    fn push(&mut self, word: Word) {
        self.words.push(word);
    }

    /// Takes over the entries of a node that begin in `first..=last`, as far as
    /// they reach in there. The first slot is no continuation.
    pub(super) fn copy(&mut self, node: View<'_>, first: u32, last: u32) {
        if first > last {
            return;
        }
        debug_assert!(!node.bits.has(first) || node.bits.is_head(first));
        let kept = slots(first, last);
        self.bits.heads |= node.bits.heads & kept;
        self.bits.more |= node.bits.more & kept;
        for index in node.bits.words_before(first)..node.bits.words_before(last + 1) {
            // SAFETY: below the words of the entries that begin up to `last`.
            self.push(unsafe { node.word(index) });
        }
    }

    /// A value over whole slots. The draft takes over a unit.
    pub(super) fn run(&mut self, first: u32, last: u32, value: Word) {
        debug_assert!(value.is_value() && first <= last);
        self.bits.heads |= 1 << first;
        self.bits.more |= slots(first, last) & !(1 << first);
        self.push(value);
    }

    /// What one slot holds; it fits (see [`fits`]). The draft takes over a unit,
    /// or the node.
    pub(super) fn item(&mut self, item: Item) {
        let slot = slot_of(item.at.first(), self.level);
        let within = slot_around(item.at.first(), self.level);
        self.bits.heads |= 1 << slot;
        self.push(item.word);
        let whole = match item.word.is_value() {
            true => item.at == within,
            false => item.word.level() + 1 == self.level,
        };
        if whole {
            return;
        }
        let offset = |at: u64| at - within.first();
        let place = match item.word.is_value() {
            true => offset(item.at.first()) << 32 | offset(item.at.last()),
            false => offset(item.at.first()),
        };
        self.bits.more |= 1 << slot;
        // Lossless: 64-bit targets only.
        self.push(Word(ptr::without_provenance_mut(place as usize)));
    }

    /// Replaces the word of each entry by what is made of it; `None` as soon as
    /// nothing is.
    pub(super) fn replace_words(
        &mut self,
        mut make: impl FnMut(Word) -> Option<Word>,
    ) -> Option<()> {
        let (mut left, mut index) = (self.bits.heads, 0);
        while left != 0 {
            let slot = left.trailing_zeros();
            left &= left - 1;
            self.words[index] = make(self.words[index])?;
            index += 1 + usize::from(self.bits.is_lone(slot));
        }
        Some(())
    }

    /// The one entry, if there is just one.
    pub(super) fn single(&self) -> Option<Item> {
        if self.bits.heads.count_ones() != 1 {
            return None;
        }
        let (first, word) = (self.bits.heads.trailing_zeros(), self.words[0]);
        let start = |slot: u32| self.base | u64::from(slot) << (ORDERS_PER_LEVEL * self.level);
        let at = match self.bits.is_lone(first) {
            true => lone_at(start(first), word, self.words[1].0.addr() as u64),
            false => Addresses::known(
                start(first),
                start(self.bits.run_last(first)) | slot_mask(self.level),
            ),
        };
        Some(Item { at, word })
    }

    /// Writes the node into memory for as many words.
    ///
    /// # Safety
    ///
    /// - `node` is the caller's alone, 32-byte aligned, and `bytes_of` the
    ///   draft's words large; its head and words are initialised atomics.
    pub(super) unsafe fn write(&self, node: NonNull<Head>) {
        // SAFETY: the caller's alone.
        let head = unsafe { node.as_ref() };
        // SAFETY: nobody else looks.
        head.bits.with_mut(|bits| unsafe { *bits = self.bits });
        let words = node.as_ptr().wrapping_add(1).cast::<AtomicPtr<()>>();
        for (index, word) in self.words.iter().enumerate() {
            // SAFETY: within the node.
            let cell = unsafe { &*words.wrapping_add(index).cast_const() };
            // Relaxed: the store of the link publishes it.
            cell.store(word.0, Ordering::Relaxed);
        }
    }
}

/// Whether a slot of this level can hold an item that lies in it.
pub(super) fn fits(item: Item, level: u32) -> bool {
    if !item.word.is_value() {
        return true;
    }
    level <= LONE_LEVELS || (level < TOP && item.at == slot_around(item.at.first(), level))
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

/// One more unit of a value's word.
///
/// # Safety
///
/// - The word is a `V`'s, and a unit of it is live.
#[inline]
pub(super) unsafe fn again<V: Value>(value: Word) -> Word {
    if V::COUNTED {
        // SAFETY: the caller's promise.
        unsafe { V::again(value.raw()) };
    }
    value
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn value(number: u64) -> Word {
        Word::of_value(crate::Payload::new(number).unwrap().into_raw())
    }

    fn item(first: u64, last: u64, number: u64) -> Item {
        Item { at: Addresses::new(first, last).unwrap(), word: value(number) }
    }

    #[test]
    fn what_is_drafted_is_read_back() {
        let mut memory = [const { core::mem::MaybeUninit::<[u64; 4]>::zeroed() }; 40];
        let base = 64 * 64 * 7;
        let mut draft = Draft::new(1, base);
        draft.item(item(base + 3, base + 9, 1));
        draft.item(item(base + 64, base + 127, 2));
        draft.run(2, 5, value(3));
        draft.run(6, 6, value(4));
        draft.item(item(base + 64 * 63 + 63, base + 64 * 63 + 63, 5));
        assert_eq!(draft.bits().words(), 7);
        let node = NonNull::new(memory.as_mut_ptr()).unwrap().cast::<Head>();
        // SAFETY: large enough, aligned enough for its atomics, and ours.
        unsafe { draft.write(node) };
        let node = NonNull::new(node.as_ptr()).unwrap();
        // Alignment matters to links alone.
        let view = View { at: node, bits: draft.bits(), level: 1, live: PhantomData };
        let at = |slot| view.whole_item(base, slot);
        assert_eq!(at(0), Some(item(base + 3, base + 9, 1)));
        assert_eq!(at(1), Some(item(base + 64, base + 127, 2)));
        for slot in 2..=5 {
            assert_eq!(at(slot), Some(item(base + 128, base + 6 * 64 - 1, 3)));
            let part = view.item(base, slot).unwrap().at;
            assert_eq!(part, slot_around(base + u64::from(slot) * 64, 1));
        }
        assert_eq!(at(6), Some(item(base + 6 * 64, base + 7 * 64 - 1, 4)));
        assert_eq!(at(7), None);
        assert_eq!(at(63), Some(item(base + 4095, base + 4095, 5)));

        let mut again = Draft::new(1, base);
        again.copy(view, 0, 3);
        again.run(4, 5, value(3));
        again.copy(view, 6, 63);
        assert_eq!(again.bits().words(), 8);
        assert_eq!(again.bits().heads, draft.bits().heads | 1 << 4);
    }
}
