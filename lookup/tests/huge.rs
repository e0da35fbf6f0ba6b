//! What a large map of ranges asks the system for: one test, for the flags are the process's.

#![cfg(all(target_os = "linux", not(miri)))]

use potad_lookup::{Addresses, Pages, Payload, Ranges};
use std::fs::read_to_string;
use std::path::Path;

/// Bytes of this process that are said to like huge pages; `None` where the kernel does
/// not tell.
fn said_huge() -> Option<u64> {
    let told = Path::new("/sys/kernel/mm/transparent_hugepage").exists();
    let maps = read_to_string("/proc/self/smaps").ok().filter(|_| told)?;
    let (mut kib, mut huge) = (0, 0);
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Size:") => kib = words.next()?.parse().ok()?,
            Some("VmFlags:") if words.any(|flag| flag == "hg") => huge += kib,
            _ => {}
        }
    }
    Some(huge * 1024)
}

fn large(pages: Pages) -> Ranges<Payload> {
    let ranges = (0..600_000).map(|at| (Addresses::starting(at * 16, 9).unwrap(), 7.into()));
    Ranges::from_sorted_with(pages, ranges).unwrap()
}

/// Blocks of less than 2 MiB come first, 2 MiB in all.
#[test]
fn a_large_map_asks_for_huge_pages_if_it_is_to() {
    const BLOCK: u64 = 2 << 20;
    let Some(before) = said_huge() else { return };
    let any = large(Pages::Any);
    assert!(any.bytes() as u64 > 4 * BLOCK, "{}", any.bytes());
    assert_eq!(said_huge(), Some(before));
    let huge = large(Pages::Huge);
    assert_eq!(huge.bytes(), any.bytes());
    assert_eq!(said_huge(), Some(before + (huge.bytes() as u64 / BLOCK - 1) * BLOCK));
}
