//! One descriptor takes over what another describes, while both are in use.
//!
//! # Picture
//!
//! ```text
//! replace     [ old         ]   ->  [ new         ]     a page moved into another cache
//! merge       [ keep ][other]   ->  [ keep        ]     two halves become one block
//! ```
//!
//! # What always holds
//!
//! An address of the blocks finds a descriptor at any moment, the old or the
//! new. Whoever has a reference to the loser keeps it, readable and lockable; it
//! describes nothing any more (`header().is_moved()`), does not keep the block,
//! and is freed by its last put. A reference to the winner keeps all of it. A
//! mark of failed memory goes along.
//!
//! A call that is refused hands back what it was given, unchanged.
//!
//! # Cost
//!
//! The lock of each descriptor, the slots' stores, and one RMW more on the
//! loser's header.

use crate::error::{Error, Refused};
use crate::state::State;
use crate::{Block, Ref};
use memdesc::{Block as Place, Descriptor, Kind, pin};

impl<T: Descriptor> Block<T> {
    /// Puts another descriptor, of whatever type, in the place of this one, with
    /// the same owner. Waits for the lock, so the caller must not hold it.
    ///
    /// ```
    /// use potad::{Potad, Resource, memdesc::{Descriptor, Order}};
    ///
    /// struct Free;
    /// struct Folio { mapped: u32 }
    /// impl Descriptor for Free { const NAME: &'static str = "free"; }
    /// impl Descriptor for Folio { const NAME: &'static str = "folio"; }
    ///
    /// let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let free = ram.alloc(Order::new(9)?, Free)?;
    /// let address = free.address() + 12_345;
    /// let folio = free.replace(Folio { mapped: 3 })?;
    /// assert_eq!(ram.get::<Folio>(address).unwrap().mapped, 3);
    /// assert!(ram.get::<Free>(address).is_none());
    /// drop(folio);
    /// assert_eq!(ram.stats().free, ram.granules());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace<U: Descriptor>(self, body: U) -> Result<Block<U>, Refused<(Self, U)>> {
        let old = self.reference();
        match old.home().0.replace(old, body) {
            // Dropping ours gives up a reference, and no block.
            Ok(new) => Ok(Block::new(new)),
            Err((body, why)) => Err(Refused { given: (self, body), why }),
        }
    }

    /// Joins this block and its buddy, whichever half it is: this descriptor
    /// describes both from then on, and a reference to the other one keeps
    /// nothing allocated. Waits for both locks, so the caller must not hold one.
    ///
    /// Refused: a block of another zone, one that is no buddy, and when memory
    /// for tables is out.
    ///
    /// ```
    /// # use potad::{Potad, Resource, memdesc::{Descriptor, Order}};
    /// # struct Folio(u32);
    /// # impl Descriptor for Folio { const NAME: &'static str = "folio"; }
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let (lower, upper) = ram.split(ram.alloc(Order::new(6)?, Folio(1))?, Folio(2))?;
    /// let address = lower.address();
    /// let whole = upper.merge(lower)?;
    /// assert_eq!((whole.address(), whole.order().get()), (address, 6));
    /// assert_eq!(ram.get::<Folio>(address).unwrap().0, 2);
    ///
    /// let stranger = ram.alloc(Order::new(3)?, Folio(3))?;
    /// let refused = whole.merge(stranger).unwrap_err();
    /// let (whole, stranger) = refused.given;
    /// assert_eq!((whole.order().get(), stranger.order().get()), (6, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn merge<U: Descriptor>(self, other: Block<U>) -> Result<Self, Refused<(Self, Block<U>)>> {
        let state = &self.reference().home().0;
        let merged = match other.zone() == state.id {
            true => state.merge(self.reference(), other.reference()),
            false => Err(Error::Foreign { asked: state.id, found: other.zone() }),
        };
        match merged {
            Ok(()) => {
                // It has moved: this gives up a reference, and no block.
                drop(other);
                self.reference().home().0.tree.settle();
                Ok(self)
            }
            Err(why) => Err(Refused { given: (self, other), why }),
        }
    }
}

impl State {
    /// The number of a type, registered if it is not yet.
    pub(crate) fn register_kind<T: Descriptor>(&self) -> Result<Kind, Error> {
        match self.kinds.of::<T>() {
            Some(kind) => Ok(kind),
            None => match self.kinds.register::<T>() {
                Ok(kind) => Ok(kind),
                Err(why) if memdesc::seeded!("second to register is refused") => {
                    Err(Error::Kind(why))
                }
                // Another thread was first.
                Err(why) => self.kinds.of::<T>().ok_or(Error::Kind(why)),
            },
        }
    }

    fn replace<T: Descriptor, U: Descriptor>(
        &self,
        old: &Ref<T>,
        body: U,
    ) -> Result<Ref<U>, (U, Error)> {
        if let Err(why) = self.register_kind::<U>() {
            return Err((body, why));
        }
        let fresh = match old.fresh(old.owner(), body) {
            Ok(fresh) => fresh,
            Err((_, body)) => return Err((body, Error::OutOfMemory)),
        };
        // Before the lock: a pin may run drops, which may ask for the lock.
        let pinned = pin();
        let locked = old.lock();
        // In a bracket, so that a closer sees all of it or nothing.
        let replaced = self.with_slot(|_| self.tree.replace(&locked, fresh));
        drop((locked, pinned));
        replaced.map_err(|refused| (refused.fresh.into_body(), Error::Lookup(refused.why)))
    }

    fn merge<T: Descriptor, U: Descriptor>(
        &self,
        keeper: &Ref<T>,
        other: &Ref<U>,
    ) -> Result<(), Error> {
        self.ready_to_merge(keeper.block())?;
        let pinned = pin();
        // Descriptors are locked in the order of their addresses.
        let merged = if keeper.block().base() < other.block().base() {
            let keeper = keeper.lock();
            let other = other.lock();
            self.with_slot(|_| self.tree.merge(&keeper, &other))
        } else {
            let other = other.lock();
            let keeper = keeper.lock();
            self.with_slot(|_| self.tree.merge(&keeper, &other))
        };
        drop(pinned);
        merged.map(|_| ()).map_err(Error::Lookup)
    }

    /// Makes present what freeing the joint block will touch.
    fn ready_to_merge(&self, half: Place) -> Result<(), Error> {
        let whole = half.parent().ok_or(Error::NoBuddy { order: half.order() })?;
        self.check_order(whole.order())?;
        self.stock.forest.ensure(whole.order().level(), whole.base())?;
        Ok(())
    }
}
