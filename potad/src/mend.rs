//! Putting things right once there is time, and memory.
//!
//! # What always holds
//!
//! A report of failure and a free never ask for memory. What they used up of
//! what was put by, and the blocks that they quarantined whole because it was
//! not enough, make the zone *due*; slow paths that hold nothing look at that
//! flag and mend: they put memory by again, and break those blocks after all.
//! While memory is out the zone stays due.
//!
//! # Cost
//!
//! One load where nothing is due.

use crate::closing::Kept;
use crate::error::{Error, OutOfMemory};
use crate::hand::Slot;
use crate::poison::{Keeping, Poisoned};
use crate::state::{State, immediate};
use lookup::LookupError;
use memdesc::sync::atomic::Ordering;
use memdesc::{Block, Granule, Immediate, Order, Outcome, OwnerId, Subtype};

impl State {
    /// Something is to be mended.
    pub(crate) fn due(&self) {
        // Relaxed: a slow path that misses it leaves it to the next.
        self.due.store(true, Ordering::Relaxed);
    }

    /// Puts memory by, and breaks the blocks that were quarantined whole. The
    /// caller is outside any bracket and holds no lock of ours.
    #[inline]
    pub(crate) fn mend(&self) {
        if self.due.load(Ordering::Relaxed) {
            self.mend_slow();
        }
    }

    #[cold]
    fn mend_slow(&self) {
        if self.due.swap(false, Ordering::Relaxed) && self.try_mend().is_err() {
            self.due();
        }
    }

    fn try_mend(&self) -> Result<(), OutOfMemory> {
        while let Some(at) = self.stock.poison.settle_delayed() {
            let (_, kind) = self.failed_units(at);
            self.failures.end("free", kind, Outcome::Recovered);
        }
        self.put_by()?;
        while let Some(at) = self.stock.poison.first_whole() {
            // The words of its parts first, of the system's memory. It may have been
            // carved out of what a removal claims, whose words are its own.
            self.stock.forest.ensure_from(0, at)?;
            self.closing.ensure(at)?;
            self.with_shared_slot(|slot| self.break_whole(slot, at));
            self.put_by()?;
        }
        // A refusal pins, and may not run drops inside the bracket.
        let _guard = memdesc::pin();
        while let Some(at) = self.stock.poison.take_hidden() {
            if !self.with_shared_slot(|_| self.show(at)) {
                self.stock.poison.hide(at);
                return Err(OutOfMemory);
            }
        }
        Ok(())
    }

    /// Gives back what is sound of a block that was quarantined whole. In one
    /// bracket: the block is nobody's meanwhile.
    fn break_whole(&self, slot: &Slot, at: Granule) {
        if let Some(block) = self.stock.poison.take_whole(at) {
            let given = self.give(slot, block);
            debug_assert_eq!(given, Ok(()), "{block:?} was kept whole around {at:?}");
        }
    }

    /// Publishes the word of a quarantined granule; `false` without memory. Inside
    /// a bracket: whoever takes it off the record does so with every hand closed.
    fn show(&self, at: Granule) -> bool {
        if self.stock.poison.get(at) != Some(Poisoned::Quarantined) {
            return true;
        }
        let shown = self.tree.publish_immediate(Block::containing(at, Order::ZERO), sign());
        !matches!(shown, Err(LookupError::OutOfMemory { .. }))
    }

    /// Fills up what one carve and the next failures can need.
    pub(crate) fn put_by(&self) -> Result<(), OutOfMemory> {
        if !self.stock.poison.is_ready() {
            self.stock.poison.refill(0)?;
        }
        let last = self.spans.lock().iter().last();
        let Some(last) = last else { return Ok(()) };
        let level = self.largest_order().level();
        let own = self.stock.forest.need_below(level, last.last());
        let need = own.or(&self.closing.need_below(level));
        self.stock.reserve.lock().fill(&need)
    }

    /// Gives back those parts of a block that are to circulate again: one
    /// poisoned granule, or one end of a closing range, costs at most `order`
    /// blocks given and one kept. Allocates nothing: where the words for the
    /// parts cannot be made of what was put by, the part that they are of is
    /// kept whole.
    #[cold]
    pub(crate) fn give_suspect(&self, slot: &Slot, block: Block) -> Result<(), Error> {
        let failed = self.stock.poison.first_of(block);
        if failed.is_none()
            && let Some(done) = self.give_sound(slot, block)
        {
            return done;
        }
        let Some((lower, upper)) = block.halves() else {
            return self.keep(slot, block.base(), block);
        };
        let level = lower.order().level();
        if level < block.order().level()
            && let Some(at) = failed
            && !self.make_word(level, block.base())
        {
            return self.keep(slot, at, block);
        }
        self.give_suspect(slot, lower)?;
        self.give_suspect(slot, upper)
    }

    /// Makes a word present by what was put by; `false` if that is not enough.
    fn make_word(&self, level: u32, at: Granule) -> bool {
        if self.stock.forest.has_word(level, at) {
            return true;
        }
        self.due();
        self.stock.forest.ensure_kept(level, at, &mut self.stock.reserve.lock()).is_ok()
    }

    /// Gives a block that holds no poisoned granule, or lets a closing range keep
    /// it; `None` if that is to be asked of its halves. Past the hand: it may have
    /// been put back by a reporter, and what a hand holds is handed out with no
    /// look at the reported bits.
    fn give_sound(&self, slot: &Slot, block: Block) -> Option<Result<(), Error>> {
        let twice = Error::DoubleFree { asked: block.granules() };
        match self.closing.keep(block) {
            Kept::Outside if slot.holds_any_of(block) => Some(Err(twice)),
            Kept::Outside => Some(self.stock.give_past(slot, block)),
            Kept::Here => Some(Ok(())),
            Kept::Twice => Some(Err(twice)),
            Kept::InPart => None,
        }
    }

    /// Quarantines a block around a poisoned granule; one that was unpoisoned
    /// meanwhile is given after all.
    fn keep(&self, slot: &Slot, at: Granule, block: Block) -> Result<(), Error> {
        match self.quarantine(at, block) {
            Keeping::Done | Keeping::Twice => Ok(()),
            Keeping::Sound => self.give_suspect(slot, block),
        }
    }

    /// A poisoned granule, and the block around it, is nobody's: it never
    /// circulates again. Look-ups are told at once where the place for it is
    /// there, else later, for that may take memory; the record is the truth. The
    /// caller is inside a bracket, or every hand is closed.
    pub(crate) fn quarantine(&self, at: Granule, block: Block) -> Keeping {
        let kept = self.stock.poison.keep(at, block.order());
        if kept == Keeping::Done
            && block.order() == Order::ZERO
            && self.tree.publish_if_there(block, sign())
        {
            self.stock.poison.shown(at);
        }
        self.due();
        kept
    }

    /// As [`quarantine`](Self::quarantine), for a block that was carved out of
    /// what is free. The caller is inside a bracket, or every hand is closed.
    pub(crate) fn settle_carved(&self, at: Granule, block: Block) {
        self.stock.on_take(block);
        if self.quarantine(at, block) == Keeping::Sound {
            // Unpoisoned between its note and this.
            self.give_closed_block(block);
        }
    }
}

/// The word that look-ups find in place of a quarantined granule.
fn sign() -> Immediate {
    Immediate { poisoned: true, ..immediate(Subtype::Quarantine, OwnerId::RESOURCE) }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use crate::{FailureQueue, Potad, Resource, Zone};
    use alloc::sync::Arc;
    use alloc::vec::Vec;
    use memdesc::sync::atomic::{AtomicU64, Ordering};
    use memdesc::{FailedBlock, FailureKind, Order, Outcome, Owner, OwnerId};

    #[derive(Default)]
    struct Told(AtomicU64);

    impl Owner for Told {
        fn memory_failure(&self, _: &FailedBlock) -> Outcome {
            self.0.fetch_add(1, Ordering::Relaxed);
            Outcome::Ignored
        }
    }

    /// As if the report of what is on record had met a teardown that took too long.
    fn delay(zone: &Zone, block: &crate::RawBlock) {
        zone.state().stock.poison.set_delayed(block.block().base(), true);
    }

    /// A zone with a raw block whose failure is on record, and delayed.
    fn delayed() -> (Potad, Zone, Arc<Told>, crate::RawBlock) {
        let potad = Potad::new();
        let ram = Resource::new("ram").granule(4096).span(0..1 << 24);
        let zone = potad.register(ram).unwrap();
        let told = Arc::new(Told::default());
        let owner: OwnerId = zone.register_owner(told.clone()).unwrap();
        let block = zone.alloc_raw(Order::ZERO, owner).unwrap();
        let (state, at) = (zone.state(), block.block().base());
        state.stock.poison.note(at, state.units_of(at), FailureKind::Found).unwrap();
        delay(&zone, &block);
        assert_eq!(state.stock.poison.counts().delayed, 1);
        (potad, zone, told, block)
    }

    #[test]
    fn what_was_delayed_and_is_freed_is_settled_by_a_slow_path() {
        let (_potad, zone, told, block) = delayed();
        zone.free_raw(block).unwrap();
        assert_eq!(zone.state().stock.poison.counts().delayed, 1, "a free settles nothing");
        zone.state().mend();
        assert_eq!(zone.state().stock.poison.counts().delayed, 0);
        assert_eq!(zone.state().failures.by_name()["free"].recovered, 1);
        zone.state().mend();
        let _nothing = zone.retry_failures();
        assert_eq!(zone.state().failures.by_name()["free"].recovered, 1, "once");
        assert_eq!(told.0.load(Ordering::Relaxed), 0, "nobody has it");
    }

    #[test]
    fn who_takes_failures_from_a_queue_tells_of_what_was_delayed() {
        let (potad, zone, told, block) = delayed();
        let queue = FailureQueue::new(4).unwrap();
        assert_eq!(potad.report_queued(&queue, |_, _| {}), 0);
        assert_eq!(told.0.load(Ordering::Relaxed), 1);
        assert_eq!(potad.report_queued(&queue, |_, _| {}), 0);
        assert_eq!(told.0.load(Ordering::Relaxed), 1, "once");
        zone.free_raw(block).unwrap();
        assert_eq!(zone.stats().quarantined, 1);
    }

    #[test]
    fn only_what_is_owed_is_looked_for_again_a_few_at_once_or_all() {
        let (potad, zone, told, first) = delayed();
        let owner: OwnerId = zone.register_owner(told.clone()).unwrap();
        let more: Vec<_> = (0..12).map(|_| zone.alloc_raw(Order::ZERO, owner).unwrap()).collect();
        for block in &more {
            let at = zone.address_of(block.base());
            assert_eq!(zone.report_failure(at, 0, FailureKind::Found).unwrap().notified, 1);
        }
        let told_by = || told.0.swap(0, Ordering::Relaxed);
        assert_eq!(told_by(), 12);
        // One, beside twelve whose owner has heard.
        assert_eq!(zone.retry_failures().granules, 1);
        assert_eq!((told_by(), zone.retry_failures().granules), (1, 0));
        // All but one: eight by the first call, the others by the second.
        more.iter().for_each(|block| delay(&zone, block));
        let queue = FailureQueue::new(4).unwrap();
        for some in [8, 4, 0] {
            assert_eq!(potad.report_queued(&queue, |_, _| {}), 0);
            assert_eq!(told_by(), some);
        }
        more.iter().for_each(|block| delay(&zone, block));
        let all = zone.retry_failures();
        assert_eq!((all.granules, all.notified, told_by()), (12, 12, 12));
        for block in more.into_iter().chain([first]) {
            zone.free_raw(block).unwrap();
        }
        assert_eq!((zone.stats().pending, zone.stats().quarantined), (0, 13));
    }

    #[test]
    fn what_was_delayed_is_settled_by_a_slow_path_beside_what_is_settled() {
        let (_potad, zone, told, block) = delayed();
        let free = zone.address_of(block.base()) ^ 4096;
        assert_eq!(zone.report_failure(free, 0, FailureKind::Found).unwrap().quarantined, 1);
        assert_eq!(zone.state().stock.poison.counts().delayed, 1, "its owner has it still");
        zone.state().mend();
        assert_eq!(zone.state().stock.poison.counts().delayed, 1);
        assert_eq!(zone.retry_failures().notified, 1);
        assert_eq!(told.0.load(Ordering::Relaxed), 1);
        zone.free_raw(block).unwrap();
        assert_eq!(zone.stats().quarantined, 2);
    }
}
