//! What a pair of operations meets in, and what must hold when both are done.
//!
//! ```text
//!  word 0   0 1 | 2 3 | 4 5 | 6 7 | 8 .. 11 | 12 .. 63
//!           folio folio raw   bare   in two    free, but for the operation "merge":
//!           of 0  of 1  of 0,1 of 0,1  halves    then all of this lies in word 1
//!                                    isolated
//! ```
//!
//! Only what the two operations use is there; the rest of the eight granules
//! is free. An operation that looks, looks at what the other one has or will have;
//! two that look, at the same folio; one that looks and one that fails, at what
//! the first has. With *merge* in the pair these lie in word 1, which is full but for
//! them, and word 0 is free but for one granule per merging side: whoever gives
//! the last one back completes the word.

use crate::op::Op;
use loom_tests::home::{Folio, Slab};
use memdesc::{FailedBlock, Granule, Granules, Order, Outcome, Owner, OwnerId};
use potad::{
    Aim, BareBlock, Block, Hand, Isolated, Potad, RawBlock, Removal, Resource, Wanted, Zone,
};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// What both sides share.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) potad: Potad,
    pub(crate) ram: Zone,
    /// Owns every typed and raw block.
    pub(crate) watcher: OwnerId,
    /// The watcher's registration has ended. Outside of loom's view.
    pub(crate) gone: Arc<AtomicBool>,
    /// Reports that were the first of their granule. Outside of loom's view.
    pub(crate) firsts: Arc<AtomicU64>,
    pub(crate) ops: [Op; 2],
    /// First granule of what leaves.
    pub(crate) leaving: u64,
    /// First granule of the objects.
    pub(crate) base: u64,
}

/// What one side has, and what it ends with.
pub(crate) struct Side {
    pub(crate) number: u64,
    /// The address that it looks at: the other side's object.
    pub(crate) at: u64,
    pub(crate) hand: Hand,
    pub(crate) bare: Option<BareBlock>,
    pub(crate) raw: Option<RawBlock>,
    pub(crate) folio: Option<Block<Folio>>,
    pub(crate) slab: Option<Block<Slab>>,
    pub(crate) isolated: Option<Isolated>,
    pub(crate) removal: Option<Removal>,
    /// Left as it is while the other side runs.
    pub(crate) kept: Vec<BareBlock>,
}

/// What a reporter asks for: a granule.
pub(crate) const SINGLE: Wanted = Wanted {
    min_order: Order::ZERO,
    max_order: Order::ZERO,
    seen_before: false,
    patient: false,
    spare: 0,
};

struct Watcher(Arc<AtomicBool>);

impl Owner for Watcher {
    fn memory_failure(&self, _: &FailedBlock) -> Outcome {
        assert!(!self.0.load(Relaxed), "told after its registration had ended");
        Outcome::Delayed
    }
}

pub(crate) fn order(order: u32) -> Order {
    Order::new(order).expect("an order")
}

impl World {
    /// A world for the two, and its sides.
    pub(crate) fn new(ops: [Op; 2]) -> (Self, [Side; 2]) {
        let merging = ops.contains(&Op::Merge);
        let last = if merging { 127 } else { 63 };
        let potad = Potad::new();
        let ram = potad.register(Resource::new("ram").reach(255).span(0..last + 1));
        let ram = ram.expect("a span");
        let gone = Arc::new(AtomicBool::new(false));
        let watcher = potad.register_owner(Arc::new(Watcher(Arc::clone(&gone)))).expect("an id");
        ram.attach_reporter(Order::ZERO).expect("the first one");
        let base = if merging { 64 } else { 0 };
        // An allocation breaks the word's block, and keeps its first eighth.
        let leaving = if ops.contains(&Op::Alloc) { base + 8 } else { base };
        let firsts = Arc::new(AtomicU64::new(0));
        let world = Self { potad, ram, watcher, gone, firsts, ops, leaving, base };
        let mut sides = [0, 1].map(|number: u64| Side {
            number,
            at: 0,
            hand: world.ram.hand(),
            bare: None,
            raw: None,
            folio: None,
            slab: None,
            isolated: None,
            removal: None,
            kept: Vec::new(),
        });
        if merging {
            // Word 1 is full but for its first eight granules.
            for (at, size) in [(72, 3), (80, 4), (96, 5)] {
                sides[0].kept.push(world.bare(at, size));
            }
        }
        for (side, op) in sides.iter_mut().zip(ops) {
            world.furnish(side, op);
        }
        for side in &mut sides {
            side.at = world.looks_at(side.number);
        }
        if ops == [Op::Flush; 2] {
            // Each has a granule of the same word, freed and not given back.
            for side in &mut sides {
                let bare = side.bare.take().expect("furnished");
                side.hand.free_bare(bare).expect("its own");
            }
            return (world, sides);
        }
        for (side, op) in sides.iter_mut().zip(ops) {
            if op == Op::Flush {
                // The hand claims what is free of word 0, and gives nothing of it out.
                let block = side.hand.alloc_bare(Order::ZERO).expect("something is free");
                side.hand.free_bare(block).expect("its own");
            }
        }
        if world.has_room_beside_a_flush() {
            // Given past the hand that has the rest of the word.
            for side in &mut sides {
                if let Some(bare) = side.bare.take() {
                    side.hand.free_bare(bare).expect("its own");
                    side.hand.flush();
                }
            }
        }
        (world, sides)
    }

    fn furnish(&self, side: &mut Side, op: Op) {
        let (number, base) = (side.number, self.base);
        match op {
            Op::Replace | Op::Split | Op::Get | Op::Lock | Op::Lookup => {
                let aim = at(base + 2 * number, 2);
                let folio = self.ram.alloc_by(order(1), self.watcher, Folio::of(7), &aim).ok();
                side.folio = Some(folio.expect("free"));
            }
            Op::Clear if self.ops.iter().any(|op| op.looks()) => {
                let aim = at(base + 4 + number, 1);
                let folio = self.ram.alloc_by(Order::ZERO, self.watcher, Folio::of(7), &aim).ok();
                side.folio = Some(folio.expect("free"));
            }
            Op::Clear | Op::Failure | Op::Unregister => {
                let aim = at(base + 4 + number, 1);
                let raw = self.ram.alloc_raw_by(Order::ZERO, self.watcher, &aim);
                side.raw = Some(raw.expect("free"));
            }
            Op::Flush if self.ops == [Op::Flush; 2] => side.bare = Some(self.bare(6 + number, 0)),
            Op::Report if self.has_room_beside_a_flush() => {
                side.bare = Some(self.bare(base + 6 + number, 0));
            }
            Op::Free => side.bare = Some(self.bare(base + 6 + number, 0)),
            Op::Merge => side.bare = Some(self.bare(20 + number, 0)),
            Op::PutBack => {
                let mut cursor = Granule(base + 6 + number);
                side.isolated = Some(self.ram.isolate(&mut cursor, &SINGLE).expect("free"));
            }
            Op::Alloc
            | Op::Claim
            | Op::Flush
            | Op::Publish
            | Op::Report
            | Op::HotAdd
            | Op::HotRemove => {}
        }
    }

    fn bare(&self, first: u64, size: u32) -> BareBlock {
        let block = self.ram.alloc_bare_by(order(size), &at(first, 1 << size));
        block.expect("free")
    }

    /// Where a side looks, or fails.
    fn looks_at(&self, number: u64) -> u64 {
        let (own, other) = (self.ops[number as usize], self.ops[1 - number as usize]);
        match (own, other) {
            (own, other) if own.looks() && other.looks() => self.focus(own, 0),
            (Op::Failure, Op::Failure) => self.focus(own, 0),
            (own, Op::Failure) if own.looks() => self.focus(own, number),
            // The lowest that is free, which is what they take.
            (own, Op::Publish | Op::Report) if own.looks() => (2 - 2 * number) + self.base,
            (Op::Failure, Op::Report) => self.base,
            _ => self.focus(other, 1 - number),
        }
    }

    /// Which thread has a hand of its own: both calls would else borrow the one that
    /// models share, and its lock would keep them apart.
    pub(crate) fn own_hands(&self) -> [bool; 2] {
        let all_of = |ops: [Op; 2]| self.ops.iter().all(|op| ops.contains(op));
        match self.ops {
            // A failure borrows in any case.
            [Op::Failure, Op::PutBack] => [false, true],
            [Op::PutBack, Op::Failure] => [true, false],
            _ => [all_of([Op::Report, Op::PutBack]) || all_of([Op::HotAdd, Op::PutBack]), false],
        }
    }

    /// Whether a folio's number is written, under its lock: then nobody else reads it.
    pub(crate) fn is_written(&self) -> bool {
        self.ops.contains(&Op::Lock)
    }

    /// Whether one looks at what has no descriptor throughout: a reporter has it, or
    /// nobody.
    pub(crate) fn looks_at_what_is_free(&self) -> bool {
        self.ops.contains(&Op::Report) || self.ops.contains(&Op::PutBack)
    }

    /// Whether a granule is free beside what a hand has of its word: else a flush
    /// gives all or nothing of what a report takes.
    fn has_room_beside_a_flush(&self) -> bool {
        self.ops.contains(&Op::Flush) && self.ops.contains(&Op::Report)
    }

    /// What a hot-add of a side adds. A put back completes the word before this one,
    /// and both set a bit above.
    pub(crate) fn added(&self, number: u64) -> Range<u64> {
        match self.ops.contains(&Op::PutBack) {
            true => 64..128,
            false => 128 + 2 * number..130 + 2 * number,
        }
    }

    /// Makes the hand that the calling thread has for calls without one, and takes
    /// nothing into it.
    pub(crate) fn make_hand(&self) {
        let mut past_the_end = Granule(u64::MAX);
        assert!(self.ram.isolate(&mut past_the_end, &SINGLE).is_none());
    }

    /// Where the operation happens.
    fn focus(&self, op: Op, number: u64) -> u64 {
        match op {
            Op::Replace | Op::Split | Op::Get | Op::Lock | Op::Lookup => self.base + 2 * number + 1,
            Op::Clear | Op::Failure | Op::Unregister => self.base + 4 + number,
            Op::Free | Op::PutBack => self.base + 6 + number,
            Op::Merge => 20 + number,
            Op::HotAdd => 128 + 2 * number,
            Op::HotRemove => self.base,
            // Where what is nearest is free.
            Op::Alloc | Op::Claim | Op::Flush | Op::Publish | Op::Report => {
                if self.base == 0 {
                    8
                } else {
                    0
                }
            }
        }
    }

    /// Gives everything back, and looks at what is left: the whole is sound, no
    /// granule is lost, and what is free is in blocks as large as can be.
    pub(crate) fn settle(self, sides: [Side; 2]) {
        let mut removals = Vec::new();
        for mut side in sides {
            removals.extend(side.removal.take());
            drop((side.folio.take(), side.slab.take()));
            if let Some(raw) = side.raw.take() {
                self.ram.free_raw(raw).expect("its own");
            }
            for bare in side.bare.take().into_iter().chain(side.kept.drain(..)) {
                self.ram.free_bare(bare).expect("its own");
            }
            if let Some(isolated) = side.isolated.take() {
                let says = potad::HostSays::Nothing;
                self.ram.put_back(isolated, says).expect("its own");
            }
        }
        for removal in removals {
            removal.finish().expect("nothing is held any more");
        }
        let ram = &self.ram;
        ram.validate().expect("sound");
        let stats = ram.stats();
        assert_eq!(stats.free + stats.quarantined, stats.granules, "{stats:?}");
        assert_eq!((stats.pending, stats.isolated, stats.removing), (0, 0, 0));
        if stats.quarantined == 0 {
            let free = ram.free_blocks();
            let spans = ram.spans();
            let whole = spans.iter().flat_map(|span| {
                let range = Granules::new(Granule(span.first), Granule(span.last));
                range.expect("in order").cover().collect::<Vec<_>>()
            });
            assert_eq!(free, whole.collect::<Vec<_>>(), "not whole again");
        }
        if self.ops == [Op::Failure; 2] {
            assert_eq!(self.firsts.load(Relaxed), 1, "one report is the first");
        }
        if stats.quarantined == 0 {
            let guard = memdesc::pin();
            assert!(ram.next(0, &guard).is_none(), "a word was left behind");
        }
    }
}

fn at(first: u64, granules: u64) -> Aim {
    Aim::lowest().within(first..first + granules)
}
