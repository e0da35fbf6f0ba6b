//! The summary as a person reads it.

use super::summary::{Status, Summary};
use core::fmt;

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.work(f)?;
        self.shape(f)?;
        self.proofs(f)?;
        self.memory(f)?;
        match &self.details.status {
            Status::Sound => write!(f, "result    sound: everything is back, both zones validate"),
            Status::Interrupted => {
                write!(f, "result    interrupted: everything is back, both zones validate")
            }
            Status::Device(why) => write!(f, "result    device failed: {why}"),
            Status::Broken(why) => write!(f, "result    BROKEN: {why}"),
        }
    }
}

impl Summary {
    fn work(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = &self.details;
        let (done, of) = details.records;
        let rate = done as f64 / self.seconds.max(1e-9);
        writeln!(f, "trace     {}", self.trace)?;
        writeln!(
            f,
            "replay    {done} of {of} records by {} guests in {:.2} s: {} records/s",
            self.guests,
            self.seconds,
            thousands(rate as u64)
        )?;
        writeln!(
            f,
            "blocks    {} allocated, {} freed, {} splits, {} moves, {} failed ({} waited for memory)",
            thousands(self.allocations),
            thousands(self.frees),
            thousands(details.splits),
            thousands(details.moves),
            self.failed_allocations,
            details.pressure
        )?;
        write!(f, "kinds    ")?;
        for (name, count) in &self.kinds {
            write!(f, " {name} {}", thousands(*count))?;
        }
        writeln!(f)
    }

    fn shape(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = &self.details;
        let most = details.orders.iter().copied().max().unwrap_or(0).max(1);
        writeln!(f, "orders    size: allocations")?;
        for (order, count) in (0u32..).zip(details.orders).filter(|(_, count)| *count != 0) {
            let size = bytes(u128::from(details.granule) << order);
            // At least one mark: one block of 2 MiB matters as well.
            let marks = (40 * count).div_ceil(most) as usize;
            writeln!(f, "  {order:>4} {size:>10} {:>12} {}", thousands(count), "#".repeat(marks))?;
        }
        writeln!(f, "free blocks per order, from 0")?;
        writeln!(f, "  guests at work  {}", details.at_end)?;
        writeln!(f, "  all freed       {}", details.at_last)?;
        let stats = &details.at_end;
        let share = |part: f64| 100.0 * part;
        writeln!(
            f,
            "fragments {} free in {} runs, {:.1} % of it outside the longest; {:.1} % useless for order 9",
            bytes(u128::from(stats.free) * u128::from(details.granule)),
            thousands(stats.free_runs),
            share(stats.fragmentation()),
            share(potad::memdesc::Order::new(9).map_or(0.0, |order| stats.unusable(order)))
        )
    }

    fn proofs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = &self.details;
        writeln!(
            f,
            "lookups   {}, {} of them held against a guest: {} wrong; {} contents wrong",
            thousands(self.lookups),
            thousands(details.checked_lookups),
            self.lookup_mismatches,
            self.content_mismatches
        )?;
        let failures = &self.memory_failures;
        let (free, used, transit) = details.failed_as;
        writeln!(
            f,
            "failures  {} granules ({free} free, {used} used, {transit} aimed at a block being freed): {} owners told, {} quarantined, {} lost",
            failures.injected, failures.owner_notified, failures.quarantined, failures.lost
        )?;
        let swap = &self.swap;
        writeln!(
            f,
            "swap      {} slots allocated, {} freed, {} written, {} verified",
            thousands(swap.slots_allocated),
            thousands(swap.slots_freed),
            bytes(swap.bytes_written.into()),
            bytes(swap.bytes_verified.into())
        )
    }

    fn memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let details = &self.details;
        let (all, plugged) = details.bytes;
        writeln!(
            f,
            "resource  {} in two spans with a hole between, {} of it hot-added; tables: forest {}, lookup {}",
            bytes(all.into()),
            bytes(plugged.into()),
            bytes(details.at_end.forest_bytes.into()),
            bytes(details.at_end.lookup_bytes.into())
        )?;
        writeln!(
            f,
            "resident  at most {}; all freed {}; after the final report {}; {} reported in all, in {} blocks",
            bytes(details.resident_peak.into()),
            bytes(self.resident_bytes_before_report.into()),
            bytes(self.resident_bytes_after_report.into()),
            bytes(self.reported_bytes.into()),
            thousands(details.reported_blocks)
        )?;
        write!(f, "{}", details.map.history())
    }
}

/// `1234567` as `1,234,567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let groups = tail.as_bytes().chunks(3).map(String::from_utf8_lossy);
    let head = (!head.is_empty()).then(|| head.into());
    head.into_iter().chain(groups).collect::<Vec<_>>().join(",")
}

fn bytes(number: u128) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut value = number as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 100.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_scaled() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(thousands(12_345_678), "12,345,678");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 40), "3.0 TiB");
    }
}
