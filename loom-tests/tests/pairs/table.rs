//! What the pairs have been seen to do: the least interleavings of each, and
//! a seeded bug that it finds. (That the document marks the same pairs is checked
//! by `ledger.rs`.)

use crate::op::Op;

/// An operation beside each one of `Op::ALL`, in that order.
pub(crate) struct Row {
    pub(crate) one: Op,
    /// Preemptions.
    pub(crate) bound: usize,
    /// The least interleavings; 0 for what shares nothing, and has exactly one.
    pub(crate) pairs: &'static [u64],
    /// What shares nothing but what models alone share: the abstract pin, and the
    /// one hand for calls without one.
    pub(crate) bared: &'static [Op],
    /// What one preemption is enough to find.
    pub(crate) twins: &'static [(Op, &'static str)],
}

const fn row(
    one: Op,
    pairs: &'static [u64],
    bared: &'static [Op],
    twins: &'static [(Op, &'static str)],
) -> Row {
    Row { one, bound: 2, pairs, bared, twins }
}

/// Found wherever one of the two closes the hands of the other.
const CLOSER: &str = "closer does not wait";
const COUNTED: &str = "counted by a plain store";
const DEATH: &str = "get ignores death";
const EMPTIED: &str = "word emptied in two steps";
/// Found wherever both give to one word.
const GIVEN: &str = "given by a plain store";
const GRACE: &str = "freed without a grace period";
const ISOLATED: &str = "isolated without taking";
const MERGED: &str = "merge without a compare-exchange";
/// Found wherever both want a table that is not there yet.
const ONCE: &str = "once is installed relaxed";
/// Found wherever both are the first to use a type.
const SECOND: &str = "second to register is refused";
const WALK: &str = "walk relaxed";

/// Those that do a lot, each with a hand, and share much of it.
pub(crate) const LONG: [(Op, Op); 3] =
    [(Op::PutBack, Op::Report), (Op::Publish, Op::Publish), (Op::Publish, Op::Report)];

pub(crate) const TABLE: &[Row] = &[
    row(
        Op::Alloc,
        &[140, 112, 169, 44, 37, 0, 0, 0, 169, 112, 0, 0, 16107, 332, 254, 333, 10, 0],
        &[],
        &[
            (Op::Alloc, CLOSER),
            (Op::Free, CLOSER),
            (Op::Claim, CLOSER),
            (Op::Merge, MERGED),
            (Op::Flush, CLOSER),
            (Op::Publish, CLOSER),
            (Op::Clear, CLOSER),
            (Op::Report, CLOSER),
            (Op::PutBack, CLOSER),
            (Op::HotAdd, ONCE),
        ],
    ),
    row(
        Op::Free,
        &[13, 7, 140, 0, 6, 0, 0, 0, 140, 7, 0, 0, 720, 6, 0, 405, 405, 0],
        &[],
        &[
            (Op::Alloc, CLOSER),
            (Op::Free, GIVEN),
            (Op::Claim, CLOSER),
            (Op::Flush, GIVEN),
            (Op::Publish, CLOSER),
            (Op::Clear, GIVEN),
            (Op::Report, GIVEN),
            (Op::HotRemove, CLOSER),
            (Op::Failure, CLOSER),
        ],
    ),
    row(
        Op::Claim,
        &[460, 289, 1195, 94, 108, 0, 0, 0, 1195, 289, 0, 0, 8250, 624, 241, 331, 8, 0],
        &[],
        &[
            (Op::Claim, CLOSER),
            (Op::Merge, MERGED),
            (Op::Publish, CLOSER),
            (Op::Clear, CLOSER),
            (Op::Report, CLOSER),
            (Op::HotAdd, ONCE),
            (Op::HotRemove, CLOSER),
            (Op::Failure, CLOSER),
        ],
    ),
    row(
        Op::Merge,
        &[9, 0, 53, 7, 6, 0, 0, 0, 53, 0, 0, 0, 1215, 0, 0, 435, 481, 0],
        &[],
        &[
            (Op::Merge, GIVEN),
            (Op::Flush, GIVEN),
            (Op::Publish, "claimed without a swap"),
            (Op::Report, GIVEN),
        ],
    ),
    row(
        Op::Flush,
        &[33, 9, 107, 9, 4, 0, 0, 0, 108, 9, 0, 0, 1628, 8, 0, 111, 30, 0],
        &[],
        &[
            (Op::Claim, CLOSER),
            (Op::Flush, GIVEN),
            (Op::Publish, CLOSER),
            (Op::Clear, GIVEN),
            (Op::Report, GIVEN),
            (Op::PutBack, GIVEN),
            (Op::HotRemove, CLOSER),
        ],
    ),
    row(
        Op::Lookup,
        &[0, 0, 0, 0, 0, 9, 9, 9, 18, 19, 37, 27, 15, 6, 9, 9, 17, 0],
        &[Op::Lookup, Op::Get, Op::Lock, Op::HotAdd, Op::HotRemove, Op::Failure],
        &[(Op::Publish, WALK), (Op::Clear, GRACE), (Op::Report, EMPTIED), (Op::PutBack, EMPTIED)],
    ),
    row(
        Op::Get,
        &[0, 0, 0, 0, 0, 9, 121, 96, 104, 82, 235, 115, 15, 6, 9, 9, 234, 0],
        &[Op::Lookup, Op::HotAdd, Op::HotRemove],
        &[
            (Op::Get, COUNTED),
            (Op::Lock, COUNTED),
            (Op::Publish, WALK),
            (Op::Clear, DEATH),
            (Op::Split, "unlock by a plain store"),
            (Op::Failure, COUNTED),
        ],
    ),
    row(
        Op::Lock,
        &[0, 0, 0, 0, 0, 9, 95, 151, 80, 125, 317, 92, 15, 6, 9, 9, 386, 0],
        &[Op::Lookup, Op::HotAdd, Op::HotRemove],
        &[
            (Op::Lock, "unlock relaxed"),
            (Op::Publish, WALK),
            (Op::Clear, DEATH),
            (Op::Split, "re-check left out"),
            (Op::Failure, COUNTED),
        ],
    ),
    row(
        Op::Publish,
        &[460, 289, 1195, 94, 108, 11, 19, 19, 10774, 289, 153, 17, 1953, 624, 302, 109, 38, 0],
        &[Op::Split],
        &[
            (Op::Publish, CLOSER),
            (Op::Clear, CLOSER),
            (Op::Replace, SECOND),
            (Op::Report, CLOSER),
            (Op::HotAdd, ONCE),
        ],
    ),
    row(
        Op::Clear,
        &[15, 7, 140, 0, 6, 13, 49, 70, 140, 7, 0, 0, 1386, 7, 0, 302, 220, 0],
        &[],
        &[
            (Op::Clear, GIVEN),
            (Op::Report, GIVEN),
            (Op::PutBack, GIVEN),
            (Op::HotRemove, CLOSER),
            (Op::Failure, CLOSER),
        ],
    ),
    row(
        Op::Replace,
        &[0, 0, 0, 0, 0, 34, 212, 288, 75, 0, 322, 117, 14, 5, 27, 447, 972, 0],
        &[Op::Report, Op::PutBack, Op::HotAdd],
        &[
            (Op::Lookup, GRACE),
            (Op::Get, GRACE),
            (Op::Lock, DEATH),
            (Op::Replace, SECOND),
            (Op::Split, SECOND),
            (Op::HotRemove, GRACE),
            (Op::Failure, DEATH),
        ],
    ),
    row(
        Op::Split,
        &[0, 0, 0, 0, 0, 23, 111, 123, 13, 0, 182, 82, 0, 0, 13, 13, 447, 0],
        &[Op::Publish, Op::HotAdd, Op::HotRemove],
        &[(Op::Lookup, "relaxed publish"), (Op::Split, SECOND), (Op::Failure, COUNTED)],
    ),
    Row {
        bound: 1,
        ..row(
            Op::Report,
            &[258, 456, 257, 665, 389, 1, 1, 1, 257, 836, 3, 0, 1132, 983, 11, 22, 18, 0],
            &[Op::Replace],
            &[(Op::Report, GIVEN), (Op::HotRemove, CLOSER), (Op::Failure, ISOLATED)],
        )
    },
    row(
        Op::PutBack,
        &[24, 6, 254, 0, 5, 1, 1, 1, 254, 7, 5, 0, 2625, 281, 26, 92, 351, 0],
        &[Op::Replace],
        &[
            (Op::Free, GIVEN),
            (Op::Claim, CLOSER),
            (Op::Publish, CLOSER),
            (Op::Report, GIVEN),
            (Op::PutBack, GIVEN),
            (Op::HotAdd, GIVEN),
        ],
    ),
    row(
        Op::HotAdd,
        &[209, 0, 186, 0, 0, 9, 9, 9, 301, 0, 29, 17, 108, 11, 545, 8428, 44, 0],
        &[Op::Lookup, Op::Get, Op::Lock, Op::Replace, Op::Split],
        &[(Op::Report, ONCE), (Op::HotAdd, GIVEN)],
    ),
    row(
        Op::HotRemove,
        &[210, 223, 210, 223, 39, 9, 9, 9, 39, 210, 241, 17, 165, 39, 1988, 171, 1332, 0],
        &[Op::Lookup, Op::Get, Op::Lock, Op::Split],
        &[
            (Op::Alloc, CLOSER),
            (Op::Merge, CLOSER),
            (Op::Publish, CLOSER),
            (Op::PutBack, CLOSER),
            (Op::HotAdd, "bracket without a barrier"),
            (Op::HotRemove, "removed twice at once"),
            (Op::Failure, CLOSER),
        ],
    ),
    row(
        Op::Failure,
        &[16, 306, 16, 464, 29, 13, 310, 197, 40, 164, 287, 187, 100, 185, 898, 433, 668, 18],
        &[Op::Lookup],
        &[
            (Op::Alloc, "taken without a compare-exchange"),
            (Op::Claim, CLOSER),
            (Op::Merge, CLOSER),
            (Op::Flush, CLOSER),
            (Op::Publish, CLOSER),
            (Op::PutBack, "looked at the poison before the word was gone"),
            (Op::HotAdd, "given without looking at the poison"),
            (Op::Failure, "a later report trusts the first"),
        ],
    ),
    row(
        Op::Unregister,
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 35, 15],
        &[],
        &[(Op::Failure, "unregister does not wait"), (Op::Unregister, "unregistered twice")],
    ),
];
