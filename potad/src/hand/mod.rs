//! Hands: what keeps the hot path free of read-modify-writes, and how others
//! reach into it all the same.

mod batch;
mod code;
mod gate;
mod give;
mod held;
mod kept;
mod orders;
mod place;
mod slot;
mod take;

pub(crate) use batch::{Batch, Group};
pub(crate) use code::Code;
pub(crate) use gate::{Closed, Gate};
pub(crate) use slot::{HIDDEN_GRANULES, Slot};
