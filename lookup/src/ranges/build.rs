//! Making trees of items in order.
//!
//! For a change: what is left of an item on either side of a range, and what
//! the range is to name. For a whole map: all its ranges. And from another map,
//! node by node.

use super::bits::{common_level, slot_around, slot_mask, slot_of};
use super::draft::{Draft, again, fits};
use super::edit::{Edit, Stopped};
use super::node::{Item, View};
use super::slab::Slab;
use super::word::Word;
use super::{Addresses, Value};
use memdesc::ORDERS_PER_LEVEL;

impl<V: Value> Edit<'_, V> {
    /// One item that a slot of this level can hold, for items in order that lie
    /// in it.
    pub(super) fn place(&mut self, items: &[Item], level: u32) -> Result<Option<Item>, Stopped> {
        self.place_clipped(items, level, Addresses::ALL)
    }

    /// The same for the parts of the items that lie in `clip`.
    pub(super) fn place_clipped(
        &mut self,
        items: &[Item],
        level: u32,
        clip: Addresses,
    ) -> Result<Option<Item>, Stopped> {
        let Some((head, rest)) = items.split_first() else { return Ok(None) };
        let Some(mut first) = clipped(*head, clip) else { return Ok(None) };
        // Neighbours of one value are one item.
        for next in rest {
            let end = first.at.last();
            if next.word != first.word || end.checked_add(1) != Some(next.at.first()) {
                return self.build(items, level, clip).map(Some);
            }
            let Some(more) = next.at.intersection(clip) else { break };
            first.at = Addresses::known(first.at.first(), more.last());
        }
        if !fits(first, level) {
            return self.build(&[first], level, clip).map(Some);
        }
        if first.word.is_value() {
            self.unit(first.word)?;
        }
        Ok(Some(first))
    }

    /// A node for items in order, the lowest that holds them all.
    fn build(&mut self, items: &[Item], above: u32, clip: Addresses) -> Result<Item, Stopped> {
        let (Some(head), Some(tail)) = (items.first(), items.last()) else {
            return Err(Stopped::NoMemory);
        };
        let start = head.at.first().max(clip.first());
        let end = tail.at.last().min(clip.last());
        let level = common_level(start, end);
        debug_assert!(level < above);
        let mut draft = Draft::new(level, start & !slot_mask(level + 1));
        let mut rest = items;
        let mut at = start;
        while let Some(item) = rest.first().and_then(|item| clipped(*item, clip)) {
            at = at.max(item.at.first());
            let within = slot_around(at, level);
            if item.word.is_value() && at == within.first() && item.at.last() >= within.last() {
                // Whole slots.
                let beyond = slot_around(item.at.last(), level);
                let full = item.at.last() == beyond.last();
                let stop = slot_of(item.at.last(), level) - u32::from(!full);
                draft.run(slot_of(at, level), stop, self.unit(item.word)?);
                if full {
                    rest = &rest[1..];
                }
                let Some(next) = slot_end(draft.base, stop, level).checked_add(1) else { break };
                at = next;
                continue;
            }
            // What has addresses in this slot.
            let count = rest.iter().take_while(|item| item.at.first() <= within.last()).count();
            let part = Addresses::known(at, within.last().min(clip.last()));
            if let Some(item) = self.place_clipped(&rest[..count], level, part)? {
                draft.item(item);
            }
            let goes_on = rest[count - 1].at.last().min(clip.last()) > within.last();
            rest = &rest[count - usize::from(goes_on)..];
            let Some(next) = within.last().checked_add(1) else { break };
            at = next;
        }
        self.make(&draft)
    }

    /// The word of the root for what the top slot is to hold: the root's
    /// addresses begin at 0.
    pub(super) fn root(&mut self, top: Option<Item>) -> Result<Word, Stopped> {
        let Some(top) = top else { return Ok(Word::NONE) };
        debug_assert!(!top.word.is_value(), "the top slot holds links only");
        if top.at.first() == 0 {
            return Ok(top.word);
        }
        let mut draft = Draft::new(common_level(0, top.at.last()), 0);
        draft.item(top);
        self.make(&draft).map(|item| item.word)
    }
}

/// A copy of a tree in another slab, with units of its own.
pub(super) fn copy_tree<V: Value>(slab: &mut Slab, node: View<'_>) -> Result<Word, Stopped> {
    // Where the node is makes no difference to what it holds.
    let mut draft = Draft::new(node.level, 0);
    draft.copy(node, 0, 63);
    draft.replace_words(|word| {
        if word.is_value() {
            // SAFETY: a `V`'s, whose unit the node has.
            return unsafe { again::<V>(word) };
        }
        copy_tree::<V>(slab, node.child(word))
    })?;
    slab.make(&draft).ok_or(Stopped::NoMemory)
}

fn clipped(item: Item, clip: Addresses) -> Option<Item> {
    Some(Item { at: item.at.intersection(clip)?, ..item })
}

fn slot_end(base: u64, slot: u32, level: u32) -> u64 {
    base | u64::from(slot) << (ORDERS_PER_LEVEL * level) | slot_mask(level)
}
