//! potad's zone as a source of free blocks.
//!
//! The whole of what ties the two crates together: two calls, and the zone's
//! addresses. `potad` knows nothing of this crate.

use crate::range::{ByteRange, Outcome};
use crate::source::{Age, Cursor, IsolatedBlock, Progress, ReportSource, Want};
use memdesc::{Granule, Order};
use potad::{HostSays, Isolated, Wanted, Zone};
use smallvec::SmallVec;

/// The cursor of a zone's pass that has ended.
const END: Granule = Granule(u64::MAX);

/// A zone, as a reporter sees it.
///
/// ```
/// use potad::{Potad, Resource, memdesc::Order};
/// use potad_reporting::backend::Recording;
/// use potad_reporting::{Policy, Reporter, State, ZoneSource};
///
/// let potad = Potad::new();
/// let ram = potad.register(Resource::new("ram").granule(4096).span(0..64 << 20))?;
/// let page = ram.alloc_bare(Order::ZERO)?;
/// let source = ZoneSource::attach(ram.clone(), Order::new(9)?)?;
/// let mut reporter = Reporter::new(&source, Recording::new(), Policy::eager())?;
/// while reporter.step(0).state == State::Active {}
/// // All but the 2 MiB around the page in use.
/// assert_eq!(ram.reported_granules() * 4096, 62 << 20);
/// ram.free_bare(page)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ZoneSource {
    zone: Zone,
}

impl ZoneSource {
    /// Gets the zone ready for reports in multiples of `granule`; refused if a
    /// reporter is attached already.
    pub fn attach(zone: Zone, granule: Order) -> Result<Self, potad::Error> {
        zone.attach_reporter(granule)?;
        Ok(Self { zone })
    }

    /// As [`attach`](Self::attach), for memory that nobody has touched yet (a
    /// fresh mapping, a sparse file): it is not there, so it is known as reported
    /// and zeroed from the start, and nothing is reported that was never used.
    ///
    /// ```
    /// use potad::{Content, Potad, Resource, memdesc::Order};
    /// use potad_reporting::backend::Recording;
    /// use potad_reporting::{Policy, Reporter, State, ZoneSource};
    ///
    /// let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..64 << 20))?;
    /// let source = ZoneSource::attach_absent(ram.clone(), Order::new(4)?)?;
    /// let (page, content) = ram.alloc_bare_telling(Order::ZERO)?;
    /// assert_eq!(content, Content::Zero);
    /// ram.free_bare(page)?;
    /// let mut reporter = Reporter::new(&source, Recording::new(), Policy::eager())?;
    /// while reporter.step(0).state == State::Active {}
    /// // Only what was used around the page.
    /// assert!(reporter.stats().reported_bytes() <= 64 << 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attach_absent(zone: Zone, granule: Order) -> Result<Self, potad::Error> {
        let source = Self::attach(zone, granule)?;
        for span in source.zone.spans() {
            Self::note_absent(&source.zone, span.first, span.last);
        }
        Ok(source)
    }

    /// Notes that what is free of units `first..=last` is not there and reads as
    /// zeros: memory just added, that nobody has touched yet. (A free block that
    /// reaches past the range is left as it is.)
    pub fn note_absent(zone: &Zone, first: u64, last: u64) {
        let (Ok(mut cursor), Ok(last)) = (zone.granule_at(first), zone.granule_at(last)) else {
            return;
        };
        let granule = zone.report_order().unwrap_or(Order::ZERO);
        let wanted = Wanted {
            min_order: granule,
            max_order: Order::MAX,
            seen_before: false,
            patient: false,
            spare: 0,
        };
        let mut blocks: SmallVec<[Isolated; 32]> = SmallVec::new();
        while cursor <= last {
            let out = &mut |isolated| blocks.push(isolated);
            zone.isolate_many(&mut cursor, &wanted, 32, u64::MAX, out);
            let said = blocks.drain(..).map(|isolated| {
                let is_inside = isolated.block().last() <= last;
                (isolated, if is_inside { HostSays::Zeroed } else { HostSays::Nothing })
            });
            zone.put_back_many(said);
        }
    }

    /// The free ranges of at least `min` granules (a power of two) in address
    /// order, adjacent ones joined, each with whether the host has taken all of
    /// it back: what a snapshot or a migration may leave out.
    ///
    /// True for one moment of the call: what is free may be taken right after.
    /// Whoever needs it to stay free takes it out, by
    /// [`Reporter::hold`](crate::Reporter::hold).
    ///
    /// ```
    /// # use potad::{Potad, Resource, memdesc::Order};
    /// # use potad_reporting::{ByteRange, ZoneSource};
    /// let potad = Potad::new();
    /// let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 20))?;
    /// let source = ZoneSource::attach(ram.clone(), Order::ZERO)?;
    /// let used = ram.alloc_at(0x4000..0x5000)?;
    /// let free: Vec<_> = source.free_ranges(Order::ZERO).collect();
    /// let range = |first, end| ByteRange::new(first, end - first).unwrap();
    /// assert_eq!(free, [(range(0, 0x4000), false), (range(0x5000, 1 << 20), false)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn free_ranges(&self, min: Order) -> impl Iterator<Item = (ByteRange, bool)> + use<'_> {
        let granule = self.zone.granule();
        let blocks = self.zone.free_blocks().into_iter().filter(move |block| block.order() >= min);
        let mut ranges = blocks.filter_map(move |block| {
            let bytes = block.order().granules().saturating_mul(granule);
            let range = ByteRange::new(self.zone.address_of(block.base()), bytes)?;
            Some((range, self.zone.is_reported(block)))
        });
        let mut open = ranges.next();
        core::iter::from_fn(move || {
            let (mut range, is_reported) = open.take()?;
            loop {
                open = ranges.next();
                let Some((next, also)) = open else { break };
                match range.joined(next) {
                    Some(joined) if also == is_reported => range = joined,
                    _ => break,
                }
            }
            Some((range, is_reported))
        })
    }

    /// The zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }
}

/// A block of a zone, isolated.
#[derive(Debug)]
pub struct ZoneBlock {
    isolated: Isolated,
    range: ByteRange,
}

impl IsolatedBlock for ZoneBlock {
    fn range(&self) -> ByteRange {
        self.range
    }

    fn order(&self) -> Order {
        self.isolated.block().order()
    }
}

impl ReportSource for ZoneSource {
    type Block = ZoneBlock;

    fn isolate(
        &self,
        cursor: &mut Cursor,
        want: &Want,
        room: usize,
        out: &mut impl FnMut(ZoneBlock),
    ) -> Progress {
        let granule = self.granule_bytes();
        let mut wanted = Wanted {
            min_order: want.min_order,
            max_order: want.max_order,
            seen_before: want.age == Age::Seen,
            patient: want.patient,
            spare: want.spare_bytes.saturating_sub(cursor.spared).div_ceil(granule),
        };
        let mut granules = (want.max_bytes / granule).max(1);
        if want.leave_bytes > 0 {
            // Enough for what is left, and for all that this call could take.
            let leave = want.leave_bytes.div_ceil(granule);
            let free = self.zone.free_granules_up_to(leave.saturating_add(granules));
            granules = free.saturating_sub(leave);
            if granules < wanted.min_order.granules() {
                return Progress::Pressure;
            }
            // Not even the first block may be larger.
            let most = Order::new(granules.ilog2()).unwrap_or(wanted.max_order);
            wanted.max_order = wanted.max_order.min(most);
        }
        let mut at = Granule(cursor.position);
        let spared = self.zone.isolate_many(&mut at, &wanted, room, granules, &mut |isolated| {
            let block = isolated.block();
            let first = self.zone.address_of(block.base());
            let length = block.order().granules().saturating_mul(granule);
            match ByteRange::new(first, length) {
                Some(range) => out(ZoneBlock { isolated, range }),
                None => self.back(isolated, HostSays::Nothing),
            }
        });
        cursor.spared = cursor.spared.saturating_add(spared.saturating_mul(granule));
        if at == END {
            *cursor = Cursor::default();
            return Progress::EndOfPass;
        }
        cursor.position = at.0;
        Progress::More
    }

    fn put_back(&self, block: ZoneBlock, outcome: Outcome) {
        self.back(block.isolated, says(outcome));
    }

    fn put_back_all(&self, blocks: impl IntoIterator<Item = (ZoneBlock, Outcome)>) {
        let blocks = blocks.into_iter().map(|(block, outcome)| (block.isolated, says(outcome)));
        let foreign = self.zone.put_back_many(blocks);
        debug_assert_eq!(foreign, 0, "tokens of this zone");
    }

    fn flush(&self) {
        self.zone.flush_hands();
    }

    fn dirty_bytes(&self) -> u64 {
        // What hands hold is not counted, and could not be isolated; what they keep
        // whole is to be.
        self.zone.give_back_reportable();
        let granules = self.zone.free_granules().saturating_sub(self.zone.reported_granules());
        granules.saturating_mul(self.granule_bytes())
    }

    fn refaulted_bytes(&self) -> u64 {
        self.zone.refaulted_granules().saturating_mul(self.granule_bytes())
    }

    fn premature_bytes(&self) -> u64 {
        self.zone.premature_granules().saturating_mul(self.granule_bytes())
    }

    fn reported_bytes(&self) -> u64 {
        self.zone.reported_granules().saturating_mul(self.granule_bytes())
    }

    fn begin_pass(&self) {
        self.zone.age_reports();
    }

    fn granule_bytes(&self) -> u64 {
        self.zone.granule()
    }
}

impl ZoneSource {
    fn back(&self, isolated: Isolated, says: HostSays) {
        let put = self.zone.put_back(isolated, says);
        debug_assert!(put.is_ok(), "a token of this zone");
    }
}

fn says(outcome: Outcome) -> HostSays {
    match outcome {
        Outcome::ReportedZeroed => HostSays::Zeroed,
        outcome if outcome.is_reported() => HostSays::Reported,
        _ => HostSays::Nothing,
    }
}
