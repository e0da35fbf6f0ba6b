//! One pass: the queues of a plan, each on its thread, through one subject.
//!
//! The loop is the same for verified and timed passes and for one thread and
//! many; what differs is compiled in or out (`W`, `SHARED`).

use super::owners::Watch;
use super::plan::{NONE, Plan, Step, Survivor, What};
use super::window::{Window, wait_until};
use crate::subject::{Hand, Subject};
use memdesc::Order;
use memdesc::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// No block: the allocation failed.
const FAILED: u64 = u64::MAX;
/// Steps between two looks at the other queues.
const LOOK: usize = 64;
/// Steps between two looks at the clock.
const CLOCK: usize = 4096;

/// Where the block of an id is.
///
/// `turn` counts the steps that touched the id. Whoever has the turn has the
/// slot: `base` is written and read between two turns only.
struct Slot {
    base: AtomicU64,
    turn: AtomicU32,
}

/// A split block of a subject that cannot split.
struct Family {
    base: AtomicU64,
    pieces: AtomicU32,
}

/// The tables of one pass.
pub(super) struct Pass<'a, S, W> {
    plan: &'a Plan,
    subject: &'a S,
    watch: &'a W,
    slots: Vec<Slot>,
    families: Vec<Family>,
    window: Window,
    deadline: Instant,
}

/// What a pass found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) failed: u64,
    pub(super) pinned_sum: u128,
    pub(super) samples: u64,
    pub(super) wall: Duration,
}

/// One thread's share of it.
struct Share {
    failed: u64,
    pinned_sum: u128,
    samples: u64,
    begun: Instant,
    ended: Instant,
}

impl<'a, S: Subject, W: Watch> Pass<'a, S, W> {
    pub(super) fn new(plan: &'a Plan, subject: &'a S, watch: &'a W, budget: Duration) -> Self {
        let slot = |_| Slot { base: AtomicU64::new(FAILED), turn: AtomicU32::new(0) };
        let family = |_| Family { base: AtomicU64::new(FAILED), pieces: AtomicU32::new(0) };
        Self {
            plan,
            subject,
            watch,
            slots: (0..plan.ids).map(slot).collect(),
            families: plan.families.iter().map(family).collect(),
            window: Window::new(plan.threads()),
            deadline: Instant::now() + budget,
        }
    }

    /// Runs all queues; `None` if the time was up first.
    pub(super) fn run(&self) -> Option<Counts> {
        let queues = 0..self.plan.threads();
        let shares: Vec<Share> = std::thread::scope(|scope| {
            let run = |queue| match self.plan.threads() {
                1 => self.run_queue::<false>(queue),
                _ => self.run_queue::<true>(queue),
            };
            let threads: Vec<_> = queues.map(|queue| scope.spawn(move || run(queue))).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined
                .map(|share| share.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        if self.window.has_given_up() {
            return None;
        }
        let begun = shares.iter().map(|share| share.begun).min()?;
        let ended = shares.iter().map(|share| share.ended).max()?;
        let mut counts = Counts { wall: ended - begun, ..Counts::default() };
        for share in &shares {
            counts.failed += share.failed;
            counts.pinned_sum += share.pinned_sum;
            counts.samples += share.samples;
        }
        Some(counts)
    }

    /// Frees what is live at the end, from this thread.
    pub(super) fn drain(&self) {
        self.drain_these(self.plan.survivors.iter());
    }

    /// Frees those of the survivors that an aged arena does not keep.
    pub(super) fn drain_left(&self) {
        self.drain_these(self.plan.left());
    }

    /// Frees those that it keeps.
    pub(super) fn drain_kept(&self) {
        self.drain_these(self.plan.kept());
    }

    fn drain_these<'s>(&self, survivors: impl Iterator<Item = &'s Survivor>) {
        let mut worker = Worker { pass: self, hand: self.subject.hand(), failed: 0 };
        for survivor in survivors {
            let base = self.slots[survivor.id as usize].base.load(Ordering::Relaxed);
            worker.give(base, survivor.order, survivor.family);
        }
    }

    fn run_queue<const SHARED: bool>(&self, queue: usize) -> Share {
        let steps = &self.plan.queues[queue];
        let _stop = StopOnPanic(&self.window);
        let mut worker = Worker { pass: self, hand: self.subject.hand(), failed: 0 };
        for (index, step) in steps.prelude.iter().enumerate() {
            self.look::<SHARED>(queue, index, step);
            worker.step::<SHARED>(queue, step);
        }
        // The prelude's steps come first in the trace: nobody waits for one
        // that is behind this meeting.
        self.window.publish(queue, u64::MAX);
        self.window.meet(1);
        self.window.publish(queue, 0);
        self.window.meet(2);
        let (mut pinned_sum, mut samples) = (0_u128, 0_u64);
        let begun = Instant::now();
        for (index, step) in steps.steps.iter().enumerate() {
            self.look::<SHARED>(queue, index, step);
            if index.is_multiple_of(CLOCK) && self.is_over() {
                break;
            }
            worker.step::<SHARED>(queue, step);
            pinned_sum += u128::from(self.watch.pinned());
            samples += 1;
        }
        let ended = Instant::now();
        self.window.publish(queue, u64::MAX);
        Share { failed: worker.failed, pinned_sum, samples, begun, ended }
    }

    #[inline]
    fn look<const SHARED: bool>(&self, queue: usize, index: usize, step: &Step) {
        if SHARED && index.is_multiple_of(LOOK) {
            self.window.keep_near(queue, u64::from(step.at));
        }
    }

    fn is_over(&self) -> bool {
        if Instant::now() > self.deadline {
            self.window.give_up();
        }
        self.window.has_given_up()
    }

    /// Waits until `turn` steps have touched `id`; false if the run is over.
    #[inline]
    fn await_turn(&self, queue: usize, id: u32, turn: u32, at: u32) -> bool {
        let slot = &self.slots[id as usize];
        // `Acquire` pairs with the `Release` in `pass_turn`: the base that the
        // step before wrote, and what its thread did to the block, are seen.
        let is_mine = || slot.turn.load(Ordering::Acquire) == turn;
        if is_mine() {
            return true;
        }
        self.window.publish(queue, u64::from(at));
        wait_until(|| is_mine() || self.window.has_given_up());
        is_mine()
    }

    #[inline]
    fn pass_turn(&self, id: u32, turn: u32) {
        // `Release` pairs with the `Acquire` in `await_turn`.
        self.slots[id as usize].turn.store(turn + 1, Ordering::Release);
    }
}

/// A subject that panics on one thread must not leave the others waiting.
struct StopOnPanic<'a>(&'a Window);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up();
        }
    }
}

/// One thread at work.
struct Worker<'p, 'a, S: Subject + 'p, W> {
    pass: &'p Pass<'a, S, W>,
    hand: S::Hand<'p>,
    failed: u64,
}

impl<'p, S: Subject + 'p, W: Watch> Worker<'p, '_, S, W> {
    #[inline]
    fn step<const SHARED: bool>(&mut self, queue: usize, step: &Step) {
        let pass = self.pass;
        if SHARED && !pass.await_turn(queue, step.id, step.turn, step.at) {
            return;
        }
        // `Relaxed` on every base: the turn hands the slot over.
        let slot = &pass.slots[step.id as usize].base;
        match step.what {
            What::Alloc => slot.store(self.take(step, step.family), Ordering::Relaxed),
            What::Free => self.give(slot.load(Ordering::Relaxed), step.order, step.family),
            What::Split => self.split::<SHARED>(queue, slot.load(Ordering::Relaxed), step),
            What::Resize => {
                let old = slot.load(Ordering::Relaxed);
                slot.store(self.take(step, step.new_family), Ordering::Relaxed);
                self.give(old, step.old, step.family);
            }
        }
        if SHARED {
            pass.pass_turn(step.id, step.turn);
        }
    }

    #[inline]
    fn take(&mut self, step: &Step, family: u32) -> u64 {
        let Some(base) = self.hand.alloc_tagged(step.order, step.tag) else {
            self.failed += 1;
            return FAILED;
        };
        self.pass.watch.taken(base, step.order);
        if !S::SPLITS && family != NONE {
            // `Relaxed`: handed over with the slot, like the base.
            let family = &self.pass.families[family as usize];
            family.base.store(base, Ordering::Relaxed);
            family.pieces.store(1, Ordering::Relaxed);
        }
        base
    }

    #[inline]
    fn give(&mut self, base: u64, order: Order, family: u32) {
        if base == FAILED {
            return;
        }
        if !S::SPLITS && family != NONE {
            return self.give_piece(family);
        }
        self.pass.watch.giving(base, order);
        self.hand.free(base, order);
    }

    #[cold]
    fn give_piece(&mut self, index: u32) {
        let family = &self.pass.families[index as usize];
        // `AcqRel`: the last piece sees what the holders of the others did.
        if family.pieces.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let order = self.pass.plan.families[index as usize];
        let base = family.base.load(Ordering::Relaxed);
        self.pass.watch.giving(base, order);
        self.hand.free(base, order);
    }

    fn split<const SHARED: bool>(&mut self, queue: usize, base: u64, step: &Step) {
        let pass = self.pass;
        if SHARED && !pass.await_turn(queue, step.upper, step.upper_turn, step.at) {
            return;
        }
        let mut upper = FAILED;
        if base != FAILED {
            upper = base + step.order.granules();
            if S::SPLITS {
                self.hand.split(base, step.order);
            } else {
                // `Relaxed`: this thread holds a piece, so the count is not 0.
                let family = &pass.families[step.family as usize];
                family.pieces.fetch_add(1, Ordering::Relaxed);
            }
        }
        pass.slots[step.upper as usize].base.store(upper, Ordering::Relaxed);
        if SHARED {
            pass.pass_turn(step.upper, step.upper_turn);
        }
    }
}
