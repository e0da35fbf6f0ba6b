//! A zone, and a witness of everything that is done with it.
//!
//! The witness is outside of the schedule's view: its own operations are not
//! interrupted. (So none of the schedule's may be called with it locked.) It knows who has each granule, and from when to when; so it
//! says
//!
//! - that no granule has two owners,
//! - that a refused request was refused rightly: at no block of that order was
//!   everything free for as long as the request took,
//! - that at the end everything is there, in maximal blocks.

use memdesc::{Block, Granule, Granules, Order, OwnerId};
use potad::{BareBlock, Error, Potad, RawBlock, Resource, Zone};
use std::sync::{Arc, Mutex, MutexGuard};

/// Who has a granule; 0 for nobody.
pub type Who = u32;

/// A zone whose granules are one unit each, and its witness.
#[derive(Debug)]
pub struct World {
    /// Whose zone it is.
    pub potad: Potad,
    /// The zone.
    pub zone: Zone,
    witness: Mutex<Witness>,
}

#[derive(Debug, Default)]
struct Witness {
    /// Counts what is written down.
    now: u64,
    /// Who has each granule.
    owners: Vec<Who>,
    /// From the beginning of an allocation to the end of a free.
    holds: Vec<Hold>,
    refused: Vec<Refusal>,
    absences: Vec<Absence>,
}

/// A range that is not to be had, for a time.
#[derive(Clone, Copy, Debug)]
struct Absence {
    first: u64,
    last: u64,
    /// It may be gone.
    from: u64,
    /// It is gone.
    gone: u64,
    /// It may be back.
    returning: u64,
    /// It is back.
    until: u64,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    first: u64,
    last: u64,
    /// It was asked for.
    from: u64,
    /// It was got.
    got: u64,
    until: u64,
    /// Whether it is being given back.
    given: bool,
}

#[derive(Clone, Copy, Debug)]
struct Refusal {
    order: Order,
    from: u64,
    until: u64,
}

/// What names a block.
pub trait Named {
    /// The block.
    fn place(&self) -> Block;
}

impl Named for BareBlock {
    fn place(&self) -> Block {
        self.block()
    }
}

impl Named for RawBlock {
    fn place(&self) -> Block {
        self.block()
    }
}

impl<T: memdesc::Descriptor> Named for potad::Block<T> {
    fn place(&self) -> Block {
        self.block()
    }
}

/// The owner that [`World`]'s raw blocks have.
pub const RAW: OwnerId = OwnerId(7);

impl World {
    /// One of so many granules, all free.
    pub fn new(granules: u64) -> Arc<Self> {
        let potad = Potad::new();
        let resource = Resource::new("ram").granule(1).span(0..granules);
        let zone = potad.register(resource).expect("a zone");
        let owners = vec![0; granules as usize];
        let witness = Mutex::new(Witness { now: 1, owners, ..Witness::default() });
        Arc::new(Self { potad, zone, witness })
    }

    fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().expect("a witness that has not failed")
    }

    /// Asks for a block; `None` if there is none, which is looked into at the
    /// [end](Self::finish).
    pub fn alloc<B: Named>(
        &self,
        who: Who,
        order: u32,
        ask: impl FnOnce(Order) -> Result<B, Error>,
    ) -> Option<B> {
        let order = Order::new(order).expect("an order");
        let from = self.witness().tick();
        match ask(order) {
            Ok(block) => {
                let place = block.place();
                assert_eq!(place.order(), order);
                self.witness().hold(who, place.granules(), from);
                Some(block)
            }
            Err(Error::Exhausted { .. }) => {
                let mut witness = self.witness();
                let until = witness.tick();
                witness.refused.push(Refusal { order, from, until });
                None
            }
            Err(why) => panic!("{why}"),
        }
    }

    /// Asks for `count` blocks at once; fewer, if there are no more.
    pub fn alloc_many(&self, who: Who, order: u32, count: usize) -> Vec<BareBlock> {
        let order = Order::new(order).expect("an order");
        let from = self.witness().tick();
        let mut blocks = Vec::new();
        match self.zone.alloc_many(order, count, |block| blocks.push(block)) {
            Ok(got) => assert_eq!(got, blocks.len()),
            Err(Error::Exhausted { .. }) => {}
            Err(why) => panic!("{why}"),
        }
        let mut witness = self.witness();
        blocks.iter().for_each(|block| witness.hold(who, block.granules(), from));
        if blocks.len() < count {
            let until = witness.tick();
            witness.refused.push(Refusal { order, from, until });
        }
        blocks
    }

    /// Gives blocks back at once.
    pub fn free_many(&self, who: Who, blocks: Vec<BareBlock>) {
        let ranges: Vec<_> = blocks.iter().map(BareBlock::granules).collect();
        let mut witness = self.witness();
        let given: Vec<_> = ranges.iter().flat_map(|range| witness.release(who, *range)).collect();
        drop(witness);
        let freed = self.zone.free_many(blocks).map_err(|refused| refused.why);
        assert_eq!(freed, Ok(ranges.len()));
        self.witness().freed(&given);
    }

    /// Gives a block back, by `give`.
    pub fn free<R>(&self, who: Who, range: Granules, give: impl FnOnce() -> R) -> R {
        let given = self.witness().release(who, range);
        let result = give();
        self.witness().freed(&given);
        result
    }

    /// As [`free`](Self::free), where another may have the last reference: until
    /// when it is held, is not known.
    pub fn let_go(&self, who: Who, range: Granules, give: impl FnOnce()) {
        self.witness().release(who, range);
        give();
    }

    /// Hands granules on.
    pub fn pass_on(&self, from: Who, to: Who, range: Granules) {
        self.witness().own(range, from, to);
    }

    /// Takes `range` away, by `take`: once that has returned nobody gets any of
    /// it, until it is [brought back](Self::bring_back). Returns the absence's number.
    pub fn take_away<R>(&self, range: Granules, take: impl FnOnce() -> R) -> (usize, R) {
        let (first, last) = (range.first().0, range.last().0);
        let (at, never) = (self.witness().absences.len(), u64::MAX);
        let from = self.witness().tick();
        let absence = Absence { first, last, from, gone: never, returning: never, until: never };
        self.witness().absences.push(absence);
        let result = take();
        let mut witness = self.witness();
        witness.absences[at].gone = witness.tick();
        (at, result)
    }

    /// Brings a range back, by `bring`.
    pub fn bring_back<R>(&self, absence: usize, bring: impl FnOnce() -> R) -> R {
        let mut witness = self.witness();
        witness.absences[absence].returning = witness.tick();
        drop(witness);
        let result = bring();
        let mut witness = self.witness();
        witness.absences[absence].until = witness.tick();
        result
    }

    /// Frees a bare block by the zone.
    pub fn free_bare(&self, who: Who, block: BareBlock) {
        self.free(who, block.granules(), || self.zone.free_bare(block).expect("a live block"));
    }

    /// Frees a raw block by the zone.
    pub fn free_raw(&self, who: Who, block: RawBlock) {
        self.free(who, block.granules(), || self.zone.free_raw(block).expect("a live block"));
    }

    /// As [`finish`](Self::finish), without a look at what was refused: a
    /// reporter may have had it.
    pub fn finish_forgiving(&self) {
        self.witness().refused.clear();
        self.finish(&[]);
    }

    /// Checks everything, once nothing is held but the granules `lost`, and no
    /// other thread is left.
    pub fn finish(&self, lost: &[u64]) {
        let witness = self.witness();
        witness.check_refusals();
        witness.check_absences();
        for (at, &owner) in witness.owners.iter().enumerate() {
            assert_eq!(owner, 0, "granule {at} is still somebody's");
        }
        drop(witness);
        let free = self.zone.granules() - lost.len() as u64;
        assert_eq!(self.zone.validate(), Ok(free), "what is free");
        let poisoned: Vec<_> = self.zone.poisoned().iter().map(|(at, _)| at.0).collect();
        assert_eq!(poisoned, lost, "what is lost");
        let blocks = self.zone.free_blocks();
        assert_eq!(blocks.iter().map(|block| block.order().granules()).sum::<u64>(), free);
        for block in &blocks {
            let whole = block.buddy().is_some_and(|buddy| blocks.contains(&buddy));
            assert!(!whole, "{block:?} and its buddy are free and not merged");
        }
    }
}

impl Witness {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn own(&mut self, range: Granules, from: Who, to: Who) {
        for at in range.first().0..=range.last().0 {
            let owner = &mut self.owners[at as usize];
            assert_eq!(*owner, from, "granule {at} goes from {from} to {to}");
            *owner = to;
        }
    }

    fn hold(&mut self, who: Who, range: Granules, from: u64) {
        self.own(range, 0, who);
        let (first, last, got) = (range.first().0, range.last().0, self.tick());
        self.holds.push(Hold { first, last, from, got, until: u64::MAX, given: false });
    }

    /// Ends the holds of `range`; what they hold besides is held on.
    fn release(&mut self, who: Who, range: Granules) -> Vec<usize> {
        self.own(range, who, 0);
        let (first, last) = (range.first().0, range.last().0);
        let mut given = Vec::new();
        for at in 0..self.holds.len() {
            let hold = self.holds[at];
            if hold.given || hold.last < first || last < hold.first {
                continue;
            }
            if hold.first < first {
                self.holds.push(Hold { last: first - 1, ..hold });
            }
            if last < hold.last {
                self.holds.push(Hold { first: last + 1, ..hold });
            }
            let (first, last) = (hold.first.max(first), hold.last.min(last));
            self.holds[at] = Hold { first, last, given: true, ..hold };
            given.push(at);
        }
        given
    }

    fn freed(&mut self, given: &[usize]) {
        let until = self.tick();
        given.iter().for_each(|&at| self.holds[at].until = until);
    }

    /// Completeness: whoever was refused, was so rightly. All hands are emptied
    /// at some moment of a refused request, so that a block of which nobody held
    /// anything from its beginning to its end was free at that moment.
    fn check_refusals(&self) {
        for refusal in &self.refused {
            let meanwhile = |hold: &&Hold| hold.from < refusal.until && refusal.from < hold.until;
            let held = self.holds.iter().filter(meanwhile).map(|hold| (hold.first, hold.last));
            let absent = |gone: &&Absence| gone.from < refusal.until && refusal.from < gone.until;
            let absent = self.absences.iter().filter(absent).map(|gone| (gone.first, gone.last));
            let held: Vec<_> = held.chain(absent).collect();
            let granules = refusal.order.granules();
            for first in (0..self.owners.len() as u64).step_by(granules as usize) {
                let last = first + granules - 1;
                let overlaps = |&(from, to): &(u64, u64)| from <= last && first <= to;
                assert!(
                    held.iter().any(overlaps) || last >= self.owners.len() as u64,
                    "{refusal:?} though {first}..={last} was free"
                );
            }
        }
    }

    /// What is gone is handed out to nobody who asks later, and gets before it
    /// may be back.
    fn check_absences(&self) {
        for gone in &self.absences {
            let handed_out = |hold: &&Hold| {
                let overlaps = hold.first <= gone.last && gone.first <= hold.last;
                overlaps && gone.gone <= hold.from && hold.got <= gone.returning
            };
            let found = self.holds.iter().find(handed_out);
            assert!(found.is_none(), "{found:?} though {gone:?}");
        }
    }
}

/// The granules of one.
pub fn one(at: u64) -> Granules {
    Block::containing(Granule(at), Order::ZERO).granules()
}
