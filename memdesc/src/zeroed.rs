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
unsafe impl<T> Zeroed for crate::OnceSlot<T> {}

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
