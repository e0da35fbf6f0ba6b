//! What a log line says: the short forms are read by people at night, so they
//! are pinned down to the letter, but for addresses.

use potad_memdesc::sync::atomic::AtomicU64;
use potad_memdesc::*;
use std::fmt::Debug;
use std::sync::Arc;

struct Folio(u64);
impl Descriptor for Folio {
    const NAME: &'static str = "folio";
    const KIND_HINT: u8 = 3;
}

/// Of no resource: the words go nowhere.
#[derive(Debug)]
struct Ram(Kinds);
impl Home for Ram {
    fn kinds(&self) -> &Kinds {
        &self.0
    }
    fn teardown(dead: Dead<Self>) {
        let said = print(&dead);
        let poisoned = if dead.poisoned() { " poisoned" } else { "" };
        assert_eq!(said, format!("Dead(refs 0 owner7 locked dead{poisoned} Some(g0x40+2^3))"));
        // SAFETY: no slot ever named it.
        let garbage = unsafe { dead.into_garbage() };
        assert_eq!(print(&garbage), "Garbage(\"folio\")");
        garbage.retire(&pin());
    }
}

fn print(what: &impl Debug) -> String {
    format!("{what:?}")
}

fn block(base: u64, order: u32) -> Block {
    Block::new(Granule(base), Order::new(order).unwrap()).unwrap()
}

fn ram() -> Keep<Ram> {
    let kinds = Kinds::new();
    kinds.register::<Folio>().unwrap();
    Keep::new(Ram(kinds))
}

fn publish(ram: &Keep<Ram>) -> Ref<Ram, Folio> {
    let fresh = Fresh::of(ram, OwnerId(7), Folio(5)).ok().unwrap();
    assert_eq!(print(&fresh), "Fresh(\"folio\", refs 1 owner7 None)");
    fresh.set_place(block(64, 3));
    let kind = ram.kinds().of::<Folio>().unwrap();
    // SAFETY: the kind was given by the home's set.
    unsafe { fresh.into_ref(kind) }
}

#[test]
fn geometry() {
    let nine = block(512, 9);
    assert_eq!(
        (print(&nine), nine.to_string()),
        print_both("g0x200+2^9", "order 9 at granule 0x200")
    );
    assert_eq!(print(&nine.place()), "L1[0x0]&0xff00");
    let range = nine.granules();
    assert_eq!((print(&range), range.to_string()), print_both("g0x200..=0x3ff", "0x200..=0x3ff"));
    let order = Order::new(64).unwrap_err();
    assert_eq!(order.to_string(), "order 64 is above 63");
}

fn print_both(debug: &str, display: &str) -> (String, String) {
    (debug.into(), display.into())
}

#[test]
fn words() {
    assert_eq!(print(&Word::default()), "empty");
    let raw = Immediate::new(Subtype::Raw, OwnerId(2), Order::new(4).unwrap()).with_cookie(0x2a);
    assert_eq!(print(&raw), "raw 2^4 owner2 #0x2a");
    assert_eq!(print(&raw.pack().poisoned()), "raw 2^4 owner2 #0x2a!");
    assert_eq!(raw.pack().kind(), WordKind::Immediate(raw));
    let larger = raw.with_order(Order::new(9).unwrap());
    assert_eq!(print(&larger), "raw 2^9 owner2 #0x2a");
    assert_eq!(Word::EMPTY.kind(), WordKind::Empty);
    // Neither a descriptor's address, nor an immediate of a subtype that there is.
    let mut numbers = std::collections::BTreeSet::new();
    for subtype in Subtype::ALL {
        let word = Immediate::new(subtype, OwnerId(1), Order::ZERO).pack();
        assert!(matches!(word.kind(), WordKind::Immediate(said) if said.subtype == subtype));
        numbers.insert(subtype.name());
    }
    assert_eq!(numbers.len(), Subtype::ALL.len(), "every name is another");
    assert!(numbers.contains("quarantine") && numbers.contains("user15"));

    // Words of a link and of a descriptor stay what they are, poisoned or not.
    let mut node = [0u64; 128];
    let link = Word::of_link(node.as_mut_ptr().map_addr(|at| at.next_multiple_of(512)).cast());
    assert_eq!((link.kind(), link.poisoned(), link.is_poisoned()), (WordKind::Link, link, false));
    assert!(print(&link).starts_with("link 0x"));
    assert_eq!((Word::EMPTY.poisoned(), Word::EMPTY.is_poisoned()), (Word::EMPTY, false));

    let ram = ram();
    let folio = publish(&ram);
    let word = folio.word();
    assert!(matches!(word.kind(), WordKind::Descriptor(kind) if kind.get() == 3));
    assert!(print(&word).starts_with("kind3 0x") && !print(&word).ends_with('!'));
    assert!(
        print(&word.poisoned()).starts_with("kind3 0x") && print(&word.poisoned()).ends_with('!')
    );
}

#[test]
fn a_descriptor_says_who_holds_it() {
    let ram = ram();
    assert_eq!(print(&ram), "Keep(Ram({3: \"folio\"}))");
    assert_eq!(print(&ram.downgrade()), "WeakKeep");
    let folio = publish(&ram);
    assert_eq!(folio.0, 5);
    assert_eq!(print(&folio), "folio(refs 1 owner7 Some(g0x40+2^3))");
    let word = folio.word();
    let guard = pin();
    assert_eq!(print(&guard), "Guard");
    // SAFETY: the word is a live descriptor's, of the kind of its type.
    let peeked = unsafe { Peeked::<Ram>::adopt(word, TypeInfo::of::<Folio>(), &guard) }.unwrap();
    assert_eq!(print(&peeked), "folio(refs 1 owner7 Some(g0x40+2^3))");
    let peek = peeked.downcast::<Folio>().unwrap();
    assert_eq!(print(&peek), "Peek");
    #[expect(clippy::clone_on_copy, reason = "that it clones is what is asserted")]
    let again = peek.clone();
    assert_eq!((again.0, peek.0), (5, 5));
    let found = Found::Descriptor(peeked);
    assert_eq!(print(&found), "folio(refs 1 owner7 Some(g0x40+2^3))");
    assert_eq!(found.immediate(), None);
    let raw = Immediate::new(Subtype::Guard, OwnerId(1), Order::ZERO);
    let raw = Found::<Ram>::Immediate(raw, block(8, 0));
    assert_eq!(print(&raw), "guard 2^0 owner1 #0x0 at g0x8+2^0");
    assert!(raw.downcast::<Folio>().is_none() && raw.descriptor().is_none());

    let locked = folio.lock();
    assert_eq!(print(&locked), "folio(refs 1 owner7 locked Some(g0x40+2^3))");
    drop(locked);
    let erased = folio.erase();
    assert_eq!(print(&erased), "folio(refs 1 owner7 Some(g0x40+2^3))");
    let second = erased.try_clone().unwrap();
    assert_eq!((second.word(), second.header().refs()), (word, 2));
    drop(second);
    assert_eq!(erased.header().refs(), 1);
    let locked = erased.lock();
    locked.poison();
    assert_eq!(print(&locked), "folio(refs 1 owner7 locked poisoned Some(g0x40+2^3))");
    assert!(locked.is_poisoned());
    drop(locked);
    drop(erased);
}

#[test]
fn tables_and_slots() {
    let owners = Owners::new();
    struct Nobody;
    impl Owner for Nobody {
        fn memory_failure(&self, _: &FailedBlock) -> Outcome {
            Outcome::Ignored
        }
    }
    assert_eq!(print(&owners), "Owners { ids: [] }");
    let id = owners.register(Arc::new(Nobody)).unwrap();
    assert_eq!(print(&owners), "Owners { ids: [1] }");
    owners.unregister(id).unwrap();
    assert_eq!(print(&owners), "Owners { ids: [] }");

    let slot = OnceSlot::<u32>::default();
    assert_eq!(print(&slot), "OnceSlot(None)");
    slot.get_or_install(|| try_box(4));
    assert_eq!(print(&slot), "OnceSlot(Some(4))");

    assert_eq!(print(&Participant::default()), "Participant");
    let one = Lines::<AtomicU64, 1>::default();
    assert_eq!(print(&one), "Lines([0])");
    let boxed = PageBox::<Lines<AtomicU64, 2>>::zeroed().unwrap();
    assert_eq!(print(&boxed), "PageBox(Lines([0, 0]))");
    assert_eq!(print(&*boxed), "Page(Lines([0, 0]))");
    let array = PageArray::<Lines<AtomicU64, 8>>::zeroed(3).unwrap();
    assert_eq!(print(&array), "PageArray(3 items)");
}
