//! Changes of live blocks in place: halves, shrinking, merges, new descriptors.

use super::{Folio, Live, MOST, Story};
use crate::Bytes;
use memdesc::Order;
use potad::{Block, Error};

impl Story {
    pub(super) fn split(&mut self, bytes: &mut Bytes<'_>) -> bool {
        if self.live.len() >= 2 * MOST {
            return false;
        }
        let Some(live) = bytes.take(&mut self.live) else { return false };
        let (place, zone) = (live.place(), &self.world.zone);
        let halves = match live {
            Live::Bare(block) => match zone.split_bare(block) {
                Ok((lower, upper)) => Ok((Live::Bare(lower), Live::Bare(upper))),
                Err(refused) => Err((refused.why, Live::Bare(refused.given))),
            },
            Live::Raw(block, owner) => match zone.split_raw(block) {
                Ok((lower, upper)) => Ok((Live::Raw(lower, owner), Live::Raw(upper, owner))),
                Err(refused) => Err((refused.why, Live::Raw(refused.given, owner))),
            },
            Live::Typed(block, number) => {
                self.number += 1;
                match zone.split(block, Folio(self.number)) {
                    Ok((lower, upper)) => {
                        Ok((Live::Typed(lower, number), Live::Typed(upper, self.number)))
                    }
                    Err(refused) => Err((refused.why, Live::Typed(refused.given.0, number))),
                }
            }
        };
        match halves {
            Ok((lower, upper)) => {
                assert_eq!(place.halves(), Some((lower.place(), upper.place())));
                self.live.extend([lower, upper]);
                true
            }
            Err((why, live)) => {
                assert_eq!((why, place.order()), (Error::NoHalves, Order::ZERO));
                assert_eq!(live.place(), place);
                self.live.push(live);
                false
            }
        }
    }

    pub(super) fn shrink(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (live, order) = (bytes.take(&mut self.live), self.world.any_order(bytes));
        let Some(live) = live else { return false };
        let (place, zone) = (live.place(), &self.world.zone);
        let shrunk = match live {
            Live::Bare(block) => match zone.shrink_bare(block, order) {
                Ok(block) => Ok(Live::Bare(block)),
                Err(refused) => Err((refused.why, Live::Bare(refused.given))),
            },
            Live::Raw(block, owner) => match zone.shrink_raw(block, order) {
                Ok(block) => Ok(Live::Raw(block, owner)),
                Err(refused) => Err((refused.why, Live::Raw(refused.given, owner))),
            },
            Live::Typed(block, number) => match zone.shrink(block, order) {
                Ok(block) => Ok(Live::Typed(block, number)),
                Err(refused) => Err((refused.why, Live::Typed(refused.given, number))),
            },
        };
        let (live, was_done) = match shrunk {
            Ok(live) => {
                let lower = live.place();
                assert_eq!((lower.base(), lower.order()), (place.base(), order));
                if lower.last() < place.last() {
                    self.world.gave(lower.last().0 + 1, place.last().0);
                }
                (live, true)
            }
            Err((why, live)) => {
                assert!(order > place.order());
                let (asked, granules) = (order.granules(), place.order().granules());
                assert_eq!((why, live.place()), (Error::NoShrink { asked, granules }, place));
                (live, false)
            }
        };
        self.live.push(live);
        was_done
    }

    /// Takes a typed block out, if the choice hits one.
    pub(super) fn take_typed(&mut self, bytes: &mut Bytes<'_>) -> Option<(Block<Folio>, u32)> {
        let mut typed: Vec<usize> = Vec::new();
        for (at, live) in self.live.iter().enumerate() {
            if matches!(live, Live::Typed(..)) {
                typed.push(at);
            }
        }
        let at = bytes.take(&mut typed)?;
        match self.live.swap_remove(at) {
            Live::Typed(block, number) => Some((block, number)),
            _ => unreachable!("chosen among those"),
        }
    }

    pub(super) fn merge(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let Some((block, number)) = self.take_typed(bytes) else { return false };
        let buddy = block.block().buddy();
        // Its buddy, if that is to be had; else anything.
        let at = self
            .live
            .iter()
            .position(|live| matches!(live, Live::Typed(block, _) if Some(block.block()) == buddy));
        let other = match at {
            Some(at) => match self.live.swap_remove(at) {
                Live::Typed(block, number) => Some((block, number)),
                _ => unreachable!("chosen among those"),
            },
            None => self.take_typed(bytes),
        };
        let Some((other, second)) = other else {
            self.live.push(Live::Typed(block, number));
            return false;
        };
        let (place, gone) = (block.block(), other.block());
        let is_buddy = place.buddy() == Some(gone);
        match block.merge(other) {
            Ok(whole) => {
                assert!(is_buddy);
                assert_eq!(Some(whole.block()), place.parent());
                // References to the other one keep nothing any more.
                self.refs.retain(|(_, of)| *of != second);
                self.live.push(Live::Typed(whole, number));
                true
            }
            Err(refused) => {
                let (block, other) = refused.given;
                let fits = place.order() < self.world.largest_order();
                assert!(!is_buddy || !fits, "{place:?} and {gone:?}: {}", refused.why);
                assert_eq!((block.block(), other.block()), (place, gone));
                self.live.extend([Live::Typed(block, number), Live::Typed(other, second)]);
                false
            }
        }
    }

    pub(super) fn replace(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let Some((block, number)) = self.take_typed(bytes) else { return false };
        let place = block.block();
        self.number += 1;
        let new = block.replace(Folio(self.number)).map_err(|refused| refused.why);
        let new = new.expect("there is memory");
        assert_eq!((new.block(), new.0), (place, self.number));
        self.refs.retain(|(_, of)| *of != number);
        self.live.push(Live::Typed(new, self.number));
        true
    }
}
