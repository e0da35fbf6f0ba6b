//! The resource: what is handed out, and in which units.
//!
//! A resource is made of spans of units (bytes, slots, bus addresses), cut into
//! granules. Its index space is absolute: granule `i` starts at unit
//! `origin + i * granule`, with an origin that keeps alignment absolute too, so
//! a block of 2 MiB starts at a multiple of 2 MiB of the bus.

use crate::error::Error;
use crate::placement::{Placement, Together};
use alloc::string::{String, ToString};
use core::ops::{Range, RangeInclusive};
use memdesc::sync::Arc;
use memdesc::{Block, Granule, Granules, MAX_GRANULES, Order};
use smallvec::SmallVec;

/// A span of units, not empty: `first..=last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first unit.
    pub first: u64,
    /// The last unit, which belongs to the span.
    pub last: u64,
}

/// What names a span: `a..b`, or `a..=b` where `b` is the very last unit.
pub trait IntoSpan {
    /// The span, or [`Error::EmptySpan`].
    fn into_span(self) -> Result<Span, Error>;
}

impl IntoSpan for Range<u64> {
    fn into_span(self) -> Result<Span, Error> {
        if self.start >= self.end {
            return Err(Error::EmptySpan { first: self.start, end: self.end });
        }
        Ok(Span { first: self.start, last: self.end - 1 })
    }
}

impl IntoSpan for RangeInclusive<u64> {
    fn into_span(self) -> Result<Span, Error> {
        let (first, last) = self.into_inner();
        if first > last {
            return Err(Error::EmptySpan { first, end: last });
        }
        Ok(Span { first, last })
    }
}

impl IntoSpan for Span {
    fn into_span(self) -> Result<Span, Error> {
        (self.first..=self.last).into_span()
    }
}

/// A resource to be registered: name, granule, spans.
///
/// ```
/// use potad::{Potad, Resource};
///
/// let potad = Potad::new();
/// let swap = potad.register(Resource::new("swap0").granule(1).span(0..262_144))?;
/// assert_eq!(swap.granules(), 262_144);
/// let unmade = potad.register(Resource::new("dram0").granule(4096).span(0x50_0000..0x50_0800));
/// assert_eq!(
///     unmade.unwrap_err().to_string(),
///     "the span 0x500000..=0x5007ff is not made of granules of 4096"
/// );
/// # Ok::<(), potad::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Resource {
    pub(crate) name: String,
    pub(crate) granule: u64,
    pub(crate) spans: SmallVec<[Result<Span, Error>; 2]>,
    pub(crate) reach: Option<u64>,
    pub(crate) space: u16,
    pub(crate) placement: Arc<dyn Placement>,
}

impl Resource {
    /// A resource of granules of one unit, with no span yet.
    pub fn new(name: impl ToString) -> Self {
        Self {
            name: name.to_string(),
            granule: 1,
            spans: SmallVec::new(),
            reach: None,
            space: 0,
            placement: Arc::new(Together::default()),
        }
    }

    /// Units per granule: 4096 for frames, 512 for sectors, 1 for slots.
    pub fn granule(mut self, units: u64) -> Self {
        self.granule = units;
        self
    }

    /// Adds a span of units; may be called again for a sparse resource.
    pub fn span(mut self, span: impl IntoSpan) -> Self {
        self.spans.push(span.into_span());
        self
    }

    /// The highest unit that hot-added spans may ever hold. Without it a
    /// resource reaches at least 64 times further than its first spans, and
    /// `64^6` granules.
    pub fn reach(mut self, last_unit: u64) -> Self {
        self.reach = Some(last_unit);
        self
    }

    /// The address space in which the units mean something; 0, the bus, unless
    /// said. Spans of one space must not overlap across the resources of a
    /// potad, and a memory failure is looked up in space 0.
    pub fn space(mut self, space: u16) -> Self {
        self.space = space;
        self
    }

    /// The policy by which its hands choose regions, [`Together`] unless said.
    pub fn placement(mut self, policy: impl Placement + 'static) -> Self {
        self.placement = Arc::new(policy);
        self
    }
}

/// How units and granules of one resource convert.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Units {
    granule: u64,
    /// `granule == 1 << shift`, or `None`.
    shift: Option<u32>,
    /// The unit at which granule 0 would start.
    origin: u64,
}

impl Units {
    /// The conversion for a resource whose first span starts at `first`.
    pub(crate) fn new(granule: u64, first: u64) -> Result<Self, Error> {
        if granule == 0 {
            return Err(Error::NoGranule);
        }
        // Only one unit per granule leaves more than 2^63 of them.
        let origin = if granule == 1 && first >= MAX_GRANULES { MAX_GRANULES } else { 0 };
        let shift = granule.is_power_of_two().then_some(granule.trailing_zeros());
        Ok(Self { granule, shift, origin })
    }

    /// The same units in granules of another size, which divides the granule.
    pub(crate) fn nested(self, granule: u64) -> Self {
        let shift = granule.is_power_of_two().then_some(granule.trailing_zeros());
        Self { granule, shift, origin: self.origin }
    }

    /// Units per granule.
    pub(crate) fn granule(self) -> u64 {
        self.granule
    }

    /// The granule that holds a unit, or `None` below the origin.
    #[inline]
    pub(crate) fn index(self, unit: u64) -> Option<Granule> {
        let offset = unit.checked_sub(self.origin)?;
        let index = match self.shift {
            Some(shift) => offset >> shift,
            None => offset / self.granule,
        };
        (index < MAX_GRANULES).then_some(Granule(index))
    }

    /// The first unit of a granule of the resource.
    #[inline]
    pub(crate) fn unit(self, at: Granule) -> u64 {
        // A granule of a span starts at a unit, so neither step overflows.
        self.origin + at.0 * self.granule
    }

    /// The last unit of a granule of the resource.
    pub(crate) fn last_unit(self, at: Granule) -> u64 {
        self.unit(at) + (self.granule - 1)
    }

    /// The granules of a span.
    pub(crate) fn granules(self, span: Span) -> Result<Granules, Error> {
        let Span { first, last } = span;
        let misaligned = Error::MisalignedSpan { first, last, granule: self.granule };
        let outside = Error::OutsideReach {
            first,
            last,
            reach_first: self.origin,
            reach_last: self.origin.saturating_add((MAX_GRANULES - 1).saturating_mul(self.granule)),
        };
        let (Some(from), Some(to)) = (self.index(first), self.index(last)) else {
            return Err(outside);
        };
        if self.unit(from) != first || self.last_unit(to) != last {
            return Err(misaligned);
        }
        Granules::new(from, to).map_err(|_| outside)
    }

    /// The granules that lie wholly inside a span, if any.
    pub(crate) fn granules_inside(self, span: Span) -> Option<Granules> {
        let first = span.first.saturating_sub(self.origin).div_ceil(self.granule);
        // Of the units up to and with the last one, those that make granules.
        let units = u128::from(span.last.checked_sub(self.origin)?) + 1;
        let last = (units / u128::from(self.granule)).checked_sub(1)?;
        let last = last.min(u128::from(MAX_GRANULES - 1)) as u64;
        Granules::new(Granule(first), Granule(last)).ok()
    }

    /// The granules needed for so many units.
    pub(crate) fn granules_for(self, units: u64) -> u64 {
        units.div_ceil(self.granule)
    }
}

/// The spans of a zone, sorted, disjoint; adjacent ones joined.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    spans: SmallVec<[Granules; 4]>,
}

impl Spans {
    /// The span that shares a granule with `range`, if any.
    pub(crate) fn overlapping(&self, range: Granules) -> Option<Granules> {
        self.spans.iter().copied().find(|span| span.overlaps(range))
    }

    /// Whether every granule of the range is in a span.
    pub(crate) fn covers(&self, range: Granules) -> bool {
        self.spans.iter().any(|span| span.covers(range))
    }

    /// Adds a range that overlaps nothing.
    pub(crate) fn insert(&mut self, range: Granules) {
        let at = self.spans.partition_point(|span| span.first() < range.first());
        self.spans.insert(at, range);
        let mut joined: SmallVec<[Granules; 4]> = SmallVec::new();
        for &span in &self.spans {
            match joined.last_mut() {
                Some(before) if before.last().0 + 1 == span.first().0 => {
                    if let Ok(both) = Granules::new(before.first(), span.last()) {
                        *before = both;
                    }
                }
                _ => joined.push(span),
            }
        }
        self.spans = joined;
    }

    /// Takes out a range that one span covers.
    pub(crate) fn remove(&mut self, range: Granules) {
        let mut rest: SmallVec<[Granules; 4]> = SmallVec::new();
        for &span in &self.spans {
            if !span.overlaps(range) {
                rest.push(span);
                continue;
            }
            let below = range.first().0.checked_sub(1);
            rest.extend(below.and_then(|last| Granules::new(span.first(), Granule(last)).ok()));
            let above = range.last().checked_add(1);
            rest.extend(above.and_then(|first| Granules::new(first, span.last()).ok()));
        }
        self.spans = rest;
    }

    /// The ranges between the spans, before the first and after the last, up to
    /// the last granule there can be.
    pub(crate) fn holes(&self) -> impl Iterator<Item = Granules> + Clone + '_ {
        let firsts = core::iter::once(0).chain(self.spans.iter().map(|span| span.last().0 + 1));
        let ends = self.spans.iter().map(|span| span.first().0);
        firsts.zip(ends.chain(core::iter::once(MAX_GRANULES))).filter_map(|(first, end)| {
            Granules::new(Granule(first), Granule(end.checked_sub(1)?)).ok()
        })
    }

    /// The number of granules.
    pub(crate) fn count(&self) -> u64 {
        self.spans.iter().map(|span| span.count()).sum()
    }

    /// The largest order of a block inside a span.
    pub(crate) fn largest_order(&self) -> Order {
        let blocks = self.spans.iter().flat_map(|span| span.cover());
        blocks.map(Block::order).max().unwrap_or(Order::ZERO)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Granules> {
        self.spans.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn range(first: u64, last: u64) -> Granules {
        Granules::new(Granule(first), Granule(last)).unwrap()
    }

    #[test]
    fn adjacent_spans_join_and_hold_larger_blocks() {
        let mut spans = Spans::default();
        spans.insert(range(64, 127));
        assert_eq!(spans.largest_order().get(), 6);
        spans.insert(range(0, 63));
        assert_eq!(spans.iter().collect::<Vec<_>>(), [range(0, 127)]);
        assert_eq!(spans.largest_order().get(), 7);
        spans.insert(range(200, 300));
        assert_eq!(spans.overlapping(range(128, 199)), None);
        assert_eq!(spans.overlapping(range(150, 200)), Some(range(200, 300)));
        assert!(spans.covers(range(3, 127)) && !spans.covers(range(100, 200)));
        assert_eq!(spans.count(), 128 + 101);
        let holes = [range(128, 199), range(301, MAX_GRANULES - 1)];
        assert_eq!(spans.holes().collect::<Vec<_>>(), holes);
        spans.remove(range(0, 127));
        assert_eq!(spans.holes().next(), Some(range(0, 199)));
    }

    #[test]
    fn the_ends_of_the_address_space_can_be_indexed() {
        let bytes = Units::new(1, 1 << 63).unwrap();
        let top = Span { first: 1 << 63, last: u64::MAX };
        let all = bytes.granules(top).unwrap();
        assert_eq!((all.first(), all.count()), (Granule(0), 1 << 63));
        assert_eq!(bytes.last_unit(all.last()), u64::MAX);

        let frames = Units::new(4096, 0).unwrap();
        let last = frames.granules(Span { first: u64::MAX - 4095, last: u64::MAX }).unwrap();
        assert_eq!(last.count(), 1);
        assert_eq!(frames.last_unit(last.last()), u64::MAX);

        let low = Units::new(1, 0).unwrap();
        let (first, last) = (5, 1 << 63);
        let outside =
            Error::OutsideReach { first, last, reach_first: 0, reach_last: MAX_GRANULES - 1 };
        assert_eq!(low.granules(Span { first, last }), Err(outside));
        assert_eq!(low.index(last - 1), Some(Granule(MAX_GRANULES - 1)));
        assert_eq!(low.index(last), None);
        assert_eq!(Units::new(0, 0).unwrap_err(), Error::NoGranule);
    }

    #[test]
    fn odd_granules_convert() {
        let units = Units::new(12, 0).unwrap();
        assert_eq!(units.index(35), Some(Granule(2)));
        assert_eq!((units.unit(Granule(2)), units.last_unit(Granule(2))), (24, 35));
        assert_eq!(units.granules_for(25), 3);
        let inside = |first, last| units.granules_inside(Span { first, last });
        assert_eq!(inside(1, 47), Some(range(1, 3)));
        assert_eq!(inside(1, 46), Some(range(1, 2)));
        assert_eq!((inside(1, 22), inside(0, 10)), (None, None));
        let all =
            Units::new(1, 1 << 63).unwrap().granules_inside(Span { first: 5, last: u64::MAX });
        assert_eq!(all, Some(range(0, MAX_GRANULES - 1)));
        let reach = Units::new(1, 0).unwrap().granules_inside(Span { first: 5, last: u64::MAX });
        assert_eq!(reach, Some(range(5, MAX_GRANULES - 1)), "what lies above has no granule");
        assert!(units.granules(Span { first: 12, last: 34 }).is_err());
    }
}
