//! What the tests of this crate's own modules publish, and whose it is.

use memdesc::{Dead, Descriptor, Home, Kinds};

/// A home that keeps what dies: what tests break leaks.
pub(crate) struct Ram(pub(crate) Kinds);

impl Home for Ram {
    fn kinds(&self) -> &Kinds {
        &self.0
    }

    fn teardown(dead: Dead<Self>) {
        let _leaks = dead;
    }
}

pub(crate) struct Folio;

impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}
