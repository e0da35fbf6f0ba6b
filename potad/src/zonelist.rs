//! The zonelist: zones in the order in which to fall back over them.
//!
//! # How
//!
//! ```text
//!  [near] -> [far] -> [slow]     1. what is at hand, zone by zone
//!  [near] -> [far] -> [slow]     2. with every hand of the zone looked into
//! ```
//!
//! The second round runs only if the first found nothing anywhere: a full zone
//! at the head of the list is passed over for the price of a search, and not of
//! a rendezvous per call. So a block may come from a later zone although a
//! hand of an earlier one hides a fitting one.
//!
//! # What always holds
//!
//! - *Exhausted* is said only after each zone of the list has said it in the
//!   second round, or can never hold the order: for each zone there was a
//!   moment of the call at which nothing fitted. (Not one moment for all.)
//! - A block goes back to the zone it came from, which its handle names.
//! - All zones of a list have one granule, so an order is a size.
//!
//! # Cost
//!
//! A list is read-only: calls are those of the zones, and a search over the few
//! zones for a free.

use crate::error::{Error, Refused};
use crate::handles::{BareBlock, RawBlock};
use crate::{Block, Potad, Zone};
use memdesc::{Descriptor, Order, OwnerId};
use smallvec::SmallVec;

/// Zones to allocate from, the preferred first. Cheap to clone.
///
/// Made by [`Potad::zonelist`].
#[derive(Clone, Debug)]
pub struct Zonelist {
    /// Not empty, all different, of one granule.
    zones: SmallVec<[Zone; 4]>,
}

impl Potad {
    /// A list of zones of this potad to fall back over, the preferred first.
    ///
    /// Refused for an empty list, a zone named twice or of another potad, and
    /// for zones of different granules.
    ///
    /// ```
    /// use potad::{Error, Potad, Resource, memdesc::Order};
    ///
    /// let potad = Potad::new();
    /// let near = potad.register(Resource::new("near").granule(4096).span(0..64 << 10))?;
    /// let far = potad.register(Resource::new("far").granule(4096).span(1 << 30..1 << 31))?;
    /// let list = potad.zonelist([&near, &far])?;
    ///
    /// let first = list.alloc_bare(Order::new(4)?)?;
    /// let second = list.alloc_bare(Order::new(4)?)?;
    /// assert_eq!((near.stats().free, far.stats().free), (0, (1 << 18) - 16));
    /// list.free_bare(first)?;
    /// list.free_bare(second)?;
    /// assert_eq!((near.stats().free, far.stats().free), (16, 1 << 18));
    ///
    /// let slots = potad.register(Resource::new("swap").space(1).span(0..64))?;
    /// let mixed = potad.zonelist([&near, &slots]);
    /// assert_eq!(mixed.unwrap_err(), Error::MixedGranules { first: 4096, other: 1 });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn zonelist<'z>(
        &self,
        zones: impl IntoIterator<Item = &'z Zone>,
    ) -> Result<Zonelist, Error> {
        let registered = self.zones();
        let mut list = SmallVec::<[Zone; 4]>::new();
        for zone in zones {
            let id = zone.id();
            if !registered.iter().any(|other| other.id() == id) {
                return Err(Error::NotOfPotad { zone: id });
            }
            if list.iter().any(|other| other.id() == id) {
                return Err(Error::ZoneTwice { zone: id });
            }
            let (first, other) = (list.first().map_or(zone, |zone| zone).granule(), zone.granule());
            if first != other {
                return Err(Error::MixedGranules { first, other });
            }
            list.push(zone.clone());
        }
        if list.is_empty() {
            return Err(Error::NoZone);
        }
        Ok(Zonelist { zones: list })
    }
}

impl Zonelist {
    /// The zones, the preferred first.
    pub fn zones(&self) -> &[Zone] {
        &self.zones
    }

    /// As [`Zone::alloc_bare`], from the first zone that has a block.
    pub fn alloc_bare(&self, order: Order) -> Result<BareBlock, Error> {
        self.fall_back(|zone, how| match how {
            How::AtHand => {
                zone.state().take_at_hand(order, |_, block| Ok(zone.state().bare(block)))
            }
            How::Everywhere => zone.alloc_bare(order),
        })
    }

    /// As [`Zone::alloc_raw`], from the first zone that has a block.
    pub fn alloc_raw(&self, order: Order, owner: OwnerId) -> Result<RawBlock, Error> {
        self.fall_back(|zone, how| match how {
            How::AtHand => {
                let state = zone.state();
                let raw =
                    state.take_at_hand(order, |slot, block| state.publish_raw(slot, block, owner));
                state.tree.settle();
                raw
            }
            How::Everywhere => zone.alloc_raw(order, owner),
        })
    }

    /// As [`Zone::alloc`], from the first zone that has a block.
    pub fn alloc<T: Descriptor>(&self, order: Order, body: T) -> Result<Block<T>, Refused<T>> {
        self.alloc_owned(order, OwnerId::RESOURCE, body)
    }

    /// As [`Zone::alloc_owned`], from the first zone that has a block.
    pub fn alloc_owned<T: Descriptor>(
        &self,
        order: Order,
        owner: OwnerId,
        body: T,
    ) -> Result<Block<T>, Refused<T>> {
        let mut body = Some(body);
        let block = self.fall_back(|zone, how| {
            let Some(given) = body.take() else { return Err(Error::Exhausted { order }) };
            let allocated = match how {
                How::AtHand => zone.fresh(owner, given).and_then(|fresh| {
                    zone.publish_typed(fresh, |publish| {
                        zone.state().take_at_hand(order, |_, block| publish(block))
                    })
                }),
                How::Everywhere => zone.alloc_owned(order, owner, given),
            };
            allocated.map_err(|refused| {
                body = Some(refused.given);
                refused.why
            })
        });
        match (block, body) {
            (Ok(block), _) => Ok(block),
            (Err(why), Some(given)) => Err(Refused { given, why }),
            (Err(_), None) => unreachable!("a refusal gives the body back"),
        }
    }

    /// Frees a typed block of a zone of the list.
    pub fn free<T: Descriptor>(&self, block: Block<T>) -> Result<(), Refused<Block<T>>> {
        match self.zone_of(block.zone()) {
            Ok(zone) => zone.free(block),
            Err(why) => Err(Refused { given: block, why }),
        }
    }

    /// Frees a raw block of a zone of the list.
    pub fn free_raw(&self, block: RawBlock) -> Result<(), Refused<RawBlock>> {
        match self.zone_of(block.zone) {
            Ok(zone) => zone.free_raw(block),
            Err(why) => Err(Refused { given: block, why }),
        }
    }

    /// Frees a bare block of a zone of the list.
    pub fn free_bare(&self, block: BareBlock) -> Result<(), Refused<BareBlock>> {
        match self.zone_of(block.zone) {
            Ok(zone) => zone.free_bare(block),
            Err(why) => Err(Refused { given: block, why }),
        }
    }

    /// The zone of the list that has an id.
    fn zone_of(&self, found: u32) -> Result<&Zone, Error> {
        let asked = self.zones[0].id();
        self.zones.iter().find(|zone| zone.id() == found).ok_or(Error::Foreign { asked, found })
    }

    fn fall_back<R>(
        &self,
        mut alloc: impl FnMut(&Zone, How) -> Result<R, Error>,
    ) -> Result<R, Error> {
        if let Some(found) = self.zones.iter().find_map(|zone| alloc(zone, How::AtHand).ok()) {
            return Ok(found);
        }
        let mut why = None;
        for zone in &self.zones {
            match alloc(zone, How::Everywhere) {
                Ok(found) => return Ok(found),
                Err(refusal) => why = Some(graver(why, refusal)),
            }
        }
        Err(why.unwrap_or(Error::NoZone))
    }
}

/// How far to look into one zone.
#[derive(Clone, Copy)]
enum How {
    AtHand,
    Everywhere,
}

/// What to say of two refusals: *too large* gives way to *exhausted*, and both
/// to what is neither.
fn graver(before: Option<Error>, now: Error) -> Error {
    let rank = |error: &Error| match error {
        Error::OrderTooLarge { largest, .. } => largest.get(),
        Error::Exhausted { .. } => 64,
        _ => 65,
    };
    before.filter(|before| rank(before) >= rank(&now)).unwrap_or(now)
}
