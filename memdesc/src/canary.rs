//! loom and shuttle cannot see a freed box: each use of a cell reads this cell,
//! and freeing writes it. So a use after free is an assertion or a causality
//! violation.

use crate::sync::cell::UnsafeCell;

pub(crate) struct Canary(UnsafeCell<bool>);

impl Default for Canary {
    fn default() -> Self {
        Self(UnsafeCell::new(true))
    }
}

impl Canary {
    pub(crate) fn check(&self) {
        // SAFETY: loom checks that nobody writes at once; with shuttle nobody can.
        let alive = self.0.with(|alive| unsafe { *alive });
        assert!(alive, "use after free of a descriptor");
    }

    pub(crate) fn kill(&self) {
        // SAFETY: as above, nor read.
        let alive = self.0.with_mut(|alive| unsafe { core::mem::replace(&mut *alive, false) });
        assert!(alive, "freed twice");
    }
}
