//! The virtqueue, end to end over real guest memory: a driver in the "guest"
//! posts what a zone has free, a device discards it and gives it back.
#![cfg(target_os = "linux")]

use potad::memdesc::Order;
use potad::{BareBlock, Content, Potad, Resource, Zone};
use potad_reporting::backend::*;
use potad_reporting::*;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

const PAGE: u64 = 4096;
/// Two regions of 4 MiB: anonymous at 0, of a memfd behind a hole.
const REGION: u64 = 4 << 20;
const SECOND: u64 = 16 << 20;
/// The first pages hold the ring.
const RING_PAGES: u64 = 4;

type Memory = Arc<GuestMemoryMmap<()>>;
type Driver = VirtDriver<Memory, Bell>;

/// Counts the notifications, and answers resets.
#[derive(Debug, Default, Clone)]
struct Bell {
    rung: Arc<AtomicU32>,
    can_reset: bool,
}

impl Doorbell for Bell {
    fn ring(&mut self) {
        self.rung.fetch_add(1, Ordering::Relaxed);
    }

    fn reset(&mut self) -> Reset {
        if self.can_reset { Reset::Quiet } else { Reset::Unknown }
    }
}

fn memfd() -> File {
    let fd = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let file = File::from(fd);
    file.set_len(REGION).unwrap();
    file
}

fn memory(file: &File) -> Memory {
    let anonymous = MmapRegion::new(REGION as usize).unwrap();
    let behind = FileOffset::new(file.try_clone().unwrap(), 0);
    let mapped = MmapRegion::from_file(behind, REGION as usize).unwrap();
    let regions = vec![
        GuestRegionMmap::new(anonymous, GuestAddress(0)).unwrap(),
        GuestRegionMmap::new(mapped, GuestAddress(SECOND)).unwrap(),
    ];
    Arc::new(GuestMemoryMmap::from_regions(regions).unwrap())
}

fn ring() -> Ring {
    let ring = Ring::at(0, 16).unwrap();
    assert!(ring.bytes() <= RING_PAGES * PAGE);
    ring
}

/// The guest's memory as a zone, but for the pages of the ring.
fn zone() -> Zone {
    let potad = Potad::new();
    let resource = Resource::new("guest").granule(PAGE);
    let resource = resource.span(RING_PAGES * PAGE..REGION).span(SECOND..SECOND + REGION);
    potad.register(resource).unwrap()
}

fn policy() -> Policy {
    Policy::eager().batch(8).max_piece(64 * PAGE).max_in_flight(12).poll(1)
}

fn reporter(
    zone: &Zone,
    memory: &Memory,
    bell: Bell,
    vouch: Vouch,
) -> Reporter<ZoneSource, Driver> {
    let driver = VirtDriver::new(memory.clone(), ring(), bell, vouch, PAGE).unwrap();
    let source = ZoneSource::attach(zone.clone(), Order::ZERO).unwrap();
    Reporter::new(source, driver, policy()).unwrap()
}

fn device(memory: &Memory) -> VirtDevice<GuestRam<Memory>> {
    // SAFETY: the regions stay; nobody has references into them, and only what
    // was posted, so is free, is discarded.
    let ram = unsafe { GuestRam::new(memory.clone()) }.unwrap();
    VirtDevice::new(ring(), ram).unwrap()
}

fn fill(zone: &Zone, memory: &Memory, block: &BareBlock, value: u8) {
    let at = zone.address_of(block.base());
    let bytes = vec![value; (block.order().granules() * PAGE) as usize];
    memory.write_slice(&bytes, GuestAddress(at)).unwrap();
}

fn reads(zone: &Zone, memory: &Memory, block: &BareBlock, value: u8) -> bool {
    let mut bytes = vec![!value; (block.order().granules() * PAGE) as usize];
    memory.read_slice(&mut bytes, GuestAddress(zone.address_of(block.base()))).unwrap();
    bytes.iter().all(|byte| *byte == value)
}

/// Allocates everything, page by page, and fills it.
fn take_all(zone: &Zone, memory: &Memory) -> Vec<BareBlock> {
    let all: Vec<_> = std::iter::from_fn(|| zone.alloc_bare(Order::ZERO).ok()).collect();
    all.iter().for_each(|page| fill(zone, memory, page, 0x5a));
    all
}

/// Steps and serves by turns until nothing is due and nothing is out.
fn settle(
    reporter: &mut Reporter<ZoneSource, Driver>,
    device: &mut VirtDevice<GuestRam<Memory>>,
    memory: &Memory,
) -> Served {
    let mut all = Served::default();
    reporter.control().request();
    for now in reporter.clock() + 1.. {
        let next = reporter.step(now);
        let served = device.serve(memory.clone()).unwrap();
        all.buffers += served.buffers;
        all.discarded += served.discarded;
        all.refused += served.refused;
        if next.state == State::Idle && reporter.in_flight() == 0 && served.buffers == 0 {
            break;
        }
    }
    all
}

#[test]
fn what_the_guest_frees_the_host_discards_and_the_next_owner_finds_zeros() {
    let file = memfd();
    let (memory, zone) = (memory(&file), zone());
    let bell = Bell::default();
    let mut reporter = reporter(&zone, &memory, bell.clone(), Vouch::Zeroed);
    let mut device = device(&memory);
    // Every second page stays in use.
    let all = take_all(&zone, &memory);
    let pages = all.len() as u64;
    assert_eq!(pages * PAGE, 2 * REGION - RING_PAGES * PAGE);
    assert_eq!(file.metadata().unwrap().blocks() * 512, REGION);
    let (kept, freed): (Vec<_>, Vec<_>) = all.into_iter().partition(|page| page.base().0 % 2 == 1);
    let freed: u64 = freed.into_iter().map(|page| zone.free_bare(page).map(|()| 1).unwrap()).sum();
    drop(zone.stats());
    let served = settle(&mut reporter, &mut device, &memory);
    // The thread's hand may hide some.
    assert!(served.buffers > freed / 2 && served.refused == 0, "{served:?}");
    assert_eq!(reporter.stats().outcome(Outcome::ReportedZeroed).bytes, served.discarded);
    assert!(bell.rung.load(Ordering::Relaxed) > 0);
    assert!(file.metadata().unwrap().blocks() * 512 < REGION * 3 / 4, "the memfd gave memory back");
    assert!(kept.iter().all(|page| reads(&zone, &memory, page, 0x5a)), "in use, and untouched");
    let mut zeroed = 0;
    while let Ok((page, content)) = zone.alloc_bare_telling(Order::ZERO) {
        if content == Content::Zero {
            assert!(reads(&zone, &memory, &page, 0), "{page:?} was said to be zero");
            zeroed += 1;
        }
        let _leaked = page;
    }
    assert_eq!(zeroed * PAGE, served.discarded, "every page that was discarded is known zero");
}

#[test]
fn without_a_promise_nothing_is_known_to_be_zero() {
    let file = memfd();
    let (memory, zone) = (memory(&file), zone());
    let mut reporter = reporter(&zone, &memory, Bell::default(), Vouch::Nothing);
    let served = settle(&mut reporter, &mut device(&memory), &memory);
    assert_eq!(served.discarded, zone.granules() * PAGE);
    assert_eq!(reporter.stats().outcome(Outcome::Reported).bytes, served.discarded);
    assert_eq!(zone.alloc_bare_telling(Order::ZERO).unwrap().1, Content::Unknown);
}

#[test]
fn what_is_posted_stays_isolated_until_the_device_gives_it_back() {
    let file = memfd();
    let (memory, zone) = (memory(&file), zone());
    let mut reporter = reporter(&zone, &memory, Bell::default(), Vouch::Zeroed);
    let mut device = device(&memory);
    reporter.step(0);
    reporter.step(1);
    assert_eq!(reporter.in_flight(), 12, "as many as the policy allows");
    let isolated = zone.stats().isolated;
    assert!(isolated > 0 && reporter.stats().in_flight.bytes == isolated * PAGE);
    // The device is slow; the guest takes all it can get and writes to it.
    let all = take_all(&zone, &memory);
    assert_eq!(all.len() as u64 + isolated, zone.granules());
    let served = device.serve(memory.clone()).unwrap();
    assert_eq!(served.discarded, isolated * PAGE);
    assert!(all.iter().all(|page| reads(&zone, &memory, page, 0x5a)), "discarded in use");
    reporter.step(2);
    assert_eq!((reporter.in_flight(), zone.stats().isolated), (0, 0));
}

#[test]
fn a_reset_gives_back_what_the_device_had_and_an_unknown_one_keeps_it() {
    for can_reset in [true, false] {
        let file = memfd();
        let (memory, zone) = (memory(&file), zone());
        let bell = Bell { can_reset, ..Bell::default() };
        let mut reporter = reporter(&zone, &memory, bell, Vouch::Nothing);
        reporter.step(0);
        let out = zone.stats().isolated;
        assert!(out > 0);
        drop(reporter);
        let left = if can_reset { 0 } else { out };
        assert_eq!(zone.stats().isolated, left);
        assert_eq!(take_all(&zone, &memory).len() as u64, zone.granules() - left);
    }
}

/// A device that writes nonsense into the used ring costs nothing but time.
#[test]
fn a_lying_device_gets_nothing_put_back() {
    let file = memfd();
    let (memory, zone) = (memory(&file), zone());
    let mut reporter = reporter(&zone, &memory, Bell::default(), Vouch::Zeroed);
    reporter.step(0);
    let (out, in_flight) = (zone.stats().isolated, reporter.in_flight());
    // Entries for descriptors that were never posted, or do not exist.
    let used = GuestAddress(ring().used());
    for (entry, id) in (0_u16..).zip([9_999_u32, 15]) {
        let at = GuestAddress(used.0 + 4 + 8 * u64::from(entry));
        memory.write_slice(&id.to_le_bytes(), at).unwrap();
        memory.write_obj((entry + 1).to_le(), GuestAddress(used.0 + 2)).unwrap();
        reporter.step(u64::from(entry) + 1);
    }
    assert_eq!(reporter.stats().lies, 2);
    assert!(reporter.in_flight() >= in_flight && zone.stats().isolated >= out);
    // An index that ran ahead of everything posted.
    memory.write_obj(9_000_u16.to_le(), GuestAddress(used.0 + 2)).unwrap();
    reporter.step(3);
    assert!(matches!(reporter.state(), State::Parked(Fault::Driver(_))), "{:?}", reporter.state());
    assert!(zone.stats().isolated >= out, "nobody knows what the device has");
}

/// A guest that posts what is no memory of its, or broken pages, gets its
/// buffers back and nothing is discarded.
#[test]
fn a_lying_guest_gets_nothing_discarded() {
    let file = memfd();
    let memory = memory(&file);
    memory.write_slice(&[0x5a; 3 * PAGE as usize], GuestAddress(SECOND)).unwrap();
    let mut driver =
        VirtDriver::new(memory.clone(), ring(), Bell::default(), Vouch::Zeroed, 1).unwrap();
    let bad = [(SECOND + 100, 50), (REGION, PAGE), (REGION - PAGE, 2 * PAGE), (u64::MAX - 8, 4)];
    let range = |(ticket, (first, bytes))| Range {
        at: ByteRange::new(first, bytes).unwrap(),
        ticket: Ticket(ticket),
    };
    let ranges: Vec<_> = (0..).zip(bad).map(range).collect();
    let mut outcomes = [Outcome::NotTried; 4];
    driver.report(&ranges, &mut outcomes, &Control::new()).unwrap();
    assert_eq!(outcomes, [Outcome::Posted; 4]);
    let served = device(&memory).serve(memory.clone()).unwrap();
    assert_eq!((served.buffers, served.discarded), (4, 0));
    let mut back = Vec::new();
    driver.complete(&mut |ticket, outcome| back.push((ticket, outcome))).unwrap();
    let expected: Vec<_> = (0..4).map(|ticket| (Ticket(ticket), Outcome::Reported)).collect();
    assert_eq!(back, expected, "given back, and not known to be zero");
    let mut bytes = [0; 3 * PAGE as usize];
    memory.read_slice(&mut bytes, GuestAddress(SECOND)).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0x5a));
}

#[test]
fn a_ring_outside_guest_memory_is_refused() {
    let file = memfd();
    let memory = memory(&file);
    let nowhere = Ring::at(REGION - 16, 16).unwrap();
    let refused = VirtDriver::new(memory.clone(), nowhere, Bell::default(), Vouch::Nothing, PAGE);
    assert!(matches!(refused, Err(VirtDriverError::NoMemory { .. })));
    let refused = VirtDriver::new(memory, ring(), Bell::default(), Vouch::Nothing, 48);
    assert!(matches!(refused, Err(VirtDriverError::Page { page_bytes: 48 })));
}

/// A call that posts nothing tells nobody; one that posts tells once. What is out
/// is counted, and no more is taken than there are descriptors.
#[test]
fn a_driver_rings_once_for_what_it_posts() {
    let (memory, bell) = (memory(&memfd()), Bell::default());
    let driver = VirtDriver::new(memory, ring(), bell.clone(), Vouch::Nothing, PAGE);
    let mut driver = driver.unwrap();
    let said = format!("{driver:?}");
    assert!(said.starts_with("VirtDriver"), "{said}");
    let source = ZoneSource::attach(zone(), Order::ZERO).unwrap();
    let reporter = Reporter::new(source, Recording::new(), policy()).unwrap();
    let control = reporter.control();
    let rung = || bell.rung.load(Ordering::Relaxed);
    driver.report(&[], &mut [], &control).unwrap();
    assert_eq!((rung(), driver.in_flight(), driver.last_fault()), (0, 0, None));
    let range = |at: u64| Range {
        at: ByteRange::new((RING_PAGES + at) * PAGE, PAGE).unwrap(),
        ticket: Ticket(at),
    };
    let mut outcomes = [Outcome::NotTried; 20];
    driver.report(&[range(0), range(1)], &mut outcomes[..2], &control).unwrap();
    assert_eq!((rung(), driver.in_flight()), (1, 2));
    assert_eq!(outcomes[..3], [Outcome::Posted, Outcome::Posted, Outcome::NotTried]);
    assert_eq!(driver.doorbell().rung.load(Ordering::Relaxed), 1);
    // Sixteen descriptors: two are out.
    let many: Vec<_> = (2..20).map(range).collect();
    assert_eq!(driver.report(&many, &mut outcomes[2..], &control), Err(Stop::Busy));
    assert_eq!((rung(), driver.in_flight()), (2, 16));
    assert_eq!(outcomes.iter().filter(|said| **said == Outcome::Posted).count(), 16);
    let none_left = driver.report(&many[..1], &mut outcomes[..1], &control);
    assert_eq!((none_left, rung()), (Err(Stop::Busy), 2));
}
