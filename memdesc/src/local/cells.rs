//! Memory for cells: what is free and nearest comes first.
//!
//! ```text
//!  taken from   loaded magazine, previous one, bags that have come back, depot
//!  given to     magazines, and through them the depot
//! ```
//!
//! Where the thread's own cannot be had, the depot alone.

use super::{AWAY, Local, with};
use crate::cell::TypeInfo;
use crate::dead::Bag;
use crate::parted::Whole;
#[cfg(not(shuttle))]
use crate::slab::{self, Class};
#[cfg(not(shuttle))]
use core::ptr;
use core::ptr::NonNull;

/// Memory for a cell of a type; `None` when it is out.
#[cfg(not(shuttle))]
#[inline]
pub(crate) fn take_cell(class: Class) -> Option<NonNull<()>> {
    match with(|local| local.take_cell(class)) {
        Some(cell) => cell,
        None => slab::take(class),
    }
}

/// Takes memory back.
///
/// # Safety
///
/// `cell` came from [`take_cell`] for the same class, and is not used again.
#[cfg(not(shuttle))]
#[inline]
pub(crate) unsafe fn give_cell(class: Class, cell: NonNull<()>) {
    // SAFETY: promised by the caller.
    let given = with(|local| unsafe { local.magazines[class.index()].give(class, cell) });
    if given.is_none() {
        // SAFETY: as above.
        unsafe { slab::give(class, cell) };
    }
}

/// Gives the cells of a bag back, which are free now, and whose thread does not
/// wait for them.
///
/// # Safety
///
/// Nobody uses the cells, now or later, and their bodies have been dropped.
#[cold]
pub(crate) unsafe fn give_cells(bag: Whole<Bag>) {
    let mut bag = Some(bag);
    with(|local| {
        let Some(bag) = bag.take() else { return };
        // SAFETY: promised by the caller.
        unsafe { local.give_cells(bag) };
    });
    let Some(bag) = bag else { return };
    for &(cell, info) in bag.cells() {
        // SAFETY: free, by the promise, and not given back above.
        unsafe { crate::cell::give_memory(cell, info) };
    }
}

impl Local {
    /// Memory for a cell; `None` when it is out.
    #[cfg(not(shuttle))]
    #[inline(always)]
    pub(super) fn take_cell(&mut self, class: Class) -> Option<NonNull<()>> {
        match self.magazines[class.index()].take_loaded() {
            Some(cell) => Some(cell),
            None => self.take_cell_slow(class),
        }
    }

    /// The same when the loaded magazine is empty: what has come back is nearer
    /// than the depot.
    #[cfg(not(shuttle))]
    #[cold]
    fn take_cell_slow(&mut self, class: Class) -> Option<NonNull<()>> {
        if !self.magazines[class.index()].has_previous() {
            self.take_back();
        }
        self.magazines[class.index()].take(class)
    }

    /// Gives back the cells of all bags that have come back.
    #[cold]
    pub(super) fn take_back(&mut self) {
        loop {
            let oldest = &mut self.away[self.gone_since];
            let Some(near) = oldest.take() else { return };
            match near.take() {
                // SAFETY: what comes back is free, with its bodies dropped.
                Ok(bag) => unsafe { self.give_cells(bag) },
                Err(near) => {
                    *oldest = Some(near);
                    return;
                }
            }
            self.gone_since = (self.gone_since + 1) % AWAY;
        }
    }

    /// # Safety
    ///
    /// As the function of this name.
    pub(super) unsafe fn give_cells(&mut self, mut bag: Whole<Bag>) {
        let mut cells = bag.cells();
        while let Some((&(cell, info), rest)) = cells.split_first() {
            #[cfg(not(shuttle))]
            if let Some(class) = info.fixed_class() {
                // Most often all of them.
                let run = cells.iter().take_while(|cell| ptr::eq(cell.1, info));
                let mut count = 0;
                let magazines = &mut self.magazines[class.index()];
                for &(cell, _) in run {
                    // SAFETY: made of memory of this class, and free.
                    unsafe { magazines.give(class, cell) };
                    count += 1;
                }
                cells = &cells[count..];
                continue;
            }
            // SAFETY: free, by the promise.
            unsafe { self.give_memory(cell, info) };
            cells = rest;
        }
        bag.clear();
        self.spare.get_or_insert(bag);
    }

    /// # Safety
    ///
    /// As [`give_memory`](crate::cell::give_memory).
    unsafe fn give_memory(&mut self, cell: NonNull<()>, info: &'static TypeInfo) {
        #[cfg(not(shuttle))]
        // SAFETY: a cell of this type, whose memory goes below.
        if let Some(class) = unsafe { crate::cell::class_of(cell, info) } {
            // SAFETY: made of memory of this class, and free.
            return unsafe { self.magazines[class.index()].give(class, cell) };
        }
        // SAFETY: promised by the caller.
        unsafe { crate::cell::give_memory(cell, info) };
    }
}
