//! Looking at the whole map.

use super::bits::{slot_around, slot_mask};
use super::draft::LONE_LEVELS;
use super::node::{Item, View};
use super::slab::rounded_bytes;
use super::{Addresses, Ranges, RangesError, Value};
use memdesc::Guard;

/// What [`Ranges::validate`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RangesSummary {
    /// Stored pieces of ranges.
    pub pieces: u64,
    /// Addresses of all these.
    pub addresses: u128,
    /// Nodes.
    pub nodes: u64,
    /// Words of all nodes.
    pub words: u64,
    /// Bytes of all nodes, as the slab rounds them.
    pub bytes: u64,
}

impl<V: Value> Ranges<V> {
    /// Walks the whole map and checks that every node is as changes leave it.
    ///
    /// Beside a writer too: nodes are whole at any moment.
    pub fn validate(&self, guard: &Guard) -> Result<RangesSummary, RangesError> {
        let mut summary = RangesSummary::default();
        let Some(root) = self.root(guard) else { return Ok(summary) };
        let at = Addresses::known(0, slot_mask(root.level + 1));
        node(root, at, &mut summary)?;
        Ok(summary)
    }
}

fn node(view: View<'_>, at: Addresses, summary: &mut RangesSummary) -> Result<(), RangesError> {
    let wrong = |why| Err(RangesError::Inconsistent { at, why });
    summary.nodes += 1;
    summary.words += view.bits.words() as u64;
    summary.bytes += rounded_bytes(view.bits.words()) as u64;
    if view.bits.heads == 0 {
        return wrong("empty");
    }
    let first = view.bits.heads.trailing_zeros();
    if (view.bits.more & !view.bits.heads) & ((1 << first) - 1) != 0 {
        return wrong("a run without a head");
    }
    let mut left = view.bits.heads;
    while left != 0 {
        let slot = left.trailing_zeros();
        left &= left - 1;
        let Some(item) = view.whole_item(at.first(), slot) else {
            return wrong("a head of nothing");
        };
        if !at.covers(item.at) {
            return wrong("an entry outside of the node");
        }
        entry(view, item, slot, summary)?;
    }
    Ok(())
}

fn entry(
    view: View<'_>,
    item: Item,
    slot: u32,
    summary: &mut RangesSummary,
) -> Result<(), RangesError> {
    let wrong = |why| Err(RangesError::Inconsistent { at: item.at, why });
    let within = slot_around(item.at.first(), view.level);
    let is_lone = (view.bits.lone() >> slot) & 1 != 0;
    let runs_on = view.bits.run_last(slot) > slot;
    if is_lone && (runs_on || !within.covers(item.at) || within == item.at) {
        return wrong("a lone pair that is none");
    }
    if item.word.is_value() {
        if is_lone && view.level > LONE_LEVELS {
            return wrong("a lone value too far up");
        }
        summary.pieces += 1;
        summary.addresses += item.at.count();
        return Ok(());
    }
    if item.word.is_none() {
        return wrong("a link to nothing");
    }
    if runs_on {
        return wrong("a link over several slots");
    }
    let level = item.word.level();
    if level >= view.level || (level + 1 == view.level) == is_lone {
        return wrong("a link of the wrong level");
    }
    if item.at.first() & slot_mask(level + 1) != 0 {
        return wrong("a link to the wrong addresses");
    }
    node(view.child(item.word), item.at, summary)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::bits::Bits;
    use super::super::node::{Head, write_node};
    use super::super::word::Word;
    use super::*;
    use core::ptr::NonNull;

    /// Room for a node of a few words.
    #[repr(align(32))]
    struct Room(#[expect(dead_code, reason = "written as a node")] [u64; 8]);

    impl Room {
        const EMPTY: Self = Self([0; 8]);

        fn at(&mut self) -> NonNull<Head> {
            NonNull::from(self).cast()
        }
    }

    fn value(number: u64) -> Word {
        Word::of_value(crate::Payload::new(number).unwrap().into_raw())
    }

    fn place(number: u64) -> Word {
        Word(core::ptr::without_provenance_mut(number as usize))
    }

    /// What is said of a node of a level at 0 with these bits and words.
    fn said(
        level: u32,
        heads: u64,
        more: u64,
        words: &[Word],
    ) -> Result<RangesSummary, RangesError> {
        let mut room = Room::EMPTY;
        let at = room.at();
        // SAFETY: large enough, aligned, zeroed, and ours.
        unsafe { write_node(at, Bits { heads, more }, words) };
        // SAFETY: just written, and live until this returns.
        let view = unsafe { View::follow(Word::of_link(at, level)) }.unwrap();
        let mut summary = RangesSummary::default();
        node(view, Addresses::known(0, slot_mask(level + 1)), &mut summary).map(|()| summary)
    }

    fn why(level: u32, heads: u64, more: u64, words: &[Word]) -> &'static str {
        match said(level, heads, more, words) {
            Err(RangesError::Inconsistent { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_whole_is_counted() {
        // Slot 0: a lone value; slots 2 to 4: a run; slot 63: one slot.
        let words = [value(1), place(3 << 32 | 9), value(2), value(3)];
        let summary = said(1, 1 | 1 << 2 | 1 << 63, 1 | 1 << 3 | 1 << 4, &words).unwrap();
        let expected =
            RangesSummary { pieces: 3, addresses: 7 + 4 * 64, nodes: 1, words: 4, bytes: 64 };
        assert_eq!(summary, expected);

        // A link to that, and one alone to a node two levels down.
        let (mut near, mut far) = (Room::EMPTY, Room::EMPTY);
        let (near, far) = (near.at(), far.at());
        for at in [near, far] {
            // SAFETY: large enough, aligned, zeroed, and ours.
            unsafe { write_node(at, Bits { heads: 2, more: 0 }, &[value(5)]) };
        }
        let links = [Word::of_link(near, 1), Word::of_link(far, 0), place(64 * 7)];
        let summary = said(2, 1 | 1 << 9, 1 << 9, &links).unwrap();
        let expected =
            RangesSummary { pieces: 2, addresses: 64 + 1, nodes: 3, words: 5, bytes: 64 + 32 + 32 };
        assert_eq!(summary, expected);
    }

    #[test]
    fn what_is_broken_is_named() {
        assert_eq!(why(1, 0, 0, &[]), "empty");
        assert_eq!(why(1, 1 << 5, 1 << 2, &[value(1)]), "a run without a head");
        let beyond = place(4000 << 32 | 5000);
        assert_eq!(why(1, 1, 1, &[value(1), beyond]), "an entry outside of the node");
        // All of its slot, more than its slot, and one that goes on.
        for (more, of) in [(1, 63), (1, 64), (3, 9)] {
            assert_eq!(why(1, 1, more, &[value(1), place(of)]), "a lone pair that is none");
        }
        assert_eq!(why(6, 1, 1, &[value(1), place(5)]), "a lone value too far up");
        assert_eq!(why(1, 1, 0, &[Word::NONE]), "a link to nothing");
        let mut room = Room::EMPTY;
        let link = |level| Word::of_link(room.at(), level);
        let [zero, one] = [0, 1].map(link);
        assert_eq!(why(1, 1, 2, &[zero]), "a link over several slots");
        assert_eq!(why(1, 1, 0, &[one]), "a link of the wrong level");
        // Two levels down, and not alone; one, and alone.
        assert_eq!(why(2, 1, 0, &[zero]), "a link of the wrong level");
        assert_eq!(why(2, 1, 1, &[one, place(0)]), "a lone pair that is none");
        assert_eq!(why(2, 1, 1, &[zero, place(1)]), "a link to the wrong addresses");
    }
}
