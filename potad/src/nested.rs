//! The nested resource: small granules inside blocks of a parent.
//!
//! # Picture
//!
//! ```text
//!  parent, 4 KiB granules    [ import ][          ][ import ][    ]
//!  nested, 512 B granules     01101111              11111111
//!                                                   whole: goes back, unless it is to be kept
//! ```
//!
//! The nested zone is a zone of its own, with the parent's addresses: an import
//! is a hot-add, a return takes a span that is wholly free out again. So hands,
//! look-up, failure and statistics are those of any zone, and neighbouring
//! imports merge.
//!
//! # What always holds
//!
//! - A granule is the nested zone's only while its block is a raw block of the
//!   parent, whose owner is the nested resource.
//! - A block goes back only when all of it was free with every hand of the
//!   nested zone closed and flushed, and it was taken out there and then.
//! - Memory failure reported to the parent is passed on to the nested zone,
//!   which tells whoever has the granule. A block with a failed granule stays.
//! - No lock is held while the parent is called.
//!
//! # When
//!
//! Import: when nothing in the nested zone fits, hands included. Threads that
//! find so together may import a block each. Return: when more than `keep`
//! blocks' worth of granules and one block more are free, down to `keep`. The
//! block in between is what keeps a resource that breathes by one from
//! importing and returning at each breath. If blocks are not whole although so
//! much is free, nothing is tried again until another block's worth was freed
//! or a block was imported.
//!
//! # Cost
//!
//! One relaxed RMW on a shared line per allocation and per free beside the
//! zone's own; a rendezvous per import and per round of returns. At most one
//! block's worth of frees per look at all imports.

use crate::error::{Error, Refused};
use crate::failure::worse;
use crate::handles::{BareBlock, RawBlock};
use crate::resource::{Span, Units};
use crate::{Home, Zone};
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;
use memdesc::sync::atomic::{AtomicU64, Ordering};
use memdesc::sync::{Arc, Mutex, thread};
use memdesc::{
    FailedBlock, FailureKind, Granule, Granules, Order, Outcome, Owner, OwnerId, WeakKeep,
};

/// Blocks' worth of free granules that are kept unless said otherwise.
const KEEP: u64 = 1;

/// A resource of small granules that lives in blocks of a parent zone.
///
/// Dropping it [shrinks](Self::shrink) it; a block with something live in it
/// stays allocated in the parent.
///
/// ```
/// use potad::{Nested, Potad, Resource, memdesc::Order};
///
/// let potad = Potad::new();
/// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 20))?;
/// let sectors = Nested::new(&ram, "sectors", 512, Order::ZERO)?;
/// assert_eq!(ram.stats().free, 256, "nothing is imported yet");
///
/// let sector = sectors.alloc_bare(Order::ZERO)?;
/// let pair = sectors.alloc_bare(Order::new(1)?)?;
/// assert_eq!((ram.stats().free, sectors.imports()), (255, 1));
/// sectors.free_bare(sector)?;
/// sectors.free_bare(pair)?;
/// drop(sectors);
/// assert_eq!(ram.stats().free, 256);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Nested {
    parent: Zone,
    zone: Zone,
    /// The order of the parent's blocks.
    import: Order,
    /// The same blocks in granules of this zone.
    inside: Order,
    /// Imports' worth of free granules to keep.
    keep: u64,
    owner: OwnerId,
    /// By first granule of the nested zone.
    imports: Mutex<BTreeMap<u64, RawBlock>>,
    /// Granules of the imports.
    imported: AtomicU64,
    /// Granules handed out.
    live: AtomicU64,
    /// No look for whole blocks while more granules than this are live.
    look_below: AtomicU64,
    /// Rounds of returns that began, and that ended. Between the two a block
    /// may be neither here nor the parent's to give.
    returns: [AtomicU64; 2],
}

/// Hears of failures in imported blocks.
struct Imported {
    zone: WeakKeep<Home>,
    /// The parent's units.
    outer: Units,
}

impl Nested {
    /// Nests granules of `granule` units in blocks of `import` order of
    /// `parent`.
    ///
    /// Refused unless `granule` goes into the parent's a power-of-two times.
    /// Nothing is imported yet.
    pub fn new(
        parent: &Zone,
        name: impl ToString,
        granule: u64,
        import: Order,
    ) -> Result<Self, Error> {
        let outer = parent.granule();
        let refused = Error::NoNesting { granule, parent: outer, import };
        let ratio = outer.checked_div(granule).filter(|_| outer.is_multiple_of(granule));
        let ratio = ratio.filter(|ratio| ratio.is_power_of_two()).ok_or(refused)?;
        let finer = ratio.trailing_zeros();
        let inside = Order::new(import.get() + finer).map_err(|_| refused)?;
        let state = parent.state().nested(name.to_string(), granule, finer);
        let zone = Zone::new(state);
        let owner = Arc::new(Imported { zone: zone.downgrade(), outer: parent.state().units });
        let owner = parent.register_owner(owner)?;
        Ok(Self {
            parent: parent.clone(),
            zone,
            import,
            inside,
            keep: KEEP,
            owner,
            imports: Mutex::new(BTreeMap::new()),
            imported: AtomicU64::new(0),
            live: AtomicU64::new(0),
            look_below: AtomicU64::new(u64::MAX),
            returns: [0, 0].map(AtomicU64::new),
        })
    }

    /// Keeps so many imports' worth of free granules; 1 unless said.
    #[must_use]
    pub fn keep(mut self, imports: u64) -> Self {
        self.keep = imports;
        self
    }

    /// The nested zone, for everything but what imports: look-up, statistics,
    /// hands. What is allocated by it directly imports nothing.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The zone that the blocks come from.
    pub fn parent(&self) -> &Zone {
        &self.parent
    }

    /// Blocks imported at the moment.
    pub fn imports(&self) -> usize {
        self.imports.lock().len()
    }

    /// The largest order that is served: all of an import.
    pub fn largest_order(&self) -> Order {
        self.inside
    }

    /// Allocates a block without a word; imports if nothing fits. Exhausted
    /// only if the parent is, too.
    pub fn alloc_bare(&self, order: Order) -> Result<BareBlock, Error> {
        self.alloc(order, || self.zone.alloc_bare(order))
    }

    /// As [`alloc_bare`](Self::alloc_bare), with an immediate word.
    pub fn alloc_raw(&self, order: Order, owner: OwnerId) -> Result<RawBlock, Error> {
        self.alloc(order, || self.zone.alloc_raw(order, owner))
    }

    /// Frees a bare block; returns whole imports if enough is free.
    pub fn free_bare(&self, block: BareBlock) -> Result<(), Refused<BareBlock>> {
        let order = block.order();
        self.zone.free_bare(block)?;
        self.freed(order);
        Ok(())
    }

    /// Frees a raw block; returns whole imports if enough is free.
    pub fn free_raw(&self, block: RawBlock) -> Result<(), Refused<RawBlock>> {
        let order = block.order();
        self.zone.free_raw(block)?;
        self.freed(order);
        Ok(())
    }

    /// Returns every import that is whole; how many. None where there is no memory
    /// to list them.
    ///
    /// ```
    /// # use potad::{Nested, Potad, Resource, memdesc::Order};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 20))?;
    /// let bytes = Nested::new(&ram, "bytes", 1, Order::ZERO)?;
    /// bytes.free_bare(bytes.alloc_bare(Order::new(4)?)?)?;
    /// assert_eq!((bytes.imports(), bytes.shrink(), bytes.imports()), (1, 1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shrink(&self) -> usize {
        self.give_back(u64::MAX)
    }

    fn alloc<B>(&self, order: Order, alloc: impl Fn() -> Result<B, Error>) -> Result<B, Error> {
        let largest = self.inside;
        if order > largest {
            return Err(Error::OrderTooLarge { order, largest });
        }
        loop {
            // Acquire pairs with the Release below: what a round that ended gave
            // the parent is there to be found.
            let ended = self.returns[1].load(Ordering::Acquire);
            match alloc() {
                Ok(block) => {
                    // Relaxed: a count that only says when to look.
                    self.live.fetch_add(order.granules(), Ordering::Relaxed);
                    return Ok(block);
                }
                Err(Error::Exhausted { .. } | Error::OrderTooLarge { .. }) => {}
                Err(why) => return Err(why),
            }
            match self.import_one() {
                Ok(()) => {}
                Err(Error::Exhausted { .. } | Error::OrderTooLarge { .. }) => {
                    // Relaxed: a round that took something out before we looked
                    // here began before that, and the zone's gate orders it. If
                    // all that began had ended, the two looks saw everything.
                    let begun = self.returns[0].load(Ordering::Relaxed);
                    if begun == ended || memdesc::seeded!("exhausted amid a return") {
                        return Err(Error::Exhausted { order });
                    }
                    thread::yield_now();
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Imports a block from the parent.
    fn import_one(&self) -> Result<(), Error> {
        let block = self.parent.alloc_raw(self.import, self.owner)?;
        let span = self.span_of(&block);
        let outer = block.granules();
        let added = {
            // Noted before it can be seen whole.
            let mut imports = self.imports.lock();
            let first = self.zone.state().units.index(span.first);
            match self.zone.state().hot_add(span) {
                Ok(()) => {
                    imports.insert(first.unwrap_or_default().0, block);
                    Ok(())
                }
                Err(why) => Err((why, block)),
            }
        };
        if let Err((why, block)) = added {
            let freed = self.parent.free_raw(block);
            debug_assert!(freed.is_ok(), "{freed:?}");
            return Err(why);
        }
        self.imported.fetch_add(self.inside.granules(), Ordering::Relaxed);
        self.look_below.store(u64::MAX, Ordering::Relaxed);
        // What failed before the zone had the granules was told to nobody who
        // knew them.
        for (at, _) in self.parent.state().stock.poison.in_range(outer) {
            let outer = self.parent.state().units;
            let _outcome = fail(&self.zone, outer, at, FailureKind::Found);
        }
        Ok(())
    }

    /// The units of a block of the parent.
    fn span_of(&self, block: &RawBlock) -> Span {
        let units = self.parent.state().units;
        let range = block.granules();
        Span { first: units.unit(range.first()), last: units.last_unit(range.last()) }
    }

    /// A block was freed: returns imports if that leaves enough free.
    fn freed(&self, order: Order) {
        // Relaxed: counts that only say when to look. Below zero where blocks
        // of the zone's own calls are freed here.
        let before = self.live.fetch_sub(order.granules(), Ordering::Relaxed);
        let live = (before.wrapping_sub(order.granules()) as i64).max(0) as u64;
        let free = self.imported.load(Ordering::Relaxed).saturating_sub(live);
        let size = self.inside.granules();
        let kept = self.keep.saturating_mul(size);
        if free < kept.saturating_add(size) || live > self.look_below.load(Ordering::Relaxed) {
            return;
        }
        if self.give_back(free - kept) == 0 {
            self.look_below.store(live.saturating_sub(size), Ordering::Relaxed);
        }
    }

    /// Returns whole imports, at most so many granules rounded down; how many.
    fn give_back(&self, granules: u64) -> usize {
        // Somebody is at it already, or imports.
        let Some(mut imports) = self.imports.try_lock() else { return 0 };
        let size = self.inside.granules();
        let enough = granules / size * size;
        let most = usize::try_from(granules / size).map_or(imports.len(), |n| n.min(imports.len()));
        // It may be a free that gives back, and frees do without memory: then all
        // of them stay.
        let (mut out, mut blocks) = (Vec::new(), Vec::new());
        if out.try_reserve_exact(most).is_err() || blocks.try_reserve_exact(most).is_err() {
            return 0;
        }
        let ranges = imports
            .keys()
            .filter_map(|&first| Granules::new(Granule(first), Granule(first + (size - 1))).ok());
        self.returns[0].fetch_add(1, Ordering::Relaxed);
        self.zone.state().withdraw(ranges, enough, &mut out);
        blocks.extend(out.iter().filter_map(|range| imports.remove(&range.first().0)));
        drop(imports);
        let count = blocks.len();
        self.imported.fetch_sub(count as u64 * size, Ordering::Relaxed);
        for block in blocks {
            let freed = self.parent.free_raw(block);
            debug_assert!(freed.is_ok(), "{freed:?}");
        }
        // Release pairs with the load in `alloc`. (No model misses it: a parent that
        // refuses has closed every hand, which orders more.)
        self.returns[1].fetch_add(1, Ordering::Release);
        count
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        self.shrink();
        // Refused only inside the owner's own callback, which then is the last.
        let _left = self.parent.state().owners.unregister(self.owner);
    }
}

impl Owner for Imported {
    fn memory_failure(&self, failed: &FailedBlock) -> Outcome {
        let Some(zone) = self.zone.upgrade() else { return Outcome::Ignored };
        fail(&Zone::of(zone), self.outer, failed.granules.first(), failed.kind)
    }
}

/// Reports a granule of the parent to the nested zone: all of it, for how much
/// of it has failed is not known here.
fn fail(zone: &Zone, outer: Units, at: Granule, kind: FailureKind) -> Outcome {
    let (mut at, last) = (outer.unit(at), outer.last_unit(at));
    let mut outcome = Outcome::Recovered;
    loop {
        match zone.report_failure(at, 0, kind) {
            Ok(report) => outcome = worse(outcome, report.outcome),
            // Not the nested zone's yet: it asks once it is.
            Err(_) => return Outcome::Delayed,
        }
        match at.checked_add(zone.granule()) {
            Some(next) if next <= last => at = next,
            _ => return outcome,
        }
    }
}

impl fmt::Debug for Nested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nested")
            .field("zone", &self.zone)
            .field("parent", &self.parent)
            .field("import", &self.import)
            .finish_non_exhaustive()
    }
}
