//! Who knows the next allocation.
//!
//! The oracle sees the same blocks at the same addresses. The moment a report
//! granule becomes wholly free it takes its pages back, unless something of the
//! granule is allocated again within the least time that is worth it. No
//! reporter can do that: it would have to know when a granule is wanted again.

use super::pages::{Counts, Pages};

/// A block that was allocated or freed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) at: u64,
    pub(super) first: u64,
    pub(super) pages: u64,
    pub(super) is_alloc: bool,
}

/// What the oracle returns of an arena, with report granules of `1 << granule`
/// pages and intervals of at least `worth` nanoseconds.
pub(super) fn oracle(events: &[Event], pages: u64, granule: u32, worth: u64, end: u64) -> Counts {
    let granules = (pages >> granule) as usize + 1;
    let mut used = vec![0_u64; granules];
    let mut free_since = vec![0_u64; granules];
    let mut table = Pages::new(pages);
    for event in events {
        table.now = event.at;
        let last = event.first + event.pages - 1;
        for index in event.first >> granule..=last >> granule {
            let (low, high) = (index << granule, ((index + 1) << granule) - 1);
            let (low, high) = (low.max(event.first), high.min(last));
            let at = index as usize;
            if event.is_alloc {
                if used[at] == 0 && event.at - free_since[at] >= worth {
                    take_back(&mut table, index, granule, free_since[at]);
                }
                (low..=high).for_each(|page| table.touch(page));
                used[at] += high - low + 1;
            } else {
                used[at] -= high - low + 1;
                if used[at] == 0 {
                    free_since[at] = event.at;
                }
            }
        }
    }
    for (index, _) in (0..).zip(&used).filter(|(_, used)| **used == 0) {
        take_back(&mut table, index, granule, free_since[index as usize]);
    }
    table.at_end(end)
}

fn take_back(table: &mut Pages, index: u64, granule: u32, since: u64) {
    (index << granule..(index + 1) << granule).for_each(|page| table.take_back(page, since));
}
