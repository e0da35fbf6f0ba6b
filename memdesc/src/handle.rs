//! The handle: what references, locks and peeks have in common.
//!
//! # What always holds
//!
//! Head and body are reached by the pointer of the whole allocation, each as a
//! field of it. Whoever gives up the last thing that kept a descriptor tears it
//! down: one edge of the header says who that is.

use crate::anchor::{Anchor, Unit};
use crate::cell::{Cell, Head, TypeInfo, tail_of};
use crate::header::{After, Header};
use crate::{Dead, Descriptor, Home, Kind, Word, seeded};
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// A descriptor word that something keeps readable: a pin, a reference, the
/// lock, or that it is dead and not yet retracted. The common ground of all
/// handles; 8 bytes.
///
/// # Invariants
///
/// `word` is a descriptor word without poison hint. It names a cell that was
/// made by [`make`](crate::cell::make) with home `H` and a body of the kind's type, and which is
/// not freed while this value is in use.
pub(crate) struct Handle<H> {
    word: NonNull<()>,
    home: PhantomData<fn(H) -> H>,
}

// SAFETY: a handle gives out `&H` and, through its wrappers, `&T`; both are
// `Send + Sync` by `Home` and `Descriptor`, and may be dropped in any thread.
unsafe impl<H: Home> Send for Handle<H> {}
// SAFETY: as above.
unsafe impl<H: Home> Sync for Handle<H> {}

impl<H: Home> Handle<H> {
    /// The handle for a word; `None` for one that names no descriptor.
    ///
    /// # Safety
    ///
    /// - A descriptor word, if it is one, names a cell that was made by
    ///   [`make`](crate::cell::make) with home `H` and a body of the kind's type.
    /// - The cell is not freed while the handle is in use.
    #[inline]
    pub(crate) unsafe fn new(word: Word) -> Option<Self> {
        word.descriptor_kind()?;
        // INVARIANT: the two promises above.
        Some(Self { word: word.unpoisoned().tagged()?, home: PhantomData })
    }

    /// The handle for a cell by its kind.
    ///
    /// # Safety
    ///
    /// - `cell` was made by [`make`](crate::cell::make) with home `H` and a body of
    ///   the kind's type.
    /// - It is not freed while the handle is in use.
    #[inline]
    pub(crate) unsafe fn of_cell(cell: NonNull<()>, kind: Kind) -> Self {
        // INVARIANT: the two promises above.
        Self { word: Word::tag(cell, kind), home: PhantomData }
    }

    /// Another handle on the same cell.
    ///
    /// # Safety
    ///
    /// The cell is not freed while the new handle is in use.
    #[inline]
    pub(crate) unsafe fn again(&self) -> Self {
        Self { word: self.word, home: PhantomData }
    }

    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word::of_tagged(self.word)
    }

    #[inline]
    fn head(&self) -> *mut Head<H> {
        self.word().cell().cast()
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        #[cfg(any(loom, shuttle))]
        {
            // SAFETY: the memory of a cell is never given back under a model.
            unsafe { &(*self.head()).canary }.check();
        }
        // SAFETY: not freed while this handle is in use; only shared
        // references to a header are ever made.
        unsafe { &(*self.head()).header }
    }

    /// The way to the home: written before the cell is published, never after.
    #[inline]
    fn anchor(&self) -> NonNull<Anchor<H>> {
        #[cfg(any(loom, shuttle))]
        self.header();
        // SAFETY: as in `header`.
        unsafe { (*self.head()).anchor }
    }

    /// The items behind the body; none if they are of another type.
    ///
    /// # Safety
    ///
    /// - The body is what `info` says.
    /// - The cell is not freed for as long as `'a`.
    pub(crate) unsafe fn tail<'a, E: 'static>(&self, info: &'static TypeInfo) -> &'a [E] {
        #[cfg(any(loom, shuttle))]
        self.header();
        match NonNull::new(self.word().cell()) {
            // SAFETY: promised by the caller.
            Some(cell) => unsafe { tail_of(cell, info) },
            None => &[],
        }
    }

    /// Another unit of the home.
    ///
    /// # Safety
    ///
    /// The cell is not torn down meanwhile.
    pub(crate) unsafe fn unit(&self) -> Unit<H> {
        // SAFETY: the cell has a unit until its teardown has run.
        Unit::again(unsafe { self.anchor().as_ref() })
    }

    /// The home.
    ///
    /// # Safety
    ///
    /// The cell is not torn down while the result is in use.
    #[inline]
    pub(crate) unsafe fn home(&self) -> &H {
        // SAFETY: the cell has a unit until its teardown has run.
        unsafe { self.anchor().as_ref() }.home()
    }

    /// The body.
    ///
    /// # Safety
    ///
    /// - The kind's type is `T`.
    /// - The cell is not freed for as long as `'a`.
    #[inline]
    pub(crate) unsafe fn body<'a, T: Descriptor>(&self) -> &'a T {
        #[cfg(any(loom, shuttle))]
        self.header();
        let cell = self.head().cast::<Cell<H, T>>();
        // SAFETY: of this type and not freed, by the caller's promises; a
        // published body is only ever shared.
        unsafe { &(*cell).body }
    }

    /// Gives up a reference. The caller's, who knows that the body is what
    /// `info` says, and its last use of this handle.
    #[inline]
    pub(crate) fn put(&self, info: &'static TypeInfo) {
        #[cfg(any(loom, shuttle))]
        if std::thread::panicking() {
            return;
        }
        if self.header().put() == After::Dies {
            self.tear_down(info);
        }
    }

    /// Gives up the lock. The caller's, who knows that the body is what `info`
    /// says, and its last use of this handle.
    #[inline]
    pub(crate) fn unlock(&self, info: &'static TypeInfo) {
        #[cfg(any(loom, shuttle))]
        if std::thread::panicking() {
            return;
        }
        if self.header().unlock() == After::Dies {
            self.tear_down(info);
        }
    }

    /// Runs the teardown. The caller made the header die. A call of its own, so
    /// that what does not kill stays short enough to be inlined.
    #[inline(never)]
    fn tear_down(&self, info: &'static TypeInfo) {
        // SAFETY: the unit of a cell is given up by its teardown, which runs
        // once, for death is one edge.
        let unit = unsafe { Unit::from_raw(self.anchor()) };
        // INVARIANT of `Dead`: whoever made it die tears it down.
        let dead = Dead::new(Self { word: self.word, home: PhantomData }, unit.home(), info);
        if self.header().is_moved() && !seeded!("moved, and retracted all the same") {
            // SAFETY: no slot names a moved one: whoever moved it promised.
            return drop(unsafe { dead.into_garbage() });
        }
        H::teardown(dead);
    }
}

impl<H: Home> fmt::Debug for Handle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.header().fmt(f)
    }
}
