//! The inbox: where a thread's retired cells come back to.
//!
//! # Picture
//!
//! ```text
//!  thread A   bag [c c c ..] --epoch--> whoever collects --+
//!             inbox [bag][bag][ ] <------------------------+
//!               |  a bag at a time: its cells, free now, and itself, to be filled again
//!               v
//!             magazines
//! ```
//!
//! Whoever collects a bag drops the bodies, if they need it, and looks at the
//! cells no further. Were it to keep them, two threads that make and free
//! descriptors would write to each other's lines all the time.
//!
//! # What always holds
//!
//! A bag in an inbox holds free cells, whose bodies are gone. What comes when the
//! thread has ended, or while its inbox is full, stays with whoever brought it.
//!
//! # Sharing and cost
//!
//! A lock, of which nothing is called but moves: twice per bag.

use crate::dead::Bag;
use crate::sync::Mutex;
use alloc::boxed::Box;

/// Bags that wait at most. More than come between two of the owner's own, as long
/// as it is at work; little enough for a thread that is not.
const BAGS: usize = if cfg!(shuttle) { 1 } else { 8 };

/// Where bags of one thread come back to.
pub(crate) struct Inbox(Mutex<Came>);

struct Came {
    bags: [Option<Box<Bag>>; BAGS],
    /// The thread is there.
    open: bool,
}

impl Inbox {
    /// An empty one, of a thread that is there.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Came { bags: [const { None }; BAGS], open: true }))
    }

    /// Hands a bag over; it comes back if the thread has ended or has many.
    pub(crate) fn put(&self, bag: Box<Bag>) -> Result<(), Box<Bag>> {
        let mut came = self.0.lock();
        if !came.open {
            return Err(bag);
        }
        match came.bags.iter_mut().find(|place| place.is_none()) {
            Some(place) => {
                *place = Some(bag);
                Ok(())
            }
            None => Err(bag),
        }
    }

    /// Takes a bag, the one that came last where none was taken meanwhile.
    pub(crate) fn take(&self) -> Option<Box<Bag>> {
        self.0.lock().bags.iter_mut().rev().find_map(Option::take)
    }

    /// Takes no more.
    pub(crate) fn close(&self) {
        self.0.lock().open = false;
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::sync::Arc;

    fn bag(inbox: &Arc<Inbox>) -> Box<Bag> {
        Bag::new(Arc::clone(inbox)).expect("memory")
    }

    #[test]
    fn a_full_inbox_refuses_until_one_is_taken() {
        let inbox = Arc::new(Inbox::new());
        (0..BAGS).for_each(|_| assert!(inbox.put(bag(&inbox)).is_ok()));
        assert!(inbox.put(bag(&inbox)).is_err());
        assert!(inbox.take().is_some());
        assert!(inbox.put(bag(&inbox)).is_ok());
        assert_eq!((0..=BAGS).filter(|_| inbox.take().is_some()).count(), BAGS);
    }

    #[test]
    fn a_closed_inbox_keeps_what_it_has_and_takes_no_more() {
        let inbox = Arc::new(Inbox::new());
        assert!(inbox.put(bag(&inbox)).is_ok());
        inbox.close();
        assert!(inbox.put(bag(&inbox)).is_err());
        assert!(inbox.take().is_some());
        assert!(inbox.take().is_none());
    }
}
