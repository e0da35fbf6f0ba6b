//! Looking up: peek, get, lock.

use crate::slots::{Hit, place_of};
use crate::sparse::Group;
use crate::tree::Tree;
use memdesc::{
    Block, Descriptor, ErasedRef, Found, Granule, Guard, Home, Immediate, Locked, LockedErased,
    Peeked, Ref, Word, pin, seeded,
};

impl<H: Home> Tree<H> {
    /// What lives at a granule, for as long as the pin lasts.
    ///
    /// A peek: no RMW, nothing written. It may be on its way out.
    #[inline(always)]
    pub fn find<'g>(&self, at: Granule, guard: &'g Guard) -> Option<Found<'g, H>> {
        self.found_hit(self.hit(at)?, at, guard)
    }

    /// Follows what a walk under `guard` ended at.
    #[inline(always)]
    pub(crate) fn found_hit<'g>(
        &self,
        hit: Hit<'_>,
        at: Granule,
        guard: &'g Guard,
    ) -> Option<Found<'g, H>> {
        let word = match hit.word.descriptor_kind() {
            Some(_) => hit.word,
            None => head_word(hit.group, hit.word, at, hit.level),
        };
        self.found_word(word, at, guard)
    }

    /// Follows a word. It was loaded under `guard` from a slot of this tree
    /// that stands for `at`.
    #[inline(always)]
    pub(crate) fn found_word<'g>(
        &self,
        word: Word,
        at: Granule,
        guard: &'g Guard,
    ) -> Option<Found<'g, H>> {
        let Some(kind) = word.descriptor_kind() else {
            let immediate = Immediate::unpack(word)?;
            return Some(Found::Immediate(immediate, Block::containing(at, immediate.order)));
        };
        let info = self.kinds()?.info(kind)?;
        // SAFETY: `Fresh` made the cell with home `H`; the word was tagged
        // with the kind that this very set gives its type. The word was in a
        // slot while `guard` was pinned, and what lets a cell go to the epoch
        // (a retraction, or another's taking over) first overwrites every slot
        // that names it, or unlinks its node.
        unsafe { Peeked::adopt(word, info, guard) }.map(Found::Descriptor)
    }

    /// A counted reference to the descriptor at a granule; `None` if there is
    /// none, it is dying, its type is another, or it has 2^31 references.
    ///
    /// Two RMWs with the drop, on one line.
    pub fn get<T: Descriptor>(&self, at: Granule) -> Option<Ref<H, T>> {
        let describes = |got: &Ref<H, T>| got.header().describes(at);
        self.get_if(at, |peeked| peeked.try_get_as::<T>(), describes, Ref::word)
    }

    /// The same for any type.
    pub fn get_erased(&self, at: Granule) -> Option<ErasedRef<H>> {
        let describes = |got: &ErasedRef<H>| got.header().describes(at);
        self.get_if(at, |peeked| peeked.try_get(), describes, ErasedRef::word)
    }

    #[inline(always)]
    fn get_if<R>(
        &self,
        at: Granule,
        take: impl Fn(&Peeked<'_, H>) -> Option<R>,
        describes: impl Fn(&R) -> bool,
        word: impl Fn(&R) -> Word,
    ) -> Option<R> {
        // One pin for all turns: what we saw is not freed, so its word is no
        // other descriptor's meanwhile.
        let guard = pin();
        let mut before = Word::EMPTY;
        for turn in 0.. {
            let found = self.find(at, &guard)?;
            if seeded!("read without a pin") {
                unpin(&guard);
            }
            let peeked = found.descriptor()?;
            let Some(got) = take(peeked) else {
                // Dead means gone: while its word still stood in the slot,
                // nobody else lived here. Unless it had moved before.
                if !peeked.header().is_moved() || seeded!("moved and dead means gone") {
                    return None;
                }
                continue;
            };
            // The re-check: a split may have moved the address on, or another
            // descriptor taken it over.
            if describes(&got) || seeded!("re-check left out") {
                return Some(got);
            }
            // The same again: taken apart and put together meanwhile, or
            // somebody's stray word, and no answer.
            if before == word(&got) && (turn > TURNS || self.is_stray(peeked, at)) {
                return None;
            }
            before = word(&got);
        }
        None
    }

    /// Whether a slot names a descriptor that does not describe it. Never waits:
    /// `false` also if somebody holds the lock, and may be at it.
    #[cold]
    fn is_stray(&self, peeked: &Peeked<'_, H>, at: Granule) -> bool {
        let stray = peeked.try_lock().is_some_and(|locked| self.is_stray_locked(&locked, at));
        if !stray {
            memdesc::sync::thread::yield_now();
        }
        stray
    }

    /// The same, exactly: under the lock neither the place nor what names it
    /// changes.
    fn is_stray_locked(&self, locked: &LockedErased<'_, H>, at: Granule) -> bool {
        let named = self.hit(at).is_some_and(|hit| hit.word.names_same(locked.word()));
        named && !locked.contains(at)
    }

    /// The lock of the descriptor at a granule: the one proof that it
    /// describes the granule, and goes on to while the lock is held. `None` if
    /// there is none, it is dying, or its type is another.
    ///
    /// Two RMWs with the drop when nobody else holds it. Waiting keeps a
    /// reference and no pin.
    pub fn lock<T: Descriptor>(&self, at: Granule) -> Option<Locked<'static, H, T>> {
        let locked = self.lock_if(at, |peeked| peeked.downcast::<T>().is_some())?;
        locked.downcast().ok()
    }

    /// The same for any type.
    pub fn lock_erased(&self, at: Granule) -> Option<LockedErased<'static, H>> {
        self.lock_if(at, |_| true)
    }

    fn lock_if(
        &self,
        at: Granule,
        wanted: impl Fn(&Peeked<'_, H>) -> bool,
    ) -> Option<LockedErased<'static, H>> {
        loop {
            let guard = pin();
            let found = self.find(at, &guard)?;
            let peeked = found.descriptor().filter(|&peeked| wanted(peeked))?;
            let locked = match peeked.try_lock() {
                Some(locked) => locked,
                None => {
                    // Held, or dead, which is gone, unless it had moved. The
                    // wait keeps a reference instead of the pin.
                    let Some(counted) = peeked.try_get() else {
                        if peeked.header().is_moved() {
                            continue;
                        }
                        return None;
                    };
                    drop(guard);
                    counted.into_locked()
                }
            };
            // The re-check, as in `get`; under the lock it stays true.
            if locked.contains(at) || seeded!("re-check left out") {
                return Some(locked);
            }
            if self.is_stray_locked(&locked, at) {
                return None;
            }
        }
    }
}

/// A get looks again so often, while the same descriptor is there and not there:
/// far more than splits and merges can explain. More is somebody's stray word
/// under somebody's lock.
const TURNS: u32 = if cfg!(any(loom, shuttle)) { 16 } else { 10_000 };

/// The bug of one twin.
fn unpin(guard: &Guard) {
    #[cfg(any(shuttle, all(loom, not(crossbeam_loom))))]
    guard.seeded_unpin();
    let _ = guard;
}

/// The word of an immediate block as its head slot has it: the poison hint is
/// set there alone.
#[inline]
pub(crate) fn head_word(group: &Group, word: Word, at: Granule, level: u32) -> Word {
    let Some(immediate) = Immediate::unpack(word) else { return word };
    if immediate.order.run() == 1 {
        return word;
    }
    let head = place_of(Block::containing(at, immediate.order).base(), level);
    // `Acquire` pairs with the marking.
    let first = group[head].load(memdesc::weakened!("head is seen relaxed", Acquire));
    if first.names_same(word) { first } else { word }
}
