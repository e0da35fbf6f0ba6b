//! Looks at blocks, by address.

use super::{Folio, Live, Story};
use crate::Bytes;
use crate::world::Failed;
use memdesc::{Block as Place, Granule, Order};

impl Story {
    /// The number of the descriptor at a granule.
    pub(super) fn described(&self, at: u64) -> Option<(Place, u32)> {
        let live = self.live.iter().filter_map(|live| match live {
            Live::Typed(block, number) => Some((block.block(), *number)),
            _ => None,
        });
        let kept = self.refs.iter().map(|(reference, number)| (reference.block(), *number));
        live.chain(kept).find(|(place, _)| place.contains(Granule(at)))
    }

    /// An address, and the granule that it is in.
    pub(super) fn any_address(&self, bytes: &mut Bytes<'_>) -> (u64, u64) {
        let (at, choice) = (self.world.any_granule(bytes), usize::from(bytes.byte()));
        let at = match choice % (1 + self.live.len()) {
            0 => at,
            one => {
                let place = self.live[one - 1].place();
                if choice < 128 { place.base().0 } else { place.last().0 }
            }
        };
        let inside = u64::from(bytes.byte()) % self.world.zone.granule();
        let at = if self.world.spans.covers(at, at) { at } else { self.first_granule() };
        (self.world.zone.address_of(Granule(at)) + inside, at)
    }

    /// Some granule of a span: spans are never all gone.
    pub(super) fn first_granule(&self) -> u64 {
        self.world.spans.iter().next().map_or(0, |(first, _)| first)
    }

    pub(super) fn get(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (address, at) = self.any_address(bytes);
        let got = self.world.zone.get::<Folio>(address);
        let expected = self.described(at);
        assert_eq!(got.as_ref().map(|got| (got.block(), got.0)), expected);
        let Some(got) = got else { return false };
        if self.refs.len() < 8 {
            let number = got.0;
            self.refs.push((got, number));
        }
        true
    }

    pub(super) fn put(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let Some((reference, number)) = bytes.take(&mut self.refs) else { return false };
        let place = reference.block();
        drop(reference);
        if self.described(place.base().0) != Some((place, number)) {
            self.world.gave(place.base().0, place.last().0);
        }
        true
    }

    pub(super) fn lock(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (address, at) = self.any_address(bytes);
        let locked = self.world.zone.lock::<Folio>(address);
        let found = locked.as_ref().map(|locked| (locked.block(), locked.0));
        assert_eq!(found, self.described(at));
        found.is_some()
    }

    pub(super) fn find(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (address, at) = self.any_address(bytes);
        let guard = memdesc::pin();
        let found = self.world.zone.find(address, &guard);
        if let Some((place, _)) = self.described(at) {
            let found = found.expect("described");
            assert_eq!((found.block(), found.kind_name()), (place, "folio"));
            return true;
        }
        let raw = self.live.iter().find(|live| live.place().contains(Granule(at)));
        match (raw, found) {
            (Some(Live::Raw(block, owner)), Some(found)) => {
                assert_eq!((found.block(), found.owner()), (block.block(), *owner));
                true
            }
            (None | Some(Live::Bare(_)), None) => false,
            (live, Some(found)) => {
                // Only a failed granule that is nobody's has a word of its own.
                assert!(live.is_none(), "{live:?}: {found:?}");
                assert_eq!(self.world.failed.get(&at), Some(&Failed::Quarantined));
                true
            }
            (live, found) => panic!("at {at:#x}: {live:?}, found {found:?}"),
        }
    }

    pub(super) fn next(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (address, at) = self.any_address(bytes);
        // What was quarantined by a free is shown to look-ups by a slow path.
        self.world.zone.retry_failures();
        let guard = memdesc::pin();
        let next = self.world.zone.next(address, &guard).map(|(place, _)| place);
        let worded = self.live.iter().filter(|live| !matches!(live, Live::Bare(_)));
        let kept = self.refs.iter().map(|(reference, _)| reference.block());
        let failed = self.world.failed.iter();
        let quarantined = failed.filter(|&(_, &state)| state == Failed::Quarantined);
        let quarantined = quarantined.map(|(&at, _)| Place::containing(Granule(at), Order::ZERO));
        let all = worded.map(Live::place).chain(kept).chain(quarantined);
        let expected = all.filter(|place| place.last().0 >= at).min_by_key(|place| place.base());
        assert_eq!(next, expected);
        next.is_some()
    }
}
