//! Memory is out: whoever asks is told, gets back what it gave, and can ask again
//! once there is some.

mod meter;

use meter::{live, with_memory_for};
use potad_memdesc::sync::atomic::AtomicU64 as Counted;
use potad_memdesc::*;

/// Larger than any class of cells: each has memory of its own.
struct Large([u64; 1000]);
impl Descriptor for Large {
    const NAME: &'static str = "large";
}

struct Table;
impl Descriptor for Table {
    const NAME: &'static str = "table";
    const TAIL: Option<Tail> = Some(Tail::of::<u64>());
}

struct Folio([u64; 5]);
impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}

struct Ram(Kinds);
impl Home for Ram {
    fn kinds(&self) -> &Kinds {
        &self.0
    }
    fn teardown(dead: Dead<Self>) {
        // SAFETY: no slot ever named it.
        drop(unsafe { dead.into_garbage() });
    }
}

fn ram() -> Keep<Ram> {
    Keep::new(Ram(Kinds::new()))
}

#[test]
fn a_body_that_finds_no_room_comes_back() {
    let ram = ram();
    // The thread's own share of the home's count is made by the first of all.
    drop(Fresh::of(&ram, OwnerId(0), Folio([0; 5])).ok().unwrap());

    let (why, Large(body)) =
        with_memory_for(0, || Fresh::of(&ram, OwnerId(0), Large([7; 1000])).err().unwrap());
    assert_eq!(why, OutOfMemory { bytes: size_of::<Cell<Ram, Large>>() });
    assert_eq!(body, [7; 1000]);

    // With a tail, of any length; one past the end of memory needs no allocator.
    let (why, _) = with_memory_for(0, || Fresh::with_tail(&ram, OwnerId(0), Table, 9, |_| 1u64))
        .err()
        .unwrap();
    let (head, length) = (24, 8);
    assert_eq!(why, OutOfMemory { bytes: (head + length + 9usize * 8).next_multiple_of(64) });
    let too_long = Fresh::with_tail(&ram, OwnerId(0), Table, usize::MAX / 8, |_| 1u64);
    assert_eq!(too_long.err().unwrap().0, OutOfMemory { bytes: usize::MAX });

    // Of a home of its own: the first allocation is the home's.
    let home = || Ram(Kinds::new());
    for allocations in 0..2 {
        let alone = home();
        let (_, Large(body)) = with_memory_for(allocations, || {
            Fresh::new(alone, OwnerId(0), Large([5; 1000])).err().unwrap()
        });
        assert_eq!(body, [5; 1000], "with {allocations}");
    }
    let made = Fresh::new(home(), OwnerId(0), Large([4; 1000])).ok().unwrap();
    assert_eq!(made.0[999], 4);
}

/// Cells of the slab come by chunks: the cells at hand run out first.
#[test]
fn cells_run_out_and_come_again() {
    let ram = ram();
    let mut made = vec![Fresh::of(&ram, OwnerId(0), Folio([0; 5])).ok().unwrap()];
    made.reserve(100_000);
    with_memory_for(0, || {
        for number in 1.. {
            match Fresh::of(&ram, OwnerId(0), Folio([number; 5])) {
                Ok(fresh) => made.push(fresh),
                Err((why, body)) => {
                    assert_eq!(why, OutOfMemory { bytes: size_of::<Cell<Ram, Folio>>() });
                    assert_eq!(body.0, [number; 5]);
                    return;
                }
            }
            assert!(made.len() < 100_000, "a chunk has no end");
        }
    });
    let before = made.len() as u64;
    made.push(Fresh::of(&ram, OwnerId(0), Folio([before; 5])).ok().unwrap());
    let numbers = made.iter().map(|fresh| fresh.0[4]);
    assert!(numbers.eq(0..=before), "nobody's cell was given twice");
}

/// Whatever fails at the first use in a thread, it is counted as it must be: the
/// home ends once, with the last of what is of it.
#[test]
fn the_first_descriptor_of_a_thread_is_counted_without_memory() {
    for allocations in 0..8 {
        let ram = ram();
        let made = std::thread::scope(|scope| {
            let first = || {
                // Cells for the magazine, so that only the share is wanting; and a
                // share of a home that is no more.
                drop(Fresh::of(&self::ram(), OwnerId(0), Folio([0; 5])).ok());
                with_memory_for(allocations, || Fresh::of(&ram, OwnerId(0), Folio([3; 5])).ok())
            };
            scope.spawn(first).join().unwrap()
        });
        let kinds = ram.kinds().clone();
        drop(ram);
        let Some(fresh) = made else { continue };
        assert_eq!(fresh.0, [3; 5]);
        assert!(kinds.is_empty(), "the home is still there");
    }
}

#[test]
fn boxes_arrays_and_tables_say_so() {
    assert!(with_memory_for(0, || try_box(7u64)).is_none());
    assert_eq!(with_memory_for(1, || try_box(7u64)).as_deref(), Some(&7));
    assert!(with_memory_for(0, || try_box(())).is_some(), "nothing needs no memory");
    assert!(with_memory_for(0, zeroed_box::<Lines<Counted, 8>>).is_none());
    assert!(with_memory_for(0, zeroed_array::<Counted, 0>).is_none());
    // Of half a page: an ordinary box.
    assert!(with_memory_for(0, PageBox::<Lines<Counted, 256>>::zeroed).is_none());
    assert!(with_memory_for(1, PageBox::<Lines<Counted, 256>>::zeroed).is_none());

    let slot = OnceSlot::<u64>::new();
    assert_eq!(with_memory_for(0, || slot.get_or_install(|| try_box(1)).copied()), None);
    assert_eq!(slot.get_or_install(|| try_box(2)), Some(&2));
    assert_eq!(with_memory_for(0, || slot.get_or_install(|| try_box(3)).copied()), Some(2));
}

/// What is retired while memory for its bag is out is retired alone.
#[test]
fn descriptors_die_without_memory() {
    let kinds = Kinds::new();
    let kind = kinds.register::<Folio>().unwrap();
    let ram = Keep::new(Ram(kinds));
    let publish = || {
        let fresh = Fresh::of(&ram, OwnerId(0), Folio([1; 5])).ok().unwrap();
        fresh.set_place(Block::containing(Granule(0), Order::ZERO));
        // SAFETY: the kind was given by the home's set.
        unsafe { fresh.into_ref(kind) }
    };
    let (first, second) = (publish(), publish());
    // The epoch's own record of the thread.
    drop(pin());
    let before = retired_bytes();
    with_memory_for(0, || drop(first));
    assert!(retired_bytes() > before, "it waits for its grace period");
    drop(second);
    for _ in 0..10_000 {
        if retired_bytes() == 0 {
            break;
        }
        pin().flush();
    }
    assert_eq!(retired_bytes(), 0);
}

/// Cells that are not used any more do not stay with the slab for ever.
#[test]
fn what_was_a_peak_goes_back_to_the_heap() {
    struct Buffer([u64; 37]);
    impl Descriptor for Buffer {
        const NAME: &'static str = "buffer";
    }
    let ram = ram();
    let before = live();
    let make = |number| Fresh::of(&ram, OwnerId(0), Buffer([number; 37])).ok().unwrap();
    let mut peak: Vec<_> = (0..20_000).map(make).collect();
    let most = live() - before;
    assert!(most > 20_000 * 300, "{most}");
    assert!(peak.iter().enumerate().all(|(number, buffer)| buffer.0[36] == number as u64));
    peak.clear();
    peak.shrink_to_fit();
    let left = live() - before;
    assert!(left < most / 4, "{left} of {most} bytes stay");
}

#[test]
fn zeroed_memory_is_refused_where_there_is_none() {
    type Words = Lines<Counted, 64>;
    let get = |memory| with_memory_for(memory, Words::zeroed);
    assert!(get(0).is_none());
    let one = get(1).unwrap();
    assert!(one.iter().all(|word| word.load(potad_memdesc::sync::atomic::Ordering::Relaxed) == 0));
}
