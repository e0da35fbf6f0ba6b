//! Pages of the pool: taken, given back while they stay, and returned. Only the
//! first test takes any: the pool is the process's.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use potad_memdesc::sync::atomic::{AtomicU64, Ordering::Relaxed};
use potad_memdesc::{Lines, OnceSlot, Page, PageArray, PageBox, pool_pages};

type Table = Lines<AtomicU64, 512>;
type Half = Lines<AtomicU64, 256>;

#[test]
fn a_table_of_a_page_has_its_memory_of_the_pool_and_gives_it_back() {
    assert!(Page::<Table>::has_page() && !Page::<Half>::has_page());
    assert_eq!(pool_pages(), (0, 0));
    let table = PageBox::<Table>::zeroed().unwrap();
    let (out, made) = pool_pages();
    assert!((1..=made).contains(&out) && out == 1, "{out} of {made}");
    assert!(table.iter().all(|word| word.load(Relaxed) == 0));

    table[7].store(7, Relaxed);
    assert!(table.give_back(), "the system took it");
    assert_eq!(table[7].load(Relaxed), 0);
    assert_eq!(pool_pages(), (1, made), "the page stays");

    // As many as there are, and one more: the pool grows; none is given twice.
    let tables: Vec<_> = (0..made).map(|_| PageBox::<Table>::zeroed().unwrap()).collect();
    assert_eq!(pool_pages(), (made + 1, 2 * made));
    for (at, table) in tables.iter().enumerate() {
        assert_eq!(table[0].swap(at as u64 + 1, Relaxed), 0, "in use already");
    }
    drop((table, tables));
    assert_eq!(pool_pages(), (0, 2 * made));
    // What came back is zero again.
    let tables: Vec<_> = (0..2 * made).map(|_| PageBox::<Table>::zeroed().unwrap()).collect();
    assert!(tables.iter().all(|table| table[0].load(Relaxed) == 0 && table[7].load(Relaxed) == 0));

    // Half a page is an ordinary box: blanked, and nothing goes back.
    let half = PageBox::<Half>::zeroed().unwrap();
    half[3].store(3, Relaxed);
    assert!(!half.give_back());
    assert_eq!((half[3].load(Relaxed), pool_pages().0), (0, 2 * made));
}

/// Of a box of half a page, which takes none of the pool.
#[test]
fn a_slot_keeps_what_was_installed_first_and_frees_it() {
    let slot = OnceSlot::<Page<Half>, PageBox<Half>>::new();
    assert!(slot.get().is_none());
    assert!(slot.get_or_install(|| None).is_none(), "and stays empty");
    let first = slot.get_or_install(PageBox::zeroed).unwrap();
    first[5].store(5, Relaxed);
    let again = slot.get_or_install(|| panic!("it is there")).unwrap();
    assert!(std::ptr::eq(first, again) && slot.get().is_some_and(|half| std::ptr::eq(half, first)));
    assert_eq!(slot.get().unwrap()[5].load(Relaxed), 5);
}

#[test]
fn of_an_array_whole_pages_go_back_and_the_rest_is_blanked() {
    let rows = PageArray::<Lines<AtomicU64, 8>>::zeroed(200).unwrap();
    rows.iter().for_each(|row| row[0].store(1, Relaxed));
    // Rows of 64 bytes, 64 to a page: 10..150 has the page of 64..128 whole.
    assert_eq!(rows.give_back(10..150), 4096);
    let left = rows.iter().map(|row| row[0].load(Relaxed)).collect::<Vec<_>>();
    assert!((0..200).all(|at| left[at] == u64::from(!(10..150).contains(&at))));
    assert_eq!((rows.give_back(0..0), rows.give_back(190..201)), (0, 0));
    assert_eq!(rows[199][0].load(Relaxed), 1, "a range that is not all there is left alone");
    assert!(PageArray::<Lines<AtomicU64, 8>>::zeroed(0).is_none());
}

/// Bytes of address space that the process has.
fn mapped() -> usize {
    let counts = std::fs::read_to_string("/proc/self/statm").unwrap();
    counts.split(' ').next().unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn an_array_leaves_nothing_mapped() {
    const GIB: usize = 1 << 30;
    let before = mapped();
    for _ in 0..64 {
        // A quarter each, none of it written.
        let rows = PageArray::<Lines<AtomicU64, 8>>::zeroed(GIB / 4 / 64).unwrap();
        assert_eq!(rows.len(), GIB / 4 / 64);
    }
    assert!(mapped() < before + GIB, "{before} bytes and then {}", mapped());
}
