//! Words and small parts by themselves: what a tree or a zone asks of them, asked
//! here of each alone.

#[cfg(all(target_os = "linux", not(any(miri, crossbeam_sanitize_thread))))]
mod barred;

use potad_memdesc::sync::atomic::{AtomicU64, Ordering::Relaxed};
use potad_memdesc::sync::{TryArc, unique_id, unique_wide_id};
use potad_memdesc::*;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

struct Folio(u64);
impl Descriptor for Folio {
    const NAME: &'static str = "folio";
}

/// What the dead said of themselves.
#[derive(Default)]
struct Said {
    block: Option<Block>,
    single: Option<Granule>,
    owner: Option<OwnerId>,
    poisoned: bool,
}

struct Ram(Kinds, std::sync::Mutex<Said>);
impl Home for Ram {
    fn kinds(&self) -> &Kinds {
        &self.0
    }
    fn teardown(dead: Dead<Self>) {
        let (block, single, owner) = (dead.block(), dead.single(), Some(dead.owner()));
        let poisoned = dead.poisoned();
        *dead.home().1.lock().unwrap() = Said { block, single, owner, poisoned };
        // SAFETY: no slot ever named it.
        unsafe { dead.into_garbage() }.retire_unpinned();
    }
}

fn ram() -> Keep<Ram> {
    let kinds = Kinds::new();
    kinds.register::<Folio>().unwrap();
    Keep::new(Ram(kinds, Default::default()))
}

fn block(at: u64, order: u32) -> Block {
    Block::containing(Granule(at), Order::new(order).unwrap())
}

#[test]
fn an_even_word_keeps_its_cell_and_kind() {
    let ram = ram();
    let fresh = Fresh::of(&ram, OwnerId(1), Folio(1)).ok().unwrap();
    let mut seen = HashSet::new();
    for kind in (1..=MAX_KINDS).map(|number| Kind::new(number).unwrap()) {
        let word = fresh.word(kind);
        assert_eq!(word.kind(), WordKind::Descriptor(kind));
        let even = word.to_even();
        assert_eq!(even.addr() & 1, 0, "{word:?}");
        assert_eq!(Word::of_even(even), word);
        assert_eq!(word.poisoned().to_even(), even, "the hint is dropped");
        assert!(seen.insert(even.addr()), "{word:?} is as another");
        assert!(!word.is_link() && !word.is_poisoned() && word.poisoned().is_poisoned());
        assert_eq!(word.poisoned().unpoisoned(), word);
        assert!(word.names_same(word.poisoned()) && !word.names_same(Word::EMPTY));
    }
}

#[test]
fn links_are_links_and_nothing_else_is() {
    let mut node = [0u64; 128];
    let at = node.as_mut_ptr().map_addr(|at| at.next_multiple_of(512)).cast::<()>();
    let link = Word::of_link(at);
    assert!(link.is_link() && !link.is_poisoned() && !link.is_empty());
    assert_eq!(link.link().map(|node| node.as_ptr()), Some(at));
    let raw = Immediate::new(Subtype::Raw, OwnerId(1), Order::ZERO).pack();
    for other in [Word::EMPTY, raw, raw.poisoned()] {
        assert!(!other.is_link() && other.link().is_none(), "{other:?}");
    }
    assert!(raw.poisoned().is_poisoned() && !raw.is_poisoned());
    assert!(Word::EMPTY.is_empty() && !Word::EMPTY.poisoned().is_poisoned());
    // What is no immediate word is one of no order.
    let orders = || Order::all();
    assert!(orders().all(|order| !Immediate::is_of(Word::EMPTY, order)));
    assert!(orders().all(|order| !Immediate::is_of(link, order)));
    let ram = ram();
    let fresh = Fresh::of(&ram, OwnerId(1), Folio(1)).ok().unwrap();
    let word = fresh.word(Kind::new(1).unwrap());
    assert!(orders().all(|order| !Immediate::is_of(word, order)));
}

#[test]
fn a_word_is_exchanged_only_for_what_is_there() {
    let word =
        |cookie| Immediate::new(Subtype::Raw, OwnerId(1), Order::ZERO).with_cookie(cookie).pack();
    let place = AtomicWord::new();
    let exchange = |old, new| place.compare_exchange(old, new, Relaxed, Relaxed);
    assert_eq!(exchange(word(1), word(2)), Err(Word::EMPTY));
    assert_eq!(exchange(Word::EMPTY, word(1)), Ok(Word::EMPTY));
    assert_eq!((place.load(Relaxed), exchange(word(1), word(2))), (word(1), Ok(word(1))));
    assert_eq!((place.swap(Word::EMPTY, Relaxed), place.load(Relaxed)), (word(2), Word::EMPTY));
}

#[test]
fn the_dead_say_what_they_were() {
    let ram = ram();
    let kind = ram.kinds().of::<Folio>().unwrap();
    for (place, single) in [(block(12, 0), Some(Granule(12))), (block(16, 3), None)] {
        let fresh = Fresh::of(&ram, OwnerId(9), Folio(5)).ok().unwrap();
        fresh.set_place(block(1, 0));
        fresh.clear_place();
        // Without a place it says that it has none.
        let printed = format!("{fresh:?}");
        assert!(printed.ends_with("None)"), "{printed}");
        fresh.set_place(place);
        // SAFETY: the kind was given by the home's set.
        let folio = unsafe { fresh.into_ref(kind) };
        assert_eq!((folio.0, folio.header().place()), (5, Some(place)));
        drop(folio);
        let said = ram.1.lock().unwrap();
        assert_eq!((said.block, said.single), (Some(place), single));
        assert_eq!(said.owner, Some(OwnerId(9)));
    }
}

#[test]
fn unshared_is_one_reference_and_no_lock() {
    let ram = ram();
    let kind = ram.kinds().of::<Folio>().unwrap();
    let fresh = Fresh::of(&ram, OwnerId(u16::MAX), Folio(5)).ok().unwrap();
    fresh.set_place(block(1, 0));
    // SAFETY: the kind was given by the home's set.
    let folio = unsafe { fresh.into_ref(kind) };
    assert_eq!(folio.header().set_flags(0xa5), 0);
    assert!(folio.is_unshared(), "flags and owner share nothing");
    let other = folio.try_clone().unwrap();
    assert!(!folio.is_unshared() && !other.is_unshared());
    drop(other);
    let locked = folio.lock();
    assert!(!folio.is_unshared());
    drop(locked);
    assert!(folio.is_unshared());
    assert_eq!((folio.header().set_flags(0x42), folio.header().flags()), (0xa5, 0xe7));
    assert_eq!((folio.header().clear_flags(0x81), folio.header().flags()), (0xe7, 0x66));
    assert_eq!(folio.header().owner(), OwnerId(u16::MAX));
    let locked = folio.lock();
    locked.poison();
    drop(locked);
    assert!(folio.header().is_poisoned() && !folio.is_unshared());
}

#[test]
fn snapshots_name_what_they_are_of() {
    let raw = Immediate::new(Subtype::Guard, OwnerId(7), Order::new(3).unwrap()).with_cookie(42);
    let mut seen = Snapshot::of_immediate(Immediate { poisoned: true, ..raw }, Granule(13));
    assert_eq!((seen.block, seen.owner, seen.poisoned), (block(8, 3), OwnerId(7), true));
    assert_eq!((seen.kind_name(), seen.word), (Subtype::Guard.name(), raw.pack()));
    let (kind, name) = (Kind::new(3).unwrap(), "folio");
    seen.seen = Seen::Descriptor { kind, name, flags: 0, dying: false };
    assert_eq!(seen.kind_name(), "folio");
}

#[test]
fn zeroed_memory_is_zero_and_of_the_asked_length() {
    let words = zeroed_array::<AtomicU64, 100>().unwrap();
    assert!(words.iter().all(|word| word.load(Relaxed) == 0));
    words[99].store(1, Relaxed);
    assert!(zeroed_box::<OnceSlot<u32>>().unwrap().get().is_none());
    let lines = Lines::<AtomicU64, 24>::zeroed().unwrap();
    assert!(core::ptr::from_ref(&lines[8]).addr().is_multiple_of(64));
    assert!(lines.len() == 24 && lines.iter().all(|word| word.load(Relaxed) == 0));
    assert!(zeroed_array::<AtomicU64, 0>().is_none(), "there is no memory of no bytes");
    assert_eq!(try_box(()).as_deref(), Some(&()));
}

#[test]
fn a_counted_pointer_drops_its_value_with_the_last_handle() {
    struct Told(Arc<AtomicUsize>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let mut one = TryArc::new(Told(Arc::clone(&drops))).unwrap();
    let other = one.clone();
    assert!(one.get_mut().is_none());
    drop(other);
    assert!(one.get_mut().is_some());
    assert_eq!((drops.load(Relaxed), Arc::strong_count(&one.0)), (0, 2));
    drop(one);
    assert_eq!(drops.load(Relaxed), 1);
}

#[test]
fn unique_numbers_differ_and_are_not_zero() {
    let narrow: HashSet<_> = (0..100).map(|_| unique_id()).collect();
    let wide: HashSet<_> = (0..100).map(|_| unique_wide_id()).collect();
    assert_eq!((narrow.len(), wide.len()), (100, 100));
    assert!(!narrow.contains(&0) && !wide.contains(&0));
}

/// The barrier is the kernel's wherever the kernel has it.
#[cfg(target_os = "linux")]
#[test]
fn the_barrier_is_asymmetric_where_the_kernel_offers_it() {
    use potad_memdesc::sync::barrier;
    use rustix::thread::{MembarrierCommand, membarrier_query};
    let offered = membarrier_query().contains_command(MembarrierCommand::PrivateExpedited);
    barrier::heavy();
    barrier::light();
    assert_eq!(barrier::is_asymmetric(), offered);
}

/// Without the kernel's barrier the dear side cannot go on, and the cheap one
/// does not notice.
#[cfg(all(target_os = "linux", not(any(miri, crossbeam_sanitize_thread))))]
#[test]
fn the_dear_side_asks_the_kernel_each_time_and_the_cheap_one_never() {
    use potad_memdesc::sync::barrier;
    if !barrier::is_asymmetric() {
        return;
    }
    barrier::heavy();
    let cheap = std::thread::spawn(|| barred::forbid_membarrier().then(barrier::light));
    if cheap.join().unwrap().is_none() {
        return;
    }
    let dear = std::thread::spawn(|| barred::forbid_membarrier().then(barrier::heavy));
    assert!(dear.join().is_err(), "whoever is not served does not know it");
}

/// A descriptor that takes over a block in which memory has failed says so from
/// the beginning, and to the end.
#[test]
fn a_descriptor_can_be_born_poisoned() {
    let ram = ram();
    let kind = ram.kinds().of::<Folio>().unwrap();
    for poisoned in [true, false] {
        let fresh = Fresh::of(&ram, OwnerId(9), Folio(5)).ok().unwrap();
        fresh.set_place(block(8, 2));
        if poisoned {
            fresh.poison();
        }
        // SAFETY: the kind was given by the home's set.
        let folio = unsafe { fresh.into_ref(kind) };
        assert_eq!(folio.header().is_poisoned(), poisoned);
        assert_eq!(folio.lock().is_poisoned(), poisoned);
        drop(folio);
        assert_eq!(ram.1.lock().unwrap().poisoned, poisoned);
    }
}
