//! The swapper: a thread that moves cold blocks to the swap file and back.
//!
//! It looks at random ids. A block that nobody touched for a while and that is
//! small enough goes to slots of the file, and its memory back to the system.
//! The oldest come back once enough are out, or at once when their guest wants
//! them: that is the guest's page fault.

use super::cookie::Dice;
use super::swap::Swap;
use super::world::World;
use std::collections::VecDeque;
use std::time::Duration;

/// Blocks that are out at once.
const OUT: usize = 256;
/// Of the records, the share after which a block is cold.
const COLD: u64 = 50;
/// Ids that are looked at before a rest.
const LOOKS: usize = 64;
/// Moves before a rest, and its length: disks are slow, and guests come first.
const MOVES: usize = 8;
const REST: Duration = Duration::from_micros(500);

/// Moves blocks until `is_done`, then brings all of them back.
pub(super) fn swap_cold_blocks(world: &World, mut dice: Dice, is_done: impl Fn() -> bool) {
    let mut out: VecDeque<(u32, u64)> = VecDeque::new();
    while !is_done() {
        for _ in 0..MOVES {
            let moved = (0..LOOKS).find_map(|_| send_out(world, &mut dice));
            out.extend(moved);
            if out.len() > OUT
                && let Some(oldest) = out.pop_front()
            {
                bring_in(world, oldest);
            }
        }
        std::thread::sleep(REST);
    }
    out.into_iter().for_each(|block| bring_in(world, block));
}

/// Swaps a random block out, if it is cold; returns its id and stamp.
fn send_out(world: &World, dice: &mut Dice) -> Option<(u32, u64)> {
    let id = dice.roll(u64::from(world.plan.ids).max(1)) as u32;
    // Its guest has it: not cold.
    let mut slot = world.slots.get(id as usize)?.held.try_lock()?;
    let held = slot.as_mut()?;
    let (first, bytes) = world.range(held.lent.place());
    let cold = u64::from(held.touched) + world.plan.records / COLD < world.done();
    if !cold || held.swapped.is_some() || !Swap::takes(bytes) {
        return None;
    }
    match world.host.swap.swap_out(&world.host.ram, first, bytes) {
        Ok(swapped) => held.swapped = swapped,
        Err(error) => world.host.swap.fail(&error),
    }
    held.swapped.is_some().then_some((id, held.cookie.stamp))
}

fn bring_in(world: &World, (id, stamp): (u32, u64)) {
    let mut slot = world.slots[id as usize].held.lock();
    if let Some(held) = slot.as_mut()
        && held.cookie.stamp == stamp
    {
        world.fault_in(held);
        world.check_contents(held);
    }
}
