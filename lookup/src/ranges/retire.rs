//! What a change leaves behind: nodes to be given back, values to be dropped.
//!
//! # What always holds
//!
//! A replaced node is retired once, by the change that replaced it, together
//! with the slots whose entries the newer node does not have: of these the
//! values are dropped, and whole subtrees below are given back. What the newer
//! node took over is not touched.
//!
//! Nothing here runs with the writer's lock held: dropping a value may call
//! anybody.

use super::Value;
use super::map::Shared;
use super::node::View;
use super::word::Word;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ptr::NonNull;

/// A node that no slot links to any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retired {
    pub(super) link: Word,
    /// Slots whose entries, where they begin, are given up with it.
    pub(super) gone: u64,
}

/// What is retired together. In a box, so that what is deferred fits the epoch's
/// own record: else it asks for memory, and ends the process where that is out.
pub(super) struct Batch(Vec<Retired>);

impl Batch {
    /// Takes them all; `None` for none, and when memory is out, which leaves them.
    pub(super) fn of(retired: &mut Vec<Retired>) -> Option<Box<Self>> {
        if retired.is_empty() {
            return None;
        }
        let mut batch = memdesc::try_box(Self(Vec::new()))?;
        core::mem::swap(&mut batch.0, retired);
        Some(batch)
    }
}

/// Retires once today's readers are gone.
pub(super) fn retire_all<V: Value>(shared: Arc<Shared>, batch: Box<Batch>) {
    if memdesc::seeded!("range node reused without a grace period") {
        // SAFETY: it is not safe, which is what the model must find.
        return unsafe { give_all_back::<V>(&shared, batch.0) };
    }
    let guard = memdesc::pin();
    guard.defer(move || {
        // SAFETY: retired when they had been replaced, and the grace period is
        // over.
        unsafe { give_all_back::<V>(&shared, batch.0) };
    });
    // Whoever retires under a guard kept for long would else never collect.
    guard.flush();
}

/// Gives nodes back whose readers are gone.
///
/// # Safety
///
/// - The nodes were retired by a map of `V`s with this `shared`, each once, and
///   no reader can be in them.
pub(super) unsafe fn give_all_back<V: Value>(shared: &Shared, batch: Vec<Retired>) {
    for Retired { link, gone } in batch {
        // SAFETY: the caller's promise.
        unsafe { give_up::<V>(shared, link, gone) };
    }
}

/// Gives back a node, and what begins in the slots of `gone`.
///
/// # Safety
///
/// - As above, of this node and of what is below those slots.
unsafe fn give_up<V: Value>(shared: &Shared, link: Word, gone: u64) {
    // SAFETY: replaced, so that nobody else has it, and not given back yet.
    let Some(node) = (unsafe { View::follow(link) }) else { return };
    let mut left = node.bits.heads & gone;
    while left != 0 {
        let slot = left.trailing_zeros();
        left &= left - 1;
        match node.entry(slot) {
            // SAFETY: what hangs in a slot that is gone, is gone.
            Some((word, _)) if !word.is_value() => unsafe {
                give_up::<V>(shared, word, u64::MAX);
            },
            // SAFETY: the unit of an entry that nothing else took over, made
            // by this map of `V`s.
            Some((word, _)) if V::COUNTED => drop(unsafe { V::from_raw(word.raw()) }),
            _ => {}
        }
    }
    let words = node.bits.words();
    if let Some(at) = NonNull::new(link.node()) {
        // SAFETY: of this map's slab; nobody links to it or reads it any more.
        unsafe { shared.returned.push(at, words) };
    }
}
