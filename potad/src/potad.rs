//! The potad: the resources of one owner of memory, under one roof.

use crate::Zone;
use crate::claims::Claims;
use crate::error::Error;
use crate::resource::{IntoSpan, Resource};
use crate::state::State;
use alloc::vec::Vec;
use memdesc::sync::{Arc, Mutex, MutexGuard};
use memdesc::{Descriptor, Kind, Kinds, Owner, OwnerId, Owners};

/// A set of registered resources that share kinds and owners. Cheap to clone.
///
/// ```
/// use potad::{Potad, Resource, memdesc::Order};
///
/// let potad = Potad::new();
/// let ram = potad.register(Resource::new("dram0").granule(4096).span(0x1_0000_0000..0x5_0000_0000))?;
/// let swap = potad.register(Resource::new("swap0").granule(1).span(0..262_144))?;
/// assert_eq!(ram.largest_order(), Order::new(21)?);
/// assert_eq!(potad.zone_at(0, 0x1_2345_6789).unwrap().name(), "dram0");
/// assert!(potad.register(Resource::new("dram1").span(0..0x1_0000_0000)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Potad {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    zones: Mutex<Vec<Zone>>,
    kinds: Kinds,
    owners: Arc<Owners>,
    /// Changed while the list of zones is held.
    claims: Claims,
}

impl Potad {
    /// No resource yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a resource: all of its spans are free.
    ///
    /// Refused, and nothing registered, for an empty, misaligned or overlapping
    /// span, a granule of nothing, spans beyond the index space, or where a range
    /// is [claimed](Self::claim_range).
    pub fn register(&self, resource: Resource) -> Result<Zone, Error> {
        let space = resource.space;
        let mut zones = self.shared.zones.lock();
        for asked in resource.spans.iter().filter(|_| space == 0) {
            self.shared.claims.check_free((*asked)?)?;
        }
        for zone in zones.iter().filter(|zone| zone.state().space == space) {
            for asked in &resource.spans {
                let asked = (*asked)?;
                let there = zone.spans().into_iter();
                let mut shared =
                    there.filter(|span| span.first <= asked.last && asked.first <= span.last);
                if let Some(with) = shared.next() {
                    return Err(Error::Overlap {
                        first: asked.first,
                        last: asked.last,
                        with_first: with.first,
                        with_last: with.last,
                    });
                }
            }
        }
        let kinds = self.shared.kinds.clone();
        let owners = Arc::clone(&self.shared.owners);
        let zone = Zone::new(State::new(resource, kinds, owners)?);
        zones.push(zone.clone());
        Ok(zone)
    }

    /// As [`Zone::hot_add`], refused also where another resource of the same
    /// space has the units.
    pub fn hot_add(&self, zone: &Zone, span: impl IntoSpan) -> Result<(), Error> {
        let asked = span.into_span()?;
        let zones = self.shared.zones.lock();
        let space = zone.state().space;
        if space == 0 {
            self.shared.claims.check_free(asked)?;
        }
        let others = zones.iter().filter(|other| other.id() != zone.id());
        for other in others.filter(|other| other.state().space == space) {
            let mut spans = other.spans().into_iter();
            if let Some(with) =
                spans.find(|span| span.first <= asked.last && asked.first <= span.last)
            {
                return Err(Error::Overlap {
                    first: asked.first,
                    last: asked.last,
                    with_first: with.first,
                    with_last: with.last,
                });
            }
        }
        zone.hot_add(asked)
    }

    /// The list of zones, locked: nothing comes into the address space meanwhile.
    pub(crate) fn lock_zones(&self) -> MutexGuard<'_, Vec<Zone>> {
        self.shared.zones.lock()
    }

    pub(crate) fn claims(&self) -> &Claims {
        &self.shared.claims
    }

    pub(crate) fn owners(&self) -> &Owners {
        &self.shared.owners
    }

    /// The registered resources, in the order of registration.
    pub fn zones(&self) -> Vec<Zone> {
        self.shared.zones.lock().clone()
    }

    /// The resource of an address space that has an address.
    pub fn zone_at(&self, space: u16, address: u64) -> Option<Zone> {
        let zones = self.shared.zones.lock();
        let mut here = zones.iter().filter(|zone| zone.state().space == space);
        here.find(|zone| zone.granule_at(address).is_ok()).cloned()
    }

    /// Registers an owner, to be named by allocations of any zone.
    pub fn register_owner(&self, owner: Arc<dyn Owner>) -> Result<OwnerId, Error> {
        self.shared.owners.register(owner).map_err(Error::Owner)
    }

    /// Forgets an owner: returns once its running callbacks have finished, and
    /// none starts later. Failures in its blocks go to the resource's own owner
    /// from then on.
    pub fn unregister_owner(&self, id: OwnerId) -> Result<(), Error> {
        self.shared.owners.unregister(id).map_err(Error::Owner)
    }

    /// Registers a type of descriptor; the first allocation does it too.
    pub fn register_kind<T: Descriptor>(&self) -> Result<Kind, Error> {
        self.shared.kinds.register::<T>().map_err(Error::Kind)
    }

    /// The kinds, for the `register` of a closed set.
    pub fn kinds(&self) -> &Kinds {
        &self.shared.kinds
    }
}
