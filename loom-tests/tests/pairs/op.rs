//! The operations, and what each promises whatever runs beside it.

use crate::world::{SINGLE, Side, World, order};
use loom_tests::home::{Folio, Mm, Slab};
use memdesc::{Descriptor, FailureKind, Granule, Order, OwnerId, Subtype};
use potad::{HostSays, Removal};
use std::sync::atomic::Ordering::Relaxed;

/// What a zone is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Eight granules, by a compare-exchange in their word or out of a larger block.
    Alloc,
    /// A bare granule, into the hand and out of it.
    Free,
    /// One granule, for which the hand takes all of a word.
    Claim,
    /// A free that completes a word.
    Merge,
    /// What a hand has claimed goes back.
    Flush,
    /// A peek under a pin.
    Lookup,
    /// A counted reference.
    Get,
    /// The descriptor's lock, re-checked.
    Lock,
    /// A typed block, allocated and made known.
    Publish,
    /// A raw block, or a typed one for who looks at it, made unknown and given back.
    Clear,
    /// Another descriptor takes a block over.
    Replace,
    /// A typed block becomes two.
    Split,
    /// A reporter's whole batch: isolate, tell, put back.
    Report,
    /// The end of one that began before.
    PutBack,
    /// Two more granules; a word of them beside what completes the word before it.
    HotAdd,
    /// Eight granules less, if nobody holds one of them; beside a replacement who does
    /// is asked.
    HotRemove,
    /// A granule fails: beside another failure the same.
    Failure,
    /// The owner of what fails leaves.
    Unregister,
}

impl Op {
    pub(crate) const ALL: [Self; 18] = [
        Self::Alloc,
        Self::Free,
        Self::Claim,
        Self::Merge,
        Self::Flush,
        Self::Lookup,
        Self::Get,
        Self::Lock,
        Self::Publish,
        Self::Clear,
        Self::Replace,
        Self::Split,
        Self::Report,
        Self::PutBack,
        Self::HotAdd,
        Self::HotRemove,
        Self::Failure,
        Self::Unregister,
    ];

    /// Whether it looks something up, and changes nothing of what it finds but its number.
    pub(crate) fn looks(self) -> bool {
        matches!(self, Self::Lookup | Self::Get | Self::Lock)
    }

    /// Does it.
    pub(crate) fn run(self, world: &World, side: &mut Side) {
        let ram = &world.ram;
        match self {
            Self::Alloc => {
                let block = side.hand.alloc_bare(order(3));
                side.kept.push(block.expect("a block of the size is free throughout"));
            }
            Self::Claim => {
                let block = side.hand.alloc_bare(Order::ZERO);
                side.kept.push(block.expect("a granule is free throughout"));
            }
            Self::Free | Self::Merge => {
                let bare = side.bare.take().expect("furnished");
                side.hand.free_bare(bare).expect("its own");
                side.hand.flush();
            }
            Self::Flush => side.hand.flush(),
            Self::Lookup => look_up(world, side.at),
            Self::Get => {
                if let Some(folio) = ram.get::<Folio>(side.at) {
                    assert!(!world.looks_at_what_is_free(), "nobody's, and counted");
                    assert!(!folio.header().is_dead(), "counted, and dead");
                    assert!(world.is_written() || [7, 9].contains(&folio.number()));
                }
            }
            Self::Lock => {
                if let Some(folio) = ram.lock::<Folio>(side.at) {
                    assert!(!world.looks_at_what_is_free(), "nobody's, and locked");
                    assert!(folio.block().contains(Granule(side.at)), "locked for another address");
                    folio.add_one();
                }
            }
            // Of a type that neither has used before.
            Self::Publish if world.ops.contains(&Self::Replace) => {
                let slab = side.hand.alloc_owned(Order::ZERO, world.watcher, Slab::of(8));
                let slab = slab.ok().expect("a granule is free throughout");
                let found = ram.get::<Slab>(slab.address()).expect("published");
                assert_eq!(found.number(), 8);
                drop(found);
                side.slab = Some(slab);
            }
            Self::Publish => {
                let folio = side.hand.alloc_owned(Order::ZERO, world.watcher, Folio::of(9));
                let folio = folio.ok().expect("a granule is free throughout");
                let found = ram.get::<Folio>(folio.address()).expect("published");
                assert!(world.is_written() || found.number() == 9);
                drop(found);
                side.folio = Some(folio);
            }
            Self::Clear => {
                if let Some(raw) = side.raw.take() {
                    side.hand.free_raw(raw).expect("its own");
                }
                // Where there is something to be looked up: the last put.
                drop(side.folio.take());
                side.hand.flush();
            }
            Self::Replace => {
                let folio = side.folio.take().expect("furnished");
                side.slab = Some(folio.replace(Slab::of(8)).ok().expect("memory"));
            }
            Self::Split => {
                let folio = side.folio.take().expect("furnished");
                let (lower, upper) = ram.split(folio, Slab::of(8)).ok().expect("memory");
                (side.folio, side.slab) = (Some(lower), Some(upper));
            }
            Self::Report => report(world),
            Self::PutBack => {
                let isolated = side.isolated.take().expect("furnished");
                ram.put_back(isolated, HostSays::Reported).expect("its own");
            }
            Self::HotAdd => {
                ram.hot_add(world.added(side.number)).expect("nobody has these");
            }
            Self::HotRemove => {
                // Of two one may be refused, as what it asks for is leaving.
                let leaving = world.leaving..world.leaving + 8;
                let Ok(removal) = ram.hot_remove(leaving) else { return };
                match removal.finish() {
                    Ok(()) => {}
                    Err(refused) => {
                        if world.ops.contains(&Self::Replace) {
                            is_held_by_a_descriptor(&refused.given);
                        }
                        side.removal = Some(refused.given);
                    }
                }
            }
            Self::Failure => {
                // Refused where nothing is, or nothing is any more.
                let Ok(report) = ram.report_failure(side.at, 0, FailureKind::Injected) else {
                    return;
                };
                assert_eq!(report.first, report.quarantined + report.notified, "proved");
                if world.ops == [Self::Failure; 2] {
                    // The other's report is of the same granule, and may have come first.
                    world.firsts.fetch_add(report.first, Relaxed);
                    let guard = memdesc::pin();
                    let found = ram.find(side.at, &guard).and_then(|found| found.immediate());
                    assert!(found.is_some_and(|word| word.poisoned), "reported, and not marked");
                }
            }
            Self::Unregister => {
                if world.potad.unregister_owner(world.watcher).is_ok() {
                    assert!(!world.gone.swap(true, Relaxed), "it had left before");
                }
            }
        }
    }
}

/// What is found at an address is of that address, and initialised.
fn look_up(world: &World, at: u64) {
    let guard = memdesc::pin();
    let Some(found) = world.ram.find(at, &guard) else { return };
    match Mm::of(&found) {
        Some(Mm::Folio(_)) if world.is_written() => {}
        Some(Mm::Folio(folio)) => assert!([7, 9].contains(&folio.number())),
        Some(Mm::Slab(slab)) => assert_eq!(slab.number(), 8),
        None => {
            let word = found.immediate().map(|word| (word.subtype, word.owner));
            let raw = (Subtype::Raw, world.watcher);
            assert!([Some(raw), Some((Subtype::Reporting, OwnerId::RESOURCE))].contains(&word));
        }
    }
}

fn report(world: &World) {
    let mut cursor = Granule(0);
    if let Some(isolated) = world.ram.isolate(&mut cursor, &SINGLE) {
        world.ram.put_back(isolated, HostSays::Reported).expect("its own");
    }
}

/// What is typed throughout is named so, by the one descriptor or the other.
fn is_held_by_a_descriptor(removal: &Removal) {
    let holders = removal.holders();
    assert_eq!(holders.len(), 1, "{holders:?}");
    assert!([Folio::NAME, Slab::NAME].contains(&holders[0].kind), "{holders:?}");
}
