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

use super::node::Item;
use super::{Addresses, Ranges, Value, walk};
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use memdesc::Guard;

/// A value and the addresses that it was found for.
pub struct Found<'a, V: Value> {
    range: Addresses,
    value: ManuallyDrop<V>,
    lent: PhantomData<&'a V>,
}

impl<V: Value> Found<'_, V> {
    /// The item was reached from the root under the guard of the lifetime.
    #[inline]
    pub(super) fn of(item: Item) -> Self {
        // SAFETY: made by this map of a `V`; never dropped, and its unit is
        // given up only after the guard is gone.
        let value = unsafe { V::from_raw(item.word.raw()) };
        Self { range: item.at, value: ManuallyDrop::new(value), lent: PhantomData }
    }

    /// What of the range was found: a piece, or the whole, as the call says.
    #[inline]
    pub fn range(&self) -> Addresses {
        self.range
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
        self.range == other.range && **self == **other
    }
}

impl<V: Value + fmt::Debug> fmt::Debug for Found<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?}", **self, self.range)
    }
}

impl<V: Value> Ranges<V> {
    /// What an address names, for as long as the guard lasts, and the piece of
    /// the range that was met.
    ///
    /// No RMW, nothing written.
    #[inline]
    pub fn find<'a>(&'a self, at: u64, guard: &'a Guard) -> Option<Found<'a, V>> {
        walk::at(self.root(guard), at).map(Found::of)
    }
}
