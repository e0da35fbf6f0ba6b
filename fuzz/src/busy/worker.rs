//! A worker: takes blocks by every call, keeps some, frees them or has another
//! free them.

use super::{Folio, Random, Shared};
use memdesc::{Granules, Order, OwnerId};
use potad::{Aim, Align, BareBlock, Block, Content, Error, Hand, RawBlock, Run};
use std::sync::atomic::Ordering::Relaxed;

/// Items that a worker keeps at most.
const MOST: usize = 96;

/// Something allocated, with its cookie in all of its memory.
#[derive(Debug)]
pub(super) struct Item {
    what: What,
    cookie: u64,
}

#[derive(Debug)]
enum What {
    Bare(BareBlock),
    Raw(RawBlock),
    Typed(Block<Folio>),
    Run(Run),
}

impl Item {
    fn granules(&self) -> Granules {
        match &self.what {
            What::Bare(block) => block.granules(),
            What::Raw(block) => block.granules(),
            What::Typed(block) => block.block().granules(),
            What::Run(run) => run.granules(),
        }
    }

    fn fill(&self, shared: &Shared) {
        // SAFETY: allocated, and ours.
        unsafe { shared.memory.fill(self.granules(), self.cookie) };
    }

    fn check(&self, shared: &Shared) {
        // SAFETY: allocated, and ours.
        let wrong = unsafe { shared.memory.wrong(self.granules(), self.cookie) };
        assert_eq!(wrong, None, "{self:?} has another's cookie");
    }

    /// Frees it, its content checked.
    pub(super) fn free(self, shared: &Shared, hand: Option<&mut Hand>) {
        self.check(shared);
        let zone = &shared.zone;
        match (self.what, hand) {
            (What::Bare(block), None) => zone.free_bare(block).expect("live"),
            (What::Bare(block), Some(hand)) => hand.free_bare(block).expect("live"),
            (What::Raw(block), None) => zone.free_raw(block).expect("live"),
            (What::Raw(block), Some(hand)) => hand.free_raw(block).expect("live"),
            (What::Typed(block), _) => zone.free(block).expect("live"),
            (What::Run(run), _) => zone.free_run(run).expect("live"),
        }
    }
}

pub(super) struct Worker<'a> {
    shared: &'a Shared,
    me: usize,
    random: Random,
    hand: Hand,
    items: Vec<Item>,
    number: u64,
}

impl<'a> Worker<'a> {
    pub(super) fn new(shared: &'a Shared, me: usize) -> Self {
        let random = Random(shared.size.seed ^ (me as u64) << 32);
        Self { shared, me, random, hand: shared.zone.hand(), items: Vec::new(), number: 0 }
    }

    pub(super) fn work(mut self) {
        while !self.shared.is_over() {
            match self.random.below(32) {
                0..12 => self.alloc(),
                12..20 => self.free(),
                20 => self.alloc_many(),
                21 => self.free_many(),
                22..25 => self.change(),
                25..30 => self.look_up(),
                30 => self.read_mail(),
                _ if self.random.below(64) == 0 => self.hand.flush(),
                _ => self.hand_over(),
            }
        }
        while let Some(item) = self.items.pop() {
            item.free(self.shared, Some(&mut self.hand));
        }
        self.read_mail();
    }

    /// Mostly small, at times as large as the zone.
    fn any_order(&mut self) -> Order {
        let most = u64::from(self.shared.size.order);
        let order = match self.random.below(16) {
            0..9 => self.random.below(3),
            9..13 => self.random.below(6),
            13..15 => self.random.below(most - 2),
            _ => self.random.below(most + 1),
        };
        Order::new(order as u32).expect("small")
    }

    fn keep(&mut self, what: What) {
        self.number += 1;
        let cookie = (self.me as u64) << 48 | self.number;
        let item = Item { what, cookie };
        let granules = item.granules();
        self.shared.check_sound(granules.first().0, granules.last().0);
        item.fill(self.shared);
        self.shared.counts.allocated.fetch_add(1, Relaxed);
        self.items.push(item);
    }

    fn alloc(&mut self) {
        if self.items.len() >= MOST {
            return self.free();
        }
        let (order, by) = (self.any_order(), self.random.below(13));
        let (zone, owner) = (&self.shared.zone, self.shared.owner);
        let units = zone.granule() * (1 + self.random.below(40));
        let aim = if by & 1 == 0 { Aim::lowest() } else { Aim::highest() };
        // Directed requests and runs stop every hand: seldom.
        let by = if by >= 9 && self.random.below(8) != 0 { by - 9 } else { by };
        let got = match by {
            0 | 1 => self.hand.alloc_bare(order).map(What::Bare),
            2 => zone.alloc_bare(order).map(What::Bare),
            3 => self.hand.alloc_raw(order, owner).map(What::Raw),
            4 => zone.alloc_raw(order, owner).map(What::Raw),
            5 => {
                let typed = self.hand.alloc_owned(order, owner, Folio::new(1));
                typed.map(What::Typed).map_err(|refused| refused.why)
            }
            6 => {
                let typed = zone.alloc(order, Folio::new(2));
                typed.map(What::Typed).map_err(|refused| refused.why)
            }
            7 | 8 => self.alloc_telling(order),
            9 => zone.alloc_run(units, Align::new(zone.granule()).expect("a power")).map(What::Run),
            10 => zone.alloc_bare_by(order, &aim).map(What::Bare),
            11 => zone.alloc_raw_by(order, owner, &aim).map(What::Raw),
            _ => {
                let typed = zone.alloc_by(order, OwnerId::RESOURCE, Folio::new(3), &aim);
                typed.map(What::Typed).map_err(|refused| refused.why)
            }
        };
        match got {
            Ok(what) => self.keep(what),
            Err(why) => self.refused(&why),
        }
    }

    fn refused(&self, why: &Error) {
        let is_full = matches!(
            why,
            Error::Exhausted { .. } | Error::OrderTooLarge { .. } | Error::NoRun { .. }
        );
        assert!(is_full, "{why}");
        self.shared.counts.exhausted.fetch_add(1, Relaxed);
    }

    /// What is said to read as zeros does.
    fn alloc_telling(&mut self, order: Order) -> Result<What, Error> {
        let (block, content) = self.shared.zone.alloc_bare_telling(order)?;
        if content == Content::Zero {
            // SAFETY: allocated, and ours.
            let is_zero = unsafe { self.shared.memory.is_zero(block.granules()) };
            assert!(is_zero, "{block:?} was said to read as zeros");
            self.shared.counts.zeroed.fetch_add(1, Relaxed);
        }
        Ok(What::Bare(block))
    }

    fn alloc_many(&mut self) {
        let room = MOST.saturating_sub(self.items.len()) as u64;
        let (order, count) = (self.random.below(4) as u32, self.random.below(room + 1));
        let order = Order::new(order).expect("small");
        let mut out = Vec::new();
        let taken = self.hand.alloc_many(order, count as usize, |block| out.push(block));
        assert!(taken.is_err() || taken == Ok(out.len()));
        if let Err(why) = taken {
            self.refused(&why);
        }
        out.into_iter().for_each(|block| self.keep(What::Bare(block)));
    }

    fn any_item(&mut self) -> Option<Item> {
        if self.items.is_empty() {
            return None;
        }
        let at = self.random.below(self.items.len() as u64) as usize;
        Some(self.items.swap_remove(at))
    }

    fn free(&mut self) {
        let Some(item) = self.any_item() else { return };
        let by_hand = self.random.below(2) == 0;
        item.free(self.shared, by_hand.then_some(&mut self.hand));
    }

    fn free_many(&mut self) {
        let mut blocks = Vec::new();
        let mut at = 0;
        while at < self.items.len() {
            if blocks.len() < 40 && matches!(self.items[at].what, What::Bare(_)) {
                let item = self.items.swap_remove(at);
                item.check(self.shared);
                if let What::Bare(block) = item.what {
                    blocks.push(block);
                }
            } else {
                at += 1;
            }
        }
        let count = blocks.len();
        assert_eq!(self.hand.free_many(blocks).expect("live"), count);
    }

    /// Another worker frees it.
    fn hand_over(&mut self) {
        let to = self.random.below(self.shared.mail.len() as u64) as usize;
        let Some(item) = self.any_item() else { return };
        let mut mail = self.shared.mail[to].lock();
        if mail.len() < 64 {
            mail.push(item);
        } else {
            drop(mail);
            self.items.push(item);
        }
    }

    fn read_mail(&mut self) {
        let mail = std::mem::take(&mut *self.shared.mail[self.me].lock());
        self.shared.counts.remote.fetch_add(mail.len() as u64, Relaxed);
        for item in mail {
            let by_hand = self.random.below(2) == 0;
            item.free(self.shared, by_hand.then_some(&mut self.hand));
        }
    }

    /// Splits, merges, replaces or shrinks.
    fn change(&mut self) {
        let Some(item) = self.any_item() else { return };
        item.check(self.shared);
        let zone = &self.shared.zone;
        let smaller = |order: Order| Order::new(order.get().saturating_sub(2)).expect("smaller");
        let (cookie, choice) = (item.cookie, self.random.below(3));
        let changed = match item.what {
            What::Bare(block) if choice == 0 => {
                let order = smaller(block.order());
                vec![What::Bare(zone.shrink_bare(block, order).expect("smaller"))]
            }
            What::Bare(block) => match zone.split_bare(block) {
                Ok((lower, upper)) => vec![What::Bare(lower), What::Bare(upper)],
                Err(refused) => vec![What::Bare(refused.given)],
            },
            What::Raw(block) if choice == 0 => {
                let order = smaller(block.order());
                vec![What::Raw(zone.shrink_raw(block, order).expect("smaller"))]
            }
            What::Raw(block) => match zone.split_raw(block) {
                Ok((lower, upper)) => vec![What::Raw(lower), What::Raw(upper)],
                Err(refused) => vec![What::Raw(refused.given)],
            },
            What::Typed(block) if choice == 0 => {
                let order = smaller(block.order());
                vec![What::Typed(zone.shrink(block, order).expect("smaller"))]
            }
            What::Typed(block) if choice == 1 => {
                let new = block.replace(Folio::new(4)).map_err(|refused| refused.why);
                vec![What::Typed(new.expect("there is memory"))]
            }
            What::Typed(block) => match zone.split(block, Folio::new(5)) {
                Ok((lower, upper)) if self.random.below(2) == 0 => {
                    let whole = upper.merge(lower).map_err(|refused| refused.why);
                    vec![What::Typed(whole.expect("halves of one block"))]
                }
                Ok((lower, upper)) => vec![What::Typed(lower), What::Typed(upper)],
                Err(refused) => vec![What::Typed(refused.given.0)],
            },
            What::Run(run) => {
                let keep = run.granules().count().div_ceil(2) * zone.granule();
                vec![What::Run(zone.shrink_run(run, keep).expect("smaller"))]
            }
        };
        self.shared.counts.changed.fetch_add(1, Relaxed);
        for what in changed {
            let item = Item { what, cookie };
            // A shrunk block may have more words in use than the large one had.
            item.fill(self.shared);
            self.items.push(item);
        }
    }

    /// Any address, or one of ours: whatever is found is alive and is there.
    fn look_up(&mut self) {
        let zone = &self.shared.zone;
        let own = self.random.below(self.items.len() as u64 + 1) as usize;
        let own = self.items.get(own).filter(|_| self.random.0 & 1 == 0);
        let address = match own {
            Some(item) => zone.address_of(item.granules().last()),
            None => self.shared.any_address(&mut self.random),
        };
        let at = super::granule_of(self.shared, address);
        let found = match self.random.below(3) {
            0 => {
                let guard = memdesc::pin();
                let found = zone.find(address, &guard);
                let folio = found.as_ref().and_then(|found| found.downcast::<Folio>());
                if let Some(folio) = folio {
                    folio.check();
                }
                found.is_some()
            }
            1 => zone.get::<Folio>(address).is_some_and(|folio| {
                folio.check();
                folio.number.fetch_add(1, Relaxed);
                true
            }),
            _ => zone.lock::<Folio>(address).is_some_and(|folio| {
                folio.check();
                assert!(folio.block().contains(at), "{:?} has not {at:?}", folio.block());
                true
            }),
        };
        let is_described = own.is_some_and(|item| matches!(item.what, What::Typed(_)));
        assert!(found || !is_described, "our own block was not found");
        self.shared.counts.found.fetch_add(u64::from(found), Relaxed);
    }
}
