//! Going from range to range.
//!
//! # What a walk promises
//!
//! Each step reads the tree from its root, so it returns what was there at a
//! moment of the step; a range that is there throughout is not missed. It is no
//! snapshot of the whole. Nodes never change but in links to newer ones, so a
//! step that has begun in a node that was replaced meanwhile ends in what was
//! there when it began.

use super::bits::{slot_mask, slot_of};
use super::find::{Found, descend};
use super::node::{Item, View};
use super::{Addresses, Ranges, Value};
use core::fmt;
use memdesc::Guard;

/// The first piece that ends at `from` or after it.
pub(super) fn next(root: Option<View<'_>>, from: u64) -> Option<Item> {
    // What holds it, if something does: a look-up, which counts bits faster.
    if let Some(hit) = descend(root, from) {
        return Some(hit.item());
    }
    let root = root?;
    if from & !slot_mask(root.level + 1) != 0 {
        return None;
    }
    next_in(root, 0, from)
}

fn next_in(node: View<'_>, base: u64, from: u64) -> Option<Item> {
    let first = slot_of(from, node.level);
    // The slot of `from`, then whatever begins after it.
    let mut left = node.bits.heads & (u64::MAX << first << 1 | 1 << first);
    if first == 63 {
        left = node.bits.heads & 1 << 63;
    }
    if node.bits.has(first) {
        left |= 1 << first;
    }
    while left != 0 {
        let slot = left.trailing_zeros();
        left &= left - 1;
        let Some(item) = node.whole_item(base, slot) else { continue };
        if item.at.last() < from {
            continue;
        }
        if item.word.is_value() {
            return Some(item);
        }
        let child = node.child(item.word);
        if let Some(found) = next_in(child, item.at.first(), from.max(item.at.first())) {
            return Some(found);
        }
    }
    None
}

/// The range that a piece is of: with its neighbours of the same value.
pub(super) fn whole(root: Option<View<'_>>, piece: Item) -> Item {
    let after = onward(root, piece);
    let mut first = piece.at.first();
    while let Some(before) = first.checked_sub(1)
        && let Some(hit) = descend(root, before)
        && hit.word == piece.word
    {
        first = hit.item().at.first();
    }
    Item { at: Addresses::known(first, after.at.last()), ..piece }
}

/// The range that begins with a piece, if that is where it begins.
pub(super) fn onward(root: Option<View<'_>>, piece: Item) -> Item {
    let mut last = piece.at.last();
    while let Some(after) = last.checked_add(1)
        && let Some(hit) = descend(root, after)
        && hit.word == piece.word
    {
        last = hit.item().at.last();
    }
    Item { at: Addresses::known(piece.at.first(), last), ..piece }
}

impl<V: Value> Ranges<V> {
    /// The first range that ends at `from` or after it.
    ///
    /// ```
    /// # use potad_lookup::{Addresses, Payload, Ranges};
    /// let map = Ranges::new();
    /// map.insert(Addresses::new(10, 19)?, Payload::from(1))?;
    /// let guard = memdesc::pin();
    /// assert_eq!(map.next(3, &guard).unwrap().range(), Addresses::new(10, 19)?);
    /// assert!(map.next(20, &guard).is_none());
    /// # Ok::<(), potad_lookup::RangesError>(())
    /// ```
    pub fn next<'a>(&'a self, from: u64, guard: &'a Guard) -> Option<Found<'a, V>> {
        let root = self.root(guard);
        let piece = next(root, from)?;
        Some(Found::of(whole(root, piece)))
    }

    /// The whole range that holds an address.
    ///
    /// ```
    /// # use potad_lookup::{Addresses, Payload, Ranges};
    /// let map = Ranges::new();
    /// let range = Addresses::new(60, 70_000)?;
    /// map.insert(range, Payload::from(1))?;
    /// let guard = memdesc::pin();
    /// assert_eq!(map.range_at(5000, &guard).unwrap().range(), range);
    /// # Ok::<(), potad_lookup::RangesError>(())
    /// ```
    pub fn range_at<'a>(&'a self, at: u64, guard: &'a Guard) -> Option<Found<'a, V>> {
        let root = self.root(guard);
        let piece = descend(root, at)?.item();
        Some(Found::of(whole(root, piece)))
    }

    /// The ranges that share an address with `range`, in order of address.
    pub fn iter<'a>(&'a self, range: Addresses, guard: &'a Guard) -> Iter<'a, V> {
        Iter { map: self, rest: Some(range), guard }
    }

    /// Whether nothing in `range` is named.
    pub fn is_empty_range(&self, range: Addresses, guard: &Guard) -> bool {
        next(self.root(guard), range.first()).is_none_or(|found| !found.at.overlaps(range))
    }

    /// The lowest multiple of `align` in `range` from which `count` addresses
    /// of the range are not named; `align` 0 is like 1.
    ///
    /// Walks from range to range, so it takes as long as there are ranges
    /// before the gap.
    pub fn first_gap(
        &self,
        range: Addresses,
        count: u64,
        align: u64,
        guard: &Guard,
    ) -> Option<u64> {
        let more = count.checked_sub(1)?;
        let mut at = range.first().checked_next_multiple_of(align.max(1))?;
        loop {
            let last = at.checked_add(more).filter(|&last| last <= range.last())?;
            match next(self.root(guard), at) {
                Some(found) if found.at.first() <= last => {
                    let after = found.at.last().checked_add(1)?;
                    at = after.checked_next_multiple_of(align.max(1))?;
                }
                _ => return Some(at),
            }
        }
    }
}

/// The ranges of [`Ranges::iter`].
pub struct Iter<'a, V: Value> {
    map: &'a Ranges<V>,
    rest: Option<Addresses>,
    guard: &'a Guard,
}

impl<'a, V: Value> Iterator for Iter<'a, V> {
    type Item = Found<'a, V>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.rest.take()?;
        let root = self.map.root(self.guard);
        let piece = next(root, rest.first()).filter(|piece| piece.at.overlaps(rest))?;
        let found = match piece.at.first() <= rest.first() {
            // What was before `rest` may be of the same range.
            true => whole(root, piece),
            false => onward(root, piece),
        };
        self.rest = rest.after(found.at);
        Some(Found::of(found))
    }
}

impl<V: Value> fmt::Debug for Iter<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Iter").field(&self.rest).finish()
    }
}
