//! Cutting the upper part off a live block.
//!
//! # Picture
//!
//! ```text
//! keep 3 of 4 places   X X X X  ->  A A B -              pieces of the own level
//! keep 1.5 of 4        X X X X  ->  A link - -           the rest in a node below,
//!                                      |                 and so on down
//!                                      B*32 -*32
//! above the sections   X (level 4)  ->  A (level 3), then nothing above
//! ```
//!
//! What is kept is a run of granules from the block's first one: one block for a
//! descriptor; for an immediate word the fewest that make it up, each with the
//! word in its own order.
//!
//! # What always holds
//!
//! All memory is at hand before the first store, so a cut is refused whole or
//! done whole. As in a split, an address that is kept is found at any moment
//! (words appear below before they leave above, and a node is filled before it
//! is linked), and the head slot goes by a read-modify-write, so that a mark is
//! seen: it is carried to every piece, for the word cannot say which granule
//! failed. A descriptor's place shrinks last, under its lock.

use crate::LookupError;
use crate::immediate::own_immediate;
use crate::node::Spare;
use crate::publish::are_of;
use crate::slots::{covering, place_of};
use crate::sparse::Group;
use crate::split::poison_head;
use crate::tree::{SECTION_LEVEL, Tree};
use memdesc::sync::atomic::Ordering;
use memdesc::{
    AtomicWord, Block, Descriptor, Granules, Home, Immediate, Locked, ORDERS_PER_LEVEL, Order,
    Word, pin, seeded,
};

/// Nodes on the way down from a section: levels 0, 1 and 2.
type Chain<'a> = [Option<Spare<'a>>; SECTION_LEVEL as usize];

/// A cut that cannot fail any more, but by somebody else's writing.
struct Cut<'a> {
    block: Block,
    keep: Granules,
    /// The block's, as it lives now.
    slots: &'a [AtomicWord],
    /// To be filled, each linking to the next lower; empty if nothing is kept below
    /// the block's level, or if that is an array's.
    chain: Chain<'a>,
}

impl<H: Home> Tree<H> {
    /// Cuts a live descriptor's block down to its lower `1 << order` granules;
    /// what was above has no word any more, and is the caller's. Returns the
    /// block that is left.
    ///
    /// No RMW. Refuses an order above the block's, a descriptor that is not
    /// published here, and when memory is out.
    pub fn shrink<T: Descriptor>(
        &self,
        locked: &Locked<'_, H, T>,
        order: Order,
    ) -> Result<Block, LookupError> {
        // As in `split`: nobody else's code runs from here to the end.
        let _guard = pin();
        let block = locked.block();
        if order > block.order() {
            return Err(LookupError::WrongOrder { asked: block, word: order });
        }
        let lower = Block::containing(block.base(), order);
        let wrong = LookupError::WrongWord { asked: block };
        let slots = self.slots(block).filter(|slots| are_of(slots, locked.word())).ok_or(wrong)?;
        if order == block.order() {
            return Ok(block);
        }
        let word = locked.word();
        let cut = self.prepare(block, lower.granules(), slots)?;
        if !seeded!("cut linked before it is filled") {
            cut.fill(&|_| word);
        }
        self.store_below(&cut, &|_| word);
        self.store_rest(&cut, &|_| word);
        let head = cut.own_word(0, &|_| word);
        // `Release`: what is below is filled before it is seen.
        slots[0].store(head, memdesc::weakened!("cut linked relaxed", Release));
        if seeded!("cut linked before it is filled") {
            cut.fill(&|_| word);
        }
        cut.linked();
        // SAFETY: every slot that named the descriptor was overwritten just
        // above; what names it now are the slots of `lower`.
        unsafe { locked.set_place(lower) };
        Ok(lower)
    }

    /// Cuts an immediate block that the caller owns down to `keep`, which starts
    /// where the block does: its word stays, in as many pieces as `keep` has
    /// blocks. What was above has no word any more. A poison hint goes to every
    /// piece.
    ///
    /// One RMW. Refuses what is no lower part, a block that is not there, and
    /// when memory is out; nothing was changed then.
    ///
    /// ```
    /// # use memdesc::*;
    /// # use potad_lookup::*;
    /// # #[derive(Clone)] struct Nobody(Kinds);
    /// # impl Home for Nobody {
    /// #     fn kinds(&self) -> &Kinds { &self.0 }
    /// #     fn teardown(_: Dead<Self>) {}
    /// # }
    /// let tree = Tree::<Nobody>::new();
    /// let block = Block::new(Granule(64), Order::new(6)?)?;
    /// let raw = Immediate::new(Subtype::Raw, OwnerId(7), block.order());
    /// tree.publish_immediate(block, raw)?;
    /// tree.cut_immediate(block, Granules::new(Granule(64), Granule(64 + 47))?)?;
    ///
    /// let guard = pin();
    /// let order_at = |at| tree.find(Granule(at), &guard).map(|found| found.block().order().get());
    /// assert_eq!([order_at(64), order_at(111), order_at(112)], [Some(5), Some(4), None]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cut_immediate(&self, block: Block, keep: Granules) -> Result<(), LookupError> {
        let wrong = LookupError::WrongWord { asked: block };
        let slots = self.slots(block).ok_or(wrong)?;
        let own = own_immediate(block, slots)?;
        let old = Immediate::unpack(own).ok_or(wrong)?;
        if keep.first() != block.base() || keep.last() > block.last() {
            return Err(LookupError::Indivisible { asked: block });
        }
        if keep == block.granules() {
            return Ok(());
        }
        let word = move |order| Immediate { poisoned: false, ..old }.with_order(order).pack();
        let cut = self.prepare(block, keep, slots)?;
        cut.fill(&word);
        self.store_below(&cut, &word);
        self.store_rest(&cut, &word);
        let head = cut.own_word(0, &word);
        let mut seen = own;
        loop {
            let carry = seen.is_poisoned() && !seeded!("cut without the mark");
            if carry {
                cut.heads(self).for_each(poison_head);
            }
            // A link, or nothing, takes no mark and stays what it is.
            let next = if carry { head.poisoned() } else { head };
            // `AcqRel` pairs with `poison_immediate`: a mark that came before is
            // carried on. Failing: one arrived, or the block is gone.
            match slots[0].compare_exchange(
                seen,
                next,
                memdesc::weakened!("word cut relaxed", AcqRel),
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) if now.names_same(seen) => seen = now,
                Err(_) => {
                    // Somebody wrote what is not theirs. A node may be linked
                    // already: none is used again.
                    cut.linked();
                    return Err(wrong);
                }
            }
        }
        cut.linked();
        Ok(())
    }

    /// Everything that can fail.
    fn prepare<'a>(
        &'a self,
        block: Block,
        keep: Granules,
        slots: &'a [AtomicWord],
    ) -> Result<Cut<'a>, LookupError> {
        let level = block.order().level();
        let lowest = keep.cover().map(|piece| piece.order().level()).min().unwrap_or(level);
        let mut chain = Chain::default();
        if level > SECTION_LEVEL {
            for piece in keep.cover().filter(|piece| piece.order().level() < level) {
                self.group_or_make(piece)?;
            }
            return Ok(Cut { block, keep, slots, chain });
        }
        let out_of_memory = LookupError::OutOfMemory { asked: block };
        for node in &mut chain[lowest as usize..level as usize] {
            *node = Some(self.nodes.take().ok_or(out_of_memory)?);
        }
        Ok(Cut { block, keep, slots, chain })
    }

    /// The group that holds a piece of a block above the sections.
    pub(crate) fn group_or_make(&self, piece: Block) -> Result<&Group, LookupError> {
        let level = piece.order().level();
        if level >= SECTION_LEVEL {
            self.array_group(piece, level)
        } else {
            self.node_group(piece, level)
        }
    }

    /// Stores the pieces of a block above the sections that go below it.
    fn store_below(&self, cut: &Cut<'_>, word: &dyn Fn(Order) -> Word) {
        let level = cut.block.order().level();
        if level <= SECTION_LEVEL {
            return;
        }
        for piece in cut.keep.cover().filter(|piece| piece.order().level() < level) {
            // There since `prepare`; gone only where somebody else publishes.
            let Some(slots) = self.slots(piece) else { continue };
            self.announce(piece.order().level());
            self.store(slots, word(piece.order()), piece.order().level());
        }
    }

    /// Stores what the block's own slots hold from now on, but for the head.
    fn store_rest(&self, cut: &Cut<'_>, word: &dyn Fn(Order) -> Word) {
        let level = cut.block.order().level();
        for at in (1..cut.slots.len()).rev() {
            let own = cut.own_word(at, word);
            if cut.slots[at].load(Ordering::Relaxed) != own {
                self.store(&cut.slots[at..=at], own, level);
            }
        }
    }
}

impl Cut<'_> {
    /// Fills the nodes, which nobody sees yet.
    fn fill(&self, word: &dyn Fn(Order) -> Word) {
        let mut below: Option<Word> = None;
        for (level, node) in (0..).zip(&self.chain) {
            let Some(node) = node else { continue };
            for piece in self.keep.cover().filter(|piece| piece.order().level() == level) {
                fill(covering(node.words(), piece), word(piece.order()));
            }
            if let Some(link) = below {
                let partly = place_of(self.keep.last(), level);
                fill(&node.words()[partly..=partly], link);
            }
            below = Some(node.peek_link());
        }
    }

    /// What the block's own slot number `at` holds from now on: a piece, the
    /// link to the highest node, or nothing.
    fn own_word(&self, at: usize, word: &dyn Fn(Order) -> Word) -> Word {
        let level = self.block.order().level();
        let first = place_of(self.block.base(), level);
        let piece = self.keep.cover().find(|piece| {
            let (start, run) = (place_of(piece.base(), level), piece.order().run() as usize);
            piece.order().level() == level && (start..start + run).contains(&(first + at))
        });
        if let Some(piece) = piece {
            return word(piece.order());
        }
        let is_partly = place_of(self.keep.last(), level) == first + at;
        let below = level.checked_sub(1).and_then(|below| self.chain.get(below as usize));
        match below {
            Some(Some(node)) if is_partly => node.peek_link(),
            _ => Word::EMPTY,
        }
    }

    /// The head slots of the pieces, but for that of the first one if it is the
    /// block's own.
    fn heads<'c, H: Home>(
        &'c self,
        tree: &'c Tree<H>,
    ) -> impl Iterator<Item = &'c AtomicWord> + 'c {
        let own = self.block.order().level();
        self.keep.cover().filter_map(move |piece| {
            let level = piece.order().level();
            if level == own {
                let at = (piece.base().0 - self.block.base().0) >> (ORDERS_PER_LEVEL * level);
                return self.slots.get(at as usize).filter(|_| at != 0);
            }
            let node = self.chain.get(level as usize).and_then(Option::as_ref);
            match node {
                Some(node) => node.words().get(place_of(piece.base(), level)),
                None => tree.slots(piece)?.first(),
            }
        })
    }

    /// The nodes are the tree's from now on.
    fn linked(self) {
        for node in self.chain.into_iter().flatten() {
            let _ = node.link();
        }
    }
}

/// Fills slots of a node that nobody sees yet.
fn fill(slots: &[AtomicWord], word: Word) {
    for slot in slots {
        // Relaxed: the link that follows releases it.
        slot.store(word, Ordering::Relaxed);
    }
}
