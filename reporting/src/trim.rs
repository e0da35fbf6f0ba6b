//! Blocks that are reported before they are used again: TRIM.
//!
//! # Picture
//!
//! ```text
//!  user --free--> [ waiting ] --isolate--> driver --reported--> zone (free)
//!                      ^                     |
//!                      +---- any other outcome
//! ```
//!
//! On a disk or in a swap file a block's old content must go before somebody
//! else's is written, or the discard that comes late takes the new content with
//! it. So what is freed here does not go to the zone: it waits, as live as it
//! was, and is free once a report said so.
//!
//! # What always holds
//!
//! A block is with its user, waiting, with the reporter, or free in the zone;
//! only a reported outcome moves it to the last.
//!
//! # Sharing and cost
//!
//! One lock around the queue, for the length of a push, or of a look at up to
//! 256 blocks. The allocator's own paths are not touched.

use crate::policy::Mode;
use crate::range::{ByteRange, Outcome};
use crate::source::{Cursor, IsolatedBlock, Progress, ReportSource, Want};
use alloc::collections::VecDeque;
use memdesc::Order;
use memdesc::sync::Mutex;
use potad::{BareBlock, Refused, Zone};
use smallvec::SmallVec;

/// Blocks that one call looks at.
const STEPS: usize = 256;

/// A zone whose blocks are free again only after a report.
///
/// ```
/// use potad::{Potad, Resource, memdesc::Order};
/// use potad_reporting::backend::Recording;
/// use potad_reporting::{Policy, Reporter, State, TrimSource};
///
/// let potad = Potad::new();
/// let swap = potad.register(Resource::new("swap").span(0..64))?;
/// let source = TrimSource::new(swap.clone());
/// let slots = swap.alloc_bare(Order::new(6)?)?;
/// source.free(slots)?;
/// assert!(swap.alloc_bare(Order::ZERO).is_err(), "not trimmed yet");
///
/// let mut reporter = Reporter::new(&source, Recording::new(), Policy::before_reuse())?;
/// while reporter.step(0).state == State::Active {}
/// assert!(swap.alloc_bare(Order::ZERO).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TrimSource {
    zone: Zone,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    blocks: VecDeque<BareBlock>,
    granules: u64,
}

impl Waiting {
    fn push(&mut self, block: BareBlock) {
        self.granules += block.order().granules();
        self.blocks.push_back(block);
    }

    fn pop(&mut self) -> Option<BareBlock> {
        let block = self.blocks.pop_front()?;
        self.granules -= block.order().granules();
        Some(block)
    }
}

impl TrimSource {
    /// A source of what is freed here; the zone's own frees stay what they are.
    pub fn new(zone: Zone) -> Self {
        Self { zone, waiting: Mutex::new(Waiting::default()) }
    }

    /// The zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Frees a block of the zone, once it was reported. A block of another zone
    /// comes back.
    pub fn free(&self, block: BareBlock) -> Result<(), Refused<BareBlock>> {
        match self.zone.bare_at(block.base(), block.order()) {
            Ok(ours) if ours == block => {
                self.waiting.lock().push(block);
                Ok(())
            }
            // Its own zone is the one to take it: ours refuses.
            _ => self.zone.free_bare(block),
        }
    }

    /// Bytes that wait.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting.lock().granules.saturating_mul(self.zone.granule())
    }

    /// Frees everything that waits, unreported: the device is gone, or somebody
    /// needs the space more than the discard. Returns the bytes.
    pub fn give_up(&self) -> u64 {
        let mut waiting = core::mem::take(&mut *self.waiting.lock());
        let bytes = waiting.granules.saturating_mul(self.zone.granule());
        while let Some(block) = waiting.pop() {
            self.give(block);
        }
        bytes
    }

    fn give(&self, block: BareBlock) {
        let freed = self.zone.free_bare(block);
        debug_assert!(freed.is_ok(), "a live block of this zone: {freed:?}");
    }

    fn range(&self, block: &BareBlock) -> Option<ByteRange> {
        let bytes = block.order().granules().checked_mul(self.zone.granule())?;
        ByteRange::new(self.zone.address_of(block.base()), bytes)
    }

    /// Cuts a block down to `max`; what is cut off waits on.
    fn cut(&self, mut block: BareBlock, max: Order) -> BareBlock {
        while block.order() > max {
            match self.zone.split_bare(block) {
                Ok((lower, upper)) => {
                    self.waiting.lock().push(upper);
                    block = lower;
                }
                // No memory for tables: in one piece then.
                Err(refused) => return refused.given,
            }
        }
        block
    }
}

/// A block that is being trimmed.
#[derive(Debug)]
pub struct TrimBlock {
    block: BareBlock,
    range: ByteRange,
}

impl IsolatedBlock for TrimBlock {
    fn range(&self) -> ByteRange {
        self.range
    }

    fn order(&self) -> Order {
        self.block.order()
    }
}

impl ReportSource for TrimSource {
    type Block = TrimBlock;

    /// Age and reserve are not asked: nobody can use what waits.
    fn isolate(
        &self,
        cursor: &mut Cursor,
        want: &Want,
        room: usize,
        out: &mut impl FnMut(TrimBlock),
    ) -> Progress {
        let mut found: SmallVec<[TrimBlock; 32]> = SmallVec::new();
        let mut bytes = 0u64;
        if cursor.stage == 0 {
            // As many as wait now: what comes back untrimmed is the next pass's.
            *cursor =
                Cursor { position: self.waiting.lock().blocks.len() as u64, stage: 1, spared: 0 };
        }
        for _ in 0..STEPS {
            if found.len() == room || bytes >= want.max_bytes || cursor.position == 0 {
                break;
            }
            let Some(block) = self.waiting.lock().pop() else {
                cursor.position = 0;
                break;
            };
            let block = self.cut(block, want.max_order);
            let suits = block.order() >= want.min_order;
            let range = self.range(&block).filter(|range| {
                suits && (found.is_empty() || range.bytes() <= want.max_bytes - bytes)
            });
            cursor.position -= 1;
            match range {
                Some(range) => {
                    bytes += range.bytes();
                    found.push(TrimBlock { block, range });
                }
                None => self.waiting.lock().push(block),
            }
        }
        let is_over = cursor.position == 0;
        found.into_iter().for_each(out);
        if is_over {
            *cursor = Cursor::default();
            return Progress::EndOfPass;
        }
        Progress::More
    }

    fn put_back(&self, block: TrimBlock, outcome: Outcome) {
        match outcome.is_reported() {
            true => self.give(block.block),
            false => self.waiting.lock().push(block.block),
        }
    }

    fn dirty_bytes(&self) -> u64 {
        self.waiting_bytes()
    }

    fn reported_bytes(&self) -> u64 {
        // What is trimmed belongs to the zone again.
        0
    }

    fn granule_bytes(&self) -> u64 {
        self.zone.granule()
    }

    fn mode(&self) -> Mode {
        Mode::BeforeReuse
    }
}
