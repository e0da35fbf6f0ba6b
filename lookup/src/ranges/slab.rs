//! Where nodes come from: blocks of memory cut into classes of 32 bytes.
//!
//! # Picture
//!
//! ```text
//!  block  | node | node | node ..            | bump -> untouched |
//!  free   class 1: node -> node    class 2: -    class 3: node ..      the writer's
//!  back   node -> node -> node                                         anybody's: a stack
//! ```
//!
//! # What always holds
//!
//! A node is linked, retired, on the stack or on a free list; whoever has it is
//! the only one. Blocks are freed with the slab, which lives as long as the map
//! and everything that was retired from it.
//!
//! # Sharing and cost
//!
//! Taking is the writer's, under its lock: a few instructions. Giving back is
//! done by whoever collects garbage, without lock: one compare-exchange a node.
//! The writer takes the whole stack by one swap, so a node on it cannot come
//! back while another push looks at it.
//!
//! Blocks double from 4 KiB to 2 MiB. Where there is an operating system to
//! ask, blocks of 2 MiB ask for huge pages: a cold look-up then misses the page
//! tables' cache less.

use super::draft::{Draft, MAX_WORDS};
use super::node::{self, Head, bytes_of};
use super::word::Word;
use alloc::alloc::{Layout, alloc, dealloc};
use alloc::vec::Vec;
use core::ptr::{self, NonNull};
use memdesc::seeded;
use memdesc::sync::atomic::{AtomicPtr, Ordering};

/// Classes are multiples of this, and nodes are aligned to it.
const GRAIN: usize = 32;
const LINE: usize = 64;
const CLASSES: usize = bytes_of(MAX_WORDS).div_ceil(GRAIN) + 1;
const FIRST_BLOCK: usize = 4096;
const LARGEST_BLOCK: usize = 2 << 20;

/// Pages that a map's blocks ask the system for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pages {
    /// Huge ones, once there are 2 MiB of nodes.
    #[default]
    Huge,
    /// As the system pleases.
    Any,
}

/// Nodes given back and not yet taken over by the writer.
#[derive(Debug)]
pub(super) struct Returned(AtomicPtr<Head>);

impl Returned {
    pub(super) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Puts a node on the stack.
    ///
    /// # Safety
    ///
    /// - The node is of the slab that takes this stack over; no slot links to
    ///   it and no reader can be in it.
    pub(super) unsafe fn push(&self, node: NonNull<Head>, words: usize) {
        // Relaxed: a guess for the exchange.
        let mut top = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: nobody else has it, by the promise.
            unsafe { node::set_free(node, class_of(words), top) };
            if seeded!("range node returned by a plain store") {
                return self.0.store(node.as_ptr(), Ordering::Release);
            }
            // `Release` pairs with `take`: the node's last use came before.
            // Failing: somebody pushed or took.
            match self.0.compare_exchange(
                top,
                node.as_ptr(),
                memdesc::weakened!("range node returned relaxed", Release),
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Takes all.
    fn take(&self) -> *mut Head {
        // Relaxed: a guess; what is missed is taken the next time.
        if self.0.load(Ordering::Relaxed).is_null() {
            return ptr::null_mut();
        }
        // `Acquire` pairs with the pushes.
        self.0.swap(ptr::null_mut(), memdesc::weakened!("range nodes taken over relaxed", Acquire))
    }
}

/// Bytes of a slab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// In blocks.
    pub(super) blocks: usize,
    /// Of nodes that are linked, retired or on the stack.
    pub(super) nodes: usize,
}

/// The memory of one map's nodes.
///
/// # Invariants
///
/// `free` lists nodes of the blocks, by class, that are this slab's alone; the
/// bytes from `bump` are of the last block and were never a node.
pub(super) struct Slab {
    free: [*mut Head; CLASSES],
    bump: *mut u8,
    room: usize,
    blocks: Vec<(NonNull<u8>, Layout)>,
    pages: Pages,
    usage: Usage,
}

// SAFETY: the nodes and blocks are its own.
unsafe impl Send for Slab {}

/// The class of a node with one word: half a line, but in models.
const SMALLEST: usize = class_of(1);

const fn class_of(words: usize) -> usize {
    bytes_of(words).div_ceil(GRAIN)
}

/// Bytes that a node of so many words takes.
pub(super) const fn rounded_bytes(words: usize) -> usize {
    class_of(words) * GRAIN
}

impl Slab {
    pub(super) fn new(pages: Pages) -> Self {
        Self {
            free: [ptr::null_mut(); CLASSES],
            bump: ptr::null_mut(),
            room: 0,
            blocks: Vec::new(),
            pages,
            usage: Usage::default(),
        }
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Makes a node of a draft; `None` when memory is out.
    pub(super) fn make(&mut self, draft: &Draft) -> Option<Word> {
        let node = self.take(class_of(draft.bits().words()))?;
        // SAFETY: just taken, large enough, aligned and initialised.
        unsafe { draft.write(node) };
        Some(Word::of_link(node, draft.level))
    }

    /// Takes over what was given back.
    pub(super) fn collect(&mut self, returned: &Returned) {
        let mut next = returned.take();
        while let Some(node) = NonNull::new(next) {
            // SAFETY: pushed by `push`, and ours since the stack was taken.
            let (class, after) = unsafe { node::free_node(node) };
            self.give(node, class);
            next = after;
        }
    }

    fn give(&mut self, node: NonNull<Head>, class: usize) {
        // SAFETY: ours, by the caller; it has a head and a word.
        unsafe { node::set_free(node, class, self.free[class]) };
        self.free[class] = node.as_ptr();
        self.usage.nodes -= class * GRAIN;
    }

    fn take(&mut self, class: usize) -> Option<NonNull<Head>> {
        if let Some(node) = NonNull::new(self.free[class]) {
            // SAFETY: on the list, so given by `give`.
            let (_, next) = unsafe { node::free_node(node) };
            self.free[class] = next;
            self.usage.nodes += class * GRAIN;
            return Some(node);
        }
        if self.room < (class + SMALLEST) * GRAIN {
            self.grow()?;
        }
        // A node of whole lines begins on one, so that the smallest are one
        // line to read. What is passed over is a node of half a line.
        if class.is_multiple_of(2) && !self.bump.addr().is_multiple_of(LINE) {
            let half = self.cut(SMALLEST)?;
            self.give(half, SMALLEST);
        }
        self.cut(class)
    }

    /// Cuts a node from the last block, which has room for it.
    fn cut(&mut self, class: usize) -> Option<NonNull<Head>> {
        let bytes = class * GRAIN;
        let node = NonNull::new(self.bump)?.cast::<Head>();
        self.bump = self.bump.wrapping_add(bytes);
        self.room -= bytes;
        self.usage.nodes += bytes;
        // SAFETY: untouched bytes of the block, this many, aligned.
        unsafe { node::init(node, bytes) };
        Some(node)
    }

    /// A new block, as large as all there are, within limits.
    #[cold]
    fn grow(&mut self) -> Option<()> {
        let bytes = self.usage.blocks.next_power_of_two().clamp(FIRST_BLOCK, LARGEST_BLOCK);
        // Models' nodes are larger, if few.
        let bytes = bytes.max(((CLASSES + SMALLEST) * GRAIN).next_power_of_two());
        let layout = Layout::from_size_align(bytes, bytes).ok()?;
        self.blocks.try_reserve(1).ok()?;
        // SAFETY: the size is not zero.
        let block = NonNull::new(unsafe { alloc(layout) })?;
        if self.pages == Pages::Huge && bytes == LARGEST_BLOCK {
            ask_for_huge_pages(block, bytes);
        }
        self.keep_rest();
        self.blocks.push((block, layout));
        self.usage.blocks += bytes;
        (self.bump, self.room) = (block.as_ptr(), bytes);
        Some(())
    }

    /// What is left of a block becomes free nodes, of half a line each: there
    /// are few, and they are the most wanted.
    fn keep_rest(&mut self) {
        while self.room >= SMALLEST * GRAIN
            && let Some(node) = self.cut(SMALLEST)
        {
            self.give(node, SMALLEST);
        }
        self.room = 0;
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        for (block, layout) in core::mem::take(&mut self.blocks) {
            // SAFETY: allocated with this layout; the map is gone and nothing
            // that was retired from it is left, or they would keep the slab.
            // Atomics need no drop.
            unsafe { dealloc(block.as_ptr(), layout) };
        }
    }
}

/// A refusal changes nothing but speed.
fn ask_for_huge_pages(block: NonNull<u8>, bytes: usize) {
    #[cfg(all(target_os = "linux", feature = "std", not(loom), not(miri)))]
    {
        use rustix::mm::{Advice, madvise};
        // SAFETY: a block of whole pages, just allocated; the advice changes
        // no content.
        let _ = unsafe { madvise(block.as_ptr().cast(), bytes, Advice::LinuxHugepage) };
    }
    let _ = (block, bytes);
}
