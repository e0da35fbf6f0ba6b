//! Pages: tables whose memory goes back to the system while they stay.
//!
//! A table that is bound to its addresses for good cannot be freed when nothing
//! is in it any more: somebody may still look. But what it then holds is zeros,
//! and a page of zeros needs no memory. So a table of one page is kept on a page
//! of its own, and [`Page::give_back`] hands the memory to the system; whoever
//! looks, or writes, meets zeros.
//!
//! # What always holds
//!
//! A [`Page`], or a [`PageArray`], exists only in memory that it has to itself.
//! Where pages are the system's (`std`, Linux, pages of 4 KiB) it fills one;
//! elsewhere it is an ordinary box, and giving back only stores zeros.
//!
//! # Why giving back is safe, whoever looks at the same time
//!
//! Of a private anonymous mapping the system replaces the page as a whole: a
//! load finds the old page or a new one of zeros, and so does a
//! read-modify-write, which counts before or is lost. That is what a relaxed
//! store of zero into every word does, in no particular order, and it needs no
//! more than that: a [`Blank`] type is one of which every word may be set to
//! zero by anybody at any time. What a caller can break is its own bookkeeping,
//! as by storing zeros itself.
//!
//! # Sharing and cost
//!
//! Any thread. Making and dropping one takes a lock; dropping and giving back,
//! a system call.

mod array;
#[cfg(all(feature = "std", target_os = "linux", not(any(loom, shuttle)), not(miri)))]
mod system;

pub use array::PageArray;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::zeroed::{Lines, Zeroed};
use core::fmt;
use core::ops::Deref;
use core::ptr::NonNull;

/// A type of which every word may be set to zero by anybody at any time.
///
/// # Safety
///
/// - It is made of atomics alone, and no code relies on a value in them for
///   soundness: whatever they hold may turn to zero.
/// - `blank` stores zero into all of them.
pub unsafe trait Blank: Zeroed {
    /// Stores zero into every word.
    fn blank(&self);
}

// SAFETY: an integer, which means nothing to anybody here.
unsafe impl Blank for AtomicU64 {
    fn blank(&self) {
        // Relaxed: as the system does it.
        self.store(0, Ordering::Relaxed);
    }
}

// SAFETY: integers, which mean nothing to anybody here.
unsafe impl<const N: usize> Blank for Lines<AtomicU64, N> {
    fn blank(&self) {
        self.iter().for_each(Blank::blank);
    }
}

/// What lives on a page of its own.
///
/// # Invariants
///
/// Made by [`PageBox::zeroed`] alone, and never moved: it has the whole of its
/// page, if there are pages.
#[repr(transparent)]
pub struct Page<T>(T);

impl<T> Deref for Page<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Blank> Page<T> {
    /// Stores zero into every word, and gives the memory to the system where
    /// that can be done; whether it was. The next write takes memory again.
    ///
    /// ```
    /// use potad_memdesc::{Lines, PageBox};
    /// use potad_memdesc::sync::atomic::{AtomicU64, Ordering};
    ///
    /// let words = PageBox::<Lines<AtomicU64, 512>>::zeroed().unwrap();
    /// words[7].store(7, Ordering::Relaxed);
    /// words.give_back();
    /// assert_eq!(words[7].load(Ordering::Relaxed), 0);
    /// words[7].store(8, Ordering::Relaxed);
    /// assert_eq!(words[7].load(Ordering::Relaxed), 8);
    /// ```
    pub fn give_back(&self) -> bool {
        if Self::has_page() && system::give_back(NonNull::from(self).cast(), PAGE) {
            return true;
        }
        self.0.blank();
        false
    }

    /// Whether such a type fills a page of the system, whose memory can go back.
    #[must_use]
    pub fn has_page() -> bool {
        size_of::<T>() == PAGE && align_of::<T>() <= PAGE && system::has_pages()
    }
}

/// Pages of the pool that somebody has, and all that it has ever mapped: for
/// whoever looks for a leak. Zeros where there is no pool.
#[doc(hidden)]
pub fn pool_pages() -> (usize, usize) {
    system::pool_pages()
}

/// Bytes of a page. Systems with others make do with boxes.
const PAGE: usize = 4096;

/// An owned [`Page`].
///
/// # Invariants
///
/// `page` is live and this box's own: of the pool if `Page::<T>::has_page()`,
/// else of the global allocator.
pub struct PageBox<T: Blank> {
    page: NonNull<Page<T>>,
}

// SAFETY: sending the box sends what it owns.
unsafe impl<T: Blank + Send> Send for PageBox<T> {}
// SAFETY: it gives out shared references to what it owns, and no others.
unsafe impl<T: Blank + Sync> Sync for PageBox<T> {}

impl<T: Blank> PageBox<T> {
    /// A zeroed one, or `None` when memory is out.
    pub fn zeroed() -> Option<Self> {
        if Page::<T>::has_page() {
            // INVARIANT: a page of the pool, given to us alone; it is all zero,
            // which `Zeroed` makes a value.
            return system::take().map(|page| Self { page: page.cast() });
        }
        let [one] = *crate::zeroed_array::<T, 1>()?;
        let boxed = crate::try_box(Page(one))?;
        // INVARIANT: of the global allocator, just made.
        NonNull::new(alloc::boxed::Box::into_raw(boxed)).map(|page| Self { page })
    }

    /// Gives up the box for its address.
    pub(crate) fn into_raw(self) -> *mut Page<T> {
        let page = self.page.as_ptr();
        core::mem::forget(self);
        page
    }

    /// The box of an address.
    ///
    /// # Safety
    ///
    /// `page` came from [`into_raw`](Self::into_raw), and is given up here.
    pub(crate) unsafe fn from_raw(page: *mut Page<T>) -> Self {
        // SAFETY: `into_raw` gives an address that is not null.
        // INVARIANT: as it was when it was given up.
        Self { page: unsafe { NonNull::new_unchecked(page) } }
    }
}

impl<T: Blank> Deref for PageBox<T> {
    type Target = Page<T>;

    #[inline(always)]
    fn deref(&self) -> &Page<T> {
        // SAFETY: live, and only shared references are made.
        unsafe { self.page.as_ref() }
    }
}

impl<T: Blank> Drop for PageBox<T> {
    fn drop(&mut self) {
        if Page::<T>::has_page() {
            // Integers need no drop.
            system::give(self.page.cast());
            return;
        }
        // SAFETY: of the global allocator, and nobody uses it any more.
        drop(unsafe { alloc::boxed::Box::from_raw(self.page.as_ptr()) });
    }
}

impl<T: Blank + fmt::Debug> fmt::Debug for PageBox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PageBox").field(&self.0).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Page<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Page").field(&self.0).finish()
    }
}

#[cfg(not(all(feature = "std", target_os = "linux", not(any(loom, shuttle)), not(miri))))]
mod system {
    //! No pages.

    use core::ptr::NonNull;

    pub(super) const fn has_pages() -> bool {
        false
    }

    pub(super) fn take() -> Option<NonNull<u8>> {
        None
    }

    pub(super) const fn pool_pages() -> (usize, usize) {
        (0, 0)
    }

    pub(super) fn give(_page: NonNull<u8>) {}

    pub(super) fn give_back(_first: NonNull<u8>, _bytes: usize) -> bool {
        false
    }

    pub(super) fn ask_for_huge(_first: NonNull<u8>, _bytes: usize) {}

    pub(super) fn map(_bytes: usize) -> Option<NonNull<u8>> {
        None
    }

    pub(super) fn unmap(_first: NonNull<u8>, _bytes: usize) {}
}
