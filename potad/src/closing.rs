//! Ranges that are on their way out of a zone.
//!
//! # Picture
//!
//! ```text
//!  zone's forest      ..1101 | 0000 0000 0000 | 0110 1111 | 01..
//!  range on its way out      [============================]
//!  closing part              [================)              grows from window to window
//!  claimed forest            | 1101 0011 1111 |              free, but in nobody's reach
//!                                 ^ ^^
//!                                 live: each comes here when it is freed
//! ```
//!
//! # What always holds
//!
//! - The closing part is the range's beginning. It grows only in a *window*:
//!   every hand is closed and flushed, and what is free of the next part is
//!   claimed before that part counts. So nothing of it is free in the zone or in
//!   a hand, every bracket that starts later sees its end, and what is freed
//!   into it is kept here.
//! - So a granule of the closing part is in one of: a live block, the claimed
//!   forest, the poison set as quarantined. The claimed ones are counted as they
//!   come, so once the part is the range *claimed + quarantined = range* is a
//!   proof, whoever still runs.
//! - The claimed forest's words are present wherever a live block may come
//!   back, and the zone's where one that reaches over the end of the part is
//!   cut: a free allocates nothing here either.
//!
//! # Sharing and cost
//!
//! A window takes at most [`WINDOW`] steps: a word's free granules claimed, a
//! chunk of tables made, or a look at words that are empty. Between windows
//! others run as ever, and may take what is not closing yet.
//!
//! A free asks the poison set's filter, as ever: while a range closes, every
//! bit of the filter is set. Then it loads the hull of the closing parts; inside
//! the hull it takes a lock that nothing is taken under. While nothing closes it
//! pays nothing. Tables: 8 bytes per 64 granules that are live at the start,
//! given back at the end.

use crate::error::OutOfMemory;
use crate::forest::{AlreadyFree, Forest, Stretch, Taken};
use crate::hand::Closed;
use crate::reserve::{Need, Reserve};
use crate::stock::Stock;
use core::ptr;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::sync::{Mutex, TryArc};
use memdesc::{Block, Granule, Granules, ORDERS_PER_LEVEL, Order, Place, seeded};
use smallvec::SmallVec;

/// Steps of one window.
pub(crate) const WINDOW: u32 = if cfg!(any(loom, shuttle)) { 1 } else { 256 };

/// Granules between two stretches that one step makes tables for: a chunk's.
const GAP: u64 = if cfg!(any(loom, shuttle)) { 4 * 64 } else { 512 * 64 };

/// The removals of a zone that are under way.
#[derive(Debug)]
pub(crate) struct Closing {
    /// Lowest and highest granule of any closing range: `MAX` and 0 if there is
    /// none.
    hull: [AtomicU64; 2],
    removals: Mutex<SmallVec<[TryArc<Removing>; 1]>>,
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
        let mut closing = removals.iter().filter_map(|other| Some((other, other.part()?)));
        let Some((removing, part)) = closing.find(|(_, part)| part.overlaps(range)) else {
            return Kept::Outside;
        };
        if !part.covers(range) {
            return Kept::InPart;
        }
        match removing.put(block) {
            Ok(()) if seeded!("kept and given") => Kept::Outside,
            Ok(()) => Kept::Here,
            Err(AlreadyFree) => Kept::Twice,
        }
    }

    /// The range on its way out that shares a granule with `range`, if any.
    pub(crate) fn overlapping(&self, range: Granules) -> Option<Granules> {
        let removals = self.removals.lock();
        removals.iter().map(|removing| removing.range).find(|there| there.overlaps(range))
    }

    /// Puts `range`, which overlaps no other, on its way out; nothing of it is
    /// closing yet. The hands are closed, so that every later bracket looks here.
    /// Without memory for it nothing has changed.
    pub(crate) fn begin(
        &self,
        stock: &Stock,
        _closed: &Closed<'_>,
        range: Granules,
    ) -> Result<TryArc<Removing>, OutOfMemory> {
        let removing = Removing {
            range,
            end: AtomicU64::new(range.first().0),
            claimed: Forest::try_new(stock.forest.top())?,
            granules: AtomicU64::new(0),
        };
        let removing = TryArc::new(removing).ok_or(OutOfMemory)?;
        let mut removals = self.removals.lock();
        removals.try_reserve(1).map_err(|_| OutOfMemory)?;
        removals.push(removing.clone());
        drop(removals);
        stock.poison.suspect_all();
        Ok(removing)
    }

    /// One window: empties the hands, claims what is free of the next part of a
    /// range and lets it close; whether that was the last. Without memory for
    /// tables the part stays as it was, and what was claimed stays claimed.
    pub(crate) fn advance(
        &self,
        stock: &Stock,
        closed: &Closed<'_>,
        removing: &Removing,
    ) -> Result<bool, OutOfMemory> {
        let left_out = match removing.part() {
            None => seeded!("began without a flush"),
            Some(_) => seeded!("advanced without a flush"),
        };
        if !left_out {
            closed.slots().for_each(|slot| slot.flush(stock));
        }
        let end = removing.claim_next(stock)?;
        let removals = self.removals.lock();
        // Relaxed: as the hull.
        removing.end.store(end, Ordering::Relaxed);
        self.set_hull(&removals);
        Ok(end > removing.range.last().0)
    }

    /// Takes a removal off the list, which ends it: what is freed into its range from now on
    /// is not kept, and what it has claimed does not change any more.
    pub(crate) fn end(&self, stock: &Stock, removing: &Removing) {
        let mut removals = self.removals.lock();
        removals.retain(|other| ptr::from_ref::<Removing>(other) != ptr::from_ref(removing));
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
        removing: &'r Removing,
    ) -> impl Iterator<Item = Block> + 'r {
        // Off the list first: a free that still finds it there would be kept
        // behind the walk's back.
        let early = seeded!("given back before it left the list")
            .then(|| removing.claimed().collect::<alloc::vec::Vec<_>>());
        self.end(stock, removing);
        let late = early.is_none().then(|| removing.claimed());
        early.into_iter().flatten().chain(late.into_iter().flatten())
    }

    fn set_hull(&self, removals: &[TryArc<Removing>]) {
        let parts = || removals.iter().filter_map(|removing| removing.part());
        let first = parts().map(|part| part.first().0).min();
        let last = parts().map(|part| part.last().0).max();
        // Orderings: as in `keep`.
        self.hull[0].store(first.unwrap_or(u64::MAX), Ordering::Relaxed);
        self.hull[1].store(last.unwrap_or(0), Ordering::Relaxed);
    }

    /// Takes a single granule out of what is claimed, or as small a block around
    /// it as what is put by allows; `None` if it is not here.
    pub(crate) fn carve(&self, at: Granule, reserve: &mut Reserve) -> Option<Block> {
        let one = Block::containing(at, Order::ZERO);
        let removals = self.removals.lock();
        removals.iter().find_map(|removing| {
            let carved = removing.claimed.carve(one, reserve)?;
            // Relaxed: as in `put`.
            removing.granules.fetch_sub(carved.order().granules(), Ordering::Relaxed);
            Some(carved)
        })
    }

    /// Makes present what giving the rest of a block around granule `at` needs, if
    /// it lies in a range on its way out: a free claimed block has no words below
    /// its own, until it is broken.
    pub(crate) fn ensure(&self, at: Granule) -> Result<(), OutOfMemory> {
        let removals = self.removals.lock();
        let mut around = removals.iter().filter(|removing| removing.range.contains(at));
        around.try_for_each(|removing| removing.claimed.ensure_from(0, at))
    }

    /// What carving a granule of a block of a level, at most, out of what any
    /// removal has claimed can take; see [`Forest::need_below`].
    pub(crate) fn need_below(&self, level: u32) -> Need {
        let removals = self.removals.lock();
        let need =
            |removing: &TryArc<Removing>| removing.claimed.need_below(level, removing.range.last());
        // One carve at a time: what is put by for one forest will do for another.
        removals.iter().map(need).fold(Need::default(), |most, need| most.or(&need))
    }

    /// The removals under way.
    pub(crate) fn removals(&self) -> SmallVec<[TryArc<Removing>; 1]> {
        self.removals.lock().clone()
    }
}

/// A range on its way out, and what of it was claimed.
#[derive(Debug)]
pub(crate) struct Removing {
    pub(crate) range: Granules,
    /// The first granule that is not closing yet; past the range in the end.
    end: AtomicU64,
    /// Free granules of the closing part, merged as in the zone's own forest.
    claimed: Forest,
    /// How many those are.
    granules: AtomicU64,
}

impl Removing {
    /// What is closing: the beginning of the range, as far as it has come.
    pub(crate) fn part(&self) -> Option<Granules> {
        // Relaxed: it changes while every hand is closed, under the list's lock.
        let end = self.end.load(Ordering::Relaxed);
        Granules::new(self.range.first(), Granule(end.checked_sub(1)?)).ok()
    }

    /// Claims what is free of the next part, while every hand is closed and
    /// flushed; returns the granule behind it. Out of memory for tables, what is
    /// claimed already stays so: cancel.
    fn claim_next(&self, stock: &Stock) -> Result<u64, OutOfMemory> {
        let mut from = self.end.load(Ordering::Relaxed);
        for _ in 0..WINDOW {
            let Ok(rest) = Granules::new(Granule(from), self.range.last()) else { break };
            from = self.claim_step(stock, rest)?;
        }
        if from <= self.range.last().0 {
            // A live block across the end is cut there when it comes back.
            stock.forest.ensure_from(0, Granule(from))?;
        }
        Ok(from)
    }

    /// One step into the rest of the range; returns the granule behind it.
    fn claim_step(&self, stock: &Stock, rest: Granules) -> Result<u64, OutOfMemory> {
        let first = rest.first().0;
        let free = match stock.forest.next_stretch(rest) {
            Stretch::Free(place) => place,
            Stretch::Part(block) => return self.claim_part(stock, block, rest),
            Stretch::Empty(at) => return self.skip(first, at.0),
            Stretch::Nothing => return self.skip(first, rest.last().0 + 1),
        };
        let shift = ORDERS_PER_LEVEL * free.level;
        let base = free.word << ORDERS_PER_LEVEL;
        let start = match free.level {
            // The word is dealt with whole: its live granules come back there.
            0 => base.max(first),
            _ => (base | u64::from(free.mask.trailing_zeros())) << shift,
        };
        let reached = self.skip(first, start)?;
        if reached < start {
            return Ok(reached);
        }
        self.claim_place(stock, free)?;
        Ok(match free.level {
            0 => (base + 64).min(rest.last().0 + 1),
            _ => (base + u64::from(64 - free.mask.leading_zeros())) << shift,
        })
    }

    /// Claims free places of one word.
    fn claim_place(&self, stock: &Stock, free: Place) -> Result<(), OutOfMemory> {
        let base = free.word.checked_shl(ORDERS_PER_LEVEL * (free.level + 1)).unwrap_or(0);
        self.claimed.ensure_from(free.level, Granule(base))?;
        if !stock.forest.take_stretch(free) {
            debug_assert!(false, "{free:?} was free, and every hand is closed");
            return Ok(());
        }
        stock.on_take_place(free);
        let kept = self.put_place(free);
        debug_assert_eq!(kept, Ok(()), "{free:?} was free");
        Ok(())
    }

    /// Claims what the rest has of a free block that reaches out of it.
    fn claim_part(&self, stock: &Stock, around: Block, rest: Granules) -> Result<u64, OutOfMemory> {
        let Some(part) = around.granules().intersection(rest) else { return Ok(rest.first().0) };
        let reached = self.skip(rest.first().0, part.first().0)?;
        if reached < part.first().0 {
            return Ok(reached);
        }
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
        Ok(part.last().0 + 1)
    }

    /// Nothing of `from..to` is free: makes present what its live blocks, or
    /// parts of them, touch when they come back. Returns how far it came: a
    /// chunk's worth at a time.
    fn skip(&self, from: u64, to: u64) -> Result<u64, OutOfMemory> {
        if from == to {
            return Ok(to);
        }
        // One chunk of level 0, and of every level above: any word of it will do.
        self.claimed.ensure_from(0, Granule(from))?;
        let to = to.min((from / GAP + 1) * GAP);
        Ok(to)
    }

    /// Adds a block to what is claimed. The caller owns it.
    fn put(&self, block: Block) -> Result<(), AlreadyFree> {
        self.put_place(block.place())
    }

    fn put_place(&self, place: Place) -> Result<(), AlreadyFree> {
        self.claimed.give(place, |_, _| false)?;
        let granules = u64::from(place.mask.count_ones()) << (ORDERS_PER_LEVEL * place.level);
        // Relaxed: a count. Whoever acts on it does so under the list's lock,
        // or after a rendezvous.
        self.granules.fetch_add(granules, Ordering::Relaxed);
        Ok(())
    }

    /// Granules claimed so far.
    pub(crate) fn claimed_granules(&self) -> u64 {
        self.granules.load(Ordering::Relaxed)
    }

    /// Whether some granule of the block is claimed.
    pub(crate) fn has_any_of(&self, block: Block) -> bool {
        self.claimed.is_any_free(block)
    }

    /// The blocks claimed so far, in address order.
    pub(crate) fn claimed(&self) -> impl Iterator<Item = Block> {
        self.claimed.free_blocks(self.range.first(), 0)
    }

    /// What of the range was claimed from `from` on, in address order.
    pub(crate) fn claimed_from(&self, from: Granule) -> impl Iterator<Item = Granules> {
        let rest = Granules::new(from, self.range.last()).ok();
        let around = self.claimed.free_around(from, Order::ZERO);
        // The walk starts behind a block that holds `from`.
        let around = around.filter(|block| block.base() < from);
        let blocks = around.into_iter().chain(self.claimed.free_blocks(from, 0));
        blocks.filter_map(move |block| block.granules().intersection(rest?))
    }

    /// Bytes of the claimed forest's tables.
    pub(crate) fn bytes(&self) -> usize {
        self.claimed.bytes(core::iter::empty())
    }
}
