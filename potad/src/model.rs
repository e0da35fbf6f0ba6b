//! What models drive: the forest and the hands without the zone around them.
//!
//! Only under `cfg(loom)`, for `loom-tests`. A zone's locks and tables would
//! multiply the interleavings without adding to what is asked.

use crate::closing::{Closing, Kept, Removing};
use crate::forest::{Forest, Taken};
use crate::hand::{Code, Gate, Slot};
use crate::isolate::{HostSays, Wanted};
use crate::placement::{Class, Together};
use crate::poison::{Keeping, Poisoned};
use crate::regions::Site;
use crate::reported::Reported;
use crate::resource::Spans;
use crate::shed::give_tables_back;
use crate::stock::Stock;
use alloc::boxed::Box;
use alloc::vec::Vec;
use memdesc::sync::{Arc, Mutex, TryArc};
use memdesc::{Block, FailureKind, Granule, Granules, Order};

#[cfg(feature = "std")]
pub use crate::local::OwnHand;

/// A forest and its hands.
#[derive(Debug)]
pub struct Ground {
    stock: Stock,
    gate: Gate,
    closing: Closing,
    /// Those added with [`hot_add`](Self::hot_add).
    spans: Mutex<Spans>,
}

/// A range of a [`Ground`] on its way out.
#[derive(Debug)]
pub struct Leaving(TryArc<Removing>);

/// A hand on a [`Ground`].
#[derive(Debug)]
pub struct Front {
    slot: TryArc<Slot>,
}

impl Ground {
    /// Granules `0..granules`, all free, in a forest of levels `0..=top`.
    pub fn new(granules: u64, top: u32) -> Self {
        let ground = Self {
            stock: Stock::new(top, Granule(0), 1, Arc::new(Together::default())),
            gate: Gate::new(),
            closing: Closing::default(),
            spans: Mutex::new(Spans::default()),
        };
        let range = Granules::new(Granule(0), Granule(granules - 1)).expect("not empty");
        for block in range.cover() {
            ground.ensure(block);
            ground.give(block);
        }
        ground
    }

    fn forest(&self) -> &Forest {
        &self.stock.forest
    }

    /// Makes every word that freeing the block or a part can touch present.
    pub fn ensure(&self, block: Block) {
        self.forest().ensure_from(0, block.base()).expect("models have memory");
    }

    /// Takes a block on the shared path.
    pub fn take(&self, order: u32) -> Option<Block> {
        let order = Order::new(order).expect("an order");
        match self.stock.take(order, Granule(0)).expect("models have memory") {
            Taken::Block(block) => Some(block),
            Taken::Nothing => None,
        }
    }

    /// A word that a refill would go to, near the first granule.
    pub fn site(&self) -> Option<u64> {
        match self.stock.site(Class::default(), Granule(0), 1)? {
            Site::Broken { word, .. } | Site::Whole { word } => Some(word),
            Site::Larger => None,
        }
    }

    /// Takes exactly this block on the shared path.
    pub fn take_exact(&self, block: Block) -> bool {
        self.forest().take_exact(block).expect("models have memory") == Taken::Block(block)
    }

    /// Takes up to `count` runs of one word at once; returns their places.
    pub fn take_runs(&self, level: u32, word: u64, run: u32, count: u32) -> u64 {
        self.forest().take_runs(level, word, run, count)
    }

    /// Takes the lowest run of one word: its first place.
    pub fn take_lowest(&self, level: u32, word: u64, run: u32) -> Option<u64> {
        Forest::take_lowest(self.forest().word(level, word)?, run, 0)
    }

    /// Gives a block back on the shared path.
    pub fn give(&self, block: Block) {
        self.forest().give(block.place(), |_, _| false).expect("the model owns what it gives");
    }

    /// Gives a block back and leaves its word unmerged.
    pub fn give_warm(&self, block: Block) {
        self.forest().give(block.place(), |_, _| true).expect("the model owns what it gives");
    }

    /// Merges a word that is no longer warm.
    pub fn merge(&self, level: u32, word: u64) {
        self.forest().merge(level, word);
    }

    /// Claims a word of level 0.
    pub fn claim(&self, word: u64) -> u64 {
        self.forest().claim_word(0, word)
    }

    /// A free word.
    pub fn word(&self, level: u32, word: u64) -> u64 {
        self.forest().load(level, word)
    }

    /// The free granules, each once: no two free blocks overlap.
    pub fn free_granules(&self) -> Vec<u64> {
        let blocks = self.forest().free_blocks(Granule(0), 0);
        let all: Vec<u64> = blocks.flat_map(|block| block.base().0..=block.last().0).collect();
        assert!(all.windows(2).all(|two| two[0] < two[1]), "free twice: {all:?}");
        all
    }

    /// A new hand.
    pub fn front(&self) -> Front {
        let slot = Slot::new(0, Class::default(), Default::default());
        Front { slot: self.gate.register(slot).expect("models have memory") }
    }

    /// Closes every hand, empties them, and takes a block if there is one.
    pub fn take_closed(&self, order: u32) -> Option<Block> {
        let closed = self.gate.close();
        for slot in closed.slots() {
            slot.flush(&self.stock);
        }
        self.take(order)
    }

    /// As a zone takes a failure of one granule: it is in the set first; then,
    /// with all hands closed, it is carved out if it is free. Returns whether it
    /// was.
    pub fn fail(&self, at: Granule) -> bool {
        self.note(at);
        let one = Block::containing(at, Order::ZERO);
        let closed = self.gate.close();
        closed.give_kept(&self.stock, |block| block.covers(one));
        closed.slots().any(|slot| slot.carve(one)) || self.take_exact(one)
    }

    /// Notes a failure of one granule; whether it is the first.
    pub fn note(&self, at: Granule) -> bool {
        let units = crate::Span { first: at.0, last: at.0 };
        self.stock.poison.note(at, units, FailureKind::Found).expect("models have memory").first
    }

    /// As a zone looks for a granule on record while everybody runs: whether it
    /// was free in the forest, and is quarantined now.
    pub fn carve_open(&self, shared: &Front, at: Granule) -> bool {
        let _inside = self.gate.enter(&shared.slot);
        self.is_kept(at) || self.carve(at)
    }

    /// The same with every hand closed, and in hands too; else what `look` finds.
    pub fn carve_closed<R>(&self, at: Granule, look: impl FnOnce() -> R) -> Option<R> {
        let closed = self.gate.close();
        let one = Block::containing(at, Order::ZERO);
        closed.give_kept(&self.stock, |block| block.covers(one));
        if self.is_kept(at) || self.carve(at) {
            return None;
        }
        if closed.slots().any(|slot| slot.carve(one)) {
            self.stock.poison.keep(at, Order::ZERO);
            return None;
        }
        Some(look())
    }

    fn is_kept(&self, at: Granule) -> bool {
        self.stock.poison.get(at) == Some(Poisoned::Quarantined)
    }

    fn carve(&self, at: Granule) -> bool {
        let one = Block::containing(at, Order::ZERO);
        let carved = self.forest().carve(one, &mut self.stock.reserve.lock());
        carved.is_some_and(|block| self.stock.poison.keep(at, block.order()) == Keeping::Done)
    }

    /// Granules that failed and are somebody's, and that are out of circulation.
    pub fn poisoned(&self) -> (u64, u64) {
        let counts = self.stock.poison.counts();
        (counts.pending, counts.quarantined)
    }

    /// Begins to remove a range, as a zone does: window by window, each one step.
    pub fn begin_removal(&self, first: u64, last: u64) -> Leaving {
        let range = Granules::new(Granule(first), Granule(last)).expect("not empty");
        let mut closed = self.gate.close();
        let removing = self.closing.begin(&self.stock, &closed, range).expect("models have memory");
        while !self.closing.advance(&self.stock, &closed, &removing).expect("models have memory") {
            drop(closed);
            closed = self.gate.close();
        }
        Leaving(removing)
    }

    /// Ends the removal if nothing is held; returns what is.
    pub fn finish_removal(&self, leaving: &Leaving) -> u64 {
        let _closed = self.gate.close();
        let remaining = leaving.0.range.count() - leaving.0.claimed_granules();
        if remaining == 0 {
            self.closing.end(&self.stock, &leaving.0);
        }
        remaining
    }

    /// Gives back what was claimed, as a zone does.
    pub fn cancel_removal(&self, leaving: &Leaving, front: &Front) {
        let claimed = self.closing.cancel(&self.stock, &leaving.0);
        let _inside = self.gate.enter(&front.slot);
        claimed.for_each(|block| self.give(block));
    }

    /// Gets ready for a reporter with this report granule.
    pub fn attach(&self, order: u32) {
        let order = Order::new(order).expect("an order");
        self.stock.reported.get_or_install(|| Some(Box::new(Reported::new(order, Granule(0)))));
    }

    /// As a zone where a pass of a reporter begins: hands let go of what they keep.
    pub fn begin_pass(&self) {
        self.gate.let_go(&self.stock);
    }

    /// As a zone isolates: one block of at most `max`, of any age, through this
    /// hand's bracket.
    pub fn isolate(&self, front: &Front, cursor: &mut Granule, max: u32) -> Option<Block> {
        let (min_order, max_order) = (Order::ZERO, Order::new(max).expect("an order"));
        let wanted = Wanted { min_order, max_order, seen_before: false, patient: false, spare: 0 };
        let mut taken = smallvec::SmallVec::new();
        let _inside = self.gate.enter(&front.slot);
        self.stock.isolate(cursor, &wanted, 1, u64::MAX, &mut taken);
        taken.pop()
    }

    /// As a zone puts a batch back, of which nothing is poisoned or leaves.
    pub fn put_back_all(&self, front: &Front, batch: &[(Block, HostSays)]) {
        let _inside = self.gate.enter(&front.slot);
        self.stock.put_back_all(batch.iter().copied(), |block| {
            let given = self.stock.give_past(&front.slot, block);
            given.expect("the model owns what it gives");
        });
    }

    /// As a zone puts back; returns whether it was kept in a closing range.
    pub fn put_back(&self, front: &Front, block: Block, says: HostSays) -> bool {
        let _inside = self.gate.enter(&front.slot);
        self.stock.put_back(block, says, |stock| {
            let looks = !memdesc::seeded!("put back without a look at the closing ranges");
            if looks && self.closing.keep(block) != Kept::Outside {
                return true;
            }
            if stock.is_suspect(block)
                && stock.poison.keep(block.base(), block.order()) != Keeping::Sound
            {
                return true;
            }
            stock.give_past(&front.slot, block).expect("the model owns what it gives");
            false
        })
    }

    /// Whether every report granule of the block is marked reported.
    pub fn is_reported(&self, block: Block) -> bool {
        self.stock.reported.get().is_some_and(|known| known.is_reported(block))
    }

    /// As a shared allocation: takes, then forgets what the host was told.
    pub fn alloc_shared(&self, front: &Front, order: u32) -> Option<Block> {
        let _inside = self.gate.enter(&front.slot);
        let block = self.take(order)?;
        self.stock.on_take(block);
        Some(block)
    }

    /// Takes a block out of the warm word, if there is one that has it.
    pub fn take_warm(&self, front: &Front, order: u32) -> Option<Block> {
        let order = Order::new(order).expect("an order");
        let _inside = self.gate.enter(&front.slot);
        Some(front.slot.take_warm(&self.stock, order, order.level())?.block())
    }

    /// As an allocation of an order that no claim serves: the warm word first.
    pub fn alloc_warm(&self, front: &Front, order: u32) -> Option<Block> {
        let order = Order::new(order).expect("an order");
        let _inside = self.gate.enter(&front.slot);
        match front.slot.take_shared(&self.stock, order).expect("models have memory") {
            Taken::Block(block) => Some(block),
            Taken::Nothing => None,
        }
    }

    /// Adds a range as a zone does: the list of spans first.
    pub fn hot_add(&self, front: &Front, block: Block) {
        self.spans.lock().insert(block.granules());
        let _inside = self.gate.enter(&front.slot);
        front.slot.give(&self.stock, block).expect("the model owns what it gives");
        front.slot.flush(&self.stock);
    }

    /// Gives back the memory of the tables of a range that is in no span, as a
    /// zone does.
    pub fn give_tables_back(&self, first: u64, last: u64) {
        let range = Granules::new(Granule(first), Granule(last)).expect("not empty");
        give_tables_back(&self.spans, self.forest(), range);
    }

    /// As a zone allocates: through the hand, then with all hands closed.
    pub fn alloc(&self, front: &Front, order: u32) -> Option<Block> {
        front.take(self, order).or_else(|| self.take_closed(order))
    }
}

impl Front {
    /// Takes a block through the hand.
    pub fn take(&self, ground: &Ground, order: u32) -> Option<Block> {
        let order = Order::new(order).expect("an order");
        let _inside = ground.gate.enter(&self.slot);
        match self.slot.take(&ground.stock, order).expect("models have memory") {
            Taken::Block(block) => Some(block),
            Taken::Nothing => None,
        }
    }

    /// As a hot allocation: out of what is at hand, without a search.
    pub fn take_hot(&self, ground: &Ground, order: u32) -> Option<Block> {
        let order = Order::new(order).expect("an order");
        let _inside = ground.gate.enter(&self.slot);
        self.slot.take_at_hand(&ground.stock, order).map(Code::block)
    }

    /// As a hand frees: hot if it can be, else kept if it is poisoned or in a
    /// closing range, else given. Returns whether it was kept.
    pub fn free(&self, ground: &Ground, block: Block) -> bool {
        if self.slot.give_hot(&ground.stock, Code::of(block)) {
            return false;
        }
        let _inside = ground.gate.enter(&self.slot);
        if let Some(at) = ground.stock.poison.first_in(block.granules()) {
            ground.stock.poison.keep(at, Order::ZERO);
            return true;
        }
        if ground.closing.keep(block) != Kept::Outside {
            return true;
        }
        self.slot.give(&ground.stock, block).expect("the model owns what it gives");
        false
    }

    /// As a hand frees a block with a word: `clear` takes it out, then the block
    /// is kept or given, in one bracket. Returns whether it was kept.
    pub fn free_named(&self, ground: &Ground, block: Block, clear: impl FnOnce()) -> bool {
        let _inside = ground.gate.enter(&self.slot);
        clear();
        if self.slot.give_at_hand(&ground.stock, Code::of(block)) {
            return false;
        }
        if ground.stock.poison.keep(block.base(), block.order()) != Keeping::Sound {
            return true;
        }
        self.slot.give(&ground.stock, block).expect("the model owns what it gives");
        false
    }

    /// As a hand allocates a block with a word: `publish` puts it there before
    /// the bracket ends.
    pub fn take_named(
        &self,
        ground: &Ground,
        order: u32,
        publish: impl FnOnce(Block),
    ) -> Option<Block> {
        let order = Order::new(order).expect("an order");
        let _inside = ground.gate.enter(&self.slot);
        match self.slot.take(&ground.stock, order).expect("models have memory") {
            Taken::Block(block) => {
                publish(block);
                Some(block)
            }
            Taken::Nothing => None,
        }
    }

    /// Gives back all that the hand holds.
    pub fn flush(&self, ground: &Ground) {
        let _inside = ground.gate.enter(&self.slot);
        self.slot.flush(&ground.stock);
    }

    /// As a hand that is dropped, or a thread that ends.
    pub fn retire(self, ground: &Ground) {
        self.flush(ground);
        ground.gate.unregister(&self.slot);
    }

    /// Gives a block back through the hand.
    pub fn give(&self, ground: &Ground, block: Block) {
        let _inside = ground.gate.enter(&self.slot);
        self.slot.give(&ground.stock, block).expect("the model owns what it gives");
    }
}
