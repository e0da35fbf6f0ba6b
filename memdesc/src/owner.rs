//! Owners: who must hear of memory failure.
//!
//! # What always holds
//!
//! An id is given out once and never again, so a word that outlives its owner
//! names nobody instead of somebody else. After `unregister` returned, no
//! callback of that owner runs or starts.
//!
//! # States of an entry
//!
//! ```text
//!  63      62 .. 0
//! +------+---------+
//! |CLOSED| running |    call: running + 1, unless CLOSED    unregister: CLOSED, then wait for 0
//! +------+---------+
//! ```
//!
//! # Sharing and cost
//!
//! Failure is rare: a lock to find the entry, two RMWs around the callback,
//! and no lock held while it runs.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, parking, thread};
use crate::{Block, Granules, OwnerError, seeded};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// Names an owner; 0 is the resource itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct OwnerId(pub u16);

impl OwnerId {
    /// The resource's own owner.
    pub const RESOURCE: Self = Self(0);
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "owner{}", self.0)
    }
}

/// How a failure came to light.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// Somebody read bad memory.
    Consumed,
    /// A scrubber found it before anybody read it.
    Found,
    /// Many corrected errors say that it will fail.
    Predicted,
    /// The hardware put it right: the memory is sound, and its errors are
    /// counted.
    Corrected,
    /// A test says so.
    Injected,
}

/// What an owner made of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing uses the memory any more.
    Recovered,
    /// It will be dealt with later.
    Delayed,
    /// Nothing was done.
    Ignored,
    /// Dealing with it failed.
    Failed,
}

/// What an owner is told: plain data, free to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedBlock {
    /// The number of the resource, as its handle says it.
    pub resource: u32,
    /// The granules that failed.
    pub granules: Granules,
    /// The first unit that failed, in the resource's units.
    pub first_unit: u64,
    /// The last one: a line of 64, or all of the granules.
    pub last_unit: u64,
    /// The block they lie in, if one is known.
    pub block: Option<Block>,
    /// How it came to light.
    pub kind: FailureKind,
    /// What lives there: the name of the descriptor type or of the subtype.
    pub name: &'static str,
    /// Whether these granules failed for the first time.
    pub first: bool,
}

/// Whoever uses blocks and must hear when one fails.
pub trait Owner: Send + Sync {
    /// Called with no lock of these crates held: may free, migrate, split. May
    /// not unregister itself.
    fn memory_failure(&self, failed: &FailedBlock) -> Outcome;
}

const CLOSED: u64 = 1 << 63;

/// Threads that an owner may be called by at once without any allocation.
const CALLERS: usize = 8;

struct Entry {
    owner: Arc<dyn Owner>,
    /// See the module's picture.
    state: AtomicU64,
    /// Threads inside the callback.
    inside: Mutex<Vec<Option<thread::Token>>>,
}

/// The owners of one resource or of a family of them.
///
/// ```
/// use potad_memdesc::*;
/// use std::sync::Arc;
///
/// struct Guest;
/// impl Owner for Guest {
///     fn memory_failure(&self, failed: &FailedBlock) -> Outcome {
///         if failed.first { Outcome::Recovered } else { Outcome::Ignored }
///     }
/// }
///
/// let owners = Owners::new();
/// let guest = owners.register(Arc::new(Guest))?;
/// let failed = FailedBlock {
///     resource: 0,
///     granules: Granules::new(Granule(4), Granule(4)).unwrap(),
///     first_unit: 0x4040,
///     last_unit: 0x407f,
///     block: None,
///     kind: FailureKind::Injected,
///     name: "raw",
///     first: true,
/// };
/// assert_eq!(owners.call(guest, &failed), Some(Outcome::Recovered));
/// owners.unregister(guest)?;
/// assert_eq!(owners.call(guest, &failed), None);
/// # Ok::<(), OwnerError>(())
/// ```
pub struct Owners {
    table: Mutex<Table>,
}

struct Table {
    entries: BTreeMap<u16, Arc<Entry>>,
    /// The next id, beyond `u16` once all are given out.
    next: u32,
}

impl Owners {
    /// Nobody yet.
    pub fn new() -> Self {
        Self { table: Mutex::new(Table { entries: BTreeMap::new(), next: 1 }) }
    }

    /// Gives `owner` an id that nobody had before.
    pub fn register(&self, owner: Arc<dyn Owner>) -> Result<OwnerId, OwnerError> {
        let mut table = self.table.lock();
        let id = u16::try_from(table.next).map_err(|_| OwnerError::Exhausted)?;
        table.next += 1;
        let entry = Entry {
            owner,
            state: AtomicU64::new(0),
            inside: Mutex::new(Vec::with_capacity(CALLERS)),
        };
        table.entries.insert(id, Arc::new(entry));
        Ok(OwnerId(id))
    }

    /// Forgets an owner: returns once its running callbacks have finished,
    /// and none starts later.
    ///
    /// Refuses inside the owner's own callback, which it would wait for.
    /// Without `std`, where threads have no names, it refuses while any
    /// callback of the owner runs: try again.
    pub fn unregister(&self, id: OwnerId) -> Result<(), OwnerError> {
        let Some(entry) = self.entry(id) else { return Err(OwnerError::Unknown { id: id.0 }) };
        let me = thread::token();
        if entry.inside.lock().iter().any(|&other| other.is_none() || other == me) {
            return Err(OwnerError::WouldDeadlock { id: id.0 });
        }
        // Of two that unregister at once, one removes the entry. What the
        // table held is dropped outside its lock.
        let removed = self.table.lock().entries.remove(&id.0);
        if removed.is_none() && !seeded!("unregistered twice") {
            return Err(OwnerError::Unknown { id: id.0 });
        }
        entry.close();
        Ok(())
    }

    /// Tells an owner; `None` if there is no such owner, or no longer.
    ///
    /// With `std`, a panic in the callback counts as [`Outcome::Failed`].
    pub fn call(&self, id: OwnerId, failed: &FailedBlock) -> Option<Outcome> {
        let entry = self.entry(id)?;
        let inside = Inside::enter(&entry)?;
        let outcome = contained(&*inside.entry.owner, failed);
        Some(outcome)
    }

    /// Whether `id` is registered.
    pub fn is_registered(&self, id: OwnerId) -> bool {
        self.entry(id).is_some()
    }

    fn entry(&self, id: OwnerId) -> Option<Arc<Entry>> {
        self.table.lock().entries.get(&id.0).cloned()
    }
}

impl Default for Owners {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table.lock();
        f.debug_struct("Owners").field("ids", &table.entries.keys()).finish()
    }
}

impl Entry {
    /// Lets no callback start, and waits for those that run.
    fn close(&self) {
        // Relaxed: of one word. A call either counted itself before, and is
        // waited for, or sees CLOSED and does not start.
        self.state.fetch_or(CLOSED, Ordering::Relaxed);
        if seeded!("unregister does not wait") {
            return;
        }
        // `Acquire` pairs with `Inside::drop`: their work is seen as done.
        while self.state.load(crate::weakened!("owner is awaited relaxed", Acquire)) != CLOSED {
            parking::park(self.key(), || self.state.load(Ordering::Relaxed) != CLOSED);
        }
    }

    fn key(&self) -> usize {
        (&raw const self.state).addr()
    }
}

/// A callback that counts itself while it runs, whether it returns or panics.
struct Inside<'a> {
    entry: &'a Entry,
}

impl<'a> Inside<'a> {
    fn enter(entry: &'a Entry) -> Option<Self> {
        // Relaxed: as in `close`.
        let before = entry.state.fetch_add(1, Ordering::Relaxed);
        let inside = Self { entry };
        entry.inside.lock().push(thread::token());
        // Dropped on refusal: that counts out again.
        (before & CLOSED == 0).then_some(inside)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let me = thread::token();
        let mut inside = self.entry.inside.lock();
        if let Some(at) = inside.iter().position(|&other| other == me) {
            inside.swap_remove(at);
        }
        drop(inside);
        let key = self.entry.key();
        // `Release` pairs with the load in `close`. Afterwards the entry is
        // kept by the `Arc` of `call`.
        if self.entry.state.fetch_sub(1, crate::weakened!("call ends relaxed", AcqRel))
            == CLOSED + 1
        {
            parking::unpark_all(key);
        }
    }
}

#[cfg(all(feature = "std", not(loom)))]
fn contained(owner: &dyn Owner, failed: &FailedBlock) -> Outcome {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    // Unwind safe for us: nothing of ours is half done while it runs.
    catch_unwind(AssertUnwindSafe(|| owner.memory_failure(failed))).unwrap_or(Outcome::Failed)
}

/// Nothing can be caught here; under a model nothing must be.
#[cfg(not(all(feature = "std", not(loom))))]
fn contained(owner: &dyn Owner, failed: &FailedBlock) -> Outcome {
    owner.memory_failure(failed)
}
