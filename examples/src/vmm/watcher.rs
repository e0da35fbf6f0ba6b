//! The watcher: a thread that looks addresses up all along.
//!
//! Every answer is held against what the guests know of the address; once a
//! batch a descriptor is locked and referenced too. See `known` for why a mismatch is a real
//! one.

use super::cookie::Dice;
use super::kinds::{Buffer, Folio, Huge, Mm, Slab, Sort};
use super::known::Entry;
use super::world::World;
use potad::memdesc::Descriptor;
use potad::memdesc::sync::thread;
use potad::{Found, Guard, Zone, pin};

/// Look-ups under one pin.
const BATCH: u64 = 32;

/// What the watcher did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looked {
    pub(super) lookups: u64,
    /// Those that could be held against a guest's knowledge.
    pub(super) checked: u64,
    pub(super) mismatches: u64,
    /// Those where memory is somebody's, but no guest's: a reporter's, or
    /// failed, or about to be known.
    pub(super) others: u64,
}

/// Looks up until `is_done`.
pub(super) fn look(world: &World, mut dice: Dice, is_done: impl Fn() -> bool) -> Looked {
    let mut looked = Looked::default();
    let parts = world.host.ram.parts();
    let (from, to) = (parts[0].first, parts[2].first + parts[2].bytes);
    let hole = parts[0].first + parts[0].bytes..parts[1].first;
    while !is_done() {
        let guard = pin();
        for _ in 0..BATCH {
            let address = from + dice.roll(to - from);
            looked.lookups += 1;
            let problem = if hole.contains(&address) {
                world.host.zone.find(address, &guard).map(|found| format!("{found:?} in the hole"))
            } else {
                check(world, address, &guard, &mut looked)
            };
            if let Some(problem) = problem {
                looked.mismatches += 1;
                world.trouble(format_args!("lookup of {address:#x}: {problem}"));
            }
        }
        drop(guard);
        let address = from + dice.roll(to - from);
        if let Some(problem) = lock(world, address, &mut looked) {
            looked.mismatches += 1;
            world.trouble(format_args!("lock at {address:#x}: {problem}"));
        }
        // The guests come first.
        thread::yield_now();
    }
    looked
}

/// Looks one address up; `Some` says what is wrong.
fn check(world: &World, address: u64, guard: &Guard, looked: &mut Looked) -> Option<String> {
    let host = &world.host;
    let zone = &host.zone;
    // The part that is not plugged yet has no granules.
    let at = zone.granule_at(address).ok()?;
    let Some(entry) = host.known.at(at) else {
        looked.others += u64::from(zone.find(address, guard).is_some());
        return None;
    };
    let found = zone.find(address, guard);
    let differs = found.as_ref().map_or(Some("nothing found".to_owned()), |found| {
        differs(found, &entry, host.owners[entry.guest])
    });
    if !host.known.is_still(&entry) {
        return None;
    }
    looked.checked += 1;
    differs.map(|what| format!("{what}, the guest knows {entry:?}"))
}

fn differs(found: &Found<'_>, entry: &Entry, owner: potad::memdesc::OwnerId) -> Option<String> {
    if found.kind_name() != entry.sort.name() {
        return Some(format!("kind {}", found.kind_name()));
    }
    if found.block() != entry.block {
        return Some(format!("block {:?}", found.block()));
    }
    if found.owner() != owner {
        return Some(format!("owner {:?}", found.owner()));
    }
    match Mm::of(found) {
        Some(mm) if mm.who().stamp != entry.stamp => Some(format!("descriptor {:?}", mm.who())),
        None if entry.sort != Sort::Raw => Some("no descriptor of the set".to_owned()),
        _ => None,
    }
}

/// Takes the lock and a reference of what lives at an address. Under the lock
/// the descriptor must describe the address, whatever the guests do.
fn lock(world: &World, address: u64, looked: &mut Looked) -> Option<String> {
    fn of<T: Descriptor>(zone: &Zone, address: u64) -> Option<String> {
        let at = zone.granule_at(address).ok()?;
        let locked = zone.lock::<T>(address)?;
        if !locked.block().contains(at) {
            return Some(format!("{:?} does not hold {at:?}", locked.block()));
        }
        let reference = locked.to_ref()?;
        let place = locked.block();
        drop(locked);
        // Splits may have halved it meanwhile, but its base stays.
        let moved = reference.block().base() != place.base();
        moved.then(|| format!("{place:?} became {:?}", reference.block()))
    }
    let zone = &world.host.zone;
    let entry = world.host.known.at(zone.granule_at(address).ok()?)?;
    looked.lookups += 1;
    match entry.sort {
        Sort::Folio => of::<Folio>(zone, address),
        Sort::Slab => of::<Slab>(zone, address),
        Sort::Buffer => of::<Buffer>(zone, address),
        Sort::Huge => of::<Huge>(zone, address),
        Sort::Raw => None,
    }
}
