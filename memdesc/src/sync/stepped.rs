//! Atomics that let other threads go first: the face for `shuttle`.
//!
//! Under `cfg(shuttle)` the shim's atomics are these: `core`'s, and before each
//! access a point at which the scheduler may go on with another thread. They
//! have `core`'s layout and constant constructors, so that everything around
//! them is as it ships. (shuttle's own are larger, and a table of them is not
//! zero bytes.)
//!
//! All threads of a schedule run on one thread of the system, one after the
//! other. So what is explored is *sequentially consistent*: orderings are
//! loom's and the sanitizers' business.

use core::sync::atomic::{self as plain, Ordering};

/// Lets the scheduler choose who goes on. Nothing outside of a schedule, and
/// nothing in one that has failed.
#[inline]
pub fn point() {
    if std::thread::panicking() || shuttle::current::try_get_current_task().is_none() {
        return;
    }
    // Of shuttle's public operations the one that does nothing else.
    shuttle::sync::atomic::AtomicBool::new(false).load(Ordering::SeqCst);
}

macro_rules! stepped {
    ($name:ident $(<$param:ident>)?, $value:ty, { $($method:ident)* }) => {
        /// The atomic of the same name, with a point before each access.
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

            /// As the original.
            pub fn load(&self, order: Ordering) -> $value {
                point();
                self.0.load(order)
            }

            /// As the original.
            pub fn store(&self, value: $value, order: Ordering) {
                point();
                self.0.store(value, order);
            }

            /// As the original.
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                point();
                self.0.swap(value, order)
            }

            /// As the original.
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                point();
                self.0.compare_exchange(current, new, success, failure)
            }

            /// As the original, but never failing for no reason: schedules must
            /// be repeatable.
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            /// As the original.
            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            /// As the original.
            pub fn into_inner(self) -> $value {
                self.0.into_inner()
            }

            $(
                /// As the original.
                pub fn $method(&self, value: $value, order: Ordering) -> $value {
                    point();
                    self.0.$method(value, order)
                }
            )*
        }
    };
}

stepped!(AtomicU64, u64, { fetch_add fetch_sub fetch_or fetch_and fetch_xor fetch_max fetch_min });
stepped!(AtomicU32, u32, { fetch_add fetch_sub fetch_or fetch_and fetch_xor fetch_max fetch_min });
stepped!(AtomicUsize, usize, { fetch_add fetch_sub fetch_or fetch_and fetch_max fetch_min });
stepped!(AtomicBool, bool, { fetch_or fetch_and });
stepped!(AtomicPtr<T>, *mut T, {});
