//! potad with a hand per class.

use super::potad::{Bare, BareHand};
use super::{Hand, Shape, Subject, SubjectError};
use memdesc::Order;
use potad::Class;

/// Classes that a tag can name.
const CLASSES: usize = 8;

/// Bare blocks through a hand for each class.
#[derive(Debug)]
pub struct Classed(Bare);

impl Subject for Classed {
    const NAME: &'static str = "potad";
    const SPLITS: bool = true;
    const ALIGNS: bool = true;
    const JUDGED: bool = true;

    type Hand<'a> = ClassedHand<'a>;

    fn new(shape: Shape) -> Result<Self, SubjectError> {
        Bare::new(shape).map(Self)
    }

    /// That of one hand a thread: what the hands of other classes hide is taken
    /// from them before a request fails.
    fn hidden(hands: usize) -> u64 {
        Bare::hidden(hands)
    }

    fn hand(&self) -> ClassedHand<'_> {
        ClassedHand { subject: &self.0, hands: [const { None }; CLASSES], last: 0 }
    }

    fn metadata_bytes(&self) -> Option<u64> {
        self.0.metadata_bytes()
    }
}

/// One thread's hands.
#[derive(Debug)]
pub struct ClassedHand<'a> {
    subject: &'a Bare,
    /// Made at the first allocation of the class.
    hands: [Option<BareHand>; CLASSES],
    /// The class that allocated last: frees go through its hand.
    last: usize,
}

impl ClassedHand<'_> {
    #[inline(always)]
    fn of(&mut self, class: usize) -> &mut BareHand {
        let subject = self.subject;
        // Lossless: below eight.
        let fresh = || subject.hand_for(Class::new(class as u8));
        self.hands[class].get_or_insert_with(fresh)
    }
}

impl Hand for ClassedHand<'_> {
    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<u64> {
        self.alloc_tagged(order, 0)
    }

    #[inline(always)]
    fn alloc_tagged(&mut self, order: Order, tag: u8) -> Option<u64> {
        self.last = usize::from(tag) % CLASSES;
        self.of(self.last).alloc(order)
    }

    #[inline(always)]
    fn free(&mut self, base: u64, order: Order) {
        self.of(self.last).free(base, order);
    }

    fn split(&mut self, base: u64, half: Order) {
        self.of(self.last).split(base, half);
    }
}
