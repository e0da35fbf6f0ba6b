//! potad as a subject: bare and raw blocks through a hand.

use super::{Hand, Shape, Subject, SubjectError};
use memdesc::{Granule, Order, OwnerId};
use potad::{BareBlock, Class, Potad, Resource, Zone};

fn register(shape: Shape) -> Result<Zone, SubjectError> {
    let refused = |_| SubjectError::Refused {
        name: "potad",
        granules: shape.granules,
        reason: "the span does not fit the index space",
    };
    let bytes = shape.granules.checked_mul(shape.granule_bytes).ok_or(SubjectError::TooLarge {
        name: "potad",
        allowed: u64::MAX / shape.granule_bytes,
        asked: shape.granules,
    })?;
    let resource = Resource::new("bench").granule(shape.granule_bytes).span(0..bytes);
    Potad::new().register(resource).map_err(refused)
}

#[cold]
fn refused(base: u64, order: Order, why: &str) -> ! {
    panic!("granule {base:#x}, {order:?}: {why}");
}

/// Bare blocks through a hand.
#[derive(Debug)]
pub struct Bare(Zone);

impl Subject for Bare {
    const NAME: &'static str = "potad";
    const SPLITS: bool = true;
    const ALIGNS: bool = true;
    const JUDGED: bool = true;

    type Hand<'a> = BareHand;

    fn new(shape: Shape) -> Result<Self, SubjectError> {
        register(shape).map(Self)
    }

    fn hidden(hands: usize) -> u64 {
        hands as u64 * potad::Hand::HIDDEN_GRANULES
    }

    fn hand(&self) -> BareHand {
        BareHand(self.0.hand())
    }

    fn metadata_bytes(&self) -> Option<u64> {
        Some(self.0.stats().forest_bytes)
    }
}

impl Bare {
    /// A hand for the blocks of one class.
    pub(super) fn hand_for(&self, class: Class) -> BareHand {
        BareHand(self.0.hand_for(class))
    }
}

/// A hand whose blocks are named by their granules, as a kernel's are.
#[derive(Debug)]
pub struct BareHand(potad::Hand);

impl Hand for BareHand {
    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<u64> {
        self.0.alloc_bare(order).ok().map(|block| block.base().0)
    }

    #[inline(always)]
    fn free(&mut self, base: u64, order: Order) {
        let Ok(block) = self.0.zone().bare_at(Granule(base), order) else {
            refused(base, order, "no block");
        };
        if let Err(why) = self.0.free_bare(block) {
            refused(base, order, &why.to_string());
        }
    }

    fn alloc_many(&mut self, order: Order, out: &mut [u64]) -> Option<()> {
        let mut rest = out.iter_mut();
        let count = rest.len();
        let place = |block: BareBlock| {
            if let Some(base) = rest.next() {
                *base = block.base().0;
            }
        };
        (self.0.alloc_many(order, count, place) == Ok(count)).then_some(())
    }

    fn free_many(&mut self, bases: &[u64], order: Order) {
        let zone = self.0.zone().clone();
        let blocks = bases.iter().filter_map(|&base| zone.bare_at(Granule(base), order).ok());
        let freed = self.0.free_many(blocks).map_err(|refused| refused.to_string());
        assert_eq!(freed, Ok(bases.len()), "{} of {order:?}", bases.len());
    }

    fn split(&mut self, base: u64, half: Order) {
        self.halve(base, half);
    }
}

impl BareHand {
    fn halve(&mut self, base: u64, half: Order) {
        let whole =
            half.double().and_then(|whole| self.0.zone().bare_at(Granule(base), whole).ok());
        let halves = whole.map(|whole| self.0.zone().split_bare(whole).map(drop));
        assert!(matches!(halves, Some(Ok(()))), "granule {base:#x}, halves of {half:?}");
    }
}

/// Raw blocks through a hand: an immediate word each.
#[derive(Debug)]
pub struct Raw(Zone);

impl Subject for Raw {
    const NAME: &'static str = "potad (raw)";
    const SPLITS: bool = false;
    const ALIGNS: bool = true;
    const JUDGED: bool = true;

    type Hand<'a> = RawHand;

    fn new(shape: Shape) -> Result<Self, SubjectError> {
        register(shape).map(Self)
    }

    fn hidden(hands: usize) -> u64 {
        Bare::hidden(hands)
    }

    fn hand(&self) -> RawHand {
        RawHand(self.0.hand())
    }

    fn metadata_bytes(&self) -> Option<u64> {
        let stats = self.0.stats();
        Some(stats.forest_bytes + stats.lookup_bytes)
    }
}

/// A hand of raw blocks.
#[derive(Debug)]
pub struct RawHand(potad::Hand);

impl Hand for RawHand {
    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<u64> {
        self.0.alloc_raw(order, OwnerId::RESOURCE).ok().map(|block| block.base().0)
    }

    #[inline(always)]
    fn free(&mut self, base: u64, order: Order) {
        let Ok(block) = self.0.zone().raw_at(Granule(base), order) else {
            refused(base, order, "no block");
        };
        if let Err(why) = self.0.free_raw(block) {
            refused(base, order, &why.to_string());
        }
    }
}

/// Bare blocks without a hand passed: each call borrows a shared one.
#[derive(Debug)]
pub struct Loose(Zone);

impl Subject for Loose {
    const NAME: &'static str = "potad (no hand)";
    const SPLITS: bool = false;
    const ALIGNS: bool = true;
    const JUDGED: bool = true;

    type Hand<'a> = &'a Loose;

    fn new(shape: Shape) -> Result<Self, SubjectError> {
        register(shape).map(Self)
    }

    fn hidden(_hands: usize) -> u64 {
        0
    }

    fn hand(&self) -> &Loose {
        self
    }
}

impl Hand for &Loose {
    #[inline(always)]
    fn alloc(&mut self, order: Order) -> Option<u64> {
        self.0.alloc_bare(order).ok().map(|block| block.base().0)
    }

    #[inline(always)]
    fn free(&mut self, base: u64, order: Order) {
        let Ok(block) = self.0.bare_at(Granule(base), order) else {
            refused(base, order, "no block");
        };
        if let Err(why) = self.0.free_bare(block) {
            refused(base, order, &why.to_string());
        }
    }
}
