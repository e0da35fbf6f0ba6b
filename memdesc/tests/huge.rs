//! The pool, once it is large: one test, for the pool is the process's.

#![cfg(all(target_os = "linux", target_arch = "x86_64", not(miri)))]

use potad_memdesc::sync::atomic::AtomicU64;
use potad_memdesc::{Lines, PageBox, pool_pages};
use std::fs::read_to_string;
use std::ops::Range;
use std::path::Path;

type Table = Lines<AtomicU64, 512>;

/// Where this process has said that it likes huge pages; `None` where the kernel
/// does not tell.
fn said_huge() -> Option<Vec<Range<usize>>> {
    let told = Path::new("/sys/kernel/mm/transparent_hugepage").exists();
    let maps = read_to_string("/proc/self/smaps").ok().filter(|_| told)?;
    let (mut range, mut huge) = (0..0, Vec::new());
    for line in maps.lines() {
        let (first, rest) = line.split_once(' ')?;
        let bounds = first.split_once('-').map(|(low, high)| [low, high]);
        let bounds = bounds.map(|ends| ends.map(|end| usize::from_str_radix(end, 16)));
        match bounds {
            Some([Ok(low), Ok(high)]) => range = low..high,
            _ if first == "VmFlags:" && rest.split(' ').any(|flag| flag == "hg") => {
                huge.push(range.clone());
            }
            _ => {}
        }
    }
    Some(huge)
}

/// A block as large as all before it is the first that asks, and does so for all
/// of it.
#[test]
fn what_makes_a_large_pool_larger_asks_for_huge_pages() {
    let tables: Vec<_> = (0..1024).map(|_| PageBox::<Table>::zeroed().unwrap()).collect();
    assert_eq!(pool_pages(), (1024, 1024));
    let Some(huge) = said_huge() else { return };
    let is_huge = |at: usize| huge.iter().any(|range| range.contains(&at));
    let huge = tables.iter().filter(|table| is_huge(std::ptr::from_ref(&***table).addr()));
    assert_eq!(huge.count(), 512);
}
