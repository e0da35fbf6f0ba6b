//! Taking where the placement says.
//!
//! # How
//!
//! A refill claims a word of the region that the search names, and makes the
//! region a home of the hand's class. What the search names is nobody's:
//! somebody else may take it first, and then it is asked again, a few times.
//! Each slot keeps the mean of what its last claims of order 0 brought, for
//! [`take`](super::take) to weigh a claim against what waits.
//!
//! # Sharing
//!
//! As in [`take`](super::take): inside the slot's bracket, or on a closed slot.

use super::held::Held;
use super::slot::Slot;
use crate::error::OutOfMemory;
use crate::forest::Taken;
use crate::regions::{Site, Trail};
use crate::stock::Stock;
use memdesc::sync::atomic::Ordering;
use memdesc::sync::own::AtomicU64;
use memdesc::{Block, Granule, ORDERS_PER_LEVEL, Order};

/// Times that a site is looked for after another was taken by somebody else.
const TRIES: u32 = 4;

/// A trail, where the owner of a hand finds it again.
#[derive(Debug)]
pub(super) struct Ahead {
    region: AtomicU64,
    words: AtomicU64,
}

impl Ahead {
    pub(super) fn nothing() -> Self {
        Self { region: AtomicU64::new(0), words: AtomicU64::new(0) }
    }

    fn get(&self) -> Trail {
        let words = self.words.load(Ordering::Relaxed);
        Trail { region: self.region.load(Ordering::Relaxed), words }
    }

    fn note(&self, trail: Trail) {
        self.region.store(trail.region, Ordering::Relaxed);
        self.words.store(trail.words, Ordering::Relaxed);
    }
}

/// How many granules a claim of order 0 has brought of late.
///
/// A mean, in which the last claim counts an eighth, and none for more than
/// [`MUCH`](Self::MUCH). One that was tried and got nothing brought none.
#[derive(Debug)]
pub(super) struct Brought {
    /// In eighths of a granule.
    mean: AtomicU64,
}

impl Brought {
    /// As good as a whole word.
    const MUCH: u64 = 8;
    /// Where claims bring fewer, what waits is looked at first (chosen by measuring:
    /// two made typed churn slower, four changed nothing).
    const LITTLE: u64 = 3;

    /// Nothing is known yet.
    pub(super) fn nothing() -> Self {
        Self { mean: AtomicU64::new(0) }
    }

    /// Notes what the claim has now.
    #[inline(always)]
    pub(super) fn note(&self, claim: &Held) {
        let granules = u64::from(claim.mask().count_ones());
        let mean = self.mean.load(Ordering::Relaxed);
        self.mean.store(mean - mean / 8 + granules.min(Self::MUCH), Ordering::Relaxed);
    }

    /// Whether it was little.
    #[inline(always)]
    pub(super) fn is_little(&self) -> bool {
        self.mean.load(Ordering::Relaxed) < 8 * Self::LITTLE
    }
}

impl Slot {
    /// Claims a word where the hand's class is at home, or may be; `false` if
    /// the search found none.
    pub(super) fn claim_placed(
        &self,
        stock: &Stock,
        victim: &Held,
        order: Order,
    ) -> Result<bool, OutOfMemory> {
        if order == Order::ZERO && self.claim_on_trail(stock, victim) {
            return Ok(true);
        }
        self.give_small_kept(stock);
        for _ in 0..TRIES {
            let near = Granule(self.near.load(Ordering::Relaxed));
            let Some(site) = stock.site(self.class, near, order.run()) else { return Ok(false) };
            let claimed = match site {
                Site::Broken { word, sparse } => {
                    self.begin_trail(stock, word, sparse);
                    self.claim_word(stock, victim, word)
                }
                Site::Whole { word } => {
                    let taken = stock.forest.take_exact(whole_of(word))?;
                    self.claim_whole(stock, victim, taken)?
                }
                Site::Larger => {
                    let whole = whole_of(0).order();
                    let taken = stock.take_above(whole, whole.level(), near)?;
                    self.claim_whole(stock, victim, taken)?
                }
            };
            if let Some(word) = claimed {
                self.near.store(word << ORDERS_PER_LEVEL, Ordering::Relaxed);
                stock.homes.settle(word, self.class);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Notes what refills look into after `word`, and asks for the line of the
    /// region that will most likely follow.
    fn begin_trail(&self, stock: &Stock, word: u64, sparse: u64) {
        self.trail.note(Trail::beside(word, sparse));
        if sparse != 0
            && let Some(line) = stock.forest.words_ahead(Trail::after(word))
        {
            memdesc::prefetch(line.as_ptr());
        }
    }

    /// Claims the next word of the trail: one that a search would name as well.
    /// `false` if there is none.
    pub(super) fn claim_on_trail(&self, stock: &Stock, victim: &Held) -> bool {
        let near = Granule(self.near.load(Ordering::Relaxed));
        let mut trail = self.trail.get();
        while let Some((word, rest)) = trail.next(near) {
            trail = rest;
            self.trail.note(rest);
            // (Its home is the class's, by the claim before.)
            if self.claim_word(stock, victim, word).is_some() {
                return true;
            }
        }
        false
    }

    /// Claims all free bits of a word of level 0, if it still has any.
    fn claim_word(&self, stock: &Stock, victim: &Held, word: u64) -> Option<u64> {
        let mask = stock.forest.claim_word(0, word);
        if mask == 0 {
            return None;
        }
        stock.on_claim(word);
        self.hold(victim, word, mask, 0);
        Some(word)
    }

    /// Makes a block of 64 granules that was taken the claim.
    pub(super) fn claim_whole(
        &self,
        stock: &Stock,
        victim: &Held,
        taken: Taken,
    ) -> Result<Option<u64>, OutOfMemory> {
        let Taken::Block(block) = taken else { return Ok(None) };
        let at = block.base();
        if stock.forest.ensure(0, at).is_err() {
            let _own = stock.forest.give(block.place(), |level, word| self.is_warm(level, word));
            return Err(OutOfMemory);
        }
        stock.on_take(block);
        self.keep_warm(stock, block);
        let word = at.0 >> ORDERS_PER_LEVEL;
        victim.set(word, u64::MAX);
        Ok(Some(word))
    }
}

/// The block of 64 granules that a word of level 0 is.
fn whole_of(word: u64) -> Block {
    let order = Order::new(ORDERS_PER_LEVEL).unwrap_or(Order::ZERO);
    Block::containing(Granule(word << ORDERS_PER_LEVEL), order)
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// Notes `times` claims of so many granules.
    fn note(brought: &Brought, granules: u32, times: u32) {
        let claim = Held::empty();
        claim.set(3, u64::MAX >> (64 - granules));
        (0..times).for_each(|_| brought.note(&claim));
    }

    #[test]
    fn what_claims_have_brought_is_little_until_some_bring_three() {
        let brought = Brought::nothing();
        assert!(brought.is_little(), "nothing is known yet");
        for granules in [1, 2] {
            note(&brought, granules, 100);
            assert!(brought.is_little(), "{granules}");
        }
        note(&brought, 3, 100);
        assert!(!brought.is_little(), "three are not");
    }

    #[test]
    fn two_claims_of_many_are_not_heard_and_eleven_of_one_are() {
        let brought = Brought::nothing();
        note(&brought, 1, 100);
        note(&brought, 64, 2);
        assert!(brought.is_little(), "two whole words");
        note(&brought, 64, 1);
        assert!(!brought.is_little(), "three");
        // A whole word is no more than eight granules, however many there were.
        note(&brought, 64, 100);
        for claims in 0..11 {
            assert!(!brought.is_little(), "{claims} claims of one");
            note(&brought, 1, 1);
        }
        assert!(brought.is_little());
    }
}
