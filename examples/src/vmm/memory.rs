//! How much memory there is to lend.

use std::fs;
use std::path::Path;

/// Bytes that can be used without swapping: what the system calls available,
/// and what the control group leaves, whichever is less. `None` where neither
/// is told.
pub(super) fn available() -> Option<u64> {
    let system = fs::read_to_string("/proc/meminfo").ok().and_then(|text| from_meminfo(&text));
    let group = left_in_group(Path::new("/sys/fs/cgroup"));
    [system, group].into_iter().flatten().min()
}

fn from_meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// The limit less the use; "max" is no number, so no limit.
fn left_in_group(group: &Path) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse().ok();
    let limit: u64 = number("memory.max")?;
    Some(limit.saturating_sub(number("memory.current").unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn meminfo_is_read_in_kibibytes() {
        let text = "MemTotal:  100 kB\nMemAvailable:     12 kB\n";
        assert_eq!(super::from_meminfo(text), Some(12 << 10));
        assert_eq!(super::from_meminfo("MemFree: 1 kB"), None);
    }
}
