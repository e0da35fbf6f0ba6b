//! The zone: a registered resource, and what can be asked of it.

mod flavours;
mod live;

use crate::Hand;
use crate::error::Error;
use crate::home::Home;
use crate::placement::Class;
use crate::resource::{IntoSpan, Span};
use crate::state::State;
use core::fmt;
pub use live::Split;
use memdesc::sync::Arc;
use memdesc::{Descriptor, Granule, Granules, Keep, Kind, Order, Owner, OwnerId, WeakKeep};

/// A registered resource. Cheap to clone; every clone is the same zone.
///
/// Every call may be made from any thread at any time. Calls that allocate or
/// free use a hand that the thread gets at its first such call and keeps until
/// it ends: it costs no RMW either, hides as much as a [`Hand`] of one's own,
/// and keeps no zone alive. Without the feature `std` they borrow one of a few
/// shared hands, behind a lock (two RMWs more).
///
/// ```
/// # use potad::{Potad, Resource, memdesc::Order};
/// # let potad = Potad::new();
/// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
/// let hands = ram.stats().hands;
/// let page = ram.alloc_bare(Order::ZERO)?;
/// ram.free_bare(page)?;
/// let threads = if cfg!(feature = "std") { 1 } else { 0 };
/// assert_eq!(ram.stats().hands, hands + threads);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Zone {
    pub(crate) state: Home,
    /// What typed blocks hold on to the state by.
    pub(crate) keep: Keep<Home>,
}

impl Zone {
    pub(crate) fn new(state: State) -> Self {
        Self::of(Keep::new(Home(state.share())))
    }

    pub(crate) fn of(keep: Keep<Home>) -> Self {
        Self { state: (*keep).clone(), keep }
    }

    /// A handle that keeps no zone alive.
    pub(crate) fn downgrade(&self) -> WeakKeep<Home> {
        self.keep.downgrade()
    }

    pub(crate) fn state(&self) -> &State {
        &self.state.0
    }

    /// The name it was registered with.
    pub fn name(&self) -> &str {
        &self.state().name
    }

    /// A number that no other zone of this process has.
    pub fn id(&self) -> u32 {
        self.state().id
    }

    /// Units per granule.
    pub fn granule(&self) -> u64 {
        self.state().units.granule()
    }

    /// The granules of all spans.
    pub fn granules(&self) -> u64 {
        self.state().spans.lock().count()
    }

    /// The spans, in units, in address order; adjacent ones joined.
    pub fn spans(&self) -> alloc::vec::Vec<Span> {
        let units = self.state().units;
        let spans = self.state().spans.lock();
        let span = |range: Granules| Span {
            first: units.unit(range.first()),
            last: units.last_unit(range.last()),
        };
        spans.iter().map(span).collect()
    }

    /// The largest order of a block that a span can hold.
    pub fn largest_order(&self) -> Order {
        self.state().largest_order()
    }

    /// The unit at which a granule of this zone starts.
    pub fn address_of(&self, at: Granule) -> u64 {
        self.state().units.unit(at)
    }

    /// The granule that holds a unit, or [`Error::Outside`].
    pub fn granule_at(&self, address: u64) -> Result<Granule, Error> {
        self.state().granule_at(address)
    }

    /// The smallest order that holds so many units.
    ///
    /// ```
    /// # use potad::{Potad, Resource};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// assert_eq!(ram.order_for(2 << 20)?.get(), 9);
    /// assert_eq!(ram.order_for(1)?.get(), 0);
    /// assert!(ram.order_for(0).is_err());
    /// # Ok::<(), potad::Error>(())
    /// ```
    pub fn order_for(&self, units: u64) -> Result<Order, Error> {
        let granules = self.state().units.granules_for(units);
        Order::covering(granules).map_err(|_| Error::NoSize { units })
    }

    /// A hand of one's own: one per thread or vCPU.
    pub fn hand(&self) -> Hand {
        self.hand_for(Class::default())
    }

    /// A hand for the blocks of one class, which keeps to regions of its class
    /// where it can: what dies together then leaves whole regions free.
    ///
    /// ```
    /// # use potad::{Class, Potad, Resource, memdesc::Order};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 30))?;
    /// let (mut files, mut users) = (ram.hand_for(Class::new(0)), ram.hand_for(Class::new(1)));
    /// let mut kept = Vec::new();
    /// files.alloc_many(Order::ZERO, 480, |page| kept.push(page))?;
    /// let page = users.alloc_bare(Order::ZERO)?;
    /// assert!(kept.iter().all(|kept| kept.base().0 / 512 != page.base().0 / 512));
    /// # users.free_bare(page)?;
    /// # files.free_many(kept)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hand_for(&self, class: Class) -> Hand {
        Hand::new(self.clone(), class)
    }

    /// Adds a span while the zone is in use: all of it, or an error and
    /// nothing.
    ///
    /// ```
    /// # use potad::{Potad, Resource};
    /// # let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 20))?;
    /// ram.hot_add(1 << 20..1 << 21)?;
    /// assert_eq!(ram.largest_order().get(), 9);
    /// assert!(ram.hot_add(0..4096).is_err());
    /// # Ok::<(), potad::Error>(())
    /// ```
    pub fn hot_add(&self, span: impl IntoSpan) -> Result<(), Error> {
        self.state().hot_add(span.into_span()?)
    }

    /// Registers a type of descriptor; done by the first allocation too.
    pub fn register_kind<T: Descriptor>(&self) -> Result<Kind, Error> {
        self.state().register_kind::<T>()
    }

    /// Registers an owner, to be named by allocations of any zone of the potad.
    pub fn register_owner(&self, owner: Arc<dyn Owner>) -> Result<OwnerId, Error> {
        self.state().owners.register(owner).map_err(Error::Owner)
    }

    /// Makes `owner` the one who hears of failures in bare blocks, and in those
    /// of owners that have left.
    pub fn set_own_owner(&self, owner: Arc<dyn Owner>) -> Result<OwnerId, Error> {
        let id = self.register_owner(owner)?;
        *self.state().own_owner.lock() = Some(id);
        Ok(id)
    }

    pub(crate) fn check_zone(&self, found: u32) -> Result<(), Error> {
        let asked = self.id();
        if asked == found { Ok(()) } else { Err(Error::Foreign { asked, found }) }
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zone").field("name", &self.name()).field("id", &self.id()).finish()
    }
}
