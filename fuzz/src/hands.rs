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
    /// Another hand, or one less.
    pub fn turn_hands(&mut self, bytes: &mut Bytes<'_>) -> bool {
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
        let taken = match self.hands.get_mut(by) {
            None => self.zone.alloc_bare(order),
            Some(hand) => hand.alloc_bare(order),
        };
        self.noted(order, taken, BareBlock::block)
    }

    /// A raw block.
    pub fn alloc_raw(&mut self, order: Order, owner: OwnerId, by: usize) -> Option<RawBlock> {
        let taken = match self.hands.get_mut(by) {
            None => self.zone.alloc_raw(order, owner),
            Some(hand) => hand.alloc_raw(order, owner),
        };
        self.noted(order, taken, RawBlock::block)
    }

    /// Frees a live block.
    pub fn free_bare(&mut self, block: BareBlock, by: usize) {
        let place = block.block();
        let freed = match self.hands.get_mut(by) {
            None => self.zone.free_bare(block),
            Some(hand) => hand.free_bare(block),
        };
        freed.expect("live");
        self.gave(place.base().0, place.last().0);
    }

    /// Frees a live block.
    pub fn free_raw(&mut self, block: RawBlock, by: usize) {
        let place = block.block();
        let freed = match self.hands.get_mut(by) {
            None => self.zone.free_raw(block),
            Some(hand) => hand.free_raw(block),
        };
        freed.expect("live");
        self.gave(place.base().0, place.last().0);
    }

    /// So many blocks, or all that there are; and whether it was that many.
    pub fn alloc_many(&mut self, order: Order, count: usize, by: usize) -> (Vec<BareBlock>, bool) {
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
        let freed = match self.hands.get_mut(by) {
            None => self.zone.free_many(blocks),
            Some(hand) => hand.free_many(blocks),
        };
        assert_eq!(freed.expect("live"), places.len());
        places.iter().for_each(|place| self.gave(place.base().0, place.last().0));
        !places.is_empty()
    }
}
