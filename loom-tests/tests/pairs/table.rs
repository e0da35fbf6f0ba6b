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

pub(crate) const TABLE: &[Row] = &[
    Row { one: Op::Alloc, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Free, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Claim, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Merge, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Flush, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Lookup, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Get, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Lock, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Publish, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Clear, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Replace, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Split, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Report, bound: 1, pairs: &[1; 18], twins: &[] },
    Row { one: Op::PutBack, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::HotAdd, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::HotRemove, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Failure, bound: 2, pairs: &[1; 18], twins: &[] },
    Row { one: Op::Unregister, bound: 2, pairs: &[1; 18], twins: &[] },
];
