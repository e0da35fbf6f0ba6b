//! What the stories of the engine share: a clock that is supplied, a source of
//! small blocks, and steps until nothing is due.

#![allow(dead_code, reason = "each test uses its part")]

use potad_reporting::backend::Answer;
use potad_reporting::mock::MockSource;
use potad_reporting::*;

pub(crate) const GRANULE: u64 = 4096;
pub(crate) const SECOND: u64 = 1_000_000_000;

pub(crate) fn say(outcome: Outcome) -> Answer {
    Answer::Say(outcome)
}

/// Small blocks, so that there are many of them.
pub(crate) fn policy() -> Policy {
    Policy::eager().max_piece(GRANULE).interval(SECOND)
}

/// Every second granule in use, so that nothing coalesces.
pub(crate) fn comb(order: u32) -> (MockSource, Vec<potad_reporting::mock::UserBlock>) {
    let source = MockSource::new(GRANULE, order);
    let all: Vec<_> = (0..1 << order).map(|_| source.alloc(0).unwrap()).collect();
    let (used, free): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|block| block.address() / GRANULE % 2 == 1);
    free.into_iter().for_each(|block| source.free(block));
    (source, used)
}

/// Steps until nothing is due at `now`; returns the last answer.
pub(crate) fn run<S: ReportSource, D: Report>(reporter: &mut Reporter<S, D>, now: u64) -> Next {
    for _ in 0..100_000 {
        let next = reporter.step(now);
        if next.at > now {
            return next;
        }
    }
    panic!("the reporter does not come to rest");
}

/// Steps whenever the reporter asks for it, up to `end`.
pub(crate) fn run_until<S: ReportSource, D: Report>(reporter: &mut Reporter<S, D>, end: u64) {
    let mut now = reporter.clock();
    while now <= end {
        now = reporter.step(now).at;
    }
}
