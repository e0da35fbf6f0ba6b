//! Counted figures of descriptors and look-up: what publishing, clearing and
//! reading cost, at every order.

use super::count::{Counts, counter};
use lookup::Tree;
use memdesc::{
    Block, Dead, Descriptor, Fresh, Granule, Home, Kinds, Order, OwnerId, descriptors, pin,
};
use std::cell::Cell;
use std::sync::Arc;

/// A descriptor of one line.
#[derive(Debug)]
pub(super) struct Folio {
    _body: [u8; 40],
}

descriptors! { pub(super) set Mm { Folio = 1 } }

#[derive(Debug)]
pub(super) struct State {
    kinds: Kinds,
    pub(super) tree: Tree<Ram>,
}

/// A home that counts what clearing the words costs.
#[derive(Clone, Debug)]
pub(super) struct Ram(pub(super) Arc<State>);

thread_local! {
    static CLEARED: Cell<Counts> = Cell::default();
}

impl Home for Ram {
    fn kinds(&self) -> &Kinds {
        &self.0.kinds
    }

    fn teardown(dead: Dead<Self>) {
        dead.with_home(|ram, dead, guard| {
            let (retracted, counts) = counted(|| ram.0.tree.retract(dead));
            CLEARED.set(counts);
            retracted.expect("published here").garbage.retire(guard);
        });
    }
}

fn counted<R>(operate: impl FnOnce() -> R) -> (R, Counts) {
    let mut counter = counter();
    if let Some(counter) = &mut counter {
        counter.begin();
    }
    let result = operate();
    let counts = counter.map_or_else(Counts::default, |mut counter| counter.end());
    (result, counts)
}

pub(super) fn ram() -> Ram {
    let kinds = Kinds::new();
    Mm::register(&kinds).expect("one kind");
    Ram(Arc::new(State { kinds, tree: Tree::new() }))
}

pub(super) fn fresh(ram: &Ram) -> Fresh<Ram, Folio> {
    Fresh::new(ram.clone(), OwnerId::RESOURCE, Folio { _body: [0; 40] })
        .unwrap_or_else(|_| panic!("no memory for {}", Folio::NAME))
}

/// The counts of publishing and of clearing a block, its nodes being there.
fn publish_and_clear(ram: &Ram, order: Order) -> [Counts; 2] {
    // Away from 0, so that a path is a path.
    let block = Block::containing(Granule(1 << 40), order);
    let mut counts = [Counts::default(); 2];
    for _ in 0..2 {
        let fresh = fresh(ram);
        let (published, counts_of_publish) = counted(|| ram.0.tree.publish(block, fresh));
        let first = published.unwrap_or_else(|refused| panic!("{}", refused.why));
        drop(first);
        // The descriptor's own line is nobody else's before it is published.
        let lines_written = counts_of_publish.lines_written.saturating_sub(1);
        counts = [Counts { lines_written, ..counts_of_publish }, CLEARED.get()];
    }
    counts
}

/// The largest of a figure of publish and of clear, over some orders.
fn most(orders: impl Fn(u32) -> bool, figure: impl Fn(Counts) -> u64) -> Option<f64> {
    counter()?;
    let ram = ram();
    let orders = Order::all().filter(|order| orders(order.get()));
    let counts = orders.flat_map(|order| publish_and_clear(&ram, order));
    counts.map(figure).max().map(|most| most as f64)
}

/// RMWs of publishing or clearing, at whatever order.
pub(super) fn publish_rmws() -> Option<f64> {
    most(|_| true, |counts| counts.rmws)
}

/// Lines written by publishing or clearing, at whatever order.
pub(super) fn publish_lines() -> Option<f64> {
    most(|_| true, |counts| counts.lines_written)
}

/// The same, where a block has at most eight slots.
pub(super) fn publish_lines_small() -> Option<f64> {
    most(|order| order % 6 <= 3, |counts| counts.lines_written)
}

/// The counts of one call on a published block of order 0.
fn reading<R>(read: impl Fn(&Tree<Ram>, Granule) -> R) -> Option<Counts> {
    counter()?;
    let ram = ram();
    let at = Granule(12_345);
    let block = Block::containing(at, Order::ZERO);
    let published = ram.0.tree.publish(block, fresh(&ram)).ok()?;
    let _outer = pin();
    let (_, counts) = counted(|| read(&ram.0.tree, at));
    drop(published);
    Some(counts)
}

fn peek(tree: &Tree<Ram>, at: Granule) -> bool {
    let guard = pin();
    tree.find(at, &guard).is_some_and(|found| found.downcast::<Folio>().is_some())
}

/// RMWs of a peek under an outer pin.
pub(super) fn peek_rmws() -> Option<f64> {
    reading(peek).map(|counts| counts.rmws as f64)
}

/// Lines written by a peek under an outer pin.
pub(super) fn peek_lines() -> Option<f64> {
    reading(peek).map(|counts| counts.lines_written as f64)
}

/// RMWs of taking a reference and putting it.
pub(super) fn get_put_rmws() -> Option<f64> {
    reading(|tree, at| drop(tree.get::<Folio>(at))).map(|counts| counts.rmws as f64)
}
