//! What the tables take, and giving it back.
//!
//! # What always holds
//!
//! Tables stay bound to their granules, so that whoever comes late needs no pin.
//! But where no granule is in a span no free word has a bit, and a summary bit
//! that is left means nothing: chunks there are as good as zero, and their memory
//! may go.
//!
//! # Sharing
//!
//! Only while nobody can add a span, so that nobody is about to set a bit.

use super::Forest;
use crate::words::{FAN, Words};
use memdesc::{Granules, ORDERS_PER_LEVEL};

/// How far [`Forest::give_back`] has come.
#[derive(Debug, Default)]
pub(crate) struct GivenBack {
    /// Arrays that are done.
    arrays: usize,
    /// The word of the next one at which to go on.
    word: u64,
}

impl Forest {
    /// Gives back the memory of chunks that have to do with `range` and lie
    /// wholly in `hole`, in which no granule is in a span. At most `budget` of
    /// them; whether that was all.
    pub(crate) fn give_back(
        &self,
        hole: Granules,
        range: Granules,
        done: &mut GivenBack,
        mut budget: u32,
    ) -> bool {
        for (level, words) in self.arrays().skip(done.arrays) {
            let inside = words_in(level, hole, range);
            let (first, last) = inside.unwrap_or((u64::MAX, 0));
            if let Some(word) = words.give_back(first.max(done.word), last, &mut budget) {
                done.word = word;
                return false;
            }
            done.arrays += 1;
            done.word = 0;
        }
        true
    }

    /// Bytes of tables and chunks; of those in `holes`, in which no granule is in
    /// a span, only what cannot go back.
    pub(crate) fn bytes(&self, holes: impl Iterator<Item = Granules> + Clone) -> usize {
        let bytes_of = |(level, words): (u32, &Words)| {
            let outside = holes.clone().filter_map(|hole| words_in(level, hole, hole));
            let given: usize = outside.map(|(first, last)| words.page_bytes(first, last)).sum();
            words.bytes() - given
        };
        self.arrays().map(bytes_of).sum()
    }

    /// Every array, with the level of the words that its own stand for.
    fn arrays(&self) -> impl Iterator<Item = (u32, &Words)> {
        let summaries =
            (0..=self.top).flat_map(move |l| (l + 1..=self.top).map(move |m| (m, self.has(l, m))));
        (0..).zip(&self.free).chain(summaries)
    }
}

/// The words of a level that lie wholly in `hole`, as far as they share a chunk
/// with one of `range`: first and last.
fn words_in(level: u32, hole: Granules, range: Granules) -> Option<(u64, u64)> {
    let shift = ORDERS_PER_LEVEL * (level + 1);
    let size = 1u64.checked_shl(shift)?;
    let (fan, last) = (FAN as u64, hole.last().0 + 1);
    let first = hole.first().0.div_ceil(size).max((range.first().0 >> shift) & !(fan - 1));
    let last = (last >> shift).checked_sub(1)?.min((range.last().0 >> shift) | (fan - 1));
    (first <= last).then_some((first, last))
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use memdesc::Granule;

    /// Against a look at every word: those that the hole has whole and that are in a
    /// chunk of one that the range is in.
    #[test]
    fn words_of_a_hole_go_with_the_chunks_of_the_range() {
        const CHUNK: u64 = 64 * FAN as u64;
        let between = |first, end| Granules::new(Granule(first), Granule(end - 1)).unwrap();
        for level in [0, 1] {
            let (word, chunk) = (64u64.pow(level + 1), CHUNK * 64u64.pow(level));
            let ends = [3 * chunk + 5 * word, 4 * chunk, 4 * chunk + 9 * word, 6 * chunk - word];
            for (first, end) in [(0, 8 * chunk), (3 * chunk, 6 * chunk), (word / 2, 5 * chunk + 1)]
            {
                let hole = between(first, end);
                for (at, &from) in (1..).zip(&ends) {
                    for &to in &ends[at..] {
                        let range = between(from, to);
                        let near = from / chunk * chunk..to.div_ceil(chunk) * chunk;
                        let mut inside = (0..8 * chunk / word).filter(|index| {
                            let (first, last) = (index * word, index * word + (word - 1));
                            near.contains(&first) && hole.covers(between(first, last + 1))
                        });
                        let expected =
                            inside.next().map(|first| (first, inside.next_back().unwrap_or(first)));
                        assert_eq!(words_in(level, hole, range), expected, "{hole:?} {range:?}");
                    }
                }
            }
        }
    }
}
