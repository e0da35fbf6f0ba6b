//! Looking up many addresses at once.
//!
//! Up to 32 look-ups go down side by side, a level at a time, and each asks for
//! the line of its next slot before the others take their step: where nodes are
//! not in the cache, their misses overlap. Each answer is that of a
//! [`find`](Tree::find) of its own.

use crate::slots::{Hit, index_of, place_of};
use crate::sparse::Group;
use crate::tree::{SECTION_LEVEL, Tree};
use memdesc::{Found, Granule, Guard, Home, MAX_GRANULES, prefetch};

/// Look-ups that go side by side.
const LANES: usize = 32;

impl<H: Home> Tree<H> {
    /// What lives at each of many granules: `each` is called with the number of
    /// the granule and what was found, in order.
    ///
    /// ```
    /// # use memdesc::*;
    /// # use potad_lookup::*;
    /// # #[derive(Clone)] struct Nobody(Kinds);
    /// # impl Home for Nobody {
    /// #     fn kinds(&self) -> &Kinds { &self.0 }
    /// #     fn teardown(_: Dead<Self>) {}
    /// # }
    /// let tree = Tree::<Nobody>::new();
    /// let block = Block::new(Granule(64), Order::new(5)?)?;
    /// tree.publish_immediate(block, Immediate::new(Subtype::Raw, OwnerId(7), block.order()))?;
    ///
    /// let guard = pin();
    /// let mut hits = Vec::new();
    /// tree.find_many(&[Granule(63), Granule(64), Granule(95)], &guard, |number, found| {
    ///     hits.extend(found.map(|_| number));
    /// });
    /// assert_eq!(hits, [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn find_many<'g>(
        &self,
        at: &[Granule],
        guard: &'g Guard,
        mut each: impl FnMut(usize, Option<Found<'g, H>>),
    ) {
        for (group, at) in at.chunks(LANES).enumerate() {
            let hits = self.hits(at);
            for (lane, (&at, hit)) in at.iter().zip(hits).enumerate() {
                each(group * LANES + lane, hit.and_then(|hit| self.found_hit(hit, at, guard)));
            }
        }
    }

    fn hits(&self, at: &[Granule]) -> [Option<Hit<'_>>; LANES] {
        let mut hits = [None; LANES];
        let mut groups: [Option<&Group>; LANES] = [None; LANES];
        for (lane, &at) in at.iter().enumerate() {
            if at.0 >= MAX_GRANULES {
                continue;
            }
            if self.upper_levels() != 0 {
                hits[lane] = self.upper_hit(at);
            }
            if hits[lane].is_none() {
                groups[lane] = self.array(SECTION_LEVEL).group(index_of(at, SECTION_LEVEL));
                ask(groups[lane], at, SECTION_LEVEL);
            }
        }
        for level in (0..=SECTION_LEVEL).rev() {
            for (lane, &at) in at.iter().enumerate() {
                let Some(group) = groups[lane].take() else { continue };
                // `Acquire`: as in `hit`.
                let word = group[place_of(at, level)]
                    .load(memdesc::weakened!("walk of many relaxed", Acquire));
                match word.link() {
                    Some(link) if level > 0 => {
                        groups[lane] = Some(self.follow(link));
                        ask(groups[lane], at, level - 1);
                    }
                    Some(_) => {}
                    None if word.is_empty() => {}
                    None => hits[lane] = Some(Hit { group, word }),
                }
            }
        }
        hits
    }
}

#[inline(always)]
fn ask(group: Option<&Group>, at: Granule, level: u32) {
    if let Some(group) = group {
        prefetch(&raw const group[place_of(at, level)]);
    }
}
