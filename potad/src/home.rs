//! What each descriptor holds on to: its zone.
//!
//! A descriptor keeps its zone alive, so a reference may outlive every handle
//! on the potad and still be put soundly.

use crate::Ref;
use crate::hand::Code;
use crate::hand::Slot;
use crate::state::State;
use core::fmt;
use lookup::LookupError;
use memdesc::sync::Arc;
use memdesc::{Block, Dead, Descriptor, Fresh, Garbage, Kinds, Order};

/// A handle on the state of a zone, 8 bytes.
#[derive(Clone)]
pub struct Home(pub(crate) Arc<State>);

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Home({})", self.0.name)
    }
}

impl memdesc::Home for Home {
    fn kinds(&self) -> &Kinds {
        &self.0.kinds
    }

    fn teardown(dead: Dead<Self>) {
        let state = &*dead.home().0;
        #[cfg(feature = "std")]
        let dead = match crate::local::if_slot_with(state, dead, |slot, dead| match slot.enter() {
            Some(_inside) => Ok(state.bury(slot, dead)),
            None => Err(dead),
        }) {
            // Outside the bracket: it may pin, and run what others retired.
            Ok(Ok(Ok(garbage))) => return garbage.retire_unpinned(),
            Ok(Ok(Err(error))) => return leaked(error),
            Ok(Err(dead)) | Err(dead) => dead,
        };
        bury_slow(state, dead);
    }
}

#[cold]
#[inline(never)]
fn bury_slow(state: &State, dead: Dead<Home>) {
    match state.with_slot(|slot| state.bury(slot, dead)) {
        Ok(garbage) => drop(garbage),
        Err(error) => leaked(error),
    }
}

/// The tree keeps the memory of such a descriptor: it cannot say who else names
/// it.
#[cold]
fn leaked(error: LookupError) {
    debug_assert!(false, "{error}");
}

impl State {
    /// Clears the slots, then gives the range: whoever gets it finds its slots
    /// clear. Inside the slot's bracket.
    #[inline(always)]
    fn bury(&self, slot: &Slot, dead: Dead<Home>) -> Result<Garbage, LookupError> {
        let (at, garbage) = match self.tree.retract_one_near(&slot.leaf, dead) {
            Ok(buried) => buried,
            Err(dead) => return self.bury_any(slot, dead),
        };
        let block = Block::containing(at, Order::ZERO);
        if !slot.give_at_hand(&self.stock, Code::of(block)) {
            self.give_dead(slot, block);
        }
        Ok(garbage)
    }

    /// The same of any block, and where no short cut leads.
    #[inline(never)]
    fn bury_any(&self, slot: &Slot, dead: Dead<Home>) -> Result<Garbage, LookupError> {
        let (block, garbage) = match self.tree.retract_near(&slot.leaf, dead) {
            Ok(buried) => buried,
            Err(far) => self.retract_far(slot, far)?,
        };
        if !slot.give_at_hand(&self.stock, Code::of(block)) {
            self.give_dead(slot, block);
        }
        Ok(garbage)
    }

    /// Where no short cut leads yet: the next that dies in the section has one.
    #[cold]
    #[inline(never)]
    fn retract_far(&self, slot: &Slot, dead: Dead<Home>) -> Result<(Block, Garbage), LookupError> {
        if let Some(block) = dead.block() {
            // While the granules are still the descriptor's.
            self.tree.lead(&slot.leaf, block);
        }
        let retracted = self.tree.retract(dead)?;
        Ok((retracted.block, retracted.garbage))
    }

    #[cold]
    #[inline(never)]
    fn give_dead(&self, slot: &Slot, block: Block) {
        let given = self.give(slot, block);
        debug_assert_eq!(given, Ok(()), "{block:?} was live until now");
    }

    /// The whole of a hot typed allocation: enters, takes, publishes, leaves.
    /// The descriptor comes back if anything else is to be done.
    #[inline(always)]
    pub(crate) fn take_typed_hot<T: Descriptor>(
        &self,
        slot: &Slot,
        order: Order,
        fresh: Fresh<Home, T>,
    ) -> Result<Ref<T>, Fresh<Home, T>> {
        let Some(_inside) = slot.enter() else { return Err(fresh) };
        // As with raw blocks: where the order is a constant, much is.
        if order == Order::ZERO
            && let Some(code) = slot.take_at_hand(&self.stock, Order::ZERO)
        {
            let block = Block::containing(code.base(), Order::ZERO);
            return match self.tree.publish_near(&slot.leaf, block, fresh) {
                Ok(published) => Ok(published),
                Err(far) => self.publish_far_typed(slot, block, far),
            };
        }
        self.take_typed_any(slot, order, fresh)
    }

    /// The same of any order, and where the hand has to go for more.
    #[inline(never)]
    fn take_typed_any<T: Descriptor>(
        &self,
        slot: &Slot,
        order: Order,
        fresh: Fresh<Home, T>,
    ) -> Result<Ref<T>, Fresh<Home, T>> {
        let Ok(Some(block)) = self.take_own(slot, order) else { return Err(fresh) };
        match self.tree.publish_near(&slot.leaf, block, fresh) {
            Ok(published) => Ok(published),
            Err(far) => self.publish_far_typed(slot, block, far),
        }
    }

    /// Publishes the long way; what cannot be published goes back.
    #[cold]
    #[inline(never)]
    fn publish_far_typed<T: Descriptor>(
        &self,
        slot: &Slot,
        block: Block,
        fresh: Fresh<Home, T>,
    ) -> Result<Ref<T>, Fresh<Home, T>> {
        match self.tree.publish(block, fresh) {
            Ok(published) => {
                self.tree.lead(&slot.leaf, block);
                Ok(published)
            }
            Err(refused) => {
                self.give_dead(slot, block);
                Err(refused.fresh)
            }
        }
    }
}
