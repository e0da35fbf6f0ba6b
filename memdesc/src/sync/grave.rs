//! Memory that was freed while a schedule runs.
//!
//! `shuttle` cannot see a freed box. So what is freed is marked (see `canary`)
//! and lies here until the schedule is over: whoever uses it after that finds
//! the mark, and not another's data or the allocator's.

use alloc::alloc::{Layout, dealloc};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ptr::NonNull;

std::thread_local! {
    static GRAVE: RefCell<Grave> = const { RefCell::new(Grave(Vec::new())) };
}

/// # Invariants
///
/// Each pointer is to memory of that layout from the global allocator, and
/// nobody but threads of the schedule that runs uses it.
struct Grave(Vec<(NonNull<()>, Layout)>);

impl Drop for Grave {
    fn drop(&mut self) {
        for (memory, layout) in self.0.drain(..) {
            // SAFETY: ours by the invariant, and the schedule is over.
            unsafe { dealloc(memory.as_ptr().cast(), layout) };
        }
    }
}

/// Keeps freed memory until the next [`clear`] of this thread of the system.
///
/// # Safety
///
/// `memory` is of this layout and from the global allocator, the caller gives
/// it up, and only threads of the schedule that runs still look at it.
pub(crate) unsafe fn bury(memory: NonNull<()>, layout: Layout) {
    // INVARIANT: promised by the caller.
    GRAVE.with_borrow_mut(|grave| grave.0.push((memory, layout)));
}

/// Gives the memory back.
///
/// # Safety
///
/// No schedule runs on this thread of the system, and nothing of an earlier one
/// is used any more.
pub unsafe fn clear() {
    GRAVE.with_borrow_mut(|grave| drop(core::mem::replace(grave, Grave(Vec::new()))));
}
