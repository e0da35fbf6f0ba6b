//! Changing the tree: making anew what differs.
//!
//! # Picture
//!
//! ```text
//!  set 0x0fc0..=0x20ff            before              after
//!                             P ---> N               P ---> N'     the one store: P's word
//!                                   /|\                    /|\
//!  first and last part ways in N:  a b c                  a'v c'   a', c' made anew; b is gone
//! ```
//!
//! # How
//!
//! One recursion over nodes and slots. As long as the range lies inside one
//! slot, the way is **single**: if the slot links to a node, whatever changes
//! changes below, and if what comes back is a newer node of the same level and
//! addresses, it is stored in the slot's word. From the node on in which the
//! range takes several slots the way is a **copy**: nothing that is linked is
//! touched, and what comes back goes into the newer node.
//!
//! # Whose is what
//!
//! Words in nodes, drafts and returned items own their unit or node. Values in
//! the lists given to `place` and `build` are only lent: whatever is made of
//! them takes units of its own. A node that was replaced names in its `gone`
//! the slots whose units and subtrees nobody took over.

use super::bits::{TOP, slot_around, slot_mask, slot_of, slots};
use super::draft::{Draft, again, fits};
use super::node::{Item, View};
use super::retire::Retired;
use super::slab::Slab;
use super::word::Word;
use super::{Addresses, RangesError, Value};
use alloc::vec::Vec;
use core::marker::PhantomData;
use memdesc::ORDERS_PER_LEVEL;

/// Why a change cannot be made. Nothing was linked then: what was made so far
/// waits in the slab for the map's drop, and units that it has leak.
#[derive(Debug)]
pub(super) enum Stopped {
    NoMemory,
    /// The value gives no more units.
    NoUnit,
}

impl Stopped {
    pub(super) fn error(self, asked: Addresses) -> RangesError {
        match self {
            Self::NoMemory => RangesError::OutOfMemory { asked },
            Self::NoUnit => RangesError::TooManyUnits { asked },
        }
    }
}

/// How the tree is changed on the way down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The range lies in one slot of every node so far.
    Single,
    /// A node above is made anew: nothing linked may change.
    Copy,
}

/// What became of a node.
enum Edited {
    /// It stands as it is, or differs in its links alone.
    Stands,
    /// It is retired; this is to take its place.
    Becomes(Option<Item>),
}

/// What is to become of a slot.
pub(super) struct Change {
    pub(super) now: Option<Item>,
    /// Whether the unit or the subtree of the old item is given up.
    pub(super) old: Old,
}

/// The old item of a slot that changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Old {
    /// Its unit is to be dropped, or all below it given back.
    Gone,
    /// Part of what is now, or retired already.
    Taken,
}

/// A change in progress, under the writer's lock.
pub(super) struct Edit<'w, V: Value> {
    pub(super) slab: &'w mut Slab,
    pub(super) retired: &'w mut Vec<Retired>,
    /// What the range is to name; lent.
    pub(super) value: Option<Word>,
    pub(super) of: PhantomData<V>,
}

/// At most what is left of an item before and after the range, and the range.
type Items = smallvec::SmallVec<[Item; 3]>;

impl<V: Value> Edit<'_, V> {
    /// What becomes of a slot of `level` if `range`, which lies in the slot and
    /// is not all of it (but at the top), is set to the value. `None`: the slot
    /// stands.
    pub(super) fn slot(
        &mut self,
        old: Option<Item>,
        level: u32,
        range: Addresses,
        way: Way,
    ) -> Result<Option<Change>, Stopped> {
        let new = self.value.map(|word| Item { at: range, word });
        let Some(old) = old.filter(|old| old.at.overlaps(range)) else {
            return self.beside(old, new, level);
        };
        if old.word.is_value() {
            let rest = |at| Item { at, word: old.word };
            let parts = [old.at.before(range).map(rest), new, old.at.after(range).map(rest)];
            let items: Items = parts.into_iter().flatten().collect();
            return Ok(Some(Change { now: self.place(&items, level)?, old: Old::Gone }));
        }
        if range.covers(old.at) {
            let items: Items = new.into_iter().collect();
            return Ok(Some(Change { now: self.place(&items, level)?, old: Old::Gone }));
        }
        self.link(old, level, range, way)
    }

    /// Nothing of the slot's old item is in the range.
    fn beside(
        &mut self,
        old: Option<Item>,
        new: Option<Item>,
        level: u32,
    ) -> Result<Option<Change>, Stopped> {
        let Some(new) = new else { return Ok(None) };
        let mut items: Items = old.into_iter().chain([new]).collect();
        items.sort_unstable_by_key(|item| item.at);
        let taken = old.is_some_and(|old| !old.word.is_value());
        let now = self.place(&items, level)?;
        Ok(Some(Change { now, old: if taken { Old::Taken } else { Old::Gone } }))
    }

    /// The slot links to a node, and the range has some of its addresses.
    fn link(
        &mut self,
        old: Item,
        level: u32,
        range: Addresses,
        way: Way,
    ) -> Result<Option<Change>, Stopped> {
        let Some(part) = range.intersection(old.at) else { return Ok(None) };
        let way = if part == range { way } else { Way::Copy };
        let changed = |now| Ok(Some(Change { now, old: Old::Taken }));
        let child = match self.node(old, level, part, way)? {
            // A value that goes on outside: what is made of it in the node is a
            // copy's, so the node does not stand.
            Edited::Stands => {
                debug_assert!(self.value.is_none() || part == range);
                return Ok(None);
            }
            Edited::Becomes(child) if self.value.is_none() || part == range => {
                return changed(child);
            }
            Edited::Becomes(child) => child,
        };
        // The range goes on outside of the node's addresses: a node above
        // takes both.
        let outside = |at| self.value.map(|word| Item { at, word });
        let before = range.before(old.at).and_then(outside);
        let after = range.after(old.at).and_then(outside);
        let items: Items = [before, child, after].into_iter().flatten().collect();
        let now = self.place(&items, level)?;
        if let Some(value) = child.filter(|child| child.word.is_value()) {
            // Lent to `place` like the rest; the unit was made for it just now.
            self.drop_unit(value.word);
        }
        changed(now)
    }

    fn drop_unit(&self, value: Word) {
        if V::COUNTED {
            // SAFETY: a unit of a `V` that no node has; another was made of it.
            drop(unsafe { V::from_raw(value.raw()) });
        }
    }

    /// Edits the node of a link, which hangs in a slot of level `above`; the
    /// range lies in its addresses.
    fn node(
        &mut self,
        link: Item,
        above: u32,
        range: Addresses,
        way: Way,
    ) -> Result<Edited, Stopped> {
        // SAFETY: reached from the root, under the lock.
        let Some(node) = (unsafe { View::follow(link.word) }) else { return Ok(Edited::Stands) };
        let (base, level) = (link.at.first(), node.level);
        let (first, last) = (slot_of(range.first(), level), slot_of(range.last(), level));
        let whole = |slot: Addresses| range.covers(slot);
        let (first_slot, last_slot) =
            (slot_around(range.first(), level), slot_around(range.last(), level));
        if first == last && !whole(first_slot) {
            return self.in_one_slot(node, base, first, above, range, way);
        }
        let mut gone = slots(first, last);
        let mut draft = Draft::new(level, base);
        if first > 0 {
            draft.copy(node, 0, first - 1);
        }
        let (mut from, mut to) = (first, last);
        if !whole(first_slot) {
            self.end_slot(node, &mut draft, first, range, &mut gone)?;
            from += 1;
        }
        if !whole(last_slot) {
            to -= 1;
        }
        if from <= to
            && let Some(value) = self.value
        {
            draft.run(from, to, self.unit(value)?);
        }
        if !whole(last_slot) {
            self.end_slot(node, &mut draft, last, range, &mut gone)?;
        }
        self.copy_after(node, &mut draft, last)?;
        self.finish(node, link.word, draft, above, gone)
    }

    /// The range lies in one slot of the node and is not all of it.
    fn in_one_slot(
        &mut self,
        node: View<'_>,
        base: u64,
        slot: u32,
        above: u32,
        range: Addresses,
        way: Way,
    ) -> Result<Edited, Stopped> {
        let old = node.item(base, slot);
        let Some(change) = self.slot(old, node.level, range, way)? else {
            return Ok(Edited::Stands);
        };
        if way == Way::Single
            && let (Some(old), Some(now)) = (old, change.now)
            && !old.word.is_value()
            && !now.word.is_value()
            && (old.at, old.word.level()) == (now.at, now.word.level())
        {
            node.relink(slot, now.word);
            if change.old == Old::Gone {
                self.retired.push(Retired { link: old.word, gone: u64::MAX });
            }
            return Ok(Edited::Stands);
        }
        let mut draft = Draft::new(node.level, base);
        if slot > 0 {
            draft.copy(node, 0, slot - 1);
        }
        if let Some(now) = change.now {
            draft.item(now);
        }
        self.copy_after(node, &mut draft, slot)?;
        let gone = if change.old == Old::Gone { 1 << slot } else { 0 };
        self.finish(node, node.link(), draft, above, gone)
    }

    /// The first or the last slot of the range, of which the range takes a
    /// part.
    fn end_slot(
        &mut self,
        node: View<'_>,
        draft: &mut Draft,
        slot: u32,
        range: Addresses,
        gone: &mut u64,
    ) -> Result<(), Stopped> {
        let within = slot_around(
            draft.base | u64::from(slot) << (ORDERS_PER_LEVEL * node.level),
            node.level,
        );
        let Some(part) = range.intersection(within) else { return Ok(()) };
        match self.slot(node.item(draft.base, slot), node.level, part, Way::Copy)? {
            None => {
                // Not a value, or it would have changed: copied as it is.
                draft.copy(node, slot, slot);
                *gone &= !(1 << slot);
            }
            Some(change) => {
                if let Some(now) = change.now {
                    draft.item(now);
                }
                if change.old == Old::Taken {
                    *gone &= !(1 << slot);
                }
            }
        }
        Ok(())
    }

    /// What the node has after a slot. A value that runs on from there gets a
    /// unit of its own.
    fn copy_after(&mut self, node: View<'_>, draft: &mut Draft, slot: u32) -> Result<(), Stopped> {
        let mut next = slot + 1;
        if next > 63 {
            return Ok(());
        }
        if node.bits.has(next) && !node.bits.is_head(next) {
            let end = node.bits.run_last(next);
            if let Some((value, _)) = node.entry(next) {
                draft.run(next, end, self.unit(value)?);
            }
            next = end + 1;
        }
        draft.copy(node, next, 63);
        Ok(())
    }

    /// Retires a node and makes the one that takes its place.
    fn finish(
        &mut self,
        node: View<'_>,
        link: Word,
        draft: Draft,
        above: u32,
        gone: u64,
    ) -> Result<Edited, Stopped> {
        debug_assert_eq!(node.level, draft.level);
        let now = self.settle(&draft, above)?;
        self.retired.push(Retired { link, gone });
        Ok(Edited::Becomes(now))
    }

    /// What a draft comes to in a slot of level `above`: nothing, its one item,
    /// or a node.
    fn settle(&mut self, draft: &Draft, above: u32) -> Result<Option<Item>, Stopped> {
        if draft.bits().heads == 0 {
            return Ok(None);
        }
        if let Some(single) = draft.single().filter(|single| fits(*single, above)) {
            return Ok(Some(single));
        }
        self.make(draft).map(Some)
    }

    pub(super) fn make(&mut self, draft: &Draft) -> Result<Item, Stopped> {
        let word = self.slab.make(draft).ok_or(Stopped::NoMemory)?;
        let at = Addresses::known(draft.base, draft.base | slot_mask(draft.level + 1));
        Ok(Item { at, word })
    }

    /// A unit for one more place that names the value.
    pub(super) fn unit(&self, value: Word) -> Result<Word, Stopped> {
        // SAFETY: a `V`'s, by the map's type; the lender has a unit.
        unsafe { again::<V>(value) }
    }
}

/// What the top slot holds, of a root.
pub(super) fn top_of(root: Word) -> Option<Item> {
    if root.is_none() {
        return None;
    }
    Some(Item { at: Addresses::known(0, slot_mask((root.level() + 1).min(TOP))), word: root })
}
