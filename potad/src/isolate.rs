//! The two calls that a reporter makes: isolate, and put back.
//!
//! This, the reported bits and one counter are all that the allocator knows of
//! free-page reporting.

use crate::Zone;
use crate::error::Error;
use crate::forest::Taken;
use crate::handles::Isolated;
use crate::reported::Reported;
use crate::state::State;
use alloc::boxed::Box;
use memdesc::{Block, Granule, Immediate, Order, OwnerId, Subtype};

/// Free blocks that one call of [`Zone::isolate`] looks at, taken or not.
const STEPS: usize = 256;

/// Which free blocks to isolate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Smaller free blocks stay where they are.
    pub min_order: Order,
    /// Larger ones are taken in pieces of this order.
    pub max_order: Order,
    /// Only what an earlier pass has seen free already; what has not been seen
    /// is marked so and left.
    pub seen_before: bool,
}

/// What the host made of an isolated block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSays {
    /// Nothing: the block is as it was.
    Nothing,
    /// It took the memory back.
    Reported,
    /// It took the memory back, and it reads as zero from now on.
    Zeroed,
}

impl Zone {
    /// Gets ready for a reporter whose report granule is `order`: a block is
    /// reported in multiples of it. Costs one load per shared allocation from
    /// now on.
    pub fn attach_reporter(&self, order: Order) -> Result<(), Error> {
        let largest = self.largest_order();
        if order > largest {
            return Err(Error::NoReportGranule { order, largest });
        }
        let mut is_new = false;
        self.state().stock.reported.get_or_install(|| {
            is_new = true;
            Some(Box::new(Reported::new(order)))
        });
        if is_new { Ok(()) } else { Err(Error::ReporterAttached) }
    }

    /// The report granule, once a reporter was attached.
    pub fn report_order(&self) -> Option<Order> {
        self.state().stock.reported.get().map(Reported::order)
    }

    /// Takes the next free, not reported block at or after granule `*cursor`,
    /// as an allocation of the owner *Reporting*, and moves the cursor past it.
    ///
    /// `Ok(None)` with the cursor at [`Granule`]`(u64::MAX)` is the end of the
    /// pass; with another cursor the call did its share of work: call again.
    /// Bounded: looks at most at 256 free blocks.
    pub fn isolate(&self, cursor: &mut Granule, wanted: &Wanted) -> Option<Isolated> {
        let state = self.state();
        let reported = state.stock.reported.get()?;
        let min = wanted.min_order.max(reported.order());
        let max = wanted.max_order.max(min);
        state.with_slot(|_| {
            let mut steps = 0;
            while steps < STEPS {
                steps += 1;
                let Some(free) = state.next_free(*cursor, min) else {
                    *cursor = Granule(u64::MAX);
                    return None;
                };
                // The next piece of the free block, at or after the cursor.
                let at = Granule(free.base().0.max(cursor.0));
                let whole = Block::containing(at, free.order().min(max));
                // From the cursor on, as far as alignment goes.
                let aligned = Order::alignment_of(at.0).min(whole.order()).max(reported.order());
                let rest = Block::containing(at, aligned);
                let Some(piece) = reported.unreported_part(rest) else {
                    // All of it, or its first report granule.
                    let skip = match reported.is_reported(rest) {
                        true => rest,
                        false => Block::containing(at, reported.order()),
                    };
                    *cursor = Granule(skip.last().0 + 1);
                    continue;
                };
                *cursor = Granule(piece.last().0 + 1);
                if !reported.see(piece) && wanted.seen_before {
                    continue;
                }
                if let Ok(Taken::Block(piece)) = state.stock.forest.take_exact(piece) {
                    return Some(state.isolated(reported, piece));
                }
            }
            None
        })
    }

    /// Gives an isolated block back, with what the host made of it. A block of
    /// another zone stays isolated and comes back as an error.
    pub fn put_back(
        &self,
        isolated: Isolated,
        says: HostSays,
    ) -> Result<(), crate::Refused<Isolated>> {
        if let Err(why) = self.check_zone(isolated.zone) {
            return Err(crate::Refused { given: isolated, why });
        }
        let state = self.state();
        let block = isolated.block;
        if let Some(reported) = state.stock.reported.get() {
            // While the block is ours still: a taker finds the bits.
            if says != HostSays::Nothing {
                reported.mark(block, says == HostSays::Zeroed);
            }
            reported.note_put_back(block.order().granules());
        }
        let given = state.with_slot(|slot| {
            // Absent only where memory for the node was out.
            let _word = state.tree.clear_immediate(block);
            if state.stock.is_suspect(block) {
                return state.give(slot, block);
            }
            // Past the hand: what it held would be handed out with the bits
            // still set.
            let given =
                state.stock.forest.give(block.place(), |level, word| slot.is_warm(level, word));
            given.map_err(|_| Error::DoubleFree { asked: block.granules() })
        });
        debug_assert_eq!(given, Ok(()), "{block:?} was isolated");
        Ok(())
    }

    /// Whether at least so many granules are free and in no hand. Looks no
    /// further than it must; exact only while nobody allocates.
    pub fn has_free(&self, granules: u64) -> bool {
        let mut free = 0u64;
        let mut blocks = self.state().stock.forest.free_blocks(Granule(0), 0);
        granules == 0
            || blocks.any(|block| {
                free = free.saturating_add(block.order().granules());
                free >= granules
            })
    }

    /// Granules whose memory the host has taken back and that are free still.
    pub fn reported_granules(&self) -> u64 {
        let reported = self.state().stock.reported.get();
        reported.map_or(0, |known| known.reported_now() << known.order().get())
    }

    /// Reported granules that were taken again since a reporter was attached:
    /// the price paid for reporting too early.
    pub fn refaulted_granules(&self) -> u64 {
        let reported = self.state().stock.reported.get();
        reported.map_or(0, |known| known.refaulted() << known.order().get())
    }
}

impl State {
    /// The first free block of at least `min` that ends at or after `from`.
    fn next_free(&self, from: Granule, min: Order) -> Option<Block> {
        if from.0 > self.stock.forest.last_granule().0 {
            return None;
        }
        let level = min.level();
        // A larger block around the cursor first: the walk starts behind it.
        let around = self.stock.forest.free_around(from, min);
        around.or_else(|| {
            self.stock.forest.free_blocks(from, level).find(|block| block.order() >= min)
        })
    }

    fn isolated(&self, reported: &Reported, block: Block) -> Isolated {
        let word = Immediate::new(Subtype::Reporting, OwnerId::RESOURCE, block.order());
        // Out of memory for the node, lookup says nothing of it: a failure
        // inside then counts as one in a bare block.
        let _shown = self.tree.publish_immediate(block, word);
        reported.note_isolated(block.order().granules());
        Isolated { block, zone: self.id }
    }
}
