//! TRIM: a slot that was freed is used again only after its discard.
#![cfg(target_os = "linux")]

use potad::memdesc::Order;
use potad::{BareBlock, Potad, Resource, Zone};
use potad_reporting::backend::*;
use potad_reporting::*;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;

const SLOT: u64 = 4096;
const SLOTS: u64 = 256;

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

/// A swap resource counts slots.
fn swap() -> Zone {
    Potad::new().register(Resource::new("swap").span(0..SLOTS)).unwrap()
}

fn take(swap: &Zone, order: Order) -> Vec<BareBlock> {
    std::iter::from_fn(|| swap.alloc_bare(order).ok()).collect()
}

fn run<D: Report>(reporter: &mut Reporter<&TrimSource, D>, now: u64) {
    while reporter.step(now).state == State::Active {}
}

fn whole() -> [Region<u64>; 1] {
    [Region { at: ByteRange::new(0, SLOTS * SLOT).unwrap(), base: 0 }]
}

#[test]
fn a_policy_and_a_source_of_different_modes_are_refused() {
    let source = TrimSource::new(swap());
    let refused = Reporter::new(&source, Recording::new(), Policy::eager()).unwrap_err();
    let (policy, origin) = (Mode::Idle, Mode::BeforeReuse);
    assert_eq!(refused, ReportingError::Mode { policy, origin });
    let zone = swap();
    let idle = ZoneSource::attach(zone, Order::ZERO).unwrap();
    let refused = Reporter::new(&idle, Recording::new(), Policy::before_reuse()).unwrap_err();
    let (policy, origin) = (Mode::BeforeReuse, Mode::Idle);
    assert_eq!(refused, ReportingError::Mode { policy, origin });
}

#[test]
fn what_is_not_trimmed_stays_out_of_circulation() {
    let swap = swap();
    let source = TrimSource::new(swap.clone());
    // The third range is declined, the fourth fails.
    let driver = Recording::answering(|index, _, _| match index {
        2 => Answer::Say(Outcome::Declined),
        3 => Answer::Say(Outcome::Failed),
        _ => Answer::Say(Outcome::Reported),
    });
    let policy = Policy::before_reuse().max_piece(1).batch(1).decline_ttl(1000).backoff(10, 10);
    let mut reporter = Reporter::new(&source, driver, policy).unwrap();
    for block in take(&swap, order(3)).into_iter().take(1) {
        source.free(block).unwrap();
    }
    assert_eq!(source.waiting_bytes(), 8);
    assert!(swap.alloc_bare(Order::ZERO).is_err());
    run(&mut reporter, 0);
    let free = take(&swap, Order::ZERO).len() as u64;
    assert_eq!(free + source.waiting_bytes(), 8, "cut into slots, and none lost");
    assert!(source.waiting_bytes() >= 2, "the declined and the failed one wait");
    // Later everything goes.
    for now in 1..10 {
        run(&mut reporter, now * 1_000_000_000);
    }
    assert_eq!((source.waiting_bytes(), take(&swap, Order::ZERO).len() as u64), (0, 8 - free));
    // A block of another zone comes back.
    let other = self::swap();
    let foreign = other.alloc_bare(Order::ZERO).unwrap();
    let refused = source.free(foreign).unwrap_err();
    other.free_bare(refused.given).unwrap();
}

#[test]
fn blocks_are_cut_to_the_largest_piece_and_no_smaller() {
    for (most, pieces) in [(1, 16), (4, 4), (8, 2), (16, 1), (32, 1)] {
        let swap = swap();
        let source = TrimSource::new(swap.clone());
        source.free(swap.alloc_bare(order(4)).unwrap()).unwrap();
        let policy = Policy::before_reuse().max_piece(most);
        let mut reporter = Reporter::new(&source, Recording::new(), policy).unwrap();
        // What is cut off waits for the next pass.
        (0..20).for_each(|now| run(&mut reporter, now * 1_000_000_000));
        let reported = reporter.stats().outcome(Outcome::Reported);
        assert_eq!((reported.blocks, reported.bytes), (pieces, 16), "at most {most}");
        assert_eq!(swap.validate(), Ok(SLOTS));
    }
}

#[test]
fn a_pass_offers_each_block_once_whatever_comes_back() {
    let swap = swap();
    let source = TrimSource::new(swap.clone());
    take(&swap, order(4)).into_iter().for_each(|block| source.free(block).unwrap());
    let want = Want {
        min_order: Order::ZERO,
        max_order: order(4),
        age: Age::Any,
        patient: false,
        max_bytes: 48,
        spare_bytes: 0,
        leave_bytes: 0,
    };
    for _pass in 0..2 {
        let (mut cursor, mut offered) = (Cursor::default(), 0);
        loop {
            let mut blocks = Vec::new();
            let progress = source.isolate(&mut cursor, &want, 5, &mut |block| blocks.push(block));
            assert!(blocks.len() <= 3, "48 bytes are three blocks");
            offered += blocks.len() as u64;
            assert!(offered <= SLOTS / 16, "more than there are");
            blocks.into_iter().for_each(|block| source.put_back(block, Outcome::NotTried));
            if progress == Progress::EndOfPass {
                break;
            }
        }
        assert_eq!((offered, cursor), (SLOTS / 16, Cursor::default()));
    }
    assert_eq!((source.waiting_bytes(), source.give_up()), (SLOTS, SLOTS));
}

#[test]
fn whoever_needs_the_space_more_gives_up_the_discard() {
    let swap = swap();
    let source = TrimSource::new(swap.clone());
    take(&swap, order(4)).into_iter().for_each(|block| source.free(block).unwrap());
    assert_eq!(source.give_up(), SLOTS);
    assert_eq!(source.waiting_bytes(), 0);
    assert_eq!(swap.validate(), Ok(SLOTS));
}

/// Slots of a swap file: once freed and trimmed they are holes.
#[test]
fn trimmed_slots_of_a_swap_file_are_holes() {
    let fd = rustix::fs::memfd_create("swap", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    trims(&File::from(fd), true);
}

/// The same on a block device, by a loop device where the system lends one.
#[test]
fn trimmed_slots_of_a_block_device_read_as_zeros() {
    let path = std::env::temp_dir().join(format!("potad-loop-{}", std::process::id()));
    File::create(&path).unwrap().set_len(SLOTS * SLOT).unwrap();
    let losetup = |arguments: &[&std::ffi::OsStr]| Command::new("losetup").args(arguments).output();
    let lent = losetup(&["--find".as_ref(), "--show".as_ref(), path.as_ref()]);
    let device = match &lent {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout),
        other => {
            println!("SKIPPED: no loop device here: {other:?}");
            std::fs::remove_file(&path).unwrap();
            return;
        }
    };
    let device = device.trim().to_owned();
    let ran = std::panic::catch_unwind(|| {
        let opened = File::options().read(true).write(true).open(&device);
        trims(&opened.unwrap(), false);
    });
    losetup(&["--detach".as_ref(), device.as_ref()]).unwrap();
    std::fs::remove_file(&path).unwrap();
    ran.unwrap();
}

fn trims(file: &File, is_sparse: bool) {
    let swap = swap();
    let source = TrimSource::new(swap.clone());
    file.write_all_at(&vec![0x5a; (SLOTS * SLOT) as usize], 0).unwrap();
    let driver = Slots::new(Memfd::new(file, whole()).unwrap(), SLOT).unwrap();
    let mut reporter = Reporter::new(&source, driver, Policy::before_reuse()).unwrap();
    let all = take(&swap, Order::ZERO);
    assert_eq!(all.len() as u64, SLOTS);
    let (kept, freed): (Vec<_>, Vec<_>) = all.into_iter().partition(|slot| slot.base().0 % 4 == 0);
    freed.into_iter().for_each(|slot| source.free(slot).unwrap());
    run(&mut reporter, 0);
    assert_eq!((source.waiting_bytes(), reporter.stats().reported_bytes()), (0, SLOTS / 4 * 3));
    let mut slot = vec![1; SLOT as usize];
    for number in 0..SLOTS {
        file.read_exact_at(&mut slot, number * SLOT).unwrap();
        let value = if number % 4 == 0 { 0x5a } else { 0 };
        assert!(slot.iter().all(|byte| *byte == value), "slot {number}");
    }
    if is_sparse {
        assert_eq!(file.metadata().unwrap().blocks() * 512, kept.len() as u64 * SLOT);
    }
    assert_eq!(take(&swap, Order::ZERO).len() as u64, SLOTS / 4 * 3, "free again");
}
