//! Looking up.
//!
//! # What a reader may see
//!
//! A look-up is linearisable: its answer was the truth at a moment of the call.
//! Each node is left as it was when a newer one took its place, so a reader
//! that is in the older one ends in what was there when it came; only links
//! change, and each is loaded once. So a range that is there throughout is
//! found whatever is changed beside it, and *nothing* is no retry away from the
//! truth.

use super::bits::slot_mask;
use super::node::{Hit, Item, Step, View};
use super::word::Word;
use super::{Addresses, Ranges, Value};
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use memdesc::{Guard, prefetch};

/// A value and the addresses that it was found for.
pub struct Found<'a, V: Value> {
    range: Where,
    value: ManuallyDrop<V>,
    lent: PhantomData<&'a V>,
}

/// The addresses, or how to tell them.
#[derive(Clone, Copy)]
enum Where {
    Known(Addresses),
    Met(Hit),
}

impl<V: Value> Found<'_, V> {
    /// The hit was made under the guard of the lifetime.
    #[inline]
    fn met(hit: Hit) -> Self {
        let found = Self::of(Item { at: Addresses::ALL, word: hit.word });
        Self { range: Where::Met(hit), ..found }
    }

    /// The item was reached from the root under the guard of the lifetime, or
    /// inside the signal gate.
    #[inline]
    pub(super) fn of(item: Item) -> Self {
        // SAFETY: made by this map of a `V`; never dropped, and its unit is
        // given up only after the guard is gone (or the gate left).
        let value = unsafe { V::from_raw(item.word.raw()) };
        Self { range: Where::Known(item.at), value: ManuallyDrop::new(value), lent: PhantomData }
    }

    /// What of the range was found: a piece, or the whole, as the call says.
    #[inline]
    pub fn range(&self) -> Addresses {
        match self.range {
            Where::Known(at) => at,
            Where::Met(hit) => hit.item().at,
        }
    }
}

impl<V: Value> Deref for Found<'_, V> {
    type Target = V;

    #[inline]
    fn deref(&self) -> &V {
        &self.value
    }
}

impl<V: Value + PartialEq> PartialEq for Found<'_, V> {
    fn eq(&self, other: &Self) -> bool {
        self.range() == other.range() && **self == **other
    }
}

impl<V: Value + fmt::Debug> fmt::Debug for Found<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?}", **self, self.range())
    }
}

impl<V: Value> Ranges<V> {
    /// What an address names, for as long as the guard lasts, and the piece of
    /// the range that was met.
    ///
    /// No RMW, nothing written.
    #[inline]
    pub fn find<'a>(&'a self, at: u64, guard: &'a Guard) -> Option<Found<'a, V>> {
        descend(self.root(guard), at).map(Found::met)
    }

    /// What each of many addresses names: `each` is called with the number of
    /// the address and what was found, in order.
    ///
    /// Up to 32 look-ups go down side by side, a level at a time, and each asks
    /// for its next node early: where nodes are not in the cache, their misses
    /// overlap.
    ///
    /// ```
    /// # use potad_lookup::{Addresses, Payload, Ranges};
    /// let map = Ranges::new();
    /// map.insert(Addresses::new(10, 19)?, Payload::from(1))?;
    /// let guard = memdesc::pin();
    /// let mut hits = 0;
    /// map.find_many(&[3, 12, 19, 20], &guard, |_, found| hits += u32::from(found.is_some()));
    /// assert_eq!(hits, 2);
    /// # Ok::<(), potad_lookup::RangesError>(())
    /// ```
    #[inline]
    pub fn find_many<'a>(
        &'a self,
        at: &[u64],
        guard: &'a Guard,
        mut each: impl FnMut(usize, Option<Found<'a, V>>),
    ) {
        let root = self.root(guard);
        for (group, at) in at.chunks(LANES).enumerate() {
            let mut found = [None; LANES];
            descend_many(root, at, &mut found);
            for (lane, item) in found[..at.len()].iter().enumerate() {
                each(group * LANES + lane, item.map(Found::of));
            }
        }
    }
}

/// Look-ups that go side by side.
const LANES: usize = 32;

/// The piece that holds an address.
#[inline]
pub(super) fn descend(root: Option<View<'_>>, at: u64) -> Option<Hit> {
    let root = root?;
    // A node is 64 bits to be counted at each level: worth an instruction that
    // not every processor has.
    #[cfg(all(target_arch = "x86_64", feature = "std", not(loom), not(miri)))]
    if std::arch::is_x86_feature_detected!("popcnt") {
        // SAFETY: the processor has it.
        return unsafe { descend_counting(root, at) };
    }
    descend_from(root, at)
}

#[cfg(all(target_arch = "x86_64", feature = "std", not(loom), not(miri)))]
#[target_feature(enable = "popcnt")]
fn descend_counting(root: View<'_>, at: u64) -> Option<Hit> {
    descend_from(root, at)
}

#[inline(always)]
pub(super) fn descend_from(root: View<'_>, at: u64) -> Option<Hit> {
    if at & !slot_mask(root.level + 1) != 0 {
        return None;
    }
    // Anew, and not a copy: kept in registers.
    let mut node = root.reached(root.link());
    loop {
        match node.step(at) {
            Step::Nothing => return None,
            Step::Value(hit) => return Some(hit),
            Step::Down(link) => node = node.child(link),
        }
    }
}

/// The pieces that hold up to 32 addresses.
fn descend_many(root: Option<View<'_>>, at: &[u64], found: &mut [Option<Item>; LANES]) {
    let Some(root) = root else { return };
    #[cfg(all(target_arch = "x86_64", feature = "std", not(loom), not(miri)))]
    if std::arch::is_x86_feature_detected!("popcnt") {
        // SAFETY: the processor has it.
        return unsafe { descend_many_counting(root, at, found) };
    }
    descend_many_from(root, at, found);
}

#[cfg(all(target_arch = "x86_64", feature = "std", not(loom), not(miri)))]
#[target_feature(enable = "popcnt")]
fn descend_many_counting(root: View<'_>, at: &[u64], found: &mut [Option<Item>; LANES]) {
    descend_many_from(root, at, found);
}

#[inline(always)]
fn descend_many_from(root: View<'_>, at: &[u64], found: &mut [Option<Item>; LANES]) {
    // Bit `lane`: still on its way, at the link.
    let mut going = 0u32;
    let mut links = [root.link(); LANES];
    let outside = !slot_mask(root.level + 1);
    for (lane, &at) in at.iter().take(LANES).enumerate() {
        going |= u32::from(at & outside == 0) << lane;
    }
    while going != 0 {
        let mut left = going;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            match root.reached(links[lane]).step(at[lane]) {
                Step::Nothing => going &= !(1 << lane),
                Step::Value(hit) => {
                    found[lane] = Some(hit.item());
                    going &= !(1 << lane);
                }
                Step::Down(link) => {
                    ask(link);
                    links[lane] = link;
                }
            }
        }
    }
}

/// Asks for the first two lines of a node: most are no longer.
#[inline(always)]
fn ask(link: Word) {
    let first = link.node().cast_const().cast::<u8>();
    prefetch(first);
    prefetch(first.wrapping_add(64));
}
