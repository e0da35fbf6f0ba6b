//! Free cells in a list that runs through themselves.

use crate::prefetch;
use core::ptr::{self, NonNull};

/// The first bytes of a free cell.
struct Free {
    /// The next cell of the same list.
    next: *mut Free,
    /// In the head of a list: the head of the next list.
    next_list: *mut Free,
    /// In the head of a list that is in a list of lists: its length.
    len: usize,
}

/// Some free cells of one class.
///
/// # Invariants
///
/// `head` leads through `len` free cells, which are this list's alone.
#[derive(Debug)]
pub(crate) struct List {
    head: *mut Free,
    len: usize,
}

// SAFETY: free memory belongs to no thread.
unsafe impl Send for List {}

impl List {
    pub(crate) const EMPTY: Self = Self { head: ptr::null_mut(), len: 0 };

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a cell.
    ///
    /// # Safety
    ///
    /// `cell` is at least a line of aligned memory that nobody else uses.
    #[inline]
    pub(crate) unsafe fn push(&mut self, cell: NonNull<()>) {
        let free = cell.cast::<Free>();
        let written = Free { next: self.head, next_list: ptr::null_mut(), len: 0 };
        // SAFETY: large enough, aligned and ours, by the promise.
        unsafe { free.write(written) };
        // INVARIANT: one more, and it was free.
        self.head = free.as_ptr();
        self.len += 1;
    }

    /// Takes the cell that was added last.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<NonNull<()>> {
        let head = NonNull::new(self.head)?;
        // SAFETY: a cell of this list, written when it was added.
        self.head = unsafe { head.as_ref() }.next;
        self.len -= 1;
        // The next one to be taken, which has come round since it was used.
        prefetch(self.head);
        Some(head.cast())
    }
}

/// Lists in a list.
///
/// # Invariants
///
/// `head` leads through the heads of lists that are this one's alone, each
/// with its length in it.
#[derive(Debug)]
pub(crate) struct Lists {
    head: *mut Free,
    cells: usize,
}

// SAFETY: as for `List`.
unsafe impl Send for Lists {}

impl Lists {
    pub(crate) const EMPTY: Self = Self { head: ptr::null_mut(), cells: 0 };

    /// Cells in all lists.
    pub(crate) fn cells(&self) -> usize {
        self.cells
    }

    pub(crate) fn push(&mut self, list: List) {
        let Some(mut head) = NonNull::new(list.head) else { return };
        // SAFETY: the first cell of the list, which is ours from here on.
        let free = unsafe { head.as_mut() };
        free.next_list = self.head;
        free.len = list.len;
        self.cells += list.len;
        self.head = head.as_ptr();
    }

    pub(crate) fn pop(&mut self) -> Option<List> {
        let head = NonNull::new(self.head)?;
        // SAFETY: the first cell of a list of ours.
        let free = unsafe { head.as_ref() };
        self.head = free.next_list;
        self.cells -= free.len;
        // INVARIANT: as it was when it was pushed.
        Some(List { head: head.as_ptr(), len: free.len })
    }
}
