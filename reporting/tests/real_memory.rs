//! The back ends on real memory: what was free is gone and reads as zeros, what
//! is in use is untouched.
#![cfg(target_os = "linux")]

use potad_reporting::backend::*;
use potad_reporting::mock::MockSource;
use potad_reporting::*;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, MlockFlags, ProtFlags};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const PAGES: usize = 1024;
const BYTES: usize = PAGES * PAGE;
/// Where the resource begins: not where the memory is.
const ORIGIN: u64 = 1 << 40;

/// A mapping, unmapped when dropped.
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn anonymous(flags: MapFlags) -> Self {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at no fixed place.
        let base =
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), BYTES, protection, flags) };
        Self { base: NonNull::new(base.unwrap().cast()).unwrap(), bytes: BYTES }
    }

    fn of(file: &File, flags: MapFlags) -> Self {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at no fixed place.
        let base =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), BYTES, protection, flags, file, 0) };
        Self { base: NonNull::new(base.unwrap().cast()).unwrap(), bytes: BYTES }
    }

    fn region(&self) -> Region<NonNull<u8>> {
        Region { at: ByteRange::new(ORIGIN, self.bytes as u64).unwrap(), base: self.base }
    }

    fn write(&self, page: usize, value: u8) {
        assert!(page * PAGE < self.bytes);
        // SAFETY: inside the mapping.
        let address = unsafe { self.base.add(page * PAGE) };
        // SAFETY: writable, and nobody has a reference to it.
        unsafe { address.write_bytes(value, PAGE) };
    }

    /// Whether every byte of the page is `value`.
    fn reads(&self, page: usize, value: u8) -> bool {
        assert!(page * PAGE < self.bytes);
        // Volatile: the kernel changes it behind the compiler's back.
        (page * PAGE..(page + 1) * PAGE).all(|offset| {
            // SAFETY: inside the mapping.
            let address = unsafe { self.base.add(offset) };
            // SAFETY: readable, and of a type without invalid values.
            (unsafe { address.read_volatile() }) == value
        })
    }

    /// Pages that are in memory, as the page table says.
    fn resident(&self) -> usize {
        let mut pagemap = File::open("/proc/self/pagemap").unwrap();
        let first = self.base.addr().get() / PAGE * 8;
        pagemap.seek(SeekFrom::Start(first as u64)).unwrap();
        let mut entries = vec![0; self.bytes / PAGE * 8];
        pagemap.read_exact(&mut entries).unwrap();
        entries.chunks(8).filter(|entry| entry[7] & 0x80 != 0).count()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody looks at it any more.
        unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) }.unwrap();
    }
}

fn memfd(name: &str, flags: MemfdFlags) -> File {
    let file = File::from(rustix::fs::memfd_create(name, flags | MemfdFlags::CLOEXEC).unwrap());
    file.set_len(BYTES as u64).unwrap();
    file
}

fn whole_file() -> [Region<u64>; 1] {
    [Region { at: ByteRange::new(ORIGIN, BYTES as u64).unwrap(), base: 0 }]
}

fn source() -> MockSource {
    MockSource::with_origin(PAGE as u64, PAGES.ilog2(), ORIGIN)
}

fn page_of(address: u64) -> usize {
    (address - ORIGIN) as usize / PAGE
}

/// Fills the mapping, keeps some blocks in use, reports the rest, and returns
/// the pages that were kept.
fn fill_and_report<D: Report>(mapping: &Mapping, source: &MockSource, driver: D) -> Vec<usize> {
    (0..PAGES).for_each(|page| mapping.write(page, 0x5a));
    let mut kept = Vec::new();
    for order in [0, 3, 5] {
        let block = source.alloc(order).unwrap();
        kept.extend((0..1 << order).map(|page| page_of(block.address()) + page));
    }
    let mut reporter = Reporter::new(source, driver, Policy::eager()).unwrap();
    while reporter.step(0).state == State::Active {}
    let free = (BYTES - kept.len() * PAGE) as u64;
    assert_eq!(reporter.stats().reported_bytes(), free, "{}", reporter.stats());
    kept
}

#[test]
fn private_memory_is_gone_at_once_and_reads_zero() {
    let mapping = Mapping::anonymous(MapFlags::PRIVATE);
    let source = source();
    // SAFETY: the mapping outlives the driver, and only the source's users
    // touch it.
    let driver = unsafe { Madvise::new([mapping.region()], Advice::DontNeed) }.unwrap();
    let kept = fill_and_report(&mapping, &source, driver);
    assert_eq!(mapping.resident(), kept.len());
    for page in 0..PAGES {
        let value = if kept.contains(&page) { 0x5a } else { 0 };
        assert!(mapping.reads(page, value), "page {page}");
    }
    // The next owner is told that it need not clear it.
    assert!(source.alloc(0).unwrap().was_zeroed());
}

#[test]
fn lazily_freed_memory_is_never_called_zeroed() {
    let mapping = Mapping::anonymous(MapFlags::PRIVATE);
    let source = source();
    // SAFETY: the mapping outlives the driver, and only the source's users
    // touch it.
    let driver = unsafe { Madvise::new([mapping.region()], Advice::Free) }.unwrap();
    assert!(driver.caps().lazy);
    let kept = fill_and_report(&mapping, &source, driver);
    assert!(kept.iter().all(|&page| mapping.reads(page, 0x5a)));
    assert!((0..PAGES).all(|page| mapping.reads(page, 0x5a) || mapping.reads(page, 0)));
    assert!(!source.alloc(0).unwrap().was_zeroed());
}

#[test]
fn advice_on_a_shared_memfd_frees_nothing_and_is_refused() {
    let file = memfd("shared", MemfdFlags::empty());
    let mapping = Mapping::of(&file, MapFlags::SHARED);
    (0..PAGES).for_each(|page| mapping.write(page, 0x5a));
    // The trap itself: success, nothing resident here, every block still there.
    // SAFETY: ours, and shared memory is read back from the file.
    unsafe {
        rustix::mm::madvise(mapping.base.as_ptr().cast(), BYTES, rustix::mm::Advice::LinuxDontNeed)
    }
    .unwrap();
    assert_eq!(mapping.resident(), 0);
    assert_eq!(file.metadata().unwrap().blocks() * 512, BYTES as u64);
    assert!(mapping.reads(7, 0x5a));

    // SAFETY: the mapping outlives the driver, which is not asked anything.
    let refused = unsafe { Madvise::new([mapping.region()], Advice::DontNeed) };
    assert!(matches!(refused, Err(MadviseError::Shared { .. })), "{refused:?}");
}

#[test]
fn memory_that_advice_does_not_suit_is_refused() {
    let refuse = |region| {
        // SAFETY: the driver is not asked anything.
        unsafe { Madvise::new([region], Advice::DontNeed) }.unwrap_err()
    };
    let shared = Mapping::anonymous(MapFlags::SHARED);
    assert!(matches!(refuse(shared.region()), MadviseError::Shared { .. }));

    let file = memfd("private", MemfdFlags::empty());
    let private = Mapping::of(&file, MapFlags::PRIVATE);
    assert!(matches!(refuse(private.region()), MadviseError::OfFile { .. }));

    let locked = Mapping::anonymous(MapFlags::PRIVATE);
    let base = locked.base.as_ptr().cast();
    // SAFETY: the mapping is ours.
    unsafe { rustix::mm::mlock_with(base, PAGE, MlockFlags::empty()) }.unwrap();
    assert!(matches!(refuse(locked.region()), MadviseError::Pinned { .. }));

    let mapping = Mapping::anonymous(MapFlags::PRIVATE);
    let mut odd = mapping.region();
    odd.at = ByteRange::new(ORIGIN + 8, PAGE as u64).unwrap();
    assert!(matches!(refuse(odd), MadviseError::Misaligned { .. }));
    let mut short = mapping.region();
    short.at = ByteRange::new(ORIGIN, 100).unwrap();
    assert!(matches!(refuse(short), MadviseError::Misaligned { .. }));

    let mut gone = mapping.region();
    gone.base = NonNull::without_provenance(PAGE.try_into().unwrap());
    gone.at = ByteRange::new(ORIGIN, PAGE as u64).unwrap();
    assert!(matches!(refuse(gone), MadviseError::NotMapped { .. }));
}

#[test]
fn broken_pages_and_foreign_ones_are_not_discarded() {
    let mapping = Mapping::anonymous(MapFlags::PRIVATE);
    mapping.write(0, 1);
    mapping.write(1, 2);
    // SAFETY: the mapping outlives the driver; what is asked is out of use.
    let mut driver = unsafe { Madvise::new([mapping.region()], Advice::DontNeed) }.unwrap();
    let mut outcomes = [Outcome::NotTried; 4];
    let beyond = (BYTES as u64 - 4096, 8192);
    let ranges = [(0, 100), (100, 4096), beyond, (0, 4096)].map(|(first, bytes)| Range {
        at: ByteRange::new(ORIGIN + first, bytes).unwrap(),
        ticket: Ticket(0),
    });
    driver.report(&ranges, &mut outcomes, &Control::new()).unwrap();
    assert_eq!(
        outcomes,
        [Outcome::Failed, Outcome::Failed, Outcome::Failed, Outcome::ReportedZeroed]
    );
    assert!(mapping.reads(1, 2));
    assert_eq!(driver.last_fault(), Some(Fault::Outside { first: ORIGIN + BYTES as u64 }));
}

#[test]
fn holes_in_a_memfd_free_its_blocks_for_every_mapping() {
    let file = memfd("guest", MemfdFlags::ALLOW_SEALING);
    let (mapping, other) =
        (Mapping::of(&file, MapFlags::SHARED), Mapping::of(&file, MapFlags::SHARED));
    let source = source();
    let driver = Memfd::new(&file, whole_file()).unwrap().with_verify(Verify::Always).unwrap();
    let kept = fill_and_report(&mapping, &source, driver);
    assert_eq!(file.metadata().unwrap().blocks() * 512, (kept.len() * PAGE) as u64);
    for page in 0..PAGES {
        let value = if kept.contains(&page) { 0x5a } else { 0 };
        assert!(mapping.reads(page, value) && other.reads(page, value), "page {page}");
    }
    assert!(source.alloc(0).unwrap().was_zeroed());
    assert_eq!(file.metadata().unwrap().len(), BYTES as u64);
}

#[test]
fn holes_in_a_swap_file_free_its_blocks() {
    let path = std::env::temp_dir().join(format!("potad-swap-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write_all_at(&vec![0xa5; BYTES], 0).unwrap();
    file.sync_all().unwrap();
    let full = file.metadata().unwrap().blocks();
    let driver = match Memfd::new(&file, whole_file()) {
        Err(MemfdError::NoHoles) => {
            println!("SKIPPED: the file system of {} has no holes", path.display());
            return;
        }
        driver => driver.unwrap(),
    };
    let mut reporter = Reporter::new(source(), driver, Policy::eager()).unwrap();
    let position = (&file).stream_position().unwrap();
    while reporter.step(0).state == State::Active {}
    assert_eq!(reporter.stats().reported_bytes(), BYTES as u64, "{}", reporter.stats());
    assert!(file.metadata().unwrap().blocks() < full / 8);
    let mut page = vec![1; PAGE];
    file.read_exact_at(&mut page, 77 * PAGE as u64).unwrap();
    assert_eq!(page, vec![0; PAGE]);
    // Looking for holes moves nobody's position.
    assert_eq!((&file).stream_position().unwrap(), position);
}

#[test]
fn files_that_must_not_be_punched_are_refused() {
    let file = memfd("refused", MemfdFlags::ALLOW_SEALING);
    let refuse = |file: &File, regions: &[Region<u64>]| {
        Memfd::new(file, regions.iter().copied()).unwrap_err()
    };
    let at = |first: u64, bytes: usize, base| Region {
        at: ByteRange::new(first, bytes as u64).unwrap(),
        base,
    };
    let past = refuse(&file, &[at(ORIGIN, BYTES, PAGE as u64)]);
    assert!(matches!(past, MemfdError::PastEnd { .. }), "{past}");
    let far = refuse(&file, &[at(ORIGIN, BYTES, u64::MAX)]);
    assert!(matches!(far, MemfdError::PastEnd { .. }), "{far}");
    let odd = refuse(&file, &[at(ORIGIN, PAGE, 8)]);
    assert!(matches!(odd, MemfdError::Misaligned { .. }), "{odd}");
    let twice = refuse(&file, &[at(ORIGIN, BYTES, 0), at(ORIGIN + PAGE as u64, PAGE, 0)]);
    assert!(matches!(twice, MemfdError::Regions(RegionError::Overlap { .. })), "{twice}");

    let directory = File::open(std::env::temp_dir()).unwrap();
    assert!(matches!(refuse(&directory, &[]), MemfdError::NotAFile));
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let reading = File::open(path).unwrap();
    assert!(matches!(refuse(&reading, &[]), MemfdError::ReadOnly));
    rustix::fs::fcntl_add_seals(&file, SealFlags::FUTURE_WRITE).unwrap();
    assert!(matches!(refuse(&file, &[]), MemfdError::Sealed));
}

#[test]
fn what_is_in_no_region_fails_and_the_rest_goes() {
    let file = memfd("half", MemfdFlags::empty());
    file.write_all_at(&vec![0xa5; BYTES], 0).unwrap();
    let half = ByteRange::new(ORIGIN, BYTES as u64 / 2).unwrap();
    let driver = Memfd::new(&file, [Region { at: half, base: 0 }]).unwrap();
    let source = source();
    let policy = Policy::eager().max_piece(16 * PAGE as u64);
    let mut reporter = Reporter::new(&source, driver, policy).unwrap();
    let mut now = 0;
    while now < 3_600_000_000_000 {
        now = reporter.step(now).at;
    }
    assert_eq!(source.reported_bytes(), BYTES as u64 / 2);
    assert_eq!(source.isolated_bytes(), 0);
    assert_eq!(file.metadata().unwrap().blocks() * 512, BYTES as u64 / 2);
    assert!(matches!(reporter.stats().last_fault, Some(Fault::Outside { .. })));
}

#[test]
fn two_regions_in_reverse_order_are_one_range() {
    let file = memfd("swapped", MemfdFlags::empty());
    file.write_all_at(&vec![0xa5; BYTES], 0).unwrap();
    let half = BYTES as u64 / 2;
    let driver = Memfd::new(
        &file,
        [
            Region { at: ByteRange::new(ORIGIN, half).unwrap(), base: half },
            Region { at: ByteRange::new(ORIGIN + half, half).unwrap(), base: 0 },
        ],
    )
    .unwrap();
    let source = source();
    let user = source.alloc(0).unwrap();
    let mut reporter = Reporter::new(&source, driver, Policy::eager()).unwrap();
    while reporter.step(0).state == State::Active {}
    // The page in use is the first of the resource, so the middle of the file.
    let mut page = vec![0; PAGE];
    file.read_exact_at(&mut page, half + page_of(user.address()) as u64 * PAGE as u64).unwrap();
    assert_eq!(page, vec![0xa5; PAGE]);
    assert_eq!(file.metadata().unwrap().blocks() * 512, PAGE as u64);
}

/// Users write, check and free while a worker discards whatever is free: what a
/// user wrote after its allocation is never discarded.
#[test]
fn a_users_write_is_never_discarded() {
    let file = Arc::new(memfd("busy", MemfdFlags::empty()));
    let source = Arc::new(source());
    let driver = Memfd::new(&file, whole_file()).unwrap();
    let policy = Policy::eager().interval(100_000).max_piece(8 * PAGE as u64);
    let worker = Worker::spawn(Reporter::new(source.clone(), driver, policy).unwrap()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let users: Vec<_> = (0..2_u8)
        .map(|user| {
            let (file, source, stop) = (file.clone(), source.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut rounds = 0_u64;
                let mut live = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let order = (rounds % 4) as u32;
                    if let Some(block) = source.alloc(order) {
                        let value = (rounds as u8).wrapping_mul(2) | user;
                        let offset = block.address() - ORIGIN;
                        file.write_all_at(&vec![value; PAGE << order], offset).unwrap();
                        live.push((block, value, PAGE << order));
                    }
                    if live.len() > 40 {
                        let (block, value, bytes) = live.remove(rounds as usize % 40);
                        let mut back = vec![0; bytes];
                        file.read_exact_at(&mut back, block.address() - ORIGIN).unwrap();
                        assert!(back.iter().all(|&byte| byte == value), "a write was discarded");
                        source.free(block);
                    }
                    rounds += 1;
                }
                live.into_iter().for_each(|(block, ..)| source.free(block));
                rounds
            })
        })
        .collect();
    let start = Instant::now();
    let reported = || worker.control().seen().stats.reported_bytes();
    while reported() < 32 << 20 && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    stop.store(true, Ordering::Relaxed);
    let rounds: u64 = users.into_iter().map(|user| user.join().unwrap()).sum();
    assert!(rounds > 1000 && reported() > BYTES as u64, "{rounds} rounds, {} bytes", reported());
    // (That nothing is dirty would not do: what is with the driver is not.)
    while source.reported_bytes() != BYTES as u64 && start.elapsed() < Duration::from_secs(40) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let reporter = worker.join().unwrap();
    assert_eq!(source.reported_bytes(), BYTES as u64, "{}", reporter.stats());
    assert_eq!(file.metadata().unwrap().blocks(), 0);
}

/// Where the kernel takes a list of ranges, small ones go by one call, and what
/// is in use between them stays.
#[test]
fn scattered_pages_go_in_one_list_and_their_neighbours_stay() {
    let mapping = Mapping::anonymous(MapFlags::PRIVATE);
    (0..PAGES).for_each(|page| mapping.write(page, 0x5a));
    // SAFETY: the mapping outlives the driver, and nobody else touches it.
    let driver = unsafe { Madvise::new([mapping.region()], Advice::DontNeed) }.unwrap();
    let mut driver = driver.with_verify(Verify::Always);
    if !driver.takes_many() {
        println!("SKIPPED in part: this kernel takes no lists, ranges go one by one");
    }
    let ranges: Vec<Range> = (0..PAGES as u64)
        .step_by(3)
        .map(|page| Range {
            at: ByteRange::new(ORIGIN + page * PAGE as u64, PAGE as u64).unwrap(),
            ticket: Ticket(page),
        })
        .collect();
    let mut outcomes = vec![Outcome::NotTried; ranges.len()];
    driver.report(&ranges, &mut outcomes, &Control::new()).unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::ReportedZeroed));
    assert_eq!(mapping.resident(), PAGES - ranges.len());
    assert!((0..PAGES).all(|page| mapping.reads(page, if page % 3 == 0 { 0 } else { 0x5a })));
    // A bad one in the list fails alone.
    let foreign = Range { at: ByteRange::new(0, PAGE as u64).unwrap(), ticket: Ticket(0) };
    let mixed = [ranges[0], foreign, ranges[1]];
    let mut outcomes = [Outcome::NotTried; 3];
    driver.report(&mixed, &mut outcomes, &Control::new()).unwrap();
    let zeroed = Outcome::ReportedZeroed;
    assert_eq!(outcomes, [zeroed, Outcome::Failed, zeroed]);
}

/// A file's driver takes whole pages, many at once, and says whether it looks.
#[test]
fn a_files_driver_says_what_it_can_take() {
    let file = memfd("caps", MemfdFlags::empty());
    file.write_all_at(&vec![0xa5; BYTES], 0).unwrap();
    let driver = Memfd::new(&file, whole_file()).unwrap();
    let page = PAGE as u64;
    let caps = driver.caps();
    assert_eq!((caps.min_bytes, caps.align, caps.max_ranges), (page, page, 256));
    assert_eq!((caps.max_bytes, caps.lazy, caps.posts), (u64::MAX, false, false));
    // What is no whole page is refused, and nothing is lost.
    let mut driver = driver.with_verify(Verify::Never).unwrap();
    let policy = Policy::eager();
    let other = Memfd::new(&file, whole_file()).unwrap();
    // A call's control is that of a reporter that lives.
    let reporter = Reporter::new(source(), other, policy).unwrap();
    let control = reporter.control();
    let part = Range { at: ByteRange::new(ORIGIN, page / 2).unwrap(), ticket: Ticket(0) };
    let whole = Range { at: ByteRange::new(ORIGIN + page, page).unwrap(), ticket: Ticket(1) };
    let mut outcomes = [Outcome::NotTried; 2];
    driver.report(&[part, whole], &mut outcomes, &control).unwrap();
    assert_ne!(outcomes[0], Outcome::ReportedZeroed);
    assert_eq!(outcomes[1], Outcome::ReportedZeroed);
    let mut read = vec![1; 3 * PAGE];
    file.read_exact_at(&mut read, 0).unwrap();
    let expected = [vec![0xa5; PAGE], vec![0; PAGE], vec![0xa5; PAGE]].concat();
    assert!(read == expected, "the page alone is gone");
    // With looks it is the same.
    let mut driver = driver.with_verify(Verify::Always).unwrap();
    driver.report(&[whole], &mut outcomes[..1], &control).unwrap();
    assert_eq!(outcomes[0], Outcome::ReportedZeroed);
    control.cancel();
    assert_eq!(driver.report(&[whole], &mut outcomes[..1], &control), Err(Stop::Cancelled));
}

#[test]
fn a_mappings_driver_says_what_it_can_take() {
    let mapping = Mapping::anonymous(MapFlags::PRIVATE);
    for (advice, lazy) in [(Advice::DontNeed, false), (Advice::Free, true)] {
        // SAFETY: the mapping stays until the end, and nobody has references into it.
        let driver = unsafe { Madvise::new([mapping.region()], advice) }.unwrap();
        let (caps, page) = (driver.caps(), PAGE as u64);
        assert_eq!((caps.min_bytes, caps.align, caps.max_ranges), (page, page, 256));
        assert_eq!((caps.max_bytes, caps.lazy, caps.posts), (u64::MAX, lazy, false));
        assert_eq!(driver.last_fault(), None);
    }
}
