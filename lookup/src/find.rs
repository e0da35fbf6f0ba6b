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
        match hit.word.descriptor_kind() {
            Some(_) => self.peeked_word(hit.word, guard).map(Found::Descriptor),
            None => found_immediate(head_word(hit.group, hit.word, at), at),
        }
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
        match word.descriptor_kind() {
            Some(_) => self.peeked_word(word, guard).map(Found::Descriptor),
            None => found_immediate(word, at),
        }
    }

    /// The descriptor at a granule. Beside [`find`](Self::find) it saves what
    /// could also be an immediate word, which is not held in registers.
    #[inline(always)]
    fn peeked<'g>(&self, at: Granule, guard: &'g Guard) -> Option<Peeked<'g, H>> {
        self.peeked_word(self.hit(at)?.word, guard)
    }

    /// Follows a word, if it names a descriptor. It was loaded under `guard` from
    /// a slot of this tree.
    #[inline(always)]
    fn peeked_word<'g>(&self, word: Word, guard: &'g Guard) -> Option<Peeked<'g, H>> {
        let info = self.kinds()?.info(word.descriptor_kind()?)?;
        // SAFETY: `Fresh` made the cell with home `H`; the word was tagged
        // with the kind that this very set gives its type. The word was in a
        // slot while `guard` was pinned, and what lets a cell go to the epoch
        // (a retraction, or another's taking over) first overwrites every slot
        // that names it, or unlinks its node.
        unsafe { Peeked::adopt(word, info, guard) }
    }

    /// A counted reference to the descriptor at a granule; `None` if there is
    /// none, it is dying, its type is another, or it has 2^31 references.
    ///
    /// Two RMWs with the drop, on one line; and a pin.
    pub fn get<T: Descriptor>(&self, at: Granule) -> Option<Ref<H, T>> {
        self.get_with(at, &pin())
    }

    /// The same for whoever is pinned already. Even a nested pin is some thirty
    /// instructions and stores that the RMWs wait for.
    pub fn get_with<T: Descriptor>(&self, at: Granule, guard: &Guard) -> Option<Ref<H, T>> {
        let describes = |got: &Ref<H, T>| got.header().describes(at);
        self.get_if(at, guard, |peeked| peeked.try_get_as::<T>(), describes, Ref::word)
    }

    /// The same for any type.
    pub fn get_erased(&self, at: Granule) -> Option<ErasedRef<H>> {
        let describes = |got: &ErasedRef<H>| got.header().describes(at);
        self.get_if(at, &pin(), |peeked| peeked.try_get(), describes, ErasedRef::word)
    }

    /// One guard for all turns: what we saw is not freed, so its word is no other
    /// descriptor's meanwhile.
    #[inline(always)]
    fn get_if<R>(
        &self,
        at: Granule,
        guard: &Guard,
        take: impl Fn(&Peeked<'_, H>) -> Option<R>,
        describes: impl Fn(&R) -> bool,
        word: impl Fn(&R) -> Word,
    ) -> Option<R> {
        let peeked = self.peeked(at, guard)?;
        if seeded!("read without a pin") {
            unpin(guard);
        }
        match once(&peeked, &take, &describes) {
            Once::Got(got) => Some(got),
            Once::Gone => None,
            // Out of line, or the loop's own needs would burden the first turn.
            Once::Moved(got) => {
                self.get_again(at, guard, got.as_ref().map(&word), (&take, &describes, &word))
            }
        }
    }

    /// The turns of a get after the first, which met `before` out of place, or a
    /// moved and dead one.
    #[cold]
    #[inline(never)]
    fn get_again<R>(
        &self,
        at: Granule,
        guard: &Guard,
        mut before: Option<Word>,
        (take, describes, word): (
            &impl Fn(&Peeked<'_, H>) -> Option<R>,
            &impl Fn(&R) -> bool,
            &impl Fn(&R) -> Word,
        ),
    ) -> Option<R> {
        for turn in 1.. {
            let peeked = self.peeked(at, guard)?;
            let got = match once(&peeked, take, describes) {
                Once::Got(got) => return Some(got),
                Once::Gone => return None,
                Once::Moved(None) => continue,
                Once::Moved(Some(got)) => got,
            };
            // The same again: taken apart and put together meanwhile, or
            // somebody's stray word, and no answer.
            if before == Some(word(&got)) && (turn > TURNS || self.is_stray(&peeked, at)) {
                return None;
            }
            before = Some(word(&got));
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

    /// The same for whoever is pinned already. If it has to wait it waits with
    /// that pin, which holds up what is retired meanwhile.
    pub fn lock_with<T: Descriptor>(
        &self,
        at: Granule,
        guard: &Guard,
    ) -> Option<Locked<'static, H, T>> {
        let wanted = |peeked: &Peeked<'_, H>| peeked.downcast::<T>().is_some();
        let peeked = self.peeked(at, guard).filter(wanted)?;
        let locked = match lock_now(&peeked, at) {
            Some(locked) => locked,
            None => self.lock_slow(at, count(&peeked), &wanted)?,
        };
        locked.downcast().ok()
    }

    /// The same for any type.
    pub fn lock_erased(&self, at: Granule) -> Option<LockedErased<'static, H>> {
        self.lock_if(at, |_| true)
    }

    #[inline(always)]
    fn lock_if(
        &self,
        at: Granule,
        wanted: impl Fn(&Peeked<'_, H>) -> bool,
    ) -> Option<LockedErased<'static, H>> {
        let guard = pin();
        let peeked = self.peeked(at, &guard).filter(&wanted)?;
        if let Some(locked) = lock_now(&peeked, at) {
            return Some(locked);
        }
        let turn = count(&peeked);
        drop(guard);
        self.lock_slow(at, turn, &wanted)
    }

    /// A lock that is held, or whose descriptor did not describe the address.
    #[cold]
    #[inline(never)]
    fn lock_slow(
        &self,
        at: Granule,
        mut turn: Turn<H>,
        wanted: &impl Fn(&Peeked<'_, H>) -> bool,
    ) -> Option<LockedErased<'static, H>> {
        loop {
            let locked = match turn {
                Turn::Gone => return None,
                Turn::Again => None,
                Turn::Wait(counted) => Some(counted.into_locked()),
                Turn::Locked(locked) => Some(locked),
            };
            if let Some(locked) = locked {
                // The re-check once more.
                if locked.contains(at) || seeded!("re-check left out") {
                    return Some(locked);
                }
                if self.is_stray_locked(&locked, at) {
                    return None;
                }
            }
            let guard = pin();
            let peeked = self.peeked(at, &guard).filter(wanted)?;
            turn = match peeked.try_lock() {
                Some(locked) => Turn::Locked(locked),
                None => count(&peeked),
            };
        }
    }
}

/// What one turn of a lock came to.
enum Turn<H: Home> {
    Gone,
    /// To be looked up again.
    Again,
    /// To be waited for, by a reference instead of a pin.
    Wait(ErasedRef<H>),
    /// To be checked.
    Locked(LockedErased<'static, H>),
}

/// The lock, if it is free and its descriptor describes the address.
#[inline(always)]
fn lock_now<H: Home>(peeked: &Peeked<'_, H>, at: Granule) -> Option<LockedErased<'static, H>> {
    // The re-check, as in `get`; under the lock it stays true.
    peeked.try_lock().filter(|locked| locked.contains(at) || seeded!("re-check left out"))
}

/// What to do about a descriptor whose lock was not to be had.
#[cold]
fn count<H: Home>(peeked: &Peeked<'_, H>) -> Turn<H> {
    match peeked.try_get() {
        Some(counted) => Turn::Wait(counted),
        // Dead, which is gone, unless it had moved.
        None if peeked.header().is_moved() => Turn::Again,
        None => Turn::Gone,
    }
}

/// What one turn of a get came to.
enum Once<R> {
    Got(R),
    Gone,
    /// The address has moved on: to be looked up again. With what was got, unless
    /// that was dead too.
    Moved(Option<R>),
}

/// One turn of a get.
#[inline(always)]
fn once<H: Home, R>(
    peeked: &Peeked<'_, H>,
    take: &impl Fn(&Peeked<'_, H>) -> Option<R>,
    describes: &impl Fn(&R) -> bool,
) -> Once<R> {
    let Some(got) = take(peeked) else {
        // Dead means gone: while its word still stood in the slot, nobody else
        // lived here. Unless it had moved before.
        if !peeked.header().is_moved() || seeded!("moved and dead means gone") {
            return Once::Gone;
        }
        return Once::Moved(None);
    };
    // The re-check: a split may have moved the address on, or another descriptor
    // taken it over.
    match describes(&got) || seeded!("re-check left out") {
        true => Once::Got(got),
        false => Once::Moved(Some(got)),
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

/// What an immediate word says of the block around `at`.
fn found_immediate<'g, H: Home>(word: Word, at: Granule) -> Option<Found<'g, H>> {
    let immediate = Immediate::unpack(word)?;
    Some(Found::Immediate(immediate, Block::containing(at, immediate.order)))
}

/// The word of an immediate block as its head slot has it: the poison hint is
/// set there alone.
#[inline]
pub(crate) fn head_word(group: &Group, word: Word, at: Granule) -> Word {
    let Some(immediate) = Immediate::unpack(word) else { return word };
    if immediate.order.run() == 1 {
        return word;
    }
    let base = Block::containing(at, immediate.order).base();
    let head = place_of(base, immediate.order.level());
    // `Acquire` pairs with the marking.
    let first = group[head].load(memdesc::weakened!("head is seen relaxed", Acquire));
    if first.names_same(word) { first } else { word }
}
