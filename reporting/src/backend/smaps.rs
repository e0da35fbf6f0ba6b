//! What the kernel says a mapping is.
//!
//! `/proc/self/smaps` has a line per mapping and lines of details below it:
//!
//! ```text
//! 7f5d1c000000-7f5d1c400000 rw-p 00000000 00:00 0
//! KernelPageSize:        4 kB
//! VmFlags: rd wr mr mw me ac sd
//! ```
//!
//! The fourth letter says private or shared, the inode (fifth field) whether a
//! file is behind it, the flags whether it is locked (`lo`), of huge pages
//! (`ht`) or not memory at all (`pf`, `io`). Reading it makes the kernel walk
//! the page tables once: for construction, not for each call.

use crate::range::ByteRange;
use std::vec::Vec;

/// One mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) at: ByteRange,
    pub(super) is_private: bool,
    pub(super) is_anonymous: bool,
    pub(super) is_locked: bool,
    pub(super) is_device: bool,
    pub(super) page_bytes: u64,
}

/// The mappings, by address; lines that make no sense are passed over, so that
/// what they describe counts as not mapped.
pub(super) fn parse(text: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        if let Some(mapping) = head(line) {
            mappings.push(mapping);
        } else if let Some(open) = mappings.last_mut() {
            detail(open, line);
        }
    }
    mappings
}

fn head(line: &str) -> Option<Mapping> {
    let mut fields = line.split_ascii_whitespace();
    let (first, end) = fields.next()?.split_once('-')?;
    let first = u64::from_str_radix(first, 16).ok()?;
    let end = u64::from_str_radix(end, 16).ok()?;
    let letters = fields.next()?.as_bytes();
    let inode = fields.nth(2)?;
    Some(Mapping {
        at: ByteRange::new(first, end.checked_sub(first)?)?,
        is_private: letters.get(3) == Some(&b'p'),
        is_anonymous: inode == "0",
        is_locked: false,
        is_device: false,
        page_bytes: 0,
    })
}

fn detail(mapping: &mut Mapping, line: &str) {
    let Some((name, value)) = line.split_once(':') else {
        return;
    };
    match name {
        "KernelPageSize" => {
            let kilobytes = value.trim().strip_suffix(" kB").unwrap_or("0");
            mapping.page_bytes =
                kilobytes.trim().parse().map_or(0, |kilobytes: u64| kilobytes << 10);
        }
        "VmFlags" => {
            for flag in value.split_ascii_whitespace() {
                mapping.is_locked |= flag == "lo";
                mapping.is_device |= flag == "pf" || flag == "io";
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
7f5d1c000000-7f5d1c400000 rw-p 00000000 00:00 0 \n\
Size:               4096 kB\n\
KernelPageSize:        4 kB\n\
VmFlags: rd wr mr mw me ac lo\n\
7f5d1d000000-7f5d1d200000 rw-s 00000000 00:01 1052                       /memfd:guest (deleted)\n\
KernelPageSize:     2048 kB\n\
VmFlags: rd wr sh mr mw me ms ht\n\
nonsense\n\
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n\
VmFlags: ex io\n";

    #[test]
    fn mappings_are_read_with_their_details() {
        let mappings = parse(TEXT);
        assert_eq!(mappings.len(), 3);
        let anonymous = mappings[0];
        assert_eq!(anonymous.at, ByteRange::new(0x7f5d_1c00_0000, 4 << 20).unwrap());
        assert!(anonymous.is_private && anonymous.is_anonymous && anonymous.is_locked);
        assert_eq!(anonymous.page_bytes, 4096);
        let shared = mappings[1];
        assert!(!shared.is_private && !shared.is_anonymous && !shared.is_locked);
        assert_eq!(shared.page_bytes, 2 << 20);
        assert!(mappings[2].is_device);
    }

    #[test]
    fn ours_are_found() {
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let here = core::ptr::from_ref(&text).addr() as u64;
        let here = ByteRange::new(here, 1).unwrap();
        let stack = parse(&text).into_iter().find(|mapping| mapping.at.contains(here)).unwrap();
        assert!(stack.is_private && stack.is_anonymous && !stack.is_device);
        assert!(stack.page_bytes.is_power_of_two());
    }
}
