use super::*;
use alloc::vec::Vec;

#[test]
fn an_absent_word_is_zero_and_an_installed_one_stays() {
    let words = Words::default();
    let edges = [0, 511, 512, (1 << 18) - 1, 1 << 18, (1 << 36) + 7, (1 << 57) - 1];
    for (value, index) in (1..).zip(edges) {
        assert_eq!(words.load(index), 0);
        words.install(index).unwrap().store(value, memdesc::sync::atomic::Ordering::Relaxed);
    }
    for (value, index) in (1..).zip(edges) {
        assert_eq!(words.load(index), value, "word {index:#x}");
    }
    assert!(words.bytes() >= 7 * 4096);
    assert_eq!(words.install(u64::MAX).map(|_| ()), Err(OutOfMemory));
}

/// In tables all of it; near all of it; near as far as chunk 5.
#[cfg(not(any(loom, shuttle)))]
fn of_seven_chunks() -> [Words; 3] {
    let fan = FAN as u64;
    let arrays = [Words::default(), Words::up_to(7 * fan, 7 * fan), Words::up_to(fan, 5 * fan)];
    let has_near =
        [1, 5 * fan, 5 * fan - 1].map(|at| arrays.each_ref().map(|w| w.get_near(at).is_some()));
    assert_eq!(has_near, [[false, true, true], [false, true, false], [false, true, true]]);
    arrays
}

#[cfg(not(any(loom, shuttle)))]
#[test]
fn a_visit_meets_what_is_present_between_its_ends() {
    of_seven_chunks().iter().for_each(visits);
}

#[cfg(not(any(loom, shuttle)))]
fn visits(words: &Words) {
    let fan = FAN as u64;
    let present: Vec<u64> =
        [0, 1, 5, 6].into_iter().flat_map(|at| at * fan..(at + 1) * fan).collect();
    for index in [fan - 1, fan + 1, 5 * fan, 7 * fan - 1] {
        words.install(index).unwrap();
    }
    let ends = [0, 3, fan - 1, fan, 2 * fan + 1, 5 * fan - 1, 5 * fan + 2, 7 * fan, u64::MAX];
    for (at, &first) in ends.iter().enumerate() {
        for &last in &ends[at..] {
            let mut met = Vec::new();
            words.visit(first, last, |index, _| met.push(index));
            let inside = present.iter().copied().filter(|at| (first..=last).contains(at));
            assert!(met.into_iter().eq(inside), "{first}..={last}");
        }
    }
}

#[cfg(not(any(loom, shuttle)))]
#[test]
fn what_is_given_back_by_a_budget_goes_on_at_the_word_that_is_returned() {
    of_seven_chunks().iter().for_each(gives_back);
}

/// Of chunks 1 to 4, by a budget of two at a time.
#[cfg(not(any(loom, shuttle)))]
fn gives_back(words: &Words) {
    let fan = FAN as u64;
    let store = |value| {
        for index in 0..6 * fan {
            words.install(index).unwrap().store(value, Ordering::Relaxed);
        }
    };
    store(7);
    let left = |from, last, budget| {
        let mut left = budget;
        (words.give_back(from, last, &mut left), left)
    };
    // Of chunk 0, which tables cannot, and of what lies in part in the range,
    // nothing.
    assert_eq!(left(1, 5 * fan + 7, 2), (Some(3 * fan), 0));
    let zero = |index: &u64| words.load(*index) == 0;
    assert!((0..6 * fan).filter(zero).eq(fan..3 * fan));
    assert_eq!(left(3 * fan, 5 * fan + 7, 2), (None, 0));
    assert!((0..6 * fan).filter(zero).eq(fan..5 * fan));
    store(8);
    assert_eq!(left(fan + 1, 3 * fan - 1, 2), (None, 1));
    assert!((0..6 * fan).filter(zero).eq(2 * fan..3 * fan));
}

/// One word in a chunk of each depth, and its neighbours.
#[cfg(not(shuttle))]
fn edges() -> [u64; 9] {
    [0, 511, 512, (1 << 18) - 1, 1 << 18, 1 << 27, 1 << 36, 1 << 45, (1 << 57) - 1]
}

/// Whatever the depth, words are told apart, followed in their chunk, visited
/// in order and counted.
#[cfg(not(shuttle))]
#[test]
fn words_of_every_depth_are_found_followed_and_visited() {
    let words = Words::default();
    assert_eq!(words.bytes(), 0);
    for (value, index) in (1..).zip(edges()) {
        assert!(words.has(index) == (index == 511), "{index:#x}");
        words.install(index).unwrap().store(value, Ordering::Relaxed);
    }
    for (value, index) in (1..).zip(edges()) {
        assert_eq!(words.get(index).map(|word| word.load(Ordering::Relaxed)), Some(value));
        let near = words.get_near(index).map(|word| word.load(Ordering::Relaxed));
        assert_eq!(near, None, "{index:#x}");
        let ahead = words.ahead(index).unwrap();
        assert_eq!(ahead.len(), FAN - index as usize % FAN, "{index:#x}");
        assert_eq!(ahead[0].load(Ordering::Relaxed), value);
    }
    for absent in [1 << 17, 1 << 26, 1 << 35, 1 << 44, 1 << 53, u64::MAX] {
        assert!(!words.has(absent) && words.ahead(absent).is_none());
        assert_eq!(words.load(absent), 0);
    }
    // A chunk for each but 511; tables: 1 + 2 + 3 + 4 + 5 + 6, less what two share.
    assert_eq!(words.bytes() % 4096, 0);
    let said = alloc::format!("{words:?}");
    assert_eq!(said, alloc::format!("Words({} bytes)", words.bytes()));

    let visit = |first, last| {
        let mut seen = Vec::new();
        words.visit(first, last, |index, word| {
            let value = word.load(Ordering::Relaxed);
            if value != 0 {
                seen.push((index, value));
            }
        });
        seen
    };
    let all: Vec<_> = edges().into_iter().zip(1..).collect();
    assert_eq!(visit(0, u64::MAX), all);
    for (at, &(first, _)) in all.iter().enumerate() {
        assert_eq!(visit(first, u64::MAX), all[at..], "from {first:#x}");
        assert_eq!(visit(0, first), all[..=at], "to {first:#x}");
        assert_eq!(visit(first, first), all[at..=at]);
        assert_eq!(visit(first + 1, u64::MAX), all[at + 1..]);
    }
    // Only what is present is visited: whole chunks.
    let mut count = 0;
    words.visit(0, u64::MAX, |_, _| count += 1);
    assert_eq!(count, 8 * FAN);
}

#[cfg(not(shuttle))]
#[test]
fn bytes_are_those_of_tables_and_chunks() {
    for (index, nodes) in [(0, 1), (512, 2), (1 << 18, 3), (1 << 27, 4), (1 << 56, 7)] {
        let words = Words::default();
        words.install(index).unwrap();
        assert_eq!(words.bytes(), nodes * 4096, "{index:#x}");
        words.install(index).unwrap();
        assert_eq!(words.bytes(), nodes * 4096, "once");
    }
    let words = Words::default();
    for index in (0..5).map(|chunk| chunk * FAN as u64) {
        words.install(index).unwrap();
    }
    // Chunk 0 is of no page.
    let bytes = |first, last| words.page_bytes(first, last);
    let fan = FAN as u64;
    assert_eq!((bytes(0, 5 * fan - 1), bytes(0, fan - 1)), (4 * 4096, 0));
    assert_eq!((bytes(fan, 2 * fan - 1), bytes(fan + 1, 3 * fan - 1)), (4096, 4096));
    assert_eq!((bytes(fan, 2 * fan - 2), bytes(0, u64::MAX)), (0, 4 * 4096));
}

/// What is put by is enough for any one word, and no more than one of each.
#[cfg(not(shuttle))]
#[test]
fn what_is_needed_makes_any_word_present() {
    for last in [0, 511, 512, (1 << 18) - 1, 1 << 18, (1 << 27) + 5, (1 << 57) - 1] {
        let indexes = [0, 511, 512, 1 << 17, 1 << 18, 1 << 26, 1 << 27, 1 << 56, last];
        for index in indexes.into_iter().filter(|&index| index <= last) {
            let (words, mut need) = (Words::default(), Need::default());
            words.add_need(last, &mut need);
            assert_eq!((need.chunks, need.paged), (1, usize::from(last > 511)));
            let mut reserve = Reserve::default();
            reserve.fill(&need).unwrap();
            assert!(words.install_kept(index, &mut reserve).is_ok(), "{index:#x} of {last:#x}");
            assert_eq!(words.bytes(), (words.bytes() / 4096) * 4096);
            // Once more, for another word beside what is there.
            let mut again = Need::default();
            words.add_need(last, &mut again);
            assert_eq!(again.chunks, usize::from(index > 511));
            assert!(again.tables.iter().zip(need.tables).all(|(now, then)| *now <= then));
            reserve.fill(&again).unwrap();
            assert!(words.install_kept(last, &mut reserve).is_ok(), "{last:#x}");
        }
    }
    let mut none = Reserve::default();
    assert!(Words::default().install_kept(7, &mut none).is_err());
}

/// A small array is a box of its words; of a large one what was made present counts.
#[cfg(not(any(loom, shuttle)))]
#[test]
fn near_words_are_counted_present_and_found_as_far_as_they_go() {
    let fan = FAN as u64;
    let small = Words::up_to(9, u64::MAX);
    assert_eq!((small.bytes(), small.has(9), small.get_near(16).is_some()), (17 * 8, false, false));
    small.install(9).unwrap().store(7, Ordering::Relaxed);
    assert_eq!((small.bytes(), small.load(9), small.page_bytes(0, 15)), (17 * 8, 7, 0));
    assert_eq!(small.ahead(9).map(<[_]>::len), Some(7));
    // What is beyond hangs in tables.
    small.install(16).unwrap();
    assert_eq!((small.bytes(), small.has(16), small.has(17 + fan)), (17 * 8 + 4096, true, false));

    let large = Words::up_to(3 * fan, u64::MAX);
    let bits = 8;
    assert_eq!(large.bytes(), bits);
    for (at, index) in (1..).zip([0, fan, 2 * fan + 1, 20 * fan]) {
        assert!(!large.has(index) && large.ahead(index).is_some_and(|words| words.len() <= FAN));
        large.install(index).unwrap();
        large.install(index + 1).unwrap();
        assert!(large.has(index) && large.get_near(index).is_some());
        assert_eq!(large.bytes(), bits + at * 4096);
    }
    // Eight times what was wanted, and no more.
    assert!(large.get_near(8 * (3 * fan + 1) - 1).is_some());
    assert!(large.get_near(8 * (3 * fan + 1)).is_none());
    assert_eq!(large.page_bytes(0, u64::MAX), 4 * 4096);
    assert_eq!(large.page_bytes(1, 2 * fan), 4096);
    let (mut budget, mut need) = (9, Need::default());
    assert_eq!((large.give_back(0, 3 * fan, &mut budget), budget), (None, 6));
    large.add_need(20 * fan, &mut need);
    assert_eq!(need, Need::default(), "for what is near");
    large.add_need(30 * fan, &mut need);
    assert_ne!(need, Need::default());
    // Too many to be mapped: the first of them.
    let most = Words::up_to(u64::MAX >> 7, u64::MAX >> 7);
    assert!(most.get_near((1 << 24) - 1).is_some() && most.get_near(1 << 24).is_none());
}

/// Whether the mapping of an address has asked for huge pages; `None` where the kernel
/// does not tell.
#[cfg(all(feature = "std", target_os = "linux", not(any(loom, shuttle, miri))))]
fn is_huge<T>(at: &T) -> Option<bool> {
    extern crate std;
    let told = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
    let maps = std::fs::read_to_string("/proc/self/smaps").ok().filter(|_| told)?;
    let at = core::ptr::from_ref(at).addr();
    let has_it = |line: &&str| {
        let bounds = line.split(' ').next().and_then(|range| range.split_once('-'));
        let parsed = bounds.map(|ends| [ends.0, ends.1].map(|end| usize::from_str_radix(end, 16)));
        matches!(parsed, Some([Ok(low), Ok(high)]) if (low..high).contains(&at))
    };
    let mut lines = maps.lines().skip_while(|line| !has_it(line));
    let flags = lines.find(|line| line.starts_with("VmFlags:"))?;
    Some(flags.split(' ').any(|flag| flag == "hg"))
}

#[cfg(all(feature = "std", target_os = "linux", not(any(loom, shuttle, miri))))]
#[test]
fn an_array_asks_for_huge_pages_once_two_mebibytes_are_in_use() {
    let fan = FAN as u64;
    let words = Words::up_to(600 * fan, u64::MAX);
    let after = |chunk: u64| is_huge(words.install(chunk * fan).unwrap());
    let Some(first) = after(0) else { return };
    assert!(!first);
    assert!((1..511).all(|chunk| words.install(chunk * fan).is_ok()));
    assert_eq!((after(510), after(511)), (Some(false), Some(true)));
}
