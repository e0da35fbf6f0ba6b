//! The engine on a zone: what it learns from what is taken again.

use potad::memdesc::Order;
use potad::{BareBlock, Potad, Resource, Zone};
use potad_reporting::backend::Recording;
use potad_reporting::{Policy, Reporter, Rule, State, ZoneSource};

const GRANULE: u64 = 4096;
const SECOND: u64 = 1_000_000_000;
/// Of report granules of 64 KiB.
const GRANULES: u64 = 1 << 10;

fn policy() -> Policy {
    let rules = [Rule { min_bytes: 16 * GRANULE, every: 1 }];
    Policy::eager().rules(&rules).interval(SECOND)
}

fn reporter(policy: Policy) -> (Zone, Reporter<ZoneSource, Recording>) {
    let resource = Resource::new("ram").granule(GRANULE).span(0..GRANULES * GRANULE);
    let ram = Potad::new().register(resource).unwrap();
    let source = ZoneSource::attach(ram.clone(), Order::new(4).unwrap()).unwrap();
    (ram, Reporter::new(source, Recording::new(), policy).unwrap())
}

/// The pass that is due at `now`, all of it; returns the bytes that it reported.
fn pass(reporter: &mut Reporter<ZoneSource, Recording>, now: u64) -> u64 {
    let before = reporter.stats().reported_bytes();
    while reporter.step(now).state == State::Active {}
    reporter.stats().reported_bytes() - before
}

/// Takes 2 MiB and gives them back, past the hand.
fn use_again(ram: &Zone) {
    let block: BareBlock = ram.alloc_bare(Order::new(9).unwrap()).unwrap();
    ram.free_bare(block).unwrap();
    ram.free_blocks();
}

#[test]
fn what_was_reported_too_early_waits_until_a_report_lasts() {
    let (ram, mut reporter) = reporter(policy().patience(3));
    let huge = GRANULE << 9;
    // The first pass reports all.
    assert_eq!(pass(&mut reporter, 0), GRANULES * GRANULE);
    use_again(&ram);
    // Passes 2 to 6: every third takes what was reported too early.
    let told: Vec<u64> = (1..=4).map(|now| pass(&mut reporter, now * SECOND)).collect();
    assert_eq!(told, [0, huge, 0, 0]);
    assert_eq!((reporter.stats().refaulted, reporter.stats().premature), (huge, huge));
    // That report lasted, so the next is not put off.
    use_again(&ram);
    assert_eq!(pass(&mut reporter, 5 * SECOND), huge);
    assert_eq!((reporter.stats().refaulted, reporter.stats().premature), (2 * huge, huge));
}

#[test]
fn without_patience_every_pass_takes_everything() {
    let (ram, mut reporter) = reporter(policy());
    for now in 0..4 {
        let expected = if now == 0 { GRANULES * GRANULE } else { GRANULE << 9 };
        assert_eq!(pass(&mut reporter, now * SECOND), expected);
        use_again(&ram);
    }
    // A pull does not ask either.
    let (ram, mut reporter) = self::reporter(policy().patience(100).interval(u64::MAX));
    assert_eq!(reporter.reclaim(0, u64::MAX).reported, GRANULES * GRANULE);
    use_again(&ram);
    assert_eq!(reporter.reclaim(0, u64::MAX).reported, GRANULE << 9);
}

/// What reported blocks served counts as demand: the guard saw only the fall of
/// what was not reported, and took the peak of a busy guest for none.
#[test]
fn a_peak_served_from_reported_memory_is_demand() {
    let (ram, mut reporter) = reporter(policy().demand_passes(4));
    pass(&mut reporter, 0);
    assert_eq!(ram.reported_granules(), GRANULES);
    let peak = ram.alloc_bare(Order::new(9).unwrap()).unwrap();
    pass(&mut reporter, SECOND);
    ram.free_bare(peak).unwrap();
    ram.free_blocks();
    // Kept for the rest of this window and all of the next.
    for now in 2..=6 {
        assert_eq!((now, pass(&mut reporter, now * SECOND)), (now, 0));
    }
    assert_eq!(pass(&mut reporter, 7 * SECOND), GRANULE << 9);
}
