//! Ranges that are on their way out of a zone.
//!
//! # Picture
//!
//! ```text
//!  zone's forest      ..1101 | 0000 0000 0000 | 0110..     nothing of the range is free here
//!  closing range             [================]
//!  claimed forest            | 1101 0011 1111 |            free, but in nobody's reach
//!                                 ^ ^^
//!                                 live: each comes here when it is freed
//! ```
//!
//! # What always holds
//!
//! - A range enters the list while every hand is closed and flushed, and after
//!   all of it that was free was claimed. So every bracket that starts later
//!   sees the list, and what it frees into the range is kept here.
//! - From then on a granule of the range is in one of: a live block, the
//!   claimed forest, the poison set as quarantined. The claimed ones are counted
//!   as they come, so *claimed + quarantined = range* is a proof, whoever still
//!   runs.
//! - The claimed forest's words are present wherever a live block may come
//!   back, so a free allocates nothing here either.
//!
//! # Sharing and cost
//!
//! A free asks the poison set's filter, as ever: while a range closes, every
//! bit of the filter is set. Then it loads the hull of the ranges; inside the
//! hull it takes a lock that nothing is taken under. While nothing closes it
//! pays nothing. Tables: 8 bytes per 64 granules that are live at the start,
//! given back at the end.

use crate::error::OutOfMemory;
use crate::forest::{AlreadyFree, Forest, Taken, word_of};
use crate::hand::Closed;
use crate::stock::Stock;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::sync::{Arc, Mutex};
use memdesc::{Block, Granule, Granules, ORDERS_PER_LEVEL, Order, seeded};
use smallvec::SmallVec;

/// The removals of a zone that are under way.
#[derive(Debug)]
pub(crate) struct Closing {
    /// Lowest and highest granule of any closing range: `MAX` and 0 if there is
    /// none.
    hull: [AtomicU64; 2],
    removals: Mutex<SmallVec<[Arc<Removing>; 1]>>,
}

/// What became of a block that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It shares no granule with a closing range.
    Outside,
    /// It is claimed now.
    Here,
    /// Some of its granules were claimed already: nothing was changed.
    Twice,
    /// A part of it lies in a closing range, a part outside: ask for the halves.
    InPart,
}

impl Default for Closing {
    fn default() -> Self {
        let hull = [AtomicU64::new(u64::MAX), AtomicU64::new(0)];
        Self { hull, removals: Mutex::new(SmallVec::new()) }
    }
}

impl Closing {
    /// Keeps a block that its owner gives back, if it lies in a closing range.
    /// The caller is inside a bracket.
    pub(crate) fn keep(&self, block: Block) -> Kept {
        if seeded!("freed without a look at the closing ranges") {
            return Kept::Outside;
        }
        // Relaxed: a range enters while every hand is closed, and brackets are
        // ordered after that; a range that leaves shrinks the hull to what
        // holds the others still, end by end.
        let [first, last] = [0, 1].map(|end| self.hull[end].load(Ordering::Relaxed));
        if block.last().0 < first || last < block.base().0 {
            return Kept::Outside;
        }
        let removals = self.removals.lock();
        let range = block.granules();
        let Some(removing) = removals.iter().find(|other| other.range.overlaps(range)) else {
            return Kept::Outside;
        };
        if !removing.range.covers(range) {
            return Kept::InPart;
        }
        match removing.put(block) {
            Ok(()) if seeded!("kept and given") => Kept::Outside,
            Ok(()) => Kept::Here,
            Err(AlreadyFree) => Kept::Twice,
        }
    }

    /// The closing range that shares a granule with `range`, if any.
    pub(crate) fn overlapping(&self, range: Granules) -> Option<Granules> {
        let removals = self.removals.lock();
        removals.iter().map(|removing| removing.range).find(|there| there.overlaps(range))
    }

    /// Empties the hands, claims what is free of `range`, which overlaps no
    /// closing range, and makes it one. Without memory for the tables nothing is changed.
    pub(crate) fn begin(
        &self,
        stock: &Stock,
        closed: &Closed<'_>,
        range: Granules,
    ) -> Result<Arc<Removing>, OutOfMemory> {
        if !seeded!("began without a flush") {
            closed.slots().for_each(|slot| slot.flush(stock));
        }
        let removing = Arc::new(Removing {
            range,
            claimed: Forest::new(stock.forest.top()),
            granules: AtomicU64::new(0),
        });
        let ready = removing.claim(stock, closed).and_then(|()| removing.ensure_live());
        if ready.is_err() {
            for block in removing.claimed() {
                let given = stock.forest.give(block.place(), |_, _| false);
                debug_assert_eq!(given, Ok(()), "{block:?} was just claimed");
            }
            return Err(OutOfMemory);
        }
        let mut removals = self.removals.lock();
        removals.push(Arc::clone(&removing));
        self.set_hull(&removals);
        stock.poison.suspect_all();
        Ok(removing)
    }

    /// Takes a removal off the list, which ends it: what is freed into its range from now on
    /// is not kept, and what it has claimed does not change any more.
    pub(crate) fn end(&self, stock: &Stock, removing: &Arc<Removing>) {
        let mut removals = self.removals.lock();
        removals.retain(|other| !Arc::ptr_eq(other, removing));
        self.set_hull(&removals);
        if removals.is_empty() {
            stock.poison.suspect_poisoned();
        }
    }

    /// As [`end`](Self::end); the blocks that were claimed are the caller's to
    /// give back.
    pub(crate) fn cancel<'r>(
        &self,
        stock: &Stock,
        removing: &'r Arc<Removing>,
    ) -> impl Iterator<Item = Block> + 'r {
        // Off the list first: a free that still finds it there would be kept
        // behind the walk's back.
        let early = seeded!("given back before it left the list")
            .then(|| removing.claimed().collect::<alloc::vec::Vec<_>>());
        self.end(stock, removing);
        let late = early.is_none().then(|| removing.claimed());
        early.into_iter().flatten().chain(late.into_iter().flatten())
    }

    fn set_hull(&self, removals: &[Arc<Removing>]) {
        let first = removals.iter().map(|removing| removing.range.first().0).min();
        let last = removals.iter().map(|removing| removing.range.last().0).max();
        // Orderings: as in `keep`.
        self.hull[0].store(first.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.hull[1].store(last.unwrap_or(0), Ordering::Relaxed);
    }

    /// Takes a single granule out of what is claimed; `false` if it is not
    /// here.
    pub(crate) fn carve(&self, at: Granule) -> bool {
        let one = Block::containing(at, Order::ZERO);
        let removals = self.removals.lock();
        removals.iter().any(|removing| {
            let carved = matches!(removing.claimed.take_exact(one), Ok(Taken::Block(_)));
            if carved {
                // Relaxed: as in `put`.
                removing.granules.fetch_sub(1, Ordering::Relaxed);
            }
            carved
        })
    }

    /// The removals under way.
    pub(crate) fn removals(&self) -> SmallVec<[Arc<Removing>; 1]> {
        self.removals.lock().clone()
    }
}

/// A range on its way out, and what of it was claimed.
#[derive(Debug)]
pub(crate) struct Removing {
    pub(crate) range: Granules,
    /// Free granules of the range, merged as in the zone's own forest.
    claimed: Forest,
    /// How many those are.
    granules: AtomicU64,
}

impl Removing {
    /// Claims every free bit of the range that the zone's forest has, while
    /// every hand is closed and flushed. Out of memory for tables, the rest
    /// stays free.
    pub(crate) fn claim(&self, stock: &Stock, _closed: &Closed<'_>) -> Result<(), OutOfMemory> {
        let mut from = self.range.first();
        while let Some(part) = self.next_free(stock, from) {
            for block in part.cover() {
                self.claimed.ensure_from(block.order().level(), block.base())?;
                let Taken::Block(block) = stock.forest.take_exact(block)? else {
                    debug_assert!(false, "{block:?} was free, and every hand is closed");
                    continue;
                };
                stock.on_take(block);
                let kept = self.put(block);
                debug_assert_eq!(kept, Ok(()), "{block:?} was free");
            }
            let Some(next) = part.last().checked_add(1) else { break };
            from = next;
        }
        Ok(())
    }

    /// What the first free block at or after `from` has of the range.
    fn next_free(&self, stock: &Stock, from: Granule) -> Option<Granules> {
        let rest = Granules::new(from, self.range.last()).ok()?;
        let around = stock.forest.free_around(from, Order::ZERO);
        let free = around.or_else(|| stock.forest.free_blocks(from, 0).next())?;
        free.granules().intersection(rest)
    }

    /// Makes present what live blocks of the range, or halves of them, touch
    /// when they come back.
    fn ensure_live(&self) -> Result<(), OutOfMemory> {
        self.gaps(self.claimed().map(Block::granules)).try_for_each(|gap| {
            (0..=self.claimed.top()).try_for_each(|level| {
                let shift = ORDERS_PER_LEVEL * (level + 1);
                let words = word_of(level, gap.first())..=word_of(level, gap.last());
                words.into_iter().try_for_each(|word| {
                    let at = Granule(word.checked_shl(shift).unwrap_or(0));
                    self.claimed.ensure(level, at)
                })
            })
        })
    }

    /// The parts of the range between `known` ones, which come in address
    /// order and may overlap.
    pub(crate) fn gaps(
        &self,
        known: impl Iterator<Item = Granules>,
    ) -> impl Iterator<Item = Granules> {
        let (end, mut from) = (self.range.last(), Some(self.range.first()));
        let ends = known.map(Some).chain(core::iter::once(None));
        ends.filter_map(move |known| {
            let first = from?;
            let Some(known) = known else {
                return Granules::new(first, end).ok();
            };
            from = known.last().checked_add(1).map(|next| next.max(first));
            let before = Granule(known.first().0.checked_sub(1)?);
            Granules::new(first, before.min(end)).ok()
        })
    }

    /// Adds a block to what is claimed. The caller owns it.
    fn put(&self, block: Block) -> Result<(), AlreadyFree> {
        self.claimed.give(block.place(), |_, _| false)?;
        // Relaxed: a count. Whoever acts on it does so under the list's lock,
        // or after a rendezvous.
        self.granules.fetch_add(block.order().granules(), Ordering::Relaxed);
        Ok(())
    }

    /// Granules claimed so far.
    pub(crate) fn claimed_granules(&self) -> u64 {
        self.granules.load(Ordering::Relaxed)
    }

    /// The blocks claimed so far, in address order.
    pub(crate) fn claimed(&self) -> impl Iterator<Item = Block> {
        self.claimed.free_blocks(self.range.first(), 0)
    }

    /// Bytes of the claimed forest's tables.
    pub(crate) fn bytes(&self) -> usize {
        self.claimed.bytes()
    }
}
