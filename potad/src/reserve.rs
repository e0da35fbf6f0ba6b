//! Tables put by for a moment without memory.
//!
//! Breaking a block, to carve a granule out of it or to give back all but one
//! of a block, may need tables. A report of memory failure and a free must not
//! ask for memory: so a zone puts by what one of them can need at the most,
//! where nothing is installed yet, and fills up in quiet times. What is not
//! enough is no error: a larger block is quarantined, and broken later.
//!
//! # Cost
//!
//! Nothing for words that were near from the start. Of others at most one chunk or
//! table of 4 KiB for each array and each step of the path to a word of it: 23 of them
//! for an untouched TiB of 4 KiB granules that was added later, and fewer once blocks
//! of each size were broken. While a removal is under way as much as
//! an untouched resource of the range's size: what it claims has tables of its
//! own. Pages that nobody wrote yet.

use crate::error::OutOfMemory;
use crate::words::{Chunk, Node, Paged, Supply, T1, T2, T3, T4, T5, T6};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

/// What is put by, by kind.
#[derive(Default)]
pub(crate) struct Reserve {
    pub(crate) chunks: Vec<<Chunk as Node>::Own>,
    pub(crate) paged: Vec<<Paged as Node>::Own>,
    pub(crate) t1: Vec<Box<T1>>,
    pub(crate) t2: Vec<Box<T2>>,
    pub(crate) t3: Vec<Box<T3>>,
    pub(crate) t4: Vec<Box<T4>>,
    pub(crate) t5: Vec<Box<T5>>,
    pub(crate) t6: Vec<Box<T6>>,
}

/// How much of each is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) chunks: usize,
    pub(crate) paged: usize,
    /// Tables of chunks, of tables of chunks, ..
    pub(crate) tables: [usize; 6],
}

impl Need {
    /// Enough for either.
    pub(crate) fn or(&self, other: &Self) -> Self {
        let most = |at: usize| self.tables[at].max(other.tables[at]);
        Self {
            chunks: self.chunks.max(other.chunks),
            paged: self.paged.max(other.paged),
            tables: core::array::from_fn(most),
        }
    }
}

impl Supply for Reserve {
    fn make<N: Node>(&mut self) -> Option<N::Own> {
        N::kept(self).pop()
    }
}

impl Reserve {
    /// Puts by what is wanted, and gives up what is not; what could be had stays.
    pub(crate) fn fill(&mut self, need: &Need) -> Result<(), OutOfMemory> {
        self.fill_kind::<Chunk>(need.chunks)?;
        self.fill_kind::<Paged>(need.paged)?;
        let [t1, t2, t3, t4, t5, t6] = need.tables;
        self.fill_kind::<T1>(t1)?;
        self.fill_kind::<T2>(t2)?;
        self.fill_kind::<T3>(t3)?;
        self.fill_kind::<T4>(t4)?;
        self.fill_kind::<T5>(t5)?;
        self.fill_kind::<T6>(t6)
    }

    fn fill_kind<N: Node>(&mut self, wanted: usize) -> Result<(), OutOfMemory> {
        let kept = N::kept(self);
        kept.truncate(wanted);
        kept.try_reserve(wanted - kept.len()).map_err(|_| OutOfMemory)?;
        while kept.len() < wanted {
            kept.push(N::fresh().ok_or(OutOfMemory)?);
        }
        Ok(())
    }

    /// Chunks and tables put by.
    pub(crate) fn len(&self) -> usize {
        let tables = self.t1.len() + self.t2.len() + self.t3.len();
        let larger = self.t4.len() + self.t5.len() + self.t6.len();
        self.chunks.len() + self.paged.len() + tables + larger
    }

    /// Bytes of them.
    pub(crate) fn bytes(&self) -> usize {
        self.len() * size_of::<Chunk>()
    }
}

impl fmt::Debug for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reserve({})", self.len())
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_by_is_what_is_wanted_and_counted_by_kind() {
        let mut reserve = Reserve::default();
        let all = Need { chunks: 1, paged: 2, tables: [3, 4, 5, 6, 7, 8] };
        for (need, len) in [(all, 36), (all, 36), (Need { paged: 0, ..all }, 34)] {
            reserve.fill(&need).unwrap();
            assert_eq!((reserve.len(), reserve.bytes()), (len, len * 4096));
        }
        assert!(reserve.make::<T6>().is_some() && reserve.make::<Paged>().is_none());
        assert_eq!(reserve.len(), 33);
    }
}
