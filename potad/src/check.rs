//! `validate()`: the whole state against everything that must always hold.

use crate::Zone;
use crate::hand::{Closed, Slot};
use crate::poison::Poisoned;
use crate::state::State;
use alloc::vec::Vec;
use memdesc::{Block, Granule, Granules, Order};

/// Something that must always hold does not: a bug, or memory written by
/// somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// Two free blocks share granules.
    #[error("free blocks {first:?} and {second:?} overlap")]
    Overlap {
        /// The one found first.
        first: Block,
        /// The one that overlaps it.
        second: Block,
    },
    /// A free block is not inside a span.
    #[error("free block {block:?} is outside the spans")]
    OutsideSpans {
        /// The block.
        block: Block,
    },
    /// A whole word that is nobody's warm one was not merged.
    #[error("the word of {block:?} is whole, but not merged")]
    Unmerged {
        /// The block that the word should have become.
        block: Block,
    },
    /// A free word that the summaries do not lead to.
    #[error("no summary leads to the free block {block:?}")]
    Unfindable {
        /// A block in the word.
        block: Block,
    },
    /// A hand holds a granule that is free elsewhere too.
    #[error("granule {at:?} is held twice")]
    HeldTwice {
        /// The granule.
        at: Granule,
    },
    /// A block with a word is free.
    #[error("{block:?} has a word, but granules of it are free")]
    FreeWithWord {
        /// The block.
        block: Block,
    },
    /// A granule out of circulation is free.
    #[error("the poisoned granule {at:?} is free")]
    PoisonedFree {
        /// The granule.
        at: Granule,
    },
    /// A live run has a granule that is free.
    #[error("the run {run} has free granules")]
    RunFree {
        /// The run.
        run: Granules,
    },
    /// A block that a removal has claimed is free in the zone too, or has a
    /// word.
    #[error("{block:?}, which a removal has claimed, is somebody's")]
    Claimed {
        /// The block.
        block: Block,
    },
    /// The lookup tree is broken.
    #[error("the lookup tree: {0}")]
    Lookup(lookup::LookupError),
}

impl Zone {
    /// Walks the whole state while every hand is closed; returns the number of
    /// free granules, or what is broken. For tests and for the desperate.
    pub fn validate(&self) -> Result<u64, Broken> {
        let state = self.state();
        let guard = memdesc::pin();
        let closed = state.gate.close();
        let free = state.validate_forest(&closed)?;
        let held = state.validate_hands(&closed)?;
        state.tree.validate().map_err(Broken::Lookup)?;
        let mut from = Granule(0);
        while let Some((block, _)) = state.tree.next(from, &guard) {
            if state.is_any_free(&closed, block) {
                return Err(Broken::FreeWithWord { block });
            }
            let Some(next) = block.last().checked_add(1) else { break };
            from = next;
        }
        for (at, poisoned) in state.stock.poison.granules() {
            let one = Block::containing(at, Order::ZERO);
            if poisoned == Poisoned::Quarantined && state.is_any_free(&closed, one) {
                return Err(Broken::PoisonedFree { at });
            }
        }
        for removing in state.closing.removals() {
            let is_claimed = |block: &Block| {
                let next = state.tree.next(block.base(), &guard);
                let has_word = next.is_some_and(|(there, _)| there.overlaps(*block));
                !has_word && !state.is_any_free(&closed, *block)
            };
            if let Some(block) = removing.claimed().find(|block| !is_claimed(block)) {
                return Err(Broken::Claimed { block });
            }
        }
        let runs = state.runs.lock();
        for (first, last) in runs.from(0) {
            if let Ok(run) = Granules::new(Granule(first), last)
                && run.cover().any(|block| state.is_any_free(&closed, block))
            {
                return Err(Broken::RunFree { run });
            }
        }
        Ok(free + held)
    }
}

impl State {
    fn is_any_free(&self, closed: &Closed<'_>, block: Block) -> bool {
        self.stock.forest.is_any_free(block) || closed.slots().any(|slot| slot.holds_any_of(block))
    }

    fn validate_forest(&self, closed: &Closed<'_>) -> Result<u64, Broken> {
        let forest = &self.stock.forest;
        let mut before: Option<Block> = None;
        let mut free = 0;
        for block in forest.free_blocks(Granule(0), 0) {
            if let Some(first) = before.filter(|first| first.last() >= block.base()) {
                return Err(Broken::Overlap { first, second: block });
            }
            if !self.is_in_span(block.granules()) {
                return Err(Broken::OutsideSpans { block });
            }
            before = Some(block);
            free += block.order().granules();
        }
        // Every word, not only those that a search would find.
        forest.visit_free(|level, word, value| {
            let place = memdesc::Place { level, word, mask: value & value.wrapping_neg() };
            let Some(block) = place.block() else { return Ok(()) };
            if !forest.is_findable(level, word) {
                return Err(Broken::Unfindable { block });
            }
            let is_warm = closed.slots().any(|slot| slot.is_warm(level, word));
            // (The word that spans everything reaches further than any span.)
            if value == u64::MAX && !is_warm {
                return Err(Broken::Unmerged { block });
            }
            Ok(())
        })?;
        Ok(free)
    }

    fn validate_hands(&self, closed: &Closed<'_>) -> Result<u64, Broken> {
        let mut seen = alloc::collections::BTreeMap::<u64, u64>::new();
        let mut held_granules = 0;
        for held in closed.slots().flat_map(|slot| slot.held()) {
            if held.mask() == 0 {
                continue;
            }
            let mask = seen.entry(held.word()).or_default();
            let twice = (*mask | self.stock.forest.load(0, held.word())) & held.mask();
            let first = Granule(held.word() << memdesc::ORDERS_PER_LEVEL);
            if twice != 0 {
                return Err(Broken::HeldTwice {
                    at: Granule(first.0 + u64::from(twice.trailing_zeros())),
                });
            }
            *mask |= held.mask();
            held_granules += u64::from(held.mask().count_ones());
        }
        let mut kept: Vec<Block> = closed.slots().flat_map(Slot::kept).collect();
        kept.sort_unstable_by_key(|block| block.base());
        for (at, &block) in kept.iter().enumerate() {
            let next = kept.get(at + 1).filter(|next| next.overlaps(block));
            let mut held = closed.slots().flat_map(Slot::held);
            let in_mask = held.any(|held| held.overlap(block) != 0);
            if next.is_some() || in_mask || self.stock.forest.is_any_free(block) {
                return Err(Broken::HeldTwice { at: block.base() });
            }
            if !self.is_in_span(block.granules()) {
                return Err(Broken::OutsideSpans { block });
            }
            held_granules += block.order().granules();
        }
        Ok(held_granules)
    }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    //! Words that somebody else has written over are found, and named.

    use super::*;
    use crate::{Potad, Resource};
    use memdesc::OwnerId;
    use memdesc::sync::atomic::Ordering::Relaxed;

    struct Page;

    memdesc::descriptors! { set Mm { Page = 1 } }

    fn ram(granules: u64) -> Zone {
        Potad::new().register(Resource::new("ram").granule(4096).span(0..granules * 4096)).unwrap()
    }

    fn block(base: u64, order: u32) -> Block {
        Block::containing(Granule(base), Order::new(order).unwrap())
    }

    /// Flips `bits` of a free word.
    fn corrupt(zone: &Zone, level: u32, word: u64, bits: u64) {
        zone.state().stock.forest.word(level, word).unwrap().fetch_xor(bits, Relaxed);
    }

    #[test]
    fn a_free_bit_inside_a_free_block_overlaps() {
        let ram = ram(64 * 4);
        let taken = ram.alloc_bare(Order::new(5).unwrap()).unwrap();
        let word = taken.block().base().0 >> 6;
        assert_eq!(ram.validate(), Ok(64 * 4 - 32));
        corrupt(&ram, 1, 0, 1 << word);
        assert!(matches!(ram.validate(), Err(Broken::Overlap { .. })), "{:?}", ram.validate());
        corrupt(&ram, 1, 0, 1 << word);
        ram.free_bare(taken).unwrap();
        assert_eq!(ram.validate(), Ok(64 * 4));
    }

    #[test]
    fn a_free_bit_outside_the_spans_is_named() {
        let ram = ram(64 * 4);
        corrupt(&ram, 1, 0, 1 << 5);
        assert_eq!(ram.validate(), Err(Broken::OutsideSpans { block: block(64 * 5, 6) }));
        corrupt(&ram, 1, 0, 1 << 5);
        assert_eq!(ram.validate(), Ok(64 * 4));
    }

    #[test]
    fn a_free_bit_of_a_block_with_a_word_is_named() {
        let ram = ram(64 * 4);
        let raw = ram.alloc_raw(Order::new(5).unwrap(), OwnerId::RESOURCE).unwrap();
        let at = raw.block();
        let bit = 1 << (at.base().0 & 63);
        corrupt(&ram, 0, at.base().0 >> 6, bit);
        assert_eq!(ram.validate(), Err(Broken::FreeWithWord { block: at }));
        corrupt(&ram, 0, at.base().0 >> 6, bit);
        ram.free_raw(raw).unwrap();
        assert_eq!(ram.validate(), Ok(64 * 4));
    }

    #[test]
    fn a_whole_word_that_no_hand_keeps_warm_is_named() {
        let all = 64 * 64 * 4;
        let ram = ram(all);
        let free = |at: Granule| ram.state().stock.forest.load(1, at.0 >> 12);
        let mut hand = ram.hand();
        let one = hand.alloc_bare(Order::new(9).unwrap()).unwrap();
        let at = one.block().base();
        hand.free_bare(one).unwrap();
        assert_eq!((free(at) == u64::MAX, ram.validate()), (false, Ok(all)), "kept");
        let (_, slot) = hand.parts();
        assert!(slot.give_kept(&ram.state().stock, |_| true));
        assert_eq!((free(at), ram.validate()), (u64::MAX, Ok(all)), "warm");
        drop(hand);
        assert_eq!((free(at), ram.validate()), (0, Ok(all)), "merged");
        let run = ram.alloc_at(4096 * 70..4096 * 71).unwrap();
        corrupt(&ram, 0, 1, 1 << 6);
        assert_eq!(ram.validate(), Err(Broken::Unmerged { block: block(64, 0) }));
        corrupt(&ram, 0, 1, 1 << 6);
        ram.free_run(run).unwrap();
        assert_eq!(ram.validate(), Ok(all));
    }

    #[test]
    fn a_free_bit_that_no_summary_leads_to_is_named() {
        let ram = ram(64 * 4);
        let mut hand = ram.hand();
        let page = hand.alloc_bare(Order::ZERO).unwrap();
        let at = page.block().base();
        hand.free_bare(page).unwrap();
        // The hand has the whole word, so the summary says that it is empty.
        corrupt(&ram, 0, at.0 >> 6, 1 << (at.0 & 63));
        assert_eq!(ram.validate(), Err(Broken::Unfindable { block: block(at.0, 0) }));
        corrupt(&ram, 0, at.0 >> 6, 1 << (at.0 & 63));
        assert_eq!(ram.validate(), Ok(64 * 4));
    }

    /// Gives what is somebody's, as a bug would, summaries and all.
    fn give(zone: &Zone, at: u64) {
        zone.state().stock.forest.give(block(at, 0).place(), |_, _| false).unwrap();
    }

    fn take_back(zone: &Zone, at: u64) {
        zone.state().stock.forest.take_exact(block(at, 0)).unwrap();
    }

    #[test]
    fn a_granule_that_a_hand_holds_and_the_forest_too_is_named() {
        let ram = ram(64 * 4);
        let mut hand = ram.hand();
        let page = hand.alloc_bare(Order::ZERO).unwrap();
        let at = page.block().base().0;
        hand.free_bare(page).unwrap();
        give(&ram, at);
        assert_eq!(ram.validate(), Err(Broken::HeldTwice { at: Granule(at) }));
        take_back(&ram, at);
        assert_eq!(ram.validate(), Ok(64 * 4));
    }

    #[test]
    fn a_granule_out_of_circulation_that_is_free_is_named() {
        let ram = ram(64 * 4);
        ram.report_failure(70 * 4096, 0, memdesc::FailureKind::Found).unwrap();
        assert_eq!((ram.validate(), ram.stats().quarantined), (Ok(64 * 4 - 1), 1));
        give(&ram, 70);
        let shown = Broken::FreeWithWord { block: block(70, 0) };
        assert_eq!(ram.validate(), Err(shown), "by the word that says so");
        // Without memory for that word the record alone tells.
        ram.state().tree.clear_immediate(block(70, 0)).unwrap();
        assert_eq!(ram.validate(), Err(Broken::PoisonedFree { at: Granule(70) }));
        take_back(&ram, 70);
        assert_eq!(ram.validate(), Ok(64 * 4 - 1));
    }

    #[test]
    fn a_granule_of_a_live_run_that_is_free_is_named() {
        let ram = ram(64 * 4);
        let run = ram.alloc_at(70 * 4096..75 * 4096).unwrap();
        let granules = Granules::new(Granule(70), Granule(74)).unwrap();
        // Its blocks have words, which tell first; then its own record does.
        let tree = &ram.state().tree;
        for piece in granules.cover() {
            let at = piece.base().0;
            give(&ram, at);
            assert_eq!(ram.validate(), Err(Broken::FreeWithWord { block: piece }));
            let word = tree.clear_immediate(piece).unwrap();
            assert_eq!(ram.validate(), Err(Broken::RunFree { run: granules }));
            take_back(&ram, at);
            tree.publish_immediate(piece, word).unwrap();
        }
        assert_eq!(ram.validate(), Ok(64 * 4 - 5));
        ram.free_run(run).unwrap();
        assert_eq!(ram.validate(), Ok(64 * 4));
    }

    #[test]
    fn what_a_removal_has_claimed_and_somebody_has_is_named() {
        let ram = ram(64 * 8);
        let held = ram.alloc_at(64 * 4096..65 * 4096).unwrap();
        let removal = ram.hot_remove(0..64 * 4 * 4096).unwrap();
        assert_eq!((removal.remaining_granules(), ram.validate()), (1, Ok(64 * 4)));
        let claimed = ram.state().closing.removals()[0].claimed().next().unwrap();
        let at = claimed.base().0;
        ram.state().stock.forest.ensure_from(0, claimed.base()).unwrap();
        give(&ram, at);
        assert_eq!(ram.validate(), Err(Broken::Claimed { block: claimed }));
        take_back(&ram, at);
        let word = memdesc::Immediate::new(memdesc::Subtype::Raw, OwnerId(1), Order::ZERO);
        ram.state().tree.publish_immediate(block(at, 0), word).unwrap();
        assert_eq!(ram.validate(), Err(Broken::Claimed { block: claimed }), "or has a word");
        ram.state().tree.clear_immediate(block(at, 0)).unwrap();
        removal.cancel();
        ram.free_run(held).unwrap();
        assert_eq!(ram.validate(), Ok(64 * 8));
    }

    /// A descriptor of another zone: when it dies its own zone does not know the
    /// block, and leaves the word.
    #[test]
    fn a_dead_descriptor_that_lookups_still_find_is_named() {
        let (here, there) = (ram(64 * 4), ram(64 * 4));
        let at = here.alloc_bare(Order::ZERO).unwrap().block();
        let stray = there.fresh(OwnerId::RESOURCE, Page).ok().unwrap();
        let page = here.state().tree.publish(at, stray).ok().unwrap();
        assert_eq!(here.validate(), Ok(64 * 4 - 1));
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(page)));
        assert_eq!(died.is_err(), cfg!(debug_assertions), "said where it is a bug");
        let dead = lookup::LookupError::Inconsistent { at };
        assert_eq!(here.validate(), Err(Broken::Lookup(dead)));
        assert_eq!(there.validate(), Ok(64 * 4));
    }
}
