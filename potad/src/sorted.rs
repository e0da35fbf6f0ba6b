//! A sorted map that grows without asking for memory while it matters.
//!
//! # Picture
//!
//! ```text
//!  chunks   [ 3 5 9 .. ] [ 40 41 .. ] [ 97 .. ]     each at most 32 entries, in order
//!  spare    [ ] [ ] [ ] ..                          for the next chunks
//! ```
//!
//! # What always holds
//!
//! No chunk is empty, and keys rise within and across chunks. While a spare
//! chunk is left an insertion allocates nothing: a chunk that is full gives its
//! upper half to a spare one. [`refill`](Sorted::refill) is for quiet times.
//!
//! # Cost
//!
//! A search by halves over the chunks and one inside; an insertion moves at
//! most 32 entries, and a pointer per chunk once in 16 times at most.

use crate::error::OutOfMemory;
use alloc::vec::Vec;

/// Entries of a chunk.
const CHUNK: usize = 32;

/// Chunks that [`Sorted::refill`] keeps ready: from an empty map, memory for
/// 256 entries at the least.
pub(crate) const SPARE: usize = 16;

/// Keys and values in the order of the keys.
#[derive(Clone, Debug)]
pub(crate) struct Sorted<V> {
    chunks: Vec<Vec<(u64, V)>>,
    spare: Vec<Vec<(u64, V)>>,
    len: usize,
}

impl<V> Default for Sorted<V> {
    fn default() -> Self {
        Self { chunks: Vec::new(), spare: Vec::new(), len: 0 }
    }
}

impl<V: Copy> Sorted<V> {
    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether so many insertions will ask for no memory.
    pub(crate) fn has_room(&self, entries: usize) -> bool {
        self.spare.len() >= entries && self.chunks.capacity() - self.chunks.len() >= entries
    }

    /// Whether [`refill`](Self::refill) has nothing to do.
    pub(crate) fn is_ready(&self) -> bool {
        self.has_room(SPARE)
    }

    /// Gets ready for so many insertions, and no fewer than [`SPARE`].
    pub(crate) fn refill(&mut self, entries: usize) -> Result<(), OutOfMemory> {
        let wanted = entries.max(SPARE);
        self.chunks.try_reserve(wanted).map_err(|_| OutOfMemory)?;
        self.spare.try_reserve(wanted.saturating_sub(self.spare.len())).map_err(|_| OutOfMemory)?;
        while self.spare.len() < wanted {
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(CHUNK).map_err(|_| OutOfMemory)?;
            self.spare.push(chunk);
        }
        Ok(())
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: u64) -> Option<&V> {
        let (chunk, at) = self.find(key).ok()?;
        Some(&self.chunks[chunk][at].1)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        let (chunk, at) = self.find(key).ok()?;
        Some(&mut self.chunks[chunk][at].1)
    }

    /// Sets the value of a key; returns the old one. Without memory nothing is
    /// changed.
    pub(crate) fn insert(&mut self, key: u64, value: V) -> Result<Option<V>, OutOfMemory> {
        let (chunk, at) = match self.find(key) {
            Ok((chunk, at)) => {
                let old = core::mem::replace(&mut self.chunks[chunk][at].1, value);
                return Ok(Some(old));
            }
            Err(place) => place,
        };
        let is_full = self.chunks.get(chunk).is_none_or(|chunk| chunk.len() == CHUNK);
        if is_full && !self.has_room(1) {
            self.refill(SPARE)?;
        }
        self.len += 1;
        match self.chunks.get_mut(chunk) {
            Some(there) if !is_full => there.insert(at, (key, value)),
            _ => self.insert_split(chunk, at, (key, value)),
        }
        Ok(None)
    }

    /// As the end of an insertion, where a chunk has to be added first.
    fn insert_split(&mut self, chunk: usize, at: usize, entry: (u64, V)) {
        let Some(mut upper) = self.spare.pop() else { return };
        let Some(lower) = self.chunks.get_mut(chunk) else {
            upper.push(entry);
            self.chunks.push(upper);
            return;
        };
        upper.extend_from_slice(&lower[CHUNK / 2..]);
        lower.truncate(CHUNK / 2);
        match at.checked_sub(CHUNK / 2) {
            Some(above) if above > 0 => upper.insert(above, entry),
            _ => lower.insert(at, entry),
        }
        self.chunks.insert(chunk + 1, upper);
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, key: u64) -> Option<V> {
        let (chunk, at) = self.find(key).ok()?;
        let (_, value) = self.chunks[chunk].remove(at);
        self.len -= 1;
        if self.chunks[chunk].is_empty() {
            let empty = self.chunks.remove(chunk);
            if self.spare.len() < self.spare.capacity() {
                self.spare.push(empty);
            }
        }
        Some(value)
    }

    /// The entries from a key on.
    pub(crate) fn from(&self, key: u64) -> impl Iterator<Item = (u64, V)> + '_ {
        let (chunk, at) = self.find(key).unwrap_or_else(|place| place);
        let rest = self.chunks.get(chunk).map_or(&[][..], |chunk| &chunk[at..]);
        let further = self.chunks.iter().skip(chunk + 1).flatten();
        rest.iter().chain(further).copied()
    }

    /// The last entry before a key.
    pub(crate) fn before(&self, key: u64) -> Option<(u64, V)> {
        let (chunk, at) = self.find(key).unwrap_or_else(|place| place);
        match at.checked_sub(1) {
            Some(before) => Some(self.chunks[chunk][before]),
            None => self.chunks[..chunk].last().and_then(|chunk| chunk.last()).copied(),
        }
    }

    /// Where a key is, or belongs: an existing chunk, but for the first of all.
    fn find(&self, key: u64) -> Result<(usize, usize), (usize, usize)> {
        let after = self.chunks.partition_point(|chunk| chunk[0].0 <= key);
        let chunk = after.saturating_sub(1);
        let Some(entries) = self.chunks.get(chunk) else { return Err((0, 0)) };
        let at = entries.binary_search_by_key(&key, |entry| entry.0);
        at.map(|at| (chunk, at)).map_err(|at| (chunk, at))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;

    #[test]
    fn it_does_what_a_btree_does() {
        let (mut sorted, mut tree) = (Sorted::default(), BTreeMap::new());
        let mut random = 1u64;
        for step in 0..20_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = (random >> 40) % 3_000;
            match random >> 62 {
                0 => assert_eq!(sorted.remove(key), tree.remove(&key)),
                _ => assert_eq!(sorted.insert(key, step).unwrap(), tree.insert(key, step)),
            }
            assert_eq!(sorted.get(key), tree.get(&key));
            assert_eq!(sorted.len(), tree.len());
            let next = tree.range(key..).next().map(|(&key, &value)| (key, value));
            assert_eq!(sorted.from(key).next(), next);
            let before = tree.range(..key).next_back().map(|(&key, &value)| (key, value));
            assert_eq!(sorted.before(key), before);
        }
        assert!(sorted.from(0).eq(tree.into_iter()));
    }

    #[test]
    fn what_is_spare_lasts_for_256_entries_in_any_order() {
        for step in [1u64, 255, 101, 77] {
            let mut sorted = Sorted::default();
            sorted.refill(0).unwrap();
            let capacity = sorted.chunks.capacity();
            for key in 0..256u64 {
                assert!(sorted.has_room(1), "{key} entries in steps of {step}");
                sorted.insert(key * step % 256, ()).unwrap();
            }
            assert_eq!((sorted.len(), sorted.chunks.capacity()), (256, capacity));
        }
    }
}
