//! What a reporter asks of a zone: what is free, what of it the host knows, and what
//! came of the reports.
//!
//! # What always holds
//!
//! Nothing is taken here. What a hand holds does not count as free: who wants it counted
//! has hands give it back before.
//!
//! # Sharing and cost
//!
//! Any thread. Reports are counted already; free blocks are counted when asked for,
//! no further than the question goes.

use crate::Zone;
use memdesc::{Block, Granule};

/// Words that [`Zone::free_granules`] looks at, of each level.
const WORDS: usize = 1 << 16;
impl Zone {
    /// Has every hand, those of threads among them, give back what it holds: up to
    /// [`Hand::HIDDEN_GRANULES`](crate::Hand::HIDDEN_GRANULES) each and the last block of
    /// each order from 6 on that was freed, which the counts below do not see, and of which
    /// [`isolate`](Self::isolate) sees none but those blocks when a pass begins. One rendezvous;
    /// the next allocation of each costs a refill.
    ///
    /// ```
    /// # use potad::{Potad, Resource, memdesc::Order};
    /// let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 20))?;
    /// ram.free_bare(ram.alloc_bare(Order::ZERO)?)?;
    /// assert!(!ram.has_free(256), "this thread's hand has some");
    /// ram.flush_hands();
    /// assert!(ram.has_free(256));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flush_hands(&self) {
        drop(self.state().close_and_flush());
    }

    /// Has hands give back the blocks of the report granule or larger that they keep,
    /// and that the counts below do not see. One rendezvous if there are any, a load if
    /// not. [`isolate`](Self::isolate) begins a pass by it.
    pub fn give_back_reportable(&self) {
        self.state().gate.let_go(&self.state().stock);
    }

    /// Whether at least so many granules are free and in no hand. Looks no
    /// further than it must; exact only while nobody allocates.
    pub fn has_free(&self, granules: u64) -> bool {
        self.free_granules_up_to(granules) >= granules
    }

    /// Granules that are free and in no hand, or `most` if there are more.
    /// Looks no further than it must; exact only while nobody allocates.
    pub fn free_granules_up_to(&self, most: u64) -> u64 {
        let mut free = 0u64;
        let mut blocks = self.state().stock.forest.free_blocks(Granule(0), 0);
        while free < most {
            let Some(block) = blocks.next() else { break };
            free = free.saturating_add(block.order().granules());
        }
        free.min(most)
    }

    /// About how many granules are free and in no hand: what the words say while
    /// they are read, found by the summaries. Counts no further than 65,536
    /// words that have something free, and takes the rest to be as the ones it
    /// saw.
    pub fn free_granules(&self) -> u64 {
        self.state().stock.forest.free_granules(WORDS).min(self.granules())
    }

    /// Whether the host has taken all of the block's memory back. A hint, unless
    /// the block is the caller's.
    pub fn is_reported(&self, block: Block) -> bool {
        self.state().stock.reported.get().is_some_and(|known| known.is_reported(block))
    }

    /// Granules whose memory the host has taken back and that are free still.
    pub fn reported_granules(&self) -> u64 {
        let reported = self.state().stock.reported.get();
        reported.map_or(0, |known| known.reported_now() << known.order().get())
    }

    /// A pass of a reporter begins: what is taken again from now on was not
    /// reported too early, unless it is reported again before.
    pub fn age_reports(&self) {
        if let Some(known) = self.state().stock.reported.get() {
            known.age();
        }
    }

    /// Of the [`refaulted_granules`](Self::refaulted_granules), those that were
    /// reported too early: taken again before [`age_reports`](Self::age_reports)
    /// was called next.
    pub fn premature_granules(&self) -> u64 {
        let reported = self.state().stock.reported.get();
        reported.map_or(0, |known| known.premature() << known.order().get())
    }

    /// Reported granules that were taken again since a reporter was attached:
    /// the price paid for reporting too early.
    pub fn refaulted_granules(&self) -> u64 {
        let reported = self.state().stock.reported.get();
        reported.map_or(0, |known| known.refaulted() << known.order().get())
    }
}
