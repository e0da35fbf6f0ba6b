//! A value that goes away and comes back: one thread sends it off, another
//! brings it back when it is done, and whichever of the two lets go last has it.
//!
//! What an `Arc` would do, but for two ends only and without a fence.
//!
//! # Picture
//!
//! ```text
//!            part                    bring                 take
//!  Whole ----------->  Far  --------------------->  AWAY -> BACK  -----> Whole
//!                      Near ------ leave ---------------> LEFT           (near end's)
//!                                                    bring -----> Whole  (far end's)
//! ```
//!
//! # States and edges
//!
//! | state | the far end      | the near end | leaves by                      |
//! |-------|------------------|--------------|--------------------------------|
//! | AWAY  | may look at it   | waits        | `bring` to BACK, `leave` to LEFT |
//! | BACK  | is gone          | waits        | `take`; `leave`: the value is the near end's |
//! | LEFT  | may look at it   | is gone      | `bring`: the value is the far end's |
//!
//! # What always holds
//!
//! The memory is reached by a [`Whole`], alone, or by one far and one near end.
//! Only the far end looks at the value meanwhile.
//!
//! # Sharing and cost
//!
//! One RMW to bring it back; a load to ask whether it is. Who drops an end
//! instead leaks the value, if the other does not have it.

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::{seeded, try_box};
use alloc::boxed::Box;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

const AWAY: u32 = 0;
const BACK: u32 = 1;
const LEFT: u32 = 2;

struct Joint<T> {
    state: AtomicU32,
    value: T,
}

/// The value with both its ends.
#[doc(hidden)]
pub struct Whole<T>(Box<Joint<T>>);

/// The end that goes away with the value.
///
/// # Invariants
///
/// The joint is live: it is freed through the [`Whole`] of whoever lets go last,
/// and this end has not let go.
#[doc(hidden)]
#[must_use = "bring it back"]
pub struct Far<T>(NonNull<Joint<T>>);

/// The end that waits.
///
/// # Invariants
///
/// As those of [`Far`], of this end.
#[doc(hidden)]
#[must_use = "take the value, or leave it"]
pub struct Near<T>(NonNull<Joint<T>>);

// SAFETY: the value goes along, and nobody else has it meanwhile.
unsafe impl<T: Send> Send for Far<T> {}
// SAFETY: the value may be taken through it, and that is all.
unsafe impl<T: Send> Send for Near<T> {}

impl<T> Whole<T> {
    /// A value with its ends, `None` when memory is out.
    pub fn new(value: T) -> Option<Self> {
        try_box(Joint { state: AtomicU32::new(AWAY), value }).map(Self)
    }

    /// Sends it off.
    pub fn part(self) -> (Near<T>, Far<T>) {
        let joint = NonNull::from(Box::leak(self.0));
        // INVARIANT: live, and both are new.
        (Near(joint), Far(joint))
    }

    /// Both ends again.
    ///
    /// # Safety
    ///
    /// `joint` came from [`part`](Self::part), one end has let go, and the other
    /// is the caller's, who gives it up here.
    unsafe fn again(joint: NonNull<Joint<T>>) -> Self {
        // SAFETY: a box's, and nobody else has it: the promise.
        let mut joint = unsafe { Box::from_raw(joint.as_ptr()) };
        // Nobody else looks: a fresh one does for models as well.
        joint.state = AtomicU32::new(AWAY);
        Self(joint)
    }
}

impl<T> Far<T> {
    /// Gives the value to the near end, or returns it if that has left.
    pub fn bring(self) -> Option<Whole<T>> {
        // SAFETY: live, by the invariant.
        let state = unsafe { &(*self.0.as_ptr()).state };
        // `Release` pairs with `take` and `leave`: what we did with the value
        // comes before what the near end does. `Acquire` pairs with `leave`.
        let before = state.swap(BACK, crate::weakened!("brought back relaxed", AcqRel));
        if before != LEFT {
            return None;
        }
        // SAFETY: the near end has let go, and this is our end.
        Some(unsafe { Whole::again(self.0) })
    }
}

impl<T> Deref for Far<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: live, by the invariant; the near end does not look at it.
        unsafe { &(*self.0.as_ptr()).value }
    }
}

impl<T> Near<T> {
    /// The value, if it is back.
    pub fn take(self) -> Result<Whole<T>, Self> {
        // SAFETY: live, by the invariant.
        let state = unsafe { &(*self.0.as_ptr()).state };
        // `Acquire` pairs with `bring`.
        if state.load(crate::weakened!("taken back relaxed", Acquire)) != BACK {
            return Err(self);
        }
        // SAFETY: the far end has let go, and this is our end.
        Ok(unsafe { Whole::again(self.0) })
    }

    /// Waits no more: returns the value if it is back, and leaves it to the far
    /// end if not.
    pub fn leave(self) -> Option<Whole<T>> {
        // SAFETY: live, by the invariant.
        let state = unsafe { &(*self.0.as_ptr()).state };
        if seeded!("left without a look") {
            state.store(LEFT, Ordering::Release);
            return None;
        }
        // `Acquire` pairs with `bring`. `Release` is for the memory: our last look
        // at it comes before the far end frees it.
        if state.swap(LEFT, crate::weakened!("left relaxed", AcqRel)) != BACK {
            return None;
        }
        // SAFETY: the far end has let go, and this is our end.
        Some(unsafe { Whole::again(self.0) })
    }
}

impl<T> Deref for Whole<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> DerefMut for Whole<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.value
    }
}

impl<T> fmt::Debug for Whole<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Whole")
    }
}

impl<T> fmt::Debug for Far<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Far")
    }
}

impl<T> fmt::Debug for Near<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Near")
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_is_brought_back_can_be_taken() {
        let (near, far) = Whole::new(7).unwrap().part();
        let near = near.take().unwrap_err();
        assert_eq!(*far, 7);
        assert!(far.bring().is_none(), "the near end has it");
        let mut whole = near.take().unwrap();
        *whole += 1;
        // And once more with the same memory.
        let (near, far) = whole.part();
        assert!(far.bring().is_none());
        assert_eq!(near.leave().map(|whole| *whole), Some(8));
    }

    #[test]
    fn what_was_left_is_the_far_ends() {
        let (near, far) = Whole::new(7).unwrap().part();
        assert!(near.leave().is_none());
        assert_eq!(far.bring().map(|whole| *whole), Some(7));
    }
}
