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
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Free,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Claim,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Merge,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Flush,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Lookup,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Get,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Lock,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Publish,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Clear,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Replace,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Split,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Report,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::PutBack,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::HotAdd,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::HotRemove,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Failure,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
    Row {
        one: Op::Unregister,
        pairs: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
        twins: &[],
    },
];
