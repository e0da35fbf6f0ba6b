//! One change: asked and made under the lock, and what it replaced retired.
//!
//! # Picture
//!
//! ```text
//!  lock    ask    make anew, one store (edit)    unlock    retire a full batch
//!  +-------------------------------------------------+
//! ```
//!
//! # What always holds
//!
//! Whoever asks sees what the change will meet: the lock is held from one to the
//! other. There is room for what a change replaces before it begins; one that gets
//! no memory leaves everything as it was.
//!
//! A value that was not used is dropped, and a batch retired, when the lock has been
//! given back: either may run drops of the user's.

use super::{Ranges, Writer};
use crate::ranges::bits::TOP;
use crate::ranges::edit::{Edit, Old, Way, top_of};
use crate::ranges::node::{View, publishing};
use crate::ranges::retire::{Batch, Retired, retire_all};
use crate::ranges::word::Word;
use crate::ranges::{Addresses, RangesError, Value};
use core::marker::PhantomData;
use memdesc::seeded;

/// Nodes that are retired together.
const BATCH: usize = if cfg!(any(loom, shuttle)) { 1 } else { 32 };
/// Nodes that one change replaces at most: two paths, and the root.
const MOST_REPLACED: usize = 2 * TOP as usize + 2;

/// A unit that is dropped unless a change took others of it.
struct Unit<V: Value>(Word, PhantomData<V>);

impl<V: Value> Drop for Unit<V> {
    fn drop(&mut self) {
        // SAFETY: made of a `V`, whose unit this is.
        drop(unsafe { V::from_raw(self.0.raw()) });
    }
}

impl<V: Value> Ranges<V> {
    /// Takes the lock, asks `may` and changes.
    pub(super) fn change(
        &self,
        range: Addresses,
        value: Option<V>,
        may: impl FnOnce(Option<View<'_>>) -> Result<(), RangesError>,
    ) -> Result<(), RangesError> {
        // Dropped last, out of the lock, if it is not used.
        let value = value.map(|value| Unit::<V>(Word::of_value(value.into_raw()), PhantomData));
        if seeded!("range asked before the lock") {
            let _guard = memdesc::pin();
            may(self.root_view())?;
            let mut writer = self.writer();
            self.change_locked(&mut writer, range, value.as_ref().map(|unit| unit.0))?;
            self.unlock(writer);
            return Ok(());
        }
        let mut writer = self.writer();
        may(self.root_view())?;
        if seeded!("range replaced in two steps") {
            self.change_locked(&mut writer, range, None)?;
        }
        self.change_locked(&mut writer, range, value.as_ref().map(|unit| unit.0))?;
        self.unlock(writer);
        Ok(())
    }

    /// Changes; the value is lent.
    pub(super) fn change_locked(
        &self,
        writer: &mut Writer,
        range: Addresses,
        value: Option<Word>,
    ) -> Result<(), RangesError> {
        let no_memory = RangesError::OutOfMemory { asked: range };
        writer.slab.collect(&self.shared.returned);
        writer.retired.try_reserve(MOST_REPLACED).map_err(|_| no_memory)?;
        let before = writer.retired.len();
        let (slab, retired) = (&mut writer.slab, &mut writer.retired);
        let mut edit = Edit::<V> { slab, retired, value, of: PhantomData };
        let root = self.root_word();
        let changed = edit.slot(top_of(root), TOP, range, Way::Single).and_then(|change| {
            let Some(change) = change else { return Ok(None) };
            Ok(Some((edit.root(change.now)?, change.old)))
        });
        match changed {
            Ok(None) => {}
            Ok(Some((newer, old))) => {
                self.root.store(newer.0, publishing());
                if old == Old::Gone && !root.is_none() {
                    writer.retired.push(Retired { link: root, gone: u64::MAX });
                }
            }
            Err(stopped) => {
                writer.retired.truncate(before);
                return Err(stopped.error(range));
            }
        }
        Ok(())
    }

    /// Gives the lock back, and retires a full batch after that: a pin may run
    /// the drops of what others retired.
    pub(super) fn unlock(&self, mut writer: memdesc::sync::MutexGuard<'_, Writer>) {
        if writer.retired.len() < BATCH {
            return;
        }
        // Without memory to hand it over it waits for the next change.
        let Some(batch) = Batch::of(&mut writer.retired) else { return };
        drop(writer);
        retire_all::<V>(self.shared.clone(), batch);
    }
}
