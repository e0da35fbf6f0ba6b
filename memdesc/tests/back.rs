//! Retired cells come back to the thread that retired them, whoever collects
//! them. One test in a process of its own: nobody else collects.

use potad_memdesc::*;
use std::collections::HashSet;
use std::sync::mpsc::channel;

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

/// Makes so many descriptors and lets them go; where they lay.
fn cells(ram: &Keep<Ram>, kind: Kind, count: u64) -> HashSet<usize> {
    let made: Vec<_> = (0..count)
        .map(|at| {
            let fresh = Fresh::of(ram, OwnerId(0), Folio([at; 5])).ok().unwrap();
            fresh.set_place(Block::containing(Granule(0), Order::ZERO));
            // SAFETY: the kind was given by the home's set.
            unsafe { fresh.into_ref(kind) }
        })
        .collect();
    assert!(made.iter().zip(0..).all(|(folio, at)| folio.0[0] == at));
    made.iter().map(|folio| (&raw const **folio).addr()).collect()
}

#[test]
fn cells_come_back_to_the_thread_that_retired_them() {
    const BAGS: u64 = 2 * 128;
    let kinds = Kinds::new();
    let kind = kinds.register::<Folio>().unwrap();
    let ram = Keep::new(Ram(kinds));
    // While this thread looks, the other's own flushes collect nothing.
    let guard = pin();
    let ((told, tells), (go_on, waits)) = (channel(), channel::<()>());
    let other = std::thread::spawn({
        let ram = ram.clone();
        move || {
            let retired = cells(&ram, kind, BAGS);
            told.send(()).unwrap();
            waits.recv().unwrap();
            (retired, cells(&ram, kind, BAGS))
        }
    });
    tells.recv().unwrap();
    drop(guard);
    while retired_bytes() != 0 {
        pin().flush();
    }
    // They are free, and the depot has some; but not those.
    let ours = cells(&ram, kind, BAGS);
    go_on.send(()).unwrap();
    let (retired, again) = other.join().unwrap();
    assert_eq!(retired, again, "the other thread's cells");
    assert!(ours.is_disjoint(&retired));
}
