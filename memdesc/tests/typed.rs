//! The typed layer against a home with one slot: what a tree will do, without
//! a tree.

use potad_memdesc::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use potad_memdesc::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};

struct Folio {
    mapped: AtomicU64,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Folio {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Relaxed);
    }
}

struct Slab([u8; 360]);

descriptors! { pub set Mm { Folio = 1, Slab = 5 } }

#[derive(Default)]
struct State {
    kinds: Kinds,
    slot: AtomicWord,
    torn_down: AtomicUsize,
    poisoned: AtomicUsize,
    dropped: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct OneSlot(Arc<State>);

impl Home for OneSlot {
    fn kinds(&self) -> &Kinds {
        &self.0.kinds
    }

    fn teardown(dead: Dead<Self>) {
        dead.with_home(|home, dead, guard| {
            let state = &home.0;
            state.torn_down.fetch_add(1, Relaxed);
            state.poisoned.fetch_add(usize::from(dead.poisoned()), Relaxed);
            let old = state.slot.swap(Word::EMPTY, Release);
            assert!(old.names_same(dead.word()));
            // SAFETY: the only slot was cleared just above, and nobody stores
            // the word again.
            unsafe { dead.into_garbage() }.retire(guard);
        });
    }
}

impl OneSlot {
    fn new() -> Self {
        let home = Self(Arc::default());
        Mm::register(&home.0.kinds).unwrap();
        home
    }

    fn publish<T: Descriptor>(&self, body: T) -> Ref<Self, T> {
        let fresh = Fresh::new(self.clone(), OwnerId(3), body).ok().unwrap();
        fresh.set_place(Block::containing(Granule(8), Order::new(3).unwrap()));
        let kind = self.0.kinds.of::<T>().unwrap();
        // SAFETY: the kind is the one that `find` below looks up.
        let made = unsafe { fresh.into_ref(kind) };
        self.0.slot.store(made.word(), Release);
        made
    }

    fn publish_folio(&self) -> Ref<Self, Folio> {
        let dropped = self.0.dropped.clone();
        self.publish(Folio { mapped: AtomicU64::new(42), dropped })
    }

    fn find<'g>(&self, guard: &'g Guard) -> Option<Found<'g, Self>> {
        let word = self.0.slot.load(Acquire);
        let info = self.0.kinds.info(word.descriptor_kind()?)?;
        // SAFETY: loaded under the guard; cleared before it is retired.
        unsafe { Peeked::adopt(word, info, guard) }.map(Found::Descriptor)
    }

    fn torn_down(&self) -> usize {
        self.0.torn_down.load(Relaxed)
    }
}

#[test]
fn sizes() {
    assert_eq!(size_of::<Header>(), 16);
    assert_eq!(size_of::<Cell<OneSlot, [u8; 360]>>(), 384);
    assert_eq!(align_of::<Cell<OneSlot, u8>>(), 64);
    assert_eq!(size_of::<Option<Ref<OneSlot, Folio>>>(), 8);
    assert_eq!(size_of::<Option<Locked<'_, OneSlot, Folio>>>(), 8);
    assert_eq!(size_of::<Word>(), 8);
    assert_eq!(size_of::<Garbage>(), 16, "fits a deferred call without a box");
}

#[test]
fn every_immediate_word_says_what_was_packed() {
    for subtype in Subtype::ALL {
        for order in Order::all() {
            for (owner, cookie) in [(0, 0), (1, 7), (u16::MAX, u32::MAX), (0x8001, 1 << 31)] {
                for poisoned in [false, true] {
                    let immediate =
                        Immediate { subtype, owner: OwnerId(owner), order, cookie, poisoned };
                    let word = immediate.pack();
                    assert_eq!(word.kind(), WordKind::Immediate(immediate));
                    assert_eq!(word.is_poisoned(), poisoned);
                    assert!(!word.is_link() && !word.is_empty());
                    assert_eq!(word.descriptor_kind(), None);
                    let are_of = Order::all().filter(|&other| Immediate::is_of(word, other));
                    assert!(are_of.eq([order]), "{immediate:?}");
                    let sound = Immediate { poisoned: false, ..immediate };
                    assert_eq!(Immediate::unpack(word.unpoisoned()), Some(sound));
                }
            }
        }
    }
    let every_owner = |id| Immediate::new(Subtype::Raw, OwnerId(id), Order::ZERO);
    for id in 0..=u16::MAX {
        assert_eq!(Immediate::unpack(every_owner(id).pack()), Some(every_owner(id)));
    }
}

#[test]
fn a_link_is_no_other_word() {
    #[repr(align(512))]
    struct Node([u64; 64]);
    let mut node = Node([0; 64]);
    let at = (&raw mut node).cast::<()>();
    let link = Word::of_link(at);
    assert_eq!((link.link(), link.kind()), (std::ptr::NonNull::new(at), WordKind::Link));
    let raw = Immediate::new(Subtype::Raw, OwnerId(7), Order::MAX).pack();
    assert_eq!((raw.link(), Word::EMPTY.link()), (None, None));
    assert_eq!(node.0, [0; 64]);
}

#[test]
fn places_are_all_empty_or_one_of_them_is_not() {
    for len in 0..=20 {
        let places: Vec<AtomicWord> = (0..len).map(|_| AtomicWord::new()).collect();
        assert!(AtomicWord::all_empty(&places));
        for place in &places {
            let word = Immediate::new(Subtype::Raw, OwnerId::RESOURCE, Order::ZERO).pack();
            place.store(word, Relaxed);
            assert!(!AtomicWord::all_empty(&places), "of {len}");
            place.store(Word::EMPTY, Relaxed);
        }
    }
}

#[test]
fn kinds_refuse_with_the_operands() {
    struct Any;
    impl Descriptor for Any {
        const NAME: &'static str = "any";
    }
    struct Rival;
    impl Descriptor for Rival {
        const NAME: &'static str = "rival";
        const KIND_HINT: u8 = 5;
    }
    struct High;
    impl Descriptor for High {
        const NAME: &'static str = "high";
        const KIND_HINT: u8 = 32;
    }
    let kinds = Kinds::new();
    Mm::register(&kinds).unwrap();
    assert_eq!(Mm::register(&kinds), Err(KindError::Registered { number: 1, name: "Folio" }));
    let taken = KindError::NumberTaken { number: 5, name: "rival", taken_by: "Slab" };
    assert_eq!(kinds.register::<Rival>(), Err(taken));
    assert_eq!(kinds.register::<High>(), Err(KindError::OutOfRange { number: 32, name: "high" }));
    assert_eq!(kinds.register::<Any>().map(Kind::get), Ok(2));
    assert_eq!(kinds.of::<Any>(), Kind::new(2));
    assert_eq!(kinds.of::<Rival>(), None);
    assert_eq!(kinds.len(), 3);
}

#[test]
fn all_31_numbers_can_be_given_out() {
    struct Numbered<const N: u8>;
    impl<const N: u8> Descriptor for Numbered<N> {
        const NAME: &'static str = "numbered";
    }
    macro_rules! register {
        ($kinds:ident, $($number:literal)*) => { $(
            assert_eq!($kinds.register::<Numbered<$number>>().map(Kind::get), Ok($number));
        )* };
    }
    let kinds = Kinds::new();
    register!(kinds, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28
        29 30 31);
    let full = KindError::Full { name: "numbered" };
    assert_eq!(kinds.register::<Numbered<32>>(), Err(full));
    assert_eq!(kinds.of::<Numbered<31>>(), Kind::new(31));
}

#[test]
fn an_unpublished_descriptor_is_a_box() {
    let home = OneSlot::new();
    let fresh = Fresh::new(home.clone(), OwnerId(0), Slab([7; 360])).ok().unwrap();
    assert_eq!(fresh.into_body().0[359], 7);
    let dropped = home.0.dropped.clone();
    let mapped = AtomicU64::new(1);
    let mut fresh = Fresh::new(home.clone(), OwnerId(0), Folio { mapped, dropped }).ok().unwrap();
    *fresh.mapped.get_mut() = 2;
    assert_eq!(fresh.mapped.load(Relaxed), 2);
    drop(fresh);
    assert_eq!(home.0.dropped.load(Relaxed), 1);
    assert_eq!(home.torn_down(), 0);
    assert_eq!(Arc::strong_count(&home.0), 1);
}

#[test]
fn peek_get_and_lock() {
    let home = OneSlot::new();
    let folio = home.publish_folio();
    let guard = pin();
    let found = home.find(&guard).unwrap();
    assert_eq!((found.kind_name(), found.owner()), ("Folio", OwnerId(3)));
    assert_eq!(found.block().base(), Granule(8));
    assert!(matches!(Mm::of(&found), Some(Mm::Folio(peek)) if peek.mapped.load(Relaxed) == 42));
    assert!(found.downcast::<Slab>().is_none());
    let peeked = found.descriptor().unwrap();
    let got = peeked.try_get().unwrap();
    assert_eq!(folio.header().refs(), 2);
    let got = got.downcast::<Slab>().unwrap_err().downcast::<Folio>().unwrap();
    assert_eq!(got.mapped.load(Relaxed), 42);
    let locked = peeked.lock().unwrap();
    assert!(peeked.try_lock().is_none());
    let locked = locked.downcast::<Folio>().unwrap();
    drop((folio, got));
    assert_eq!(home.torn_down(), 0, "the lock keeps it");
    locked.poison();
    drop(locked);
    assert_eq!((home.torn_down(), home.0.poisoned.load(Relaxed)), (1, 1));
    assert!(peeked.try_get().is_none() && peeked.lock().is_none());
    assert!(home.find(&guard).is_none());
    let peek = found.downcast::<Folio>().unwrap();
    assert_eq!(peek.mapped.load(Relaxed), 42, "readable while pinned");
    assert_eq!(home.0.dropped.load(Relaxed), 0);
}

#[test]
fn a_locked_descriptor_can_be_kept_by_a_reference() {
    let home = OneSlot::new();
    let folio = home.publish_folio();
    let erased = folio.try_clone().unwrap().erase();
    let locked = folio.lock();
    drop(erased);
    let kept = locked.to_ref().unwrap();
    drop(locked);
    drop(folio);
    assert_eq!(home.torn_down(), 0);
    assert!(kept.is_unshared());
    drop(kept);
    assert_eq!(home.torn_down(), 1);
}

#[test]
fn a_dead_that_is_not_retracted_leaks() {
    #[derive(Clone)]
    struct Careless(Kinds);
    impl Home for Careless {
        fn kinds(&self) -> &Kinds {
            &self.0
        }
        fn teardown(dead: Dead<Self>) {
            drop(dead);
        }
    }
    let kinds = Kinds::new();
    Mm::register(&kinds).unwrap();
    let dropped = Arc::new(AtomicUsize::new(0));
    let body = Folio { mapped: AtomicU64::new(0), dropped: dropped.clone() };
    let fresh = Fresh::new(Careless(kinds.clone()), OwnerId(0), body).ok().unwrap();
    // SAFETY: the kind was registered just above.
    drop(unsafe { fresh.into_ref(kinds.of::<Folio>().unwrap()) });
    for _ in 0..8 {
        pin().flush();
    }
    assert_eq!(dropped.load(Relaxed), 0);
}

/// Readers peek, get and lock while one thread publishes and drops: every
/// descriptor is torn down once and freed at most once, and never under a
/// reader.
#[test]
fn stress_readers_against_the_last_put() {
    let rounds: u64 = if cfg!(miri) { 50 } else { 20_000 };
    let home = OneSlot::new();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let readers: Vec<_> = (0..3u64)
        .map(|which| {
            let (home, done) = (home.clone(), done.clone());
            std::thread::spawn(move || {
                let mut seen = 0u64;
                while !done.load(Relaxed) {
                    let guard = pin();
                    let Some(found) = home.find(&guard) else { continue };
                    let peeked = found.descriptor().unwrap();
                    let folio = peeked.downcast::<Folio>().unwrap();
                    assert!(folio.mapped.load(Relaxed) >= 42);
                    if which == 0 {
                        seen += u64::from(peeked.try_get().is_some());
                    } else if let Some(locked) = peeked.lock() {
                        let locked = locked.downcast::<Folio>().unwrap();
                        let now = locked.mapped.load(Relaxed);
                        assert_eq!(now % 2, 0, "odd only under the lock");
                        locked.mapped.store(now + 1, Relaxed);
                        std::hint::spin_loop();
                        locked.mapped.store(now + 2, Relaxed);
                        seen += 1;
                    }
                }
                seen
            })
        })
        .collect();
    for _ in 0..rounds {
        let folio = home.publish_folio();
        // The slot must be empty before the next is published: wait for the
        // readers' references and locks.
        let before = home.torn_down();
        drop(folio);
        while home.torn_down() == before {
            std::thread::yield_now();
        }
    }
    done.store(true, Relaxed);
    for reader in readers {
        reader.join().unwrap();
    }
    assert_eq!(home.torn_down() as u64, rounds);
    for _ in 0..1000 {
        if home.0.dropped.load(Relaxed) as u64 == rounds {
            return;
        }
        pin().flush();
        std::thread::yield_now();
    }
    panic!("{} of {rounds} freed", home.0.dropped.load(Relaxed));
}

/// Whatever handle one has, it says the same of the descriptor.
#[test]
fn every_handle_says_the_same() {
    let home = OneSlot::new();
    let folio = home.publish_folio();
    let (block, says) = (folio.block(), (OwnerId(3), "Folio"));
    assert_eq!((folio.owner(), folio.header().refs()), (OwnerId(3), 1));
    {
        let guard = pin();
        let found = home.find(&guard).unwrap();
        assert_eq!((found.block(), (found.owner(), found.kind_name())), (block, says));
        assert_eq!(found.immediate(), None);
        let peeked = found.descriptor().unwrap();
        assert_eq!((peeked.block(), (peeked.owner(), peeked.kind_name())), (block, says));
        assert!(peeked.downcast::<Slab>().is_none() && peeked.tail::<u64>().is_empty());
        assert!(peeked.try_get_as::<Slab>().is_none(), "another type");
        assert_eq!(peeked.header().refs(), 1, "and no reference is lost by asking");
        assert_eq!(peeked.try_get_as::<Folio>().unwrap().word(), folio.word());
        assert_eq!(peeked.word(), folio.word());
        assert_eq!(peeked.try_lock().unwrap().word(), folio.word());
        assert_eq!(found.downcast::<Folio>().unwrap().get().mapped.load(Relaxed), 42);
    }
    {
        let locked = folio.lock();
        assert_eq!((locked.block(), locked.owner()), (block, OwnerId(3)));
        assert!(!locked.is_moved() && !locked.is_poisoned());
        assert!(Arc::ptr_eq(&locked.home().0, &home.0));
        let text = format!("{:?}", folio.header());
        assert!(text.contains("locked") && !text.contains("poisoned"), "{text}");
    }
    let erased = folio.erase();
    assert_eq!((erased.block(), (erased.owner(), erased.kind_name())), (block, says));
    assert!(Arc::ptr_eq(&erased.home().0, &home.0));
    {
        let locked = erased.lock();
        assert_eq!((locked.block(), (locked.owner(), locked.kind_name())), (block, says));
        assert!(!locked.is_poisoned() && locked.contains(block.base()));
        assert!(!locked.contains(Granule(7)) && !locked.contains(Granule(16)));
        let another = locked.to_ref().unwrap();
        assert_eq!((another.word(), another.header().refs()), (locked.word(), 2));
        locked.poison();
        assert!(locked.is_poisoned() && another.header().is_poisoned());
        let locked = locked.downcast::<Slab>().unwrap_err();
        assert_eq!(locked.header().refs(), 2);
        assert!(locked.downcast::<Folio>().unwrap().is_poisoned());
    }
    assert_eq!(erased.header().refs(), 1);
    let folio = erased.downcast::<Slab>().unwrap_err().downcast::<Folio>().unwrap();
    let locked = folio.into_locked();
    assert_eq!(locked.mapped.load(Relaxed), 42);
    drop(locked);
    assert_eq!((home.torn_down(), home.0.poisoned.load(Relaxed)), (1, 1), "the lock was the last");
}

/// What did not come to be published gives its body back.
#[test]
fn a_fresh_one_has_no_place_until_it_is_given_one() {
    let home = OneSlot::new();
    let fresh = Fresh::new(home.clone(), OwnerId(3), Slab([7; 360])).ok().unwrap();
    assert_eq!((fresh.owner(), fresh.0[359]), (OwnerId(3), 7));
    fresh.set_place(Block::containing(Granule(8), Order::new(3).unwrap()));
    fresh.clear_place();
    assert!(Arc::ptr_eq(&fresh.home().0, &home.0));
    assert_eq!(fresh.into_body().0, [7; 360]);
    assert_eq!(home.torn_down(), 0);
}

#[test]
fn numbers_of_kinds_are_in_range_and_differ() {
    assert!(kinds_differ(&[1, 2, 31]) && kinds_differ(&[]));
    for wrong in [&[1, 1][..], &[0], &[32], &[5, 1, 5]] {
        assert!(!kinds_differ(wrong), "{wrong:?}");
    }
    let kinds = Kinds::new();
    assert!(kinds.is_empty());
    Mm::register(&kinds).unwrap();
    assert_eq!((kinds.is_empty(), kinds.len()), (false, 2));
    let slab = kinds.of::<Slab>().unwrap();
    assert_eq!((slab.get(), kinds.name(slab)), (5, Some("Slab")));
    assert_eq!(kinds.name(Kind::new(2).unwrap()), None);
}

/// Once another has taken the block over, the last put frees the descriptor and
/// asks no home.
#[test]
fn a_moved_descriptor_describes_nothing_and_is_freed_without_its_home() {
    let home = OneSlot::new();
    let folio = home.publish_folio();
    let locked = folio.lock();
    assert!(folio.header().describes(Granule(8)) && !folio.header().describes(Granule(7)));
    home.0.slot.store(Word::EMPTY, Release);
    // SAFETY: the only slot was cleared just above, and nobody stores the word
    // again.
    unsafe { locked.set_moved() };
    assert!(locked.is_moved() && folio.header().is_moved());
    assert!(!folio.header().describes(Granule(8)));
    drop(locked);
    drop(folio);
    assert_eq!(home.torn_down(), 0);
    for _ in 0..1000 {
        if home.0.dropped.load(Relaxed) == 1 {
            return;
        }
        pin().flush();
        std::thread::yield_now();
    }
    panic!("not freed");
}

#[test]
fn an_immediate_block_says_what_its_word_says() {
    let block = Block::containing(Granule(8), Order::new(3).unwrap());
    let word = Immediate::new(Subtype::Raw, OwnerId(7), block.order());
    let found = Found::<OneSlot>::Immediate(word, block);
    assert_eq!((found.immediate(), found.block()), (Some(word), block));
    assert_eq!((found.owner(), found.kind_name()), (OwnerId(7), Subtype::Raw.name()));
    assert!(found.descriptor().is_none() && found.downcast::<Folio>().is_none());
}
