//! What each descriptor holds on to: its zone.
//!
//! A descriptor keeps its zone alive, so a reference may outlive every handle
//! on the potad and still be put soundly.

#[cfg(feature = "std")]
use crate::Ref;
use crate::hand::Code;
use crate::hand::Slot;
use crate::state::State;
use core::fmt;
use lookup::LookupError;
use memdesc::sync::Arc;
use memdesc::{Block, Dead, Garbage, Kinds};
#[cfg(feature = "std")]
use memdesc::{Descriptor, Fresh, Order};

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
        let state = &dead.home().0;
        let mut dead = Some(dead);
        #[cfg(feature = "std")]
        let hot = crate::local::if_slot(state, |slot| {
            let _inside = slot.enter()?;
            Some(state.bury(slot, dead.take()?))
        });
        #[cfg(not(feature = "std"))]
        let hot: Option<Option<Result<Garbage, LookupError>>> = None;
        match hot.flatten() {
            // Outside the bracket: it may pin, and run what others retired.
            Some(Ok(garbage)) => drop(garbage),
            Some(Err(error)) => leaked(error),
            None => bury_slow(state, dead.take()),
        }
    }
}

#[cold]
#[inline(never)]
fn bury_slow(state: &State, dead: Option<Dead<Home>>) {
    let Some(dead) = dead else { return };
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
    /// The descriptor stays where it is if anything else is to be done.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn take_typed_hot<T: Descriptor>(
        &self,
        slot: &Slot,
        order: Order,
        fresh: &mut Option<Fresh<Home, T>>,
    ) -> Option<Ref<T>> {
        let _inside = slot.enter()?;
        let block = self.take_own(slot, order).ok()??;
        match self.tree.publish_near(&slot.leaf, block, fresh.take()?) {
            Ok(published) => Some(published),
            Err(far) => {
                *fresh = Some(far);
                self.publish_far_typed(slot, block, fresh)
            }
        }
    }

    /// Publishes the long way; what cannot be published goes back.
    #[cfg(feature = "std")]
    #[cold]
    #[inline(never)]
    fn publish_far_typed<T: Descriptor>(
        &self,
        slot: &Slot,
        block: Block,
        fresh: &mut Option<Fresh<Home, T>>,
    ) -> Option<Ref<T>> {
        match self.tree.publish(block, fresh.take()?) {
            Ok(published) => {
                self.tree.lead(&slot.leaf, block);
                Some(published)
            }
            Err(refused) => {
                *fresh = Some(refused.fresh);
                self.give_dead(slot, block);
                None
            }
        }
    }
}
