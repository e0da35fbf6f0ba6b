//! Many blocks inside one bracket.
//!
//! # How
//!
//! What is taken is noted word by word, with the places of all its blocks, and
//! told apart into blocks outside the bracket. What is given is put together
//! again, outside as well: blocks of one word that follow each other are one
//! operation.
//!
//! # Cost (read-modify-writes)
//!
//! Granules out of whole words: 1 per word while words come one by one, 1 per
//! up to 64 words where the word above has them. Back in address order: 1 per
//! word.

use super::code::{Code, key_of, word_at};
use super::held::Held;
use super::slot::{CLAIMED_ORDERS, Slot};
use crate::error::OutOfMemory;
use crate::forest::{Taken, lowest_runs};
use crate::stock::Stock;
use memdesc::{Granule, ORDERS_PER_LEVEL, Order};

/// Words per bracket of a batch: what is in transit at once.
pub(crate) const BATCH: usize = if cfg!(any(loom, shuttle)) { 4 } else { 64 };

/// Blocks of one order on their way from the slot to its caller.
#[derive(Debug)]
pub(crate) struct Batch {
    order: Order,
    /// A word of the order's level, and the places of blocks in it.
    words: [(u64, u64); BATCH],
    len: usize,
    blocks: usize,
}

impl Batch {
    pub(crate) fn new(order: Order) -> Self {
        Self { order, words: [(0, 0); BATCH], len: 0, blocks: 0 }
    }

    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Words that there is room for.
    fn room(&self) -> usize {
        BATCH - self.len
    }

    /// Adds the blocks at these places of a word; callers see to the room, and
    /// what is too much is left out.
    fn push(&mut self, word: u64, places: u64) {
        debug_assert!(self.room() > 0);
        if let Some(next) = self.words.get_mut(self.len) {
            *next = (word, places);
            self.len += 1;
            self.blocks += (places.count_ones() / self.order.run()) as usize;
        }
    }

    /// Tells each block, word by word, lowest first.
    #[inline]
    pub(crate) fn for_each(&self, mut tell: impl FnMut(Code)) {
        let (order, run) = (self.order, self.order.run());
        for &(word, places) in &self.words[..self.len] {
            if places == u64::MAX {
                Code::each_of_whole(word, order, &mut tell);
                continue;
            }
            let mut starts = crate::forest::run_starts(places, run);
            while starts != 0 {
                let first = u64::from(starts.trailing_zeros());
                starts &= starts - 1;
                if let Some(code) = Code::at(word, first, order) {
                    tell(code);
                }
            }
        }
    }
}

impl Slot {
    /// Takes up to `room` blocks at once: whole words, without a search for
    /// each. Fewer only where no more are found near, or the batch is full.
    pub(crate) fn take_many(
        &self,
        stock: &Stock,
        room: usize,
        out: &mut Batch,
    ) -> Result<(), OutOfMemory> {
        let order = out.order;
        if order.get() <= CLAIMED_ORDERS {
            return self.take_many_small(stock, room, out);
        }
        let (level, run) = (order.level(), order.run());
        while out.blocks() < room && out.room() > 1 {
            let Taken::Block(block) = self.take_shared(stock, order)? else { break };
            let place = block.place();
            out.push(place.word, place.mask);
            // The rest of the same word in one go.
            let more = (room - out.blocks()).min((64 / run) as usize);
            let taken = stock.forest.take_runs(level, place.word, run, more as u32);
            if taken != 0 {
                stock.on_take_place(memdesc::Place { mask: taken, ..place });
                out.push(place.word, taken);
            }
        }
        Ok(())
    }

    fn take_many_small(
        &self,
        stock: &Stock,
        room: usize,
        out: &mut Batch,
    ) -> Result<(), OutOfMemory> {
        let order = out.order;
        loop {
            for claim in &self.claims {
                let wanted = room - out.blocks();
                if wanted > 0
                    && out.room() > 0
                    && let Some((word, places)) = claim.take_runs(order, wanted)
                {
                    out.push(word, places);
                }
            }
            if out.blocks() == room || out.room() == 0 || !self.refill(stock, order)? {
                return Ok(());
            }
            if let Some(whole) = self.claims.iter().find(|claim| claim.mask() == u64::MAX) {
                self.take_whole_words(stock, whole, room, out)?;
            }
        }
    }

    /// Takes whole words beside that of `whole`, as far as their places one
    /// level up are free and `room` is left for all that they hold.
    fn take_whole_words(
        &self,
        stock: &Stock,
        whole: &Held,
        room: usize,
        out: &mut Batch,
    ) -> Result<(), OutOfMemory> {
        let word = whole.word();
        let each = 64 >> out.order.get();
        // Room for the claims is left.
        let wanted =
            ((room - out.blocks()) / each).min(out.room().saturating_sub(self.claims.len()));
        if wanted == 0 || stock.forest.top() == 0 {
            return Ok(());
        }
        let above = word >> ORDERS_PER_LEVEL;
        // Frees will want the words: those below one word share a table, so
        // that this one's is there says that theirs is.
        stock.forest.ensure(0, Granule(word << ORDERS_PER_LEVEL))?;
        let mut taken = stock.forest.take_runs(1, above, 1, wanted.min(64) as u32);
        while taken != 0 {
            let word = above << ORDERS_PER_LEVEL | u64::from(taken.trailing_zeros());
            taken &= taken - 1;
            stock.on_claim(word);
            out.push(word, u64::MAX);
        }
        Ok(())
    }

    /// The whole of a hot free of a group: as [`give_hot`](Self::give_hot).
    #[inline(always)]
    pub(crate) fn give_group_hot(&self, stock: &Stock, group: Group) -> bool {
        let Some(_inside) = self.enter() else { return false };
        if group.places == 0 {
            return self.give_larger(stock, group);
        }
        // Inside the bracket: as in `give_at_hand`.
        !stock.poison.is_any_suspect() && self.give_keyed(stock, group.key(), group.places).is_ok()
    }

    /// A group that is a larger block, or nothing.
    #[inline(never)]
    fn give_larger(&self, stock: &Stock, group: Group) -> bool {
        group.is_none()
            || Code::from_bits(group.tag).is_some_and(|code| self.give_at_hand(stock, code))
    }

    /// One by one, for some of them may be in order; returns those that are not.
    pub(crate) fn give_each(&self, stock: &Stock, group: Group) -> Option<Group> {
        let mut rest = Group::NONE;
        group.for_each(|code| {
            if !self.give_at_hand(stock, code) {
                rest = rest.with(code).unwrap_or(Group::of(code));
            }
        });
        (!rest.is_none()).then_some(rest)
    }
}

/// Blocks on their way back that are given as one: of one order that claims
/// serve, in one word; or a single larger one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// The key of the word, and the order's bit; or a larger block's code.
    tag: u64,
    /// The places; 0 of a larger block.
    places: u64,
}

impl Group {
    /// Nothing.
    pub(crate) const NONE: Self = Self { tag: u64::MAX, places: 0 };

    #[inline(always)]
    pub(crate) fn of(code: Code) -> Self {
        match code.is_single() {
            true => Self { tag: code.single_tag(), places: code.single_mask() },
            false => Self::of_larger(code),
        }
    }

    #[inline(never)]
    fn of_larger(code: Code) -> Self {
        match code.is_small() {
            true => Self { tag: code.key() | code.granules(), places: code.small_mask() },
            false => Self { tag: code.get(), places: 0 },
        }
    }

    /// With another block; `None` if that is of another word or order, or there
    /// already. (By value: nobody has its address, so it stays in registers.)
    #[inline(always)]
    pub(crate) fn with(self, code: Code) -> Option<Self> {
        if !code.is_single() {
            return self.with_larger(code);
        }
        // No other group's tag has the bit that a single granule's has.
        let place = code.single_mask();
        let is_ours = code.single_tag() == self.tag && self.places & place == 0;
        is_ours.then_some(Self { places: self.places | place, ..self })
    }

    #[inline(never)]
    fn with_larger(self, code: Code) -> Option<Self> {
        let other = Self::of_larger(code);
        let is_ours = other.tag == self.tag && other.places != 0 && self.places & other.places == 0;
        is_ours.then_some(Self { places: self.places | other.places, ..self })
    }

    /// The key of the word.
    #[inline(always)]
    fn key(&self) -> u64 {
        key_of(word_at(self.tag))
    }

    fn is_none(&self) -> bool {
        // No block's code: a larger one's is even.
        self.tag == u64::MAX
    }

    /// Tells each block, lowest first.
    pub(crate) fn for_each(&self, mut tell: impl FnMut(Code)) {
        if self.places == 0 {
            let whole = Code::from_bits(self.tag).filter(|_| !self.is_none());
            return whole.into_iter().for_each(tell);
        }
        let granules = self.tag & !self.key();
        let mut left = self.places;
        while left != 0 {
            let first = u64::from(left.trailing_zeros());
            left &= !(((1 << granules) - 1) << first);
            Code::from_bits((self.key() + (first << 1)) | granules).into_iter().for_each(&mut tell);
        }
    }
}

impl Held {
    /// Takes up to `count` aligned runs of an order, at most 2, out of the mask:
    /// the word, and their places.
    fn take_runs(&self, order: Order, count: usize) -> Option<(u64, u64)> {
        let mask = self.mask();
        let places = lowest_runs(mask, order.run(), count.min(64) as u32);
        self.set_mask(mask & !places);
        (places != 0).then(|| (self.word(), places))
    }
}
