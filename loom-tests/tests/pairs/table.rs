//! What the pairs have been seen to do: the least interleavings of each, and
//! a seeded bug that it finds.

use crate::op::Op;

/// An operation beside each one of `Op::ALL`, in that order.
pub(crate) struct Row {
    pub(crate) one: Op,
    /// Preemptions.
    pub(crate) bound: usize,
    pub(crate) pairs: &'static [u64],
    pub(crate) twins: &'static [(Op, &'static str)],
}

/// Found wherever one of the two closes the hands of the other.
const CLOSER: &str = "closer does not wait";

pub(crate) const TABLE: &[Row] = &[
    Row {
        one: Op::Alloc,
        bound: 2,
        pairs: &[140, 155, 169, 84, 37, 1, 1, 1, 169, 1, 1, 1, 16107, 548, 254, 331, 10, 1],
        twins: &[(Op::Alloc, CLOSER), (Op::Free, CLOSER), (Op::PutBack, CLOSER)],
    },
    Row {
        one: Op::Free,
        bound: 2,
        pairs: &[13, 6, 140, 1, 5, 1, 1, 1, 140, 1, 1, 1, 720, 6, 1, 405, 405, 1],
        twins: &[(Op::Alloc, CLOSER), (Op::HotRemove, CLOSER), (Op::Failure, CLOSER)],
    },
    Row {
        one: Op::Claim,
        bound: 2,
        pairs: &[460, 289, 1195, 94, 108, 1, 1, 1, 1195, 1, 1, 1, 8265, 624, 268, 331, 8, 1],
        twins: &[(Op::Claim, CLOSER), (Op::HotRemove, CLOSER), (Op::Failure, CLOSER)],
    },
    Row {
        one: Op::Merge,
        bound: 2,
        pairs: &[9, 1, 53, 6, 5, 1, 1, 1, 53, 1, 1, 1, 1215, 1, 1, 435, 481, 1],
        twins: &[],
    },
    Row {
        one: Op::Flush,
        bound: 2,
        pairs: &[33, 8, 107, 8, 1, 1, 1, 1, 108, 5, 1, 1, 11, 8, 1, 111, 30, 1],
        twins: &[(Op::Claim, CLOSER), (Op::HotRemove, CLOSER)],
    },
    Row {
        one: Op::Lookup,
        bound: 2,
        pairs: &[1, 1, 1, 1, 1, 8, 8, 8, 8, 5, 37, 27, 1, 5, 8, 1, 15, 1],
        twins: &[],
    },
    Row {
        one: Op::Get,
        bound: 2,
        pairs: &[1, 1, 1, 1, 1, 8, 8, 8, 8, 5, 235, 124, 1, 5, 8, 1, 15, 1],
        twins: &[],
    },
    Row {
        one: Op::Lock,
        bound: 2,
        pairs: &[1, 1, 1, 1, 1, 8, 8, 8, 8, 5, 317, 92, 1, 5, 8, 1, 15, 1],
        twins: &[(Op::Split, "re-check left out")],
    },
    Row {
        one: Op::Publish,
        bound: 2,
        pairs: &[460, 289, 1195, 94, 108, 8, 8, 8, 10774, 1, 39, 15, 15042, 624, 336, 109, 38, 1],
        twins: &[],
    },
    Row {
        one: Op::Clear,
        bound: 2,
        pairs: &[5, 5, 5, 1, 4, 1, 1, 1, 5, 1, 1, 1, 9, 5, 1, 302, 220, 1],
        twins: &[(Op::HotRemove, CLOSER), (Op::Failure, CLOSER)],
    },
    Row {
        one: Op::Replace,
        bound: 2,
        pairs: &[1, 1, 1, 1, 1, 34, 212, 288, 17, 1, 322, 117, 12, 4, 27, 72, 972, 1],
        twins: &[],
    },
    Row {
        one: Op::Split,
        bound: 2,
        pairs: &[1, 1, 1, 1, 1, 23, 124, 123, 11, 1, 182, 82, 1, 1, 11, 1, 497, 1],
        twins: &[],
    },
    Row {
        one: Op::Report,
        bound: 1,
        pairs: &[258, 456, 257, 665, 3, 1, 1, 1, 257, 1, 2, 1, 5, 2, 11, 22, 15, 1],
        twins: &[],
    },
    Row {
        one: Op::PutBack,
        bound: 2,
        pairs: &[24, 6, 254, 1, 5, 1, 1, 1, 254, 1, 4, 1, 12, 4, 4, 92, 216, 1],
        twins: &[],
    },
    Row {
        one: Op::HotAdd,
        bound: 2,
        pairs: &[209, 1, 207, 1, 1, 8, 8, 8, 335, 1, 29, 15, 108, 4, 532, 1021, 42, 1],
        twins: &[],
    },
    Row {
        one: Op::HotRemove,
        bound: 2,
        pairs: &[210, 223, 210, 223, 39, 1, 1, 1, 39, 210, 31, 1, 165, 39, 466, 34, 1332, 1],
        twins: &[
            (Op::Merge, CLOSER),
            (Op::Publish, CLOSER),
            (Op::PutBack, CLOSER),
            (Op::Failure, CLOSER),
        ],
    },
    Row {
        one: Op::Failure,
        bound: 2,
        pairs: &[16, 306, 16, 464, 29, 11, 11, 11, 40, 164, 287, 208, 50, 56, 797, 433, 1238, 18],
        twins: &[
            (Op::Claim, CLOSER),
            (Op::Merge, CLOSER),
            (Op::Flush, CLOSER),
            (Op::Publish, CLOSER),
        ],
    },
    Row {
        one: Op::Unregister,
        bound: 2,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 35, 13],
        twins: &[(Op::Failure, "unregister does not wait")],
    },
];
