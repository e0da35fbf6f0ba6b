//! Look-up through a zone: from an address to what lives there.
//!
//! Three levels, dearer and surer: a *peek* writes nothing, and what it shows may
//! be on its way out; a *get* keeps it; a *lock* proves that it describes the
//! address. See `memdesc`'s module on what is found.
//!
//! # Cost
//!
//! A step from address to granule, then the tree's: a dependent load per level. A
//! get or a lock, with its drop, two read-modify-writes on the descriptor's line.
//! Each wants a pin; where one is held already, `get_with` and `lock_with` take
//! it, and are a fifth cheaper.

use crate::{Found, Locked, Ref, Zone};
use memdesc::{Block, Descriptor, Guard};

impl Zone {
    /// What lives at an address, while `guard` lives: a peek, no reference.
    pub fn find<'g>(&self, address: u64, guard: &'g Guard) -> Option<Found<'g>> {
        self.state().tree.find(self.state().units.index(address)?, guard)
    }

    /// A counted reference to the descriptor at an address, if it is a `T`.
    /// While it lives, the block stays allocated and findable.
    pub fn get<T: Descriptor>(&self, address: u64) -> Option<Ref<T>> {
        self.state().tree.get(self.state().units.index(address)?)
    }

    /// As [`get`](Self::get), for whoever holds a guard already. The reference
    /// outlives it.
    ///
    /// ```
    /// # use potad::{Potad, Resource, memdesc::{Descriptor, Order, pin}};
    /// # struct Folio { mapped: u32 }
    /// # impl Descriptor for Folio { const NAME: &'static str = "folio"; }
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 20))?;
    /// let folio = ram.alloc(Order::new(2)?, Folio { mapped: 3 })?;
    /// let guard = pin();
    /// let found = ram.get_with::<Folio>(folio.address() + 5000, &guard).unwrap();
    /// drop(guard);
    /// assert_eq!(found.mapped, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_with<T: Descriptor>(&self, address: u64, guard: &Guard) -> Option<Ref<T>> {
        self.state().tree.get_with(self.state().units.index(address)?, guard)
    }

    /// The descriptor at an address, locked and re-checked: while it is held,
    /// the descriptor is alive and describes the address.
    pub fn lock<T: Descriptor>(&self, address: u64) -> Option<Locked<'static, T>> {
        self.state().tree.lock(self.state().units.index(address)?)
    }

    /// As [`lock`](Self::lock), for whoever holds a guard already. If it has to
    /// wait it does so with the guard held, which holds up what others retire:
    /// where locks are held for long, call [`lock`](Self::lock) without a guard.
    ///
    /// ```
    /// # use potad::{Potad, Resource, memdesc::{Descriptor, Order, pin}};
    /// # struct Folio { mapped: u32 }
    /// # impl Descriptor for Folio { const NAME: &'static str = "folio"; }
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 20))?;
    /// let folio = ram.alloc(Order::new(2)?, Folio { mapped: 3 })?;
    /// let guard = pin();
    /// let locked = ram.lock_with::<Folio>(folio.address(), &guard).unwrap();
    /// assert_eq!(locked.block(), folio.block());
    /// assert!(ram.lock_with::<Folio>(1 << 19, &guard).is_none(), "nothing lives there");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lock_with<T: Descriptor>(
        &self,
        address: u64,
        guard: &Guard,
    ) -> Option<Locked<'static, T>> {
        self.state().tree.lock_with(self.state().units.index(address)?, guard)
    }

    /// The next block at or after an address that has a word: its geometry and
    /// what lives there.
    pub fn next<'g>(&self, address: u64, guard: &'g Guard) -> Option<(Block, Found<'g>)> {
        self.state().tree.next(self.state().units.index(address)?, guard)
    }
}
