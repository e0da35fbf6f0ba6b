//! What the harness itself costs: an allocator that does nothing.

use super::{Hand, Shape, Subject, SubjectError};
use memdesc::Order;

/// The name of [`Nothing`] in tables.
pub const HARNESS: &str = "(harness alone)";

/// Hands out granule 0 for every request. Timed, never verified.
#[derive(Debug)]
pub struct Nothing;

impl Subject for Nothing {
    const NAME: &'static str = HARNESS;
    const SPLITS: bool = true;
    const ALIGNS: bool = true;
    const JUDGED: bool = false;

    type Hand<'a> = Self;

    fn new(_: Shape) -> Result<Self, SubjectError> {
        Ok(Self)
    }

    fn hand(&self) -> Self {
        Self
    }
}

impl Hand for Nothing {
    #[inline(always)]
    fn alloc(&mut self, _: Order) -> Option<u64> {
        Some(0)
    }

    #[inline(always)]
    fn free(&mut self, _: u64, _: Order) {}
}
