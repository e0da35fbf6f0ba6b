//! The header: count, lock and place of a descriptor, 16 bytes.
//!
//! # Picture
//!
//! ```text
//!        63            32 31       16 15         8 7    4    3    2      1       0
//!       +----------------+-----------+------------+------+------+------+--------+--------+
//! state |      refs      | owner id  | user flags |  M   |POISON| DEAD | PARKED | LOCKED |
//!       +----------------+-----------+------------+------+------+------+--------+--------+
//! place |                 2 * base + (1 << order), 0 = none                               |
//!       +--------------------------------------------------------------------------------+
//! ```
//!
//! # States and edges
//!
//! | refs | LOCKED | DEAD | means            | leaves by                                   |
//! |------|--------|------|------------------|---------------------------------------------|
//! | >= 1 | no     | no   | live             | `try_get`, `put`, `try_lock`                |
//! | >= 1 | yes    | no   | live, locked     | `try_get`, `put`, `unlock`                  |
//! | 0    | yes    | no   | only locked      | `try_get` (lives on), `unlock` (dies)       |
//! | any  | yes    | yes  | torn down        | never; refs are leftovers of refused gets   |
//!
//! | bit     | set by                             | cleared by                 |
//! |---------|------------------------------------|----------------------------|
//! | LOCKED  | `try_lock`; the edge to DEAD       | `unlock`                   |
//! | PARKED  | a locker about to park             | `unlock`, which wakes all  |
//! | DEAD    | `put`, `unlock`: see below         | nobody                     |
//! | POISON  | `poison`, under the lock           | nobody                     |
//! | M       | `set_moved`, under the lock        | nobody                     |
//!
//! M is the lowest of its four bits: another descriptor has taken the block
//! over. No slot names a moved one any more; it is counted and locked as
//! before, and freed by its last put without a look at slots or range.
//!
//! The fourth combination, no reference and not locked, does not exist: the one
//! operation that would make it, the last `put` or an `unlock`, goes to
//! DEAD|LOCKED **in the same compare-exchange**, and its caller runs the
//! teardown. So teardown runs exactly once, `put` never waits, and nobody looks
//! at the header after giving up the last thing that kept it: neither `put` nor
//! `unlock` needs a pin. A held lock keeps the descriptor as a reference does.
//!
//! PARKED implies LOCKED, and a locker takes a reference before it parks: a
//! header that dies has no waiters.
//!
//! # Sharing and cost
//!
//! Any thread, at any time. `try_get` is one `fetch_add` whatever the
//! contention (a sticky zero: what is DEAD stays so, whatever is added). `put`
//! and `unlock` are one compare-exchange each, repeated when it loses. One line.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Block, Granule, OwnerId, seeded};
use core::fmt;

pub(crate) const LOCKED: u64 = 1 << 0;
pub(crate) const PARKED: u64 = 1 << 1;
pub(crate) const DEAD: u64 = 1 << 2;
pub(crate) const POISONED: u64 = 1 << 3;
pub(crate) const MOVED: u64 = 1 << 4;
const FLAGS_SHIFT: u32 = 8;
const OWNER_SHIFT: u32 = 16;
const REFS_SHIFT: u32 = 32;
const ONE_REF: u64 = 1 << REFS_SHIFT;
/// Above this, `try_get` refuses. As much again is left for gets in flight.
const MAX_REFS: u64 = 1 << 31;

/// Count, lock and place of a descriptor. See the module's tables.
pub struct Header {
    pub(crate) state: AtomicU64,
    place: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Header>() == 16);

/// What giving something up led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "whoever makes a header die must run its teardown"]
pub(crate) enum After {
    /// Somebody else keeps the descriptor.
    Lives,
    /// The header went to DEAD|LOCKED, and the caller runs the teardown.
    Dies,
}

impl Header {
    /// One reference, no place yet.
    pub(crate) fn new(owner: OwnerId) -> Self {
        Self {
            state: AtomicU64::new(ONE_REF | u64::from(owner.0) << OWNER_SHIFT),
            place: AtomicU64::new(0),
        }
    }

    /// Takes a reference, unless the descriptor is dead or has 2^31 already.
    ///
    /// The caller keeps the memory readable by a pin, a reference or the lock.
    #[inline]
    pub(crate) fn try_get(&self) -> bool {
        // `Acquire` pairs with the `Release` of `unlock`: a place that was
        // written under the lock before is seen by the re-check after. (No model
        // misses it: the place is acquired by itself, and a stale one is the answer
        // of a moment before.)
        let before = match seeded!("counted by a plain store") {
            true => self.count_plainly(),
            false => self.state.fetch_add(ONE_REF, Ordering::Acquire),
        };
        // Dead: the unit added here means nothing and is never taken back. It
        // cannot carry into another field, for refs is the topmost.
        if before & DEAD != 0 {
            return seeded!("get ignores death");
        }
        if before >> REFS_SHIFT < MAX_REFS {
            return true;
        }
        self.refuse()
    }

    /// The bug of one twin.
    fn count_plainly(&self) -> u64 {
        let before = self.state.load(Ordering::Acquire);
        self.state.store(before + ONE_REF, Ordering::Relaxed);
        before
    }

    /// Gives back a unit above the limit; keeps it if everybody else left
    /// meanwhile, for then it is the last and as good as any.
    #[cold]
    fn refuse(&self) -> bool {
        let mut seen = self.state.load(Ordering::Relaxed);
        loop {
            if Self::refs_of(seen) == 1 {
                return true;
            }
            // Relaxed: the unit was never used for anything.
            match self.state.compare_exchange_weak(
                seen,
                seen - ONE_REF,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return false,
                Err(now) => seen = now,
            }
        }
    }

    /// Gives up a reference of the caller's.
    #[inline]
    pub(crate) fn put(&self) -> After {
        // Relaxed: only a guess for the exchange below.
        let mut seen = self.state.load(Ordering::Relaxed);
        loop {
            let last = seen >> REFS_SHIFT == 1 && seen & LOCKED == 0;
            let fewer = seen - ONE_REF;
            let next = if last { fewer | DEAD | LOCKED } else { fewer };
            if last && seeded!("death not in one step") {
                self.state.fetch_sub(ONE_REF, Ordering::AcqRel);
                self.state.fetch_or(DEAD | LOCKED, Ordering::AcqRel);
                return After::Dies;
            }
            // `Release`: what this holder did comes before the teardown.
            // `Acquire`: the teardown sees what every earlier holder did.
            // Failing: somebody got, put, locked or set a flag in between; the
            // unit is still ours, so the header is still there to look at.
            match self.state.compare_exchange_weak(
                seen,
                next,
                crate::weakened!("put relaxed", AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(_) if last => return After::Dies,
                Ok(_) => return After::Lives,
                Err(now) => seen = now,
            }
        }
    }

    /// Marks the descriptor as failed. The caller holds the lock, so the
    /// teardown, which needs the lock, sees it.
    pub(crate) fn poison(&self) {
        // Relaxed: the `unlock` that follows releases it.
        self.state.fetch_or(POISONED, Ordering::Relaxed);
    }

    /// Whether memory failed inside.
    pub fn is_poisoned(&self) -> bool {
        // Relaxed: a hint, unless the caller holds the lock, which acquired it.
        self.state.load(Ordering::Relaxed) & POISONED != 0
    }

    /// Notes that another descriptor has taken the block over. The caller holds
    /// the lock, and has overwritten every slot.
    pub(crate) fn set_moved(&self) {
        // `Release` pairs with the load in `is_moved`: whoever sees it and looks
        // up again sees the other descriptor in the slot.
        self.state.fetch_or(MOVED, crate::weakened!("moved is set relaxed", Release));
    }

    /// Whether another descriptor has taken the block over.
    #[inline]
    pub fn is_moved(&self) -> bool {
        // `Acquire` pairs with `set_moved`.
        self.state.load(crate::weakened!("moved is seen relaxed", Acquire)) & MOVED != 0
    }

    /// Whether the descriptor describes `at`: for sure under the lock only, and
    /// at some moment of the call elsewhere.
    #[inline]
    pub fn describes(&self, at: Granule) -> bool {
        self.place().is_some_and(|block| block.contains(at)) && !self.is_moved()
    }

    /// Whether the descriptor has been torn down.
    #[inline]
    pub fn is_dead(&self) -> bool {
        // `Acquire` pairs with the edge to DEAD in `put` and `unlock`.
        self.state.load(crate::weakened!("death is seen relaxed", Acquire)) & DEAD != 0
    }

    /// References at some moment; leftovers once dead.
    pub fn refs(&self) -> u32 {
        // Relaxed: nothing is decided by it. Lossless: 32 bits.
        (self.state.load(Ordering::Relaxed) >> REFS_SHIFT) as u32
    }

    /// Asks for the header's line, to be counted or locked soon, where another
    /// thread may have used it last.
    #[inline]
    pub fn prefetch(&self) {
        crate::prefetch::prefetch_to_write(&raw const self.state);
    }

    /// The owner, which never changes.
    pub fn owner(&self) -> OwnerId {
        // Relaxed: written before publish. Truncates to the 16 bits meant.
        OwnerId((self.state.load(Ordering::Relaxed) >> OWNER_SHIFT) as u16)
    }

    /// The user's eight flags.
    pub fn flags(&self) -> u8 {
        // `Acquire` pairs with `set_flags`. Truncates to the 8 bits meant.
        (self.state.load(crate::weakened!("flags are seen relaxed", Acquire)) >> FLAGS_SHIFT) as u8
    }

    /// Sets flags and returns all eight as they were.
    pub fn set_flags(&self, flags: u8) -> u8 {
        // Pairs with itself, `clear_flags` and `flags`: a flag can carry a
        // message. One RMW on the word of the lock, so nothing is lost.
        let before = self.state.fetch_or(
            u64::from(flags) << FLAGS_SHIFT,
            crate::weakened!("flags are set relaxed", AcqRel),
        );
        (before >> FLAGS_SHIFT) as u8
    }

    /// Clears flags and returns all eight as they were.
    pub fn clear_flags(&self, flags: u8) -> u8 {
        // As `set_flags`.
        let before = self.state.fetch_and(
            !(u64::from(flags) << FLAGS_SHIFT),
            crate::weakened!("flags are cleared relaxed", AcqRel),
        );
        (before >> FLAGS_SHIFT) as u8
    }

    /// The block, if the descriptor is or was published: the last one, once
    /// another descriptor has taken it over.
    #[inline]
    pub fn place(&self) -> Option<Block> {
        // `Acquire` pairs with `set_place`.
        Block::decode(self.place.load(crate::weakened!("place is seen relaxed", Acquire)))
    }

    /// The granule, if the place is a single one.
    #[inline(always)]
    pub(crate) fn single(&self) -> Option<Granule> {
        // `Acquire` pairs with `set_place`.
        let code = self.place.load(crate::weakened!("place is seen relaxed", Acquire));
        Block::decode_single(code)
    }

    /// Writes the place: before publish, or under the lock.
    pub(crate) fn set_place(&self, block: Option<Block>) {
        self.place.store(
            block.map_or(0, Block::encode),
            crate::weakened!("place is written relaxed", Release),
        );
    }

    /// Whether references are gone but for one, as `into_body` needs it.
    pub(crate) fn is_unshared(&self) -> bool {
        self.state.load(crate::weakened!("unshared is seen relaxed", Acquire))
            & !(0xff << FLAGS_SHIFT | 0xffff << OWNER_SHIFT)
            == ONE_REF
    }

    pub(crate) const fn refs_of(state: u64) -> u64 {
        state >> REFS_SHIFT
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.load(Ordering::Relaxed);
        write!(f, "refs {} {:?}", state >> REFS_SHIFT, self.owner())?;
        for (bit, name) in [
            (LOCKED, "locked"),
            (PARKED, "parked"),
            (DEAD, "dead"),
            (POISONED, "poisoned"),
            (MOVED, "moved"),
        ] {
            if state & bit != 0 {
                write!(f, " {name}")?;
            }
        }
        write!(f, " {:?}", self.place())
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
