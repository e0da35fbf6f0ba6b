//! What else maps ranges to values.
//!
//! All but `rangemap` are ordered maps of points: a range is stored under its
//! last page, and the first key at or above a page names its range, if that
//! begins early enough. Cutting is done around them by [`Cutting`].

use super::Workload;
use lookup::{Addresses, Pages, Payload, Ranges};
use memdesc::pin;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A map of ranges, as a program uses one. Single-threaded here, but behind
/// what it would need with threads.
pub trait RangeMap: Send + Sync + 'static {
    /// What it is.
    const NAME: &'static str;
    /// An empty one.
    fn new() -> Self;
    /// Names a range, in place of what was there.
    fn set(&self, range: Addresses, value: u32);
    /// Takes names out of a range.
    fn remove(&self, range: Addresses);
    /// What a page names.
    fn find(&self, page: u64) -> Option<u64>;
    /// Takes every name out.
    fn clear(&self) {
        self.remove(Addresses::ALL);
    }
    /// Becomes a copy of another.
    fn copy_from(&self, other: &Self) {
        self.clear();
        for (range, value) in other.all() {
            self.set(range, value);
        }
    }
    /// The ranges, in order.
    fn all(&self) -> Vec<(Addresses, u32)>;
}

impl RangeMap for Ranges<Payload> {
    const NAME: &'static str = "potad";

    fn new() -> Self {
        Self::with_pages(Pages::Huge)
    }

    fn set(&self, range: Addresses, value: u32) {
        Self::set(self, range, value.into()).expect("memory");
    }

    fn remove(&self, range: Addresses) {
        Self::remove(self, range).expect("memory");
    }

    fn clear(&self) {
        Self::clear(self);
    }

    fn copy_from(&self, other: &Self) {
        Self::copy_from(self, other).expect("memory");
    }

    #[inline]
    fn find(&self, page: u64) -> Option<u64> {
        // The pin that a caller would hold: nested, it costs next to nothing.
        let guard = pin();
        Self::find(self, page, &guard).map(|found| found.get())
    }

    fn all(&self) -> Vec<(Addresses, u32)> {
        let guard = pin();
        let value = |payload: Payload| u32::try_from(payload.get()).expect("set from a u32");
        self.iter(Addresses::ALL, &guard).map(|found| (found.range(), value(*found))).collect()
    }
}

/// A stored range: last page, first page, value.
type Stored = (u64, u64, u32);

/// An ordered map from last pages.
pub trait Cutting {
    /// What it is.
    const NAME: &'static str;
    /// The first stored range that ends at a page or above.
    fn ceiling(&self, page: u64) -> Option<Stored>;
    /// Stores a range.
    fn insert(&mut self, stored: Stored);
    /// Takes the range with this last page out.
    fn delete(&mut self, last: u64);

    /// Takes names out of a range.
    fn cut(&mut self, range: Addresses) {
        while let Some((last, first, value)) = self.ceiling(range.first())
            && first <= range.last()
        {
            self.delete(last);
            if last > range.last() {
                self.insert((last, range.last() + 1, value));
            }
            if first < range.first() {
                self.insert((range.first() - 1, first, value));
            }
        }
    }

    /// All ranges, in order.
    fn listed(&self) -> Vec<(Addresses, u32)> {
        let mut all = Vec::new();
        let mut from = Some(0);
        while let Some((last, first, value)) = from.and_then(|from| self.ceiling(from)) {
            all.push((Addresses::new(first, last).expect("in order"), value));
            from = last.checked_add(1);
        }
        all
    }
}

/// An ordered map behind a lock for reading and writing.
#[derive(Debug, Default)]
pub struct Locked<C>(RwLock<C>);

impl<C: Cutting + Clone + Default + Send + Sync + 'static> RangeMap for Locked<C> {
    const NAME: &'static str = C::NAME;

    fn new() -> Self {
        Self(RwLock::new(C::default()))
    }

    fn set(&self, range: Addresses, value: u32) {
        let mut map = self.0.write();
        map.cut(range);
        map.insert((range.last(), range.first(), value));
    }

    fn remove(&self, range: Addresses) {
        self.0.write().cut(range);
    }

    fn copy_from(&self, other: &Self) {
        let copy = other.0.read().clone();
        *self.0.write() = copy;
    }

    #[inline]
    fn find(&self, page: u64) -> Option<u64> {
        let (_, first, value) = self.0.read().ceiling(page)?;
        (first <= page).then_some(value.into())
    }

    fn all(&self) -> Vec<(Addresses, u32)> {
        self.0.read().listed()
    }
}

/// The standard library's.
#[derive(Clone, Debug, Default)]
pub struct Standard(BTreeMap<u64, (u64, u32)>);

impl Cutting for Standard {
    const NAME: &'static str = "RwLock<BTreeMap>";

    #[inline]
    fn ceiling(&self, page: u64) -> Option<Stored> {
        let (&last, &(first, value)) = self.0.range(page..).next()?;
        Some((last, first, value))
    }

    fn insert(&mut self, (last, first, value): Stored) {
        self.0.insert(last, (first, value));
    }

    fn delete(&mut self, last: u64) {
        self.0.remove(&last);
    }
}

/// Visits maps by type.
pub trait MapVisitor {
    /// One of them.
    fn visit<M: RangeMap>(&mut self);
}

/// Visits every map that was compiled in, ours first.
pub fn visit_maps(visitor: &mut impl MapVisitor) {
    visitor.visit::<Ranges<Payload>>();
    visitor.visit::<Locked<Standard>>();
    #[cfg(feature = "peers")]
    others::visit(visitor);
}

fn filled<M: RangeMap>(workload: &Workload) -> M {
    let map = M::new();
    for (number, range) in (1..=u32::MAX).zip(&workload.ranges) {
        map.set(*range, number);
    }
    map
}

/// Measures look-ups in each peer, which holds a workload's ranges, and
/// returns the least time. The workload is the same at each call.
pub(crate) fn find_all(
    workload: &Workload,
    measure: impl Fn(&dyn Fn(u64) -> Option<u64>) -> f64,
) -> Option<f64> {
    static STANDARD: OnceLock<Locked<Standard>> = OnceLock::new();
    let standard = STANDARD.get_or_init(|| filled(workload));
    let best = measure(&|page| standard.find(page));
    #[cfg(feature = "peers")]
    let best = others::find_all(workload, measure).min(best);
    Some(best)
}

#[cfg(feature = "peers")]
mod others {
    //! Crates that map ranges, or could.

    use super::{Cutting, MapVisitor, RangeMap, Stored, Workload, filled};
    use congee::Congee;
    use crossbeam_skiplist::SkipMap;
    use lookup::Addresses;
    use parking_lot::RwLock;
    use rangemap::RangeInclusiveMap;
    use scc::TreeIndex;
    use std::ops::Bound;
    use std::sync::OnceLock;

    pub(super) fn visit(visitor: &mut impl MapVisitor) {
        visitor.visit::<RwLock<RangeInclusiveMap<u64, u32>>>();
        visitor.visit::<Concurrent<SkipMap<u64, (u64, u32)>>>();
        visitor.visit::<Concurrent<TreeIndex<u64, (u64, u32)>>>();
        visitor.visit::<Concurrent<Congee<usize, usize>>>();
    }

    /// Without `scc`, whose look-up of a ceiling takes seconds at this size.
    pub(super) fn find_all(
        workload: &Workload,
        measure: impl Fn(&dyn Fn(u64) -> Option<u64>) -> f64,
    ) -> f64 {
        static MAP: OnceLock<RwLock<RangeInclusiveMap<u64, u32>>> = OnceLock::new();
        static SKIP: OnceLock<Concurrent<SkipMap<u64, (u64, u32)>>> = OnceLock::new();
        static CONGEE: OnceLock<Concurrent<Congee<usize, usize>>> = OnceLock::new();
        let map = MAP.get_or_init(|| filled(workload));
        let skip = SKIP.get_or_init(|| filled(workload));
        let congee = CONGEE.get_or_init(|| filled(workload));
        let times = [
            measure(&|page| map.find(page)),
            measure(&|page| skip.find(page)),
            measure(&|page| congee.find(page)),
        ];
        times.into_iter().fold(f64::INFINITY, f64::min)
    }

    impl RangeMap for RwLock<RangeInclusiveMap<u64, u32>> {
        const NAME: &'static str = "RwLock<rangemap>";

        fn new() -> Self {
            Self::default()
        }

        fn set(&self, range: Addresses, value: u32) {
            self.write().insert(range.first()..=range.last(), value);
        }

        fn remove(&self, range: Addresses) {
            self.write().remove(range.first()..=range.last());
        }

        fn copy_from(&self, other: &Self) {
            let copy = other.read().clone();
            *self.write() = copy;
        }

        #[inline]
        fn find(&self, page: u64) -> Option<u64> {
            self.read().get(&page).map(|&value| value.into())
        }

        fn all(&self) -> Vec<(Addresses, u32)> {
            let range = |range: &std::ops::RangeInclusive<u64>| {
                Addresses::new(*range.start(), *range.end()).expect("in order")
            };
            self.read().iter().map(|(at, &value)| (range(at), value)).collect()
        }
    }

    /// A map that any thread may change.
    #[derive(Debug, Default)]
    pub(super) struct Concurrent<C>(C);

    impl<C: Default + Send + Sync + 'static> RangeMap for Concurrent<C>
    where
        for<'a> &'a C: Cutting,
    {
        const NAME: &'static str = <&C as Cutting>::NAME;

        fn new() -> Self {
            Self::default()
        }

        fn set(&self, range: Addresses, value: u32) {
            let mut map = &self.0;
            map.cut(range);
            map.insert((range.last(), range.first(), value));
        }

        fn remove(&self, range: Addresses) {
            (&self.0).cut(range);
        }

        #[inline]
        fn find(&self, page: u64) -> Option<u64> {
            let (_, first, value) = (&self.0).ceiling(page)?;
            (first <= page).then_some(value.into())
        }

        fn all(&self) -> Vec<(Addresses, u32)> {
            (&self.0).listed()
        }
    }

    impl Cutting for &SkipMap<u64, (u64, u32)> {
        const NAME: &'static str = "crossbeam-skiplist";

        #[inline]
        fn ceiling(&self, page: u64) -> Option<Stored> {
            let entry = self.lower_bound(Bound::Included(&page))?;
            let (first, value) = *entry.value();
            Some((*entry.key(), first, value))
        }

        fn insert(&mut self, (last, first, value): Stored) {
            SkipMap::insert(self, last, (first, value));
        }

        fn delete(&mut self, last: u64) {
            SkipMap::remove(self, &last);
        }
    }

    impl Cutting for &TreeIndex<u64, (u64, u32)> {
        const NAME: &'static str = "scc::TreeIndex";

        #[inline]
        fn ceiling(&self, page: u64) -> Option<Stored> {
            let guard = scc::Guard::new();
            let (&last, &(first, value)) = self.range(page.., &guard).next()?;
            Some((last, first, value))
        }

        fn insert(&mut self, (last, first, value): Stored) {
            let _ = self.insert_sync(last, (first, value));
        }

        fn delete(&mut self, last: u64) {
            self.remove_sync(&last);
        }
    }

    /// Its values are words: pages less one, and the value.
    impl Cutting for &Congee<usize, usize> {
        const NAME: &'static str = "congee";

        #[inline]
        fn ceiling(&self, page: u64) -> Option<Stored> {
            let guard = self.pin();
            let mut found = [(0, 0)];
            // Lossless: 64-bit targets, as the crates demand.
            let count = self.range(&(page as usize), &usize::MAX, &mut found, &guard);
            if count == 0 {
                return None;
            }
            let (last, word) = (found[0].0 as u64, found[0].1 as u64);
            Some((last, last - (word >> 32), word as u32))
        }

        fn insert(&mut self, (last, first, value): Stored) {
            let guard = self.pin();
            let word = (last - first) << 32 | u64::from(value);
            Congee::insert(self, last as usize, word as usize, &guard).expect("memory");
        }

        fn delete(&mut self, last: u64) {
            let guard = self.pin();
            Congee::remove(self, &(last as usize), &guard);
        }
    }
}
