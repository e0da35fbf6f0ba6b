//! The injector: memory fails while guests use it.
//!
//! # Where
//!
//! In turn: a granule that a guest uses, one that nobody seems to use, and one
//! of a block that a guest is freeing this very moment. What it really was when
//! the failure came, potad says.
//!
//! A failed granule costs its largest block for ever, so failures keep to as
//! many of these banks as the arena has to spare: see `plan`.
//!
//! # When
//!
//! Evenly over the records of the trace; what is left when the guests are done
//! comes at the end, before their last frees.

use super::cookie::Dice;
use super::world::World;
use potad::memdesc::sync::atomic::Ordering;
use potad::memdesc::sync::thread;
use potad::memdesc::{Block, FailureKind, Granule};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Addresses that are tried before any will do.
const TRIES: usize = 4096;
/// How long to look for a block in transit.
const LOOK: Duration = Duration::from_millis(5);
const REST: Duration = Duration::from_micros(200);

/// What was aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    Used,
    Free,
    InTransit,
}

/// What potad found there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Injected {
    pub(super) aimed_in_transit: u64,
    pub(super) found_free: u64,
    pub(super) found_used: u64,
}

/// Injects `count` failures, in step with the guests until `is_done`.
pub(super) fn inject(
    world: &World,
    count: u64,
    mut dice: Dice,
    is_done: impl Fn() -> bool,
) -> Injected {
    let mut injected = Injected::default();
    let mut banks = BTreeSet::new();
    for number in 1..=count {
        let due = world.plan.records * number / (count + 1);
        while world.done() < due && !is_done() {
            std::thread::sleep(REST);
        }
        if world.is_interrupted() {
            break;
        }
        let aim = [Aim::Used, Aim::Free, Aim::InTransit][(number % 3) as usize];
        let Some(at) = choose(world, aim, &mut banks, &mut dice) else { continue };
        fail(world, at, &mut injected);
        injected.aimed_in_transit += u64::from(aim == Aim::InTransit);
    }
    injected
}

fn fail(world: &World, at: Granule, injected: &mut Injected) {
    let host = &world.host;
    let address = host.zone.address_of(at);
    let report = host.potad.report_failure(address, 0, FailureKind::Injected);
    match report {
        Ok(report) => {
            injected.found_free += report.quarantined;
            injected.found_used += report.notified;
        }
        Err(why) => world.trouble(format_args!("report of {address:#x}: {why}")),
    }
    host.ledger.end(at, report.ok());
}

/// A granule that has not failed, noted in the ledger.
fn choose(
    world: &World,
    aim: Aim,
    banks: &mut BTreeSet<Block>,
    dice: &mut Dice,
) -> Option<Granule> {
    if aim == Aim::InTransit {
        let until = Instant::now() + LOOK;
        while Instant::now() < until {
            thread::yield_now();
            let Some(block) = in_transit(world) else { continue };
            let at = Granule(block.base().0 + dice.roll(block.order().granules()));
            let taken = take(world, banks, at);
            if taken.is_some() {
                return taken;
            }
        }
    }
    (0..TRIES).find_map(|attempt| {
        let at = anywhere(world, banks, dice)?;
        let is_used = world.host.known.at(at).is_some();
        let fits = match aim {
            Aim::Used => is_used,
            Aim::Free => !is_used,
            Aim::InTransit => true,
        };
        // Nothing of the kind may be left.
        (fits || attempt > TRIES / 2).then(|| take(world, banks, at)).flatten()
    })
}

/// A block that a guest is freeing.
fn in_transit(world: &World) -> Option<Block> {
    let freeing = |position: &super::world::Position| {
        // `Relaxed`: a hint; the block may be anybody's by now.
        Block::decode(position.freeing.load(Ordering::Relaxed))
    };
    world.positions.iter().find_map(freeing)
}

/// A granule of the resource; of the banks that have failed, once there are
/// enough of them.
fn anywhere(world: &World, banks: &BTreeSet<Block>, dice: &mut Dice) -> Option<Granule> {
    if banks.len() as u64 >= world.plan.banks {
        let bank = banks.iter().nth(dice.roll(banks.len().max(1) as u64) as usize)?;
        return Some(Granule(bank.base().0 + dice.roll(bank.order().granules())));
    }
    let parts = world.host.ram.parts();
    let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
    let mut offset = dice.roll(bytes);
    for part in parts {
        if offset < part.bytes {
            return world.host.zone.granule_at(part.first + offset).ok();
        }
        offset -= part.bytes;
    }
    None
}

fn take(world: &World, banks: &mut BTreeSet<Block>, at: Granule) -> Option<Granule> {
    let bank = Block::containing(at, world.plan.largest);
    let is_full = banks.len() as u64 >= world.plan.banks;
    if (is_full && !banks.contains(&bank)) || !world.host.ledger.begin(at) {
        return None;
    }
    banks.insert(bank);
    Some(at)
}
