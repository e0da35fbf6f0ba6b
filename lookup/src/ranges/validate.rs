//! Looking at the whole map.

use super::bits::{slot_around, slot_mask};
use super::draft::LONE_LEVELS;
use super::node::{Item, View};
use super::slab::rounded_bytes;
use super::{Addresses, Ranges, RangesError, Value};
use memdesc::Guard;

/// What [`Ranges::validate`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RangesSummary {
    /// Stored pieces of ranges.
    pub pieces: u64,
    /// Addresses of all these.
    pub addresses: u128,
    /// Nodes.
    pub nodes: u64,
    /// Words of all nodes.
    pub words: u64,
    /// Bytes of all nodes, as the slab rounds them.
    pub bytes: u64,
}

impl<V: Value> Ranges<V> {
    /// Walks the whole map and checks that every node is as changes leave it.
    ///
    /// Beside a writer too: nodes are whole at any moment.
    pub fn validate(&self, guard: &Guard) -> Result<RangesSummary, RangesError> {
        let mut summary = RangesSummary::default();
        let Some(root) = self.root(guard) else { return Ok(summary) };
        let at = Addresses::known(0, slot_mask(root.level + 1));
        node(root, at, &mut summary)?;
        Ok(summary)
    }
}

fn node(view: View<'_>, at: Addresses, summary: &mut RangesSummary) -> Result<(), RangesError> {
    let wrong = |why| Err(RangesError::Inconsistent { at, why });
    summary.nodes += 1;
    summary.words += view.bits.words() as u64;
    summary.bytes += rounded_bytes(view.bits.words()) as u64;
    if view.bits.heads == 0 {
        return wrong("empty");
    }
    let first = view.bits.heads.trailing_zeros();
    if (view.bits.more & !view.bits.heads) & ((1 << first) - 1) != 0 {
        return wrong("a run without a head");
    }
    let mut left = view.bits.heads;
    while left != 0 {
        let slot = left.trailing_zeros();
        left &= left - 1;
        let Some(item) = view.whole_item(at.first(), slot) else {
            return wrong("a head of nothing");
        };
        if !at.covers(item.at) {
            return wrong("an entry outside of the node");
        }
        entry(view, item, slot, summary)?;
    }
    Ok(())
}

fn entry(
    view: View<'_>,
    item: Item,
    slot: u32,
    summary: &mut RangesSummary,
) -> Result<(), RangesError> {
    let wrong = |why| Err(RangesError::Inconsistent { at: item.at, why });
    let within = slot_around(item.at.first(), view.level);
    let is_lone = (view.bits.lone() >> slot) & 1 != 0;
    let runs_on = view.bits.run_last(slot) > slot;
    if is_lone && (runs_on || !within.covers(item.at) || within == item.at) {
        return wrong("a lone pair that is none");
    }
    if item.word.is_value() {
        if is_lone && view.level > LONE_LEVELS {
            return wrong("a lone value too far up");
        }
        summary.pieces += 1;
        summary.addresses += item.at.count();
        return Ok(());
    }
    if item.word.is_none() {
        return wrong("a link to nothing");
    }
    if runs_on {
        return wrong("a link over several slots");
    }
    let level = item.word.level();
    if level >= view.level || (level + 1 == view.level) == is_lone {
        return wrong("a link of the wrong level");
    }
    if item.at.first() & slot_mask(level + 1) != 0 {
        return wrong("a link to the wrong addresses");
    }
    node(view.child(item.word), item.at, summary)
}
