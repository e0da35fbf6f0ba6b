//! Boxes of zeroed memory, fallibly.
//!
//! Tables of words are large and mostly untouched: zeroed memory from the
//! system costs nothing until it is written, and running out of it is an error
//! that the caller can hand on.

use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};
use alloc::boxed::Box;

/// A type for which all-zero bytes are a value.
///
/// # Safety
///
/// - All-zero bytes are a valid `Self` with no invariant broken.
/// - Under `cfg(loom)`, where atomics are no plain bytes, `Default` gives that
///   same value.
pub unsafe trait Zeroed: Default {}

// SAFETY: zero is an integer, or null.
unsafe impl Zeroed for AtomicU64 {}
// SAFETY: as above.
unsafe impl Zeroed for AtomicU32 {}
// SAFETY: as above.
unsafe impl Zeroed for AtomicUsize {}
// SAFETY: all-zero bytes are the null pointer.
unsafe impl<T> Zeroed for AtomicPtr<T> {}
// SAFETY: a null pointer and a `PhantomData`: the empty slot.
unsafe impl<T, B: crate::Owns<T>> Zeroed for crate::OnceSlot<T, B> {}

/// A zeroed array, or `None` when memory is out.
///
/// ```
/// use potad_memdesc::{OnceSlot, zeroed_array};
///
/// let slots = zeroed_array::<OnceSlot<u32>, 512>().unwrap();
/// assert!(slots.iter().all(|slot| slot.get().is_none()));
/// ```
#[cfg(not(loom))]
pub fn zeroed_array<T: Zeroed, const N: usize>() -> Option<Box<[T; N]>> {
    let layout = core::alloc::Layout::new::<[T; N]>();
    if layout.size() == 0 {
        return None;
    }
    // SAFETY: the size is not zero.
    let fresh = unsafe { alloc::alloc::alloc_zeroed(layout) }.cast::<[T; N]>();
    if fresh.is_null() {
        return None;
    }
    // SAFETY: allocated just above by the global allocator with the layout of
    // `[T; N]`, and all zero, which `Zeroed` makes a value.
    Some(unsafe { Box::from_raw(fresh) })
}

/// A default array: atomics of a model are no plain bytes.
#[cfg(loom)]
pub fn zeroed_array<T: Zeroed, const N: usize>() -> Option<Box<[T; N]>> {
    Some(Box::new(core::array::from_fn(|_| T::default())))
}

/// A zeroed box, or `None` when memory is out.
///
/// ```
/// use potad_memdesc::{OnceSlot, zeroed_box};
///
/// assert_eq!(zeroed_box::<OnceSlot<u32>>().unwrap().get(), None);
/// ```
pub fn zeroed_box<T: Zeroed>() -> Option<Box<T>> {
    let one = zeroed_array::<T, 1>()?;
    // One element and its array are the same bytes.
    let raw = Box::into_raw(one).cast::<T>();
    // SAFETY: a box of an array of one has the layout of a box of the one.
    Some(unsafe { Box::from_raw(raw) })
}

/// A box, or `None` when memory is out.
///
/// ```
/// assert_eq!(potad_memdesc::try_box(7).as_deref(), Some(&7));
/// ```
pub fn try_box<T>(value: T) -> Option<Box<T>> {
    let layout = core::alloc::Layout::new::<T>();
    if layout.size() == 0 {
        return Some(Box::new(value));
    }
    // SAFETY: the size is not zero.
    let fresh = unsafe { alloc::alloc::alloc(layout) }.cast::<T>();
    if fresh.is_null() {
        return None;
    }
    // SAFETY: fresh memory of this very layout.
    unsafe { fresh.write(value) };
    // SAFETY: allocated by the global allocator with the layout of `T`, and
    // written just above.
    Some(unsafe { Box::from_raw(fresh) })
}

/// An array that starts on a cache line, so that eight words at a multiple of
/// eight are one line.
///
/// ```
/// use potad_memdesc::Lines;
/// use potad_memdesc::sync::atomic::{AtomicU64, Ordering};
///
/// let words = Lines::<AtomicU64, 512>::zeroed().unwrap();
/// assert!(std::ptr::from_ref(&words[8]).addr().is_multiple_of(64));
/// assert_eq!(words[511].load(Ordering::Relaxed), 0);
/// ```
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Lines<T, const N: usize>([T; N]);

impl<T, const N: usize> core::ops::Deref for Lines<T, N> {
    type Target = [T; N];

    #[inline(always)]
    fn deref(&self) -> &[T; N] {
        &self.0
    }
}

impl<T: Zeroed, const N: usize> Default for Lines<T, N> {
    fn default() -> Self {
        Self(core::array::from_fn(|_| T::default()))
    }
}

// SAFETY: an array of values for which zero bytes are a value, and padding.
unsafe impl<T: Zeroed, const N: usize> Zeroed for Lines<T, N> {}

impl<T: Zeroed, const N: usize> Lines<T, N> {
    /// A zeroed one, or `None` when memory is out.
    pub fn zeroed() -> Option<Box<Self>> {
        zeroed_box()
    }
}
