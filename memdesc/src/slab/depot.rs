//! The depot: free cells of all threads, by the 64.

use super::list::{List, Lists};
use super::{CLASSES, Class, MAGAZINE};
use crate::sync::Mutex;
use alloc::alloc::{alloc, dealloc};
use alloc::vec::Vec;
use core::ptr::NonNull;

/// Cells that the depot of a class keeps without looking for whole chunks.
const KEPT: usize = 64 * MAGAZINE;

static DEPOTS: [Mutex<Depot>; CLASSES] = [const { Mutex::new(Depot::EMPTY) }; CLASSES];

/// Free cells of one class.
///
/// # Invariants
///
/// `chunks` holds what was allocated with the class's chunk layout; every cell
/// ever given out lies in one of them.
struct Depot {
    /// Magazines, all full.
    full: Lists,
    /// Fewer than a magazine, or one being filled.
    loose: List,
    chunks: Vec<NonNull<()>>,
    /// Look for whole chunks when there are so many cells.
    trim_at: usize,
}

// SAFETY: free memory belongs to no thread.
unsafe impl Send for Depot {}

fn depot(class: Class) -> &'static Mutex<Depot> {
    &DEPOTS[class.index()]
}

/// Some cells, a magazine where there is one; `None` when memory is out.
pub(crate) fn take_list(class: Class) -> Option<List> {
    let mut depot = depot(class).lock();
    if let Some(full) = depot.full.pop() {
        return Some(full);
    }
    if !depot.loose.is_empty() {
        return Some(core::mem::replace(&mut depot.loose, List::EMPTY));
    }
    depot.make_chunk(class)
}

/// One cell, for a thread that keeps none.
pub(crate) fn take(class: Class) -> Option<NonNull<()>> {
    let mut depot = depot(class).lock();
    if depot.loose.is_empty() {
        depot.loose = match depot.full.pop() {
            Some(full) => full,
            None => depot.make_chunk(class)?,
        };
    }
    depot.loose.pop()
}

/// Takes cells back.
pub(crate) fn give_list(class: Class, mut list: List) {
    if list.is_empty() {
        return;
    }
    let mut depot = depot(class).lock();
    if list.len() == MAGAZINE {
        depot.full.push(list);
    } else {
        while let Some(cell) = list.pop() {
            // SAFETY: a free cell of the class, just taken from its list.
            unsafe { depot.push_loose(cell) };
        }
    }
    if depot.full.cells() >= depot.trim_at {
        depot.trim(class);
    }
}

/// Takes one cell back.
///
/// # Safety
///
/// `cell` is one of `class` that was taken and is not used again.
pub(crate) unsafe fn give(class: Class, cell: NonNull<()>) {
    // SAFETY: promised by the caller.
    unsafe { depot(class).lock().push_loose(cell) };
}

impl Depot {
    const EMPTY: Self =
        Self { full: Lists::EMPTY, loose: List::EMPTY, chunks: Vec::new(), trim_at: KEPT };

    /// # Safety
    ///
    /// `cell` is a free cell of this depot's class that nobody uses.
    unsafe fn push_loose(&mut self, cell: NonNull<()>) {
        if self.loose.len() >= MAGAZINE {
            self.full.push(core::mem::replace(&mut self.loose, List::EMPTY));
        }
        // SAFETY: free memory of at least a line, by the promise.
        unsafe { self.loose.push(cell) };
    }

    /// A new chunk, as a magazine.
    fn make_chunk(&mut self, class: Class) -> Option<List> {
        self.chunks.try_reserve(1).ok()?;
        // SAFETY: a chunk is not empty.
        let chunk = NonNull::new(unsafe { alloc(class.chunk()) })?.cast::<()>();
        // INVARIANT: allocated just above.
        self.chunks.push(chunk);
        let mut list = List::EMPTY;
        for at in (0..MAGAZINE).rev() {
            // SAFETY: a chunk is `MAGAZINE` cells long.
            let cell = unsafe { chunk.byte_add(at * class.bytes()) };
            // SAFETY: a cell of a fresh chunk.
            unsafe { list.push(cell) };
        }
        Some(list)
    }

    /// Gives those chunks back to the system all of whose cells are here.
    #[cold]
    fn trim(&mut self, class: Class) {
        self.chunks.sort_unstable();
        let mut free = Vec::new();
        if free.try_reserve_exact(self.chunks.len()).is_ok() {
            free.resize(self.chunks.len(), 0_usize);
            let mut cells = self.drain();
            while let Some(mut list) = cells.pop() {
                let mut counted = List::EMPTY;
                while let Some(cell) = list.pop() {
                    free[self.chunk_of(cell)] += 1;
                    // SAFETY: just taken from its list.
                    unsafe { counted.push(cell) };
                }
                self.full.push(counted);
            }
            self.release(class, &free);
        }
        self.trim_at = KEPT.max(2 * self.full.cells());
    }

    /// Everything that is full, taken out.
    fn drain(&mut self) -> Lists {
        core::mem::replace(&mut self.full, Lists::EMPTY)
    }

    /// The index of the chunk that holds a cell.
    fn chunk_of(&self, cell: NonNull<()>) -> usize {
        self.chunks.partition_point(|chunk| *chunk <= cell) - 1
    }

    /// Gives back the chunks that are wholly free, by the count of each.
    fn release(&mut self, class: Class, free: &[usize]) {
        if free.iter().all(|&free| free < MAGAZINE) {
            return;
        }
        let mut cells = self.drain();
        while let Some(mut list) = cells.pop() {
            while let Some(cell) = list.pop() {
                if free[self.chunk_of(cell)] == MAGAZINE {
                    continue;
                }
                // SAFETY: just taken from its list.
                unsafe { self.push_loose(cell) };
            }
        }
        let mut at = 0;
        self.chunks.retain(|chunk| {
            let whole = free[at] == MAGAZINE;
            at += 1;
            if whole {
                // SAFETY: allocated with this layout; all of its cells were
                // free, and were taken out of the lists just above.
                unsafe { dealloc(chunk.as_ptr().cast(), class.chunk()) };
            }
            !whole
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::Magazines;
    use super::*;
    use core::alloc::Layout;

    /// A class that nothing else in these tests uses.
    fn class() -> Class {
        let layout = Layout::from_size_align(7 * 64, 64).unwrap();
        Class::of(layout).unwrap()
    }

    #[test]
    fn classes_are_of_whole_lines() {
        let class = |size, align| Class::of(Layout::from_size_align(size, align).unwrap());
        assert_eq!(class(1, 1), class(64, 64));
        assert_eq!(class(65, 8).unwrap().bytes(), 128);
        assert_eq!(class(512, 64).unwrap().index(), CLASSES - 1);
        assert_eq!((class(513, 64), class(128, 128), class(0, 1)), (None, None, None));
    }

    #[test]
    fn cells_differ_and_whole_chunks_go_back() {
        let class = class();
        let mut mine = Magazines::EMPTY;
        let count = 4 * KEPT;
        let mut cells: Vec<_> = (0..count).map(|_| mine.take(class).unwrap()).collect();
        cells.sort_unstable();
        cells.windows(2).for_each(|pair| {
            assert!(pair[1].addr().get() - pair[0].addr().get() >= class.bytes());
        });
        assert_eq!(depot(class).lock().chunks.len(), count / MAGAZINE);
        // One of a chunk stays out: it keeps its chunk.
        let kept = cells.swap_remove(count / 2);
        for cell in cells {
            // SAFETY: taken above, and not used again.
            unsafe { mine.give(class, cell) };
        }
        mine.flush(class);
        let left = depot(class).lock().chunks.len();
        assert!((1..count / MAGAZINE / 2).contains(&left), "{left} chunks are left");
        // SAFETY: as above.
        unsafe { give(class, kept) };
        let mut lists: Vec<_> = (0..left).map(|_| take_list(class).unwrap()).collect();
        let free: usize = lists.iter().map(List::len).sum();
        assert!(free <= left * MAGAZINE);
        lists.drain(..).for_each(|list| give_list(class, list));
    }
}
