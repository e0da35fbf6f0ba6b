//! The plug-in point: which types stand for potad.
//!
//! Each line names one flavour. A placeholder's rows and columns read "not
//! yet"; put the adapter's type in its place (`super::potad::Bare`, ..) and
//! every row, column and bench of that flavour is there, nothing else changes.

use super::Absent;

/// Bare blocks through a hand: what replay and most rows use.
pub type Main = Absent;
/// Raw blocks through a hand: an immediate word each.
pub type Raw = Absent;
/// Bare blocks without a hand passed: the thread-local convenience.
pub type Loose = Absent;
