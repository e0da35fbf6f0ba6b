//! What must be refused, and change nothing; and handles made of what an embedder
//! kept.

use super::{Live, Story};
use crate::Bytes;
use crate::world::range;
use memdesc::{Block as Place, Granule};
use potad::Error;

impl Story {
    /// A handle made of what an embedder kept is the block's again.
    pub(super) fn adopt(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let Some(live) = bytes.take(&mut self.live) else { return false };
        let place = live.place();
        let address = self.world.zone.address_of(place.base());
        let adopted = self.world.zone.adopt_bare(address, place.order());
        let was_done = match (&live, adopted) {
            (Live::Bare(_), Ok(again)) => {
                assert_eq!(again.block(), place);
                self.live.push(Live::Bare(again));
                return true;
            }
            (_, Err(Error::NoBlock { .. })) => false,
            (live, other) => panic!("{live:?} adopted as {other:?}"),
        };
        self.live.push(live);
        was_done
    }

    /// What must be refused, and change nothing.
    pub(super) fn misuse(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let zone = &self.world.zone;
        match bytes.below(6) {
            0 => {
                let Some(live) = bytes.take(&mut self.live) else { return false };
                let (asked, found) = (self.world.other.id(), zone.id());
                let (why, live) = match live {
                    Live::Bare(block) => {
                        let refused = self.world.other.free_bare(block).unwrap_err();
                        (refused.why, Live::Bare(refused.given))
                    }
                    Live::Raw(block, owner) => {
                        let refused = self.world.other.free_raw(block).unwrap_err();
                        (refused.why, Live::Raw(refused.given, owner))
                    }
                    Live::Typed(block, number) => {
                        let refused = self.world.other.free(block).unwrap_err();
                        (refused.why, Live::Typed(refused.given, number))
                    }
                };
                assert_eq!(why, Error::Foreign { asked, found });
                self.live.push(live);
            }
            1 => {
                // Free, at least in part: no live block.
                let (at, order) = (self.world.any_granule(bytes), self.world.any_order(bytes));
                if zone.largest_order() < order || at >= 1 << 63 {
                    return false;
                }
                let place = Place::containing(Granule(at), order);
                let (first, last) = (place.base().0, place.last().0);
                if !self.world.spans.covers(first, last)
                    || self.world.free.within(first, last).is_empty()
                {
                    return false;
                }
                let adopted = zone.adopt_bare(zone.address_of(place.base()), order);
                let twice = Error::DoubleFree { asked: range(first, last) };
                let refused =
                    matches!(adopted, Err(Error::NoBlock { .. })) || adopted == Err(twice);
                assert!(refused, "{place:?}: {adopted:?}");
            }
            2 => {
                // A free of what is free, by an order of the same level. (One by
                // an order of another level is seen by `adopt_bare` alone.)
                let (choice, order) = (bytes.byte(), self.world.any_order(bytes));
                // What other hands hold is not looked at by a free.
                let mut free = zone.free_blocks();
                free.retain(|free| free.order() >= order && free.order().level() == order.level());
                if free.is_empty() {
                    return false;
                }
                let first = free[usize::from(choice) % free.len()].base().0;
                let block = zone.bare_at(Granule(first), order).expect("in reach");
                let refused = zone.free_bare(block).unwrap_err();
                assert_eq!(refused.why, Error::DoubleFree { asked: refused.given.granules() });
            }
            3 => {
                // A raw block where none is.
                let at = self.live.iter().find(|live| matches!(live, Live::Bare(_)));
                let Some(place) = at.map(Live::place) else { return false };
                let block = zone.raw_at(place.base(), place.order()).expect("in reach");
                assert!(matches!(zone.free_raw(block).unwrap_err().why, Error::Lookup(_)));
            }
            4 => {
                // A raw block by another order.
                let at = self.live.iter().find(|live| matches!(live, Live::Raw(..)));
                let Some(place) = at.map(Live::place) else { return false };
                let order = self.world.any_order(bytes);
                let wrong = Place::containing(place.base(), order);
                if order == place.order()
                    || !self.world.spans.covers(wrong.base().0, wrong.last().0)
                {
                    return false;
                }
                let block = zone.raw_at(wrong.base(), order).expect("in reach");
                assert!(matches!(zone.free_raw(block).unwrap_err().why, Error::Lookup(_)));
            }
            _ => {
                let (at, order) = (self.world.any_granule(bytes), self.world.any_order(bytes));
                if at & (order.granules() - 1) == 0 {
                    return false;
                }
                assert!(matches!(zone.bare_at(Granule(at), order), Err(Error::NoBlock { .. })));
            }
        }
        true
    }
}
