//! A resource of slots on a driver of bytes.
//!
//! A swap file's resource counts slots, its back end bytes: this multiplies on
//! the way down.

use crate::Control;
use crate::driver::{Caps, Fault, Report, Reset, Stop};
use crate::range::{ByteRange, Outcome, Range, Ticket};
use smallvec::SmallVec;

/// A driver whose every unit is `slot_bytes` bytes of another's.
///
/// ```
/// use potad_reporting::backend::{Recording, Slots};
/// use potad_reporting::{ByteRange, Control, Outcome, Range, Report, Ticket};
///
/// let mut driver = Slots::new(Recording::new(), 4096).unwrap();
/// let range = Range { at: ByteRange::new(3, 2).unwrap(), ticket: Ticket(0) };
/// let mut outcomes = [Outcome::NotTried];
/// driver.report(&[range], &mut outcomes, &Control::new())?;
/// let below = driver.driver().calls()[0][0].at;
/// assert_eq!((below.first(), below.bytes()), (3 * 4096, 2 * 4096));
/// # Ok::<(), potad_reporting::Stop>(())
/// ```
#[derive(Debug)]
pub struct Slots<D> {
    driver: D,
    slot_bytes: u64,
    last_fault: Option<Fault>,
}

impl<D: Report> Slots<D> {
    /// Slots of so many bytes each; `None` for 0.
    pub fn new(driver: D, slot_bytes: u64) -> Option<Self> {
        (slot_bytes != 0).then_some(Self { driver, slot_bytes, last_fault: None })
    }

    /// The driver of bytes.
    pub fn driver(&self) -> &D {
        &self.driver
    }
}

impl<D: Report> Report for Slots<D> {
    fn caps(&self) -> Caps {
        let caps = self.driver.caps();
        let (align, slot) = (caps.align, self.slot_bytes);
        // A slot that is no multiple of the alignment, nor divides it, must be
        // aligned to all of it.
        let align = match align.is_multiple_of(slot) {
            true => align / slot,
            false if slot.is_multiple_of(align) => 1,
            false => align,
        };
        Caps {
            min_bytes: caps.min_bytes.div_ceil(slot).max(1),
            max_bytes: (caps.max_bytes / slot).max(1),
            align,
            ..caps
        }
    }

    fn report(
        &mut self,
        ranges: &[Range],
        outcomes: &mut [Outcome],
        control: &Control,
    ) -> Result<(), Stop> {
        let mut below: SmallVec<[Range; 32]> = SmallVec::with_capacity(ranges.len());
        for range in ranges {
            let first = range.at.first().checked_mul(self.slot_bytes);
            let bytes = range.at.bytes().checked_mul(self.slot_bytes);
            let at = first.zip(bytes).and_then(|(first, bytes)| ByteRange::new(first, bytes));
            let Some(at) = at else { break };
            below.push(Range { at, ..*range });
        }
        let (now, beyond) = outcomes.split_at_mut(below.len());
        if !beyond.is_empty() {
            // From the first that is beyond all bytes on: one by one next time.
            beyond[0] = Outcome::Failed;
            self.last_fault = Some(Fault::Driver("a slot beyond all bytes"));
        }
        if below.is_empty() {
            return Ok(());
        }
        self.driver.report(&below, now, control)
    }

    fn complete(&mut self, done: &mut dyn FnMut(Ticket, Outcome)) -> Result<(), Stop> {
        self.driver.complete(done)
    }

    fn reset(&mut self) -> Reset {
        self.driver.reset()
    }

    fn last_fault(&self) -> Option<Fault> {
        self.driver.last_fault().or(self.last_fault)
    }
}
