//! Looking a range up from a signal handler.
//!
//! # What always holds
//!
//! As with the tree: the walk is loads alone, and the signal gate of `memdesc`
//! stands for the pin. Nodes that a change replaces, and units of values whose
//! pieces it removes, go through the epoch and that gate.

use super::find::{Found, descend_from};
use super::node::View;
use super::{Addresses, Ranges, Value};
use memdesc::InSignal;

impl<V: Value> Ranges<V> {
    /// Hands what an address names to `read`, with the piece of the range that
    /// was met. Async-signal-safe, if `read` is: it takes no lock, does not
    /// allocate, and touches no thread-local.
    ///
    /// `read` runs inside the gate: it is to copy what it wants, and must not
    /// keep a count (dropping the last one would free). Two RMWs on a line that
    /// all handlers share, a fence, and the loads of [`find`](Self::find).
    ///
    /// ```
    /// # use potad_lookup::{Addresses, Payload, Ranges};
    /// let map = Ranges::new();
    /// map.insert(Addresses::new(10, 19)?, Payload::from(7))?;
    /// let seen = map.find_signal(12, |payload, range| (payload.get(), range.first()));
    /// assert_eq!(seen, Some((7, 10)));
    /// assert_eq!(map.find_signal(20, |_, range| range), None);
    /// # Ok::<(), potad_lookup::RangesError>(())
    /// ```
    pub fn find_signal<R>(&self, at: u64, read: impl FnOnce(&V, Addresses) -> R) -> Option<R> {
        let inside = InSignal::enter();
        // SAFETY: loaded with the gate entered, and what is retired later waits
        // for it; nothing of the view outlives `inside`.
        let root = unsafe { View::follow(self.root_word()) };
        let found = Found::of(descend_from(root?, at)?.item());
        let read = read(&found, found.range());
        drop(inside);
        Some(read)
    }
}
