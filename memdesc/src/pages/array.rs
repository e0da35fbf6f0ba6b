//! Arrays on pages of their own, of which any part can go back.
//!
//! # What always holds
//!
//! An array that a page could hold, or one where pages are not the system's, is an
//! ordinary box: of it nothing goes back, and giving back only stores zeros. Of one
//! on pages, those go back that the range fills; items that reach out of these are
//! set to zero one by one.
//!
//! # Cost
//!
//! Making and dropping one with pages, and giving a range of it back: a system call
//! each. It has no part in the pool.

use super::{Blank, PAGE, system};
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

/// An array on pages of its own, all zero at first; pages that were never
/// written take no memory. One that a page could hold is an ordinary box.
///
/// # Invariants
///
/// `first` is the first of `len` live items, this array's own: mapped, if it
/// [has pages](Self::has_pages), else a box of the global allocator.
pub struct PageArray<T: Blank> {
    first: NonNull<T>,
    len: usize,
}

// SAFETY: sending the array sends what it owns.
unsafe impl<T: Blank + Send> Send for PageArray<T> {}
// SAFETY: it gives out shared references to what it owns, and no others.
unsafe impl<T: Blank + Sync> Sync for PageArray<T> {}

impl<T: Blank> PageArray<T> {
    /// One of no items, which needs no memory.
    pub const fn empty() -> Self {
        // INVARIANT: no items.
        Self { first: NonNull::dangling(), len: 0 }
    }

    /// Whether an array of so many items is on pages of the system, whose memory can
    /// go back.
    pub fn would_have_pages(len: usize) -> bool {
        let is_large = size_of::<T>().saturating_mul(len) > PAGE;
        is_large && align_of::<T>() <= PAGE && system::has_pages()
    }

    /// Whether this one is.
    pub fn has_pages(&self) -> bool {
        Self::would_have_pages(self.len)
    }

    /// Asks for huge pages, if it has pages: for an array that is written all over,
    /// and that somebody looks into all over. Of one that is not it may take more
    /// memory than is written.
    pub fn ask_for_huge(&self) {
        if self.has_pages() {
            system::ask_for_huge(self.first.cast(), size_of::<T>() * self.len);
        }
    }

    /// A zeroed one of `len` items, or `None` when memory is out, or for none.
    ///
    /// ```
    /// use potad_memdesc::{Lines, PageArray};
    /// use potad_memdesc::sync::atomic::{AtomicU64, Ordering};
    ///
    /// let rows = PageArray::<Lines<AtomicU64, 8>>::zeroed(1000).unwrap();
    /// rows[100][3].store(7, Ordering::Relaxed);
    /// rows.give_back(64..128);
    /// assert_eq!(rows[100][3].load(Ordering::Relaxed), 0);
    /// ```
    pub fn zeroed(len: usize) -> Option<Self> {
        let bytes = size_of::<T>().checked_mul(len).filter(|&bytes| bytes != 0)?;
        if Self::would_have_pages(len) {
            // INVARIANT: mapped for us alone, and zero, which `Zeroed` makes
            // values.
            return system::map(bytes).map(|first| Self { first: first.cast(), len });
        }
        let mut items = alloc::vec::Vec::new();
        items.try_reserve_exact(len).ok()?;
        items.resize_with(len, T::default);
        let items = alloc::boxed::Box::into_raw(items.into_boxed_slice());
        // INVARIANT: a box of the global allocator, just made.
        NonNull::new(items.cast::<T>()).map(|first| Self { first, len })
    }

    /// The first item, for whoever keeps items by address.
    pub fn as_ptr(&self) -> NonNull<T> {
        self.first
    }

    /// Stores zero into every word of some items, and gives the memory of the
    /// pages that they fill to the system where that can be done; returns how
    /// many bytes that was. An empty range, or one that the array has not all
    /// of, is left alone.
    pub fn give_back(&self, items: core::ops::Range<usize>) -> usize {
        let Some(some) = self.get(items) else { return 0 };
        let range = some.as_ptr_range();
        let (first, end) =
            (range.start.addr().next_multiple_of(PAGE), range.end.addr() & !(PAGE - 1));
        if !self.has_pages() || first >= end {
            some.iter().for_each(T::blank);
            return 0;
        }
        let inside = |item: &&T| {
            let at = core::ptr::from_ref(*item).addr();
            first <= at && at + size_of::<T>() <= end
        };
        let pages = range.start.cast_mut().map_addr(|_| first).cast();
        let given = match NonNull::new(pages) {
            Some(pages) if system::give_back(pages, end - first) => end - first,
            _ => 0,
        };
        some.iter().filter(|item| given == 0 || !inside(item)).for_each(T::blank);
        given
    }
}

impl<T: Blank> Deref for PageArray<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` live items, by the invariant; only shared references are
        // made.
        unsafe { core::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T: Blank> Drop for PageArray<T> {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        if self.has_pages() {
            // Atomics need no drop.
            return system::unmap(self.first.cast(), size_of::<T>() * self.len);
        }
        let items = core::ptr::slice_from_raw_parts_mut(self.first.as_ptr(), self.len);
        // SAFETY: of the global allocator, and nobody uses it any more.
        drop(unsafe { alloc::boxed::Box::from_raw(items) });
    }
}

impl<T: Blank> fmt::Debug for PageArray<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PageArray({} items)", self.len)
    }
}
