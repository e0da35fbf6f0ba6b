//! Handles: who may give a block back.
//!
//! A handle is made by the allocation and used up by the free, and cannot be
//! copied, so a double free, a free of a part or one with the wrong order does
//! not compile. What can still go wrong (a handle given to another resource) is
//! refused with the handle returned.
//!
//! Dropping a bare or raw handle frees nothing: the granules stay allocated,
//! as if leaked. An embedder that keeps addresses of its own, as a kernel does,
//! forgets the handle and makes it again: [`Zone::adopt_bare`](crate::Zone::adopt_bare)
//! looks everywhere first, [`Zone::bare_at`](crate::Zone::bare_at) trusts.

use crate::hand::Code;
use core::fmt;
use memdesc::{Block as Place, Granule, Granules, Order};

/// A block without a word: on failure the resource's own owner hears of it.
///
/// 16 bytes; freed by [`Zone::free_bare`](crate::Zone::free_bare) or
/// [`Hand::free_bare`](crate::Hand::free_bare).
#[derive(PartialEq, Eq, Hash)]
#[must_use = "dropping it leaks the granules: free it"]
pub struct BareBlock {
    /// The block in 8 bytes, so that the handle travels in two registers.
    pub(crate) code: Code,
    pub(crate) zone: u32,
}

impl BareBlock {
    #[inline(always)]
    pub(crate) fn new(code: Code, zone: u32) -> Self {
        Self { code, zone }
    }

    /// The geometry block, as plain data.
    #[inline(always)]
    pub fn block(&self) -> Place {
        self.code.block()
    }

    /// The first granule.
    #[inline(always)]
    pub fn base(&self) -> Granule {
        self.code.base()
    }

    /// The order.
    #[inline]
    pub fn order(&self) -> Order {
        self.block().order()
    }

    /// The granules, inclusive.
    pub fn granules(&self) -> Granules {
        self.block().granules()
    }
}

impl fmt::Debug for BareBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bare({:?})", self.block())
    }
}

/// A block with an immediate word: it has an owner, and lookup finds it.
///
/// Freed by [`Zone::free_raw`](crate::Zone::free_raw).
#[derive(PartialEq, Eq, Hash)]
#[must_use = "dropping it leaks the granules: free it"]
pub struct RawBlock {
    pub(crate) code: Code,
    pub(crate) zone: u32,
}

impl RawBlock {
    #[inline]
    pub(crate) fn new(block: Place, zone: u32) -> Self {
        Self { code: Code::of(block), zone }
    }

    /// The first granule.
    #[inline(always)]
    pub fn base(&self) -> Granule {
        self.code.base()
    }

    /// The order.
    pub fn order(&self) -> Order {
        self.block().order()
    }

    /// The granules, inclusive.
    pub fn granules(&self) -> Granules {
        self.block().granules()
    }

    /// The geometry block, as plain data.
    #[inline]
    pub fn block(&self) -> Place {
        self.code.block()
    }
}

impl fmt::Debug for RawBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "raw({:?})", self.block())
    }
}

/// Adjacent blocks handed out as one: any number of granules.
///
/// Freed whole by [`Zone::free_run`](crate::Zone::free_run). Each granule of
/// it is found by lookup as a piece of this run.
#[derive(PartialEq, Eq, Hash)]
#[must_use = "dropping it leaks the granules: free it"]
pub struct Run {
    pub(crate) granules: Granules,
    pub(crate) zone: u32,
}

impl Run {
    /// The granules, inclusive.
    pub fn granules(&self) -> Granules {
        self.granules
    }

    /// The first granule.
    pub fn base(&self) -> Granule {
        self.granules.first()
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run({:?})", self.granules)
    }
}

/// A block that a reporter holds: an allocation by the owner *Reporting*.
///
/// Given back by [`Zone::put_back`](crate::Zone::put_back).
#[derive(PartialEq, Eq, Hash)]
#[must_use = "dropping it leaks the granules: put it back"]
pub struct Isolated {
    pub(crate) block: Place,
    pub(crate) zone: u32,
}

impl Isolated {
    /// The geometry block, as plain data.
    pub fn block(&self) -> Place {
        self.block
    }
}

impl fmt::Debug for Isolated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "isolated({:?})", self.block)
    }
}
