//! What the pairs have been seen to do: the least interleavings of each, and
//! a seeded bug that it finds.

use crate::op::Op;

/// An operation beside each one of `Op::ALL`, in that order.
pub(crate) struct Row {
    pub(crate) one: Op,
    pub(crate) pairs: &'static [u64],
    pub(crate) twins: &'static [(Op, &'static str)],
}

pub(crate) const TABLE: &[Row] = &[
    Row {
        one: Op::Alloc,
        pairs: &[140, 155, 169, 84, 37, 1, 1, 1, 169, 1, 1, 1, 16107, 548, 254, 331, 71, 1],
        twins: &[],
    },
    Row {
        one: Op::Free,
        pairs: &[13, 6, 140, 1, 5, 1, 1, 1, 140, 1, 1, 1, 720, 6, 1, 405, 127, 1],
        twins: &[],
    },
    Row {
        one: Op::Claim,
        pairs: &[487, 289, 1210, 94, 108, 1, 1, 1, 1210, 1, 1, 1, 8553, 455, 287, 331, 71, 1],
        twins: &[],
    },
    Row {
        one: Op::Merge,
        pairs: &[9, 1, 53, 6, 5, 1, 1, 1, 53, 1, 1, 1, 1215, 1, 1, 435, 127, 1],
        twins: &[],
    },
    Row {
        one: Op::Flush,
        pairs: &[33, 8, 107, 8, 1, 1, 1, 1, 108, 5, 1, 1, 11, 8, 1, 111, 22, 1],
        twins: &[],
    },
    Row {
        one: Op::Lookup,
        pairs: &[1, 1, 1, 1, 1, 8, 8, 8, 8, 5, 37, 27, 1, 5, 1, 1, 8, 1],
        twins: &[],
    },
    Row {
        one: Op::Get,
        pairs: &[1, 1, 1, 1, 1, 8, 8, 8, 8, 5, 235, 124, 1, 5, 1, 1, 8, 1],
        twins: &[],
    },
    Row {
        one: Op::Lock,
        pairs: &[1, 1, 1, 1, 1, 8, 8, 8, 8, 5, 317, 92, 1, 5, 1, 1, 8, 1],
        twins: &[],
    },
    Row {
        one: Op::Publish,
        pairs: &[487, 289, 1210, 94, 108, 8, 8, 8, 10774, 1, 39, 15, 12307, 455, 287, 109, 46, 1],
        twins: &[],
    },
    Row {
        one: Op::Clear,
        pairs: &[5, 5, 5, 1, 4, 1, 1, 1, 5, 1, 1, 1, 9, 5, 1, 302, 100, 1],
        twins: &[],
    },
    Row {
        one: Op::Replace,
        pairs: &[1, 1, 1, 1, 1, 34, 244, 288, 17, 1, 322, 117, 12, 4, 4, 83, 3302, 1],
        twins: &[],
    },
    Row {
        one: Op::Split,
        pairs: &[1, 1, 1, 1, 1, 23, 151, 142, 11, 1, 182, 82, 1, 1, 1, 1, 1866, 1],
        twins: &[],
    },
    Row {
        one: Op::Report,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::PutBack,
        pairs: &[24, 6, 181, 1, 5, 1, 1, 1, 181, 1, 4, 1, 12, 4, 4, 92, 38, 1],
        twins: &[],
    },
    Row {
        one: Op::HotAdd,
        pairs: &[202, 1, 207, 1, 1, 1, 1, 1, 207, 1, 4, 1, 108, 4, 17, 699, 12, 1],
        twins: &[],
    },
    Row {
        one: Op::HotRemove,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Failure,
        pairs: &[107, 176, 107, 176, 23, 8, 8, 8, 38, 137, 904, 458, 117, 43, 55, 43, 252, 18],
        twins: &[],
    },
    Row {
        one: Op::Unregister,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 35, 13],
        twins: &[],
    },
];
