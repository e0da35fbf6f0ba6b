//! A source for tests: one flat resource, slow and obvious.
//!
//! One byte of state a granule under one lock; the granules are scanned. Use it
//! to try a driver or a policy without an allocator, and as the oracle beside
//! one. Every misuse of a token panics.

use crate::range::{ByteRange, Outcome};
use crate::source::{Age, Cursor, IsolatedBlock, Progress, ReportSource, Want};
use alloc::vec::Vec;
use memdesc::Order;
use memdesc::sync::Mutex;

/// Positions looked at in one call of `isolate`.
const BUDGET: usize = 1024;

/// Who has a granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Nobody,
    User,
    Reporter,
}

#[derive(Clone, Copy, Debug)]
struct Granule {
    owner: Owner,
    seen: bool,
    reported: bool,
    zeroed: bool,
}

const FRESH: Granule =
    Granule { owner: Owner::Nobody, seen: false, reported: false, zeroed: false };

/// A resource of `1 << order` granules, all free and not reported.
#[derive(Debug)]
pub struct MockSource {
    granules: Mutex<Vec<Granule>>,
    granule_bytes: u64,
    origin: u64,
}

/// A block that the reporter took from a [`MockSource`].
#[derive(Debug)]
#[must_use = "a dropped token leaves its block isolated"]
pub struct MockBlock {
    range: ByteRange,
    index: usize,
    order: Order,
}

/// A block that a user took from a [`MockSource`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a dropped block stays allocated"]
pub struct UserBlock {
    index: usize,
    granules: usize,
    address: u64,
    zeroed: bool,
}

impl UserBlock {
    /// Where it is.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Whether it was known to read as zeros when it was allocated.
    pub fn was_zeroed(&self) -> bool {
        self.zeroed
    }
}

impl IsolatedBlock for MockBlock {
    fn range(&self) -> ByteRange {
        self.range
    }

    fn order(&self) -> Order {
        self.order
    }
}

impl MockSource {
    /// A resource from address 0 on.
    pub fn new(granule_bytes: u64, order: u32) -> Self {
        Self::with_origin(granule_bytes, order, 0)
    }

    /// A resource from `origin` on, which the caller keeps aligned.
    pub fn with_origin(granule_bytes: u64, order: u32, origin: u64) -> Self {
        let granules = alloc::vec![FRESH; 1 << order];
        Self { granules: Mutex::new(granules), granule_bytes, origin }
    }

    /// Allocates a block; one that was never reported if there is one.
    pub fn alloc(&self, order: u32) -> Option<UserBlock> {
        let mut granules = self.granules.lock();
        let length = 1_usize << order;
        let is_free = |run: &[Granule]| run.iter().all(|granule| granule.owner == Owner::Nobody);
        let is_dirty = |run: &[Granule]| run.iter().all(|granule| !granule.reported);
        let mut runs = granules.chunks(length).filter(|run| run.len() == length);
        let dirty = runs.clone().position(|run| is_free(run) && is_dirty(run));
        let index = dirty.or_else(|| runs.position(is_free))? * length;
        let run = &mut granules[index..index + length];
        let zeroed = run.iter().all(|granule| granule.zeroed);
        run.fill(Granule { owner: Owner::User, ..FRESH });
        Some(UserBlock { index, granules: length, address: self.address(index), zeroed })
    }

    /// Frees a block.
    pub fn free(&self, block: UserBlock) {
        let mut granules = self.granules.lock();
        for granule in &mut granules[block.index..block.index + block.granules] {
            assert_eq!(granule.owner, Owner::User, "free of {block:?}");
            *granule = FRESH;
        }
    }

    /// Bytes that nobody has.
    pub fn free_bytes(&self) -> u64 {
        self.count(|granule| granule.owner == Owner::Nobody)
    }

    /// Bytes that a reporter has.
    pub fn isolated_bytes(&self) -> u64 {
        self.count(|granule| granule.owner == Owner::Reporter)
    }

    /// Bytes that are free and reported.
    pub fn reported_bytes(&self) -> u64 {
        self.count(|granule| granule.owner == Owner::Nobody && granule.reported)
    }

    fn count(&self, which: impl Fn(&Granule) -> bool) -> u64 {
        let granules = self.granules.lock();
        granules.iter().filter(|granule| which(granule)).count() as u64 * self.granule_bytes
    }

    fn address(&self, index: usize) -> u64 {
        self.origin + index as u64 * self.granule_bytes
    }
}

/// Whether all is free, and each piece of `min` granules has something to
/// report.
fn is_reportable(run: &[Granule], min: usize) -> bool {
    run.iter().all(|granule| granule.owner == Owner::Nobody)
        && run.chunks(min).all(|piece| piece.iter().any(|granule| !granule.reported))
}

impl ReportSource for MockSource {
    type Block = MockBlock;

    fn isolate(
        &self,
        cursor: &mut Cursor,
        want: &Want,
        room: usize,
        out: &mut impl FnMut(MockBlock),
    ) -> Progress {
        let mut found = Vec::new();
        let progress = {
            let mut granules = self.granules.lock();
            self.walk(&mut granules, cursor, want, room, &mut found)
        };
        // Outside the lock.
        found.into_iter().for_each(out);
        progress
    }

    fn put_back(&self, block: MockBlock, outcome: Outcome) {
        assert_ne!(outcome, Outcome::Posted, "a device still has {block:?}");
        let length = 1_usize << block.order.get();
        let mut granules = self.granules.lock();
        for granule in &mut granules[block.index..block.index + length] {
            assert_eq!(granule.owner, Owner::Reporter, "put back of {block:?}");
            granule.reported |= outcome.is_reported();
            granule.zeroed = match outcome {
                Outcome::ReportedZeroed => true,
                Outcome::Reported => false,
                _ => granule.zeroed,
            };
            granule.owner = Owner::Nobody;
        }
    }

    fn dirty_bytes(&self) -> u64 {
        self.count(|granule| granule.owner == Owner::Nobody && !granule.reported)
    }

    fn reported_bytes(&self) -> u64 {
        Self::reported_bytes(self)
    }

    fn granule_bytes(&self) -> u64 {
        self.granule_bytes
    }
}

impl MockSource {
    fn walk(
        &self,
        granules: &mut [Granule],
        cursor: &mut Cursor,
        want: &Want,
        room: usize,
        found: &mut Vec<MockBlock>,
    ) -> Progress {
        let min = 1_usize << want.min_order.get();
        let free = granules.iter().filter(|granule| granule.owner == Owner::Nobody).count();
        let mut free_bytes = free as u64 * self.granule_bytes;
        let mut given = 0;
        for _ in 0..BUDGET {
            let index = cursor.position as usize;
            if index + min > granules.len() {
                return Progress::EndOfPass;
            }
            if found.len() == room {
                return Progress::More;
            }
            let orders = want.min_order.get()..=want.max_order.get();
            let fits = |order: &u32| {
                let length = 1_usize << order;
                index.is_multiple_of(length)
                    && granules
                        .get(index..index + length)
                        .is_some_and(|run| is_reportable(run, min))
            };
            let Some(order) = orders.take_while(fits).last() else {
                cursor.position += min as u64;
                continue;
            };
            let run = &mut granules[index..index + (1 << order)];
            let bytes = run.len() as u64 * self.granule_bytes;
            if want.age == Age::Seen && !run.iter().all(|granule| granule.seen) {
                run.iter_mut().for_each(|granule| granule.seen = true);
                cursor.position += run.len() as u64;
                continue;
            }
            if cursor.spared < want.spare_bytes {
                let rest = (want.spare_bytes - cursor.spared).div_ceil(self.granule_bytes);
                let part = (1 << rest.ilog2()).clamp(min as u64, run.len() as u64);
                cursor.spared += part * self.granule_bytes;
                cursor.position += part;
                continue;
            }
            if given != 0 && given + bytes > want.max_bytes {
                return Progress::More;
            }
            if free_bytes < want.leave_bytes.saturating_add(bytes) {
                return Progress::Pressure;
            }
            run.iter_mut().for_each(|granule| granule.owner = Owner::Reporter);
            cursor.position += run.len() as u64;
            free_bytes -= bytes;
            given += bytes;
            let range = ByteRange::new(self.address(index), bytes).expect("a mock is small");
            let order = Order::new(order).expect("within the wanted orders");
            found.push(MockBlock { range, index, order });
        }
        Progress::More
    }
}
