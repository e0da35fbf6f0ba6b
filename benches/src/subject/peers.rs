//! Other crates of the kind, each as its documentation says to use it.
//!
//! All but one need exclusive access, so they sit behind a `parking_lot` lock,
//! uncontended with one thread. Each adapter says what it had to add; what it
//! adds is paid in the peer's figures and is a table look-up at most.

use super::{Hand, Shape, Subject, SubjectError, Visitor};
use bitmap_allocator::{BitAlloc, BitAlloc1M, BitAlloc16M, BitAlloc256M};
use branch_allocator::{Atomic, BranchAllocator};
use buddy_system_allocator::FrameAllocator;
use memdesc::Order;
use offset_allocator::{Allocation, Allocator};
use parking_lot::Mutex;
use range_alloc::RangeAllocator;
use vm_allocator::{AddressAllocator, AllocPolicy, RangeInclusive};

/// Calls the visitor with each.
pub(super) fn visit(visitor: &mut impl Visitor) {
    visitor.visit::<Buddy>();
    visitor.visit::<Bitmap>();
    visitor.visit::<Offset>();
    visitor.visit::<Range>();
    visitor.visit::<Vm>();
    visitor.visit::<Branch>();
}

fn at_most(name: &'static str, shape: Shape, allowed: u64) -> Result<(), SubjectError> {
    if shape.granules > allowed {
        return Err(SubjectError::TooLarge { name, allowed, asked: shape.granules });
    }
    Ok(())
}

/// `buddy_system_allocator`: ordered sets per order. Pieces merge like any
/// other blocks.
struct Buddy(Mutex<FrameAllocator<41>>);

impl Subject for Buddy {
    const NAME: &'static str = "buddy_system_allocator";
    const SPLITS: bool = true;
    const ALIGNS: bool = true;
    const JUDGED: bool = false;

    type Hand<'a> = &'a Self;

    fn new(shape: Shape) -> Result<Self, SubjectError> {
        at_most(Self::NAME, shape, 1 << 40)?;
        let mut frames = FrameAllocator::new();
        frames.add_frame(0, shape.granules as usize);
        Ok(Self(Mutex::new(frames)))
    }

    fn hand(&self) -> &Self {
        self
    }
}

impl Hand for &Buddy {
    fn alloc(&mut self, order: Order) -> Option<u64> {
        self.0.lock().alloc(order.granules() as usize).map(|base| base as u64)
    }

    fn free(&mut self, base: u64, order: Order) {
        self.0.lock().dealloc(base as usize, order.granules() as usize);
    }
}

/// `bitmap-allocator`: a 16-way tree of bits, in the smallest of its sizes
/// that fits. Any aligned run of bits can be freed.
struct Bitmap(Mutex<Bits>);

enum Bits {
    Of1M(Box<BitAlloc1M>),
    Of16M(Box<BitAlloc16M>),
    Of256M(Box<BitAlloc256M>),
}

/// The same call on whichever size it is.
macro_rules! bits {
    ($bits:expr, $name:ident => $call:expr) => {
        match $bits {
            Bits::Of1M($name) => $call,
            Bits::Of16M($name) => $call,
            Bits::Of256M($name) => $call,
        }
    };
}

/// Makes a tree on a stack that holds it: the crate has no constructor in
/// place, and its largest tree is 38 MB.
fn tree<T: BitAlloc + Send + 'static>(name: &'static str) -> Result<Box<T>, SubjectError> {
    let refused = SubjectError::Refused { name, granules: T::CAP as u64, reason: "no stack" };
    let builder = std::thread::Builder::new().stack_size(256 << 20);
    let made = builder.spawn(|| Box::new(T::DEFAULT)).map_err(|_| refused)?;
    made.join().map_err(|_| refused)
}

impl Subject for Bitmap {
    const NAME: &'static str = "bitmap-allocator";
    const SPLITS: bool = true;
    const ALIGNS: bool = true;
    const JUDGED: bool = false;

    type Hand<'a> = &'a Self;

    fn new(shape: Shape) -> Result<Self, SubjectError> {
        at_most(Self::NAME, shape, BitAlloc256M::CAP as u64)?;
        let granules = shape.granules as usize;
        let mut bits = if granules <= BitAlloc1M::CAP {
            Bits::Of1M(tree(Self::NAME)?)
        } else if granules <= BitAlloc16M::CAP {
            Bits::Of16M(tree(Self::NAME)?)
        } else {
            Bits::Of256M(tree(Self::NAME)?)
        };
        bits!(&mut bits, bits => bits.insert(0..granules));
        Ok(Self(Mutex::new(bits)))
    }

    fn hand(&self) -> &Self {
        self
    }
}

impl Hand for &Bitmap {
    fn alloc(&mut self, order: Order) -> Option<u64> {
        let mut bits = self.0.lock();
        let base = if order == Order::ZERO {
            bits!(&mut *bits, bits => bits.alloc())
        } else {
            let (size, align) = (order.granules() as usize, order.get() as usize);
            bits!(&mut *bits, bits => bits.alloc_contiguous(None, size, align))
        };
        base.map(|base| base as u64)
    }

    fn free(&mut self, base: u64, order: Order) {
        let mut bits = self.0.lock();
        if order == Order::ZERO {
            bits!(&mut *bits, bits => bits.dealloc(base as usize));
        } else {
            let size = order.granules() as usize;
            bits!(&mut *bits, bits => bits.dealloc_contiguous(base as usize, size));
        }
    }
}

/// `offset-allocator`: two-level segregated fit over any sizes; blocks are not
/// aligned. It frees by a token of its own, kept here in a table by base.
struct Offset(Mutex<Offsets>);

struct Offsets {
    offsets: Allocator,
    tokens: Vec<Option<Allocation>>,
}

impl Subject for Offset {
    const NAME: &'static str = "offset-allocator";
    const SPLITS: bool = false;
    const ALIGNS: bool = false;
    const JUDGED: bool = false;

    type Hand<'a> = &'a Self;

    fn new(shape: Shape) -> Result<Self, SubjectError> {
        at_most(Self::NAME, shape, 1 << 28)?;
        // A node for every granule, should all be order 0.
        let granules = shape.granules as u32;
        let offsets = Allocator::with_max_allocs(granules, granules.max(8) + 2);
        let tokens = vec![None; shape.granules as usize];
        Ok(Self(Mutex::new(Offsets { offsets, tokens })))
    }

    fn hand(&self) -> &Self {
        self
    }
}

impl Hand for &Offset {
    fn alloc(&mut self, order: Order) -> Option<u64> {
        let size = u32::try_from(order.granules()).ok()?;
        let mut all = self.0.lock();
        let token = all.offsets.allocate(size)?;
        all.tokens[token.offset as usize] = Some(token);
        Some(u64::from(token.offset))
    }

    fn free(&mut self, base: u64, _: Order) {
        let mut all = self.0.lock();
        let token = all.tokens[base as usize].take();
        all.offsets.free(token.expect("handed out by this allocator"));
    }
}

/// `range-alloc`: a sorted list of free ranges, aligned on request. Pieces of
/// a range can be freed.
struct Range(Mutex<RangeAllocator<u64>>);

impl Subject for Range {
    const NAME: &'static str = "range-alloc";
    const SPLITS: bool = true;
    const ALIGNS: bool = true;
    const JUDGED: bool = false;
    const LINEAR: bool = true;

    type Hand<'a> = &'a Self;

    fn new(shape: Shape) -> Result<Self, SubjectError> {
        Ok(Self(Mutex::new(RangeAllocator::new(0..shape.granules))))
    }

    fn hand(&self) -> &Self {
        self
    }
}

impl Hand for &Range {
    fn alloc(&mut self, order: Order) -> Option<u64> {
        let size = order.granules();
        self.0.lock().allocate_range_aligned(size, size).ok().map(|range| range.start)
    }

    fn free(&mut self, base: u64, order: Order) {
        self.0.lock().free_range(base..base + order.granules());
    }
}

/// `vm-allocator`: an interval tree, first match, aligned on request. A granule
/// is a page of addresses: ranges of one address would not merge when freed.
struct Vm(Mutex<AddressAllocator>);

/// log2 of the addresses in a granule.
const PAGE: u32 = 12;

impl Subject for Vm {
    const NAME: &'static str = "vm-allocator";
    const SPLITS: bool = false;
    const ALIGNS: bool = true;
    const JUDGED: bool = false;
    const LINEAR: bool = true;

    type Hand<'a> = &'a Self;

    fn new(shape: Shape) -> Result<Self, SubjectError> {
        at_most(Self::NAME, shape, 1 << 48)?;
        let made = AddressAllocator::new(0, shape.granules << PAGE);
        let (name, granules) = (Self::NAME, shape.granules);
        let refused = SubjectError::Refused { name, granules, reason: "no such range" };
        made.map(|space| Self(Mutex::new(space))).map_err(|_| refused)
    }

    fn hand(&self) -> &Self {
        self
    }
}

impl Hand for &Vm {
    fn alloc(&mut self, order: Order) -> Option<u64> {
        let size = order.granules().checked_mul(1 << PAGE)?;
        let range = self.0.lock().allocate(size, size, AllocPolicy::FirstMatch).ok()?;
        Some(range.start() >> PAGE)
    }

    fn free(&mut self, base: u64, order: Order) {
        let (start, size) = (base << PAGE, order.granules() << PAGE);
        let range = RangeInclusive::new(start, start + size - 1);
        let range = range.expect("a block is no empty range");
        self.0.lock().free(&range).expect("handed out by this allocator");
    }
}

/// `branch_allocator`: lock-free, and tries exactly the place it is told; the
/// search is the caller's. The adapter's hand tries where it last freed a block
/// of the order, then goes round from where it last found one.
///
/// Its 1.0.8 hands out blocks of order 4 and above that overlap live ones, on
/// one thread and without any contention; replay counts them.
struct Branch {
    blocks: BranchAllocator<'static>,
    granules: u64,
}

impl Subject for Branch {
    const NAME: &'static str = "branch_allocator";
    const SPLITS: bool = false;
    const ALIGNS: bool = true;
    const JUDGED: bool = false;
    const LINEAR: bool = true;

    type Hand<'a> = BranchHand<'a>;

    fn new(shape: Shape) -> Result<Self, SubjectError> {
        at_most(Self::NAME, shape, 1 << 28)?;
        let order = shape.granules.next_power_of_two().trailing_zeros() as usize;
        // The crate borrows its storage; leaked, a few bits per granule.
        let words = (0..BranchAllocator::required(order)).map(|_| Atomic::new(0));
        let words: &'static [Atomic] = words.collect::<Vec<_>>().leak();
        let (name, granules) = (Self::NAME, shape.granules);
        let refused = SubjectError::Refused { name, granules, reason: "too little storage" };
        let blocks = BranchAllocator::new(words, order).ok_or(refused)?;
        let branch = Self { blocks, granules };
        branch.take_tail(order);
        Ok(branch)
    }

    fn hand(&self) -> BranchHand<'_> {
        BranchHand { subject: self, freed: [None; 64], next: [0; 64] }
    }
}

impl Branch {
    /// Takes what the tree has beyond the shape, in its largest blocks.
    fn take_tail(&self, order: usize) {
        let mut base = self.granules;
        while base < 1 << order {
            let block = base.trailing_zeros();
            let taken = self.blocks.try_allocate(base as usize, block as usize);
            taken.expect("all is free at first");
            base += 1 << block;
        }
    }
}

struct BranchHand<'a> {
    subject: &'a Branch,
    freed: [Option<u64>; 64],
    next: [u64; 64],
}

impl Hand for BranchHand<'_> {
    fn alloc(&mut self, order: Order) -> Option<u64> {
        let (index, size) = (order.get() as usize, order.granules());
        let freed = self.freed[index].take().into_iter();
        let places = self.subject.granules / size;
        let first = self.next[index];
        let round = (0..places).map(|step| (first + step) % places * size);
        let blocks = &self.subject.blocks;
        let mut tries = freed.chain(round);
        let base = tries.find(|base| blocks.try_allocate(*base as usize, index).is_some())?;
        self.next[index] = base / size;
        Some(base)
    }

    fn free(&mut self, base: u64, order: Order) {
        let index = order.get() as usize;
        // It refuses to free what it handed out twice; nothing else to do.
        let _ = self.subject.blocks.deallocate(base as usize, index);
        self.freed[index] = Some(base);
    }
}
