//! The lock: one bit of the header's state, and one to say that someone sleeps.
//!
//! # What always holds
//!
//! LOCKED is set by one thread at a time, and not on a dead header. Whoever is
//! about to sleep sets PARKED first, and holds a reference (so the header
//! cannot die under it) and no pin (so its sleep holds up no memory).
//! `unlock` takes PARKED away with LOCKED and wakes everybody; they compete
//! anew. That no wake-up is missed is `parking`'s promise: it re-reads the
//! state where an `unpark_all` can no longer slip by.
//!
//! # Cost
//!
//! Uncontended: one RMW to lock, one to unlock. Not fair, not recursive: a
//! thread that locks twice waits for itself.

use crate::header::{After, DEAD, Header, LOCKED, PARKED};
use crate::seeded;
use crate::sync::atomic::Ordering;
use crate::sync::parking;

/// Looks this often before it sleeps.
const SPINS: u32 = if cfg!(any(loom, shuttle)) { 1 } else { 48 };

/// What one attempt found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TryLock {
    /// It is ours.
    Locked,
    /// Somebody holds it.
    Held,
    /// The descriptor has been torn down.
    Dead,
}

impl Header {
    /// Tries once; the caller keeps the memory readable.
    #[inline]
    pub(crate) fn try_lock(&self) -> TryLock {
        if self.take_lock() {
            return TryLock::Locked;
        }
        // Relaxed: nobody takes DEAD away. Not dead then and dead now is as true
        // an answer.
        match self.state.load(Ordering::Relaxed) & DEAD {
            0 => TryLock::Held,
            _ => TryLock::Dead,
        }
    }

    /// Sets LOCKED; whether it was clear. One RMW whatever counts and flags do
    /// meanwhile.
    #[inline]
    fn take_lock(&self) -> bool {
        // `Acquire` pairs with the `Release` in `unlock`: what the last holder
        // wrote is seen by the next. Where it is held this changes nothing, and
        // DEAD implies LOCKED, so a dead state stays as it was. That one bit is
        // all that is asked of the old value makes it one instruction.
        self.state.fetch_or(LOCKED, crate::weakened!("lock relaxed", Acquire)) & LOCKED == 0
    }

    /// Locks, waiting as long as it takes; the caller holds a reference.
    #[inline]
    pub(crate) fn lock_counted(&self) {
        if !self.take_lock() {
            self.lock_slow();
        }
    }

    #[cold]
    fn lock_slow(&self) {
        for _ in 0..SPINS {
            core::hint::spin_loop();
            // Relaxed: a guess. Waiters look at the line, and write it only when
            // it seems free.
            if self.state.load(Ordering::Relaxed) & LOCKED == 0 && self.take_lock() {
                return;
            }
        }
        loop {
            let seen = self.state.load(Ordering::Relaxed);
            if seen & LOCKED == 0 {
                if self.take_lock() {
                    return;
                }
                continue;
            }
            // Relaxed: PARKED only asks for a wake-up; `still` re-reads it.
            let parked = self.state.compare_exchange_weak(
                seen,
                seen | PARKED,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if parked.is_err() {
                continue;
            }
            let both = LOCKED | PARKED;
            parking::park(self.key(), || self.state.load(Ordering::Relaxed) & both == both);
        }
    }

    /// Gives the lock back; without any reference left, the descriptor dies.
    #[inline]
    pub(crate) fn unlock(&self) -> After {
        let key = self.key();
        // Relaxed: a guess for the exchange.
        let mut seen = self.state.load(Ordering::Relaxed);
        loop {
            debug_assert!(seen & LOCKED != 0, "unlock of what is not locked");
            let dies = Self::refs_of(seen) == 0;
            if !dies && seeded!("unlock by a plain store") {
                self.state.store(seen & !(LOCKED | PARKED), Ordering::Release);
                parking::unpark_all(key);
                return After::Lives;
            }
            let next = if dies { seen & !PARKED | DEAD } else { seen & !(LOCKED | PARKED) };
            // `Release` pairs with `try_lock`; `Acquire` so that a teardown
            // sees what every `put` before it did. Failing: a count or flag
            // moved; the lock is still ours. After success nothing of the
            // header is touched: it may be gone.
            match self.state.compare_exchange_weak(
                seen,
                next,
                crate::weakened!("unlock relaxed", AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(_) if seen & PARKED != 0 && !seeded!("unlock wakes nobody") => {
                    parking::unpark_all(key);
                    return if dies { After::Dies } else { After::Lives };
                }
                Ok(_) => return if dies { After::Dies } else { After::Lives },
                Err(now) => seen = now,
            }
        }
    }

    /// What waiters sleep on: an address, never followed.
    fn key(&self) -> usize {
        (&raw const self.state).addr()
    }
}
