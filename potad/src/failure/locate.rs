//! Where a failed granule is, and what proves that it is known or kept.
//!
//! # How
//!
//! At first while everybody runs:
//!
//! | where it is | what is done | the proof |
//! |---|---|---|
//! | free in the forest | carved out of its block | quarantined: its bit is ours |
//! | a live immediate word | the word is marked, its owner is told | who clears the word sees the mark, or the mark fails |
//! | a live descriptor | referenced, locked, re-checked, marked; its owner is told | the reference keeps it until its owner was told |
//!
//! and if it is none of these, with every hand closed, once more and
//!
//! | where it is | what is done | the proof |
//! |---|---|---|
//! | free in a hand | the bit is taken out of the mask | quarantined |
//! | claimed by a removal | carved out of what is claimed | quarantined |
//! | a descriptor that is being torn down | wait, and look again | |
//! | no word at all | a bare block: the resource's own owner is told | whoever frees it does so in a later bracket, and looks |
//!
//! # What always holds
//!
//! A block that was being allocated or freed is in none of these states while
//! the hands are closed: so it is found in one of them then, and each but a teardown
//! leads to its proof. Bracket and gate are left before the answer is given: whoever
//! waits, locks or tells does so outside.

use crate::poison::Poisoned;
use crate::state::State;
use memdesc::{Block, ErasedRef, Found, Granule, Guard, Immediate, Order, OwnerId, Subtype};

/// What a granule was found to be.
pub(super) enum Where {
    Quarantined,
    /// Live without a descriptor: its owner, block and name.
    Word(OwnerId, Option<Block>, &'static str),
    Typed(ErasedRef<crate::home::Home>),
    /// In the hands of a teardown.
    Dying,
}

impl State {
    /// Where a granule on record is; a free one is taken out of circulation.
    pub(super) fn locate(&self, at: Granule) -> Where {
        // Before bracket and gate: a pin may run the drops of what was retired.
        let guard = memdesc::pin();
        self.locate_open(at, &guard).unwrap_or_else(|| self.locate_closed(at, &guard))
    }

    /// The same while everybody runs; `None` where that is no proof.
    fn locate_open(&self, at: Granule, guard: &Guard) -> Option<Where> {
        if self.is_kept(at) || self.carve_open(at) {
            return Some(Where::Quarantined);
        }
        match self.tree.find(at, guard)? {
            // Whoever frees the block clears its word first, and then looks
            // whether to keep it: so after our mark it sees our note.
            Found::Immediate(..) => self.tree.poison_immediate(at).map(|word| marked(at, word)),
            Found::Descriptor(peeked) => peeked.try_get().map(Where::Typed),
        }
    }

    /// Carves a granule out of the forest, inside a bracket.
    fn carve_open(&self, at: Granule) -> bool {
        self.with_shared_slot(|_| self.carve_forest(at))
    }

    fn carve_forest(&self, at: Granule) -> bool {
        let one = Block::containing(at, Order::ZERO);
        let carved = self.stock.forest.carve(one, &mut self.stock.reserve.lock());
        let is_free = carved.is_some();
        if let Some(block) = carved {
            self.settle_carved(at, block);
        }
        is_free
    }

    /// The same with every hand closed.
    fn locate_closed(&self, at: Granule, guard: &Guard) -> Where {
        let closed = self.gate.close();
        let one = Block::containing(at, Order::ZERO);
        // Where it can be carved.
        closed.give_kept(&self.stock, |block| block.covers(one));
        if self.is_kept(at) || self.carve_forest(at) {
            return Where::Quarantined;
        }
        let in_hand = || closed.slots().any(|slot| slot.carve(one)).then_some(one);
        if let Some(block) = in_hand().or_else(|| self.carve_claimed(at)) {
            self.settle_carved(at, block);
            return Where::Quarantined;
        }
        let found = match self.tree.find(at, guard) {
            None => return Where::Word(OwnerId::RESOURCE, None, "bare"),
            Some(Found::Immediate(..)) => self.tree.poison_immediate(at),
            Some(Found::Descriptor(peeked)) => {
                return peeked.try_get().map_or(Where::Dying, Where::Typed);
            }
        };
        drop(closed);
        found.map_or(Where::Dying, |word| marked(at, word))
    }

    fn carve_claimed(&self, at: Granule) -> Option<Block> {
        self.closing.carve(at, &mut self.stock.reserve.lock())
    }

    /// Whether a granule on record is out of circulation.
    fn is_kept(&self, at: Granule) -> bool {
        self.stock.poison.get(at) == Some(Poisoned::Quarantined)
            || self.stock.poison.keep_beside(at)
    }
}

/// What a marked word says.
fn marked(at: Granule, word: Immediate) -> Where {
    match word.subtype {
        // Kept by a free between our note and our look.
        Subtype::Quarantine => Where::Quarantined,
        subtype => {
            let block = Block::containing(at, word.order);
            Where::Word(word.owner, Some(block), subtype_name(subtype))
        }
    }
}

fn subtype_name(subtype: Subtype) -> &'static str {
    match subtype {
        Subtype::Raw => "raw",
        Subtype::Reserved => "reserved",
        Subtype::Guard => "guard",
        Subtype::Offline => "offline",
        Subtype::Reporting => "reporting",
        Subtype::Quarantine => "quarantine",
        _ => "user",
    }
}
