//! Looks: get, lock, find, one by one and many, next, walks and gaps.

use super::world::{Described, Folio, Slab, number_of};
use super::{Lives, Story};
use crate::Bytes;
use memdesc::{Found, Granule, Granules, MAX_GRANULES};

/// What a look-up found is what lives there.
fn agrees(
    at: Granule,
    found: Option<&Found<'_, super::Ram>>,
    lives: Option<(super::Block, Lives)>,
) {
    let Some(found) = found else { return assert_eq!(lives, None, "nothing found at {at}") };
    let (block, lives) = lives.unwrap_or_else(|| panic!("{found:?} at {at}, where nothing lives"));
    assert_eq!(found.block(), block);
    match lives {
        Lives::Raw(word) => {
            assert_eq!((found.immediate(), found.owner()), (Some(word), word.owner));
            assert_eq!(found.kind_name(), word.subtype.name());
        }
        Lives::Typed { number, is_slab, poisoned } => {
            assert_eq!((found.immediate(), found.owner().0), (None, 7));
            let folio = found.downcast::<Folio>().map(|folio| folio.0.number);
            let slab = found.downcast::<Slab>().map(|slab| slab.0.number);
            let expected = if is_slab { (None, Some(number)) } else { (Some(number), None) };
            assert_eq!((folio, slab), expected);
            let header = found.descriptor().expect("it has one").header();
            assert_eq!(header.is_poisoned(), poisoned);
        }
    }
}

/// A range from a granule on.
fn range(first: Granule, bytes: &mut Bytes<'_>) -> Granules {
    let (count, shift) = (u64::from(bytes.byte()), u32::from(bytes.byte()));
    let count = if shift < 192 { count } else { count << (shift % 56) };
    let last = first.0.saturating_add(count).min(MAX_GRANULES - 1);
    Granules::new(first, Granule(last)).expect("in order")
}

impl Story {
    /// The typed block at a granule: its number.
    fn typed(&self, at: Granule) -> Option<(u32, bool)> {
        match self.at(at)?.1 {
            Lives::Typed { number, is_slab, .. } => Some((number, is_slab)),
            Lives::Raw(_) => None,
        }
    }

    pub(super) fn get(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let at = self.any_near(bytes);
        let typed = self.typed(at);
        let tree = self.ram.tree();
        let (folio, slab) = (tree.get::<Folio>(at), tree.get::<Slab>(at));
        let found = (folio.as_ref().map(|of| of.0.number), slab.as_ref().map(|of| of.0.number));
        let expected = match typed {
            None => (None, None),
            Some((number, false)) => (Some(number), None),
            Some((number, true)) => (None, Some(number)),
        };
        assert_eq!(found, expected);
        let erased = tree.get_erased(at);
        assert_eq!(erased.is_some(), typed.is_some());
        drop(erased);
        let got = folio.map(Described::Folio).or(slab.map(Described::Slab));
        let (Some(got), Some((number, _))) = (got, typed) else { return false };
        assert_eq!(Some(got.block()), self.at(at).map(|(block, _)| block));
        // Kept for a while, or put back at once.
        if self.refs.len() < 64 {
            self.refs.push((got, number));
        }
        true
    }

    pub(super) fn lock(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (at, way) = (self.any_near(bytes), bytes.below(3));
        let typed = self.typed(at);
        let tree = self.ram.tree();
        if way < 2 {
            let guard = memdesc::pin();
            let folio = match way {
                0 => tree.lock::<Folio>(at),
                _ => tree.lock_with::<Folio>(at, &guard),
            };
            let folio = folio.map(|folio| (folio.0.number, folio.block()));
            let expected = typed.filter(|(_, is_slab)| !is_slab).map(|(number, _)| number);
            assert_eq!(folio.map(|(number, _)| number), expected);
            return folio.is_some();
        }
        let locked = tree.lock_erased(at);
        let place = locked.as_ref().map(|locked| locked.block());
        assert_eq!(locked.map(number_of), typed.map(|(number, _)| number));
        assert_eq!(place, typed.and(self.at(at)).map(|(block, _)| block));
        place.is_some()
    }

    pub(super) fn find(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let at = self.any_near(bytes);
        let guard = memdesc::pin();
        let found = self.ram.tree().find(at, &guard);
        agrees(at, found.as_ref(), self.at(at));
        let seen = self.ram.tree().find_signal(at);
        assert_eq!(seen.map(|seen| seen.block), self.at(at).map(|(block, _)| block));
        found.is_some()
    }

    pub(super) fn find_many(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (count, step) = (bytes.below(70), u64::from(bytes.short()));
        let first = self.any_near(bytes);
        let all: Vec<_> = (0..count as u64).map(|at| Granule(first.0 + at * step)).collect();
        let guard = memdesc::pin();
        let (mut answers, mut any) = (0, false);
        self.ram.tree().find_many(&all, &guard, |index, found| {
            assert_eq!(index, answers);
            answers += 1;
            agrees(all[index], found.as_ref(), self.at(all[index]));
            any |= found.is_some();
        });
        assert_eq!(answers, count);
        any
    }

    pub(super) fn next(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let from = self.any_near(bytes);
        let guard = memdesc::pin();
        let next = self.ram.tree().next(from, &guard);
        let expected = self.after(from);
        assert_eq!(next.as_ref().map(|(block, _)| *block), expected.map(|(block, _)| block));
        let found = next.map(|(_, found)| found);
        agrees(from, found.as_ref(), expected);
        found.is_some()
    }

    pub(super) fn walk(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let first = self.any_near(bytes);
        let range = range(first, bytes);
        let guard = memdesc::pin();
        let walked: Vec<_> = self.ram.tree().iter(range, &guard).map(|(block, _)| block).collect();
        let all = self.live.values().map(|(block, _)| *block);
        let expected: Vec<_> = all.filter(|block| block.granules().overlaps(range)).collect();
        assert_eq!(walked, expected);
        assert_eq!(self.ram.tree().is_empty_range(range), expected.is_empty());
        !expected.is_empty()
    }

    pub(super) fn first_gap(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let first = self.any_near(bytes);
        let range = range(first, bytes);
        let count = u64::from(bytes.byte());
        let align = match bytes.byte() {
            byte if byte < 128 => 1 << (byte & 31),
            byte => u64::from(byte & 127),
        };
        let guard = memdesc::pin();
        let gap = self.ram.tree().first_gap(range, count, align, &guard);
        assert_eq!(gap, self.gap(range, count, align), "{count} at {align} in {range}");
        gap.is_some()
    }

    fn gap(&self, range: Granules, count: u64, align: u64) -> Option<Granule> {
        let more = count.checked_sub(1)?;
        let mut at = range.first().0.next_multiple_of(align.max(1));
        while at + more <= range.last().0 {
            let wanted = Granules::new(Granule(at), Granule(at + more)).expect("in order");
            let mut blocks = self.live.values().rev().map(|(block, _)| block.granules());
            match blocks.find(|block| block.overlaps(wanted)) {
                Some(block) => at = (block.last().0 + 1).next_multiple_of(align.max(1)),
                None => return Some(Granule(at)),
            }
        }
        None
    }
}
