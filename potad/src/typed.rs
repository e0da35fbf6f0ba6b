//! The typed block, and the other views of a descriptor.

use crate::error::{Error, Refused};
use crate::home::Home;
use crate::zone::Zone;
use core::fmt;
use core::ops::Deref;
use memdesc::{Block as Place, Descriptor, Fresh, Order, OwnerId};

/// A counted reference to a descriptor: keeps its block allocated.
pub type Ref<T> = memdesc::Ref<Home, T>;

/// A descriptor, locked: alive, and of the block it says.
pub type Locked<'g, T> = memdesc::Locked<'g, Home, T>;

/// What a lookup found.
pub type Found<'g> = memdesc::Found<'g, Home>;

/// A block with a descriptor, owned.
///
/// Dropping it gives up the owner's reference; the range is free once every
/// [`Ref`] is gone too.
///
/// ```
/// use potad::{Potad, Resource, memdesc::Order};
///
/// struct Folio { mapped: u32 }
/// impl potad::memdesc::Descriptor for Folio { const NAME: &'static str = "folio"; }
///
/// let potad = Potad::new();
/// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
/// let folio = ram.alloc(Order::new(9)?, Folio { mapped: 3 })?;
/// let inside = folio.address() + 0x1234;
/// assert_eq!(ram.get::<Folio>(inside).unwrap().mapped, 3);
/// drop(folio);
/// assert!(ram.get::<Folio>(inside).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it frees the block"]
pub struct Block<T: Descriptor>(Ref<T>);

impl<T: Descriptor> Block<T> {
    pub(crate) fn new(reference: Ref<T>) -> Self {
        Self(reference)
    }

    /// The geometry block, as plain data.
    pub fn block(&self) -> Place {
        self.0.block()
    }

    /// The order.
    pub fn order(&self) -> Order {
        self.block().order()
    }

    /// The first unit.
    pub fn address(&self) -> u64 {
        self.0.home().0.units.unit(self.block().base())
    }

    /// Who hears of memory failure.
    pub fn owner(&self) -> OwnerId {
        self.0.owner()
    }

    /// One more reference; `None` only past 2^31 of them.
    pub fn try_ref(&self) -> Option<Ref<T>> {
        self.0.try_clone()
    }

    /// Locks the descriptor, waiting for whoever holds it.
    pub fn lock(&self) -> Locked<'_, T> {
        self.0.lock()
    }

    /// The user's eight flags of the descriptor; anybody who finds it may read
    /// and change them.
    ///
    /// ```
    /// # use potad::{Potad, Resource, memdesc::Order};
    /// # struct Folio;
    /// # impl potad::memdesc::Descriptor for Folio { const NAME: &'static str = "folio"; }
    /// # let potad = Potad::new();
    /// # let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// const DIRTY: u8 = 1 << 3;
    /// let folio = ram.alloc(Order::ZERO, Folio)?;
    /// assert_eq!(folio.set_flags(DIRTY), 0, "as they were");
    /// let found = ram.get::<Folio>(folio.address()).unwrap();
    /// assert_eq!(found.header().flags(), DIRTY);
    /// assert_eq!(found.header().clear_flags(DIRTY), DIRTY);
    /// assert_eq!(folio.flags(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flags(&self) -> u8 {
        self.0.header().flags()
    }

    /// Sets flags and returns all eight as they were; see [`flags`](Self::flags).
    pub fn set_flags(&self, flags: u8) -> u8 {
        self.0.header().set_flags(flags)
    }

    /// Clears flags and returns all eight as they were; see
    /// [`flags`](Self::flags).
    pub fn clear_flags(&self, flags: u8) -> u8 {
        self.0.header().clear_flags(flags)
    }

    /// Whether memory has failed inside.
    pub fn is_poisoned(&self) -> bool {
        self.0.header().is_poisoned()
    }

    /// The items behind the body; none if the type has no tail of them.
    pub fn tail<E: 'static>(&self) -> &[E] {
        self.0.tail()
    }

    /// Drops many, and asks for the descriptor of each eight blocks before its
    /// turn: where other threads wrote them last, their lines arrive while others
    /// are dropped. One by one each drop would wait for its own.
    ///
    /// ```
    /// # use potad::{Block, Potad, Resource, memdesc::{Descriptor, Order}};
    /// # struct Folio;
    /// # impl Descriptor for Folio { const NAME: &'static str = "folio"; }
    /// # let potad = Potad::new();
    /// # let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let folios: Result<Vec<_>, _> = (0..100).map(|_| ram.alloc(Order::ZERO, Folio)).collect();
    /// let folios = folios.map_err(|refused| refused.why)?;
    /// assert_eq!(ram.stats().free, ram.granules() - 100);
    /// Block::drop_many(folios);
    /// assert_eq!(ram.stats().free, ram.granules());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drop_many(blocks: impl IntoIterator<Item = Self>) {
        let mut ahead: [Option<Self>; AHEAD] = [const { None }; AHEAD];
        for (number, block) in blocks.into_iter().enumerate() {
            block.0.header().prefetch();
            // What comes out is the block of `AHEAD` turns ago.
            drop(ahead[number % AHEAD].replace(block));
        }
    }

    pub(crate) fn reference(&self) -> &Ref<T> {
        &self.0
    }

    pub(crate) fn zone(&self) -> u32 {
        self.0.home().0.id
    }
}

/// Descriptors that are under way at once.
const AHEAD: usize = 8;

impl Zone {
    /// Allocates a block described by `body` and `len` items behind it, which
    /// `item` makes by their number: a descriptor whose size is chosen as it is
    /// made.
    ///
    /// # Panics
    ///
    /// If the type's [`Descriptor::TAIL`] is not of such items.
    ///
    /// ```
    /// use potad::memdesc::{Descriptor, Order, OwnerId, Tail};
    /// use potad::{Potad, Resource};
    ///
    /// /// Which frames of the host stand behind the block's pages.
    /// struct Frames { node: u8 }
    /// impl Descriptor for Frames {
    ///     const NAME: &'static str = "frames";
    ///     const TAIL: Option<Tail> = Some(Tail::of::<u64>());
    /// }
    ///
    /// let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let (order, body) = (Order::new(9)?, Frames { node: 1 });
    /// let block = ram
    ///     .alloc_tailed(order, OwnerId::RESOURCE, body, 512, |page| 1000 + page as u64)
    ///     .map_err(|refused| refused.why)?;
    /// let found = ram.get::<Frames>(block.address() + 4096 * 7).unwrap();
    /// assert_eq!((found.node, found.tail::<u64>()[7]), (1, 1007));
    /// assert_eq!(block.tail::<u64>().len(), 512);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn alloc_tailed<T: Descriptor, E: Send + Sync + 'static>(
        &self,
        order: Order,
        owner: OwnerId,
        body: T,
        len: usize,
        item: impl FnMut(usize) -> E,
    ) -> Result<Block<T>, Refused<T>> {
        if let Err(why) = self.register_kind::<T>() {
            return Err(Refused { given: body, why });
        }
        let fresh = Fresh::with_tail(&self.keep, owner, body, len, item)
            .map_err(|(_, given)| Refused { given, why: Error::OutOfMemory })?;
        self.publish_typed(fresh, |publish| self.state().take_with_any(order, publish))
    }
}

impl<T: Descriptor> Deref for Block<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Descriptor> fmt::Debug for Block<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", T::NAME, self.block())
    }
}
