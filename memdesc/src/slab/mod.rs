//! The slab: where the memory of descriptors comes from.
//!
//! # Picture
//!
//! ```text
//!  thread     loaded  [c c c c . .]   previous [c c c c c c]      per class
//!                 |                       |
//!  depot          +---- 64 at a time -----+    [64][64][64]  loose [c c c]
//!                                               |
//!  system     chunks of 64 cells, given back when all 64 of one are in the depot
//! ```
//!
//! Cells of up to 512 bytes come from one of eight classes, 64 bytes apart;
//! larger ones, and whatever is aligned to more than a line, from the global
//! allocator.
//!
//! # What always holds
//!
//! A free cell is in one list: a thread's, or the depot's. Lists run through
//! the free cells themselves, so giving back allocates nothing and cannot
//! fail. What is free has no type: the classes of all homes share it, for
//! nobody looks at a cell once its grace period is over.
//!
//! # Sharing and cost
//!
//! A thread takes and gives by plain operations on its own lists; the depot's
//! lock is taken once per 64. A thread keeps at most 128 free cells of a class,
//! until it ends. When the depot has grown to twice what its last look left, it
//! looks for whole chunks and gives them back to the system.

mod depot;
mod list;

pub(crate) use depot::{give, give_list, take, take_list};
pub(crate) use list::List;

use core::alloc::Layout;

/// Cells of a magazine, and of a chunk.
pub(crate) const MAGAZINE: usize = 64;
/// Sizes that the slab serves.
pub(crate) const CLASSES: usize = 8;
/// What two neighbouring sizes differ by, and what cells are aligned to.
const STEP: usize = 64;

/// One of the sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class(u8);

impl Class {
    /// The class of cells of a layout, if the slab has it.
    pub(crate) const fn of(layout: Layout) -> Option<Self> {
        let (size, align) = (layout.size(), layout.align());
        if size == 0 || size > STEP * CLASSES || align > STEP {
            return None;
        }
        Some(Self((size.div_ceil(STEP) - 1) as u8))
    }

    /// The class of an index below [`CLASSES`].
    pub(crate) fn at(index: usize) -> Self {
        debug_assert!(index < CLASSES);
        Self(index as u8)
    }

    #[inline]
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Bytes of a cell.
    fn bytes(self) -> usize {
        (self.index() + 1) * STEP
    }

    /// The layout of a chunk.
    fn chunk(self) -> Layout {
        match Layout::from_size_align(self.bytes() * MAGAZINE, STEP) {
            Ok(layout) => layout,
            Err(_) => unreachable!("a chunk is 4 to 32 KiB"),
        }
    }
}

/// A thread's cells of one class: two magazines, so that a thread that takes
/// and gives around a boundary does not go to the depot each time.
#[derive(Debug)]
pub(crate) struct Magazines {
    loaded: List,
    /// Empty, or full, but for what a batch of another size left.
    previous: List,
}

impl Magazines {
    pub(crate) const EMPTY: Self = Self { loaded: List::EMPTY, previous: List::EMPTY };

    /// A cell of the magazine that is loaded.
    #[inline(always)]
    pub(crate) fn take_loaded(&mut self) -> Option<core::ptr::NonNull<()>> {
        self.loaded.pop()
    }

    /// Whether there is another magazine to be loaded.
    pub(crate) fn has_previous(&self) -> bool {
        !self.previous.is_empty()
    }

    /// A cell, or `None` when memory is out.
    #[cold]
    pub(crate) fn take(&mut self, class: Class) -> Option<core::ptr::NonNull<()>> {
        if let Some(cell) = self.loaded.pop() {
            return Some(cell);
        }
        core::mem::swap(&mut self.loaded, &mut self.previous);
        if self.loaded.is_empty() {
            self.loaded = take_list(class)?;
        }
        self.loaded.pop()
    }

    /// Takes a cell back.
    ///
    /// # Safety
    ///
    /// `cell` is one of `class` that was taken and is not used again.
    #[inline]
    pub(crate) unsafe fn give(&mut self, class: Class, cell: core::ptr::NonNull<()>) {
        if self.loaded.len() >= MAGAZINE {
            let full = core::mem::replace(&mut self.loaded, List::EMPTY);
            let before = core::mem::replace(&mut self.previous, full);
            give_list(class, before);
        }
        // SAFETY: free memory of at least a line, by the promise.
        unsafe { self.loaded.push(cell) };
    }

    /// Gives everything to the depot.
    pub(crate) fn flush(&mut self, class: Class) {
        give_list(class, core::mem::replace(&mut self.loaded, List::EMPTY));
        give_list(class, core::mem::replace(&mut self.previous, List::EMPTY));
    }
}
