//! Who is in the way of a removal, by name.
//!
//! # What always holds
//!
//! What of the span is neither claimed nor quarantined is held. Lookup names most of
//! it; what is left between is bare. A part of the list is made of one moment, with
//! every hand closed, and ends with what is claimed or named, so that no bare holder
//! is cut in two.
//!
//! # Cost
//!
//! A rendezvous for a part: at most [`LISTED`] entries of lookup, and as many claimed
//! blocks. Between parts others run.

use crate::closing::Removing;
use crate::state::State;
use alloc::vec::Vec;
use memdesc::{Block, Granule, Granules, Order, OwnerId};

/// Entries of a list of holders, and as many claimed blocks, per window.
const LISTED: usize = 1024;

/// Who is in the way of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The granules; those of a block may reach beyond the span.
    pub granules: Granules,
    /// The geometry block, if lookup knows it; bare blocks are unnamed, and
    /// neighbours among them are one entry.
    pub block: Option<Block>,
    /// The type of its descriptor, or of its word (`"raw"`, `"reporting"`);
    /// `"bare"` for what has none.
    pub kind: &'static str,
    /// Whom to ask to free or migrate it.
    pub owner: OwnerId,
}

impl State {
    pub(super) fn holders(&self, removing: &Removing) -> Vec<Holder> {
        let mut holders: Vec<Holder> = Vec::new();
        let mut rest = Some(removing.range);
        while let Some(range) = rest {
            let (part, last) = self.holders_in(removing, range);
            // A part ends with what is claimed or named: no bare holder is cut.
            holders.extend(part);
            rest = Granules::new(Granule(last.0 + 1), range.last()).ok();
        }
        holders
    }

    /// The holders at the beginning of `range`, in address order, and how far
    /// they were listed.
    fn holders_in(&self, removing: &Removing, range: Granules) -> (Vec<Holder>, Granule) {
        // Before the gate: a pin may run the drops of what was retired.
        let guard = memdesc::pin();
        let closed = self.gate.close();
        let claimed: Vec<_> = removing.claimed_from(range.first()).take(LISTED).collect();
        let end_of = |list: &[Granules]| list.last().filter(|_| list.len() == LISTED).copied();
        let mut last = end_of(&claimed).map_or(range.last(), Granules::last);
        let listed = Granules::new(range.first(), last).unwrap_or(range);
        let named: Vec<_> = self.tree.iter(listed, &guard).take(LISTED).collect();
        if let Some((block, _)) = named.last().filter(|_| named.len() == LISTED) {
            last = last.min(block.last());
        }
        let listed = Granules::new(range.first(), last).unwrap_or(range);
        let kept = self.stock.poison.kept_in(listed);
        drop(closed);

        let mut known = claimed;
        let mut holders = Vec::new();
        known.extend(kept.iter().map(|block| block.granules()));
        for (block, found) in named {
            known.push(block.granules());
            if block.order() == Order::ZERO && kept.contains(&block) {
                continue;
            }
            holders.push(Holder {
                granules: block.granules(),
                block: Some(block),
                kind: found.kind_name(),
                owner: found.owner(),
            });
        }
        known.sort_unstable_by_key(|range| range.first());
        let unnamed =
            |granules| Holder { granules, block: None, kind: "bare", owner: OwnerId::RESOURCE };
        holders.extend(gaps(listed, known.into_iter()).map(unnamed));
        holders.sort_unstable_by_key(|holder| holder.granules.first());
        (holders, last)
    }
}

/// The parts of a range between `known` ones, which come in address order and
/// may overlap.
fn gaps(range: Granules, known: impl Iterator<Item = Granules>) -> impl Iterator<Item = Granules> {
    let (end, mut from) = (range.last(), Some(range.first()));
    let ends = known.map(Some).chain(core::iter::once(None));
    ends.filter_map(move |known| {
        let first = from?;
        let Some(known) = known else {
            return Granules::new(first, end).ok();
        };
        from = known.last().checked_add(1).map(|next| next.max(first));
        let before = Granule(known.first().0.checked_sub(1)?);
        Granules::new(first, before.min(end)).ok()
    })
}
