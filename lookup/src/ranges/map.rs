//! The map itself: what it is made of, and the ways to change it.

mod change;

use super::bits::TOP;
use super::build::copy_tree;
use super::edit::Edit;
use super::find::descend;
use super::node::{Item, View, publishing};
use super::retire::{Batch, Retired, give_all_back, retire_all};
use super::slab::{Pages, Returned, Slab};
use super::word::Word;
use super::{Addresses, RangesError, Value, walk};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use memdesc::sync::Mutex;
use memdesc::sync::atomic::AtomicPtr;
use memdesc::{Guard, seeded};

/// From ranges of addresses to values; see the module's documentation for the
/// whole picture.
///
/// Any ranges over all 2^64 addresses. Readers take no lock: they hold a
/// [`Guard`]. Changes are made one at a time, and each is seen whole or not at
/// all.
///
/// ```
/// use potad_lookup::{Addresses, Ranges, RangesError};
/// use std::sync::Arc;
///
/// #[derive(Debug)]
/// struct Name(&'static str);
///
/// let maps = Ranges::<Arc<Name>>::new();
/// let heap = Addresses::new(0x5000, 0x8fff)?;
/// maps.insert(heap, Arc::new(Name("heap")))?;
///
/// // What overlaps is refused, by name; `set` cuts what was there.
/// let file = Addresses::new(0x6000, 0x6fff)?;
/// let refused = maps.insert(file, Arc::new(Name("file")));
/// assert_eq!(refused, Err(RangesError::Overlap { asked: file, found: heap }));
/// maps.set(file, Arc::new(Name("file")))?;
///
/// let guard = memdesc::pin();
/// assert_eq!(maps.find(0x6abc, &guard).unwrap().0, "file");
/// assert_eq!(maps.find(0x7000, &guard).unwrap().0, "heap");
/// assert!(maps.find(0x9000, &guard).is_none());
/// let ranges: Vec<_> = maps.iter(Addresses::ALL, &guard).map(|found| found.range()).collect();
/// let expected = [(0x5000, 0x5fff), (0x6000, 0x6fff), (0x7000, 0x8fff)];
/// assert_eq!(ranges, expected.map(|(first, last)| Addresses::new(first, last).unwrap()));
/// assert_eq!(maps.first_gap(Addresses::ALL, 0x6000, 0x1000, &guard), Some(0x9000));
///
/// maps.remove(Addresses::new(0x5800, 0x67ff)?)?;
/// assert!(maps.find(0x6000, &guard).is_none());
/// # Ok::<(), RangesError>(())
/// ```
pub struct Ranges<V: Value> {
    /// The root's word; its addresses begin at 0. Read by every look-up.
    root: AtomicPtr<()>,
    pages: Pages,
    shared: Arc<Shared>,
    values: PhantomData<V>,
}

/// What outlives the map until its garbage is collected.
pub(super) struct Shared {
    /// Written by whoever collects.
    pub(super) returned: Returned,
    writer: Mutex<Writer>,
}

/// What the writer's lock guards, beside the right to change the tree.
struct Writer {
    slab: Slab,
    /// Replaced, and not yet retired.
    retired: Vec<Retired>,
}

// SAFETY: nodes are shared under the rules of `node`; values go from thread to
// thread, and are lent to several, which `Value` demands they can.
unsafe impl<V: Value> Send for Ranges<V> {}
// SAFETY: as above.
unsafe impl<V: Value> Sync for Ranges<V> {}

impl<V: Value> Ranges<V> {
    /// An empty map.
    pub fn new() -> Self {
        Self::with_pages(Pages::Huge)
    }

    /// An empty map whose nodes lie in such pages.
    pub fn with_pages(pages: Pages) -> Self {
        let writer = Writer { slab: Slab::new(pages), retired: Vec::new() };
        let shared = Shared { returned: Returned::new(), writer: Mutex::new(writer) };
        Self {
            root: AtomicPtr::new(Word::NONE.0),
            pages,
            shared: Arc::new(shared),
            values: PhantomData,
        }
    }

    /// Names a range that nothing of is named yet; else refuses, with the range
    /// in the way, and drops the value.
    pub fn insert(&self, range: Addresses, value: V) -> Result<(), RangesError> {
        self.change(range, Some(value), |root| match walk::next(root, range.first()) {
            Some(found) if found.at.overlaps(range) => {
                let found = walk::whole(root, found).at;
                Err(RangesError::Overlap { asked: range, found })
            }
            _ => Ok(()),
        })
    }

    /// Names a range, in place of whatever was there: ranges that reach in are
    /// cut, those inside are gone. One moment for all of it.
    pub fn set(&self, range: Addresses, value: V) -> Result<(), RangesError> {
        self.change(range, Some(value), |_| Ok(()))
    }

    /// Takes every name out of a range; ranges that reach in are cut. One
    /// moment for all of it.
    ///
    /// ```
    /// # use potad_lookup::{Addresses, Payload, Ranges};
    /// let map = Ranges::new();
    /// map.insert(Addresses::new(10, 19)?, Payload::from(1))?;
    /// map.remove(Addresses::new(12, 13)?)?;
    /// let guard = memdesc::pin();
    /// assert!(map.find(12, &guard).is_none() && map.find(14, &guard).is_some());
    /// # Ok::<(), potad_lookup::RangesError>(())
    /// ```
    pub fn remove(&self, range: Addresses) -> Result<(), RangesError> {
        self.change(range, None, |_| Ok(()))
    }

    /// Takes the whole range that holds an address out, and returns it.
    ///
    /// ```
    /// # use potad_lookup::{Addresses, Payload, Ranges};
    /// let map = Ranges::new();
    /// let range = Addresses::new(10, 19)?;
    /// map.insert(range, Payload::from(1))?;
    /// assert_eq!(map.remove_at(15)?, Some(range));
    /// assert_eq!(map.remove_at(15)?, None);
    /// # Ok::<(), potad_lookup::RangesError>(())
    /// ```
    pub fn remove_at(&self, at: u64) -> Result<Option<Addresses>, RangesError> {
        let mut writer = self.writer();
        let root = self.root_view();
        let Some(found) = descend(root, at) else { return Ok(None) };
        let range = walk::whole(root, found.item()).at;
        self.change_locked(&mut writer, range, None)?;
        self.unlock(writer);
        Ok(Some(range))
    }

    /// Takes everything out. One moment for all of it, and no time: what was
    /// there is taken apart when its readers are gone.
    pub fn clear(&self) {
        let mut writer = self.writer();
        let root = self.root_word();
        if root.is_none() {
            return;
        }
        // Without memory to remember the nodes, they wait for the map's drop;
        // counted values leak.
        let remembered = writer.retired.try_reserve(1).is_ok();
        self.root.store(Word::NONE.0, publishing());
        if remembered {
            writer.retired.push(Retired { link: root, gone: u64::MAX });
        }
        self.unlock(writer);
    }

    /// Becomes a copy of another map, as it is at one moment, in place of
    /// whatever was here: what a fork does to an address space.
    ///
    /// Node by node, so much faster than setting range after range.
    ///
    /// ```
    /// # use potad_lookup::{Addresses, Payload, Ranges};
    /// let (parent, child) = (Ranges::new(), Ranges::new());
    /// parent.insert(Addresses::new(10, 19)?, Payload::from(1))?;
    /// child.copy_from(&parent)?;
    /// parent.remove(Addresses::ALL)?;
    /// let guard = memdesc::pin();
    /// assert!(child.find(12, &guard).is_some() && parent.find(12, &guard).is_none());
    /// # Ok::<(), potad_lookup::RangesError>(())
    /// ```
    pub fn copy_from(&self, other: &Self) -> Result<(), RangesError> {
        let ours = Arc::as_ptr(&self.shared);
        // Two that copy each other at once take the locks in one order.
        let (mut writer, theirs) = match ours.cmp(&Arc::as_ptr(&other.shared)) {
            core::cmp::Ordering::Equal => return Ok(()),
            order if order.is_lt() || seeded!("locks taken in the order of the call") => {
                let writer = self.writer();
                (writer, other.writer())
            }
            _ => {
                let theirs = other.writer();
                (self.writer(), theirs)
            }
        };
        let no_memory = RangesError::OutOfMemory { asked: Addresses::ALL };
        writer.slab.collect(&self.shared.returned);
        writer.retired.try_reserve(1).map_err(|_| no_memory)?;
        let copy = match other.root_view() {
            None => Word::NONE,
            Some(root) => copy_tree::<V>(&mut writer.slab, root)
                .map_err(|stopped| stopped.error(Addresses::ALL))?,
        };
        let old = self.root_word();
        self.root.store(copy.0, publishing());
        if !old.is_none() {
            writer.retired.push(Retired { link: old, gone: u64::MAX });
        }
        drop(theirs);
        self.unlock(writer);
        Ok(())
    }

    /// A map of ranges in order of address that do not overlap.
    ///
    /// Faster than inserting them one by one, and nodes are as full as can be.
    ///
    /// ```
    /// # use potad_lookup::{Addresses, Payload, Ranges, RangesError};
    /// let ranges = (0..1000).map(|at| (Addresses::starting(at * 16, 9).unwrap(), Payload::from(7)));
    /// let map = Ranges::from_sorted(ranges)?;
    /// let guard = memdesc::pin();
    /// assert_eq!(map.iter(Addresses::ALL, &guard).count(), 1000);
    /// assert_eq!(map.find(16_003, &guard), None);
    /// # Ok::<(), RangesError>(())
    /// ```
    pub fn from_sorted(
        ranges: impl IntoIterator<Item = (Addresses, V)>,
    ) -> Result<Self, RangesError> {
        Self::from_sorted_with(Pages::Huge, ranges)
    }

    /// The same, with nodes in such pages.
    pub fn from_sorted_with(
        pages: Pages,
        ranges: impl IntoIterator<Item = (Addresses, V)>,
    ) -> Result<Self, RangesError> {
        let map = Self::with_pages(pages);
        let mut units = Units::<V>(Vec::new(), PhantomData);
        for (at, value) in ranges {
            if let Some(before) = units.0.last().map(|item| item.at)
                && before.last() >= at.first()
            {
                return Err(RangesError::Unsorted { before, next: at });
            }
            if units.0.try_reserve(1).is_err() {
                return Err(RangesError::OutOfMemory { asked: at });
            }
            units.0.push(Item { at, word: Word::of_value(value.into_raw()) });
        }
        {
            let writer = &mut *map.writer();
            let (slab, retired) = (&mut writer.slab, &mut writer.retired);
            let mut edit = Edit::<V> { slab, retired, value: None, of: PhantomData };
            let top = edit.place_clipped(&units.0, TOP, Addresses::ALL);
            let root = top.and_then(|top| edit.root(top));
            let root = root.map_err(|stopped| stopped.error(Addresses::ALL))?;
            map.root.store(root.0, publishing());
        }
        Ok(map)
    }

    /// Bytes of memory that the map holds: blocks of nodes, and itself.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + size_of::<Shared>() + self.writer().slab.usage().blocks
    }

    /// Bytes of nodes in use, or replaced and not yet free again.
    pub fn node_bytes(&self) -> usize {
        let mut writer = self.writer();
        writer.slab.collect(&self.shared.returned);
        writer.slab.usage().nodes
    }

    /// Retires what changes have replaced, now instead of with the next batch.
    pub fn settle(&self) {
        let batch = Batch::of(&mut self.writer().retired);
        batch.into_iter().for_each(|batch| retire_all::<V>(self.shared.clone(), batch));
    }

    /// What the map's nodes lie in.
    pub fn pages(&self) -> Pages {
        self.pages
    }

    pub(super) fn root_word(&self) -> Word {
        // `Acquire` pairs with the store that published the root.
        Word(self.root.load(memdesc::weakened!("range root seen relaxed", Acquire)))
    }

    /// The root for a reader.
    #[inline]
    pub(super) fn root<'a>(&'a self, guard: &'a Guard) -> Option<View<'a>> {
        let _ = guard;
        // SAFETY: loaded under the guard, and what is retired later waits for
        // it; the map is borrowed as long.
        unsafe { View::follow(self.root_word()) }
    }

    /// The root for the holder of the writer's lock.
    fn root_view(&self) -> Option<View<'_>> {
        // SAFETY: under the lock nothing that is linked is replaced but by us.
        unsafe { View::follow(self.root_word()) }
    }

    fn writer(&self) -> memdesc::sync::MutexGuard<'_, Writer> {
        self.shared.writer.lock()
    }
}

/// The units of the ranges that a map is built from.
struct Units<V: Value>(Vec<Item>, PhantomData<V>);

impl<V: Value> Drop for Units<V> {
    fn drop(&mut self) {
        if V::COUNTED {
            for item in &self.0 {
                // SAFETY: made of a `V`, whose unit this is.
                drop(unsafe { V::from_raw(item.word.raw()) });
            }
        }
    }
}

impl<V: Value> Drop for Ranges<V> {
    fn drop(&mut self) {
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        if !V::COUNTED {
            return;
        }
        let mut batch = core::mem::take(&mut self.writer().retired);
        batch.push(Retired { link: self.root_word(), gone: u64::MAX });
        // SAFETY: replaced, or never to be read again: whoever found something
        // here borrowed the map.
        unsafe { give_all_back::<V>(&self.shared, batch) };
    }
}

impl<V: Value> Default for Ranges<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Value> fmt::Debug for Ranges<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ranges").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}
