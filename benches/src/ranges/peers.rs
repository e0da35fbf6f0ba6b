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
pub trait RangeMap {
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
pub trait Cutting: Default {
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
}

/// An ordered map behind a lock for reading and writing.
#[derive(Debug, Default)]
pub struct Locked<C>(RwLock<C>);

impl<C: Cutting> RangeMap for Locked<C> {
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

    #[inline]
    fn find(&self, page: u64) -> Option<u64> {
        let (_, first, value) = self.0.read().ceiling(page)?;
        (first <= page).then_some(value.into())
    }

    fn all(&self) -> Vec<(Addresses, u32)> {
        let map = self.0.read();
        let mut all = Vec::new();
        let mut from = Some(0);
        while let Some((last, first, value)) = from.and_then(|from| map.ceiling(from)) {
            all.push((Addresses::new(first, last).expect("in order"), value));
            from = last.checked_add(1);
        }
        all
    }
}

/// The standard library's.
#[derive(Debug, Default)]
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
    fn visit<M: RangeMap + Send + Sync + 'static>(&mut self);
}

/// Visits every map that was compiled in, ours first.
pub fn visit_maps(visitor: &mut impl MapVisitor) {
    visitor.visit::<Ranges<Payload>>();
    visitor.visit::<Locked<Standard>>();
}

/// Measures look-ups in each peer, which holds a workload's ranges, and
/// returns the least time.
pub(crate) fn find_all(
    workload: &Workload,
    measure: impl Fn(&dyn Fn(u64) -> Option<u64>) -> f64,
) -> Option<f64> {
    fn filled<M: RangeMap>(workload: &Workload) -> M {
        let map = M::new();
        for (number, range) in (1..=u32::MAX).zip(&workload.ranges) {
            map.set(*range, number);
        }
        map
    }
    static STANDARD: OnceLock<Locked<Standard>> = OnceLock::new();
    let standard = STANDARD.get_or_init(|| filled(workload));
    Some(measure(&|page| standard.find(page)))
}
