//! The allocator's side: who gives free blocks out for reporting.
//!
//! # What always holds
//!
//! A block that [`ReportSource::isolate`] gave out is allocated, by the
//! reserved owner *Reporting*: no allocation hands it out, until
//! [`ReportSource::put_back`]. Its token is not `Clone`, so it is put back at
//! most once. The engine puts every token back, but for one case: a range that
//! was posted to a device which cannot say that it let go. That token is
//! forgotten, on purpose: the block stays isolated for ever, which is safe,
//! while giving it back is not.
//!
//! # Sharing and cost
//!
//! Every method takes `&self` and may race with any use of the allocator. One
//! call to `isolate` does a bounded amount of work, found something or not, and
//! says where it stopped in the cursor. The engine calls neither method from
//! within the other.

use crate::policy::Mode;
use crate::range::{ByteRange, Outcome};
use alloc::sync::Arc;
use memdesc::Order;

/// A free block, taken out of the allocator for a reporter.
///
/// The value is the right to put the block back. Dropping it without doing so
/// must leave the block isolated.
pub trait IsolatedBlock {
    /// Where it is: an address in the resource's units, and bytes.
    fn range(&self) -> ByteRange;

    /// Its order.
    fn order(&self) -> Order;
}

/// Where a pass over the free blocks stands. What the first two numbers mean is
/// the source's own business; all are 0 at the start of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Where to go on, for example an address or a granule.
    pub position: u64,
    /// What is being walked, for example a level or an order.
    pub stage: u32,
    /// Bytes that were spared so far; see [`Want::spare_bytes`].
    pub spared: u64,
}

/// How long a block must have been free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// However short.
    Any,
    /// An earlier pass saw it free and nobody took it since. The source keeps
    /// that bit: a free block that has not got it is given the bit and left
    /// where it is. So a block is reported between one and two of its passes
    /// after it was freed, and `free` does nothing for it.
    Seen,
}

/// Which blocks to isolate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Free blocks below this order stay where they are.
    pub min_order: Order,
    /// Larger free blocks are taken in pieces of this order; at least
    /// `min_order`.
    pub max_order: Order,
    /// How long they must have been free.
    pub age: Age,
    /// Leaves what was reported too early last time. A source that does not
    /// know gives it out.
    pub patient: bool,
    /// The blocks given out in one call are at most so many bytes together; only
    /// the first may be larger, so that there is progress. At the limit the
    /// answer is [`Progress::More`].
    pub max_bytes: u64,
    /// Of what suits, the first so many bytes of a pass stay where they are, the
    /// ones that the allocator is about to hand out.
    pub spare_bytes: u64,
    /// Leave at least so many bytes free and not isolated: answer
    /// [`Progress::Pressure`] instead of going below. A hint may do.
    pub leave_bytes: u64,
}

/// What is left to do after a call to [`ReportSource::isolate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Call again: the cursor says where to go on. Right also where this call
    /// found nothing but has done its share of work.
    More,
    /// The whole resource was walked since the cursor was at its start.
    EndOfPass,
    /// The allocator needs what is left: end the pass.
    Pressure,
}

/// The allocator, as a reporter sees it.
pub trait ReportSource {
    /// The token of an isolated block.
    type Block: IsolatedBlock;

    /// Takes at most `room` free blocks that were not reported since their last
    /// use and fit `want`, and gives each to `out`.
    ///
    /// Bounded work; holds no lock when it calls `out` or returns.
    fn isolate(
        &self,
        cursor: &mut Cursor,
        want: &Want,
        room: usize,
        out: &mut impl FnMut(Self::Block),
    ) -> Progress;

    /// Makes the block free again and notes its outcome. Never fails.
    ///
    /// The engine never passes [`Outcome::Posted`]. If the outcome
    /// [is reported](Outcome::is_reported), the bits are to be set while the
    /// block is still isolated.
    fn put_back(&self, block: Self::Block, outcome: Outcome);

    /// As [`put_back`](Self::put_back) for each: a source may do it in fewer
    /// steps.
    fn put_back_all(&self, blocks: impl IntoIterator<Item = (Self::Block, Outcome)>) {
        blocks.into_iter().for_each(|(block, outcome)| self.put_back(block, outcome));
    }

    /// Makes findable what is free and held back by caches of threads. Asked once
    /// by a pull that has come to the end without getting enough.
    fn flush(&self) {}

    /// About how many free bytes are not reported. 0 says that a pass would
    /// find nothing, and is believed.
    fn dirty_bytes(&self) -> u64;

    /// Bytes that were reported and then taken again, since the beginning: the
    /// price of reporting too early. 0 from a source that does not count them.
    fn refaulted_bytes(&self) -> u64 {
        0
    }

    /// Of those, the ones that were reported too early: taken again before the
    /// pass after the one that reported them had begun. 0 from a source that
    /// does not know.
    fn premature_bytes(&self) -> u64 {
        0
    }

    /// Bytes that are free and reported.
    fn reported_bytes(&self) -> u64;

    /// A pass begins.
    fn begin_pass(&self) {}

    /// When its blocks must have been reported.
    fn mode(&self) -> Mode {
        Mode::Idle
    }

    /// Bytes in one granule: block bytes are `granule_bytes << order`. Not 0.
    fn granule_bytes(&self) -> u64;
}

macro_rules! forward {
    ($pointer:ty) => {
        impl<S: ReportSource> ReportSource for $pointer {
            type Block = S::Block;

            fn isolate(
                &self,
                cursor: &mut Cursor,
                want: &Want,
                room: usize,
                out: &mut impl FnMut(Self::Block),
            ) -> Progress {
                S::isolate(self, cursor, want, room, out)
            }

            fn put_back(&self, block: Self::Block, outcome: Outcome) {
                S::put_back(self, block, outcome);
            }

            fn put_back_all(&self, blocks: impl IntoIterator<Item = (Self::Block, Outcome)>) {
                S::put_back_all(self, blocks);
            }

            fn flush(&self) {
                S::flush(self);
            }

            fn dirty_bytes(&self) -> u64 {
                S::dirty_bytes(self)
            }

            fn refaulted_bytes(&self) -> u64 {
                S::refaulted_bytes(self)
            }

            fn premature_bytes(&self) -> u64 {
                S::premature_bytes(self)
            }

            fn reported_bytes(&self) -> u64 {
                S::reported_bytes(self)
            }

            fn begin_pass(&self) {
                S::begin_pass(self);
            }

            fn mode(&self) -> Mode {
                S::mode(self)
            }

            fn granule_bytes(&self) -> u64 {
                S::granule_bytes(self)
            }
        }
    };
}

forward!(&S);
forward!(Arc<S>);
