//! Changes of what lives: halves, cuts, joint buddies, other descriptors and
//! words, marks of failed memory; and taking out what is empty.

use super::world::{Described, Folio, Slab, of_either};
use super::{Lives, Story};
use crate::Bytes;
use lookup::LookupError;
use memdesc::{Block, Granule, Granules, MAX_GRANULES, Order};

fn is_raw(lives: &Lives) -> bool {
    matches!(lives, Lives::Raw(_))
}

fn is_typed(lives: &Lives) -> bool {
    !is_raw(lives)
}

/// What a typed block is known by.
#[derive(Clone, Copy)]
struct Typed {
    block: Block,
    number: u32,
    is_slab: bool,
    poisoned: bool,
}

impl Story {
    fn any_typed(&self, bytes: &mut Bytes<'_>) -> Option<Typed> {
        match self.any_live(bytes, is_typed)? {
            (block, Lives::Typed { number, is_slab, poisoned }) => {
                Some(Typed { block, number, is_slab, poisoned })
            }
            _ => unreachable!("chosen among those"),
        }
    }

    /// A reference to it that the story has.
    fn described(&self, number: u32) -> &Described {
        let of = self.refs.iter().find(|(_, other)| *other == number);
        &of.expect("what lives is referenced").0
    }

    pub(super) fn split(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let Some(of) = self.any_typed(bytes) else { return false };
        let to_slab = bytes.byte() & 1 != 0;
        if self.live.len() >= MOST_SPLIT {
            return false;
        }
        let number = self.next_number();
        let tree = self.ram.tree();
        let halves = of_either!(self.described(of.number), |one| match to_slab {
            false => {
                let fresh = self.ram.fresh(Folio::new(&self.ram, number));
                tree.split(&one.lock(), fresh).map(Described::from).map_err(|refused| refused.why)
            }
            true => {
                let fresh = self.ram.fresh(Slab::new(&self.ram, number));
                tree.split(&one.lock(), fresh).map(Described::from).map_err(|refused| refused.why)
            }
        });
        match halves {
            Ok(described) => {
                let (lower, upper) = of.block.halves().expect("it was split");
                assert_eq!(described.block(), upper);
                let lives = self.dies(of.block);
                self.lives(lower, lives);
                self.lives(upper, Lives::Typed { number, is_slab: to_slab, poisoned: false });
                assert_eq!(self.described(of.number).block(), lower);
                self.refs.push((described, number));
                true
            }
            Err(why) => {
                assert_eq!(why, LookupError::Indivisible { asked: of.block });
                assert_eq!(of.block.order(), Order::ZERO);
                false
            }
        }
    }

    pub(super) fn split_raw(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let Some((block, Lives::Raw(old))) = self.any_live(bytes, is_raw) else { return false };
        if self.live.len() >= MOST_SPLIT {
            return false;
        }
        let word = self.raw(block.order(), bytes);
        let Some((lower, upper)) = block.halves() else {
            let wrong = LookupError::Indivisible { asked: block };
            assert_eq!(self.ram.tree().split_immediate(block, word, word), Err(wrong));
            return false;
        };
        let low = memdesc::Immediate { poisoned: false, ..old }.with_order(lower.order());
        let high = word.with_order(upper.order());
        assert_eq!(self.ram.tree().split_immediate(block, low, high), Ok(()));
        self.dies(block);
        let poisoned = old.poisoned;
        self.lives(lower, Lives::Raw(memdesc::Immediate { poisoned, ..low }));
        self.lives(upper, Lives::Raw(memdesc::Immediate { poisoned, ..high }));
        true
    }

    pub(super) fn shrink(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (of, order) = (self.any_typed(bytes), Self::any_order(bytes));
        let Some(of) = of else { return false };
        let tree = self.ram.tree();
        let shrunk = of_either!(self.described(of.number), |one| tree.shrink(&one.lock(), order));
        if order > of.block.order() {
            let wrong = LookupError::WrongOrder { asked: of.block, word: order };
            assert_eq!(shrunk, Err(wrong));
            return false;
        }
        let lower = Block::containing(of.block.base(), order);
        assert_eq!(shrunk, Ok(lower));
        assert_eq!(self.described(of.number).block(), lower);
        let lives = self.dies(of.block);
        self.lives(lower, lives);
        true
    }

    pub(super) fn cut_raw(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let Some((block, Lives::Raw(old))) = self.any_live(bytes, is_raw) else { return false };
        let (part, count) = (bytes.byte(), u64::from(bytes.short()));
        let granules = block.order().granules();
        // So many granules, or so much of all, or one more than there are.
        let count = match part {
            0..128 => 1 + count % granules,
            128..224 => ((u128::from(granules) * u128::from(count)) >> 16).max(1) as u64,
            _ => granules + 1,
        };
        let last = Granule(block.base().0.saturating_add(count - 1));
        let keep = Granules::new(block.base(), last).ok().filter(|_| last.0 < MAX_GRANULES);
        let Some(keep) =
            keep.filter(|keep| self.live.len() + keep.cover().count() < 2 * MOST_SPLIT)
        else {
            return false;
        };
        let cut = self.ram.tree().cut_immediate(block, keep);
        if count > granules {
            assert_eq!(cut, Err(LookupError::Indivisible { asked: block }));
            return false;
        }
        assert_eq!(cut, Ok(()));
        self.dies(block);
        for piece in keep.cover() {
            self.lives(piece, Lives::Raw(old.with_order(piece.order())));
        }
        true
    }

    pub(super) fn replace(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (choice, to_slab) = (bytes.byte(), bytes.byte() & 1 != 0);
        // One that was replaced or merged away before: not again.
        let moved = self.refs.iter().find(|(described, _)| choice < 64 && described.is_moved());
        if let Some((moved, _)) = moved {
            let fresh = self.ram.fresh(Folio::new(&self.ram, 0));
            let why = of_either!(moved, |one| {
                self.ram.tree().replace(&one.lock(), fresh).unwrap_err().why
            });
            assert_eq!(why, LookupError::WrongWord { asked: moved.block() });
            return false;
        }
        let Some(of) = self.any_typed(bytes) else { return false };
        let number = self.next_number();
        let tree = self.ram.tree();
        let new = of_either!(self.described(of.number), |one| match to_slab {
            false => {
                let fresh = self.ram.fresh(Folio::new(&self.ram, number));
                tree.replace(&one.lock(), fresh).map(Described::from).expect("it is published")
            }
            true => {
                let fresh = self.ram.fresh(Slab::new(&self.ram, number));
                tree.replace(&one.lock(), fresh).map(Described::from).expect("it is published")
            }
        });
        assert_eq!((new.block(), self.described(of.number).is_moved()), (of.block, true));
        self.dies(of.block);
        let Typed { poisoned, .. } = of;
        self.lives(of.block, Lives::Typed { number, is_slab: to_slab, poisoned });
        self.refs.push((new, number));
        true
    }

    /// With its buddy if that lives and is typed, else with anything.
    pub(super) fn merge(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (one, other) = (self.any_typed(bytes), self.any_typed(bytes));
        let (Some(one), Some(mut other)) = (one, other) else { return false };
        let buddy = one.block.buddy().and_then(|buddy| self.at(buddy.base()));
        if let Some((block, Lives::Typed { number, is_slab, poisoned })) = buddy
            && Some(block) == one.block.buddy()
        {
            other = Typed { block, number, is_slab, poisoned };
        }
        if one.number == other.number {
            return false;
        }
        let tree = self.ram.tree();
        let (keeper, gone) = (self.described(one.number), self.described(other.number));
        let merged = of_either!(keeper, |keeper| of_either!(gone, |gone| {
            tree.merge(&keeper.lock(), &gone.lock())
        }));
        if one.block.buddy() != Some(other.block) {
            let wrong = LookupError::NotBuddies { asked: one.block, found: other.block };
            assert_eq!(merged, Err(wrong));
            return false;
        }
        let whole = one.block.parent().expect("it has a buddy");
        assert_eq!((merged, gone.is_moved()), (Ok(whole), true));
        self.dies(one.block);
        self.dies(other.block);
        let poisoned = one.poisoned || other.poisoned;
        self.lives(whole, Lives::Typed { number: one.number, is_slab: one.is_slab, poisoned });
        true
    }

    pub(super) fn set_raw(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (any, choice) = (self.any_block(bytes), bytes.byte());
        let live = self.any_live(bytes, |lives| choice >= 64 && is_raw(lives));
        let block = live.map_or(any, |(block, _)| block);
        let word = self.raw(block.order(), bytes);
        let lives = self.at(block.base()).filter(|(found, _)| *found == block);
        let Some((_, Lives::Raw(old))) = lives else {
            let wrong = LookupError::WrongWord { asked: block };
            assert_eq!(self.ram.tree().set_immediate(block, word), Err(wrong));
            return false;
        };
        assert_eq!(self.ram.tree().set_immediate(block, word), Ok(old));
        self.dies(block);
        let poisoned = old.poisoned;
        self.lives(block, Lives::Raw(memdesc::Immediate { poisoned, ..word }));
        true
    }

    /// Memory failed: the mark is on what lives there, and goes with it.
    pub(super) fn fail(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let at = self.any_near(bytes);
        let tree = self.ram.tree();
        let marked = tree.poison_immediate(at);
        let Some((block, lives)) = self.at(at) else {
            assert_eq!(marked, None);
            return false;
        };
        let lives = match lives {
            Lives::Raw(word) => {
                let word = memdesc::Immediate { poisoned: true, ..word };
                assert_eq!(marked, Some(word));
                Lives::Raw(word)
            }
            Lives::Typed { number, is_slab, .. } => {
                assert_eq!(marked, None);
                of_either!(self.described(number), |one| one.lock().poison());
                Lives::Typed { number, is_slab, poisoned: true }
            }
        };
        self.dies(block);
        self.lives(block, lives);
        true
    }

    pub(super) fn prune(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let (first, count) = (self.any_at(bytes), bytes.byte());
        let budget = u32::from(bytes.byte());
        let count = if count < 128 { u64::from(count) * 100 } else { 1 << (count % 63) };
        let last = Granule(first.0.saturating_add(count).min(MAX_GRANULES - 1));
        let range = Granules::new(first, last).expect("in order");
        let before = self.ram.tree().validate().expect("whole").attached_nodes;
        let mut from = Some(first);
        while let Some(start) = from {
            from = self.ram.tree().prune(range, start, budget);
            self.ram.tree().validate().expect("whole");
            assert!(from.is_none_or(|next| next > start && next <= last));
        }
        self.ram.tree().settle();
        let after = self.ram.tree().validate().expect("whole").attached_nodes;
        assert!(after <= before);
        after < before
    }
}

/// Beyond it nothing is split.
const MOST_SPLIT: usize = super::MOST + 16;
