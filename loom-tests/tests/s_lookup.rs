//! Allocator and look-up: typed blocks that are found, referenced, locked,
//! replaced, split and merged, and whose last reference goes anywhere.

#![cfg(shuttle)]

use loom_tests::schedules::{choose, scenario, twin};
use loom_tests::world::World;
use memdesc::Order;
use memdesc::sync::atomic::AtomicU64;
use memdesc::sync::thread;
use potad::{Block, Zone};
use std::sync::atomic::{AtomicU64 as Plain, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

const GRANULES: u64 = 64;
const ALIVE: u64 = 0x5eed_f011;

/// A descriptor that knows when it is used too late.
struct Folio {
    alive: Plain,
    /// The same for all that follow each other in one block.
    serial: u64,
    /// Added to under the lock, by a load and a store.
    racy: AtomicU64,
    /// Added to at once.
    exact: Plain,
    dropped: Arc<Plain>,
}

memdesc::descriptors! {
    /// The one type.
    set Mm { Folio = 1 }
}

impl Folio {
    fn check(&self) -> u64 {
        assert_eq!(self.alive.load(Relaxed), ALIVE, "a body that was dropped");
        self.serial
    }

    fn add_under_the_lock(&self) {
        self.exact.fetch_add(1, Relaxed);
        self.racy.store(self.racy.load(Relaxed) + 1, Relaxed);
    }
}

impl Drop for Folio {
    fn drop(&mut self) {
        assert_eq!(self.alive.swap(0, Relaxed), ALIVE, "dropped twice");
        let (racy, exact) = (self.racy.get_mut(), self.exact.get_mut());
        assert_eq!(*racy, *exact, "two had the lock");
        self.dropped.fetch_add(1, Relaxed);
    }
}

/// What the threads share; outside of the schedule's view.
struct Board {
    zone: Zone,
    made: Plain,
    dropped: Arc<Plain>,
    /// Where something was published, each granule of it: a half that is split off
    /// later was looked at before.
    addresses: Mutex<Vec<u64>>,
    /// Who has each granule locked, and of which serial: (holders, serial).
    locked: Mutex<Vec<u64>>,
}

impl Board {
    fn folio(&self, serial: Option<u64>) -> Folio {
        let new = self.made.fetch_add(1, Relaxed) + 1;
        Folio {
            alive: Plain::new(ALIVE),
            serial: serial.unwrap_or(new),
            racy: AtomicU64::new(0),
            exact: Plain::new(0),
            dropped: Arc::clone(&self.dropped),
        }
    }

    fn alloc(&self, order: u32) -> Option<Block<Folio>> {
        let folio = self.folio(None);
        let serial = folio.serial;
        let block = self.zone.alloc(Order::new(order).unwrap(), folio).ok()?;
        let place = block.block();
        let locked = self.locked.lock().unwrap();
        for at in place.base().0..=place.last().0 {
            let by = locked[at as usize];
            assert!(by == 0 || by == serial, "{at} handed out while {by} is locked there");
        }
        drop(locked);
        self.addresses.lock().unwrap().extend(place.base().0..=place.last().0);
        Some(block)
    }

    fn address(&self) -> Option<u64> {
        let addresses = self.addresses.lock().unwrap();
        let many = addresses.len() as u64;
        (many > 0).then(|| addresses[choose(many) as usize])
    }

    /// Membership holds still while the lock is held.
    fn lock(&self, address: u64) {
        let Some(folio) = self.zone.lock::<Folio>(address) else { return };
        let serial = folio.check();
        let block = folio.block();
        let granules = block.base().0 as usize..=block.last().0 as usize;
        assert!(granules.contains(&(address as usize)), "{address} is not in {block:?}");
        for by in &mut self.locked.lock().unwrap()[granules.clone()] {
            assert_eq!(*by, 0, "locked twice");
            *by = serial;
        }
        folio.add_under_the_lock();
        assert_eq!(folio.block(), block, "it moved under the lock");
        self.locked.lock().unwrap()[granules].fill(0);
    }

    fn get(&self, address: u64) {
        let Some(folio) = self.zone.get::<Folio>(address) else { return };
        let serial = folio.check();
        let again = self.zone.get::<Folio>(folio.block().base().0);
        if let Some(again) = again {
            again.check();
        }
        assert_eq!(folio.check(), serial);
    }

    fn peek(&self, address: u64) {
        let guard = potad::pin();
        let Some(found) = self.zone.find(address, &guard) else { return };
        let Some(folio) = found.downcast::<Folio>() else { return };
        let serial = folio.check();
        thread::yield_now();
        assert_eq!(folio.check(), serial, "a peek that changed");
    }
}

/// Looks at what others publish.
fn looker(board: &Board) {
    for _ in 0..4 {
        let Some(address) = board.address() else {
            thread::yield_now();
            continue;
        };
        match choose(3) {
            0 => board.get(address),
            1 => board.peek(address),
            _ => board.lock(address),
        }
    }
}

/// Makes blocks whose last reference may be another's.
fn maker(board: &Board) {
    for _ in 0..3 {
        let block = board.alloc(choose(2) as u32);
        drop(block);
    }
}

/// Makes one block and changes what it is.
fn changer(board: &Board) {
    let Some(block) = board.alloc(1) else { return };
    let serial = block.check();
    let block = block.replace(board.folio(Some(serial))).map_err(|no| no.why).unwrap();
    let (lower, upper) =
        board.zone.split(block, board.folio(None)).map_err(|refused| refused.why).unwrap();
    match lower.merge(upper) {
        Ok(whole) => drop(whole),
        Err(refused) => drop(refused.given),
    }
}

fn lookup() {
    let world = World::new(GRANULES);
    Mm::register(world.potad.kinds()).unwrap();
    let board = Arc::new(Board {
        zone: world.zone.clone(),
        made: Plain::new(0),
        dropped: Arc::default(),
        addresses: Mutex::default(),
        locked: Mutex::new(vec![0; GRANULES as usize]),
    });
    let roles: [fn(&Board); 4] = [maker, changer, looker, looker];
    let threads = roles.map(|role| {
        let board = Arc::clone(&board);
        thread::spawn(move || role(&board))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    potad::pin().flush();
    world.finish(&[]);
    let counts = (board.made.load(Relaxed), board.dropped.load(Relaxed));
    assert_eq!(counts.0, counts.1, "made, and dropped");
}

#[test]
fn lookup_finds_what_is_there_and_keeps_what_it_found() {
    scenario("lookup", lookup);
}

#[test]
fn lookup_twin_read_without_a_pin() {
    twin("lookup_twin_read_without_a_pin", "read without a pin", lookup);
}

#[test]
fn lookup_twin_re_check_left_out() {
    twin("lookup_twin_re_check_left_out", "re-check left out", lookup);
}

#[test]
fn lookup_twin_freed_without_a_grace_period() {
    let name = "lookup_twin_freed_without_a_grace_period";
    twin(name, "freed without a grace period", lookup);
}
