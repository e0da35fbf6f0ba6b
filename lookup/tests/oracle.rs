//! The tree against a `BTreeMap`, driven by the same random operations.

mod common;

use common::*;
use memdesc::*;
use potad_lookup::LookupError;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A place to work at: few enough that operations meet.
fn any_block() -> impl Strategy<Value = Block> {
    let order = prop_oneof![
        4 => 0u32..=7,
        3 => 8u32..=20,
        2 => 21u32..=36,
        1 => 37u32..=63,
        1 => prop_oneof![Just(5), Just(6), Just(11), Just(12), Just(17), Just(18), Just(23), Just(24),
            Just(30), Just(59), Just(60), Just(63)],
    ];
    (order, any_at()).prop_map(|(order, at)| Block::containing(at, Order::new(order).unwrap()))
}

fn any_at() -> impl Strategy<Value = Granule> {
    let near = 0u64..300;
    let region = prop_oneof![
        4 => Just(0u64),
        2 => Just(1 << 12),
        2 => Just((1 << 18) - 150),
        1 => Just((1 << 24) - 150),
        1 => Just(1 << 27),
        1 => Just((1 << 40) - 150),
        2 => Just(MAX_GRANULES - 300),
    ];
    (region, near).prop_map(|(region, near)| Granule(region + near))
}

#[derive(Clone, Debug)]
enum Op {
    Publish(Block),
    PublishRaw(Block, u16),
    /// Drops the descriptor, or clears the word, of what lives here.
    Clear(Granule),
    /// Splits what lives here until it is below this order.
    Split(Granule, u32),
    /// Cuts what lives here down to so many granules, or to an order.
    Cut(Granule, u64),
    /// Takes empty nodes out, in one go or in several.
    Prune(Granule, u64, u32),
    SetRaw(Granule, u16),
    Poison(Granule),
    Find(Granule),
    Next(Granule),
    Iter(Granule, u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => any_block().prop_map(Op::Publish),
        4 => (any_block(), 1u16..9).prop_map(|(block, owner)| Op::PublishRaw(block, owner)),
        4 => any_at().prop_map(Op::Clear),
        3 => (any_at(), 0u32..64).prop_map(|(at, order)| Op::Split(at, order)),
        3 => (any_at(), prop_oneof![1u64..200, any::<u64>()]).prop_map(|(at, keep)| Op::Cut(at, keep)),
        1 => (any_at(), prop_oneof![1u64..9000, any::<u64>()], 0u32..20)
            .prop_map(|(at, count, budget)| Op::Prune(at, count, budget)),
        1 => (any_at(), 1u16..9).prop_map(|(at, owner)| Op::SetRaw(at, owner)),
        1 => any_at().prop_map(Op::Poison),
        3 => any_at().prop_map(Op::Find),
        2 => any_at().prop_map(Op::Next),
        1 => (any_at(), prop_oneof![0u64..600, any::<u64>()])
            .prop_map(|(at, count)| Op::Iter(at, count)),
    ]
}

enum Lives {
    Folio(Ref<Ram, Folio>),
    Slab(Ref<Ram, Slab>),
    Raw(Immediate),
}

/// The oracle: blocks by base, which do not overlap.
struct Oracle {
    ram: Ram,
    map: BTreeMap<u64, (Block, Lives)>,
    tag: u64,
}

impl Oracle {
    fn at(&self, at: Granule) -> Option<&(Block, Lives)> {
        let (_, lives) = self.map.range(..=at.0).next_back()?;
        lives.0.contains(at).then_some(lives)
    }

    fn next(&self, from: Granule) -> Option<&(Block, Lives)> {
        let earlier = self.at(from);
        earlier.or_else(|| self.map.range(from.0..).next().map(|(_, lives)| lives))
    }

    fn overlaps(&self, block: Block) -> bool {
        self.next(block.base()).is_some_and(|(found, _)| found.base() <= block.last())
    }

    fn run(&mut self, op: Op) {
        let ram = self.ram.clone();
        let tree = ram.tree();
        match op {
            Op::Publish(block) => {
                self.tag += 1;
                let lives = if self.tag.is_multiple_of(2) {
                    tree.publish(block, ram.folio(self.tag)).map(Lives::Folio).map_err(|e| e.why)
                } else {
                    tree.publish(block, ram.slab(self.tag)).map(Lives::Slab).map_err(|e| e.why)
                };
                self.published(block, lives);
            }
            Op::PublishRaw(block, owner) => {
                let raw = raw(owner, block.order().get());
                let done = tree.publish_immediate(block, raw);
                self.published(block, done.map(|()| Lives::Raw(raw)));
            }
            Op::Clear(at) => {
                let Some(&(block, _)) = self.at(at) else { return };
                match self.map.remove(&block.base().0).unwrap().1 {
                    Lives::Raw(raw) => assert_eq!(tree.clear_immediate(block), Ok(raw)),
                    lives => {
                        let wrong = LookupError::WrongWord { asked: block };
                        assert_eq!(tree.clear_immediate(block), Err(wrong));
                        drop(lives);
                        assert_eq!(ram.back(), [(block, false)]);
                    }
                }
            }
            Op::Split(at, order) => {
                while self.split(at, order) {
                    tree.validate().unwrap();
                }
            }
            Op::Cut(at, keep) => self.cut(at, keep),
            Op::Prune(at, count, budget) => {
                let last = Granule(at.0.saturating_add(count).min(MAX_GRANULES - 1));
                let range = Granules::new(at, last).unwrap();
                let mut from = Some(at);
                while let Some(start) = from {
                    from = tree.prune(range, start, budget);
                    tree.validate().unwrap();
                    assert!(from.is_none_or(|next| next > start && next <= last));
                }
                tree.settle();
            }
            Op::SetRaw(at, owner) => {
                let Some(&(block, _)) = self.at(at) else { return };
                let Some((_, Lives::Raw(old))) = self.map.get_mut(&block.base().0) else { return };
                let new = raw(owner, block.order().get());
                assert_eq!(tree.set_immediate(block, new), Ok(*old));
                *old = Immediate { poisoned: old.poisoned, ..new };
            }
            Op::Poison(at) => {
                let marked = tree.poison_immediate(at);
                let Some(&(block, _)) = self.at(at) else { return assert_eq!(marked, None) };
                match self.map.get_mut(&block.base().0) {
                    Some((_, Lives::Raw(old))) => {
                        old.poisoned = true;
                        assert_eq!(marked, Some(*old));
                    }
                    _ => assert_eq!(marked, None),
                }
            }
            Op::Find(at) => self.check(at),
            Op::Next(from) => {
                let guard = pin();
                let next = tree.next(from, &guard).map(|(block, _)| block);
                assert_eq!(next, self.next(from).map(|lives| lives.0));
            }
            Op::Iter(at, count) => {
                let last = Granule(at.0.saturating_add(count).min(MAX_GRANULES - 1));
                let range = Granules::new(at, last).unwrap();
                let guard = pin();
                let walked: Vec<_> = tree.iter(range, &guard).map(|(block, _)| block).collect();
                let first = self.at(at).map(|lives| lives.0);
                let after = self.map.range(at.0..=last.0).map(|(_, lives)| lives.0);
                let expected: Vec<_> =
                    first.into_iter().chain(after.filter(|&block| Some(block) != first)).collect();
                assert_eq!(walked, expected);
                assert_eq!(tree.is_empty_range(range), expected.is_empty());
            }
        }
    }

    fn published(&mut self, block: Block, done: Result<Lives, LookupError>) {
        match done {
            Ok(lives) => {
                assert!(!self.overlaps(block), "{block} overlaps");
                self.map.insert(block.base().0, (block, lives));
            }
            Err(LookupError::Overlap { asked, found }) => {
                assert_eq!(asked, block);
                assert!(found.overlaps(block));
                assert_eq!(self.at(found.base()).map(|lives| lives.0), Some(found));
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// One split of what lives at `at`, if it is not below `order`.
    fn split(&mut self, at: Granule, order: u32) -> bool {
        let ram = self.ram.clone();
        let tree = ram.tree();
        let Some(&(block, _)) = self.at(at) else { return false };
        if block.order().get() < order {
            return false;
        }
        let Some((lower, upper)) = block.halves() else { return false };
        let (_, lives) = self.map.remove(&block.base().0).unwrap();
        self.tag += 1;
        let (low, high) = match lives {
            Lives::Raw(old) => {
                let (low, high) = (old.with_order(lower.order()), raw(8, upper.order().get()));
                let sound = Immediate { poisoned: false, ..low };
                tree.split_immediate(block, sound, high).unwrap();
                let high = Immediate { poisoned: old.poisoned, ..high };
                (Lives::Raw(low), Lives::Raw(high))
            }
            Lives::Folio(folio) => {
                let high = tree.split(&folio.lock(), ram.slab(self.tag)).unwrap();
                (Lives::Folio(folio), Lives::Slab(high))
            }
            Lives::Slab(slab) => {
                let locked = tree.lock::<Slab>(at).unwrap();
                let high = tree.split(&locked, ram.folio(self.tag)).unwrap();
                (Lives::Slab(slab), Lives::Folio(high))
            }
        };
        self.map.insert(lower.base().0, (lower, low));
        self.map.insert(upper.base().0, (upper, high));
        true
    }

    fn cut(&mut self, at: Granule, keep: u64) {
        let ram = self.ram.clone();
        let tree = ram.tree();
        let Some(&(block, _)) = self.at(at) else { return };
        let (_, lives) = self.map.remove(&block.base().0).unwrap();
        let order = Order::new((keep % 64) as u32).unwrap().min(block.order());
        let lower = Block::containing(block.base(), order);
        match lives {
            Lives::Raw(old) => {
                let count = 1 + (keep - 1) % block.order().granules();
                let last = Granule(block.base().0 + (count - 1));
                let keep = Granules::new(block.base(), last).unwrap();
                tree.cut_immediate(block, keep).unwrap();
                for piece in keep.cover() {
                    let word = Lives::Raw(old.with_order(piece.order()));
                    self.map.insert(piece.base().0, (piece, word));
                }
            }
            Lives::Folio(folio) => {
                assert_eq!(tree.shrink(&folio.lock(), order), Ok(lower));
                assert_eq!(folio.block(), lower);
                self.map.insert(lower.base().0, (lower, Lives::Folio(folio)));
            }
            Lives::Slab(slab) => {
                let locked = tree.lock::<Slab>(at).unwrap();
                assert_eq!(tree.shrink(&locked, order), Ok(lower));
                self.map.insert(lower.base().0, (lower, Lives::Slab(slab)));
            }
        }
        if let Some(after) = lower.last().checked_add(1).filter(|after| block.contains(*after)) {
            self.check(after);
        }
    }

    fn check(&self, at: Granule) {
        let guard = pin();
        let tree = self.ram.tree();
        let found = tree.find(at, &guard);
        match (self.at(at), found) {
            (None, None) => {
                assert!(tree.get_erased(at).is_none() && tree.lock_erased(at).is_none());
            }
            (Some((block, lives)), Some(found)) => {
                assert_eq!(found.block(), *block);
                match lives {
                    Lives::Raw(raw) => assert_eq!(found.immediate(), Some(*raw)),
                    Lives::Folio(folio) => {
                        let got = tree.get::<Folio>(at).unwrap();
                        assert_eq!((got.tag, got.block()), (folio.tag, folio.block()));
                        assert!(tree.get::<Slab>(at).is_none());
                        assert!(matches!(Mm::of(&found), Some(Mm::Folio(_))));
                    }
                    Lives::Slab(_) => {
                        assert_eq!(tree.lock::<Slab>(at).unwrap().block(), *block);
                        assert!(tree.lock::<Folio>(at).is_none());
                        assert_eq!(tree.get_erased(at).unwrap().kind_name(), "Slab");
                    }
                }
            }
            (expected, found) => {
                panic!("{at}: {:?}, found {found:?}", expected.map(|lives| lives.0));
            }
        }
    }

    fn check_all(&self) {
        for (block, _) in self.map.values() {
            self.check(block.base());
            self.check(block.last());
        }
        let summary = self.ram.tree().validate().unwrap();
        assert_eq!(summary.descriptors + summary.immediates, self.map.len() as u64);
        let granules: u64 = self.map.values().map(|(block, _)| block.order().granules()).sum();
        assert_eq!(summary.granules, granules);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 160 }))]

    #[test]
    fn the_tree_answers_as_a_map_does(ops in vec(any_op(), 1..120)) {
        let mut oracle = Oracle { ram: Ram::new(), map: BTreeMap::new(), tag: 0 };
        for op in ops {
            oracle.run(op);
            oracle.ram.tree().validate().unwrap();
        }
        oracle.check_all();
        let left: Vec<_> = oracle.map.values().map(|lives| lives.0).collect();
        for block in left {
            oracle.run(Op::Clear(block.last()));
        }
        oracle.check_all();
        let all = Granules::new(Granule(0), Granule(MAX_GRANULES - 1)).unwrap();
        prop_assert_eq!(oracle.ram.tree().prune(all, Granule(0), u32::MAX), None);
        oracle.ram.tree().settle();
        collect(&oracle.ram, 0);
        for _ in 0..10_000 {
            if oracle.ram.tree().nodes() == 0 {
                break;
            }
            pin().flush();
        }
        prop_assert_eq!(oracle.ram.tree().nodes(), 0, "nothing lives, and no node is left");
        prop_assert_eq!(oracle.ram.0.refused.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}
