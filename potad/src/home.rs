//! What each descriptor holds on to: its zone.
//!
//! A descriptor keeps its zone alive, so a reference may outlive every handle
//! on the potad and still be put soundly.

use crate::state::State;
use core::fmt;
use memdesc::sync::Arc;
use memdesc::{Dead, Kinds};

/// A handle on the state of a zone, 8 bytes.
#[derive(Clone)]
pub struct Home(pub(crate) Arc<State>);

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Home({})", self.0.name)
    }
}

impl memdesc::Home for Home {
    fn kinds(&self) -> &Kinds {
        &self.0.kinds
    }

    fn teardown(dead: Dead<Self>) {
        let state = &dead.home().0;
        let retracted = state.with_slot(|slot| {
            // Slots first, range second: whoever gets the range finds its
            // slots clear.
            let retracted = state.tree.retract(dead)?;
            let given = state.give(slot, retracted.block);
            debug_assert_eq!(given, Ok(()), "{:?} was live until now", retracted.block);
            Ok(retracted)
        });
        match retracted {
            // Outside the bracket: it may pin, and run what others retired.
            Ok(retracted) => drop(retracted.garbage),
            // The tree keeps such a descriptor's memory: it cannot say who
            // else names it.
            Err::<_, lookup::LookupError>(error) => debug_assert!(false, "{error}"),
        }
    }
}
