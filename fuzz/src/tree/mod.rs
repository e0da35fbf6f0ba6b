//! `lookup::Tree` against a sorted map: blocks of every order and of two types,
//! published, cleared, replaced, split, merged, cut and marked, the long way and
//! by short cuts, while references to them are taken and dropped.
//!
//! # What is compared
//!
//! The reference has the live blocks by their first granule. Every answer is
//! that of the map; what must be refused is, with the right error, and changes
//! nothing; what a teardown gives back is the block that the map has, and comes
//! when its last reference goes and not before. After each step (or each eighth)
//! the tree validates itself, and has as many blocks and granules as the map. In the end
//! nothing lives, and neither a node nor a body is left.

mod change;
mod look;
mod world;

use crate::{Bytes, Kept, Tally};
use lookup::{Leaf, LookupError};
use memdesc::{Block, Granule, Granules, Immediate, MAX_GRANULES, Order, OwnerId, Subtype};
use std::cell::RefCell;
use std::collections::BTreeMap;
use world::{Described, Folio, Ram, Slab, Stranger};

/// What a story is made of.
pub const OPERATIONS: [&str; 21] = [
    "publish",
    "publish raw",
    "clear raw",
    "put",
    "get",
    "lock",
    "find",
    "find many",
    "next",
    "walk",
    "first gap",
    "split",
    "split raw",
    "shrink",
    "cut raw",
    "replace",
    "merge",
    "set raw",
    "failure",
    "prune",
    "misuse",
];

/// Blocks that are live at most: what makes a step cheap.
const MOST: usize = 48;

/// What lives in a block.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lives {
    Raw(Immediate),
    Typed { number: u32, is_slab: bool, poisoned: bool },
}

std::thread_local! {
    static KEPT: RefCell<Kept<(), Ram>> = const { RefCell::new(Kept::new()) };
}

/// Tells one story.
///
/// # Panics
///
/// If the tree does not do as the map does.
pub fn run(data: &[u8]) -> Tally {
    tell(Ram::new(), data, 1).0
}

/// Tells one story in a tree that is kept, which is looked at as a whole less
/// often.
///
/// # Panics
///
/// If the tree does not do as the map does.
pub fn run_kept(data: &[u8]) -> Tally {
    let ram = KEPT.with_borrow_mut(|kept| kept.take((), |()| Ram::new()));
    let (tally, ram) = tell(ram, data, 8);
    KEPT.with_borrow_mut(|kept| kept.put(&(), ram, data));
    tally
}

fn tell(ram: Ram, data: &[u8], check_every: u32) -> (Tally, Ram) {
    let mut bytes = Bytes::new(data);
    let leaf = ram.tree().leaf();
    let mut story = Story { refs: Vec::new(), live: BTreeMap::new(), number: 0, leaf, ram };
    let mut tally = Tally::new(&OPERATIONS);
    let mut steps = 0u32;
    while !bytes.is_empty() {
        let operation = bytes.below(OPERATIONS.len());
        let was_done = story.step(operation, &mut bytes);
        tally.count(operation, was_done);
        steps += 1;
        if steps.is_multiple_of(check_every) {
            story.check();
        }
    }
    (tally, story.end())
}

struct Story {
    // Before the tree: they are torn down in it.
    refs: Vec<(Described, u32)>,
    live: BTreeMap<u64, (Block, Lives)>,
    /// The last that was given to a body.
    number: u32,
    /// Short cuts.
    leaf: Leaf,
    ram: Ram,
}

impl Story {
    /// One operation; returns whether it came to anything.
    fn step(&mut self, operation: usize, bytes: &mut Bytes<'_>) -> bool {
        match operation {
            0 => self.publish(bytes),
            1 => self.publish_raw(bytes),
            2 => self.clear_raw(bytes),
            3 => self.put(bytes),
            4 => self.get(bytes),
            5 => self.lock(bytes),
            6 => self.find(bytes),
            7 => self.find_many(bytes),
            8 => self.next(bytes),
            9 => self.walk(bytes),
            10 => self.first_gap(bytes),
            11 => self.split(bytes),
            12 => self.split_raw(bytes),
            13 => self.shrink(bytes),
            14 => self.cut_raw(bytes),
            15 => self.replace(bytes),
            16 => self.merge(bytes),
            17 => self.set_raw(bytes),
            18 => self.fail(bytes),
            19 => self.prune(bytes),
            _ => self.misuse(bytes),
        }
    }

    // ---- choices ------------------------------------------------------------

    /// A granule near where slots of some level begin, or where all ends.
    fn any_at(&self, bytes: &mut Bytes<'_>) -> Granule {
        let (region, near) = (bytes.byte(), u64::from(bytes.byte()));
        let base = match region & 15 {
            0..7 => 0,
            7 | 8 => 1 << 12,
            9 | 10 => (1 << 18) - 128,
            11 => (1 << 24) - 128,
            12 => 1 << 27,
            13 => (1 << 40) - 128,
            _ => MAX_GRANULES - 256,
        };
        Granule(base + near)
    }

    fn any_order(bytes: &mut Bytes<'_>) -> Order {
        let byte = u32::from(bytes.byte());
        let order = match byte >> 6 {
            0 => byte & 1,
            1 => byte & 7,
            2 => byte % 20,
            _ => byte & 63,
        };
        Order::new(order).expect("below 64")
    }

    fn any_block(&self, bytes: &mut Bytes<'_>) -> Block {
        let order = Self::any_order(bytes);
        Block::containing(self.any_at(bytes), order)
    }

    /// A live block, if there is one for which `suits`.
    fn any_live(
        &self,
        bytes: &mut Bytes<'_>,
        suits: impl Fn(&Lives) -> bool,
    ) -> Option<(Block, Lives)> {
        let choice = usize::from(bytes.byte());
        let all: Vec<_> = self.live.values().filter(|(_, lives)| suits(lives)).collect();
        all.get(choice % all.len().max(1)).map(|&&one| one)
    }

    /// A granule in a live block, or anywhere.
    fn any_near(&self, bytes: &mut Bytes<'_>) -> Granule {
        let (at, choice) = (self.any_at(bytes), bytes.byte());
        match self.any_live(bytes, |_| choice >= 64) {
            Some((block, _)) if choice < 128 => block.base(),
            Some((block, _)) => block.last(),
            None => at,
        }
    }

    // ---- the reference ------------------------------------------------------

    fn at(&self, at: Granule) -> Option<(Block, Lives)> {
        let (_, &(block, lives)) = self.live.range(..=at.0).next_back()?;
        block.contains(at).then_some((block, lives))
    }

    /// The first that ends at or after a granule.
    fn after(&self, from: Granule) -> Option<(Block, Lives)> {
        self.at(from).or_else(|| self.live.range(from.0..).next().map(|(_, &one)| one))
    }

    fn is_free(&self, block: Block) -> bool {
        self.after(block.base()).is_none_or(|(found, _)| found.base() > block.last())
    }

    /// A refusal of what overlaps names something that does.
    fn is_overlap(&self, asked: Block, why: LookupError) {
        let LookupError::Overlap { asked: said, found } = why else {
            panic!("{asked}: {why}");
        };
        assert_eq!(said, asked);
        assert!(found.overlaps(asked), "{found} and {asked}");
        assert_eq!(self.at(found.base()).map(|(block, _)| block), Some(found));
    }

    fn lives(&mut self, block: Block, lives: Lives) {
        assert!(self.is_free(block), "{block} overlaps");
        self.live.insert(block.base().0, (block, lives));
    }

    fn dies(&mut self, block: Block) -> Lives {
        self.live.remove(&block.base().0).expect("it lives").1
    }

    // ---- what comes and goes ------------------------------------------------

    fn next_number(&mut self) -> u32 {
        self.number += 1;
        self.number
    }

    fn publish(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (block, way) = (self.any_block(bytes), bytes.byte());
        if self.live.len() >= MOST {
            return false;
        }
        let (number, is_slab, by_leaf) = (self.next_number(), way & 1 != 0, way & 2 != 0);
        let leaf = by_leaf.then_some(&self.leaf);
        let made = match is_slab {
            false => self.ram.publish(leaf, block, Folio::new(&self.ram, number)),
            true => self.ram.publish(leaf, block, Slab::new(&self.ram, number)),
        };
        if by_leaf {
            self.ram.tree().lead(&self.leaf, block);
        }
        match made {
            Ok(described) => {
                assert_eq!(described.block(), block);
                self.lives(block, Lives::Typed { number, is_slab, poisoned: false });
                self.refs.push((described, number));
                true
            }
            Err(why) => {
                self.is_overlap(block, why);
                false
            }
        }
    }

    fn raw(&self, order: Order, bytes: &mut Bytes<'_>) -> Immediate {
        let (owner, subtype) = (1 + u16::from(bytes.byte()), bytes.one_of(&Subtype::ALL));
        Immediate::new(subtype, OwnerId(owner), order).with_cookie(u32::from(owner) << 20)
    }

    fn publish_raw(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (block, way) = (self.any_block(bytes), bytes.below(4));
        let word = self.raw(block.order(), bytes);
        if self.live.len() >= MOST {
            return false;
        }
        let tree = self.ram.tree();
        let quick = match way {
            0 => tree.publish_by(&self.leaf, block, word),
            1 => tree.publish_if_there(block, word),
            _ => false,
        };
        // What the quick ways do not do is done the long way, or refused there.
        let done = if quick { Ok(()) } else { tree.publish_immediate(block, word) };
        tree.lead(&self.leaf, block);
        match done {
            Ok(()) => {
                self.lives(block, Lives::Raw(word));
                true
            }
            Err(why) => {
                self.is_overlap(block, why);
                false
            }
        }
    }

    /// A live block, mostly, by its own order, mostly.
    fn clear_raw(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (any, way) = (self.any_block(bytes), bytes.byte());
        let live = self.any_live(bytes, |_| way >= 64).map(|(block, _)| block);
        let block = live.unwrap_or(any);
        let lives = self.at(block.base()).filter(|(found, _)| *found == block);
        let expected = match lives {
            Some((_, Lives::Raw(word))) => Ok(word),
            _ => Err(LookupError::WrongWord { asked: block }),
        };
        let tree = self.ram.tree();
        if way & 1 != 0 && tree.clear_by(&self.leaf, block) {
            assert!(expected.is_ok(), "{block} was cleared by a short cut: {lives:?}");
        } else {
            assert_eq!(tree.clear_immediate(block), expected);
        }
        if expected.is_ok() {
            self.dies(block);
        }
        expected.is_ok()
    }

    /// Drops a reference; with the last one its block comes back, unless it was
    /// taken over.
    fn put(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let Some((described, number)) = bytes.take(&mut self.refs) else { return false };
        self.put_one(described, number)
    }

    fn put_one(&mut self, described: Described, number: u32) -> bool {
        drop(described);
        let is_last = !self.refs.iter().any(|(_, other)| *other == number);
        let its = |lives: &Lives| matches!(lives, Lives::Typed { number: of, .. } if *of == number);
        let lived = self.live.values().find(|(_, lives)| is_last && its(lives)).copied();
        let expected = lived.map(|(block, lives)| match lives {
            Lives::Typed { poisoned, .. } => (block, poisoned),
            Lives::Raw(_) => unreachable!("it has a number"),
        });
        assert_eq!(self.ram.came_back(), Vec::from_iter(expected));
        if let Some((block, _)) = lived {
            self.dies(block);
        }
        lived.is_some()
    }

    fn misuse(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (block, choice) = (self.any_block(bytes), bytes.below(4));
        let live = self.any_live(bytes, |_| true);
        let tree = self.ram.tree();
        match (choice, live) {
            (0, _) => {
                let why = tree.publish(block, Stranger::fresh(&self.ram)).unwrap_err().why;
                assert_eq!(why, LookupError::UnknownKind { name: "stranger" });
            }
            (1, _) => {
                let word = self.raw(Self::any_order(bytes), bytes);
                if word.order == block.order() {
                    return false;
                }
                let why = LookupError::WrongOrder { asked: block, word: word.order };
                assert_eq!(tree.publish_immediate(block, word), Err(why));
                assert_eq!(tree.set_immediate(block, word), Err(why));
                assert!(!tree.publish_by(&self.leaf, block, word));
                assert!(!tree.publish_if_there(block, word));
            }
            (2, Some((block, Lives::Raw(word)))) => {
                let wrong = LookupError::Indivisible { asked: block };
                if block.order() == Order::ZERO {
                    assert_eq!(tree.split_immediate(block, word, word), Err(wrong));
                    return true;
                }
                // What does not begin where the block does.
                let keep = Granules::new(block.last(), block.last()).expect("in order");
                assert_eq!(tree.cut_immediate(block, keep), Err(wrong));
            }
            (3, Some((block, Lives::Typed { .. }))) => {
                let word = self.raw(block.order(), bytes);
                let wrong = LookupError::WrongWord { asked: block };
                assert_eq!(tree.set_immediate(block, word), Err(wrong));
                assert_eq!(tree.cut_immediate(block, block.granules()), Err(wrong));
                let Some((lower, upper)) = block.halves() else { return false };
                let (low, high) = (word.with_order(lower.order()), word.with_order(upper.order()));
                assert_eq!(tree.split_immediate(block, low, high), Err(wrong));
            }
            _ => return false,
        }
        true
    }

    fn check(&self) {
        let summary = self.ram.tree().validate().expect("whole");
        assert_eq!(summary.descriptors + summary.immediates, self.live.len() as u64);
        let granules: u64 = self.live.values().map(|(block, _)| block.order().granules()).sum();
        assert_eq!(summary.granules, granules);
        assert!(self.ram.came_back().is_empty(), "torn down while it was referenced");
    }

    /// Everything goes, and nothing is left.
    fn end(mut self) -> Ram {
        self.check();
        while let Some((described, number)) = self.refs.pop() {
            self.put_one(described, number);
        }
        let raw: Vec<_> = self.live.values().copied().collect();
        for (block, lives) in raw {
            let Lives::Raw(word) = lives else { panic!("{block} lives without references") };
            assert_eq!(self.ram.tree().clear_immediate(block), Ok(word));
            self.dies(block);
        }
        self.check();
        let all = Granules::new(Granule(0), Granule(MAX_GRANULES - 1)).expect("in order");
        assert_eq!(self.ram.tree().prune(all, Granule(0), u32::MAX), None);
        self.ram.tree().settle();
        crate::collect(|| self.ram.tree().nodes() == 0 && self.ram.bodies() == 0);
        self.ram
    }
}
