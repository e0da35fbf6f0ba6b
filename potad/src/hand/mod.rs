//! Hands: what keeps the hot path free of read-modify-writes, and how others
//! reach into it all the same.

mod gate;
mod ops;
mod slot;

pub(crate) use gate::{Closed, Gate};
pub(crate) use slot::{HIDDEN_GRANULES, Slot};
