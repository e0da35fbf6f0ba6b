//! A placeholder for a subject that is not written yet.

use super::{Hand, Shape, Subject, SubjectError};
use memdesc::Order;

/// Cannot be made: [`Subject::new`] always says so.
#[derive(Debug)]
pub enum Absent {}

impl Subject for Absent {
    const NAME: &'static str = "potad";
    const SPLITS: bool = true;
    const ALIGNS: bool = true;
    const JUDGED: bool = true;

    type Hand<'a> = NoHand;

    fn new(_: Shape) -> Result<Self, SubjectError> {
        Err(SubjectError::Absent { name: Self::NAME })
    }

    fn hand(&self) -> NoHand {
        match *self {}
    }
}

/// The hand of a subject that cannot exist.
#[derive(Debug)]
pub enum NoHand {}

impl Hand for NoHand {
    fn alloc(&mut self, _: Order) -> Option<u64> {
        match *self {}
    }

    fn free(&mut self, _: u64, _: Order) {
        match *self {}
    }
}
