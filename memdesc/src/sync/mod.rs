//! The only door to atomics, cells, locks, threads and barriers.
//!
//! Everything concurrent in the workspace imports from here, so that a model
//! (`cfg(loom)`) or a scheduler (`cfg(shuttle)`) sees each access. Three faces:
//! std (or `core` without the `std` feature), loom and shuttle. The switches are
//! these two alone, never `cfg(test)`: models build us as libraries.
//!
//! | face    | atomics                          | everything else          | blind to            |
//! |---------|----------------------------------|--------------------------|---------------------|
//! | loom    | loom's                           | loom's                   | what is too large   |
//! | shuttle | `core`'s, a choice before each   | shuttle's; plain cells   | orderings, and races on cells |
//!
//! Not part of the stable interface.

pub mod barrier;
#[cfg(all(feature = "count", not(loom)))]
pub mod count;
#[cfg(shuttle)]
pub mod grave;
pub mod parking;
pub mod seed;
#[cfg(shuttle)]
pub mod stepped;
mod try_arc;
mod unique;

/// Reference counting outside the models' view: it is the library's, not ours.
pub use alloc::sync::{Arc, Weak};

/// Atomics and fences.
pub mod atomic {
    #[cfg(all(feature = "count", not(any(loom, shuttle))))]
    pub use super::count::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};
    #[cfg(shuttle)]
    pub use super::stepped::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};
    #[cfg(all(not(feature = "count"), not(any(loom, shuttle))))]
    pub use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};
    #[cfg(not(loom))]
    pub use core::sync::atomic::{Ordering, compiler_fence, fence};
    #[cfg(loom)]
    pub use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

/// Atomics on lines that one thread writes and others hardly ever read, or that
/// signal handlers write (counting allocates): the same types, but never counted.
pub mod own {
    #[cfg(shuttle)]
    pub use super::stepped::AtomicU64;
    #[cfg(not(any(loom, shuttle)))]
    pub use core::sync::atomic::AtomicU64;
    #[cfg(loom)]
    pub use loom::sync::atomic::AtomicU64;
}

/// Threads and spinning.
pub mod thread {
    #[cfg(loom)]
    pub use loom::thread::{JoinHandle, spawn, yield_now};
    #[cfg(shuttle)]
    pub use shuttle::thread::{JoinHandle, spawn, yield_now};
    #[cfg(all(not(any(loom, shuttle)), feature = "std"))]
    pub use std::thread::{JoinHandle, spawn, yield_now};

    /// Without threads of our own, spin.
    #[cfg(all(not(any(loom, shuttle)), not(feature = "std")))]
    pub fn yield_now() {
        core::hint::spin_loop();
    }

    #[cfg(loom)]
    pub use loom::thread::ThreadId as Token;
    #[cfg(shuttle)]
    pub use shuttle::thread::ThreadId as Token;
    #[cfg(all(not(any(loom, shuttle)), feature = "std"))]
    pub use std::thread::ThreadId as Token;

    /// Threads have no names here.
    #[cfg(all(not(any(loom, shuttle)), not(feature = "std")))]
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Token {}

    /// What tells this thread from the others, where that is known.
    pub fn token() -> Option<Token> {
        #[cfg(loom)]
        let token = Some(loom::thread::current().id());
        #[cfg(shuttle)]
        let token = Some(shuttle::thread::current().id());
        #[cfg(all(not(any(loom, shuttle)), feature = "std"))]
        let token = Some(std::thread::current().id());
        #[cfg(all(not(any(loom, shuttle)), not(feature = "std")))]
        let token = None;
        token
    }
}

/// Cells with `with` and `with_mut` only, as loom has them.
pub mod cell {
    #[cfg(loom)]
    pub use loom::cell::UnsafeCell;

    /// A cell whose uses loom can see.
    #[cfg(not(loom))]
    #[derive(Debug, Default)]
    #[repr(transparent)]
    pub struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    #[cfg(not(loom))]
    impl<T> UnsafeCell<T> {
        /// A cell around `value`.
        pub const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        /// Hands the pointer to `use_it` for reading.
        #[inline]
        pub fn with<R>(&self, use_it: impl FnOnce(*const T) -> R) -> R {
            use_it(self.0.get())
        }

        /// Hands the pointer to `use_it` for writing.
        #[inline]
        pub fn with_mut<R>(&self, use_it: impl FnOnce(*mut T) -> R) -> R {
            use_it(self.0.get())
        }
    }
}

/// A key of what each thread has for itself.
#[cfg(loom)]
pub use loom::thread_local;
pub use mutex::{Mutex, MutexGuard};
/// A key of what each thread has for itself.
#[cfg(shuttle)]
pub use shuttle::thread_local;
/// A key of what each thread has for itself.
#[cfg(all(feature = "std", not(any(loom, shuttle))))]
pub use std::thread_local;
pub use try_arc::TryArc;
pub use unique::{unique_id, unique_wide_id};

#[cfg(loom)]
mod mutex {
    //! loom's mutex without the poison: a panicking model has failed anyway.

    pub use loom::sync::MutexGuard;

    /// A blocking lock.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// A free lock around `value`.
        pub fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        /// Waits until the lock is ours.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        /// Takes the lock if it is free.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}

#[cfg(shuttle)]
mod mutex {
    //! shuttle's mutex without the poison: a schedule that panics has failed.

    pub use shuttle::sync::MutexGuard;

    /// A blocking lock.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// A free lock around `value`.
        pub const fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        /// Waits until the lock is ours.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        /// Takes the lock if it is free.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }

        /// The value: nobody else can be here.
        pub fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        /// The value, out of the lock.
        pub fn into_inner(self) -> T {
            self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }
}

#[cfg(all(not(any(loom, shuttle)), feature = "std"))]
mod mutex {
    pub use parking_lot::{Mutex, MutexGuard};
}

#[cfg(all(not(any(loom, shuttle)), not(feature = "std")))]
mod mutex {
    //! A spinning lock for builds without an operating system.

    use core::cell::UnsafeCell;
    use core::ops::{Deref, DerefMut};
    use core::sync::atomic::{AtomicBool, Ordering};

    /// A spinning lock.
    #[derive(Debug, Default)]
    pub struct Mutex<T> {
        held: AtomicBool,
        value: UnsafeCell<T>,
    }

    // SAFETY: the lock gives out one exclusive reference at a time.
    unsafe impl<T: Send> Send for Mutex<T> {}
    // SAFETY: as above.
    unsafe impl<T: Send> Sync for Mutex<T> {}

    impl<T> Mutex<T> {
        /// A free lock around `value`.
        pub const fn new(value: T) -> Self {
            Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
        }

        /// Spins until the lock is ours.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            loop {
                if let Some(guard) = self.try_lock() {
                    return guard;
                }
                core::hint::spin_loop();
            }
        }

        /// Takes the lock if it is free.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            // Acquire pairs with the guard's Release.
            let was_held = self.held.swap(true, Ordering::Acquire);
            // Lazily: a guard made and dropped would open the holder's lock.
            (!was_held).then(|| MutexGuard { lock: self })
        }

        /// The value: nobody else can be here.
        pub fn get_mut(&mut self) -> &mut T {
            self.value.get_mut()
        }

        /// The value, out of the lock.
        pub fn into_inner(self) -> T {
            self.value.into_inner()
        }
    }

    /// The lock, held.
    ///
    /// # Invariants
    ///
    /// `lock.held` was set by whoever made this guard.
    #[derive(Debug)]
    pub struct MutexGuard<'a, T> {
        lock: &'a Mutex<T>,
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            // SAFETY: the lock is held, so no exclusive reference exists.
            unsafe { &*self.lock.value.get() }
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: the lock is held by this guard, which is borrowed mutably.
            unsafe { &mut *self.lock.value.get() }
        }
    }

    impl<T> Drop for MutexGuard<'_, T> {
        fn drop(&mut self) {
            // Pairs with the swap in `try_lock`.
            self.lock.held.store(false, Ordering::Release);
        }
    }
}
