//! Indexes of all depths, and what is noted of them.

use super::*;
use alloc::vec::Vec;
use memdesc::sync::atomic::Ordering::Relaxed;
use memdesc::{Immediate, Order, OwnerId, Subtype};

#[test]
fn every_index_has_its_own_word() {
    let sparse = Sparse::default();
    let mut indexes: Vec<u64> = (0..45).flat_map(|bit| [1 << bit, (1 << bit) - 1]).collect();
    indexes.push((1 << 45) - 1);
    indexes.sort_unstable();
    indexes.dedup();
    let word_of = |at: usize| {
        let owner = OwnerId(u16::try_from(at).unwrap());
        Immediate::new(Subtype::Raw, owner, Order::ZERO).pack()
    };
    for (at, &index) in indexes.iter().enumerate() {
        assert!(index < 1 << 9 || sparse.group(index).is_none() || at > 0);
        let group = sparse.group_or_make(index).unwrap();
        group[(index & 63) as usize].store(word_of(at), Relaxed);
    }
    for (at, &index) in indexes.iter().enumerate() {
        let group = sparse.group(index).unwrap();
        assert_eq!(group[(index & 63) as usize].load(Relaxed), word_of(at));
    }
    let mut seen = Vec::new();
    let mut from = 0;
    while let Some((first, group)) = sparse.next_group(from, u64::MAX) {
        let used = (0..64).filter(|&at| !group[at as usize].load(Relaxed).is_empty());
        seen.extend(used.map(|at| first + at));
        from = first + 64;
    }
    assert_eq!(seen, indexes);
    assert!(sparse.next_group(indexes[7] + 64, indexes[8].next_multiple_of(64) - 64).is_none());
    assert!(!sparse.is_unused());
    for &index in &indexes {
        sparse.forget(index, index);
    }
    assert!(sparse.next_group(0, u64::MAX).is_none());
    assert!(sparse.is_unused(), "what was noted was counted, and taken back once");
    sparse.forget(indexes[0], indexes[0]);
    assert!(sparse.is_unused());
    sparse.group_or_make(indexes[0]);
    sparse.group_or_make(indexes[0]);
    assert!(!sparse.is_unused());
    sparse.forget(indexes[0], indexes[0]);
    assert!(sparse.is_unused());
}

#[test]
fn what_is_taken_back_is_not_looked_at_again() {
    let sparse = Sparse::default();
    let in_use = |from, last| sparse.next_group(from, last).map(|(first, _)| first);
    // Two groups of one last table, one of the next, one of a root's own.
    for index in [5, 512, 700, 1024] {
        sparse.group_or_make(index).unwrap();
    }
    assert_eq!(sparse.tables(), 1 + (1 + 2), "two roots, and two below the second");
    let noted = |at: usize| sparse.1.get().unwrap().used[at].load(Relaxed);
    sparse.forget(512, 575);
    assert_eq!(noted(0), 0b110, "a part of a table");
    assert_eq!(in_use(6, 2000), Some(0));
    assert_eq!(in_use(64, 2000), Some(640));
    sparse.forget(512, 1023);
    assert_eq!(noted(0), 0b100, "all of it");
    assert_eq!(in_use(64, 2000), Some(1024));
    sparse.group_or_make(1023).unwrap();
    assert_eq!((noted(0), in_use(64, 2000)), (0b110, Some(960)));
    assert!(!sparse.is_unused());
    sparse.forget(0, (1 << 18) - 1);
    assert!(sparse.is_unused());
    assert_eq!((noted(0), in_use(0, u64::MAX)), (0, None));
}

#[test]
fn the_next_group_is_the_first_noted_one_of_the_range() {
    let children = [1, 2, 63, 64, 65, 200, 511];
    let mut noted: Vec<u64> = [0, 1, 5, 7].map(|group| group * 64).into();
    noted.extend(children.iter().flat_map(|child| [child << 9, child << 9 | 320]));
    noted.extend(children.iter().flat_map(|child| [child << 18 | 64, child << 18 | 511 << 9]));
    noted.push(1 << 36);
    let sparse = Sparse::default();
    for &first in noted.iter().rev() {
        sparse.group_or_make(first + 7).unwrap();
    }
    let near = |&first: &u64| [first, first + 1, first + 63, first + 64, first.max(1) - 1];
    let mut ends: Vec<u64> = noted.iter().flat_map(near).collect();
    ends.extend([511, 512, (1 << 18) - 1, 1 << 18, (1 << 27) - 1, 1 << 27, 1 << 45, u64::MAX]);
    for (&from, &last) in ends.iter().flat_map(|from| ends.iter().map(move |last| (from, last))) {
        if from <= last {
            let is_next = |&&first: &&u64| first + 63 >= from && first <= last;
            let next = sparse.next_group(from, last).map(|(first, _)| first);
            assert_eq!(next.as_ref(), noted.iter().find(is_next), "{from:#x}..={last:#x}");
        }
    }
    let (first, group) = sparse.next_group(130, 1 << 9).unwrap();
    assert!(core::ptr::eq(group, sparse.group(first).unwrap()));
}

/// The parts of a range are all of it, once and in order, each of one depth.
#[test]
fn a_range_is_parted_by_depths_without_a_gap() {
    let edges = (0..=DEPTHS).map(|deep| 1_u64 << (BITS * deep).min(62));
    let edges: Vec<_> = edges.flat_map(|edge| [edge - 1, edge, edge + 1]).collect();
    for (&from, &last) in edges.iter().flat_map(|from| edges.iter().map(move |o| (from, o))) {
        if from > last || depth(last) >= DEPTHS {
            continue;
        }
        let (mut next, mut deepest) = (from, None);
        for (deep, first, end) in by_depth(from, last) {
            assert_eq!(first, next, "{from:#x}..={last:#x}");
            assert!(first <= end && depth(first) == deep && depth(end) == deep);
            assert!(deepest < Some(deep), "each once");
            (next, deepest) = (end + 1, Some(deep));
        }
        assert_eq!(next, last + 1, "{from:#x}..={last:#x}");
    }
}
