//! The allocator against intervals: blocks of every order and flavour, through
//! zone and hands, single and in batches; splits, merges, replacements and
//! shrinking; look-ups and references; failures; spans that come and go; and
//! what must be refused.
//!
//! Each answer is compared, and a refusal is only believed if the reference has
//! nothing either; at every fourth step (for it looks at every word) the zone
//! validates itself and has as many free granules as the reference. In the end everything is given back, and what is free must be the
//! largest blocks that there can be.

use crate::world::{Failed, World, range};
use crate::{Bytes, Tally};
use memdesc::{Block as Place, Descriptor, FailureKind, Granule, Order, OwnerId};
use potad::{BareBlock, Block, Error, Hand, RawBlock, Ref, Removal};

/// What a story is made of.
pub const OPERATIONS: [&str; 24] = [
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
    let mut bytes = Bytes::new(data);
    let mut story = Story::new(&mut bytes);
    let mut steps = 0u32;
    while !bytes.is_empty() {
        let operation = bytes.below(OPERATIONS.len());
        let was_done = story.step(operation, &mut bytes);
        story.tally.count(operation, was_done);
        steps += 1;
        if steps.is_multiple_of(4) {
            story.world.check();
        }
    }
    story.end()
}

struct Story {
    // Before the world: what it holds goes first.
    refs: Vec<(Ref<Folio>, u32)>,
    live: Vec<Live>,
    hands: Vec<Hand>,
    /// As `World::leaving`.
    removals: Vec<Removal>,
    world: World,
    number: u32,
    tally: Tally,
}

impl Story {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        Self {
            refs: Vec::new(),
            live: Vec::new(),
            hands: Vec::new(),
            removals: Vec::new(),
            world: World::new(bytes),
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
            15 => self.hand(bytes),
            16 => match bytes.below(3) {
                at if at < self.hands.len() => {
                    self.hands[at].flush();
                    true
                }
                _ => false,
            },
            17 => self.fail(bytes),
            18 => self.hot_add(bytes),
            19 => self.hot_remove(bytes),
            20 => self.finish(bytes),
            21 => self.cancel(bytes),
            22 => self.adopt(bytes),
            _ => self.misuse(bytes),
        }
    }

    fn alloc(&mut self, flavour: usize, bytes: &mut Bytes<'_>) -> bool {
        let (order, by) = (self.world.any_order(bytes), bytes.below(4));
        if self.live.len() >= MOST {
            return false;
        }
        let (zone, hand) = (&self.world.zone, self.hands.get_mut(by));
        self.number += 1;
        let (number, owner) = (self.number, OwnerId(3));
        let live = match (flavour, hand) {
            (0, None) => zone.alloc_bare(order).map(Live::Bare),
            (0, Some(hand)) => hand.alloc_bare(order).map(Live::Bare),
            (1, None) => zone.alloc_raw(order, owner).map(|block| Live::Raw(block, owner)),
            (1, Some(hand)) => hand.alloc_raw(order, owner).map(|block| Live::Raw(block, owner)),
            (_, None) => typed(zone.alloc(order, Folio(number)), number),
            (_, Some(hand)) => typed(hand.alloc(order, Folio(number)), number),
        };
        self.world.took(order, live.as_ref().map(Live::place));
        self.live.extend(live.ok());
        self.live.len() < MOST && self.live.last().is_some_and(|live| live.place().order() == order)
    }

    fn free(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (live, by) = (bytes.take(&mut self.live), bytes.below(4));
        let Some(live) = live else { return false };
        self.free_one(live, by);
        true
    }

    fn free_one(&mut self, live: Live, by: usize) {
        let place = live.place();
        let (zone, hand) = (&self.world.zone, self.hands.get_mut(by));
        match (live, hand) {
            (Live::Bare(block), None) => zone.free_bare(block).expect("live"),
            (Live::Bare(block), Some(hand)) => hand.free_bare(block).expect("live"),
            (Live::Raw(block, _), None) => zone.free_raw(block).expect("live"),
            (Live::Raw(block, _), Some(hand)) => hand.free_raw(block).expect("live"),
            (Live::Typed(block, _), None) => zone.free(block).expect("live"),
            (Live::Typed(block, _), Some(_)) => drop(block),
        }
        // What somebody has a reference to is kept until that is gone.
        if !self.refs.iter().any(|(reference, _)| reference.block() == place) {
            self.world.gave(place.base().0, place.last().0);
        }
    }

    fn alloc_many(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (order, by) = (self.world.any_order(bytes), bytes.below(4));
        let count = bytes.below(MOST).min(MOST.saturating_sub(self.live.len()));
        let mut out = Vec::new();
        let taken = match self.hands.get_mut(by) {
            None => self.world.zone.alloc_many(order, count, |block| out.push(block)),
            Some(hand) => hand.alloc_many(order, count, |block| out.push(block)),
        };
        for block in &out {
            self.world.took(order, Ok(block.block()));
        }
        match &taken {
            Ok(taken) => {
                assert_eq!(*taken, out.len());
                assert!(*taken == count || !self.world.has(order), "{taken} of {count}");
            }
            Err(why) => self.world.took(order, Err(why)),
        }
        self.live.extend(out.into_iter().map(Live::Bare));
        taken == Ok(count)
    }

    fn free_many(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (most, by) = (bytes.below(MOST), bytes.below(4));
        let mut blocks = Vec::new();
        while blocks.len() < most
            && let Some(at) = self.live.iter().position(|live| matches!(live, Live::Bare(_)))
            && let Live::Bare(block) = self.live.swap_remove(at)
        {
            self.world.gave(block.base().0, block.block().last().0);
            blocks.push(block);
        }
        let count = blocks.len();
        let freed = match self.hands.get_mut(by) {
            None => self.world.zone.free_many(blocks),
            Some(hand) => hand.free_many(blocks),
        };
        assert_eq!(freed.expect("live"), count);
        count > 0
    }

    fn split(&mut self, bytes: &mut Bytes<'_>) -> bool {
        if self.live.len() >= 2 * MOST {
            return false;
        }
        let Some(live) = bytes.take(&mut self.live) else { return false };
        let (place, zone) = (live.place(), &self.world.zone);
        let halves = match live {
            Live::Bare(block) => match zone.split_bare(block) {
                Ok((lower, upper)) => Ok((Live::Bare(lower), Live::Bare(upper))),
                Err(refused) => Err((refused.why, Live::Bare(refused.given))),
            },
            Live::Raw(block, owner) => match zone.split_raw(block) {
                Ok((lower, upper)) => Ok((Live::Raw(lower, owner), Live::Raw(upper, owner))),
                Err(refused) => Err((refused.why, Live::Raw(refused.given, owner))),
            },
            Live::Typed(block, number) => {
                self.number += 1;
                match zone.split(block, Folio(self.number)) {
                    Ok((lower, upper)) => {
                        Ok((Live::Typed(lower, number), Live::Typed(upper, self.number)))
                    }
                    Err(refused) => Err((refused.why, Live::Typed(refused.given.0, number))),
                }
            }
        };
        match halves {
            Ok((lower, upper)) => {
                assert_eq!(place.halves(), Some((lower.place(), upper.place())));
                self.live.extend([lower, upper]);
                true
            }
            Err((why, live)) => {
                assert_eq!((why, place.order()), (Error::NoHalves, Order::ZERO));
                assert_eq!(live.place(), place);
                self.live.push(live);
                false
            }
        }
    }

    fn shrink(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (live, order) = (bytes.take(&mut self.live), self.world.any_order(bytes));
        let Some(live) = live else { return false };
        let (place, zone) = (live.place(), &self.world.zone);
        let shrunk = match live {
            Live::Bare(block) => match zone.shrink_bare(block, order) {
                Ok(block) => Ok(Live::Bare(block)),
                Err(refused) => Err((refused.why, Live::Bare(refused.given))),
            },
            Live::Raw(block, owner) => match zone.shrink_raw(block, order) {
                Ok(block) => Ok(Live::Raw(block, owner)),
                Err(refused) => Err((refused.why, Live::Raw(refused.given, owner))),
            },
            Live::Typed(block, number) => match zone.shrink(block, order) {
                Ok(block) => Ok(Live::Typed(block, number)),
                Err(refused) => Err((refused.why, Live::Typed(refused.given, number))),
            },
        };
        let (live, was_done) = match shrunk {
            Ok(live) => {
                let lower = live.place();
                assert_eq!((lower.base(), lower.order()), (place.base(), order));
                if lower.last() < place.last() {
                    self.world.gave(lower.last().0 + 1, place.last().0);
                }
                (live, true)
            }
            Err((why, live)) => {
                assert!(order > place.order());
                let (asked, granules) = (order.granules(), place.order().granules());
                assert_eq!((why, live.place()), (Error::NoShrink { asked, granules }, place));
                (live, false)
            }
        };
        self.live.push(live);
        was_done
    }

    /// Takes a typed block out, if the choice hits one.
    fn take_typed(&mut self, bytes: &mut Bytes<'_>) -> Option<(Block<Folio>, u32)> {
        let mut typed: Vec<usize> = Vec::new();
        for (at, live) in self.live.iter().enumerate() {
            if matches!(live, Live::Typed(..)) {
                typed.push(at);
            }
        }
        let at = bytes.take(&mut typed)?;
        match self.live.swap_remove(at) {
            Live::Typed(block, number) => Some((block, number)),
            _ => unreachable!("chosen among those"),
        }
    }

    fn merge(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let Some((block, number)) = self.take_typed(bytes) else { return false };
        let buddy = block.block().buddy();
        // Its buddy, if that is to be had; else anything.
        let at = self
            .live
            .iter()
            .position(|live| matches!(live, Live::Typed(block, _) if Some(block.block()) == buddy));
        let other = match at {
            Some(at) => match self.live.swap_remove(at) {
                Live::Typed(block, number) => Some((block, number)),
                _ => unreachable!("chosen among those"),
            },
            None => self.take_typed(bytes),
        };
        let Some((other, second)) = other else {
            self.live.push(Live::Typed(block, number));
            return false;
        };
        let (place, gone) = (block.block(), other.block());
        let is_buddy = place.buddy() == Some(gone);
        match block.merge(other) {
            Ok(whole) => {
                assert!(is_buddy);
                assert_eq!(Some(whole.block()), place.parent());
                // References to the other one keep nothing any more.
                self.refs.retain(|(_, of)| *of != second);
                self.live.push(Live::Typed(whole, number));
                true
            }
            Err(refused) => {
                let (block, other) = refused.given;
                let fits = place.order() < self.world.largest_order();
                assert!(!is_buddy || !fits, "{place:?} and {gone:?}: {}", refused.why);
                assert_eq!((block.block(), other.block()), (place, gone));
                self.live.extend([Live::Typed(block, number), Live::Typed(other, second)]);
                false
            }
        }
    }

    fn replace(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let Some((block, number)) = self.take_typed(bytes) else { return false };
        let place = block.block();
        self.number += 1;
        let new = block.replace(Folio(self.number)).map_err(|refused| refused.why);
        let new = new.expect("there is memory");
        assert_eq!((new.block(), new.0), (place, self.number));
        self.refs.retain(|(_, of)| *of != number);
        self.live.push(Live::Typed(new, self.number));
        true
    }

    /// The number of the descriptor at a granule.
    fn described(&self, at: u64) -> Option<(Place, u32)> {
        let live = self.live.iter().filter_map(|live| match live {
            Live::Typed(block, number) => Some((block.block(), *number)),
            _ => None,
        });
        let kept = self.refs.iter().map(|(reference, number)| (reference.block(), *number));
        live.chain(kept).find(|(place, _)| place.contains(Granule(at)))
    }

    /// An address, and the granule that it is in.
    fn any_address(&self, bytes: &mut Bytes<'_>) -> (u64, u64) {
        let (at, choice) = (self.world.any_granule(bytes), usize::from(bytes.byte()));
        let at = match choice % (1 + self.live.len()) {
            0 => at,
            one => {
                let place = self.live[one - 1].place();
                if choice < 128 { place.base().0 } else { place.last().0 }
            }
        };
        let inside = u64::from(bytes.byte()) % self.world.zone.granule();
        let at = if self.world.spans.covers(at, at) { at } else { self.first_granule() };
        (self.world.zone.address_of(Granule(at)) + inside, at)
    }

    /// Some granule of a span: spans are never all gone.
    fn first_granule(&self) -> u64 {
        self.world.spans.iter().next().map_or(0, |(first, _)| first)
    }

    fn get(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (address, at) = self.any_address(bytes);
        let got = self.world.zone.get::<Folio>(address);
        let expected = self.described(at);
        assert_eq!(got.as_ref().map(|got| (got.block(), got.0)), expected);
        let Some(got) = got else { return false };
        if self.refs.len() < 8 {
            let number = got.0;
            self.refs.push((got, number));
        }
        true
    }

    fn put(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let Some((reference, number)) = bytes.take(&mut self.refs) else { return false };
        let place = reference.block();
        drop(reference);
        if self.described(place.base().0) != Some((place, number)) {
            self.world.gave(place.base().0, place.last().0);
        }
        true
    }

    fn lock(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (address, at) = self.any_address(bytes);
        let locked = self.world.zone.lock::<Folio>(address);
        let found = locked.as_ref().map(|locked| (locked.block(), locked.0));
        assert_eq!(found, self.described(at));
        found.is_some()
    }

    fn find(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (address, at) = self.any_address(bytes);
        let guard = memdesc::pin();
        let found = self.world.zone.find(address, &guard);
        if let Some((place, _)) = self.described(at) {
            let found = found.expect("described");
            assert_eq!((found.block(), found.kind_name()), (place, "folio"));
            return true;
        }
        let raw = self.live.iter().find(|live| live.place().contains(Granule(at)));
        match (raw, found) {
            (Some(Live::Raw(block, owner)), Some(found)) => {
                assert_eq!((found.block(), found.owner()), (block.block(), *owner));
                true
            }
            (None | Some(Live::Bare(_)), None) => false,
            (live, Some(found)) => {
                // Only a failed granule that is nobody's has a word of its own.
                assert!(live.is_none(), "{live:?}: {found:?}");
                assert_eq!(self.world.failed.get(&at), Some(&Failed::Quarantined));
                true
            }
            (live, found) => panic!("at {at:#x}: {live:?}, found {found:?}"),
        }
    }

    fn next(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (address, at) = self.any_address(bytes);
        // What was quarantined by a free is shown to look-ups by a slow path.
        self.world.zone.retry_failures();
        let guard = memdesc::pin();
        let next = self.world.zone.next(address, &guard).map(|(place, _)| place);
        let worded = self.live.iter().filter(|live| !matches!(live, Live::Bare(_)));
        let kept = self.refs.iter().map(|(reference, _)| reference.block());
        let failed = self.world.failed.iter();
        let quarantined = failed.filter(|&(_, &state)| state == Failed::Quarantined);
        let quarantined = quarantined.map(|(&at, _)| Place::containing(Granule(at), Order::ZERO));
        let all = worded.map(Live::place).chain(kept).chain(quarantined);
        let expected = all.filter(|place| place.last().0 >= at).min_by_key(|place| place.base());
        assert_eq!(next, expected);
        next.is_some()
    }

    fn hand(&mut self, bytes: &mut Bytes<'_>) -> bool {
        if self.hands.len() < 3 && !bytes.once_in(3) {
            self.hands.push(self.world.zone.hand());
            return true;
        }
        drop(bytes.take(&mut self.hands));
        false
    }

    fn fail(&mut self, bytes: &mut Bytes<'_>) -> bool {
        // Few, or nothing would be left.
        if self.world.failed.len() >= 6 {
            return false;
        }
        let (address, at) = self.any_address(bytes);
        let is_new = !self.world.failed.contains_key(&at);
        let report = self.world.zone.report_failure(address, 0, FailureKind::Injected);
        let report = report.expect("an address of the zone");
        assert_eq!((report.granules, report.first), (1, u64::from(is_new)));
        let was_free = self.world.fails(at);
        assert_eq!(report.quarantined, u64::from(was_free));
        assert_eq!(report.notified, u64::from(is_new && !was_free));
        is_new
    }

    fn hot_add(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (first, count) = (self.world.any_granule(bytes), u64::from(bytes.byte()));
        let most = (1u64 << 63).min(u64::MAX / self.world.zone.granule()) - 1;
        let last = first.saturating_add(count).min(most);
        if first > last {
            return false;
        }
        let added = self.world.zone.hot_add(self.world.units(first, last));
        if !self.world.spans.within(first, last).is_empty() {
            assert!(matches!(added, Err(Error::Overlap { .. })), "{added:?}");
            return false;
        }
        match added {
            Ok(()) => {
                self.world.came(first, last);
                true
            }
            // A resource has a reach: what it was registered with, and a bit.
            Err(Error::OutsideReach { .. }) => false,
            Err(why) => panic!("{first:#x}..={last:#x} was refused: {why}"),
        }
    }

    fn hot_remove(&mut self, bytes: &mut Bytes<'_>) -> bool {
        if self.removals.len() >= 3 {
            return false;
        }
        let Some((first, last)) = self.world.any_inside(bytes) else { return false };
        // Something stays.
        if self.world.spans.count() - (last - first + 1) < 64 {
            return false;
        }
        let meets =
            |leaving: &crate::world::Leaving| leaving.first <= last && first <= leaving.last;
        let is_leaving = self.world.leaving.iter().any(meets);
        match self.world.zone.hot_remove(self.world.units(first, last)) {
            Ok(removal) => {
                assert!(!is_leaving);
                self.world.leaves(first, last);
                self.removals.push(removal);
                true
            }
            Err(why) => {
                assert!(is_leaving && matches!(why, Error::Removing { .. }), "{why}");
                false
            }
        }
    }

    fn finish(&mut self, bytes: &mut Bytes<'_>) -> bool {
        if self.removals.is_empty() {
            return false;
        }
        let at = bytes.below(self.removals.len());
        let removal = self.removals.swap_remove(at);
        let remaining = self.world.remaining(&self.world.leaving[at]);
        assert_eq!(removal.remaining_granules(), remaining);
        let held: u64 = removal.holders().iter().map(|holder| holder.granules.count()).sum();
        assert!(held >= remaining, "holders have {held} of {remaining}");
        match removal.finish() {
            Ok(()) => {
                assert_eq!(remaining, 0);
                self.world.left(at);
                true
            }
            Err(refused) => {
                assert_eq!(refused.why, Error::StillHeld { granules: remaining });
                // Where `swap_remove` took it from.
                self.removals.push(refused.given);
                let last = self.removals.len() - 1;
                self.removals.swap(at, last);
                false
            }
        }
    }

    fn cancel(&mut self, bytes: &mut Bytes<'_>) -> bool {
        if self.removals.is_empty() {
            return false;
        }
        let at = bytes.below(self.removals.len());
        self.removals.swap_remove(at).cancel();
        self.world.stays(at);
        true
    }

    /// A handle made of what an embedder kept is the block's again.
    fn adopt(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let Some(live) = bytes.take(&mut self.live) else { return false };
        let place = live.place();
        let address = self.world.zone.address_of(place.base());
        let adopted = self.world.zone.adopt_bare(address, place.order());
        let was_done = match (&live, adopted) {
            (Live::Bare(_), Ok(again)) => {
                assert_eq!(again.block(), place);
                self.live.push(Live::Bare(again));
                return true;
            }
            (_, Err(Error::NoBlock { .. })) => false,
            (live, other) => panic!("{live:?} adopted as {other:?}"),
        };
        self.live.push(live);
        was_done
    }

    /// What must be refused, and change nothing.
    fn misuse(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let zone = &self.world.zone;
        match bytes.below(6) {
            0 => {
                let Some(live) = bytes.take(&mut self.live) else { return false };
                let (asked, found) = (self.world.other.id(), zone.id());
                let (why, live) = match live {
                    Live::Bare(block) => {
                        let refused = self.world.other.free_bare(block).unwrap_err();
                        (refused.why, Live::Bare(refused.given))
                    }
                    Live::Raw(block, owner) => {
                        let refused = self.world.other.free_raw(block).unwrap_err();
                        (refused.why, Live::Raw(refused.given, owner))
                    }
                    Live::Typed(block, number) => {
                        let refused = self.world.other.free(block).unwrap_err();
                        (refused.why, Live::Typed(refused.given, number))
                    }
                };
                assert_eq!(why, Error::Foreign { asked, found });
                self.live.push(live);
            }
            1 => {
                // Free, at least in part: no live block.
                let (at, order) = (self.world.any_granule(bytes), self.world.any_order(bytes));
                if zone.largest_order() < order || at >= 1 << 63 {
                    return false;
                }
                let place = Place::containing(Granule(at), order);
                let (first, last) = (place.base().0, place.last().0);
                if !self.world.spans.covers(first, last)
                    || self.world.free.within(first, last).is_empty()
                {
                    return false;
                }
                let adopted = zone.adopt_bare(zone.address_of(place.base()), order);
                let twice = Error::DoubleFree { asked: range(first, last) };
                let refused =
                    matches!(adopted, Err(Error::NoBlock { .. })) || adopted == Err(twice);
                assert!(refused, "{place:?}: {adopted:?}");
            }
            2 => {
                // A free of what is free, by an order of the same level. (One by
                // an order of another level is seen by `adopt_bare` alone.)
                let (choice, order) = (bytes.byte(), self.world.any_order(bytes));
                // What other hands hold is not looked at by a free.
                let mut free = zone.free_blocks();
                free.retain(|free| free.order() >= order && free.order().level() == order.level());
                if free.is_empty() {
                    return false;
                }
                let first = free[usize::from(choice) % free.len()].base().0;
                let block = zone.bare_at(Granule(first), order).expect("in reach");
                let refused = zone.free_bare(block).unwrap_err();
                assert_eq!(refused.why, Error::DoubleFree { asked: refused.given.granules() });
            }
            3 => {
                // A raw block where none is.
                let at = self.live.iter().find(|live| matches!(live, Live::Bare(_)));
                let Some(place) = at.map(Live::place) else { return false };
                let block = zone.raw_at(place.base(), place.order()).expect("in reach");
                assert!(matches!(zone.free_raw(block).unwrap_err().why, Error::Lookup(_)));
            }
            4 => {
                // A raw block by another order.
                let at = self.live.iter().find(|live| matches!(live, Live::Raw(..)));
                let Some(place) = at.map(Live::place) else { return false };
                let order = self.world.any_order(bytes);
                let wrong = Place::containing(place.base(), order);
                if order == place.order()
                    || !self.world.spans.covers(wrong.base().0, wrong.last().0)
                {
                    return false;
                }
                let block = zone.raw_at(wrong.base(), order).expect("in reach");
                assert!(matches!(zone.free_raw(block).unwrap_err().why, Error::Lookup(_)));
            }
            _ => {
                let (at, order) = (self.world.any_granule(bytes), self.world.any_order(bytes));
                if at & (order.granules() - 1) == 0 {
                    return false;
                }
                assert!(matches!(zone.bare_at(Granule(at), order), Err(Error::NoBlock { .. })));
            }
        }
        true
    }

    /// Everything goes back, and all is as it was.
    fn end(mut self) -> Tally {
        self.world.check();
        while !self.removals.is_empty() {
            self.removals.pop().expect("not empty").cancel();
            self.world.stays(self.removals.len());
        }
        while let Some(live) = self.live.pop() {
            self.free_one(live, 3);
        }
        while let Some((reference, number)) = self.refs.pop() {
            let place = reference.block();
            drop(reference);
            if self.described(place.base().0) != Some((place, number)) {
                self.world.gave(place.base().0, place.last().0);
            }
        }
        self.hands.clear();
        let out = self.world.failed.values().filter(|state| **state != Failed::Gone).count();
        assert_eq!(self.world.free.count(), self.world.spans.count() - out as u64);
        self.world.check_whole();
        self.world.check();
        self.tally
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
