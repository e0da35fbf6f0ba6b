//! The rows: every gate of the design, as data.
//!
//! To fill a row that is "not yet": give it a [`Source::Own`] function (it
//! returns the figure in the row's unit, or `None` while it cannot), or, for a
//! flavour of the allocator, put the adapter's type in `subject::ours`.

use super::count::Counted;
use super::describe;
use super::group::Group;
use super::lookup;
use super::reporting;
use super::sizes;
use super::typed;

/// What a figure is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Multiples of R; the source gives nanoseconds.
    R,
    /// A ratio.
    Times,
    /// Microseconds.
    Micros,
    /// 2^20 bytes.
    Mebibytes,
    /// Bytes.
    Bytes,
    /// Of a hundred.
    Percent,
    /// Read-modify-writes per operation.
    Rmws,
    /// Heavy barriers per operation.
    Barriers,
    /// Distinct lines written per operation.
    Lines,
    /// Steps.
    Steps,
}

impl Unit {
    /// The name in the table and the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::R => "R",
            Self::Times => "x",
            Self::Micros => "us",
            Self::Mebibytes => "MiB",
            Self::Bytes => "B",
            Self::Percent => "%",
            Self::Rmws => "RMW",
            Self::Barriers => "barriers",
            Self::Lines => "lines",
            Self::Steps => "steps",
        }
    }
}

/// Which side of the gate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Small figures are good.
    AtMost,
    /// Large figures are good.
    AtLeast,
}

impl Bound {
    /// Whether a figure meets a gate.
    pub fn is_met(self, value: f64, gate: f64) -> bool {
        match self {
            Self::AtMost => value <= gate,
            Self::AtLeast => value >= gate,
        }
    }
}

/// Which of our subjects a row measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Bare blocks, through a hand.
    Bare,
    /// Raw blocks, through a hand.
    Raw,
    /// Bare blocks, no hand passed.
    Loose,
}

/// Where a row's figure comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// The figure of this index of a group, for a flavour.
    Group(Flavour, Group, usize),
    /// A count, of bare blocks through a hand.
    Counted(Counted),
    /// A measurement of its own, in the row's unit (ns for R).
    Own(fn() -> Option<f64>),
    /// Nothing to measure yet.
    NotYet,
}

/// A gate.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What is measured, in words.
    pub name: &'static str,
    /// The figure that must not be passed.
    pub gate: f64,
    /// What both are in.
    pub unit: Unit,
    /// Which side is good.
    pub bound: Bound,
    /// Exact, by counting.
    pub counted: bool,
    /// Takes long to set up: left out of a quick run.
    pub long: bool,
    /// Where the figure comes from.
    pub source: Source,
    /// Warm-up, arena, flavour, what is pre-faulted.
    pub setup: &'static str,
}

impl Row {
    const fn new(name: &'static str, gate: f64, unit: Unit) -> Self {
        let (bound, source) = (Bound::AtMost, Source::NotYet);
        Self { name, gate, unit, bound, counted: false, long: false, source, setup: "" }
    }

    const fn of(mut self, flavour: Flavour, group: Group, index: usize) -> Self {
        self.source = Source::Group(flavour, group, index);
        self
    }

    const fn counted(mut self) -> Self {
        self.counted = true;
        self
    }

    const fn own(mut self, measure: fn() -> Option<f64>) -> Self {
        self.source = Source::Own(measure);
        self
    }

    const fn counting(mut self, what: Counted) -> Self {
        self.source = Source::Counted(what);
        self.counted()
    }

    const fn long(mut self) -> Self {
        self.long = true;
        self
    }

    const fn at_least(mut self) -> Self {
        self.bound = Bound::AtLeast;
        self
    }

    const fn setup(mut self, setup: &'static str) -> Self {
        self.setup = setup;
        self
    }
}

const HOT: &str = "8 GiB of 4 KiB, bare, warmed up by 25,000 pairs";
const BULK: &str = "4 of 8 GiB out, bare, metadata faulted in by one round before";
const TIB: &str = "1 TiB of 4 KiB, bare, fill faults the metadata in; 4 Mi frees and allocations";
const REPLACE: &str =
    "8 GiB of 4 KiB, bare, warmed up by 200,000; in 64 MiB, of linear peers, one of 512";
const CHURN: &str = "8 GiB of 4 KiB, bare, filled to 75 %, warmed up by 200,000 operations";

const TYPED: &str = "8 GiB of 4 KiB, order 0, thread-local hand, no outer pin, warmed up by 25,000";
const READ: &str = "one block of order 0 in 8 GiB, by its address, warmed up by 50,000";
const HOT_TREE: &str = "1,024 typed blocks of order 0 side by side, hot, at random";
const CLUSTERED: &str =
    "10^6 blocks of 4 KiB to 1 GiB in 64 zones, inserted at random; cold, at random";
const PEERS: &str = if cfg!(feature = "peers") {
    "clustered ranges, cold; RwLock<BTreeMap>, rangemap, crossbeam-skiplist, congee"
} else {
    "clustered ranges, cold; RwLock<BTreeMap> alone, without the feature peers"
};

/// Returns every row, in the order of the design.
pub fn rows() -> Vec<Row> {
    [COUNTED, ALLOCATOR, DESCRIPTORS, LOOKUP, SIZES, REPORTING].concat()
}

const COUNTED: &[Row] = &[
    Row::new("hot hand pair: RMWs", 0.0, Unit::Rmws).counting(Counted::HotPairRmws).setup(HOT),
    Row::new("hot hand pair: heavy barriers", 0.0, Unit::Barriers)
        .counting(Counted::HotPairHeavy)
        .setup(HOT),
    Row::new("pair of order 3..=63, the most: RMWs", 0.0, Unit::Rmws)
        .counting(Counted::HighPairRmws)
        .setup("2^63 granules, bare, each order warmed up by 200 pairs"),
    Row::new("two of order 3..=62 out and back, the most: RMWs", 2.0, Unit::Rmws)
        .counting(Counted::HighTwosRmws)
        .setup("2^63 granules, bare, each order warmed up by 200 times the same"),
    Row::new("two of order 3..=62 out and back, the most: lines written", 1.0, Unit::Lines)
        .counting(Counted::HighTwosLines)
        .setup("2^63 granules, bare, each order warmed up by 200 times the same"),
    Row::new("alloc of order 6..=8 where it was freed, the most: RMWs", 1.0, Unit::Rmws)
        .counting(Counted::FreedAllocRmws)
        .setup("8 GiB of 4 KiB all out, bare; one block freed in each of 16 words, then all taken"),
    Row::new("one of 4,096 of order 0..=5 replaced, the most: RMWs", 0.01, Unit::Rmws)
        .counting(Counted::ReplaceRmws)
        .setup("8 GiB of 4 KiB, bare, at random, warmed up by 16,384 times the same"),
    Row::new("cold free: RMWs", 1.0 + 1.0 / 64.0, Unit::Rmws)
        .counting(Counted::ColdFreeRmws)
        .setup("8 GiB of 4 KiB all out but one granule in each of 4,096 lines, bare"),
    Row::new("cold free: lines written", 1.0, Unit::Lines)
        .counting(Counted::ColdFreeLines)
        .setup("8 GiB of 4 KiB all out but one granule in each of 4,096 lines, bare"),
    Row::new("refill of 64 granules: RMWs", 2.0, Unit::Rmws)
        .counting(Counted::RefillRmws)
        .setup("8 GiB of 4 KiB, bare, large blocks broken"),
    Row::new("alloc of order 0 by 512: RMWs per granule", 1.0 / 64.0, Unit::Rmws)
        .counting(Counted::BatchAllocRmws)
        .setup("65,536 of 8 GiB of 4 KiB that nobody has used, bare"),
    Row::new("free of order 0 in order by 512: RMWs per granule", 1.1 / 64.0, Unit::Rmws)
        .counting(Counted::BatchFreeRmws)
        .setup("the same 65,536 back"),
    Row::new("publish and clear, every order: RMWs", 0.0, Unit::Rmws)
        .counted()
        .own(describe::publish_rmws),
    Row::new("publish and clear, every order: lines written", 4.0, Unit::Lines)
        .counted()
        .own(describe::publish_lines),
    Row::new("publish and clear, orders 6n to 6n+3: lines written", 1.0, Unit::Lines)
        .counted()
        .own(describe::publish_lines_small),
    Row::new("peek: RMWs", 0.0, Unit::Rmws).counted().own(describe::peek_rmws),
    Row::new("peek: lines written", 0.0, Unit::Lines).counted().own(describe::peek_lines),
    Row::new("get and put: RMWs", 2.0, Unit::Rmws).counted().own(describe::get_put_rmws),
    Row::new("slowest allocator call while reporting: RMWs", 64.0, Unit::Steps)
        .counted()
        .own(reporting::slowest_call)
        .setup(
            "recording back end, a step between the calls; 64 MiB of 4 KiB at 75 %, orders 0 to 10",
        ),
];

const ALLOCATOR: &[Row] = &[
    Row::new("order-0 pair, hand, bare", 0.6, Unit::R)
        .of(Flavour::Bare, Group::Pair(0), 0)
        .setup(HOT),
    Row::new("order-0 pair, hand, raw", 0.8, Unit::R)
        .of(Flavour::Raw, Group::Pair(0), 0)
        .setup("8 GiB of 4 KiB, raw, warmed up by 25,000 pairs"),
    Row::new("32 out, 32 back, per pair", 0.6, Unit::R)
        .of(Flavour::Bare, Group::Batch, 0)
        .setup(HOT),
    Row::new("bulk alloc", 0.3, Unit::R).of(Flavour::Bare, Group::Bulk, 0).setup(BULK),
    Row::new("bulk free in order", 0.45, Unit::R).of(Flavour::Bare, Group::Bulk, 1).setup(BULK),
    Row::new("bulk free shuffled", 1.5, Unit::R).of(Flavour::Bare, Group::Bulk, 2).setup(BULK),
    Row::new("bulk alloc, batches of 512", 0.3, Unit::R)
        .of(Flavour::Bare, Group::BulkBatches, 0)
        .setup(BULK),
    Row::new("bulk free in order, batches of 512", 0.45, Unit::R)
        .of(Flavour::Bare, Group::BulkBatches, 1)
        .setup(BULK),
    Row::new("bulk free shuffled, batches of 512", 1.5, Unit::R)
        .of(Flavour::Bare, Group::BulkBatches, 2)
        .setup(BULK),
    Row::new("churn at 75 %", 2.2, Unit::R).of(Flavour::Bare, Group::Churn, 0).setup(CHURN),
    Row::new("one of 4,096 of order 0 replaced at random", 3.0, Unit::R)
        .of(Flavour::Bare, Group::Replace(0), 0)
        .setup(REPLACE),
    Row::new("one of 4,096 of order 4 replaced at random", 3.0, Unit::R)
        .of(Flavour::Bare, Group::Replace(4), 0)
        .setup(REPLACE),
    Row::new("order-9 pair", 2.4, Unit::R).of(Flavour::Bare, Group::Pair(9), 0).setup(HOT),
    Row::new("order-18 pair", 2.4, Unit::R).of(Flavour::Bare, Group::Pair(18), 0).setup(HOT),
    Row::new("pair without a hand", 1.0, Unit::R)
        .of(Flavour::Loose, Group::Pair(0), 0)
        .setup("8 GiB of 4 KiB, bare, thread-local hand, warmed up by 25,000 pairs"),
    Row::new("refill, 2^40 granules against 2^20", 1.5, Unit::Times)
        .of(Flavour::Bare, Group::Refill, 0)
        .setup("1,024 times 64 of order 0 from new resources, bare, nothing pre-faulted"),
    Row::new("hot pair on two threads, to plain pairs, against one", 1.2, Unit::Times)
        .of(Flavour::Bare, Group::TwoPairs, 0)
        .setup(HOT),
    Row::new("churn on two threads", 6.0, Unit::R)
        .of(Flavour::Bare, Group::TwoChurn, 0)
        .setup(CHURN),
    Row::new("1 TiB: fill", 1.2, Unit::R).of(Flavour::Bare, Group::Tebibyte, 0).setup(TIB),
    Row::new("1 TiB: random cold free", 8.5, Unit::R)
        .of(Flavour::Bare, Group::Tebibyte, 1)
        .setup(TIB),
    Row::new("1 TiB: scattered re-alloc", 1.3, Unit::R)
        .of(Flavour::Bare, Group::Tebibyte, 2)
        .setup(TIB),
    Row::new("register 1 TiB", 100.0, Unit::Micros)
        .of(Flavour::Bare, Group::Register(28), 0)
        .setup("granules of 4 KiB, from nothing"),
    Row::new("register 1 EiB", 100.0, Unit::Micros)
        .of(Flavour::Bare, Group::Register(48), 0)
        .setup("granules of 4 KiB, from nothing"),
    Row::new("forest metadata per TiB, all broken", 34.0, Unit::Mebibytes)
        .of(Flavour::Bare, Group::Tebibyte, 3)
        .setup(TIB),
    Row::new("forest metadata per TiB, only blocks of 2 MiB", 0.6, Unit::Mebibytes)
        .of(Flavour::Bare, Group::HugeOnly, 0)
        .setup("1 TiB of 4 KiB all out in order 9, bare"),
];

const DESCRIPTORS: &[Row] = &[
    Row::new("typed pair, 64-byte descriptor: hot", 5.0, Unit::R).own(typed::hot).setup(TYPED),
    Row::new("typed pair, 64-byte descriptor: churn, 4,096 live", 7.5, Unit::R)
        .own(typed::churn)
        .setup(TYPED),
    Row::new("typed pair, 64-byte descriptor: two threads, hot", 6.0, Unit::R)
        .own(typed::two_threads)
        .setup(TYPED),
    Row::new("typed pair, 64-byte descriptor: every free remote", 6.5, Unit::R)
        .own(typed::remote)
        .setup("as the others; two threads swap batches of 256, 8 under way, and free them"),
    Row::new("peek through a zone, outer pin", 0.8, Unit::R).own(typed::peek_pinned).setup(READ),
    Row::new("peek through a zone, own pin", 1.7, Unit::R).own(typed::peek_unpinned).setup(READ),
    Row::new("get and put through a zone", 2.5, Unit::R).own(typed::get_put).setup(READ),
    Row::new("lock and unlock through a zone", 2.5, Unit::R).own(typed::lock_unlock).setup(READ),
    Row::new("peek under an outer pin", 0.8, Unit::R).own(lookup::peek).setup(HOT_TREE),
    Row::new("peek with its own pin", 1.7, Unit::R).own(lookup::pinned_peek).setup(HOT_TREE),
    Row::new("get and put", 2.5, Unit::R).own(lookup::get_put).setup(HOT_TREE),
    Row::new("lock and unlock", 2.5, Unit::R).own(lookup::lock_unlock).setup(HOT_TREE),
];

const LOOKUP: &[Row] = &[
    Row::new("publish and clear in a dense section, orders 0..=36, the most", 3.0, Unit::R)
        .own(lookup::publish_clear)
        .setup(
            "raw words: cleared by plain stores, as zones do; nodes there; 5 times 4,000 pairs an order",
        ),
    Row::new(
        "find, 1 Mi clustered blocks, dependent, huge-page slab, to a flat array",
        1.0,
        Unit::Times,
    )
    .own(lookup::dependent_huge)
    .setup(CLUSTERED),
    Row::new("find, 1 Mi clustered blocks, dependent, to a flat array", 1.1, Unit::Times)
        .own(lookup::dependent)
        .setup(CLUSTERED),
    Row::new("find, 1 Mi clustered blocks, single independent, to a flat array", 8.0, Unit::Times)
        .own(lookup::independent)
        .setup(CLUSTERED),
    Row::new("find_many, 1 Mi clustered blocks, to a flat array", 4.0, Unit::Times)
        .own(lookup::many)
        .setup(CLUSTERED),
    Row::new("find, dependent, the best peer's time to ours", 2.0, Unit::Times)
        .at_least()
        .own(lookup::best_peer)
        .setup(PEERS),
    Row::new("find, 1 Mi scattered ranges, to a static SIMD tree", 0.8, Unit::Times)
        .own(lookup::scattered_to_tree)
        .setup("10^6 ranges inserted at random, huge pages for both, dependent, 64-byte nodes"),
    Row::new("bytes per range, compressed, clustered", 20.0, Unit::Bytes)
        .own(lookup::bytes_clustered)
        .setup("nodes in use after 10^6 insertions at random"),
    Row::new("bytes per range, compressed, scattered", 28.0, Unit::Bytes)
        .own(lookup::bytes_scattered)
        .setup("nodes in use after 10^6 insertions at random"),
    Row::new("dense sections, of broken 4 KiB memory", 0.25, Unit::Percent)
        .own(lookup::dense_bytes)
        .setup("4 GiB of 4 KiB, one granule of every 64 published; all tables and nodes"),
    Row::new("reader beside a writer that never pauses, to quiet", 2.0, Unit::Times)
        .own(lookup::beside_writer)
        .setup("clustered ranges, single independent; the writer removes and inserts at random"),
];

const SIZED: &str = "built at once, huge pages for both, dependent but for iter; gates of our own";

const SIZES: &[Row] = &[
    Row::new("find, 10^4 clustered ranges, to a static SIMD tree", 0.8, Unit::Times)
        .own(sizes::find::<10_000, false>)
        .setup(SIZED),
    Row::new("find, 10^4 scattered ranges, to a static SIMD tree", 0.8, Unit::Times)
        .own(sizes::find::<10_000, true>)
        .setup(SIZED),
    Row::new("bytes per range, 10^4, clustered", 20.0, Unit::Bytes)
        .own(sizes::bytes::<10_000, false>)
        .setup(SIZED),
    Row::new("bytes per range, 10^4, scattered", 28.0, Unit::Bytes)
        .own(sizes::bytes::<10_000, true>)
        .setup(SIZED),
    Row::new("find, 10^7 clustered ranges, to a static SIMD tree", 0.8, Unit::Times)
        .long()
        .own(sizes::find::<10_000_000, false>)
        .setup(SIZED),
    Row::new("find, 10^7 scattered ranges, to a static SIMD tree", 0.8, Unit::Times)
        .long()
        .own(sizes::find::<10_000_000, true>)
        .setup(SIZED),
    Row::new("bytes per range, 10^7, clustered", 20.0, Unit::Bytes)
        .long()
        .own(sizes::bytes::<10_000_000, false>)
        .setup(SIZED),
    Row::new("bytes per range, 10^7, scattered", 28.0, Unit::Bytes)
        .long()
        .own(sizes::bytes::<10_000_000, true>)
        .setup(SIZED),
    Row::new("find, 10^6 clustered ranges, to a static SIMD tree", 0.8, Unit::Times)
        .own(sizes::find::<1_000_000, false>)
        .setup(SIZED),
    Row::new("next, 10^6 clustered ranges, to find", 2.0, Unit::Times)
        .own(sizes::next::<1_000_000>)
        .setup(SIZED),
    Row::new("iter, 10^6 clustered ranges, a step, to find", 1.0, Unit::Times)
        .own(sizes::iter::<1_000_000>)
        .setup(SIZED),
];

const ALONE: &str =
    "48 (huge) or 12 free blocks of 2 MiB, each alone, touched before; bare: a call for each";
const IDLE: &str = "8 GiB of 4 KiB, bare, the upper half reported; the best of 25 turns each";

const REPORTING: &[Row] = &[
    Row::new("isolate and put back, per 2 MiB", 20.0, Unit::R)
        .own(reporting::isolate_and_put_back)
        .setup("8 GiB of 4 KiB, every second 2 MiB free, batches of 32, noted as reported"),
    Row::new("alloc and free of order 0 with an idle reporter: what it adds", 0.2, Unit::R)
        .own(reporting::pair_added)
        .setup(IDLE),
    Row::new("alloc of order 9 with an idle reporter: what it adds", 0.2, Unit::R)
        .own(reporting::alloc_added)
        .setup(IDLE),
    Row::new("claim with an idle reporter: what it adds, per granule", 0.2, Unit::R)
        .own(reporting::claim_added)
        .setup(IDLE),
    Row::new("free of order 9 with an idle reporter: what it adds", 0.2, Unit::R)
        .own(reporting::free_added)
        .setup(IDLE),
    Row::new("skip-scan of 1 TiB all reported", 20.0, Unit::Micros)
        .own(reporting::skip_scan)
        .setup("1 TiB of 4 KiB, report granule of 2 MiB; the best of 25"),
    Row::new("report end to end, huge pages, to raw discard", 0.95, Unit::Times)
        .at_least()
        .own(reporting::huge_pages)
        .setup(ALONE),
    Row::new("report end to end, 4 KiB anonymous, to raw discard", 0.95, Unit::Times)
        .at_least()
        .own(reporting::small_pages)
        .setup(ALONE),
    Row::new("report end to end, memfd, to raw discard", 0.95, Unit::Times)
        .at_least()
        .own(reporting::memfd)
        .setup(ALONE),
];
