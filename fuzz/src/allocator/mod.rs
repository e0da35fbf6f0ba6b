//! The allocator against intervals: blocks of every order and flavour, through
//! zone and hands, single and in batches; splits, merges, replacements and
//! shrinking; look-ups and references; failures; spans that come and go; and
//! what must be refused.
//!
//! Each answer is compared, and a refusal is only believed if the reference has
//! nothing either; at every fourth step, or sixteenth (for it looks at every word),
//! the zone validates itself and has as many free granules as the reference. In the end
//! everything is given back, and what is free must be the largest blocks that
//! there can be.

mod change;
mod look;
mod misuse;
mod plug;

use crate::world::{Failed, World};
use crate::{Bytes, Tally};
use memdesc::{Block as Place, Descriptor, OwnerId};
use potad::{BareBlock, Block, Error, RawBlock, Ref, Removal};

/// What a story is made of.
pub const OPERATIONS: [&str; 26] = [
    "alloc bare",
    "alloc raw",
    "alloc typed",
    "free",
    "alloc many",
    "free many",
    "split",
    "shrink",
    "merge",
    "replace",
    "get",
    "put",
    "lock",
    "find",
    "next",
    "hand",
    "flush",
    "failure",
    "hot add",
    "hot remove",
    "finish",
    "cancel",
    "adopt",
    "misuse",
    "free apart",
    "free again",
];

/// Blocks that are live at most: what makes a step cheap.
const MOST: usize = 24;

/// What typed blocks carry.
#[derive(Debug)]
struct Folio(u32);

impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}

#[derive(Debug)]
enum Live {
    Bare(BareBlock),
    Raw(RawBlock, OwnerId),
    Typed(Block<Folio>, u32),
}

impl Live {
    fn place(&self) -> Place {
        match self {
            Self::Bare(block) => block.block(),
            Self::Raw(block, _) => block.block(),
            Self::Typed(block, _) => block.block(),
        }
    }
}

/// Tells one story.
///
/// # Panics
///
/// If the allocator does not do as the reference does.
pub fn run(data: &[u8]) -> Tally {
    crate::world::in_new(data, |world, bytes| tell(world, bytes, 4))
}

/// Tells one story in a world that is kept, which is looked at as a whole less
/// often.
///
/// # Panics
///
/// If the allocator does not do as the reference does.
pub fn run_kept(data: &[u8]) -> Tally {
    crate::world::in_kept(data, |world, bytes| tell(world, bytes, 16))
}

fn tell(world: World, mut bytes: Bytes<'_>, check_every: u32) -> (Tally, World) {
    let mut story = Story::new(world);
    let mut steps = 0u32;
    while !bytes.is_empty() {
        let operation = bytes.below(OPERATIONS.len());
        let was_done = story.step(operation, &mut bytes);
        story.tally.count(operation, was_done);
        steps += 1;
        if steps.is_multiple_of(check_every) {
            story.world.check_midway();
        }
    }
    story.end()
}

struct Story {
    // Before the world: what it holds goes first.
    refs: Vec<(Ref<Folio>, u32)>,
    live: Vec<Live>,
    /// As `World::leaving`.
    removals: Vec<Removal>,
    world: World,
    number: u32,
    tally: Tally,
}

impl Story {
    fn new(world: World) -> Self {
        Self {
            refs: Vec::new(),
            live: Vec::new(),
            removals: Vec::new(),
            world,
            number: 0,
            tally: Tally::new(&OPERATIONS),
        }
    }

    /// One operation; returns whether it came to anything.
    fn step(&mut self, operation: usize, bytes: &mut Bytes<'_>) -> bool {
        match operation {
            0..3 => self.alloc(operation, bytes),
            3 => self.free(bytes),
            4 => self.alloc_many(bytes),
            5 => self.free_many(bytes),
            6 => self.split(bytes),
            7 => self.shrink(bytes),
            8 => self.merge(bytes),
            9 => self.replace(bytes),
            10 => self.get(bytes),
            11 => self.put(bytes),
            12 => self.lock(bytes),
            13 => self.find(bytes),
            14 => self.next(bytes),
            15 => self.world.turn_hands(bytes),
            16 => self.world.flush_hand(bytes.below(3)),
            17 => self.fail(bytes),
            18 => self.hot_add(bytes),
            19 => self.hot_remove(bytes),
            20 => self.finish(bytes),
            21 => self.cancel(bytes),
            22 => self.adopt(bytes),
            23 => self.misuse(bytes),
            24 => self.free_apart(bytes),
            _ => self.world.free_again(bytes),
        }
    }

    fn alloc(&mut self, flavour: usize, bytes: &mut Bytes<'_>) -> bool {
        let (order, by) = (self.world.any_order(bytes), bytes.below(4));
        if self.live.len() >= MOST {
            return false;
        }
        self.number += 1;
        let (number, owner) = (self.number, OwnerId(3));
        let live = match flavour {
            0 => self.world.alloc_bare(order, by).map(Live::Bare),
            1 => self.world.alloc_raw(order, owner, by).map(|block| Live::Raw(block, owner)),
            _ => {
                self.world.uses(by);
                let allocated = match self.world.hands.get_mut(by) {
                    None => self.world.zone.alloc(order, Folio(number)),
                    Some(hand) => hand.alloc(order, Folio(number)),
                };
                self.world.noted(order, typed(allocated, number), Live::place)
            }
        };
        let was_done = live.is_some();
        self.live.extend(live);
        was_done
    }

    fn free(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (live, by) = (bytes.take(&mut self.live), bytes.below(4));
        let Some(live) = live else { return false };
        self.free_one(live, by);
        true
    }

    fn free_one(&mut self, live: Live, by: usize) {
        let (block, number) = match live {
            Live::Bare(block) => return self.world.free_bare(block, by),
            Live::Raw(block, _) => return self.world.free_raw(block, by),
            Live::Typed(block, number) => (block, number),
        };
        let place = block.block();
        match by < self.world.hands.len() {
            false => self.world.zone.free(block).expect("live"),
            true => drop(block),
        }
        // What somebody has a reference to is kept until that is gone.
        if !self.refs.iter().any(|(_, of)| *of == number) {
            self.world.gave(place.base().0, place.last().0);
        }
    }

    fn alloc_many(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (order, by) = (self.world.any_order(bytes), bytes.below(4));
        let count = bytes.below(MOST).min(MOST.saturating_sub(self.live.len()));
        let (out, were_all) = self.world.alloc_many(order, count, by);
        self.live.extend(out.into_iter().map(Live::Bare));
        were_all
    }

    fn free_many(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (most, by) = (bytes.below(MOST), bytes.below(4));
        let mut blocks = Vec::new();
        while blocks.len() < most
            && let Some(at) = self.live.iter().position(|live| matches!(live, Live::Bare(_)))
            && let Live::Bare(block) = self.live.swap_remove(at)
        {
            blocks.push(block);
        }
        self.world.free_many(blocks, by)
    }

    /// Frees two that a hand keeps at one place, by one hand, and then another of
    /// the first one's word, if there is one: the first has left the hand, and its
    /// word is held again.
    fn free_apart(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (choice, by) = (usize::from(bytes.byte()), bytes.below(4));
        let word = |place: &Place| place.base().0 / 64;
        let small = self.live.iter().filter(|live| !matches!(live, Live::Typed(..)));
        let small: Vec<Place> =
            small.map(Live::place).filter(|place| place.order().level() == 0).collect();
        let found = (0..small.len()).find_map(|at| {
            let one = small[(at + choice) % small.len()];
            let meets =
                |other: &&Place| word(other) != word(&one) && word(other) % 8 == word(&one) % 8;
            Some((one, *small.iter().rfind(meets)?))
        });
        let Some((one, other)) = found else { return false };
        let third = small.iter().find(|place| **place != one && word(place) == word(&one));
        for place in [Some(one), Some(other), third.copied()].into_iter().flatten() {
            let at = self.live.iter().position(|live| live.place() == place).expect("it lives");
            let live = self.live.swap_remove(at);
            self.free_one(live, by);
        }
        true
    }

    /// Everything goes back, and all is as it was.
    fn end(mut self) -> (Tally, World) {
        self.world.check_midway();
        while !self.removals.is_empty() {
            self.removals.pop().expect("not empty").cancel();
            self.world.stays(self.removals.len());
        }
        while let Some(live) = self.live.pop() {
            self.free_one(live, usize::MAX);
        }
        while let Some((reference, number)) = self.refs.pop() {
            let place = reference.block();
            drop(reference);
            if self.described(place.base().0) != Some((place, number)) {
                self.world.gave(place.base().0, place.last().0);
            }
        }
        self.world.hands.clear();
        let out = self.world.failed.values().filter(|state| **state != Failed::Gone).count();
        assert_eq!(self.world.free.count(), self.world.spans.count() - out as u64);
        self.world.check_whole();
        (self.tally, self.world)
    }
}

fn typed(
    allocated: Result<Block<Folio>, potad::Refused<Folio>>,
    number: u32,
) -> Result<Live, Error> {
    match allocated {
        Ok(block) => Ok(Live::Typed(block, number)),
        Err(refused) => {
            assert_eq!(refused.given.0, number, "the body comes back");
            Err(refused.why)
        }
    }
}
