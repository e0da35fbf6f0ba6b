//! What the pairs have been seen to do: the least interleavings of each, and
//! a seeded bug that it finds. (That the document marks the same pairs is checked
//! by `ledger.rs`.)

use crate::op::Op;

/// An operation beside each one of `Op::ALL`, in that order.
pub(crate) struct Row {
    pub(crate) one: Op,
    /// Preemptions.
    pub(crate) bound: usize,
    pub(crate) pairs: &'static [u64],
    /// What one preemption is enough to find.
    pub(crate) twins: &'static [(Op, &'static str)],
}

const fn row(one: Op, pairs: &'static [u64], twins: &'static [(Op, &'static str)]) -> Row {
    Row { one, bound: 2, pairs, twins }
}

/// Found wherever one of the two closes the hands of the other.
const CLOSER: &str = "closer does not wait";
const ISOLATED: &str = "isolated without taking";
const MERGED: &str = "merge without a compare-exchange";
const DEATH: &str = "get ignores death";
const GRACE: &str = "freed without a grace period";

pub(crate) const TABLE: &[Row] = &[
    row(
        Op::Alloc,
        &[140, 155, 169, 84, 37, 1, 1, 1, 169, 1, 1, 1, 16107, 548, 254, 331, 10, 1],
        &[
            (Op::Alloc, CLOSER),
            (Op::Free, CLOSER),
            (Op::Claim, CLOSER),
            (Op::Merge, MERGED),
            (Op::Flush, CLOSER),
            (Op::Publish, CLOSER),
            (Op::Report, CLOSER),
            (Op::PutBack, CLOSER),
        ],
    ),
    row(
        Op::Free,
        &[13, 6, 140, 1, 5, 1, 1, 1, 140, 1, 1, 1, 720, 6, 1, 405, 405, 1],
        &[
            (Op::Alloc, CLOSER),
            (Op::Claim, CLOSER),
            (Op::Publish, CLOSER),
            (Op::Report, ISOLATED),
            (Op::HotRemove, CLOSER),
            (Op::Failure, CLOSER),
        ],
    ),
    row(
        Op::Claim,
        &[460, 289, 1195, 94, 108, 1, 1, 1, 1195, 1, 1, 1, 8250, 624, 268, 331, 8, 1],
        &[
            (Op::Claim, CLOSER),
            (Op::Merge, MERGED),
            (Op::Publish, CLOSER),
            (Op::Report, CLOSER),
            (Op::HotRemove, CLOSER),
            (Op::Failure, CLOSER),
        ],
    ),
    row(
        Op::Merge,
        &[9, 1, 53, 6, 5, 1, 1, 1, 53, 1, 1, 1, 1215, 1, 1, 435, 481, 1],
        &[(Op::Publish, "claimed without a swap"), (Op::Report, ISOLATED)],
    ),
    row(
        Op::Flush,
        &[33, 8, 107, 8, 1, 1, 1, 1, 108, 5, 1, 1, 11, 8, 1, 111, 30, 1],
        &[
            (Op::Claim, CLOSER),
            (Op::Publish, CLOSER),
            (Op::Report, ISOLATED),
            (Op::PutBack, ISOLATED),
            (Op::HotRemove, CLOSER),
        ],
    ),
    row(Op::Lookup, &[1, 1, 1, 1, 1, 8, 8, 8, 8, 5, 37, 27, 1, 5, 8, 1, 15, 1], &[]),
    row(Op::Get, &[1, 1, 1, 1, 1, 8, 8, 8, 8, 5, 235, 124, 1, 5, 8, 1, 15, 1], &[]),
    row(
        Op::Lock,
        &[1, 1, 1, 1, 1, 8, 8, 8, 8, 5, 317, 92, 1, 5, 8, 1, 15, 1],
        &[(Op::Split, "re-check left out")],
    ),
    row(
        Op::Publish,
        &[460, 289, 1195, 94, 108, 8, 8, 8, 10774, 1, 39, 15, 15042, 624, 336, 109, 38, 1],
        &[(Op::Publish, CLOSER), (Op::Report, CLOSER)],
    ),
    row(
        Op::Clear,
        &[5, 5, 5, 1, 4, 1, 1, 1, 5, 1, 1, 1, 9, 5, 1, 302, 220, 1],
        &[(Op::HotRemove, CLOSER), (Op::Failure, CLOSER)],
    ),
    row(
        Op::Replace,
        &[1, 1, 1, 1, 1, 34, 212, 288, 17, 1, 322, 117, 12, 4, 27, 72, 972, 1],
        &[(Op::Lookup, GRACE), (Op::Get, GRACE), (Op::Lock, DEATH), (Op::Failure, DEATH)],
    ),
    row(Op::Split, &[1, 1, 1, 1, 1, 23, 124, 123, 11, 1, 182, 82, 1, 1, 11, 1, 497, 1], &[]),
    Row {
        bound: 1,
        ..row(
            Op::Report,
            &[258, 456, 257, 665, 3, 1, 1, 1, 257, 1, 2, 1, 5, 2, 11, 22, 15, 1],
            &[(Op::HotRemove, CLOSER)],
        )
    },
    row(
        Op::PutBack,
        &[24, 6, 254, 1, 5, 1, 1, 1, 254, 1, 4, 1, 12, 4, 4, 92, 216, 1],
        &[
            (Op::Free, ISOLATED),
            (Op::Claim, CLOSER),
            (Op::Publish, CLOSER),
            (Op::Failure, ISOLATED),
        ],
    ),
    row(
        Op::HotAdd,
        &[209, 1, 207, 1, 1, 8, 8, 8, 335, 1, 29, 15, 108, 4, 532, 1021, 42, 1],
        &[(Op::Report, ISOLATED), (Op::PutBack, ISOLATED)],
    ),
    row(
        Op::HotRemove,
        &[210, 223, 210, 223, 39, 1, 1, 1, 39, 210, 31, 1, 165, 39, 466, 34, 1332, 1],
        &[(Op::Merge, CLOSER), (Op::Publish, CLOSER), (Op::PutBack, CLOSER), (Op::Failure, CLOSER)],
    ),
    row(
        Op::Failure,
        &[16, 306, 16, 464, 29, 11, 11, 11, 40, 164, 287, 208, 50, 56, 797, 433, 1238, 18],
        &[
            (Op::Alloc, "taken without a compare-exchange"),
            (Op::Claim, CLOSER),
            (Op::Merge, CLOSER),
            (Op::Flush, CLOSER),
            (Op::Publish, CLOSER),
        ],
    ),
    row(
        Op::Unregister,
        &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 35, 13],
        &[(Op::Failure, "unregister does not wait")],
    ),
];
