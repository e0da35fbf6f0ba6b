//! A node in the making.

use super::bits::{Bits, TOP, slot_around, slot_mask, slot_of, slots};
use super::edit::Stopped;
use super::node::{Head, Item, View, lone_at, write_node};
use super::word::Word;
use super::{Addresses, Value};
use core::ptr::{self, NonNull};
use memdesc::ORDERS_PER_LEVEL;
use smallvec::SmallVec;

/// Lone values are in slots up to this level: their place has 32 bits an end.
pub(super) const LONE_LEVELS: u32 = 5;
/// Words of the largest node: 64 lone pairs.
pub(super) const MAX_WORDS: usize = 128;

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

    /// Replaces the word of each entry by what is made of it, until that is
    /// stopped.
    pub(super) fn replace_words(
        &mut self,
        mut make: impl FnMut(Word) -> Result<Word, Stopped>,
    ) -> Result<(), Stopped> {
        let (mut left, mut index) = (self.bits.heads, 0);
        while left != 0 {
            let slot = left.trailing_zeros();
            left &= left - 1;
            self.words[index] = make(self.words[index])?;
            index += 1 + usize::from(self.bits.is_lone(slot));
        }
        Ok(())
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
    /// - As for [`write_node`], with the draft's words.
    pub(super) unsafe fn write(&self, node: NonNull<Head>) {
        // SAFETY: the caller's promise.
        unsafe { write_node(node, self.bits, &self.words) };
    }
}

/// Whether a slot of this level can hold an item that lies in it.
pub(super) fn fits(item: Item, level: u32) -> bool {
    if !item.word.is_value() {
        return true;
    }
    level <= LONE_LEVELS || (level < TOP && item.at == slot_around(item.at.first(), level))
}

/// One more unit of a value's word, if there can be one.
///
/// # Safety
///
/// - The word is a `V`'s, and a unit of it is live.
#[inline]
pub(super) unsafe fn again<V: Value>(value: Word) -> Result<Word, Stopped> {
    // SAFETY: the caller's promise.
    if V::COUNTED && unsafe { V::again(value.raw()) }.is_none() {
        return Err(Stopped::NoUnit);
    }
    Ok(value)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[repr(align(32))]
    struct Line(#[expect(dead_code, reason = "written as a node")] [u64; 4]);

    fn value(number: u64) -> Word {
        Word::of_value(crate::Payload::new(number).unwrap().into_raw())
    }

    fn item(first: u64, last: u64, number: u64) -> Item {
        Item { at: Addresses::new(first, last).unwrap(), word: value(number) }
    }

    #[test]
    fn what_is_drafted_is_read_back() {
        let mut memory = [const { Line([0; 4]) }; 40];
        let base = 64 * 64 * 7;
        let mut draft = Draft::new(1, base);
        draft.item(item(base + 3, base + 9, 1));
        draft.item(item(base + 64, base + 127, 2));
        draft.run(2, 5, value(3));
        draft.run(6, 6, value(4));
        draft.item(item(base + 64 * 63 + 63, base + 64 * 63 + 63, 5));
        assert_eq!(draft.bits().words(), 7);
        let node = NonNull::new(memory.as_mut_ptr()).unwrap().cast::<Head>();
        // SAFETY: large enough, aligned, zeroed, and ours.
        unsafe { draft.write(node) };
        // SAFETY: just written, and live to the end of the test.
        let view = unsafe { View::follow(Word::of_link(node, 1)) }.unwrap();
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
