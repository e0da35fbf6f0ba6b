//! A guest: a thread that lives one share of the trace.
//!
//! For each record it waits for its turn with the block, then does what was
//! recorded on a real block of the host. What it does with a block's memory is
//! what makes a mistake of the allocator show: see `cookie`.

use super::cookie::{Cookie, is_filled};
use super::kinds::{Lent, Sort, Who};
use super::plan::{Step, What};
use super::world::{Held, World};
use potad::memdesc::Order;
use potad::memdesc::sync::atomic::Ordering;
use potad::{Error, Hand};

/// What one guest did.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) allocations: u64,
    pub(super) frees: u64,
    pub(super) failed: u64,
    pub(super) splits: u64,
    pub(super) moves: u64,
    /// Allocations per order.
    pub(super) orders: [u64; 64],
    /// Allocations per sort.
    pub(super) sorts: [u64; Sort::ALL.len()],
}

impl Default for Counts {
    fn default() -> Self {
        let (orders, sorts) = ([0; 64], [0; Sort::ALL.len()]);
        Self { allocations: 0, frees: 0, failed: 0, splits: 0, moves: 0, orders, sorts }
    }
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.allocations += other.allocations;
        self.frees += other.frees;
        self.failed += other.failed;
        self.splits += other.splits;
        self.moves += other.moves;
        self.orders.iter_mut().zip(other.orders).for_each(|(sum, count)| *sum += count);
        self.sorts.iter_mut().zip(other.sorts).for_each(|(sum, count)| *sum += count);
    }
}

/// A guest at work.
pub(super) struct Guest<'w> {
    world: &'w World,
    number: usize,
    hand: Hand,
    next_stamp: u64,
    pub(super) counts: Counts,
}

impl<'w> Guest<'w> {
    pub(super) fn new(world: &'w World, number: usize) -> Self {
        let hand = world.host.zone.hand();
        // Guests number their stamps apart; 0 is nobody's.
        let next_stamp = number as u64 + 1;
        Self { world, number, hand, next_stamp, counts: Counts::default() }
    }

    /// Replays its share, or as much as there is time for.
    pub(super) fn replay(mut self) -> Counts {
        let world = self.world;
        let position = &world.positions[self.number];
        for (done, step) in (1..).zip(&world.plan.queues[self.number]) {
            if !world.keep_near(self.number, step.before) || !world.await_turn(step.id, step.turn) {
                break;
            }
            if world.is_over() || !self.act(step) {
                break;
            }
            world.pass_turn(step.id, step.turn);
            position.done.store(done, Ordering::Relaxed);
        }
        world.leave(self.number);
        self.counts
    }

    /// Frees what all guests still hold: the end of their lives.
    pub(super) fn free_all(mut self) -> Counts {
        for slot in &self.world.slots {
            let held = slot.held.lock().take();
            if let Some(held) = held {
                self.free(held);
            }
        }
        self.counts
    }

    fn act(&mut self, step: &Step) -> bool {
        let slot = &self.world.slots[step.id as usize];
        match step.what {
            What::Alloc => {
                let held = self.alloc(step, step.id);
                *slot.held.lock() = held;
            }
            What::Free => {
                let held = slot.held.lock().take();
                if let Some(held) = held {
                    self.free(held);
                }
            }
            What::Split { upper, turn } => return self.split(step, upper, turn),
            What::Resize => {
                let held = slot.held.lock().take();
                let resized = self.resize(step, held);
                *slot.held.lock() = resized;
            }
        }
        true
    }

    fn stamp(&mut self) -> u64 {
        let stamp = self.next_stamp;
        self.next_stamp += self.world.positions.len() as u64 + 1;
        stamp
    }

    fn alloc(&mut self, step: &Step, id: u32) -> Option<Held> {
        let world = self.world;
        let (sort, stamp) = (Sort::of(step), self.stamp());
        let who = Who { stamp, id, guest: self.number as u32 };
        let reports = world.host.ledger.reports_done();
        let lent = match self.lend(sort, step.order, who) {
            Ok(lent) => lent,
            Err(why) => {
                self.counts.failed += 1;
                world.trouble(format_args!("allocation of order {}: {why}", step.order));
                return None;
            }
        };
        let block = lent.place();
        world.host.ledger.check_allocated(block, reports);
        self.counts.allocations += 1;
        self.counts.orders[step.order.get() as usize] += 1;
        self.counts.sorts[sort as usize - 1] += 1;
        let held = self.settle(lent, id, stamp, step.at, self.number);
        world.host.known.set(block, stamp, self.number, sort);
        Some(held)
    }

    /// A block, with what a host does when none is free: plug the memory that
    /// it has spare, and take back what the reporter holds at the moment.
    fn lend(&mut self, sort: Sort, order: Order, who: Who) -> Result<Lent, Error> {
        let world = self.world;
        let owner = world.host.owners[self.number];
        match Lent::alloc(&mut self.hand, sort, order, owner, who) {
            Err(Error::Exhausted { .. } | Error::OrderTooLarge { .. }) => {}
            other => return other,
        }
        world.pressure.fetch_add(1, Ordering::Relaxed);
        if let Err(why) = world.host.plug() {
            world.trouble(format_args!("hot-add: {why}"));
        }
        let pause = world.host.reclaim.pause();
        pause.wait_quiet();
        Lent::alloc(&mut self.hand, sort, order, owner, who)
    }

    /// Writes a block's memory.
    fn settle(&self, lent: Lent, id: u32, stamp: u64, at: u32, guest: usize) -> Held {
        let host = &self.world.host;
        let (first, bytes) = self.world.range(lent.place());
        host.returned.touch(first, bytes);
        let cookie = Cookie { stamp, id, base: first, filled: is_filled(id, bytes) };
        cookie.write(host.ram.words(first, bytes));
        Held { lent, cookie, guest, touched: at, swapped: None }
    }

    fn free(&mut self, mut held: Held) {
        let world = self.world;
        world.fault_in(&mut held);
        world.check_contents(&held);
        let block = held.lent.place();
        world.host.known.clear(block.base());
        // For the injector, which likes blocks in transit: a hint.
        let freeing = &world.positions[self.number % world.positions.len()].freeing;
        freeing.store(block.encode(), Ordering::Relaxed);
        if let Err(why) = held.lent.free(&mut self.hand) {
            world.trouble(format_args!("free of {block:?}: {why}"));
        }
        freeing.store(0, Ordering::Relaxed);
        self.counts.frees += 1;
    }

    fn split(&mut self, step: &Step, upper: u32, turn: u32) -> bool {
        let world = self.world;
        if !world.await_turn(upper, turn) {
            return false;
        }
        let held = world.slots[step.id as usize].held.lock().take();
        if let Some(held) = held {
            let (low, high) = self.halve(step, held, upper);
            *world.slots[step.id as usize].held.lock() = Some(low);
            *world.slots[upper as usize].held.lock() = high;
        }
        world.pass_turn(upper, turn);
        true
    }

    fn halve(&mut self, step: &Step, mut held: Held, upper: u32) -> (Held, Option<Held>) {
        let world = self.world;
        world.fault_in(&mut held);
        world.check_contents(&held);
        let block = held.lent.place();
        if block.order() == step.order {
            // Halves below a granule: the upper one lives elsewhere.
            let high = self.alloc(step, upper);
            return (held, high);
        }
        let known = &world.host.known;
        known.clear(block.base());
        let (sort, stamp) = (held.lent.sort(), self.stamp());
        let who = Who { stamp, id: upper, guest: self.number as u32 };
        let (low, high) = match held.lent.split(&world.host.zone, who) {
            Ok(halves) => halves,
            Err((lent, why)) => {
                world.trouble(format_args!("split of {block:?}: {why}"));
                known.set(block, held.cookie.stamp, held.guest, sort);
                return (Held { lent, ..held }, None);
            }
        };
        self.counts.splits += 1;
        // The lower half keeps its descriptor, and so its stamp; both keep the
        // owner, who is the guest that allocated them.
        let low = self.settle(low, step.id, held.cookie.stamp, step.at, held.guest);
        let high = self.settle(high, upper, stamp, step.at, held.guest);
        for half in [&low, &high] {
            known.set(half.lent.place(), half.cookie.stamp, half.guest, sort);
        }
        (low, Some(high))
    }

    fn resize(&mut self, step: &Step, held: Option<Held>) -> Option<Held> {
        let Some(mut held) = held else { return self.alloc(step, step.id) };
        self.world.fault_in(&mut held);
        self.world.check_contents(&held);
        if held.lent.place().order() == step.order {
            return Some(Held { touched: step.at, ..held });
        }
        let moved = self.alloc(step, step.id);
        self.free(held);
        self.counts.moves += 1;
        moved
    }
}
