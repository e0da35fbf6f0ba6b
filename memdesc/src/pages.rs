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
//! - A [`Page`], or a [`PageArray`], exists only in memory that it has to itself. Where pages are the
//!   system's (`std`, Linux, pages of 4 KiB) it fills one; elsewhere it is an
//!   ordinary box, and giving back only stores zeros.
//! - A page of the pool is all zero.
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
//! a system call. Address space of pages that were dropped is kept for the next.

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

impl<T: fmt::Debug> fmt::Debug for Page<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Page").field(&self.0).finish()
    }
}

#[cfg(all(feature = "std", target_os = "linux", not(any(loom, shuttle)), not(miri)))]
mod system {
    //! The pool of pages, mapped a block at a time.

    use super::PAGE;
    use crate::sync::Mutex;
    use alloc::vec::Vec;
    use core::ptr::{self, NonNull};
    use rustix::mm::Advice::{self, LinuxHugepage};
    use rustix::mm::{MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

    /// Pages of the first block and of the largest.
    const FIRST: usize = 16;
    const LARGEST: usize = 4096;
    /// Pages of a block that asks for huge pages: by then the pool is as large
    /// itself, and look-ups all over it cost a walk of the page tables each (85 ns
    /// against 54 for a random free in 1 TiB).
    const HUGE: usize = 512;

    /// Pages that nobody has.
    struct Pool {
        /// All of them zero. Has room for every page there is.
        free: Vec<NonNull<u8>>,
        made: usize,
    }

    // SAFETY: the pages are nobody's.
    unsafe impl Send for Pool {}

    static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), made: 0 });

    /// Whether pages are as large as we take them to be.
    #[inline]
    pub(super) fn has_pages() -> bool {
        cfg!(target_arch = "x86_64") || rustix::param::page_size() == PAGE
    }

    pub(super) fn take() -> Option<NonNull<u8>> {
        let mut pool = POOL.lock();
        if pool.free.is_empty() {
            grow(&mut pool)?;
        }
        pool.free.pop()
    }

    pub(super) fn pool_pages() -> (usize, usize) {
        let pool = POOL.lock();
        (pool.made - pool.free.len(), pool.made)
    }

    fn grow(pool: &mut Pool) -> Option<()> {
        let count = pool.made.clamp(FIRST, LARGEST);
        let room = pool.made + count - pool.free.len();
        pool.free.try_reserve(room).ok()?;
        let block = map(count * PAGE)?;
        if count >= HUGE {
            ask_for_huge(block, count * PAGE);
        }
        pool.made += count;
        for at in (0..count).rev() {
            // SAFETY: within the block just mapped.
            pool.free.push(unsafe { block.add(at * PAGE) });
        }
        Some(())
    }

    /// Private, anonymous pages for so many bytes: zero, and no memory until they
    /// are written.
    pub(super) fn map(bytes: usize) -> Option<NonNull<u8>> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping where the system likes, over nothing.
        let mapped = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE) };
        NonNull::new(mapped.ok()?.cast())
    }

    /// Undoes [`map`].
    pub(super) fn unmap(first: NonNull<u8>, bytes: usize) {
        // SAFETY: mapped for its owner alone, who is being dropped.
        let undone = unsafe { munmap(first.as_ptr().cast(), bytes) };
        debug_assert!(undone.is_ok(), "what was mapped can be unmapped");
    }

    /// Hints that they be huge ones.
    pub(super) fn ask_for_huge(first: NonNull<u8>, bytes: usize) {
        // SAFETY: pages that we have mapped; what they read as stays.
        let hint = unsafe { madvise(first.as_ptr().cast(), bytes, LinuxHugepage) };
        // Pages of the ordinary size are as good, and slower.
        let _refused = hint.is_err();
    }

    /// Takes a page back that nobody uses any more.
    pub(super) fn give(page: NonNull<u8>) {
        if !give_back(page, PAGE) {
            // SAFETY: a page of the pool, whose owner has given it up.
            unsafe { page.write_bytes(0, PAGE) };
        }
        // There is room for every page: no allocation.
        POOL.lock().free.push(page);
    }

    /// Lets the system have the memory of pages; whether it took it.
    pub(super) fn give_back(first: NonNull<u8>, bytes: usize) -> bool {
        // SAFETY: whole pages of a private anonymous mapping of ours, which hold
        // `Blank` values or nothing: that all of it becomes zero while others
        // look is what such a type allows. See the module.
        unsafe { madvise(first.as_ptr().cast(), bytes, Advice::LinuxDontNeed) }.is_ok()
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
