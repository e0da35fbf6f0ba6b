//! Blocks by the zone or by a hand, one by one and in batches, as every body of
//! the allocator takes and gives them: with what must be true of each answer.
//!
//! `by` chooses who does it: one of the hands that there are, or the zone.

use crate::Bytes;
use crate::world::World;
use memdesc::{Block, Order, OwnerId};
use potad::{BareBlock, Error, RawBlock};

/// Hands at most.
const MOST: usize = 3;

impl World {
    /// Notes who takes or gives.
    pub(crate) fn uses(&mut self, by: usize) {
        let by = if by < self.hands.len() { by } else { usize::MAX };
        if self.user.replace(by) != Some(by) {
            self.given.clear();
        }
    }

    /// Another hand, or one less.
    pub fn turn_hands(&mut self, bytes: &mut Bytes<'_>) -> bool {
        self.user = None;
        if self.hands.len() < MOST && !bytes.once_in(3) {
            self.hands.push(self.zone.hand());
            return true;
        }
        drop(bytes.take(&mut self.hands));
        false
    }

    /// Flushes a hand, if there is that one.
    pub fn flush_hand(&mut self, by: usize) -> bool {
        let hand = self.hands.get_mut(by);
        let was_there = hand.is_some();
        hand.into_iter().for_each(|hand| hand.flush());
        was_there
    }

    /// Notes what an allocation came to, and gives what was got.
    pub fn noted<T>(
        &mut self,
        order: Order,
        taken: Result<T, Error>,
        place: impl FnOnce(&T) -> Block,
    ) -> Option<T> {
        self.took(order, taken.as_ref().map(place));
        taken.ok()
    }

    /// A bare block.
    pub fn alloc_bare(&mut self, order: Order, by: usize) -> Option<BareBlock> {
        self.uses(by);
        let taken = match self.hands.get_mut(by) {
            None => self.zone.alloc_bare(order),
            Some(hand) => hand.alloc_bare(order),
        };
        self.noted(order, taken, BareBlock::block)
    }

    /// A raw block.
    pub fn alloc_raw(&mut self, order: Order, owner: OwnerId, by: usize) -> Option<RawBlock> {
        self.uses(by);
        let taken = match self.hands.get_mut(by) {
            None => self.zone.alloc_raw(order, owner),
            Some(hand) => hand.alloc_raw(order, owner),
        };
        self.noted(order, taken, RawBlock::block)
    }

    /// Frees a live block.
    pub fn free_bare(&mut self, block: BareBlock, by: usize) {
        let place = block.block();
        self.uses(by);
        let freed = match self.hands.get_mut(by) {
            None => self.zone.free_bare(block),
            Some(hand) => hand.free_bare(block),
        };
        freed.expect("live");
        self.given.push(place);
        self.gave(place.base().0, place.last().0);
    }

    /// Frees a live block.
    pub fn free_raw(&mut self, block: RawBlock, by: usize) {
        let place = block.block();
        self.uses(by);
        let freed = match self.hands.get_mut(by) {
            None => self.zone.free_raw(block),
            Some(hand) => hand.free_raw(block),
        };
        freed.expect("live");
        self.given.push(place);
        self.gave(place.base().0, place.last().0);
    }

    /// So many blocks, or all that there are; and whether it was that many.
    pub fn alloc_many(&mut self, order: Order, count: usize, by: usize) -> (Vec<BareBlock>, bool) {
        self.uses(by);
        let mut out = Vec::new();
        let taken = match self.hands.get_mut(by) {
            None => self.zone.alloc_many(order, count, |block| out.push(block)),
            Some(hand) => hand.alloc_many(order, count, |block| out.push(block)),
        };
        for block in &out {
            self.took(order, Ok(block.block()));
        }
        match &taken {
            Ok(taken) => {
                assert_eq!(*taken, out.len());
                assert!(*taken == count || !self.has(order), "{taken} of {count}");
            }
            Err(why) => self.took(order, Err(why)),
        }
        (out, taken == Ok(count))
    }

    /// Frees live blocks; returns whether there were any.
    pub fn free_many(&mut self, blocks: Vec<BareBlock>, by: usize) -> bool {
        let places: Vec<_> = blocks.iter().map(BareBlock::block).collect();
        self.uses(by);
        let freed = match self.hands.get_mut(by) {
            None => self.zone.free_many(blocks),
            Some(hand) => hand.free_many(blocks),
        };
        assert_eq!(freed.expect("live"), places.len());
        places.iter().for_each(|place| self.gave(place.base().0, place.last().0));
        self.given.extend(&places);
        !places.is_empty()
    }

    /// Frees again what its user has freed, and nobody else can have taken: it must
    /// hear so, wherever the first free is by now.
    pub fn free_again(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let choice = usize::from(bytes.byte());
        // What failed, or is leaving, goes other ways.
        let (Some(by), true, true) = (self.user, self.failed.is_empty(), self.leaving.is_empty())
        else {
            return false;
        };
        let word = |at: u64| (at & !63, at | 63);
        let is_known = |block: &&Block| {
            let (first, last) = word(block.base().0);
            // Of a whole word there is a larger block, which a free does not see.
            block.order().level() == 0
                && self.free.covers(block.base().0, block.last().0)
                && !self.free.covers(first, last)
        };
        let known: Vec<&Block> = self.given.iter().filter(is_known).collect();
        if known.is_empty() {
            return false;
        }
        let place = *known[choice % known.len()];
        let again = self.zone.bare_at(place.base(), place.order()).expect("in reach");
        let freed = match self.hands.get_mut(by) {
            None => self.zone.free_bare(again),
            Some(hand) => hand.free_bare(again),
        };
        let asked = place.granules();
        assert_eq!(freed.expect_err("it is free").why, Error::DoubleFree { asked });
        true
    }
}
