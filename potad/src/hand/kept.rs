//! What a hand keeps of its last frees: a block of each order from 6 on.
//!
//! # How
//!
//! A pair of a large order in a loop would be two read-modify-writes on one word,
//! and nothing between them: so the last block of each order that was freed here
//! stays here, and goes to the forest when the next one comes. Blocks smaller than a
//! region go sooner: when the hand looks for a region to take single granules from,
//! which is to see what is free there.
//!
//! # What always holds
//!
//! A block that is kept is whole, was its last owner's, and is in no forest: it
//! merges with nothing until it is given. It carries none of the reporter's bits,
//! which leave when a block is taken.
//!
//! # Cost
//!
//! A load and a store of the hand's own. What one hand keeps is as much as was
//! freed through it last; no request fails for it, for hands are emptied first, and
//! a reporter has them give back what it could report when a pass of it begins.

use super::code::Code;
use crate::regions::REGION_ORDER;
use memdesc::sync::atomic::Ordering;
use memdesc::sync::own::AtomicU64;
use memdesc::{Block, ORDERS_PER_LEVEL, Order};

/// The least order that is kept: that of the least block above level 0.
const LEAST: u32 = ORDERS_PER_LEVEL;

/// Places: one for each order from 6 to 20, one for all above.
const PLACES: usize = if cfg!(any(loom, shuttle)) { 1 } else { 16 };

/// No block: no code.
const NONE: u64 = 0;

/// The blocks that a hand keeps.
///
/// Plain loads and stores, by whoever is in the hand's bracket.
#[derive(Debug)]
pub(super) struct Kept([AtomicU64; PLACES]);

impl Kept {
    pub(super) fn nothing() -> Self {
        Self(core::array::from_fn(|_| AtomicU64::new(NONE)))
    }

    /// Whether blocks of an order are kept at all.
    #[inline(always)]
    pub(super) fn is_for(order: Order) -> bool {
        order.get() >= LEAST
    }

    #[inline(always)]
    fn of(&self, order: Order) -> &AtomicU64 {
        &self.0[(order.get().saturating_sub(LEAST) as usize).min(PLACES - 1)]
    }

    /// Takes the block of an order, if there is one.
    #[inline(always)]
    pub(super) fn take(&self, order: Order) -> Option<Code> {
        let place = self.of(order);
        let code = Code::from_bits(place.load(Ordering::Relaxed))?;
        if code.granules() != order.granules() {
            return None;
        }
        place.store(NONE, Ordering::Relaxed);
        Some(code)
    }

    /// Keeps a block; the one that was kept in its place is the caller's to give.
    #[inline(always)]
    pub(super) fn put(&self, code: Code, order: Order) -> Option<Code> {
        let place = self.of(order);
        let before = Code::from_bits(place.load(Ordering::Relaxed));
        place.store(code.get(), Ordering::Relaxed);
        before
    }

    /// Whether this very block is kept.
    #[inline(always)]
    pub(super) fn has(&self, code: Code, order: Order) -> bool {
        self.of(order).load(Ordering::Relaxed) == code.get()
    }

    /// The blocks that are kept.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Block> {
        let codes = self.0.iter().map(|place| place.load(Ordering::Relaxed));
        codes.filter_map(Code::from_bits).map(Code::block)
    }

    /// Takes out the blocks that are smaller than a region.
    #[inline]
    pub(super) fn drain_small(&self) -> impl Iterator<Item = Code> {
        // (In models, where all share a place, none are.)
        let small = if cfg!(any(loom, shuttle)) { 0 } else { REGION_ORDER - LEAST };
        Self::drain_of(self.0.iter().take(small as usize), |_| true)
    }

    /// Takes out the blocks that `is_wanted`.
    pub(super) fn drain(&self, is_wanted: impl Fn(Block) -> bool) -> impl Iterator<Item = Code> {
        Self::drain_of(self.0.iter(), is_wanted)
    }

    fn drain_of<'p>(
        places: impl Iterator<Item = &'p AtomicU64>,
        is_wanted: impl Fn(Block) -> bool,
    ) -> impl Iterator<Item = Code> {
        places.filter_map(move |place| {
            let code = Code::from_bits(place.load(Ordering::Relaxed))?;
            is_wanted(code.block()).then(|| {
                place.store(NONE, Ordering::Relaxed);
                code
            })
        })
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use memdesc::Granule;

    fn code(base: u64, order: u32) -> (Code, Order) {
        let order = Order::new(order).unwrap();
        (Code::of(Block::containing(Granule(base), order)), order)
    }

    #[test]
    fn the_last_block_of_each_order_is_kept_and_the_one_before_comes_out() {
        let kept = Kept::nothing();
        let ((first, nine), (second, _), (other, twelve)) =
            (code(0, 9), code(512, 9), code(4096, 12));
        assert!(kept.take(nine).is_none());
        assert!(kept.put(first, nine).is_none() && kept.put(other, twelve).is_none());
        assert!(kept.has(first, nine) && !kept.has(second, nine));
        assert_eq!(kept.put(second, nine).map(Code::block), Some(first.block()));
        assert_eq!(kept.blocks().collect::<Vec<_>>(), [second.block(), other.block()]);
        assert_eq!(kept.take(nine).map(Code::block), Some(second.block()));
        assert!(kept.take(nine).is_none() && !kept.has(second, nine));
        assert_eq!(kept.take(twelve).map(Code::block), Some(other.block()));
    }

    #[test]
    fn the_largest_orders_share_a_place_and_are_told_apart() {
        let kept = Kept::nothing();
        let ((large, forty), (larger, sixty)) = (code(1 << 40, 40), code(1 << 60, 60));
        assert!(kept.put(large, forty).is_none());
        assert!(kept.take(sixty).is_none(), "of another order");
        assert_eq!(kept.put(larger, sixty).map(Code::block), Some(large.block()));
        assert!(kept.take(forty).is_none());
        assert_eq!(kept.take(sixty).map(Code::block), Some(larger.block()));
    }

    #[test]
    fn what_is_drained_is_kept_no_more() {
        let kept = Kept::nothing();
        for (code, order) in [code(0, 9), code(1024, 10), code(4096, 12)] {
            assert!(kept.put(code, order).is_none());
        }
        let ten = Order::new(10).unwrap();
        let drained: Vec<_> = kept.drain(|block| block.order() >= ten).collect();
        assert_eq!(drained.len(), 2);
        assert_eq!(kept.blocks().collect::<Vec<_>>(), [code(0, 9).0.block()]);
    }

    /// Without looking into other hands, which would flush this one, too.
    #[test]
    fn a_hand_breaks_what_it_keeps_in_its_own_bracket() {
        let resource = crate::Resource::new("ram").granule(4096).span(0..512 * 4096);
        let ram = crate::Potad::new().register(resource).unwrap();
        let mut hand = ram.hand();
        let all = hand.alloc_bare(code(0, 9).1).unwrap();
        hand.free_bare(all).unwrap();
        let (_, slot) = hand.parts();
        let _inside = ram.state().gate.enter(slot);
        assert!(slot.kept().eq([code(0, 9).0.block()]));
        let part = ram.state().take_own(slot, code(0, 5).1).unwrap();
        assert!(part.is_some_and(|part| part.order().get() == 5));
        ram.state().give_own(slot, part.unwrap());
    }
}
