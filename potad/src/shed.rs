//! The memory of tables whose span has left goes to the system.
//!
//! # What always holds
//!
//! - It goes only while the list of spans is held, and only for chunks that have
//!   to do with no span. Whoever adds a span enters it in the list before giving
//!   its granules, so no bit is set in such a chunk until the list is let go, and
//!   none that mattered was there: the removal ended with all of it claimed.
//! - Whoever searches or reads meanwhile meets a word as it was, zero, or zero:
//!   free words of the range were zero before, and a summary bit that is lost
//!   there led to nothing.
//!
//! # Sharing and cost
//!
//! No hand is stopped. The list is held for [`CHUNKS`] system calls at a time.

use crate::forest::{Forest, GivenBack};
use crate::resource::Spans;
use memdesc::sync::{Mutex, thread};
use memdesc::{Granules, seeded};

/// Chunks of tables that go back while the list of spans is held.
const CHUNKS: u32 = if cfg!(any(loom, shuttle)) { 1 } else { 64 };

/// Gives back what the tables of `range`, which has left, take; ends early if it
/// comes back.
pub(crate) fn give_tables_back(spans: &Mutex<Spans>, forest: &Forest, range: Granules) {
    let mut done = GivenBack::default();
    loop {
        let held = spans.lock();
        let Some(hole) = held.holes().find(|hole| hole.covers(range)) else { return };
        let held = (!seeded!("spans let go before the tables")).then_some(held);
        if forest.give_back(hole, range, &mut done, CHUNKS) {
            return;
        }
        drop(held);
        thread::yield_now();
    }
}
