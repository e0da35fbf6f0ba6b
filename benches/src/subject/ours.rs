//! The plug-in point: which types stand for potad.
//!
//! Each line names one flavour. A placeholder's rows and columns
//! ([`Absent`](super::Absent)) read "not yet"; put the adapter's type in its
//! place and every row, column and bench of that flavour is there.

/// Bare blocks through a hand: what replay and most rows use.
pub type Main = super::potad::Bare;
/// The same with a hand per class: what replay uses where a trace has tags.
pub type Classed = super::classed::Classed;
/// Raw blocks through a hand: an immediate word each.
pub type Raw = super::potad::Raw;
/// Bare blocks without a hand passed: each call borrows a shared one.
pub type Loose = super::potad::Loose;
