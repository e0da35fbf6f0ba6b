//! The pages of an arena: never touched, resident, or gone.

use reporting::{Caps, Control, Outcome, Range, Report, Stop};
use std::cell::RefCell;
use std::rc::Rc;

/// What a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Untouched,
    Resident,
    /// Since this time.
    Gone(u64),
}

/// What was counted; times are nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Pages times nanoseconds.
    pub(super) returned: u128,
    /// Pages that were touched while they were gone.
    pub(super) refaulted: u64,
    /// Resident pages that were reported.
    pub(super) reported: u64,
}

/// The pages, and the time.
#[derive(Debug)]
pub(super) struct Pages {
    pages: Vec<Page>,
    pub(super) now: u64,
    pub(super) counts: Counts,
    /// Pages that have memory.
    pub(super) resident: u64,
}

impl Pages {
    pub(super) fn new(pages: u64) -> Self {
        let pages = vec![Page::Untouched; pages as usize];
        Self { pages, now: 0, counts: Counts::default(), resident: 0 }
    }

    /// Somebody uses the page.
    pub(super) fn touch(&mut self, page: u64) {
        let now = self.now;
        let Some(page) = self.pages.get_mut(page as usize) else { return };
        if let Page::Gone(since) = *page {
            self.counts.returned += u128::from(now.saturating_sub(since));
            self.counts.refaulted += 1;
        }
        self.resident += u64::from(*page != Page::Resident);
        *page = Page::Resident;
    }

    /// The page's memory went at `since`, if it had any.
    pub(super) fn take_back(&mut self, page: u64, since: u64) {
        let Some(page) = self.pages.get_mut(page as usize) else { return };
        if *page == Page::Resident {
            *page = Page::Gone(since);
            self.counts.reported += 1;
            self.resident -= 1;
        }
    }

    /// The counts, everything that is gone counted up to `end`.
    pub(super) fn at_end(&self, end: u64) -> Counts {
        let mut counts = self.counts;
        for page in &self.pages {
            if let Page::Gone(since) = page {
                counts.returned += u128::from(end.saturating_sub(*since));
            }
        }
        counts
    }
}

/// A driver that takes pages back in the table.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) pages: Rc<RefCell<Pages>>,
    pub(super) page_bytes: u64,
}

impl Report for Ledger {
    fn caps(&self) -> Caps {
        Caps { min_bytes: self.page_bytes, align: self.page_bytes, ..Caps::DEFAULT }
    }

    fn report(
        &mut self,
        ranges: &[Range],
        outcomes: &mut [Outcome],
        _: &Control,
    ) -> Result<(), Stop> {
        let mut pages = self.pages.borrow_mut();
        let now = pages.now;
        for range in ranges {
            let first = range.at.first() / self.page_bytes;
            let last = range.at.last() / self.page_bytes;
            (first..=last).for_each(|page| pages.take_back(page, now));
        }
        outcomes.fill(Outcome::ReportedZeroed);
        Ok(())
    }
}
