//! The host: memory, swap, and the potad that lends both.

use super::error::VmmError;
use super::known::Known;
use super::ledger::{Ledger, Listener};
use super::options::Options;
use super::plan::Plan;
use super::ram::Ram;
use super::reclaim::{Reclaim, Returned};
use super::swap::Swap;
use potad::memdesc::sync::{Arc, Mutex};
use potad::memdesc::{Granule, OwnerId};
use potad::{Potad, Resource, Zone};

/// Everything that is set up before the first guest runs.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) potad: Potad,
    pub(super) zone: Zone,
    pub(super) ram: Arc<Ram>,
    pub(super) swap: Swap,
    pub(super) known: Arc<Known>,
    pub(super) ledger: Arc<Ledger>,
    /// Of each guest.
    pub(super) owners: Vec<OwnerId>,
    pub(super) returned: Arc<Returned>,
    pub(super) reclaim: Reclaim,
    plugged: Mutex<bool>,
}

impl Host {
    /// Sets it up, or leaves nothing behind.
    pub(super) fn new(plan: &Plan, options: &Options) -> Result<Self, VmmError> {
        let ram = Arc::new(Ram::new(plan)?);
        let potad = Potad::new();
        let swap = Swap::new(&potad, options)?;
        let [low, high, _] = ram.parts();
        let parts = Resource::new("ram0").granule(plan.granule);
        let parts = parts.span(low.first..low.first + low.bytes);
        let parts = parts.span(high.first..high.first + high.bytes);
        let zone = potad.register(parts)?;

        let (first, count) = granules(&ram, plan.granule);
        let known = Arc::new(Known::new(first, count, plan.largest));
        let ledger = Arc::new(Ledger::default());
        let listener = |guest| {
            Arc::new(Listener { ledger: Arc::clone(&ledger), known: Arc::clone(&known), guest })
        };
        zone.set_own_owner(listener(None))?;
        let guests = 0..plan.queues.len();
        let owners = guests.map(|guest| potad.register_owner(listener(Some(guest))));
        let owners = owners.collect::<Result<Vec<_>, _>>()?;
        let returned = Arc::new(Returned::new(&ram));
        let reclaim = Reclaim::new(&zone, &ram, Arc::clone(&returned), options.driver_fault)?;
        let plugged = Mutex::new(false);
        Ok(Self { potad, zone, ram, swap, known, ledger, owners, returned, reclaim, plugged })
    }

    /// Adds the last part of the memory, unless it is there: `true` if it was
    /// this call that did.
    pub(super) fn plug(&self) -> Result<bool, String> {
        let mut plugged = self.plugged.lock();
        if *plugged {
            return Ok(false);
        }
        let last = self.ram.parts().len() - 1;
        self.ram.plug(last).map_err(|error| error.to_string())?;
        let part = &self.ram.parts()[last];
        let span = part.first..part.first + part.bytes;
        self.potad.hot_add(&self.zone, span).map_err(|error| error.to_string())?;
        // As sparse as the rest of the file was.
        reporting::ZoneSource::note_absent(&self.zone, part.first, part.first + part.bytes - 1);
        *plugged = true;
        Ok(true)
    }
}

/// The granules from the first part to the end of the last, hole included.
fn granules(ram: &Ram, granule: u64) -> (Granule, u64) {
    let [low, _, last] = ram.parts();
    let end = last.first + last.bytes;
    (Granule(low.first / granule), (end - low.first) / granule)
}
