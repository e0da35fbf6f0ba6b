//! Atomics that count: what an operation costs, exactly.
//!
//! With the feature `count` the shim's atomics are these. Each thread counts
//! its own read-modify-writes (a failed compare-exchange is one), heavy
//! barriers, and the distinct 64-byte lines that it wrote to. What a hand keeps
//! for itself goes through [`sync::own`](super::own) and is not counted: those
//! lines are no other thread's.
//!
//! For measuring only: everything is slower by the counting.
//!
//! They can also fail where no processor of ours does: a weak compare-exchange may
//! fail though the value is the expected one, and [`fail_weak`] makes it so.

use alloc::collections::BTreeSet;
use core::sync::atomic::{self as plain, Ordering};
use std::cell::{Cell, RefCell};

/// What a thread did since [`begin`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Atomic read-modify-writes.
    pub rmws: u64,
    /// The dear side of the asymmetric barrier.
    pub heavy_barriers: u64,
    /// Distinct lines of 64 bytes written.
    pub lines_written: u64,
}

std::thread_local! {
    static COUNTS: RefCell<(Counts, BTreeSet<usize>)> = RefCell::default();
}

/// Forgets what came before.
pub fn begin() {
    COUNTS.with_borrow_mut(|counts| *counts = Default::default());
}

/// What this thread did since [`begin`].
pub fn end() -> Counts {
    COUNTS.with_borrow(|(counts, lines)| Counts { lines_written: lines.len() as u64, ..*counts })
}

std::thread_local! {
    /// One weak compare-exchange in so many is to fail, 0: none; how many there
    /// were; and how many failed for that.
    static WEAK: Cell<(u64, u64, u64)> = const { Cell::new((0, 0, 0)) };
}

/// From now on, one in `every` weak compare-exchanges of this thread fails
/// whatever the value is; 0: none does. Returns how many did so far.
pub fn fail_weak(every: u64) -> u64 {
    let (_, _, failed) = WEAK.get();
    WEAK.set((every, 0, failed));
    failed
}

/// Whether this weak compare-exchange is to fail.
fn fails() -> bool {
    let (every, asked, failed) = WEAK.get();
    let asked = asked + 1;
    let fails = every != 0 && asked.is_multiple_of(every);
    WEAK.set((every, asked, failed + u64::from(fails)));
    fails
}

pub(super) fn heavy() {
    COUNTS.with_borrow_mut(|(counts, _)| counts.heavy_barriers += 1);
}

fn rmw(address: usize) {
    COUNTS.with_borrow_mut(|(counts, lines)| {
        counts.rmws += 1;
        lines.insert(address / 64);
    });
}

fn write(address: usize) {
    COUNTS.with_borrow_mut(|(_, lines)| lines.insert(address / 64));
}

macro_rules! counted {
    ($name:ident $(<$param:ident>)?, $value:ty, { $($extra:tt)* }) => {
        /// The atomic of the same name, counted.
        #[repr(transparent)]
        pub struct $name $(<$param>)? (plain::$name $(<$param>)?);

        // Not derived: that would ask it of what a pointer points at.
        impl $(<$param>)? core::fmt::Debug for $name $(<$param>)? {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $(<$param>)? Default for $name $(<$param>)? {
            fn default() -> Self {
                Self(Default::default())
            }
        }

        impl $(<$param>)? $name $(<$param>)? {
            /// An atomic around `value`.
            pub const fn new(value: $value) -> Self {
                Self(plain::$name::new(value))
            }

            fn address(&self) -> usize {
                core::ptr::from_ref(self).addr()
            }

            /// As the original.
            pub fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }

            /// As the original; one line written.
            pub fn store(&self, value: $value, order: Ordering) {
                write(self.address());
                self.0.store(value, order);
            }

            /// As the original; one RMW.
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                rmw(self.address());
                self.0.swap(value, order)
            }

            /// As the original; one RMW, whatever comes of it.
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                rmw(self.address());
                self.0.compare_exchange(current, new, success, failure)
            }

            /// As the original; one RMW, whatever comes of it, and see
            /// [`fail_weak`].
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                rmw(self.address());
                if fails() {
                    return Err(self.0.load(failure));
                }
                self.0.compare_exchange_weak(current, new, success, failure)
            }

            /// As the original.
            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            /// As the original.
            pub fn into_inner(self) -> $value {
                self.0.into_inner()
            }

            counted!(@ $value, $($extra)*);
        }
    };
    (@ $value:ty, $($method:ident)*) => {
        $(
            /// As the original; one RMW.
            pub fn $method(&self, value: $value, order: Ordering) -> $value {
                rmw(self.address());
                self.0.$method(value, order)
            }
        )*
    };
}

counted!(AtomicU64, u64, { fetch_add fetch_sub fetch_or fetch_and fetch_xor fetch_max fetch_min });
counted!(AtomicU32, u32, { fetch_add fetch_sub fetch_or fetch_and fetch_xor fetch_max fetch_min });
counted!(AtomicUsize, usize, { fetch_add fetch_sub fetch_or fetch_and fetch_max fetch_min });
counted!(AtomicBool, bool, { fetch_or fetch_and });
counted!(AtomicPtr<T>, *mut T, {});
