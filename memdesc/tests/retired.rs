//! A reader that stalls holds up what is freed, and that can be seen. One test
//! in a process of its own: the figure is the process's.

use potad_memdesc::*;

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

fn pairs(ram: &Keep<Ram>, kind: Kind, count: u64) {
    for at in 0..count {
        let fresh = Fresh::of(ram, OwnerId(0), Folio([at; 5])).ok().unwrap();
        fresh.set_place(Block::containing(Granule(0), Order::ZERO));
        // SAFETY: the kind was given by the home's set.
        assert_eq!(unsafe { fresh.into_ref(kind) }.0[4], at);
    }
}

#[test]
fn what_is_retired_is_bounded_unless_a_reader_stalls() {
    let kinds = Kinds::new();
    let kind = kinds.register::<Folio>().unwrap();
    let ram = Keep::new(Ram(kinds));
    let cell = size_of::<Cell<Ram, Folio>>();
    assert_eq!((cell, retired_bytes()), (64, 0));
    let rounds = if cfg!(miri) { 1 } else { 100 };
    for _ in 0..rounds {
        pairs(&ram, kind, 1000);
        // Four bags in the epoch's hands and one being filled.
        assert!(retired_bytes() <= 5 * 128 * cell, "{} bytes", retired_bytes());
    }

    let (pinned, is_pinned) = std::sync::mpsc::channel();
    let (go_on, stalls) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let guard = pin();
        pinned.send(()).unwrap();
        stalls.recv().unwrap();
        drop(guard);
    });
    is_pinned.recv().unwrap();
    let before = retired_bytes();
    pairs(&ram, kind, 1);
    assert_eq!(retired_bytes(), before + cell, "one counts, whoever keeps it");
    pairs(&ram, kind, 6400);
    assert!(retired_bytes() >= before + 6400 * cell - 5 * 128 * cell, "none of it can be freed");
    pairs(&ram, kind, 6400);
    assert!(retired_bytes() >= before + 12_800 * cell - 5 * 128 * cell, "without bound");

    go_on.send(()).unwrap();
    reader.join().unwrap();
    all_is_freed();

    // What one thread has retired another frees: the sum is exact all the same.
    std::thread::scope(|scope| {
        let threads = [(); 3].map(|()| scope.spawn(|| pairs(&ram, kind, 1000)));
        // Joined one by one, so that they have ended, and handed over what they kept.
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
    all_is_freed();
}

fn all_is_freed() {
    for _ in 0..100 {
        pin().flush();
    }
    assert_eq!(retired_bytes(), 0);
}
