//! The source for tests, by hand: whom it gives what.

use memdesc::Order;
use potad_reporting::mock::{MockBlock, MockSource};
use potad_reporting::*;

const GRANULE: u64 = 4096;

/// Single granules, as many as there are.
const ALL: Want = Want {
    min_order: Order::ZERO,
    max_order: Order::ZERO,
    age: Age::Any,
    patient: false,
    spare_bytes: 0,
    max_bytes: u64::MAX,
    leave_bytes: 0,
};

fn order(order: u32) -> Order {
    Order::new(order).unwrap()
}

/// What one call takes, from the beginning, with room for so many.
fn take(source: &MockSource, want: &Want, room: usize) -> (Vec<MockBlock>, Progress) {
    let mut found = Vec::new();
    let progress =
        source.isolate(&mut Cursor::default(), want, room, &mut |block| found.push(block));
    (found, progress)
}

/// The granules at which blocks begin, and how long they are.
fn places(blocks: &[MockBlock]) -> Vec<(u64, u64)> {
    let place = |block: &MockBlock| block.range().first() / GRANULE;
    blocks.iter().map(|block| (place(block), block.range().bytes() / GRANULE)).collect()
}

/// A source of granules that were given back with these outcomes.
fn after(outcomes: &[Outcome]) -> MockSource {
    let source = MockSource::new(GRANULE, outcomes.len().ilog2());
    let (blocks, _) = take(&source, &ALL, outcomes.len());
    assert_eq!(blocks.len(), outcomes.len());
    blocks.into_iter().zip(outcomes).for_each(|(block, &outcome)| source.put_back(block, outcome));
    source
}

use Outcome::{Declined, NotTried, Reported, ReportedZeroed};

#[test]
fn a_user_gets_what_was_never_reported_before_what_was() {
    let source = after(&[ReportedZeroed, NotTried, Reported, Declined]);
    let mut users = Vec::new();
    for (place, zeroed) in [(1, false), (3, false), (0, true), (2, false)] {
        let user = source.alloc(0).unwrap();
        assert_eq!((user.address() / GRANULE, user.was_zeroed()), (place, zeroed));
        users.push(user);
    }
    assert_eq!((source.alloc(0), source.free_bytes()), (None, 0));
    users.into_iter().for_each(|user| source.free(user));
    assert_eq!((source.free_bytes(), source.reported_bytes()), (4 * GRANULE, 0), "all is as new");
    assert_eq!(source.alloc(1).unwrap().address(), 0);
}

/// A block of which a part was reported is no better than a reported one, and
/// reads as zeros if all of it does.
#[test]
fn a_larger_block_is_what_all_its_granules_are() {
    let source = after(&[
        ReportedZeroed,
        NotTried,
        ReportedZeroed,
        ReportedZeroed,
        NotTried,
        NotTried,
        Reported,
        ReportedZeroed,
    ]);
    for (place, zeroed) in [(4, false), (0, false), (2, true), (6, false)] {
        let user = source.alloc(1).unwrap();
        assert_eq!((user.address() / GRANULE, user.was_zeroed()), (place, zeroed));
    }
    assert_eq!(source.alloc(1), None);
}

#[test]
fn a_reporter_gets_free_blocks_with_something_to_report_in_each_smallest_piece() {
    let source =
        after(&[NotTried, Reported, Reported, NotTried, Reported, Reported, NotTried, NotTried]);
    let want = Want { min_order: order(1), max_order: order(2), ..ALL };
    let (blocks, progress) = take(&source, &want, 8);
    assert_eq!((places(&blocks), progress), (vec![(0, 4), (6, 2)], Progress::EndOfPass));
    assert_eq!((source.isolated_bytes(), source.reported_bytes()), (6 * GRANULE, 2 * GRANULE));
    assert_eq!(source.dirty_bytes(), 0);
    blocks.into_iter().for_each(|block| source.put_back(block, Declined));
    assert_eq!((source.isolated_bytes(), source.dirty_bytes()), (0, 4 * GRANULE));

    let user = source.alloc(0).unwrap();
    assert_eq!(user.address(), 0);
    let (blocks, _) = take(&source, &want, 8);
    assert_eq!(places(&blocks), [(2, 2), (6, 2)], "what is in use is left alone");
}

#[test]
fn a_reporter_gets_no_more_than_it_wants() {
    let source = MockSource::new(GRANULE, 3);
    let put_back = |blocks: Vec<_>| {
        blocks.into_iter().for_each(|block| source.put_back(block, NotTried));
    };
    let pairs = Want { min_order: order(1), max_order: order(1), ..ALL };
    for (want, room, (count, progress)) in [
        (pairs, 3, (3, Progress::More)),
        (pairs, 9, (4, Progress::EndOfPass)),
        (Want { max_bytes: 5 * GRANULE, ..pairs }, 9, (2, Progress::More)),
        (Want { max_bytes: 6 * GRANULE, ..pairs }, 9, (3, Progress::More)),
        (Want { max_bytes: GRANULE, ..pairs }, 9, (1, Progress::More)),
        (Want { leave_bytes: 3 * GRANULE, ..pairs }, 9, (2, Progress::Pressure)),
        (Want { leave_bytes: 4 * GRANULE, ..pairs }, 9, (2, Progress::Pressure)),
        (Want { leave_bytes: 5 * GRANULE, ..pairs }, 9, (1, Progress::Pressure)),
        (Want { spare_bytes: 4 * GRANULE, ..pairs }, 9, (2, Progress::EndOfPass)),
        (Want { age: Age::Seen, ..pairs }, 9, (0, Progress::EndOfPass)),
        (Want { age: Age::Seen, ..pairs }, 9, (4, Progress::EndOfPass)),
    ] {
        let (blocks, ended) = take(&source, &want, room);
        assert_eq!((blocks.len(), ended), (count, progress), "{want:?}, room for {room}");
        put_back(blocks);
    }
}
