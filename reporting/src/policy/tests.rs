//! Presets, refusals, and which blocks take part in a pass.

use super::*;

#[test]
fn small_blocks_take_part_in_every_third_pass() {
    let rules = [(2 << 20, 1), (64 << 10, 3)];
    let policy =
        Policy::balanced().rules(&rules.map(|(min_bytes, every)| Rule { min_bytes, every }));
    for pass in 1..100 {
        let smallest = if pass % 3 == 0 { 64 << 10 } else { 2 << 20 };
        assert_eq!(policy.min_bytes(pass), Some(smallest));
    }
    assert_eq!(policy.smallest(), 64 << 10);
}

#[test]
fn every_preset_is_sound() {
    for policy in [
        Policy::eager(),
        Policy::balanced(),
        Policy::cold(),
        Policy::before_reuse(),
        Policy::never(),
    ] {
        assert_eq!(policy.check(), Ok(()));
    }
}

/// The table of the module, with its units.
#[test]
fn presets_are_what_their_table_says() {
    for (policy, milliseconds, smallest, patience) in [
        (Policy::eager(), 100, 1, 1),
        (Policy::balanced(), 1_000, 64 << 10, 3),
        (Policy::cold(), 30_000, 2 << 20, 1),
        (Policy::before_reuse(), 50, 1, 1),
    ] {
        assert_eq!(policy.interval, milliseconds * 1_000_000);
        assert_eq!((policy.min_bytes(1), policy.patience), (Some(smallest), patience));
        let waits = [policy.poll, policy.decline_ttl, policy.backoff, policy.backoff_max];
        assert_eq!(waits, [10, 60_000, 2_000, 300_000].map(|wait| wait * 1_000_000));
    }
    assert_eq!(Policy::never().interval, NEVER);
}

#[test]
fn bad_numbers_are_refused_with_what_was_asked() {
    let rule = Rule { min_bytes: 1, every: 1 };
    let base = Policy::eager();
    for (policy, error) in [
        (base.clone().batch(0), ReportingError::Batch { blocks: 0 }),
        (base.clone().patience(0), ReportingError::NoPatience),
        (base.clone().jitter(101, 0), ReportingError::Jitter { percent: 101 }),
        (base.clone().max_piece(0), ReportingError::NoPiece),
        (base.clone().max_in_flight(0), ReportingError::NoFlight),
        (base.clone().interval(0), ReportingError::NoInterval),
        (base.clone().poll(0), ReportingError::NoInterval),
        (base.clone().backoff(2, 1), ReportingError::Backoff { first: 2, longest: 1 }),
        (base.clone().rules(&[]), ReportingError::Rules),
        (base.clone().rules(&[rule; 5]), ReportingError::Rules),
        (base.rules(&[Rule { min_bytes: 1, every: 0 }]), ReportingError::Rules),
    ] {
        assert_eq!(policy.check(), Err(error));
    }
}

#[test]
fn what_is_set_is_what_is_said() {
    let policy = Policy::eager()
        .interval(1)
        .patience(2)
        .batch(3)
        .max_piece(4)
        .rate(5, 6)
        .volume(7)
        .poll(8)
        .reserve(9)
        .demand_passes(10)
        .jitter(11, 12)
        .decline_ttl(13)
        .backoff(14, 15)
        .max_in_flight(16)
        .age(crate::Age::Seen);
    assert_eq!((policy.interval, policy.patience, policy.batch), (1, 2, 3));
    assert_eq!((policy.max_piece, policy.rate, policy.burst), (4, Some(5), 6));
    assert_eq!((policy.volume, policy.poll, policy.reserve), (Some(7), 8, 9));
    assert_eq!((policy.demand_passes, policy.jitter_percent, policy.jitter_seed), (10, 11, 12));
    assert_eq!((policy.decline_ttl, policy.backoff, policy.backoff_max), (13, 14, 15));
    assert_eq!((policy.max_in_flight, policy.age), (16, crate::Age::Seen));
    assert_eq!(policy.check(), Ok(()));
}

#[test]
fn the_ready_made_ones_are_what_they_say() {
    let (eager, balanced, cold) = (Policy::eager(), Policy::balanced(), Policy::cold());
    assert_eq!(
        (eager.interval, balanced.interval, cold.interval),
        (100_000_000, 1_000_000_000, 30_000_000_000,)
    );
    assert_eq!((eager.smallest(), balanced.smallest(), cold.smallest()), (1, 65_536, 2_097_152));
    assert_eq!((eager.demand_passes, balanced.demand_passes, cold.demand_passes), (0, 3, 4));
    assert_eq!((eager.patience, balanced.patience, cold.patience), (1, 3, 1));
    assert_eq!((eager.age, balanced.age), (crate::Age::Any, crate::Age::Seen));
    assert_eq!((eager.jitter_percent, balanced.jitter_percent), (0, 25));
    let reuse = Policy::before_reuse();
    assert_eq!((reuse.mode, reuse.interval), (Mode::BeforeReuse, 50_000_000));
    assert_eq!((Policy::never().interval, Policy::never().mode), (NEVER, Mode::Idle));
    assert_eq!((cold.max_piece, cold.burst), (67_108_864, 268_435_456));
    assert_eq!((cold.poll, cold.decline_ttl), (10_000_000, 60_000_000_000));
    assert_eq!((cold.backoff, cold.backoff_max), (2_000_000_000, 300_000_000_000));
}
