//! A real SIGBUS: memory fails under a running thread, the handler says at once
//! what lived there, and a normal thread does the rest.

#![cfg(all(target_os = "linux", not(miri)))]

use potad::memdesc::{
    FailedBlock, FailureKind, Immediate, Order, Outcome, Owner, OwnerId, Seen, Snapshot, Subtype,
    descriptors,
};
use potad::{Error, FailureEvent, FailureQueue, Potad, Resource, Zone};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

const PAGE: usize = 4096;
const PAGES: usize = 64;

struct Folio;
descriptors! { set Mm { Folio = 1 } }

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

/// Pages of a file, mapped shared.
struct Mapped {
    file: libc::c_int,
    first: *mut u8,
}

impl Mapped {
    fn new() -> Self {
        // SAFETY: a C string.
        let file = unsafe { libc::memfd_create(c"potad".as_ptr(), 0) };
        assert!(file >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: a file of ours.
        assert_eq!(unsafe { libc::ftruncate(file, (PAGES * PAGE) as libc::off_t) }, 0);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, where the system likes it.
        let first =
            unsafe { libc::mmap(ptr::null_mut(), PAGES * PAGE, access, libc::MAP_SHARED, file, 0) };
        assert_ne!(first, libc::MAP_FAILED);
        Self { file, first: first.cast() }
    }

    fn address(&self) -> u64 {
        self.first.addr() as u64
    }

    /// The memory is gone from here on: what touches it gets a SIGBUS.
    fn lose(&self) {
        // SAFETY: a file of ours. The mapping is touched through volatile reads
        // alone, by a thread whose handler repairs it.
        assert_eq!(unsafe { libc::ftruncate(self.file, 0) }, 0);
    }

    fn byte_at(&self, address: u64) -> *mut u8 {
        self.first.wrapping_add((address - self.address()) as usize)
    }

    fn write(&self, address: u64, value: u8) {
        // SAFETY: within the mapping.
        unsafe { self.byte_at(address).write_volatile(value) };
    }

    fn read(&self, address: u64) -> u8 {
        // SAFETY: within the mapping; where the file is too short, the handler
        // maps a page.
        unsafe { self.byte_at(address).read_volatile() }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the mapping any more.
        unsafe { libc::munmap(self.first.cast(), PAGES * PAGE) };
        // SAFETY: opened by `new`.
        unsafe { libc::close(self.file) };
    }
}

/// What the handler works with, and what it leaves.
struct Watch {
    zone: Zone,
    first: usize,
    queue: FailureQueue,
    taken: AtomicUsize,
    /// Snapshots, in the order in which the handler ran.
    seen: [UnsafeCell<Option<Snapshot>>; 8],
}

// SAFETY: a cell is written once, by the handler that got its number, and read
// by the thread that it interrupted.
unsafe impl Sync for Watch {}

static WATCH: OnceLock<Watch> = OnceLock::new();

extern "C" fn on_bus_error(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the system hands over a structure that is live meanwhile.
    let info = unsafe { &*info };
    // SAFETY: a SIGBUS has an address.
    let address = unsafe { info.si_addr() }.addr();
    let page = address & !(PAGE - 1);
    let watch =
        WATCH.get().filter(|watch| (watch.first..watch.first + PAGES * PAGE).contains(&address));
    let Some(watch) = watch else {
        // Not ours: come back to the same instruction, and die of it.
        // SAFETY: async-signal-safe.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        return;
    };
    let number = watch.taken.fetch_add(1, Ordering::Relaxed);
    let seen = watch.zone.find_signal(address as u64);
    if let Some(cell) = watch.seen.get(number) {
        // SAFETY: the number is ours alone.
        unsafe { *cell.get() = seen };
    }
    // Full: counted there.
    let _ = watch.queue.push(address as u64, 12, FailureKind::Consumed);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a page of the test's mapping, which has lost its memory.
    let fresh =
        unsafe { libc::mmap(ptr::without_provenance_mut(page), PAGE, access, flags, -1, 0) };
    if fresh == libc::MAP_FAILED {
        // SAFETY: never returns.
        unsafe { libc::abort() };
    }
}

/// The handler, on a stack of its own, until it is dropped.
struct Handling {
    stack: Vec<u8>,
    action: libc::sigaction,
    before: libc::stack_t,
}

impl Handling {
    fn new() -> Self {
        let mut stack = vec![0_u8; 64 << 10];
        let here =
            libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
        // SAFETY: zeros are such a structure.
        let mut before: libc::stack_t = unsafe { std::mem::zeroed() };
        // SAFETY: memory that is kept until the stack is given back.
        assert_eq!(unsafe { libc::sigaltstack(&raw const here, &raw mut before) }, 0);
        // SAFETY: zeros are such a structure, with an empty mask.
        let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
        new.sa_sigaction = on_bus_error as *const () as usize;
        new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: as above.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: the handler makes async-signal-safe calls alone.
        assert_eq!(unsafe { libc::sigaction(libc::SIGBUS, &raw const new, &raw mut action) }, 0);
        Self { stack, action, before }
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        // SAFETY: as it was.
        unsafe { libc::sigaction(libc::SIGBUS, &raw const self.action, ptr::null_mut()) };
        // SAFETY: as it was; no handler runs on ours.
        unsafe { libc::sigaltstack(&raw const self.before, ptr::null_mut()) };
    }
}

#[derive(Default)]
struct Witness {
    told: Mutex<Vec<FailedBlock>>,
}

impl Owner for Witness {
    fn memory_failure(&self, failed: &FailedBlock) -> Outcome {
        self.told.lock().unwrap().push(*failed);
        Outcome::Recovered
    }
}

#[test]
fn a_real_bus_error_is_resolved_in_the_handler_and_reported_by_a_thread() {
    let mapped = Mapped::new();
    let potad = Potad::new();
    let (first, last) = (mapped.address(), mapped.address() + (PAGES * PAGE) as u64);
    let ram = potad.register(Resource::new("file").granule(PAGE as u64).span(first..last)).unwrap();
    let (mine, own) = (Arc::new(Witness::default()), Arc::new(Witness::default()));
    let id = potad.register_owner(mine.clone()).unwrap();
    ram.set_own_owner(own.clone()).unwrap();

    let typed = ram.alloc_owned(order(2), id, Folio).unwrap();
    typed.set_flags(0x5a);
    let raw = ram.alloc_raw(order(1), id).unwrap();
    let bare = ram.alloc_bare(order(0)).unwrap();
    let bad = [
        typed.address() + 2 * PAGE as u64 + 77,
        ram.address_of(raw.base()) + PAGE as u64 + 5,
        ram.address_of(bare.base()),
    ];
    bad.iter().for_each(|&address| mapped.write(address, 0xaa));

    WATCH.get_or_init(|| Watch {
        zone: ram.clone(),
        first: mapped.first.addr(),
        queue: FailureQueue::new(4).unwrap(),
        taken: AtomicUsize::new(0),
        seen: [const { UnsafeCell::new(None) }; 8],
    });
    let watch = WATCH.get().unwrap();
    {
        let handling = Handling::new();
        mapped.lose();
        // The handler needs no lock: it may interrupt whoever holds one.
        let locked = typed.lock();
        assert_eq!(mapped.read(bad[0]), 0, "the access goes on, in a fresh page");
        drop(locked);
        assert_eq!(mapped.read(bad[1]), 0);
        assert_eq!(mapped.read(bad[2]), 0);
        assert_eq!(mapped.read(bad[0]), 0, "and fails once a page");
        assert!(handling.stack.iter().any(|&byte| byte != 0), "the handler ran elsewhere");
    }
    assert_eq!(watch.taken.load(Ordering::Relaxed), bad.len());
    // SAFETY: the handler ran in this thread, and is over.
    let seen = [0, 1, 2].map(|number: usize| unsafe { *watch.seen[number].get() });
    let [Some(folio), Some(word), None] = seen else { panic!("{seen:?}") };
    assert_eq!((folio.block, folio.owner), (typed.block(), id));
    let Seen::Descriptor { name, flags, dying, .. } = folio.seen else { panic!("{folio:?}") };
    assert_eq!((name, flags, dying, folio.poisoned), ("Folio", 0x5a, false, false));
    assert_eq!((word.block, word.owner, word.kind_name()), (raw.block(), id, "raw"));
    assert_eq!(word.seen, Seen::Immediate(Immediate::new(Subtype::Raw, id, order(1))));

    // Nobody was told yet. A normal thread takes it from here.
    assert!(mine.told.lock().unwrap().is_empty());
    let mut events = Vec::new();
    let taken = std::thread::scope(|scope| {
        let reporter = scope.spawn(|| {
            potad.report_queued(&watch.queue, |event, report| events.push((event, report.unwrap())))
        });
        reporter.join().unwrap()
    });
    assert_eq!((taken, watch.queue.dropped()), (3, 0));
    for (&address, (event, report)) in bad.iter().zip(&events) {
        assert_eq!(*event, FailureEvent { address, lsb: 12, kind: FailureKind::Consumed });
        assert_eq!((report.first, report.notified, report.quarantined), (1, 1, 0));
    }
    let told = |witness: &Witness| -> Vec<_> {
        let told = witness.told.lock().unwrap();
        told.iter().map(|failed| (failed.name, failed.block, failed.granules.first())).collect()
    };
    let granule = |address| ram.granule_at(address).unwrap();
    let expected = [
        ("Folio", Some(typed.block()), granule(bad[0])),
        ("raw", Some(raw.block()), granule(bad[1])),
    ];
    assert_eq!(told(&mine), expected);
    assert_eq!(told(&own), [("bare", None, granule(bad[2]))]);

    // Marked, found so by later handlers, and kept when it is freed.
    assert!(ram.find_signal(bad[0]).unwrap().poisoned);
    assert!(ram.find_signal(bad[1]).unwrap().poisoned);
    ram.free(typed).unwrap();
    ram.free_raw(raw).unwrap();
    ram.free_bare(bare).unwrap();
    // A free asks for no memory: a slow path shows what it kept.
    ram.retry_failures();
    assert_eq!(ram.find_signal(bad[0]).unwrap().kind_name(), "quarantine");
    let stats = ram.stats();
    assert_eq!((stats.quarantined, stats.free), (3, PAGES as u64 - 3));
    assert_eq!(ram.validate(), Ok(PAGES as u64 - 3));
}

#[test]
fn addresses_that_name_nothing_are_nothing() {
    let potad = Potad::new();
    let ram = potad.register(Resource::new("ram").granule(4096).span(1 << 20..1 << 21)).unwrap();
    for address in [0, 1, (1 << 20) - 1, 1 << 20, 0x10_0fff, 1 << 21, 1 << 62, u64::MAX] {
        assert_eq!(ram.find_signal(address), None, "{address:#x}");
    }
    let raw = ram.alloc_raw(order(3), OwnerId(9)).unwrap();
    // Any unit of the block will do, aligned or not.
    let base = ram.address_of(raw.base());
    for address in [base, base + 1, base + 4095, base + 8 * 4096 - 1] {
        assert_eq!(ram.find_signal(address).unwrap().block, raw.block(), "{address:#x}");
    }
    assert_eq!(ram.find_signal(base + 8 * 4096), None);
    ram.free_raw(raw).unwrap();
    assert_eq!(ram.find_signal(base), None);
}

#[test]
fn what_a_queue_cannot_take_is_refused_or_counted() {
    assert_eq!(FailureQueue::new(0).unwrap_err(), Error::NoCapacity { asked: 0 });
    assert_eq!(FailureQueue::new(usize::MAX / 8).unwrap_err(), Error::OutOfMemory);

    let potad = Potad::new();
    let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 20)).unwrap();
    let queue = FailureQueue::new(3).unwrap();
    // Outside, half outside, all there is, more than the queue holds.
    let pushes = [(1 << 40, 12), (0x5123, u32::MAX), (0x5123, 0), (0x6000, 12)];
    let refused = pushes.map(|(address, lsb)| queue.push(address, lsb, FailureKind::Found).err());
    let dropped = FailureEvent { address: 0x6000, lsb: 12, kind: FailureKind::Found };
    assert_eq!(
        refused.map(|full| full.map(|full| full.dropped)),
        [None, None, None, Some(dropped)]
    );
    assert_eq!((queue.dropped(), queue.capacity()), (1, 3));

    let mut reports = Vec::new();
    let taken = ram.report_queued(&queue, |event, report| reports.push((event.lsb, report)));
    assert_eq!(taken, 3);
    assert_eq!(reports[0], (12, Err(Error::Outside { address: 1 << 40 })));
    let [_, (64, Ok(all)), (0, Ok(again))] = reports[..] else { panic!("{reports:?}") };
    assert_eq!((all.granules, all.first, all.quarantined), (256, 256, 256));
    assert_eq!((again.granules, again.first), (1, 0));
    assert_eq!(ram.report_queued(&queue, |_, _| {}), 0);
    assert_eq!(queue.drain().count(), 0);
    assert_eq!(ram.stats().quarantined, 256);
    assert_eq!(ram.validate(), Ok(0));
}

/// An owner whose callback meets more failures does not keep its caller.
#[test]
fn reports_end_although_more_failures_come() {
    let potad = Potad::new();
    let ram = potad.register(Resource::new("ram").granule(4096).span(0..1 << 20)).unwrap();
    let queue = FailureQueue::new(4).unwrap();
    queue.push(0, 0, FailureKind::Found).unwrap();
    let taken = ram.report_queued(&queue, |event, _| {
        queue.push(event.address + 4096, 0, event.kind).unwrap();
    });
    assert_eq!(taken, 4);
    assert_eq!(ram.stats().quarantined, 4);
    assert_eq!(queue.pop().map(|event| event.address), Some(4 * 4096));
}
